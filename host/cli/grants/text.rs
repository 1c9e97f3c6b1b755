//! A manifest, written: what it grants, and beside it the evidence.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Map, Value};

use super::fold::{Item, Section};
use super::least::{Least, Part};
use crate::cli::output::count;
use crate::cli::policy::counted;
use crate::label::Labels;
use crate::manifest::{ByteSize, HumanDuration};
use crate::task::Usage;

/// Times that a person would write, in seconds.
const TIMES: [u64; 15] = [1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 1800, 3600, 10_800, 86_400];

/// The longest wall time that can be granted.
const LONGEST_TIME: u64 = 86_400;

/// Tables longer than this are not written on one line.
const LONG: usize = 100;

/// The least and the most memory that a store can be granted, in bytes.
const MEMORY: (u64, u64) = (64 << 10, 4 << 30);

/// Twice as much, or a little more: a number with one digit and zeros.
pub(super) fn roomy(most: u64) -> u64 {
    let double = most.saturating_mul(2);
    let zeros = 10_u64.saturating_pow(double.checked_ilog10().unwrap_or_default());
    double.div_ceil(zeros).saturating_mul(zeros)
}

/// At least twice as many bytes: a power of two, and no less than one KiB.
pub(super) fn roomy_size(most: u64) -> u64 {
    most.saturating_mul(2).max(1 << 10).checked_next_power_of_two().unwrap_or(u64::MAX)
}

fn roomy_time(milliseconds: u64) -> HumanDuration {
    let double = Duration::from_millis(milliseconds.saturating_mul(2));
    let fits = TIMES.into_iter().find(|seconds| Duration::from_secs(*seconds) >= double);
    HumanDuration::from_millis(fits.unwrap_or(LONGEST_TIME) * 1000)
}

impl Least {
    /// It, as a manifest.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        let tasks = counted(self.tasks, "task");
        let _ = writeln!(
            out,
            "# The least that {tasks} of `{}` needed, as far as effects were recorded. Look at it before",
            self.bundle
        );
        let _ = writeln!(
            out,
            "# you use it: that a folder or a clock was read leaves no record, and folders that were mounted"
        );
        let _ = writeln!(out, "# are here as a whole. `ambit check` says what the bundle's components miss.");
        if self.refused > 0 {
            let _ = writeln!(out, "# {} refused, and not in here.", were(self.refused));
        }
        let _ = writeln!(out, "bundle = {}", toml(&Value::from(self.bundle.clone())));
        self.limits(&mut out);
        for (component, part) in &self.parts {
            if component == "agent" || !part.labels.is_empty() || !part.sections.is_empty() {
                write_part(&mut out, component, part);
            }
        }
        if !self.output.is_empty() {
            let _ = writeln!(out, "\n[output]\naccepts = {}  # what results carried", labels(&self.output));
        }
        out
    }

    /// What tasks used, twice.
    fn limits(&self, out: &mut String) {
        let most = |of: fn(&Usage) -> u64| {
            let used = self.usage.iter().map(|(task, usage)| (of(usage), task.as_str()));
            used.max().unwrap_or_default()
        };
        let _ = writeln!(out, "\n[limits]");
        let mut line = |key: &str, value: String, (used, task): (u64, &str), unit: &str| {
            // Of a task that did not end, only some is known.
            if used == 0 && self.unended > 0 {
                return;
            }
            let _ = writeln!(out, "{key} = {value}  # the most that a task used: {}{unit}, {task}", count(used));
        };
        let fuel = most(|usage| usage.fuel);
        line("fuel", number(roomy(fuel.0).max(1)), fuel, "");
        let memory = most(|usage| usage.memory_peak_bytes);
        let granted = roomy_size(memory.0).clamp(MEMORY.0, MEMORY.1);
        line("memory", quoted(ByteSize::new(granted)), memory, " bytes in one store");
        let time = most(|usage| usage.wall_ms);
        line("wall-time", quoted(roomy_time(time.0)), time, " ms");
        let calls = most(|usage| usage.tool_calls);
        line("tool-calls", number(roomy(calls.0)), calls, "");
        let effects = most(|usage| usage.effects);
        line("effects", number(roomy(effects.0)), effects, ", refused ones among them");
        let approvals = most(|usage| usage.approvals);
        line("approvals", number(roomy(approvals.0)), approvals, "");
        let _ = writeln!(out, "tool-depth = {}  # how deep calls went", self.depth);
        if self.unended > 0 {
            let tasks = counted(self.unended, "task");
            let _ = writeln!(
                out,
                "# The end of {tasks} was not recorded: how much fuel and memory that took is not known."
            );
        }
    }
}

