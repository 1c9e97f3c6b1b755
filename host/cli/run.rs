//! `ambit run`: a bundle's agent, on an input, under a policy folder.

use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::ExitCode;

use super::ask::Questions;
use super::recipe::{Recipe, What};
use super::{Context, Failure, Mistake, output};
use crate::approval::Mode;
use crate::front::{Audience, Host, Opening, Report};
use crate::people::is_name;
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

// What is kept of a task's workspace.
// No documentation: `clap` would take that for what the verb is about.
#[derive(clap::Args)]
pub(super) struct Keep {
    /// Copy the regular files of the task's workspace to this folder when the task has ended, however it ended; the folder
    /// must be empty or not there
    #[arg(long, value_name = "DIR")]
    pub(super) keep: Option<PathBuf>,
}

// On whose behalf a task acts, and what happens where people would have to be asked.
// No documentation: `clap` would take that for what the verb is about.
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
    /// Put the task away; `ambit task resume` lets it go on when it was answered with `ambit approvals`
    Suspend,
    /// Ask nobody: what needs an approval is refused
    Deny,
}

impl People {
    /// Who and how, on this terminal, if it is one.
    pub(super) fn settle(&self) -> Result<(Option<String>, Approvals), Failure> {
        match &self.user {
            Some(name) if !is_name(name) => {
                let message = format!("`{}` cannot name a person", crate::audit::escaped(name));
                Err(Mistake::failure(message, "give a name that can be seen, as `--as maria`"))
            }
            user => Ok((user.clone(), Approvals::on_this_terminal(self.approvals, Approvals::Deny)?)),
        }
    }
}

pub(super) fn run(context: &Context, arguments: Arguments) -> Result<ExitCode, Failure> {
    let input = input(&arguments.input, arguments.text)?;
    let opening = context.opening()?;
    let (user, approvals) = arguments.people.settle()?;
    let what = What::Bundle { bundle: arguments.bundle, policy: arguments.policy, input };
    let recipe = Recipe { what, user, keep: arguments.keep.keep };
    let seed = arguments.seed.map(|seed| Seed::of(&[seed.as_bytes()]));
    run_job(context, opening, recipe, approvals, seed)
}

/// Runs what a recipe makes, once, in this process: what it needs is loaded while the database is opened.
pub(super) fn run_job(
    context: &Context,
    opening: Opening,
    recipe: Recipe,
    approvals: Approvals,
    seed: Option<Seed>,
) -> Result<ExitCode, Failure> {
    let job = recipe.job((opening.loader(), opening.people()), approvals.mode(), seed)?;
    let host = opening.opened()?;
    let run = async |audience, stopped| Ok(host.run(job, audience, stopped).await?);
    let code = carry_out(context, &host, approvals, run)?;
    host.leave();
    Ok(code)
}

impl Approvals {
    /// As the operator chose, else on a terminal there, and without one otherwise.
    pub(super) fn on_this_terminal(chosen: Option<Self>, otherwise: Self) -> Result<Self, Failure> {
        let on_terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        match chosen {
            Some(Self::Ask) if !on_terminal => Err(Mistake::failure(
                "nobody can be asked here: this is no terminal",
                "write `--approvals wait`, and answer with `ambit approvals` in another terminal",
            )),
            Some(approvals) => Ok(approvals),
            None if on_terminal => Ok(Self::Ask),
            None => Ok(otherwise),
        }
    }

    pub(super) fn mode(self) -> Mode {
        match self {
            Self::Ask | Self::Wait => Mode::Wait,
            Self::Suspend => Mode::Suspend,
            Self::Deny => Mode::Deny,
        }
    }
}

/// The end of a run that the operator stops.
pub(super) async fn stopped() {
    // Without the signal there is nothing to wait for, and the task goes on.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// See [`stopped`].
pub(super) type Stopped = Pin<Box<dyn Future<Output = ()>>>;

/// Runs a task on this thread, until it ends or the operator stops it, and shows what came of it.
pub(super) fn carry_out(
    context: &Context,
    host: &Host,
    approvals: Approvals,
    task: impl AsyncFnOnce(Audience, Stopped) -> Result<Report, Failure>,
) -> Result<ExitCode, Failure> {
    let runtime = super::runtime()?;
    let audience = output::Screen::audience(context.format, Questions::of(host, approvals));
    let report = runtime.block_on(task(audience, Box::pin(stopped())));
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
