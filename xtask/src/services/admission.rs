//! Who is admitted to a service: whoever bears a token, or proves to be a workload of somebody whose keys are known.
//!
//! Written against the standards and not against whoever issues tokens: RFC 7515 and 7518 (JWS, ES256), RFC 7517 (JWK), the
//! JWT-SVID specification of SPIFFE.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde::Deserialize;
use serde_json::Value;

/// How far clocks may be apart, in seconds.
const SKEW: u64 = 60;

/// Who is admitted.
#[derive(Debug, Clone)]
pub enum Admission {
    /// Whoever bears this token, or gives it as a password.
    Token(String),
    /// Workloads whose tokens verify.
    Workloads(Workloads),
}

/// Workloads that are admitted by JWT-SVIDs.
#[derive(Debug, Clone)]
pub struct Workloads {
    /// The file with their issuer's keys, as a JWK set; read at each request.
    pub keys: PathBuf,
    /// Whom their tokens must be for.
    pub audience: String,
    /// What their names begin with: `spiffe://example.org/agent/dev-workspace/`.
    pub below: String,
}

/// Why somebody is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stranger {
    #[error("no credential")]
    Nothing,
    #[error("another credential than one that is admitted")]
    Other,
    #[error("the token is no JWT with ES256")]
    Form,
    #[error("the token was signed by a key that is not known")]
    Key,
    #[error("the token's signature is not its key's")]
    Signature,
    #[error("the token is for another audience")]
    Audience,
    #[error("the token is of another time")]
    Time,
    #[error("the token is somebody else's")]
    Subject,
}

#[derive(Deserialize)]
struct Head {
    alg: String,
    kid: String,
}

#[derive(Deserialize)]
struct Keys {
    keys: Vec<Key>,
}

/// A key on P-256, as a JWK.
#[derive(Deserialize)]
struct Key {
    kid: Option<String>,
    kty: String,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    aud: Value,
    exp: u64,
    nbf: Option<u64>,
}

impl Admission {
    /// The name of who asks, if they are admitted.
    pub(super) fn admit(&self, headers: &HeaderMap) -> Result<String, Stranger> {
        let given = headers.get("authorization").and_then(|value| value.to_str().ok()).ok_or(Stranger::Nothing)?;
        let (scheme, credential) = given.split_once(' ').ok_or(Stranger::Other)?;
        match self {
            Self::Token(token) if scheme.eq_ignore_ascii_case("bearer") && credential == token => {
                Ok("bearer".to_owned())
            }
            Self::Token(token) if scheme.eq_ignore_ascii_case("basic") => {
                let pair = STANDARD.decode(credential).ok().and_then(|pair| String::from_utf8(pair).ok());
                let pair = pair.ok_or(Stranger::Other)?;
                let (user, password) = pair.split_once(':').ok_or(Stranger::Other)?;
                if password == token { Ok(user.to_owned()) } else { Err(Stranger::Other) }
            }
            Self::Workloads(workloads) if scheme.eq_ignore_ascii_case("bearer") => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
                workloads.verify(credential, now)
            }
            Self::Token(_) | Self::Workloads(_) => Err(Stranger::Other),
        }
    }
}

impl Workloads {
    /// The name in a token, if it is one of theirs.
    fn verify(&self, token: &str, now: u64) -> Result<String, Stranger> {
        let (signed, signature) = token.rsplit_once('.').ok_or(Stranger::Form)?;
        let (head, claims) = signed.split_once('.').ok_or(Stranger::Form)?;
        let head: Head = part(head)?;
        if head.alg != "ES256" {
            return Err(Stranger::Form);
        }
        let point = self.point(&head.kid).ok_or(Stranger::Key)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| Stranger::Form)?;
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
        key.verify(signed.as_bytes(), &signature).map_err(|_| Stranger::Signature)?;
        let claims: Claims = part(claims)?;
        let named = |aud: &Value| aud.as_str() == Some(&self.audience);
        if !named(&claims.aud) && !claims.aud.as_array().is_some_and(|all| all.iter().any(named)) {
            return Err(Stranger::Audience);
        }
        if claims.exp <= now || claims.nbf.is_some_and(|nbf| nbf > now + SKEW) {
            return Err(Stranger::Time);
        }
        if claims.sub.starts_with(&self.below) { Ok(claims.sub) } else { Err(Stranger::Subject) }
    }

    /// The public key of that name, as a point (SEC 1, section 2.3.3, uncompressed).
    fn point(&self, kid: &str) -> Option<Vec<u8>> {
        let keys: Keys = serde_json::from_slice(&std::fs::read(&self.keys).ok()?).ok()?;
        let key = keys.keys.into_iter().find(|key| key.kid.as_deref() == Some(kid))?;
        if key.kty != "EC" || key.crv.as_deref() != Some("P-256") {
            return None;
        }
        let half = |half: Option<String>| URL_SAFE_NO_PAD.decode(half?).ok().filter(|half| half.len() == 32);
        Some([vec![4], half(key.x)?, half(key.y)?].concat())
    }
}

