//! `ambit task`: what ran, and what one task did.

mod again;

use std::io::Write as _;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use super::audit::{line, readable};
use super::{Context, Failure, Format, Mistake, output};
use crate::audit::{Kind, Record};
use crate::edge::tasks::Listed;

#[derive(clap::Subcommand)]
pub(super) enum Verb {
    /// List tasks, the newest first
    List {
        /// How many
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: u64,
    },
    /// Show a task: how it ended, what it consumed, and its records
    Show {
        /// The task's name, or enough of its beginning
        task: String,
    },
    /// Let a task go on that broke off, or that waited for an approval
    Resume(again::Resume),
    /// Tell a task again: the same component on what it was answered, with no effect at all
    Replay {
        /// The task's name, or enough of its beginning
        task: String,
    },
    /// Delete what a task was given and answered; its records stay
    Forget {
        /// The task's name, or enough of its beginning
        task: String,
    },
}

#[derive(Serialize)]
struct Shown {
    #[serde(rename = "summary")]
    listed: Listed,
    labels: Vec<Origin>,
    records: Vec<Record>,
}

/// Where a label came from: the first use of each thing that gave it, in the order in which it spread.
#[derive(Serialize)]
struct Origin {
    label: String,
    /// The task or child task that it came to.
    task: String,
    component: String,
    /// What it came with.
    action: String,
    resource: String,
    /// The record that says so.
    record: u64,
}

/// What an outcome says of labels.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Gained {
    labels: Vec<String>,
}

fn origins(records: &[Record]) -> Vec<Origin> {
    let mut origins: Vec<Origin> = Vec::new();
    for Record { seq, entry, .. } in records.iter().filter(|r| matches!(r.entry.kind, Kind::Outcome | Kind::Start)) {
        // What says nothing of labels is another kind of detail, or none.
        let gained: Gained = serde_json::from_str(&entry.detail).unwrap_or_default();
        for label in gained.labels {
            let known = |seen: &Origin| {
                (&seen.label, &seen.component, &seen.resource) == (&label, &entry.component, &entry.resource)
            };
            if !origins.iter().any(known) {
                origins.push(Origin {
                    label,
                    task: entry.task.clone(),
                    component: entry.component.clone(),
                    action: entry.action.clone(),
                    resource: entry.resource.clone(),
                    record: *seq,
                });
            }
        }
    }
    origins.sort_by(|a, b| (&a.label, a.record).cmp(&(&b.label, b.record)));
    origins
}

pub(super) fn task(context: &Context, verb: &Verb) -> Result<ExitCode, Failure> {
    match verb {
        Verb::Resume(arguments) => return again::resume(context, arguments),
        Verb::Replay { task } => return again::replay(context, task),
        Verb::Forget { task } => return again::forget(context, task),
        Verb::List { .. } | Verb::Show { .. } => {}
    }
    let host = context.host()?;
    match verb {
        Verb::List { limit } => {
            let tasks = host.tasks.newest(*limit)?;
            if context.format == Format::Json {
                output::json(&tasks)?;
            } else {
                list(&tasks)?;
            }
        }
        Verb::Show { task } => {
            let Some(listed) = host.tasks.find(task)? else {
                return Err(Mistake::failure(
                    format!("no task, or more than one, is called `{}`", crate::audit::escaped(task)),
                    "`ambit task list` shows the names",
                ));
            };
            let records = readable(host.audit.records(Some(&listed.task), 0, u64::from(u32::MAX))?)?;
            let shown = Shown { listed, labels: origins(&records), records };
            if context.format == Format::Json {
                output::json(&shown)?;
            } else {
                show(&shown)?;
            }
        }
        Verb::Resume(_) | Verb::Replay { .. } | Verb::Forget { .. } => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn list(tasks: &[Listed]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    if tasks.is_empty() {
        writeln!(std::io::stderr(), "no tasks yet; `ambit run` makes one")?;
    }
    for task in tasks {
        let bundle = format!("{} {}", task.bundle, task.version);
        writeln!(out, "{}  {}  {:<10}  {}", task.task, super::audit::time(task.started), task.status, bundle.trim())?;
    }
    Ok(())
}

fn show(Shown { listed, labels, records }: &Shown) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "task     {}", listed.task)?;
    writeln!(out, "bundle   {} {} ({})", listed.bundle, listed.version, listed.digest)?;
    writeln!(out, "status   {}", listed.status)?;
    writeln!(out, "started  {}", super::audit::time(listed.started))?;
    writeln!(out, "input    {}", listed.input)?;
    if let Some(serde_json::Value::Object(usage)) = &listed.usage {
        let usage: Vec<_> = usage.iter().map(|(key, value)| format!("{key} {value}")).collect();
        writeln!(out, "usage    {}", usage.join(", "))?;
    }
    for Origin { label, component, action, resource, record, .. } in labels {
        let with = if resource.is_empty() { "the grants".to_owned() } else { format!("{action} {resource}") };
        writeln!(out, "label    {label}: to {component} with {with} (record {record})")?;
    }
    if let Some(error) = &listed.error {
        writeln!(out, "error    {}", error["message"].as_str().unwrap_or_default())?;
    }
    writeln!(out)?;
    for record in records {
        writeln!(out, "{}", line(record))?;
    }
    Ok(())
}
