//! Who a task is, to others: SPIFFE ids, and tokens that say so for minutes (JWT-SVID).
//!
//! A task is `spiffe://<trust domain>/agent/<bundle>/task/<id>` (SPIFFE-ID, sections 2 and 3); a call within it, which is a
//! task of its own, stands below it: `…/task/<id>/2/1`. A tool that is tried alone is `/tool/<name>/task/<id>`. Tokens are
//! JWT-SVIDs (SPIFFE JWT-SVID, section 3) signed with ES256 (RFC 7518, section 3.4), for one audience.

mod keys;

use std::fmt;
use std::time::Duration;

use jsonwebtoken::jwk::{
    AlgorithmParameters, CommonParameters, EllipticCurve, EllipticCurveKeyParameters, EllipticCurveKeyType, Jwk,
    JwkSet, KeyAlgorithm, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

pub use self::keys::{KeyPair, UnusableKey};

/// The longest that a token may be good for.
pub const LONGEST: Duration = Duration::from_secs(300);
/// The longest SPIFFE id, in bytes (SPIFFE-ID, section 2.3).
const LONGEST_ID: usize = 2048;

/// `[identity]` of `config.toml`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Setting {
    /// The trust domain of this home's tasks.
    #[serde(default)]
    pub trust_domain: TrustDomain,
    /// Who issues the tokens, as verifiers that speak `OpenID` Connect look it up.
    pub issuer: Option<Issuer>,
}

impl Setting {
    /// The claim `iss`: the issuer, or the trust domain where there is none.
    pub fn issuer(&self) -> String {
        self.issuer.as_ref().map_or_else(|| format!("spiffe://{}", self.trust_domain.0), |issuer| issuer.0.clone())
    }
}

/// A trust domain: `example.net`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct TrustDomain(String);

impl Default for TrustDomain {
    fn default() -> Self {
        Self("ambit.local".to_owned())
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for TrustDomain {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_');
        if (1..=255).contains(&text.len()) && text.bytes().all(fits) {
            Ok(Self(text))
        } else {
            Err(format!("`{}` is no trust domain: write it in lower case, as `example.net`", text.escape_debug()))
        }
    }
}

/// The address of an issuer: `https://ambit.example.net`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Issuer(String);

impl Issuer {
    /// As a text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Issuer {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let shown = text.escape_debug();
        let url = url::Url::parse(&text).map_err(|error| format!("`{shown}` is no URL: {error}"))?;
        let is_bare = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        // Compared letter by letter, so that it has one spelling (OpenID Connect Discovery 1.0, section 3).
        if url.scheme() == "https" && is_bare && !text.ends_with('/') {
            Ok(Self(text))
        } else {
            Err(format!("`{shown}` is no issuer: write it as `https://ambit.example.net`, without a slash at its end"))
        }
    }
}

/// Who a token is about.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The task or child task: `01K…/2`.
    pub task: String,
    /// The bundle; `call/TOOL` for a tool that is tried alone.
    pub bundle: String,
    /// The component in it.
    pub component: String,
    /// Its digest.
    pub digest: String,
    /// The digests of grants and rules that it runs under.
    pub grant: String,
    /// See above.
    pub policy: String,
    /// On whose behalf it acts, if on anybody's.
    pub user: Option<String>,
    /// What is left of the task's time.
    pub left: Duration,
}

impl Subject {
    /// Its SPIFFE id; none where that would be too long.
    pub fn id(&self, domain: &TrustDomain) -> Option<String> {
        let id = format!("spiffe://{domain}/{}/task/{}", self.origin(), self.task);
        (id.len() <= LONGEST_ID).then_some(id)
    }

    fn origin(&self) -> String {
        match self.bundle.strip_prefix("call/") {
            Some(tool) => format!("tool/{tool}"),
            None => format!("agent/{}", self.bundle),
        }
    }

    /// What a token says of it, from now on, for at most `lifetime`.
    pub fn claims(&self, setting: &Setting, audience: &str, lifetime: Duration, now: Duration) -> Option<Claims> {
        let lifetime = lifetime.min(LONGEST).min(self.left);
        let now = now.as_secs();
        Some(Claims {
            sub: self.id(&setting.trust_domain)?,
            aud: audience.to_owned(),
            exp: now + lifetime.as_secs(),
            iat: now,
            nbf: now,
            iss: setting.issuer(),
            jti: ulid::Ulid::generate().to_string(),
            act: Act {
                sub: format!("spiffe://{}/{}/component/{}", setting.trust_domain, self.origin(), self.component),
            },
            task: self.task.clone(),
            bundle: self.bundle.clone(),
            component: self.digest.clone(),
            grant: self.grant.clone(),
            policy: self.policy.clone(),
            user: self.user.clone(),
        })
    }
}

