//! A token of a service's that is had in exchange for a token of the task's own identity (RFC 8693).
//!
//! The task is the subject; what it gets names it, so it is lent to that call of the task alone. Nothing but the
//! configuration says where it is asked: no proxy is looked at, and no redirect is followed, as the task's token would go
//! along.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderValue};
use http::{Request, StatusCode};
use http_body_util::{Full, LengthLimitError};
use serde_json::Value;
use zeroize::Zeroizing;

use super::{Asked, Found, Reading, SecretError, Source, Stored};
use crate::address::Reach;
use crate::edge::asked::{Server, Ways, post};
use crate::edge::identities::Identities;
use crate::identity::LONGEST;
use crate::secret::{Secret, SecretName};
use crate::settings::secret::ExchangeSetting;

/// The longest answer, in bytes.
const LONGEST_ANSWER: usize = 64 << 10;
/// The longest code of an error that is shown, in bytes.
const LONGEST_CODE: usize = 64;
/// RFC 8693, section 2.1.
const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// RFC 8693, section 3.
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
/// Why nothing was sent, if what would be is no message of HTTP.
const UNASKED: &str = "the request could not be made";

/// Where tokens are exchanged.
pub(super) struct Exchange {
    setting: Arc<ExchangeSetting>,
    identities: Identities,
    /// Has the secret of the client that ambit is there.
    stored: Stored,
    ways: Ways,
}

impl Exchange {
    pub(super) fn new(setting: ExchangeSetting, identities: Identities, stored: Stored) -> Self {
        Self { setting: Arc::new(setting), identities, stored, ways: Ways::default() }
    }
}

impl Source for Exchange {
    fn place(&self) -> String {
        format!("the token endpoint {}", self.setting.endpoint)
    }

    fn is_of_a_task(&self) -> bool {
        true
    }

    fn read(&self, name: &SecretName, asked: Asked) -> Reading {
        let (name, place, patience) = (name.clone(), self.place(), self.setting.timeout.duration());
        let (setting, ways) = (Arc::clone(&self.setting), self.ways.clone());
        let (identities, stored) = (self.identities.clone(), self.stored.clone());
        Box::pin(async move {
            let unavailable = |why: String| SecretError::Unavailable { name: name.clone(), place: place.clone(), why };
            let subject = asked.subject.ok_or_else(|| {
                unavailable("it is had for requests of a task alone, and cannot be revealed".to_owned())
            })?;
            let most = asked.approved.map_or(LONGEST, |approved| approved.min(LONGEST)).as_secs();
            let token = identities.mint(Some(subject), setting.subject_audience(), most).await;
            let token = token.map_err(|error| unavailable(error.to_string()))?.value;
            asked.notes.put("subject-audience", setting.subject_audience());
            let client = match &setting.client {
                Some(client) => Some((client.id.clone(), stored.find(&client.secret)?.value)),
                None => None,
            };
            let exchanged = exchange(&setting, &ways, &token, client.as_ref());
            let exchanged = tokio::time::timeout(patience, exchanged).await;
            let exchanged = exchanged.unwrap_or_else(|_| Err("it did not answer in time".to_owned()));
            let (value, lasts) = exchanged.map_err(unavailable)?;
            let value = Secret::new(value).map_err(|why| SecretError::Unfit { name: name.clone(), why })?;
            Ok(Found { value, version: None, lasts: Some(lasts), beside: Some(token) })
        })
    }

    fn version(&self, _name: &SecretName) -> Result<Option<String>, SecretError> {
        Ok(None)
    }
}

/// What is sent (RFC 8693, section 2.1).
fn message(
    setting: &ExchangeSetting,
    token: &Secret,
    client: Option<&(String, Secret)>,
) -> Result<Request<Full<Bytes>>, String> {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    let token = Zeroizing::new(String::from_utf8_lossy(token.expose()).into_owned());
    form.append_pair("grant_type", GRANT_TYPE).append_pair("subject_token", &token);
    form.append_pair("subject_token_type", JWT);
    let optional = [
        ("audience", &setting.audience),
        ("resource", &setting.resource),
        ("scope", &setting.scope),
        ("requested_token_type", &setting.requested_token_type),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            form.append_pair(name, value);
        }
    }
    let mut message = post(setting.endpoint.url(), "application/x-www-form-urlencoded");
    if let Some((id, secret)) = client {
        message = message.header(AUTHORIZATION, basic(id, secret)?);
    }
    let body = Bytes::from_owner(Zeroizing::new(form.finish()));
    message.body(Full::new(body)).map_err(|_| UNASKED.to_owned())
}

