//! `ambit task show`: how a task ended, what it consumed, and what it did.

use std::collections::BTreeSet;
use std::io::{BufWriter, Write};
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use super::super::audit::{line, readable, time};
use super::super::{Context, Failure, FormatArgument, Mistake, output, unwritten};
use super::words::{approval, decision, lapse, outcome, sign};
use crate::audit::story::{State, Step, Story};
use crate::audit::{Kind, Record, escaped, spans};
use crate::edge::tasks::Listed;

#[derive(clap::Args)]
pub(in super::super) struct Arguments {
    /// The task's name, or enough of its beginning
    task: String,
    /// List its records, one on each line, instead of the tree
    #[arg(long)]
    records: bool,
}

/// A task, for whoever reads it.
#[derive(Serialize)]
pub(super) struct Shown {
    #[serde(rename = "summary")]
    pub(super) listed: Listed,
    pub(super) labels: Vec<Origin>,
    #[serde(rename = "tree")]
    pub(super) story: Story,
    records: Vec<Record>,
}

impl Shown {
    /// A task with all its records, in order.
    pub(super) fn of(listed: Listed, records: Vec<Record>) -> Self {
        let story = Story::of(&listed.task, &records);
        Self { listed, labels: origins(&records), story, records }
    }

    /// The numbers of its first and its last record; 0 when there is none.
    pub(super) fn span(&self) -> (u64, u64) {
        let number = |record: Option<&Record>| record.map_or(0, |record| record.seq);
        (number(self.records.first()), number(self.records.last()))
    }
}

/// Where a label came from: the first use of each thing that gave it, in the order in which it spread.
#[derive(Serialize)]
pub(super) struct Origin {
    pub(super) label: String,
    /// The task or child task that it came to.
    task: String,
    component: String,
    /// What it came with.
    action: String,
    resource: String,
    /// The record that says so.
    record: u64,
}

impl Origin {
    /// What it came to and with.
    pub(super) fn told(&self) -> String {
        let Self { component, action, resource, record, .. } = self;
        let with = if resource.is_empty() { "the grants".to_owned() } else { format!("{action} {resource}") };
        format!("to {component} with {with} (record {record})")
    }
}

/// What an outcome says of labels.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Gained {
    labels: Vec<String>,
}

fn origins(records: &[Record]) -> Vec<Origin> {
    let (mut origins, mut seen) = (Vec::new(), BTreeSet::new());
    for Record { seq, entry, .. } in records.iter().filter(|r| matches!(r.entry.kind, Kind::Outcome | Kind::Start)) {
        // What says nothing of labels is another kind of detail, or none.
        let gained: Gained = serde_json::from_str(&entry.detail).unwrap_or_default();
        for label in gained.labels {
            if seen.insert((label.clone(), &entry.component, &entry.resource)) {
                origins.push(Origin {
                    label,
                    task: entry.task.to_string(),
                    component: entry.component.to_string(),
                    action: entry.action.to_string(),
                    resource: entry.resource.to_string(),
                    record: *seq,
                });
            }
        }
    }
    origins.sort_by(|a, b| (&a.label, a.record).cmp(&(&b.label, b.record)));
    origins
}

