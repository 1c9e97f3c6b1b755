//! `ambit grants`: the least grants that tasks needed, and grants that none needed.
//!
//! | module | job |
//! | --- | --- |
//! | `least` | the least that recorded tasks needed |
//! | `fold` | many needs as one section |
//! | `requests` | many requests as few rules |
//! | `text` | a manifest, written |
//! | `unused` | `ambit grants unused` |

mod fold;
mod least;
mod requests;
mod text;
mod unused;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use self::least::Least;
use super::history::Selection;
use super::{Context, Failure, Format, Mistake, answered, output};
use crate::capability;
use crate::front::Host;
use crate::grant::{GRANT_FILE, Manifest};

#[derive(clap::Subcommand)]
#[command(defer = true)]
pub(super) enum Verb {
    /// Print the smallest grants.toml that tasks needed, with the evidence for each line; nothing is written anywhere
    Suggest(Suggest),
    /// List what a policy folder grants and no recorded task of its bundle used
    Unused(unused::Arguments),
}

#[derive(clap::Args)]
pub(super) struct Suggest {
    /// A task's name, or enough of its beginning; can be given several times
    #[arg(long = "task", value_name = "ID", required = true)]
    tasks: Vec<String>,
}

pub(super) fn grants(context: &Context, verb: &Verb) -> Result<ExitCode, Failure> {
    match verb {
        Verb::Suggest(Suggest { tasks }) => suggest(context, tasks),
        Verb::Unused(arguments) => unused::unused(context, arguments),
    }
}

fn suggest(context: &Context, tasks: &[String]) -> Result<ExitCode, Failure> {
    let host = context.host()?;
    let pasts = Selection::named(&host, tasks)?;
    let bundle = pasts.first().map(|past| past.listed.bundle.clone()).unwrap_or_default();
    if let Some(other) = pasts.iter().find(|past| past.listed.bundle != bundle) {
        let message =
            format!("the task {} is of `{}`, and others are of `{bundle}`", other.listed.task, other.listed.bundle);
        return Err(Mistake::failure(message, "a manifest is for one bundle: ask for the tasks of each"));
    }
    if bundle.contains('/') {
        let message = format!("the tasks are of `{bundle}`, which is no bundle");
        return Err(Mistake::failure(message, "a tool that is called alone has its grants from the command line"));
    }
    let least = Least::of(&host, &pasts, true)?;
    let text = least.text();
    read(&text)?;
    let told = if context.format == Format::Json {
        output::json(&serde_json::json!({ "bundle": bundle, "manifest": text }))
    } else {
        write!(std::io::stdout(), "{text}").map_err(Failure::from)
    };
    answered(told, ExitCode::SUCCESS)
}

/// A manifest that was made here, read as any other.
fn read(text: &str) -> Result<Manifest, Failure> {
    // What was granted under other names in different tasks may not stand side by side.
    let read = Manifest::parse(text, Path::new(GRANT_FILE), &capability::vocabulary());
    read.map_err(|error| Failure::Usage(miette::Report::from(error).wrap_err("these tasks cannot share one manifest")))
}

/// The least that the recorded tasks of a bundle needed, path by path.
fn needed(host: &Host, selection: &Selection, bundle: &str) -> Result<(Manifest, usize), Failure> {
    let pasts = selection.of_bundle(host, bundle)?;
    Ok((read(&Least::of(host, &pasts, false)?.text())?, pasts.len()))
}
