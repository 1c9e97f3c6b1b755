//! `ambit audit`: the log, whether it is whole, and what shows that to others.

mod export;
mod verify;

use std::io::Write as _;
use std::process::ExitCode;

use super::{Context, Failure, Format, Mistake, output};
use crate::audit::{Flaw, Kind, Record};
use crate::edge::checkpoints::CheckpointError;

pub(super) use self::export::export;

#[derive(clap::Subcommand)]
#[command(defer = true)]
pub(super) enum Verb {
    /// Show records, oldest first
    Show {
        /// Only those of a task and its calls: its name, or enough of its beginning
        #[arg(long, value_name = "TASK")]
        task: Option<String>,
        /// Only those after this record
        #[arg(long, value_name = "N", default_value_t = 0)]
        after: u64,
        /// How many at most
        #[arg(long, value_name = "N", default_value_t = 1000)]
        limit: u64,
    },
    /// Check the whole log; exit code 1 when something was changed, removed or moved
    Verify(verify::Arguments),
    /// Make a checkpoint, if there are new records, and print the newest: keep it elsewhere
    Checkpoint,
    /// Print the key that checkpoints are verified with: keep it elsewhere
    Key,
    /// Print a proof that a record is in the log of a checkpoint, for others to verify without the log
    Prove {
        /// The record
        #[arg(value_name = "SEQ")]
        seq: u64,
    },
    /// Write records to standard output: --format jsonl (can be verified; the default), ocsf or otlp
    Export(export::Arguments),
}

pub(super) fn audit(context: &Context, verb: &Verb) -> Result<ExitCode, Failure> {
    // An exported log is verified without a home.
    if let Verb::Verify(arguments) = verb {
        return verify::verify(context, arguments);
    }
    let host = context.host()?;
    match verb {
        Verb::Show { task, after, limit } => {
            let task = match task {
                None => None,
                Some(name) => Some(named(&host, name)?),
            };
            let records = readable(host.audit.records(task.as_deref(), *after, *limit)?)?;
            if context.format == Format::Json {
                output::json(&records)?;
            } else {
                let mut out = std::io::stdout().lock();
                records.iter().try_for_each(|record| writeln!(out, "{}", line(record)))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Verb::Checkpoint => print(super::runtime()?.block_on(host.audit.checkpoint())),
        Verb::Key => print(super::runtime()?.block_on(host.audit.key()).map(|key| format!("{key}\n"))),
        Verb::Prove { seq } => print(super::runtime()?.block_on(host.audit.prove(*seq))),
        // Done before, with what was configured for them alone.
        Verb::Verify(_) | Verb::Export(_) => Ok(ExitCode::SUCCESS),
    }
}

/// Writes what has a form of its own, as it is.
fn print(made: Result<impl std::fmt::Display, CheckpointError>) -> Result<ExitCode, Failure> {
    write!(std::io::stdout(), "{}", made?)?;
    Ok(ExitCode::SUCCESS)
}

impl From<CheckpointError> for Failure {
    fn from(error: CheckpointError) -> Self {
        match error {
            CheckpointError::Short { .. } => {
                Mistake::failure(error.to_string(), "records are numbered from 1; `ambit audit show` shows them")
            }
            CheckpointError::Key(_) => Self::Host(miette::miette!(
                help = "`key` of [secret-store] in config.toml names what it is sealed under",
                "{error}"
            )),
            CheckpointError::Flaw(_) | CheckpointError::Damaged => {
                Self::Host(miette::miette!(help = "`ambit audit verify` checks the whole log", "{error}"))
            }
            CheckpointError::Database(error) => error.into(),
        }
    }
}

/// The task with that name.
fn named(host: &crate::front::Host, name: &str) -> Result<String, Failure> {
    host.tasks.find(name)?.map(|task| task.task).ok_or_else(|| {
        let message = format!("no task, or more than one, is called `{}`", crate::audit::escaped(name));
        Mistake::failure(message, "`ambit task list` shows the names")
    })
}

/// Records that can be read, or a complaint about the first that cannot.
pub(super) fn readable(records: Vec<Result<Record, Flaw>>) -> Result<Vec<Record>, Failure> {
    let records: Result<_, Flaw> = records.into_iter().collect();
    records.map_err(|flaw| Failure::Host(miette::miette!(help = "`ambit audit verify` checks the whole log", "{flaw}")))
}

/// A record on one line.
pub(super) fn line(Record { seq, entry, .. }: &Record) -> String {
    let rules = if entry.rules.is_empty() { String::new() } else { format!(" by {}", entry.rules.join(", ")) };
    let said = if entry.text.is_empty() { String::new() } else { format!(" “{}”", entry.text) };
    let detail = match entry.kind {
        Kind::Refusal => format!(" {}", entry.detail),
        _ => String::new(),
    };
    // The root's name is long, and the same for all: what follows it tells records apart.
    let path = entry.task.split_once('/').map_or(String::new(), |(_, path)| format!("/{path}"));
    format!(
        "{seq:>6} {} {:<7} {}{path} {} {} {}{rules}{detail}{said}",
        time(entry.at),
        entry.kind.as_str(),
        entry.component,
        entry.action,
        entry.resource,
        entry.code,
    )
}

/// `2026-11-23T00:07:09.123Z` (RFC 3339), from milliseconds since the Unix epoch.
pub(super) fn time(milliseconds: u64) -> String {
    let time = i64::try_from(milliseconds).ok().and_then(chrono::DateTime::from_timestamp_millis);
    time.map_or_else(|| "?".to_owned(), |time| time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
}
