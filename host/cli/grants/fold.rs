//! Many needs of one capability as one section of a manifest.

use serde_json::{Map, Value};

use super::least::Evidence;
use super::requests;
use crate::capability::Capability as _;
use crate::capability::http::Http;
use crate::label::{Label, Labels};
use crate::manifest::{ByteSize, HumanDuration};
use crate::policy::judged::Judged;

/// What one effect needed.
#[derive(Clone)]
pub(super) struct Need {
    /// The section that covers it, and no more.
    pub(super) section: Value,
    /// The bytes that it carried.
    pub(super) bytes: u64,
    /// The task that it was of.
    pub(super) task: String,
    pub(super) evidence: Evidence,
}

/// A value, with what shows that it is needed.
#[derive(Clone)]
pub(super) struct Item {
    pub(super) value: Value,
    pub(super) evidence: Evidence,
}

/// A section.
pub(super) enum Section {
    /// A list.
    Each(Vec<Item>),
    /// Anything else.
    One(Item),
}

/// What tells one item of a list from another.
const NAMES: [&str; 4] = ["guest", "name", "reveal", "audience"];

/// What names a file or folder of the host.
const PATHS: [&str; 2] = ["host", "ca"];

impl Need {
    pub(super) fn of(judged: &Judged, evidence: Evidence) -> Self {
        let mut section = judged.entry.clone();
        let is_http = judged.action.starts_with("http.");
        each_object(&mut section, &mut |object| {
            for key in PATHS.iter().filter(|key| !is_http || **key != "host") {
                if let Some(Value::String(path)) = object.get_mut(*key) {
                    *path = crate::config::plain(&judged.folder.join(&*path)).to_string_lossy().into_owned();
                }
            }
        });
        let bytes = judged.number("bytes").unwrap_or_default();
        let task = judged.principal.task.split('/').next().unwrap_or_default().to_owned();
        Self { section, bytes, task, evidence }
    }
}

/// Folds needs into a section. Sinks accept what was carried, as far as they did.
pub(super) fn fold(key: &str, mut needs: Vec<Need>, carried: &Labels, patterns: bool) -> Section {
    for need in &mut needs {
        each_object(&mut need.section, &mut |object| keep_accepted(object, carried));
        // `{ accepts = [] }` is a switch.
        if need.section == Value::Object(Map::new()) {
            need.section = Value::Bool(true);
        }
    }
    if key == Http::NAME {
        return Section::Each(requests::fold(needs, patterns));
    }
    let mut items: Vec<Item> = Vec::new();
    let mut one: Option<Item> = None;
    for Need { section, evidence, .. } in needs {
        match section {
            Value::Array(values) => {
                for value in values {
                    add(&mut items, Item { value, evidence: evidence.clone() });
                }
            }
            value => match &mut one {
                Some(item) => {
                    merge(&mut item.value, value);
                    item.evidence.and(&evidence);
                }
                None => one = Some(Item { value, evidence }),
            },
        }
    }
    one.map_or(Section::Each(items), Section::One)
}

/// Adds an item to those that are there, or to the one that has its name.
fn add(items: &mut Vec<Item>, item: Item) {
    match items.iter_mut().find(|known| name(&known.value) == name(&item.value)) {
        Some(known) => {
            merge(&mut known.value, item.value);
            known.evidence.and(&item.evidence);
        }
        None => items.push(item),
    }
}

/// What an item of a list is called.
fn name(value: &Value) -> &Value {
    NAMES.iter().find_map(|name| value.get(name)).unwrap_or(value)
}

/// What needs both.
fn merge(one: &mut Value, other: Value) {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            for (key, value) in other {
                match one.get_mut(&key) {
                    Some(known) => merge(known, value),
                    None => drop(one.insert(key, value)),
                }
            }
        }
        (Value::Array(one), Value::Array(other)) => {
            for value in other {
                match one.iter_mut().find(|known| name(known) == name(&value)) {
                    Some(known) => merge(known, value),
                    None => one.push(value),
                }
            }
        }
        (one, other) if is_less(one, &other) => *one = other,
        _ => {}
    }
}

