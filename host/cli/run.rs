//! `ambit run`: a bundle's agent, on an input, under a policy folder.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{Context, Failure, Mistake, output};
use crate::bundle::{Bundle, open_folder};
use crate::capability;
use crate::front::{Job, Work};
use crate::grant::{GRANT_FILE, Manifest};
use crate::policy::Policy;
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
    /// What all randomness of the task grows from: two runs with the same seed draw the same numbers
    #[arg(long, value_name = "TEXT")]
    seed: Option<String>,
}

/// A bundle with its grants and rules, each checked.
pub(super) struct Loaded {
    pub(super) bundle: Bundle,
    pub(super) manifest: Manifest,
    pub(super) policy: Policy,
}

impl Loaded {
    pub(super) fn open(bundle: &Path, policy: &Path) -> Result<Self, Failure> {
        let vocabulary = capability::vocabulary();
        let bundle = Bundle::open(&open_folder(bundle)?, bundle, &vocabulary)?;
        let folder = open_folder(policy)?;
        let manifest = Manifest::open(&folder, Path::new(GRANT_FILE), policy, &vocabulary)?;
        manifest.check(&bundle)?;
        let policy = Policy::load(&folder, policy, &capability::schema())?;
        Ok(Self { bundle, manifest, policy })
    }
}

pub(super) fn run(context: &Context, arguments: Arguments) -> Result<ExitCode, Failure> {
    let input = input(&arguments.input, arguments.text)?;
    let Loaded { bundle, manifest, policy } = Loaded::open(&arguments.bundle, &arguments.policy)?;
    let job = Job {
        grant: manifest.digest,
        limits: manifest.limits.clone(),
        policy,
        seed: arguments.seed.map(|seed| Seed::of(&[seed.as_bytes()])),
        work: Work::Agent { bundle: Box::new(bundle), manifest: Box::new(manifest), input },
    };
    carry_out(context, job)
}

/// Runs a job on this thread, until it ends or the operator stops it, and shows what came of it.
pub(super) fn carry_out(context: &Context, job: Job) -> Result<ExitCode, Failure> {
    let host = context.host()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Host(miette::miette!("cannot start: {error}")))?;
    let stopped = async {
        // Without the signal there is nothing to wait for, and the task goes on.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let audience = output::Screen::audience(context.format);
    let report = runtime.block_on(host.run(job, audience, stopped))?;
    super::answered(output::report(context.format, &report), super::exit_code(report.status))
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
