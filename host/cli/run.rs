//! `ambit run`: a bundle's agent, on an input, under a policy folder.

use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::ask::Questions;
use super::load::{self, Loaded};
use super::{Context, Failure, Mistake, output};
use crate::approval::Mode;
use crate::edge::keep::Destination;
use crate::front::{Host, Job, Work};
use crate::people::is_name;
use crate::policy::Person;
use crate::task::Seed;

/// The longest input, in bytes.
const LONGEST_INPUT: u64 = 16 << 20;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The bundle's folder
    bundle: PathBuf,
    /// The folder with grants.toml and the *.cedar rules
    #[arg(long, value_name = "DIR")]
    policy: PathBuf,
    /// The input: JSON, @FILE, or - for standard input
    #[arg(long, value_name = "JSON|@FILE|-", default_value = "null")]
    input: String,
    /// Take the input as plain text, and give it to the agent as a JSON string
    #[arg(long)]
    text: bool,
    #[command(flatten)]
    people: People,
    /// What all randomness of the task grows from: two runs with the same seed draw the same numbers
    #[arg(long, value_name = "TEXT")]
    seed: Option<String>,
    #[command(flatten)]
    keep: Keep,
}

/// What is kept of a task's workspace.
#[derive(clap::Args)]
pub(super) struct Keep {
    /// Copy the regular files of the task's workspace to this folder when the task has ended, however it ended; the folder
    /// must be empty or not there
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

impl Keep {
    /// The folder, opened before anything runs.
    pub(super) fn open(&self) -> Result<Option<Destination>, Failure> {
        let opened = self.keep.as_deref().map(Destination::open).transpose();
        opened.map_err(|error| {
            Mistake::failure(
                error.to_string(),
                "give `--keep` a folder that is empty, or a new one in a folder that is there",
            )
        })
    }
}

/// On whose behalf a task acts, and what happens where people would have to be asked.
#[derive(clap::Args)]
pub(super) struct People {
    /// On whose behalf the task acts: rules see them as `principal.user`, and they cannot approve what it does
    #[arg(long = "as", value_name = "USER")]
    user: Option<String>,
    /// What to do where a rule asks for a person's approval [default: ask on a terminal, else deny]
    #[arg(long, value_enum, value_name = "HOW")]
    approvals: Option<Approvals>,
}

/// Where people are asked.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Approvals {
    /// Ask here, and wait for an answer from here or from `ambit approvals`
    Ask,
    /// Wait for an answer from `ambit approvals` in another terminal, until the rule's deadline
    Wait,
    /// Ask nobody: what needs an approval is refused
    Deny,
}

impl People {
    /// Who and how, on this terminal, if it is one.
    pub(super) fn settle(&self, host: &Host) -> Result<(Option<Person>, Approvals), Failure> {
        let on_terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        let approvals = match self.approvals {
            Some(Approvals::Ask) if !on_terminal => {
                return Err(Mistake::failure(
                    "nobody can be asked here: this is no terminal",
                    "write `--approvals wait`, and answer with `ambit approvals` in another terminal",
                ));
            }
            Some(approvals) => approvals,
            None if on_terminal => Approvals::Ask,
            None => Approvals::Deny,
        };
        let user = match &self.user {
            Some(name) if !is_name(name) => {
                let message = format!("`{}` cannot name a person", crate::audit::escaped(name));
                return Err(Mistake::failure(message, "give a name that can be seen, as `--as maria`"));
            }
            user => user.as_ref().map(|name| host.people.named(name)),
        };
        Ok((user, approvals))
    }
}

pub(super) fn run(context: &Context, arguments: Arguments) -> Result<ExitCode, Failure> {
    let input = input(&arguments.input, arguments.text)?;
    let host = context.host()?;
    let Loaded { bundle, manifest, plan, policy } = Loaded::open(&host, &arguments.bundle, &arguments.policy)?;
    let (user, approvals) = arguments.people.settle(&host)?;
    let job = Job {
        folders: Loaded::folders(&bundle, &manifest),
        limits: manifest.limits.clone(),
        output: manifest.output.clone(),
        policy: (if policy.is_built_in() { "built-in" } else { "rules" }, policy.digest()),
        rules: Loaded::in_force(&manifest, policy, &arguments.policy, load::functions(&plan)),
        plan,
        user,
        approvals: approvals.mode(),
        seed: arguments.seed.map(|seed| Seed::of(&[seed.as_bytes()])),
        keep: arguments.keep.open()?,
        work: Work::Agent { bundle: Box::new(bundle), input },
    };
    carry_out(context, &host, job, approvals)
}

impl Approvals {
    pub(super) fn mode(self) -> Mode {
        if self == Self::Deny { Mode::Deny } else { Mode::Wait }
    }
}

/// Runs a job on this thread, until it ends or the operator stops it, and shows what came of it.
pub(super) fn carry_out(context: &Context, host: &Host, job: Job, approvals: Approvals) -> Result<ExitCode, Failure> {
    let runtime = super::runtime()?;
    let stopped = async {
        // Without the signal there is nothing to wait for, and the task goes on.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let audience = output::Screen::audience(context.format, Questions::of(host, approvals));
    let report = runtime.block_on(host.run(job, audience, stopped));
    // A look-up of a name that hangs is not waited for.
    runtime.shutdown_background();
    let report = report?;
    super::answered(output::report(context.format, &report), super::exit_code_of(&report))
}

/// The JSON text that the agent is given.
fn input(given: &str, is_text: bool) -> Result<String, Failure> {
    let text = match given.strip_prefix('@') {
        Some(path) => read(Path::new(path))?,
        None if given == "-" => limited(std::io::stdin(), "standard input")?,
        None => given.to_owned(),
    };
    if is_text {
        return Ok(serde_json::Value::from(text).to_string());
    }
    match crate::tool::json::parse(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(Mistake::failure(
            format!("the input is not JSON: {error}"),
            "give `--input '{\"question\": \"…\"}'`, `--input @FILE`, or add `--text` to pass plain text",
        )),
    }
}

#[expect(clippy::disallowed_types, reason = "the operator names this file on the command line")]
fn read(path: &Path) -> Result<String, Failure> {
    let unreadable = |error| {
        Mistake::failure(
            format!("cannot read the input `{}`: {error}", path.display()),
            "name a readable file after the @",
        )
    };
    limited(std::fs::File::open(path).map_err(unreadable)?, &path.display().to_string())
}

fn limited(reader: impl std::io::Read, name: &str) -> Result<String, Failure> {
    let mut text = String::new();
    let read = reader.take(LONGEST_INPUT + 1).read_to_string(&mut text);
    match read {
        Err(error) => {
            Err(Mistake::failure(format!("cannot read the input from {name}: {error}"), "the input is UTF-8 text"))
        }
        Ok(length) if length as u64 > LONGEST_INPUT => Err(Mistake::failure(
            format!("the input from {name} is longer than {} MiB", LONGEST_INPUT >> 20),
            "put large data into a folder, and grant the folder",
        )),
        Ok(_) => Ok(text),
    }
}