/// Whether one value gives less than another.
fn is_less(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::String(one), Value::String(other)) => {
            let sizes = one.parse::<ByteSize>().ok().zip(other.parse::<ByteSize>().ok());
            let times = one.parse::<HumanDuration>().ok().zip(other.parse::<HumanDuration>().ok());
            let by_size = sizes.is_some_and(|(one, other)| one < other);
            let by_time = times.is_some_and(|(one, other)| one.duration() < other.duration());
            by_size || by_time || (one == "read" && other == "write")
        }
        (Value::Number(one), Value::Number(other)) => one.as_u64() < other.as_u64(),
        (Value::Bool(_) | Value::String(_), Value::Object(_)) => true,
        _ => false,
    }
}

fn keep_accepted(object: &mut Map<String, Value>, carried: &Labels) {
    let Some(Value::Array(accepts)) = object.get_mut("accepts") else { return };
    let was_carried = |label: &Value| {
        let label = label.as_str().and_then(|label| label.parse::<Label>().ok());
        label.is_some_and(|label| carried.contains(&label))
    };
    accepts.retain(was_carried);
    if accepts.is_empty() {
        object.remove("accepts");
    }
}

fn each_object(value: &mut Value, work: &mut dyn FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(|value| each_object(value, work)),
        Value::Object(object) => {
            work(object);
            object.values_mut().for_each(|value| each_object(value, work));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn folded(key: &str, sections: &[Value], carried: &str) -> Vec<Value> {
        let need = |section: &Value| Need {
            section: section.clone(),
            bytes: 0,
            task: "t".to_owned(),
            evidence: Evidence::of("t", Some(1)),
        };
        let carried = carried.split_whitespace().map(|label| label.parse().unwrap()).collect();
        match fold(key, sections.iter().map(need).collect(), &carried, true) {
            Section::Each(items) => items.into_iter().map(|item| item.value).collect(),
            Section::One(item) => vec![item.value],
        }
    }

    #[test]
    fn what_has_one_name_is_one_entry_with_the_most_that_was_needed() {
        let mounts = [
            json!([{ "guest": "/a", "host": "/x", "access": "read" }]),
            json!([{ "guest": "/b", "host": "/y", "access": "read", "labels": ["pii"] }]),
            json!([{ "guest": "/a", "host": "/x", "access": "write", "accepts": ["pii", "other"] }]),
        ];
        assert_eq!(
            folded("filesystem", &mounts, "pii"),
            [
                json!({ "guest": "/a", "host": "/x", "access": "write", "accepts": ["pii"] }),
                json!({ "guest": "/b", "host": "/y", "access": "read", "labels": ["pii"] }),
            ]
        );
        assert_eq!(folded("tools", &[json!(["a"]), json!(["b"]), json!(["a"])], ""), [json!("a"), json!("b")]);
        let typed = json!([{ "name": "a", "imports": ["x:y/z"] }]);
        assert_eq!(folded("tools", &[json!(["b"]), typed.clone()], ""), [json!("b"), typed[0].clone()]);
    }

    #[test]
    fn what_is_no_list_is_one_section() {
        let env = [json!({ "set": { "A": "1" } }), json!({ "inherit": ["B"] }), json!({ "set": { "C": "2" } })];
        assert_eq!(folded("env", &env, ""), [json!({ "set": { "A": "1", "C": "2" }, "inherit": ["B"] })]);
        let state = |quota: &str| json!({ "namespace": "n", "quota": quota });
        assert_eq!(folded("state", &[state("1MiB"), state("2kB"), state("1GiB")], ""), [state("1GiB")]);
        assert_eq!(folded("stdio", &[json!({ "accepts": ["pii"] })], ""), [json!(true)]);
        assert_eq!(
            folded("stdio", &[json!(true), json!({ "accepts": ["pii"] })], "pii"),
            [json!({ "accepts": ["pii"] })]
        );
    }
}
