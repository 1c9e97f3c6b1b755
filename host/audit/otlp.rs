//! Records as logs of the OpenTelemetry protocol, in JSON: one `ExportLogsServiceRequest` for many.

use serde_json::{Value, json};

use super::{Kind, Record};

pub(super) fn text(value: &str) -> Value {
    json!({ "stringValue": value })
}

/// 64-bit integers are strings in the JSON of Protocol Buffers.
pub(super) fn number(value: u64) -> Value {
    json!({ "intValue": value.to_string() })
}

fn log(record: &Record) -> Value {
    let Record { seq, entry, hash } = record;
    // INFO, WARN and ERROR of the logs data model.
    let (number_of_severity, severity) = match entry.kind {
        Kind::Operator if entry.code == "lost" => (17, "ERROR"),
        Kind::Refusal => (13, "WARN"),
        Kind::Outcome if entry.code != "done" => (13, "WARN"),
        _ => (9, "INFO"),
    };
    let rules: Vec<Value> = entry.rules.iter().map(|rule| text(rule)).collect();
    let attributes = [
        ("seq", number(*seq)),
        ("kind", text(entry.kind.as_str())),
        ("task", text(&entry.task)),
        ("component", text(&entry.component)),
        ("effect", number(entry.effect)),
        ("import", number(entry.import)),
        ("action", text(&entry.action)),
        ("resource", text(&entry.resource)),
        ("arguments", text(&entry.arguments)),
        ("code", text(&entry.code)),
        ("rules", json!({ "arrayValue": { "values": rules } })),
        ("detail", text(&entry.detail)),
        // What a guest made stands here and nowhere else.
        ("text", text(&entry.text)),
        ("hash", text(&hash.to_string())),
    ];
    let attributes = attributes.map(|(name, value)| json!({ "key": format!("ambit.{name}"), "value": value }));
    let time = (u128::from(entry.at) * 1_000_000).to_string();
    json!({
        "timeUnixNano": time,
        "observedTimeUnixNano": time,
        "severityNumber": number_of_severity,
        "severityText": severity,
        "eventName": format!("ambit.audit.{}", entry.kind.as_str()),
        "body": text(&format!("{} {} {}", entry.kind.as_str(), entry.action, entry.code)),
        "attributes": attributes,
    })
}

/// A request with these records.
pub fn request(records: &[Record]) -> Value {
    let logs: Vec<Value> = records.iter().map(log).collect();
    json!({
        "resourceLogs": [{
            "resource": { "attributes": [{ "key": "service.name", "value": text("ambit") }] },
            "scopeLogs": [{ "scope": { "name": "ambit.audit" }, "logRecords": logs }],
        }],
    })
}
