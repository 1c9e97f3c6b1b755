//! `ambit approvals`: what tasks ask people for, and the answers.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use super::{Context, Failure, Format, output};
use crate::approval::State;
use crate::edge::approvals::{AnswerError, Listed, Verdict};

/// How many characters of arguments stand in one line.
const WIDTH: usize = 60;

#[derive(clap::Subcommand)]
#[command(defer = true)]
pub(super) enum Verb {
    /// List what waits for an answer, the oldest first
    List {
        /// Those that were answered, or that nobody waits for any more, as well
        #[arg(long)]
        all: bool,
    },
    /// Show one: what would be done, with which arguments, and who asks
    Show {
        /// The approval's name, or enough of its beginning
        approval: String,
    },
    /// Say yes, once, to exactly what `ambit approvals show` shows
    Approve(Answer),
    /// Say no
    Deny(Answer),
}

#[derive(clap::Args)]
pub(super) struct Answer {
    /// The approval's name, or enough of its beginning
    approval: String,
    /// Who you are, where several people share this user of the operating system
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

pub(super) fn approvals(context: &Context, verb: &Verb) -> Result<ExitCode, Failure> {
    let host = context.host()?;
    match verb {
        Verb::List { all } => {
            let found = host.approvals.list(*all)?;
            if context.format == Format::Json { output::json(&found)? } else { list(&found)? }
        }
        Verb::Show { approval } => {
            let Some(found) = host.approvals.find(approval)? else {
                return Err(Failure::usage(AnswerError::Missing(crate::audit::escaped(approval))));
            };
            if context.format == Format::Json {
                output::json(&found)?;
            } else {
                write!(std::io::stdout(), "{}", describe(&found))?;
                writeln!(std::io::stdout(), "  state     {}", standing(&found))?;
            }
        }
        Verb::Approve(answer) => give(context, &host, answer, Verdict::Approve)?,
        Verb::Deny(answer) => give(context, &host, answer, Verdict::Deny)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn give(context: &Context, host: &crate::front::Host, answer: &Answer, verdict: Verdict) -> Result<(), Failure> {
    let who = host.people.answering(crate::config::user_id(), answer.by.as_deref()).map_err(Failure::usage)?;
    let name = who.name.clone();
    let state = super::runtime()?.block_on(host.approvals.give(&answer.approval, verdict, who));
    let state = state.map_err(|error| match error {
        AnswerError::Database(error) => Failure::from(error),
        error => Failure::usage(error),
    })?;
    if context.format == Format::Json {
        return output::json(&serde_json::json!({ "approval": answer.approval, "by": name, "state": state }));
    }
    let said = match (verdict, state) {
        (Verdict::Deny, _) => format!("denied by {name}"),
        (Verdict::Approve, State::Open) => format!("approved by {name}; others are still asked"),
        (Verdict::Approve, _) => format!("approved by {name}, once"),
    };
    writeln!(std::io::stdout(), "{said}")?;
    Ok(())
}

fn list(found: &[Listed]) -> Result<(), Failure> {
    if found.is_empty() {
        writeln!(std::io::stderr(), "nothing waits for an answer")?;
    }
    let mut out = std::io::stdout().lock();
    for approval in found {
        writeln!(
            out,
            "{}  {:<10}  until {}  {}  {} {}",
            approval.id,
            approval.state.as_str(),
            until(approval.deadline),
            groups(approval),
            approval.action,
            approval.resource,
        )?;
    }
    Ok(())
}

/// Who is asked, and what for: nothing that a guest chose.
pub(super) fn heading(approval: &Listed) -> String {
    let Listed { id, action, resource, .. } = approval;
    format!("approval {id}: {} is asked\n  {:<9} {action} {resource}\n", groups(approval), "what")
}

/// An approval as a person reads it, all of it in the host's words, or escaped.
pub(super) fn describe(approval: &Listed) -> String {
    let mut text = heading(approval);
    let mut line = |key: &str, value: &str| {
        if !value.is_empty() {
            // A text in memory takes every line.
            let _ = writeln!(text, "  {key:<9} {value}");
        }
    };
    let arguments = folded(&output::printable(&approval.arguments));
    line("with", &arguments);
    line("who", &format!("{} of {}, task {}", approval.component, approval.bundle, approval.task));
    line("on behalf", &crate::audit::escaped(approval.user.as_deref().unwrap_or_default()));
    line("labels", &approval.labels.to_string());
    line("rules", &approval.rules.iter().map(|rule| crate::audit::escaped(rule)).collect::<Vec<_>>().join(", "));
    line("until", &until(approval.deadline));
    text
}

/// Lines that stay right of the host's own words on any usual terminal, so that none of them can pass for one.
fn folded(text: &str) -> String {
    const INDENT: &str = "\n            ";
    let fold = |line: &str| {
        let letters: Vec<char> = line.chars().collect();
        let parts = letters.chunks(WIDTH).map(|part| part.iter().collect::<String>());
        parts.collect::<Vec<_>>().join(&format!("{INDENT}… "))
    };
    text.lines().map(fold).collect::<Vec<_>>().join(INDENT)
}

fn groups(approval: &Listed) -> String {
    approval.groups.iter().map(|group| crate::audit::escaped(group)).collect::<Vec<_>>().join(", ")
}

/// How it stands, and who answered.
fn standing(approval: &Listed) -> String {
    let by: Vec<String> = approval
        .answers
        .iter()
        .map(|(group, name)| if group.is_empty() { name.clone() } else { format!("{name} for {group}") })
        .map(|who| crate::audit::escaped(&who))
        .collect();
    let by = if by.is_empty() { String::new() } else { format!(" (by {})", by.join(", ")) };
    format!("{}{by}", approval.state)
}

/// A point in time, RFC 3339.
pub(super) fn until(milliseconds: u64) -> String {
    super::audit::time(milliseconds)
}
