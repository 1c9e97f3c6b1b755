//! A task as a trace of the OpenTelemetry protocol, in JSON: one `ExportTraceServiceRequest` for all of it.
//!
//! | span | is |
//! | --- | --- |
//! | `invoke_agent {bundle}` | the task |
//! | `execute_tool {tool.function}` | a call of a tool, with what it did below it |
//! | `{action}` | any other effect |
//!
//! Names and attributes of the first two are those of the semantic conventions for generative AI (`gen_ai.*`, in development);
//! what they have no name for is below `ambit.`. Identifiers are digests of names, so that a task has one trace, however often
//! it is sent. There is nothing in a span that no record holds: no input, no argument, no result.

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::otlp::{number, text};
use super::story::{State, Step, Story};

/// The most spans of effects in one request: what collectors take has an end.
const MOST_SPANS: usize = 10_000;

/// `SPAN_KIND_INTERNAL` and `SPAN_KIND_CLIENT` of the trace protocol.
const INTERNAL: u8 = 1;
const CLIENT: u8 = 3;
/// `STATUS_CODE_ERROR`.
const ERROR: u8 = 2;

/// A request with the spans of a task.
pub fn request(story: &Story) -> Value {
    let trace = trace(&story.task);
    let mut spans = vec![root(story, &trace)];
    let mut above = vec![span(&story.task, "task")];
    for (depth, step) in story.walk().take(MOST_SPANS) {
        above.truncate(depth + 1);
        let own = span(&story.task, &named(step));
        let parent = above.last().map(String::as_str).unwrap_or_default();
        spans.push(effect(story, step, &[&trace, &own, parent]));
        above.push(own);
    }
    let resource = Attributes::default().text("service.name", "ambit").text("service.version", crate::VERSION);
    let scope = json!({ "name": "ambit.task", "version": crate::VERSION });
    json!({
        "resourceSpans": [{
            "resource": { "attributes": resource.0 },
            "scopeSpans": [{ "scope": scope, "spans": spans }],
        }],
    })
}

/// What a step is told from others by: what has no number has its first record's.
fn named(step: &Step) -> String {
    let first = step.records.first().copied().unwrap_or_default();
    if step.effect > 0 { format!("effect {}", step.effect) } else { format!("record {first}") }
}

/// 16 bytes, in hex.
fn trace(task: &str) -> String {
    digest(&["ambit.trace.v1", task])[..32].to_owned()
}

/// 8 bytes, in hex.
fn span(task: &str, name: &str) -> String {
    digest(&["ambit.span.v1", task, name])[..16].to_owned()
}

fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    super::Hash(hash.finalize().into()).to_string()
}

/// Attributes of a span or an event. What says nothing is left out.
#[derive(Default)]
struct Attributes(Vec<Value>);

impl Attributes {
    fn put(mut self, name: &str, value: &Value) -> Self {
        self.0.push(json!({ "key": name, "value": value }));
        self
    }

    fn text(self, name: &str, value: &str) -> Self {
        if value.is_empty() { self } else { self.put(name, &text(value)) }
    }

    fn number(self, name: &str, value: u64) -> Self {
        self.put(name, &number(value))
    }

    fn texts(self, name: &str, values: &[String]) -> Self {
        let told: Vec<Value> = values.iter().map(|value| text(value)).collect();
        if told.is_empty() { self } else { self.put(name, &json!({ "arrayValue": { "values": told } })) }
    }

    /// What the host noted, each under its own name.
    fn notes(self, prefix: &str, notes: &Map<String, Value>) -> Self {
        notes.iter().fold(self, |attributes, (name, value)| {
            let name = format!("{prefix}.{}", name.replace('-', "_"));
            match value {
                Value::String(value) => attributes.text(&name, value),
                Value::Bool(value) => attributes.put(&name, &json!({ "boolValue": value })),
                Value::Number(value) if value.is_u64() => attributes.number(&name, value.as_u64().unwrap_or_default()),
                Value::Null => attributes,
                value => attributes.text(&name, &value.to_string()),
            }
        })
    }
}

/// A point in time, as nanoseconds since the Unix epoch.
fn nanoseconds(story: &Story, at: u64) -> String {
    (u128::from(story.began.saturating_add(at)) * 1_000_000).to_string()
}

/// How a span went that did not come to what it was to: the protocol has no status for what is not known.
fn failed(message: &str) -> Value {
    json!({ "code": ERROR, "message": message })
}