fn were(count: usize) -> String {
    format!("{} {}", counted(count, "effect"), if count == 1 { "was" } else { "were" })
}

fn write_part(out: &mut String, component: &str, part: &Part) {
    let name = if component == "agent" { component.to_owned() } else { format!("tools.{}", bare(component)) };
    let _ = writeln!(out, "\n[{name}]");
    if !part.labels.is_empty() {
        let _ = writeln!(out, "labels = {}  # as it was marked", labels(&part.labels));
    }
    // Tables of their own end the component's own.
    let mut tables = String::new();
    for (key, section) in &part.sections {
        match section {
            Section::One(Item { value, evidence }) => {
                let _ = writeln!(out, "{key} = {}  # {evidence}", toml(value));
            }
            Section::Each(items) if items.iter().any(|item| is_long(&item.value)) => {
                for item in items {
                    write_table(&mut tables, &format!("{name}.{key}"), item);
                }
            }
            Section::Each(items) => write_list(out, key, items),
        }
    }
    out.push_str(&tables);
}

/// Whether a value is too long for one line.
fn is_long(value: &Value) -> bool {
    value.is_object() && toml(value).len() > LONG
}

fn write_list(out: &mut String, key: &str, items: &[Item]) {
    let _ = writeln!(out, "{key} = [");
    for Item { value, evidence } in items {
        let _ = match value {
            Value::Object(_) => writeln!(out, "  # {evidence}\n  {},", toml(value)),
            _ => writeln!(out, "  {},  # {evidence}", toml(value)),
        };
    }
    let _ = writeln!(out, "]");
}

/// An item of a list, as a table of its own.
fn write_table(out: &mut String, name: &str, Item { value, evidence }: &Item) {
    let _ = writeln!(out, "\n# {evidence}\n[[{name}]]");
    for (key, value) in value.as_object().into_iter().flat_map(ordered) {
        let _ = writeln!(out, "{} = {}", bare(key), toml(value));
    }
}

/// The fields of a table, those first that say what it is about.
fn ordered(fields: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    let first = FIRST.iter().filter_map(|key| fields.get_key_value(*key));
    first.chain(fields.iter().filter(|(key, _)| !FIRST.contains(&key.as_str())))
}

fn labels(labels: &Labels) -> String {
    toml(&serde_json::json!(labels))
}

fn quoted(value: impl std::fmt::Display) -> String {
    toml(&Value::from(value.to_string()))
}

/// `5_000_000`
fn number(value: u64) -> String {
    // TOML's integers have 64 bits and a sign.
    count(value.min(i64::MAX.unsigned_abs())).replace(',', "_")
}

/// The keys of a table that come first, in this order.
const FIRST: [&str; 7] = ["scheme", "host", "port", "guest", "access", "methods", "paths"];

/// A value on one line.
fn toml(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields: Vec<_> =
                ordered(fields).map(|(key, value)| format!("{} = {}", bare(key), toml(value))).collect();
            format!("{{ {} }}", fields.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(toml).collect::<Vec<_>>().join(", ")),
        Value::String(text) => toml_edit::Value::from(text.as_str()).to_string(),
        Value::Number(_) | Value::Bool(_) | Value::Null => value.to_string(),
    }
}

/// A key, quoted where it has to be.
fn bare(key: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !key.is_empty() && key.chars().all(fits) { key.to_owned() } else { quoted(key) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_have_room_and_are_readable() {
        let numbers = [0, 1, 4, 5, 7, 50, 51, 123_456].map(roomy);
        assert_eq!(numbers, [0, 2, 8, 10, 20, 100, 200, 300_000]);
        assert_eq!([0, 600, 1 << 20].map(roomy_size), [1 << 10, 2 << 10, 2 << 20]);
        let times = [0, 499, 501, 40_000, u64::MAX].map(|time| roomy_time(time).to_string());
        assert_eq!(times, ["1s", "1s", "2s", "2m", "1d"]);
        assert!([1, 9, 99, 12_345, u64::MAX].into_iter().all(|used| roomy(used) >= used.saturating_mul(2)));
    }

    #[test]
    fn values_are_written_as_toml_reads_them() {
        let value = serde_json::json!({
            "labels": ["a", "b"], "host": "it's \"here\"\\", "sub table": { "x": 1_000_000, "y": true }, "set": {},
        });
        let written = format!("value = {}", toml(&value));
        let read: toml::Table = written.parse().unwrap();
        assert_eq!(serde_json::to_value(&read["value"]).unwrap(), value);
    }
}