pub(in super::super) fn show(
    context: &Context,
    arguments: &Arguments,
    format: FormatArgument,
) -> Result<ExitCode, Failure> {
    if matches!(format, FormatArgument::Jsonl | FormatArgument::Ocsf) {
        return Err(unwritten("use `--format human`, `json`, `html` or `otlp`"));
    }
    let host = context.host()?;
    let Some(listed) = host.tasks.find(&arguments.task)? else {
        return Err(Mistake::failure(
            format!("no task, or more than one, is called `{}`", escaped(&arguments.task)),
            "`ambit task list` shows the names",
        ));
    };
    let records = readable(host.audit.records(Some(&listed.task), 0, u64::from(u32::MAX))?)?;
    let shown = Shown::of(listed, records);
    let mut out = BufWriter::new(std::io::stdout().lock());
    match format {
        FormatArgument::Json => output::json_to(&mut out, &shown)?,
        FormatArgument::Otlp => {
            serde_json::to_writer(&mut out, &spans::request(&shown.story)).map_err(std::io::Error::from)?;
            writeln!(out)?;
        }
        FormatArgument::Html => super::page::page(&mut out, &shown)?,
        _ => {
            head(&mut out, &shown)?;
            writeln!(out)?;
            if arguments.records {
                shown.records.iter().try_for_each(|record| writeln!(out, "{}", line(record)))?;
            } else {
                tree(&mut out, &shown)?;
            }
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn head(out: &mut impl Write, Shown { listed, labels, story, .. }: &Shown) -> std::io::Result<()> {
    writeln!(out, "task     {}", listed.task)?;
    writeln!(out, "bundle   {} {} ({})", listed.bundle, listed.version, listed.digest)?;
    writeln!(out, "status   {}", listed.status)?;
    writeln!(out, "started  {}", time(listed.started))?;
    if !story.resumed_ms.is_empty() {
        let resumed: Vec<String> = story.resumed_ms.iter().map(|at| lapse(*at)).collect();
        writeln!(out, "resumed  after {}", resumed.join(", "))?;
    }
    writeln!(out, "input    {}", listed.input)?;
    if let Some(serde_json::Value::Object(usage)) = &listed.usage {
        let usage: Vec<_> = usage.iter().map(|(key, value)| format!("{key} {value}")).collect();
        writeln!(out, "usage    {}", usage.join(", "))?;
    }
    for origin in labels {
        writeln!(out, "label    {}: {}", origin.label, origin.told())?;
    }
    if let Some(error) = &listed.error {
        writeln!(out, "error    {}", error["message"].as_str().unwrap_or_default())?;
    }
    Ok(())
}

/// What the task did, with the times since it began in a column.
fn tree(out: &mut impl Write, Shown { listed, story, .. }: &Shown) -> std::io::Result<()> {
    let times = story.walk().map(|(_, step)| step.begin_ms).chain([0, story.lasted_ms]);
    let width = times.map(|time| lapse(time).len()).max().unwrap_or_default() + 1;
    let at = |time: u64| format!("{:>width$}", format!("+{}", lapse(time)));
    writeln!(out, "{}  {}{}", at(0), escaped(&story.component), gained(&story.labels))?;
    branches(out, &story.steps, &mut String::new(), true, &at)?;
    let said = match &story.end {
        Some(end) if !end.text.is_empty() => format!("{}: {}", end.status, escaped(&end.text)),
        Some(end) => end.status.clone(),
        None if listed.status == "suspended" => format!("{} suspended: it waits for people", sign(State::Waiting)),
        None => format!("{} its end is not recorded", sign(State::Unknown)),
    };
    writeln!(out, "{}  └─ {said}", at(story.lasted_ms))
}

/// Steps below one that has this before its own. `more` says whether something comes after them.
fn branches(
    out: &mut impl Write,
    steps: &[Step],
    before: &mut String,
    more: bool,
    at: &impl Fn(u64) -> String,
) -> std::io::Result<()> {
    let length = before.len();
    for (index, step) in steps.iter().enumerate() {
        let is_last = !more && index + 1 == steps.len();
        writeln!(out, "{}  {before}{}{}", at(step.begin_ms), if is_last { "└─ " } else { "├─ " }, sentence(step))?;
        before.push_str(if is_last { "   " } else { "│  " });
        branches(out, &step.steps, before, false, at)?;
        before.truncate(length);
    }
    Ok(())
}

fn sentence(step: &Step) -> String {
    let said = |text: &str| if text.is_empty() { String::new() } else { format!(" “{}”", escaped(text)) };
    let what = escaped(format!("{} {}", step.action, step.resource).trim_end());
    let mut parts = vec![format!("{what}{}", said(&step.text))];
    parts.extend(step.approvals.iter().map(|asked| escaped(&approval(asked))));
    let decided = escaped(&decision(step));
    match outcome(step) {
        Some(outcome) => parts.push(format!("{decided}  → {}", escaped(&outcome))),
        None => parts.push(decided),
    }
    parts.retain(|part| !part.is_empty());
    format!("{}{}{}", parts.join("  "), said(&step.said), gained(&step.labels))
}

fn gained(labels: &[String]) -> String {
    if labels.is_empty() { String::new() } else { format!("  +labels {}", escaped(&labels.join(", "))) }
}