/// What a token says (RFC 7519, section 4; RFC 8693, section 4.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The task.
    pub sub: String,
    /// For whom the token is.
    pub aud: String,
    /// Until when, in seconds since the Unix epoch.
    pub exp: u64,
    /// Since when.
    pub iat: u64,
    /// Not before.
    pub nbf: u64,
    /// Who says so.
    pub iss: String,
    /// The token's own name.
    pub jti: String,
    /// Which component of the task acts.
    pub act: Act,
    /// The task's id.
    #[serde(rename = "urn:ambit:claim:task")]
    pub task: String,
    /// The bundle.
    #[serde(rename = "urn:ambit:claim:bundle")]
    pub bundle: String,
    /// The component's digest.
    #[serde(rename = "urn:ambit:claim:component")]
    pub component: String,
    /// The digest of the grants.
    #[serde(rename = "urn:ambit:claim:grant")]
    pub grant: String,
    /// The digest of the rules.
    #[serde(rename = "urn:ambit:claim:policy")]
    pub policy: String,
    /// On whose behalf it acts.
    #[serde(rename = "urn:ambit:claim:on-behalf-of", skip_serializing_if = "Option::is_none", default)]
    pub user: Option<String>,
}

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// The component.
    pub sub: String,
}

/// Signs what a token says.
///
/// # Errors
/// When the key cannot sign.
pub fn sign(key: &KeyPair, claims: &Claims) -> Result<String, UnusableKey> {
    // No header but these three (SPIFFE JWT-SVID, section 2).
    let header = Header { kid: Some(key.kid().to_owned()), ..Header::new(Algorithm::ES256) };
    keys::install();
    jsonwebtoken::encode(&header, claims, &key.encoding()).map_err(|_| UnusableKey)
}

/// What a public key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Verifiers of JWTs (RFC 7517).
    Signatures,
    /// Those that speak SPIFFE (SPIFFE Trust Domain and Bundle, section 4.2.2).
    Spiffe,
}

/// A public key as others read it.
pub fn jwk(kid: &str, x: &str, y: &str, purpose: Use) -> Jwk {
    let public_key_use = match purpose {
        Use::Signatures => PublicKeyUse::Signature,
        Use::Spiffe => PublicKeyUse::Other("jwt-svid".to_owned()),
    };
    Jwk {
        common: CommonParameters {
            public_key_use: Some(public_key_use),
            key_algorithm: Some(KeyAlgorithm::ES256),
            key_id: Some(kid.to_owned()),
            ..CommonParameters::default()
        },
        algorithm: AlgorithmParameters::EllipticCurve(EllipticCurveKeyParameters {
            key_type: EllipticCurveKeyType::EC,
            curve: EllipticCurve::P256,
            x: x.to_owned(),
            y: y.to_owned(),
        }),
    }
}

/// Why a token is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Disbelief(pub String);

/// What a token says, if one of these keys signed it for that audience and it is in time.
///
/// # Errors
/// Why it is not believed.
pub fn verify(token: &str, keys: &JwkSet, setting: &Setting, audience: &str) -> Result<Claims, Disbelief> {
    let no = |why: &str| Disbelief(why.to_owned());
    let header = jsonwebtoken::decode_header(token).map_err(|error| Disbelief(format!("it is no token: {error}")))?;
    if header.alg != Algorithm::ES256 {
        return Err(Disbelief(format!(
            "it is signed with {:?}, and tokens of ambit's are signed with ES256",
            header.alg
        )));
    }
    let kid = header.kid.as_deref().ok_or_else(|| no("it does not say which key signed it"))?;
    let key = keys.find(kid).ok_or_else(|| no("no key of this home's signed it"))?;
    keys::install();
    let key = DecodingKey::from_jwk(key).map_err(|_| no("its key cannot be read"))?;
    let mut rules = Validation::new(Algorithm::ES256);
    rules.set_audience(&[audience]);
    rules.set_issuer(&[setting.issuer()]);
    rules.set_required_spec_claims(&["exp", "aud", "sub", "iss", "nbf"]);
    rules.validate_nbf = true;
    rules.leeway = 0;
    // At `exp` it is over (RFC 7519, section 4.1.4); the library's own rule is that it is over after it.
    rules.reject_tokens_expiring_in_less_than = 1;
    let claims = jsonwebtoken::decode::<Claims>(token, &key, &rules);
    let claims = claims.map_err(|error| Disbelief(format!("it does not hold: {error}")))?.claims;
    let domain = format!("spiffe://{}/", setting.trust_domain);
    if claims.sub.starts_with(&domain) { Ok(claims) } else { Err(no("it is of another trust domain")) }
}

#[cfg(test)]
mod tests;
