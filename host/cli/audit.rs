//! `ambit audit`: the log, and whether it is whole.

use std::io::Write as _;
use std::process::ExitCode;

use super::{Context, Failure, Format, Mistake, output};
use crate::audit::{Flaw, Kind, Record};

#[derive(clap::Subcommand)]
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
    /// Check the whole chain; exit code 1 when a record was changed, removed or moved
    Verify,
}

pub(super) fn audit(context: &Context, verb: &Verb) -> Result<ExitCode, Failure> {
    let host = context.host()?;
    match verb {
        Verb::Show { task, after, limit } => {
            let task = match task {
                None => None,
                Some(name) => Some(host.tasks.find(name)?.map(|task| task.task).ok_or_else(|| {
                    let message = format!("no task, or more than one, is called `{}`", crate::audit::escaped(name));
                    Mistake::failure(message, "`ambit task list` shows the names")
                })?),
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
        Verb::Verify => verify(context, &host),
    }
}

fn verify(context: &Context, host: &crate::front::Host) -> Result<ExitCode, Failure> {
    let verdict = host.audit.verify()?;
    let code = if verdict.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    let told = || -> Result<(), Failure> {
        match (&verdict, context.format) {
            (Ok(head), Format::Human) => {
                writeln!(std::io::stdout(), "{} records, the chain is intact, head {}", head.seq, head.hash)?;
            }
            (Ok(head), Format::Json) => {
                output::json(&serde_json::json!({ "intact": true, "records": head.seq, "head": head.hash }))?;
            }
            (Err(flaw), Format::Human) => writeln!(std::io::stderr(), "error: {flaw}")?,
            (Err(flaw), Format::Json) => {
                output::json(&serde_json::json!({ "intact": false, "flaw": flaw.to_string() }))?;
            }
        }
        Ok(())
    };
    super::answered(told(), code)
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
