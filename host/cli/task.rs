//! `ambit task`: what ran, and what one task did.

use std::io::Write as _;
use std::process::ExitCode;

use serde::Serialize;

use super::audit::{line, readable};
use super::{Context, Failure, Format, Mistake, output};
use crate::audit::Record;
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
}

#[derive(Serialize)]
struct Shown {
    #[serde(rename = "summary")]
    listed: Listed,
    records: Vec<Record>,
}

pub(super) fn task(context: &Context, verb: &Verb) -> Result<ExitCode, Failure> {
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
            let shown = Shown { listed, records };
            if context.format == Format::Json {
                output::json(&shown)?;
            } else {
                show(&shown)?;
            }
        }
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

fn show(Shown { listed, records }: &Shown) -> Result<(), Failure> {
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
    if let Some(error) = &listed.error {
        writeln!(out, "error    {}", error["message"].as_str().unwrap_or_default())?;
    }
    writeln!(out)?;
    for record in records {
        writeln!(out, "{}", line(record))?;
    }
    Ok(())
}
