//! Sends what a task did to a collector (OTLP/HTTP 1.x, in JSON): one request, once, when the task has ended.
//!
//! Nothing but the configuration says where to: no proxy is looked at, and no redirect is followed. What cannot be sent is not
//! kept: `ambit task show --format otlp` prints it again from the records.

use bytes::Bytes;
use http_body_util::Full;
use serde_json::Value;

use super::asked::{Server, Ways, post};
use crate::address::Reach;
use crate::settings::telemetry::TelemetrySetting;

/// The longest answer, in bytes.
const LONGEST_ANSWER: usize = 64 << 10;

/// A collector.
pub struct Telemetry {
    setting: TelemetrySetting,
    ways: Ways,
}

impl Telemetry {
    /// The one that the configuration names.
    pub fn new(setting: TelemetrySetting) -> Self {
        Self { setting, ways: Ways::default() }
    }

    /// Sends a request with spans.
    ///
    /// # Errors
    /// Why it did not arrive, or was not taken, in words.
    pub async fn send(&self, request: &Value) -> Result<(), String> {
        let sent = tokio::time::timeout(self.setting.timeout.duration(), self.exchange(request)).await;
        let sent = sent.unwrap_or_else(|_| Err("it took too long".to_owned()));
        sent.map_err(|why| crate::audit::escaped(&format!("{}: {why}", self.setting.endpoint.url())))
    }

    async fn exchange(&self, request: &Value) -> Result<(), String> {
        let url = self.setting.endpoint.url();
        let body = serde_json::to_vec(request).map_err(|error| error.to_string())?;
        let message = post(url, "application/json").body(Full::new(Bytes::from(body)));
        let message = message.map_err(|error| error.to_string())?;
        // Without TLS, what is sent must not leave this machine, wherever its names lead.
        let here = (url.scheme() == "http").then(Reach::here);
        let server = Server { url, addresses: here.as_ref(), ca: self.setting.ca.as_deref() };
        let mut link = self.ways.connect(&server).await?;
        let answer = link.exchange(message, LONGEST_ANSWER).await.map_err(|error| error.to_string())?;
        if !answer.status().is_success() {
            return Err(format!("its answer has the status {}", answer.status().as_u16()));
        }
        rejected(answer.body()).map_or(Ok(()), |count| Err(format!("it did not take {count} spans")))
    }
}

/// How many spans were not taken (`ExportTracePartialSuccess`). 64-bit integers are strings in the JSON of Protocol Buffers.
fn rejected(body: &[u8]) -> Option<u64> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let rejected = answer.get("partialSuccess")?.get("rejectedSpans")?;
    let rejected = rejected.as_u64().or_else(|| rejected.as_str()?.parse().ok());
    rejected.filter(|count| *count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_what_was_not_taken() {
        for (body, count) in [
            ("", None),
            ("{}", None),
            (r#"{"partialSuccess":{}}"#, None),
            (r#"{"partialSuccess":{"rejectedSpans":"0"}}"#, None),
            (r#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"full"}}"#, Some(3)),
            (r#"{"partialSuccess":{"rejectedSpans":2}}"#, Some(2)),
        ] {
            assert_eq!(rejected(body.as_bytes()), count, "{body}");
        }
    }
}
