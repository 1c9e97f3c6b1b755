//! A token of a service's that is had in exchange for a token of the task's own identity (RFC 8693).
//!
//! The task is the subject; what it gets names it, so it is lent to that call of the task alone. Nothing but the
//! configuration says where it is asked: no proxy is looked at, and no redirect is followed, as the task's token would go
//! along.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::StatusCode;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{Asked, Found, Reading, SecretError, Source, Stored, vault};
use crate::edge::connection::Trust;
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

/// Where tokens are exchanged.
pub(super) struct Exchange {
    setting: Arc<ExchangeSetting>,
    identities: Identities,
    /// Has the secret of the client that ambit is there.
    stored: Stored,
    trust: Trust,
}

impl Exchange {
    pub(super) fn new(setting: ExchangeSetting, identities: Identities, stored: Stored) -> Self {
        Self { setting: Arc::new(setting), identities, stored, trust: Trust::default() }
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
        let (setting, trust) = (Arc::clone(&self.setting), self.trust.clone());
        let (identities, stored) = (self.identities.clone(), self.stored.clone());
        Box::pin(async move {
            let unavailable = |why: String| SecretError::Unavailable { name: name.clone(), place: place.clone(), why };
            let subject = asked.subject.ok_or_else(|| {
                unavailable("it is had for requests of a task alone, and cannot be revealed".to_owned())
            })?;
            let token = identities.mint(Some(subject), setting.subject_audience(), LONGEST.as_secs()).await;
            let token = token.map_err(|error| unavailable(error.to_string()))?.value;
            let client = match &setting.client {
                Some(client) => Some((client.id.clone(), stored.find(&client.secret)?.value)),
                None => None,
            };
            let exchanged = exchange(&setting, &trust, &token, client.as_ref());
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
fn form(setting: &ExchangeSetting, token: &Secret) -> Zeroizing<String> {
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
    Zeroizing::new(form.finish())
}

/// Exchanges a token: the other one, and how long it lasts.
async fn exchange(
    setting: &ExchangeSetting,
    trust: &Trust,
    token: &Secret,
    client: Option<&(String, Secret)>,
) -> Result<(Zeroizing<Vec<u8>>, Duration), String> {
    let http = vault::client_of(trust, setting.ca.as_deref()).await?;
    let mut request = http.post(setting.endpoint.url().clone()).header(ACCEPT, "application/json");
    request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    if let Some((id, secret)) = client {
        // Both are encoded as in a form first (RFC 6749, section 2.3.1).
        let encoded = |bytes: &[u8]| url::form_urlencoded::byte_serialize(bytes).collect::<String>();
        let secret = Zeroizing::new(encoded(secret.expose()));
        request = request.basic_auth(encoded(id.as_bytes()), Some(secret.as_str()));
    }
    let answer = request.body(form(setting, token).to_string()).send().await;
    let mut answer = answer.map_err(|error| vault::unreachable(&error))?;
    let status = answer.status();
    if status.is_redirection() {
        return Err(format!("it answered {status}, which leads elsewhere: write into `endpoint` where it is itself"));
    }
    let mut body = BytesMut::new();
    while let Some(piece) = answer.chunk().await.map_err(|error| vault::unreachable(&error))? {
        body.extend_from_slice(&piece);
        if body.len() > LONGEST_ANSWER {
            return Err(format!("its answer has more than {LONGEST_ANSWER} bytes"));
        }
    }
    read(status, &body.freeze())
}

/// What a token endpoint gives (RFC 8693, section 2.2.1).
#[derive(Deserialize)]
struct Given {
    access_token: String,
    issued_token_type: String,
    token_type: String,
    expires_in: Option<u64>,
}

/// Why it gives nothing (RFC 6749, section 5.2). What it says besides could be anything.
#[derive(Deserialize)]
struct Refused {
    error: String,
}

fn read(status: StatusCode, body: &Bytes) -> Result<(Zeroizing<Vec<u8>>, Duration), String> {
    if status != StatusCode::OK {
        let fits = |code: &str| {
            (1..=LONGEST_CODE).contains(&code.len())
                && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        };
        let code = serde_json::from_slice::<Refused>(body).ok().map(|refused| refused.error).filter(|code| fits(code));
        return Err(match code {
            Some(code) => format!("it answered {}: {code}", status.as_u16()),
            None => format!("it answered {}", status.as_u16()),
        });
    }
    let given: Given = serde_json::from_slice(body)
        .map_err(|_| "its answer is no JSON with `access_token`, `issued_token_type` and `token_type`".to_owned())?;
    if given.issued_token_type.is_empty() {
        return Err("it does not say what it issued".to_owned());
    }
    // One that is no access token has none of its kinds, and is borne all the same (section 2.2.1).
    if !["bearer", "n_a"].iter().any(|known| given.token_type.eq_ignore_ascii_case(known)) {
        return Err("what it issued is no bearer token".to_owned());
    }
    let fits = |byte: u8| byte.is_ascii_graphic();
    if !given.access_token.bytes().all(fits) {
        return Err("what it issued can stand in no header".to_owned());
    }
    let lasts = given.expires_in.map_or(LONGEST, Duration::from_secs);
    if lasts.is_zero() {
        return Err("what it issued is over already".to_owned());
    }
    Ok((Zeroizing::new(given.access_token.into_bytes()), lasts))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(status: u16, body: &str) -> Result<(String, u64), String> {
        let read = read(StatusCode::from_u16(status).unwrap(), &Bytes::from(body.to_owned()));
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
        assert!(given(200, r#"{"access_token": "abc.def"}"#).is_err());
        assert!(given(200, "<html>").is_err());
        assert_eq!(given(400, r#"{"error": "invalid_target"}"#), Err("it answered 400: invalid_target".to_owned()));
        for odd in [r#"{"error": "Eaten: abc.def"}"#, r#"{"error": 7}"#, "abc.def", ""] {
            assert_eq!(given(401, odd), Err("it answered 401".to_owned()));
        }
    }
}
