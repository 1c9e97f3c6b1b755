//! Tokens: what they say, and which are believed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use super::*;
use zeroize::Zeroizing;

const AUDIENCE: &str = "https://billing.example.net";

fn subject() -> Subject {
    Subject {
        task: "01KABC/2".to_owned(),
        bundle: "support-desk".to_owned(),
        component: "billing".to_owned(),
        digest: "sha256:c".to_owned(),
        grant: "sha256:g".to_owned(),
        policy: "sha256:p".to_owned(),
        user: Some("maria".to_owned()),
        left: Duration::from_secs(60),
    }
}

fn set(keys: &[&KeyPair]) -> JwkSet {
    let keys = keys.iter().map(|key| jwk(key.kid(), key.point().0, key.point().1, Use::Signatures));
    JwkSet { keys: keys.collect() }
}

fn claims(lifetime: u64) -> Claims {
    let lifetime = Duration::from_secs(lifetime);
    subject().claims(&Setting::default(), AUDIENCE, lifetime, crate::config::wall_clock()).unwrap()
}

fn believed(token: &str, key: &KeyPair, audience: &str) -> Result<Claims, String> {
    verify(token, &set(&[key]), &Setting::default(), audience).map_err(|Disbelief(why)| why)
}

/// A token with another header, signed by `signature`.
fn forged(header: &Value, claims: &Claims, signature: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let part = |value: String| URL_SAFE_NO_PAD.encode(value);
    let signed = format!("{}.{}", part(header.to_string()), part(serde_json::to_string(claims).unwrap()));
    let signature = URL_SAFE_NO_PAD.encode(signature(signed.as_bytes()));
    format!("{signed}.{signature}")
}

#[test]
fn a_token_says_who_asks_for_whom_and_for_how_long() {
    let key = KeyPair::generate().unwrap();
    let token = sign(&key, &claims(3600)).unwrap();
    let header: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap()).unwrap();
    assert_eq!(header, json!({ "alg": "ES256", "kid": key.kid(), "typ": "JWT" }));
    let said = believed(&token, &key, AUDIENCE).unwrap();
    assert_eq!(said.sub, "spiffe://ambit.local/agent/support-desk/task/01KABC/2");
    assert_eq!(said.exp - said.iat, 60, "never longer than the task can run");
    assert_eq!(said.user.as_deref(), Some("maria"));
    let again = KeyPair::read(Zeroizing::new(key.private().to_vec())).unwrap();
    assert_eq!(again.kid(), key.kid());
    let alone = Subject { bundle: "call/search".to_owned(), task: "01K".to_owned(), ..subject() };
    assert_eq!(alone.id(&TrustDomain::default()).unwrap(), "spiffe://ambit.local/tool/search/task/01K");
    assert!(Subject { task: "0".repeat(2048), ..subject() }.id(&TrustDomain::default()).is_none());
}

#[test]
fn a_token_is_believed_for_its_audience_in_its_time_from_its_key() {
    let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let token = sign(&key, &claims(60)).unwrap();
    assert!(believed(&token, &key, "https://other.example.net").is_err());
    assert!(believed(&token, &other, AUDIENCE).unwrap_err().contains("no key of this home"));
    let now = crate::config::wall_clock().as_secs();
    for (change, why) in [
        (Claims { exp: now, ..claims(60) }, "expired"),
        (Claims { nbf: now + 60, ..claims(60) }, "not yet"),
        (Claims { iss: "https://elsewhere.example".to_owned(), ..claims(60) }, "another issuer"),
        (Claims { sub: "spiffe://elsewhere.example/agent/a/task/1".to_owned(), ..claims(60) }, "another domain"),
    ] {
        assert!(believed(&sign(&key, &change).unwrap(), &key, AUDIENCE).is_err(), "{why}");
    }
    let (signed, signature) = token.rsplit_once('.').unwrap();
    for odd in
        [format!("{signed}."), signed.to_owned(), format!("{token}x"), format!("{token}.x"), signature.to_owned()]
    {
        assert!(believed(&odd, &key, AUDIENCE).is_err(), "{odd}");
    }
}

#[test]
fn other_algorithms_and_foreign_keys_are_not_believed() {
    super::keys::install();
    let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let none = forged(&json!({ "alg": "none", "typ": "JWT", "kid": key.kid() }), &claims(60), |_| Vec::new());
    assert!(believed(&none, &key, AUDIENCE).is_err());
    // The public key as the secret of an HMAC.
    let public = [key.point().0, key.point().1].map(|part| URL_SAFE_NO_PAD.decode(part).unwrap()).concat();
    let hmac = |bytes: &[u8]| {
        let mut mac = Hmac::<Sha256>::new_from_slice(&[&[4], public.as_slice()].concat()).unwrap();
        mac.update(bytes);
        mac.finalize().into_bytes().to_vec()
    };
    let confused = forged(&json!({ "alg": "HS256", "typ": "JWT", "kid": key.kid() }), &claims(60), hmac);
    assert!(believed(&confused, &key, AUDIENCE).unwrap_err().contains("ES256"));
    // Another's signature under our key's name.
    let stolen = jsonwebtoken::Header { kid: Some(key.kid().to_owned()), ..Header::new(Algorithm::ES256) };
    let stolen = jsonwebtoken::encode(&stolen, &claims(60), &other.encoding()).unwrap();
    assert!(believed(&stolen, &key, AUDIENCE).unwrap_err().contains("does not hold"));
    let nameless = jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims(60), &key.encoding()).unwrap();
    assert!(believed(&nameless, &key, AUDIENCE).is_err());
}

#[test]
fn trust_domains_and_issuers_have_one_spelling() {
    let domain = |text: &str| TrustDomain::try_from(text.to_owned());
    assert!(domain("example.net").is_ok() && domain(&"a".repeat(255)).is_ok());
    for odd in ["", "Example.net", "a/b", "a b", "ä", "a:1", &"a".repeat(256)] {
        assert!(domain(odd).is_err(), "{odd}");
    }
    let issuer = |text: &str| Issuer::try_from(text.to_owned());
    assert!(issuer("https://ambit.example.net").is_ok() && issuer("https://a.example/tenant/1").is_ok());
    for odd in ["", "http://a.example", "https://a.example/", "https://a.example?x", "https://u@a.example", "a.example"]
    {
        assert!(issuer(odd).is_err(), "{odd}");
    }
}