fn part<T: for<'a> Deserialize<'a>>(part: &str) -> Result<T, Stranger> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| Stranger::Form)?;
    serde_json::from_slice(&bytes).map_err(|_| Stranger::Form)
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
    use serde_json::json;

    use super::*;

    const NOW: u64 = 1_000_000;

    /// An issuer, with its keys in a file.
    struct Issuer {
        folder: tempfile::TempDir,
        pair: EcdsaKeyPair,
    }

    impl Issuer {
        fn new() -> Self {
            let random = SystemRandom::new();
            let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.as_ref(), &random).unwrap();
            let folder = tempfile::tempdir().unwrap();
            let point = pair.public_key().as_ref();
            let half = |half: &[u8]| URL_SAFE_NO_PAD.encode(half);
            let key =
                json!({ "kid": "k", "kty": "EC", "crv": "P-256", "x": half(&point[1..33]), "y": half(&point[33..]) });
            std::fs::write(folder.path().join("jwks.json"), json!({ "keys": [key] }).to_string()).unwrap();
            Self { folder, pair }
        }

        fn sign(&self, head: &Value, claims: &Value) -> String {
            let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
            let signed = format!("{}.{}", part(head), part(claims));
            let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
        }

        fn workloads(&self) -> Workloads {
            let below = "spiffe://example.org/agent/dev-workspace/".to_owned();
            Workloads { keys: self.folder.path().join("jwks.json"), audience: "git".to_owned(), below }
        }
    }

    #[test]
    fn a_token_is_verified_in_every_part() {
        let issuer = Issuer::new();
        let head = json!({ "alg": "ES256", "kid": "k" });
        let name = "spiffe://example.org/agent/dev-workspace/task/01";
        let claims = json!({ "sub": name, "aud": ["git"], "exp": NOW + 1, "nbf": NOW });
        let verify = |token: &str| issuer.workloads().verify(token, NOW);
        let token = issuer.sign(&head, &claims);
        assert_eq!(verify(&token), Ok(name.to_owned()));
        let with = |key: &str, value: Value| {
            let mut claims = claims.clone();
            claims[key] = value;
            verify(&issuer.sign(&head, &claims))
        };
        assert_eq!(with("aud", json!("git")), Ok(name.to_owned()));
        assert_eq!(with("aud", json!(["other"])), Err(Stranger::Audience));
        assert_eq!(with("exp", json!(NOW)), Err(Stranger::Time));
        assert_eq!(with("nbf", json!(NOW + SKEW + 1)), Err(Stranger::Time));
        assert_eq!(with("sub", json!("spiffe://example.org/agent/dev-workspace-2/task/01")), Err(Stranger::Subject));
        for (head, why) in [
            (json!({ "alg": "none", "kid": "k" }), Stranger::Form),
            (json!({ "alg": "HS256", "kid": "k" }), Stranger::Form),
            (json!({ "alg": "ES256", "kid": "other" }), Stranger::Key),
            (json!({ "alg": "ES256" }), Stranger::Form),
        ] {
            assert_eq!(verify(&issuer.sign(&head, &claims)), Err(why), "{head}");
        }
        assert_eq!(verify(&Issuer::new().sign(&head, &claims)), Err(Stranger::Signature));
        let (signed, _) = token.rsplit_once('.').unwrap();
        assert_eq!(verify(&format!("{signed}.")), Err(Stranger::Signature));
        assert_eq!(verify(signed), Err(Stranger::Form));
    }

    #[test]
    fn a_fixed_token_is_borne_or_given_as_a_password() {
        let admission = Admission::Token("hunter22".to_owned());
        let admit = |value: &str| {
            let headers = [("authorization".parse().unwrap(), value.parse().unwrap())].into_iter().collect();
            admission.admit(&headers)
        };
        assert_eq!(admit("Bearer hunter22"), Ok("bearer".to_owned()));
        assert_eq!(admit(&format!("Basic {}", STANDARD.encode("git:hunter22"))), Ok("git".to_owned()));
        assert_eq!(admit(&format!("Basic {}", STANDARD.encode("hunter22:git"))), Err(Stranger::Other));
        assert_eq!(admit("Bearer hunter2"), Err(Stranger::Other));
        assert_eq!(admission.admit(&HeaderMap::new()), Err(Stranger::Nothing));
    }
}