fn root(story: &Story, trace: &str) -> Value {
    let said = |name: &str| story.ground.get("bundle").and_then(|bundle| bundle.get(name)).and_then(Value::as_str);
    let (name, digest) = (said("name").unwrap_or(&story.component), said("digest").unwrap_or_default());
    let status = story.end.as_ref().map_or("unknown", |end| end.status.as_str());
    let policy = story.ground.get("policy").and_then(|policy| policy.get("digest")).and_then(Value::as_str);
    let mut attributes = Attributes::default()
        .text("gen_ai.operation.name", "invoke_agent")
        .text("gen_ai.agent.name", name)
        .text("gen_ai.agent.id", digest)
        .text("gen_ai.agent.version", said("version").unwrap_or_default())
        .text("ambit.task", &story.task)
        .text("ambit.status", status)
        .text("ambit.bundle.digest", digest)
        .text("ambit.policy.digest", policy.unwrap_or_default())
        .text("ambit.user", story.ground.get("user").and_then(Value::as_str).unwrap_or_default())
        .texts("ambit.labels", &story.labels)
        .number("ambit.resumed", story.resumed_ms.len() as u64);
    if let Some(end) = &story.end {
        attributes = attributes.notes("ambit.usage", &end.usage).text("ambit.text", &end.text);
    }
    let left_out = story.walk().count().saturating_sub(MOST_SPANS);
    if left_out > 0 {
        attributes = attributes.number("ambit.spans_left_out", left_out as u64);
    }
    let succeeded = status == "succeeded";
    if !succeeded {
        attributes = attributes.text("error.type", status);
    }
    json!({
        "traceId": trace,
        "spanId": span(&story.task, "task"),
        "name": format!("invoke_agent {name}"),
        "kind": INTERNAL,
        "startTimeUnixNano": nanoseconds(story, 0),
        "endTimeUnixNano": nanoseconds(story, story.lasted_ms),
        "attributes": attributes.0,
        "events": story.resumed_ms.iter().map(|at| event(story, "ambit.resumed", *at, &Attributes::default())).collect::<Vec<_>>(),
        "status": if succeeded { json!({}) } else { failed(status) },
    })
}

/// The function that a call is of: `Tool::"search.query"` is of `search.query`.
fn function(step: &Step) -> Option<&str> {
    let name = step.resource.strip_prefix("Tool::\"")?.strip_suffix('"')?;
    (step.action == "tools.call").then_some(name)
}

fn effect(story: &Story, step: &Step, [trace, own, parent]: &[&str; 3]) -> Value {
    let mut attributes = Attributes::default();
    let mut name = step.action.clone();
    if step.action == "tools.call" {
        attributes = attributes.text("gen_ai.operation.name", "execute_tool");
        // One that is not granted has no name of the host's.
        name = "execute_tool".to_owned();
        if let Some(function) = function(step) {
            name = format!("execute_tool {function}");
            attributes = attributes.text("gen_ai.tool.name", function);
        }
        attributes = attributes.text("gen_ai.tool.type", "function");
    }
    let attributes = described(attributes, step);
    let attributes = match error(step) {
        Some(error) => attributes.text("error.type", error),
        None => attributes,
    };
    json!({
        "traceId": trace,
        "spanId": own,
        "parentSpanId": parent,
        "name": name,
        "kind": if step.action == "http.request" { CLIENT } else { INTERNAL },
        "startTimeUnixNano": nanoseconds(story, step.begin_ms),
        "endTimeUnixNano": nanoseconds(story, ended(step)),
        "attributes": attributes.0,
        "events": approvals(story, step),
        "status": error(step).map_or_else(|| json!({}), |error| failed(step.why.as_deref().unwrap_or(error))),
    })
}

/// What the host knows of an effect.
fn described(attributes: Attributes, step: &Step) -> Attributes {
    let attributes = attributes
        .text("ambit.task", &step.task)
        .text("ambit.component", &step.component)
        .number("ambit.effect", step.effect)
        .text("ambit.action", &step.action)
        .text("ambit.resource", &step.resource)
        .text("ambit.state", step.state.as_str())
        .text("ambit.decision", step.decision.as_deref().unwrap_or_default())
        .texts("ambit.rules", &step.rules)
        .text("ambit.outcome", step.outcome.as_deref().unwrap_or_default())
        .text("ambit.why", step.why.as_deref().unwrap_or_default())
        .texts("ambit.labels.gained", &step.labels)
        // What a guest made stands here and nowhere else.
        .text("ambit.text", &step.text)
        .text("ambit.said", &step.said)
        .notes("ambit.notes", &step.notes);
    match (step.action.as_str(), step.notes.get("status").and_then(Value::as_u64)) {
        ("http.request", Some(status)) => attributes.number("http.response.status_code", status),
        _ => attributes,
    }
}

