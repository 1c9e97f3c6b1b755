//! Asks a decision point over HTTP (`OpenID` `AuthZEN` Authorization API 1.0).
//!
//! Decisions are frequent, so one connection is kept from one to the next; where two overlap, another is opened. One that
//! has become stale in between is replaced, once: to ask the same again does no harm.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::StatusCode;
use http_body_util::Full;
use serde_json::Value;

use super::asked::{Server, Ways, post};
use super::connection::Link;
use crate::policy::point::{Answer, Point, PointError, Setting, Verdict};

/// The longest answer, in bytes.
const LONGEST_ANSWER: usize = 64 * 1024;
/// The longest reason that is kept, in bytes.
const LONGEST_REASON: usize = 1024;

/// A decision point that is asked over HTTP.
pub struct DecisionPoint {
    setting: Arc<Setting>,
    ways: Ways,
    idle: Idle,
}

/// A connection that nobody uses just now.
type Idle = Arc<Mutex<Option<Link<Full<Bytes>>>>>;

impl DecisionPoint {
    /// The one that the configuration names.
    pub fn new(setting: Setting) -> Self {
        Self { setting: Arc::new(setting), ways: Ways::default(), idle: Idle::default() }
    }
}

impl Point for DecisionPoint {
    fn place(&self) -> String {
        self.setting.url.to_string()
    }

    fn evaluate(&self, id: String, asked: Value) -> Answer {
        let (setting, ways, idle) = (Arc::clone(&self.setting), self.ways.clone(), Arc::clone(&self.idle));
        Box::pin(async move {
            let answered = evaluate(&setting, &ways, &idle, message(&setting, &id, &asked)?);
            match tokio::time::timeout(setting.timeout.duration(), answered).await {
                Ok(verdict) => verdict,
                Err(_) => Err(PointError("it took too long".to_owned())),
            }
        })
    }
}

fn failed(error: impl std::fmt::Display) -> PointError {
    PointError(error.to_string())
}

async fn evaluate(
    setting: &Setting,
    ways: &Ways,
    idle: &Idle,
    message: http::Request<Full<Bytes>>,
) -> Result<Verdict, PointError> {
    let kept = idle.lock().unwrap_or_else(PoisonError::into_inner).take();
    let mut answered = None;
    if let Some(mut link) = kept
        && link.is_usable().await
    {
        // Whoever keeps a connection may end it at any time: that is no answer.
        answered = link.exchange(message.clone(), LONGEST_ANSWER).await.ok().map(|response| (response, link));
    }
    let (response, link) = if let Some(answered) = answered {
        answered
    } else {
        let addresses = setting.addresses.as_ref();
        let server = Server { url: setting.url.url(), addresses, ca: setting.ca.as_deref() };
        let mut link = ways.connect(&server).await.map_err(PointError)?;
        (link.exchange(message, LONGEST_ANSWER).await.map_err(failed)?, link)
    };
    *idle.lock().unwrap_or_else(PoisonError::into_inner) = Some(link);
    if response.status() != StatusCode::OK {
        return Err(PointError(format!("its answer has the status {}", response.status().as_u16())));
    }
    verdict(response.body())
}

/// The question on the wire.
fn message(setting: &Setting, id: &str, asked: &Value) -> Result<http::Request<Full<Bytes>>, PointError> {
    let body = serde_json::to_vec(asked).map_err(failed)?;
    let message = post(setting.url.url(), "application/json").header("x-request-id", id);
    message.body(Full::new(body.into())).map_err(failed)
}

/// What an answer says (`AuthZEN`, section 6.2). Whatever is not exactly a decision is none.
fn verdict(body: &[u8]) -> Result<Verdict, PointError> {
    // Strictly: of a `decision` that is there twice, none is the decision.
    let text = std::str::from_utf8(body).map_err(|_| PointError("its answer is no JSON".to_owned()))?;
    let answer = crate::tool::json::parse(text).map_err(|_| PointError("its answer is no JSON".to_owned()))?;
    let Some(allowed) = answer.get("decision").and_then(Value::as_bool) else {
        return Err(PointError("its answer has no `decision` that is true or false".to_owned()));
    };
    let reason = answer.get("context").filter(|context| !context.is_null()).map(|context| {
        let mut reason = context.to_string();
        while reason.len() > LONGEST_REASON {
            reason.pop();
        }
        reason
    });
    Ok(Verdict { allowed, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_decision_is_one() {
        let read = |text: &str| verdict(text.as_bytes());
        assert_eq!(read(r#"{"decision": true}"#), Ok(Verdict { allowed: true, reason: None }));
        let denied = read(r#"{"decision": false, "context": {"reason_admin": {"en": "no"}}}"#).unwrap();
        assert_eq!((denied.allowed, denied.reason.as_deref()), (false, Some(r#"{"reason_admin":{"en":"no"}}"#)));
        for odd in [
            "",
            "true",
            "[true]",
            "{}",
            r#"{"decision": "true"}"#,
            r#"{"decision": 1}"#,
            r#"{"decision": null}"#,
            r#"{"Decision": true}"#,
            r#"{"decision": true} x"#,
            r#"{"decision": false, "decision": true}"#,
        ] {
            assert!(read(odd).is_err(), "{odd}");
        }
        let long = format!(r#"{{"decision": false, "context": {{"reason": "{}"}}}}"#, "ä".repeat(2000));
        assert!(read(&long).unwrap().reason.unwrap().len() <= LONGEST_REASON);
    }
}
