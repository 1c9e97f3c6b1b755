//! `ambit task`: what ran, and what one task did.

mod again;
mod page;
mod scale;
mod show;
mod words;

use std::io::Write as _;
use std::process::ExitCode;

use super::{Context, Failure, Format, output};
use crate::edge::tasks::Listed;

pub(super) use self::show::show;

#[derive(clap::Subcommand)]
#[command(defer = true)]
pub(super) enum Verb {
    /// List tasks, the newest first
    List {
        /// How many
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: u64,
    },
    /// Show a task: how it ended, what it consumed, and what it did, as a tree; as a page of its own with --format html, as
    /// OpenTelemetry spans with --format otlp
    Show(show::Arguments),
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

pub(super) fn task(context: &Context, verb: &Verb) -> Result<ExitCode, Failure> {
    match verb {
        Verb::List { limit } => newest(context, *limit),
        // Done before, with the format that was asked for.
        Verb::Show(_) => Ok(ExitCode::SUCCESS),
        Verb::Resume(arguments) => again::resume(context, arguments),
        Verb::Replay { task } => again::replay(context, task),
        Verb::Forget { task } => again::forget(context, task),
    }
}

fn newest(context: &Context, limit: u64) -> Result<ExitCode, Failure> {
    let tasks = context.host()?.tasks.newest(limit)?;
    if context.format == Format::Json {
        output::json(&tasks)?;
    } else {
        list(&tasks)?;
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