/// The code of what did not come about, or of what nobody knows.
fn error(step: &Step) -> Option<&str> {
    match step.state {
        State::Done => None,
        State::Failed => Some(step.outcome.as_deref().unwrap_or("failed")),
        State::Refused => {
            let refused = step.decision.as_deref().filter(|decision| *decision != "allowed");
            refused.or(step.outcome.as_deref()).or(Some("refused"))
        }
        State::Waiting => Some("unanswered"),
        State::Unknown => Some("unknown"),
    }
}

/// When it was over, as far as is known: no earlier than what it did.
fn ended(step: &Step) -> u64 {
    let known = step.end_ms.or(step.decided_ms).unwrap_or(step.begin_ms);
    let waited = step.waited().map_or(0, |(_, until)| until);
    let below = if step.end_ms.is_none() { step.steps.iter().map(ended).max() } else { None };
    known.max(waited).max(below.unwrap_or_default())
}

fn approvals(story: &Story, step: &Step) -> Vec<Value> {
    let mut events = Vec::new();
    for asked in &step.approvals {
        let attributes = || Attributes::default().text("ambit.approval.id", &asked.id);
        let told = attributes().texts("ambit.approval.groups", &asked.groups);
        events.push(event(story, "ambit.approval.asked", asked.asked_ms, &told));
        for answer in &asked.answers {
            let told = attributes()
                .text("ambit.approval.answer", &answer.code)
                .text("ambit.approval.by", answer.by.as_deref().unwrap_or_default())
                .texts("ambit.approval.groups", &answer.groups);
            events.push(event(story, "ambit.approval.answered", answer.at_ms, &told));
        }
    }
    events
}

fn event(story: &Story, name: &str, at: u64, attributes: &Attributes) -> Value {
    json!({ "timeUnixNano": nanoseconds(story, at), "name": name, "attributes": attributes.0 })
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::super::story::tests::Log;
    use super::*;

    fn spans(log: &Log) -> Vec<Value> {
        let mut request = request(&log.story());
        let spans = request.pointer_mut("/resourceSpans/0/scopeSpans/0/spans").unwrap();
        spans.as_array_mut().unwrap().drain(..).collect()
    }

    fn has(span: &Value, name: &str) -> bool {
        span["attributes"].as_array().unwrap().iter().any(|attribute| attribute["key"] == name)
    }

    #[test]
    fn a_request_has_an_end_and_says_what_it_leaves_out() {
        let mut log = Log::default();
        for effect in 1..=MOST_SPANS as u64 {
            log.put(Kind::Refusal, effect, "", effect, "denied");
        }
        let all = spans(&log);
        assert!(all.len() == MOST_SPANS + 1 && !has(&all[0], "ambit.spans_left_out"));
        log.put(Kind::Refusal, 1, "", MOST_SPANS as u64 + 1, "denied");
        let most = spans(&log);
        assert!(most.len() == MOST_SPANS + 1 && has(&most[0], "ambit.spans_left_out"));
    }

    #[test]
    fn what_nobody_knows_the_end_of_ends_no_earlier_than_what_it_did() {
        let mut log = Log::default();
        log.put(Kind::Intent, 0, "", 1, "allowed");
        log.put(Kind::Intent, 5, "/1", 2, "allowed");
        log.put(Kind::Outcome, 9, "/1", 2, "done");
        let [root, call, inner] = &spans(&log)[..] else { panic!() };
        assert_eq!((&call["parentSpanId"], &inner["parentSpanId"]), (&root["spanId"], &call["spanId"]));
        assert_eq!(call["endTimeUnixNano"], inner["endTimeUnixNano"]);
        assert_eq!((&call["status"]["message"], &inner["status"]), (&json!("unknown"), &json!({})));
        // The same story is the same trace.
        assert_eq!(spans(&log)[2], *inner);
    }
}
