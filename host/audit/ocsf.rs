//! Records as events of the Open Cybersecurity Schema Framework, version 1.6.
//!
//! A request is an HTTP Activity (4002), everything else an API Activity (6003), both with the profile `security_control`,
//! which has the decision. What the schema has no place for stands below `unmapped`, and so does text that a guest made.

use serde_json::{Value, json};

use super::{Kind, Record};

/// The version of the schema.
const VERSION: &str = "1.6.0";

/// HTTP methods and their activities (`http_activity`, `activity_id`).
const METHODS: [(&str, u32); 9] = [
    ("CONNECT", 1),
    ("DELETE", 2),
    ("GET", 3),
    ("HEAD", 4),
    ("OPTIONS", 5),
    ("POST", 6),
    ("PUT", 7),
    ("TRACE", 8),
    ("PATCH", 9),
];

/// What the last word of an action is to `api_activity`: 1 create, 2 read, 3 update, 4 delete, 99 other.
fn activity(action: &str) -> u32 {
    match action.rsplit(['.', '-']).next().unwrap_or_default() {
        "create" | "open" | "set" => 1,
        "read" | "list" | "get" | "reveal" => 2,
        "write" | "add" | "rotate" | "rename" => 3,
        "delete" | "remove" => 4,
        _ => 99,
    }
}

/// Severity, status, action and disposition.
fn judged(record: &Record) -> (u32, u32, u32, u32) {
    let code = &*record.entry.code;
    match record.entry.kind {
        Kind::Refusal => (3, 2, 2, 2),
        Kind::Intent => (1, 0, 1, 1),
        Kind::Outcome if code == "done" => (1, 1, 1, 1),
        Kind::Outcome if matches!(code, "quota" | "refused") => (3, 2, 2, 2),
        Kind::Outcome => (2, 2, 1, 27),
        Kind::Answer if code == "approved" => (1, 1, 1, 8),
        Kind::Answer => (2, 2, 2, 25),
        Kind::End if code == "succeeded" => (1, 1, 3, 17),
        Kind::End => (2, 2, 3, 17),
        Kind::Operator if code == "lost" => (5, 2, 3, 19),
        Kind::Start | Kind::Ask | Kind::Operator => (1, 1, 3, 17),
    }
}

/// A record as an event.
pub fn event(record: &Record) -> Value {
    let Record { seq, entry, hash } = record;
    let (severity, status, action, disposition) = judged(record);
    let (kind, name) = entry.resource.split_once("::").unwrap_or((&entry.resource, ""));
    let name = name.trim_matches('"');
    let is_request = entry.action == "http.request";
    let (category, class, activity) = if is_request {
        // Where the grant lists a request, the host built its text itself; what else a guest asked for is its own.
        let method = entry.text.split(' ').next().unwrap_or_default();
        let known = METHODS.iter().find(|(known, _)| *known == method);
        (4, 4002, known.map_or(99, |(_, activity)| *activity))
    } else {
        (6, 6003, activity(&entry.action))
    };
    let mut event = json!({
        "metadata": {
            "version": VERSION,
            "product": { "name": "ambit", "vendor_name": "ambit" },
            "profiles": ["security_control"],
            "uid": seq.to_string(),
            "event_code": entry.kind.as_str(),
            "log_name": "audit",
            "sequence": seq,
        },
        "category_uid": category,
        "class_uid": class,
        "activity_id": activity,
        "type_uid": class * 100 + activity,
        "time": entry.at,
        "severity_id": severity,
        "status_id": status,
        "status_code": entry.code,
        "action_id": action,
        "disposition_id": disposition,
        "actor": { "app_name": entry.component, "app_uid": entry.task },
        "src_endpoint": { "name": entry.component, "uid": entry.task },
        "unmapped": {
            "hash": hash,
            "effect": entry.effect,
            "import": entry.import,
            "arguments": entry.arguments,
            "rules": entry.rules,
            "detail": entry.detail,
            "text": entry.text,
        },
    });
    if entry.component.is_empty() {
        let operator = json!({ "name": "operator", "uid": "operator" });
        (event["actor"], event["src_endpoint"]) = (json!({ "app_name": "operator" }), operator);
    }
    if is_request && !name.is_empty() {
        event["http_request"] = json!({ "url": { "hostname": name } });
    }
    if !is_request {
        event["api"] = json!({ "operation": entry.action, "service": { "name": "ambit" } });
        event["resources"] = json!([{ "type": kind, "name": name }]);
    }
    if let [rule] = &*entry.rules {
        event["policy"] = json!({ "name": rule, "is_applied": true });
    }
    event
}