/// As whom ambit asks. Both are encoded as in a form first (RFC 6749, section 2.3.1).
fn basic(id: &str, secret: &Secret) -> Result<HeaderValue, String> {
    let encoded = |bytes: &[u8]| Zeroizing::new(url::form_urlencoded::byte_serialize(bytes).collect::<String>());
    let pair = Zeroizing::new(format!("{}:{}", *encoded(id.as_bytes()), *encoded(secret.expose())));
    let text = Zeroizing::new(format!("Basic {}", *Zeroizing::new(STANDARD.encode(&*pair))));
    let mut value = HeaderValue::from_str(&text).map_err(|_| UNASKED.to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// Why there is no answer.
fn unreachable(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    format!("it cannot be reached: {}", crate::audit::escaped(&cause.to_string()))
}

/// Exchanges a token: the other one, and how long it lasts.
async fn exchange(
    setting: &ExchangeSetting,
    ways: &Ways,
    token: &Secret,
    client: Option<&(String, Secret)>,
) -> Result<(Zeroizing<Vec<u8>>, Duration), String> {
    let message = message(setting, token, client)?;
    // Without TLS, what is sent must not leave this machine, wherever its names lead.
    let here = (setting.endpoint.url().scheme() == "http").then(Reach::here);
    let addresses = setting.addresses.as_ref().or(here.as_ref());
    let server = Server { url: setting.endpoint.url(), addresses, ca: setting.ca.as_deref() };
    let link = ways.connect(&server).await;
    let mut link = link.map_err(|why| format!("it cannot be reached: {}", crate::audit::escaped(&why)))?;
    let answer = link.exchange(message, LONGEST_ANSWER).await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            format!("its answer has more than {LONGEST_ANSWER} bytes")
        } else {
            unreachable(&*error)
        }
    })?;
    read(answer.status(), answer.body())
}

fn read(status: StatusCode, body: &[u8]) -> Result<(Zeroizing<Vec<u8>>, Duration), String> {
    if status.is_redirection() {
        return Err(format!("it answered {status}, which leads elsewhere: write into `endpoint` where it is itself"));
    }
    // Strictly: of a token that is there twice, none is the token.
    let answer = std::str::from_utf8(body).ok().and_then(|text| crate::tool::json::parse(text).ok());
    if status == StatusCode::OK {
        given(&answer.ok_or("its answer is no JSON")?)
    } else {
        Err(refused(status, answer.as_ref()))
    }
}

/// What a token endpoint gives (RFC 8693, section 2.2.1).
fn given(answer: &Value) -> Result<(Zeroizing<Vec<u8>>, Duration), String> {
    let text = |name| {
        let text = answer.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        text.ok_or_else(|| format!("its answer has no `{name}`"))
    };
    let (token, kind) = (text("access_token")?, text("token_type")?);
    text("issued_token_type")?;
    // One that is no access token has none of its kinds, and is borne all the same.
    if !["bearer", "n_a"].iter().any(|known| kind.eq_ignore_ascii_case(known)) {
        return Err("what it issued is no bearer token".to_owned());
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("what it issued can stand in no header".to_owned());
    }
    let lasts = match answer.get("expires_in") {
        None => LONGEST,
        Some(seconds) => Duration::from_secs(seconds.as_u64().ok_or("its `expires_in` is no number of seconds")?),
    };
    if lasts.is_zero() {
        return Err("what it issued is over already".to_owned());
    }
    Ok((Zeroizing::new(token.as_bytes().to_vec()), lasts))
}

/// Why it gives nothing (RFC 6749, section 5.2). What it says besides its code could be anything.
fn refused(status: StatusCode, answer: Option<&Value>) -> String {
    let fits = |code: &&str| {
        (1..=LONGEST_CODE).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    match answer.and_then(|answer| answer.get("error")).and_then(Value::as_str).filter(fits) {
        Some(code) => format!("it answered {}: {code}", status.as_u16()),
        None => format!("it answered {}", status.as_u16()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(status: u16, body: &str) -> Result<(String, u64), String> {
        let read = read(StatusCode::from_u16(status).unwrap(), body.as_bytes());
        read.map(|(token, lasts)| (String::from_utf8(token.to_vec()).unwrap(), lasts.as_secs()))
    }

    #[test]
    fn an_answer_is_read_strictly() {
        let body = |more: &str| {
            format!(r#"{{"access_token": "abc.def", "issued_token_type": "urn:x", "token_type": "Bearer"{more}}}"#)
        };
        assert_eq!(given(200, &body(r#", "expires_in": 60, "scope": "x""#)), Ok(("abc.def".to_owned(), 60)));
        assert_eq!(given(200, &body("")), Ok(("abc.def".to_owned(), 300)), "minutes, if nothing is said");
        assert!(given(200, &body(r#", "expires_in": 0"#)).is_err());
        assert!(given(200, &body(r#", "expires_in": "60""#)).is_err());
        assert!(given(200, &body("").replace("Bearer", "DPoP")).is_err());
        assert!(given(200, &body("").replace("abc.def", "abc\\ndef")).is_err());
        for twice in [r#", "token_type": "Bearer""#, r#", "access_token": "abc.xyz""#] {
            assert!(given(200, &body(twice)).is_err(), "{twice}");
        }
        for odd in [
            r#"{"access_token": "abc.def"}"#,
            r#"{"access_token": "abc.def", "token_type": "Bearer"}"#,
            r#"["abc.def", "urn:x", "Bearer", 60]"#,
            r#"{"access_token": "", "issued_token_type": "urn:x", "token_type": "Bearer"}"#,
            "7",
        ] {
            assert!(given(200, odd).is_err(), "{odd}");
        }
        assert!(given(200, &body(r#", "expires_in": null"#)).is_err());
        assert!(given(200, &body(r#", "expires_in": -1"#)).is_err());
        assert!(given(200, "<html>").is_err());
        assert_eq!(given(400, r#"{"error": "invalid_target"}"#), Err("it answered 400: invalid_target".to_owned()));
        for odd in [r#"{"error": "Eaten: abc.def"}"#, r#"{"error": 7}"#, r#"["invalid_target"]"#, "abc.def", ""] {
            assert_eq!(given(401, odd), Err("it answered 401".to_owned()));
        }
    }
}
