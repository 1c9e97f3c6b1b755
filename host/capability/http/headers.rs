//! Which headers are a guest's own to set, and what of them is sent.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;

use crate::leak::{Found, Leaks};

/// Headers in the order in which they are sent, for the record and for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(pub HeaderMap);

impl Serialize for Headers {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Escaped, every value has one text.
        serializer.collect_seq(
            self.0.iter().map(|(name, value)| (name.as_str(), value.as_bytes().escape_ascii().to_string())),
        )
    }
}

/// Headers that services read credentials from. The host attaches them, and nobody else.
const CREDENTIALS: &[&str] = &[
    "api-key",
    "apikey",
    "authorization",
    "cookie",
    "cookie2",
    "private-token",
    "x-access-token",
    "x-amz-security-token",
    "x-api-key",
    "x-api-token",
    "x-apikey",
    "x-auth-token",
    "x-goog-api-key",
    "x-gitlab-token",
    "x-vault-token",
];

/// Headers that the host builds, or nobody: they frame the message, or name another host, path, method or sender than the one
/// that was decided on.
const FRAMING: &[&str] = &[
    "cf-connecting-ip",
    "client-ip",
    "connection",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "remote-user",
    "te",
    "trailer",
    "transfer-encoding",
    "true-client-ip",
    "upgrade",
    "via",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-host",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-host",
    "x-original-uri",
    "x-original-url",
    "x-real-ip",
    "x-remote-user",
    "x-rewrite-url",
];

/// What such headers begin with.
const FRAMING_BEGINNINGS: &[&str] = &["proxy-", "sec-", "x-forwarded"];

/// Whether a server may take two headers for the same: those that hand headers on as variables (CGI, WSGI) do not tell `_` from
/// `-`.
pub(super) fn is_spelled_alike(one: &HeaderName, other: &HeaderName) -> bool {
    one.as_str().replace('_', "-") == other.as_str().replace('_', "-")
}

/// Whether a guest may not set a header.
pub(super) fn is_forbidden(name: &HeaderName) -> bool {
    frames(name) || CREDENTIALS.contains(&name.as_str().replace('_', "-").as_str())
}

/// Whether a header says how a message is framed, or to whom it goes, or from whom.
pub(super) fn frames(name: &HeaderName) -> bool {
    // Servers that hand headers on as variables (CGI, WSGI) take `_` and `-` for the same.
    let spelled = name.as_str().replace('_', "-");
    if spelled == "content-length" && name != header::CONTENT_LENGTH {
        return true;
    }
    let name = spelled.as_str();
    FRAMING.binary_search(&name).is_ok() || FRAMING_BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
}

/// What of a guest's headers is sent: the framing is the host's, and so is what bodies may be encoded with.
pub(super) fn sent(mut headers: HeaderMap) -> Headers {
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::ACCEPT_ENCODING);
    headers.entry(header::USER_AGENT).or_insert(HeaderValue::from_static(concat!("ambit/", env!("CARGO_PKG_VERSION"))));
    Headers(headers)
}

/// What is left of them when a redirect is followed, with a body or without: what says nothing of the one who asks.
pub(super) fn redirected(headers: &Headers, has_body: bool) -> Headers {
    let harmless = [header::ACCEPT, header::ACCEPT_LANGUAGE, header::USER_AGENT];
    let of_body = [header::CONTENT_TYPE, header::CONTENT_LANGUAGE, header::CONTENT_ENCODING];
    let kept = |name: &HeaderName| harmless.contains(name) || (has_body && of_body.contains(name));
    let kept = headers.0.iter().filter(|(name, _)| kept(name));
    let mut left = HeaderMap::new();
    for (name, value) in kept {
        left.append(name, value.clone());
    }
    Headers(left)
}

/// What a guest is shown of the headers of a response: not how the message was framed on the wire, and no credentials that
/// the host hands out.
pub(super) fn shown(mut headers: HeaderMap) -> HeaderMap {
    let is_hidden = |name: &&HeaderName| is_forbidden(name) || name.as_str().starts_with("set-cookie");
    let hidden: Vec<HeaderName> = headers.keys().filter(is_hidden).cloned().collect();
    for name in hidden {
        headers.remove(name);
    }
    headers
}

/// Headers in which what the task was lent is covered.
pub(super) fn covered(headers: HeaderMap, leaks: &Leaks, found: &mut Found) -> HeaderMap {
    if leaks.is_empty() {
        return headers;
    }
    let mut shown = HeaderMap::with_capacity(headers.len());
    for (name, value) in &headers {
        let in_name = leaks.find(name.as_str().as_bytes());
        let is_named = in_name.is_empty();
        found.extend(in_name);
        let mut bytes = value.as_bytes().to_vec();
        found.extend(leaks.cover(&mut bytes));
        // Asterisks can stand wherever something stood.
        if is_named && let Ok(value) = HeaderValue::from_bytes(&bytes) {
            shown.append(name, value);
        }
    }
    shown
}

/// The bytes of a header section, as HTTP/1.1 writes it.
pub(super) fn size(headers: &HeaderMap) -> u64 {
    headers.iter().map(|(name, value)| (name.as_str().len() + value.len() + ": \r\n".len()) as u64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_are_not_the_guests_are_known_in_any_spelling() {
        assert!(FRAMING.is_sorted());
        for name in [
            "Host",
            "AUTHORIZATION",
            "X-API-Key",
            "X_Api_Key",
            "Cookie",
            "X-Forwarded-Host",
            "Transfer-Encoding",
            "Proxy-Authorization",
            "TE",
            "X-HTTP-Method-Override",
            "Sec-WebSocket-Key",
            "Trailer",
            "X_Forwarded_For",
            "Transfer_Encoding",
            "Content_Length",
            "X-Original-Host",
        ] {
            assert!(is_forbidden(&name.parse().unwrap()), "{name}");
        }
        for name in ["Accept", "Content-Type", "X-Request-Id", "Idempotency-Key", "User-Agent", "If-None-Match"] {
            assert!(!is_forbidden(&name.parse().unwrap()), "{name}");
        }
    }

    #[test]
    fn a_redirect_takes_little_along() {
        let mut headers = HeaderMap::new();
        for name in ["accept", "x-request-id", "content-type", "user-agent", "referer"] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("x"));
        }
        let names = |has_body| {
            let left = redirected(&Headers(headers.clone()), has_body).0;
            left.keys().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(names(false), ["accept", "user-agent"]);
        assert_eq!(names(true), ["accept", "content-type", "user-agent"]);
    }
}
