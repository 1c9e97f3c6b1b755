//! `ambit bench`: what isolation costs on this machine, beside the same work by other means.

mod bare;
mod house;
mod memory;
mod others;
mod plot;
mod report;
mod series;
mod subject;
mod suite;
mod waiting;

#[path = "../../guest-examples/bench/yardstick/src/kernels.rs"]
mod kernels;
#[path = "../../guest-examples/bench/yardstick/src/work.rs"]
mod work;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use self::subject::Subject;
use super::{Context, Failure, Format, Mistake, output};

#[derive(clap::Subcommand)]
#[command(defer = true)]
pub(super) enum Verb {
    /// Measure what a task, a call of a tool and a waiting task cost, beside bare wasmtime, processes and sandboxes
    #[command(
        after_help = "Everything is measured in one run, in turns; what counts are the ratios. Measure a release build on a \
        machine that does nothing else. What is not installed (cc, bwrap, python3, node, wasmtime) is not measured, and that is said."
    )]
    Isolation(Arguments),
    /// Say what each task holds that waits, in bytes
    #[command(hide = true)]
    Held(memory::Held),
}

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// A component of your own to measure with: a tool that needs no grant [default: a small one in Rust]
    #[arg(long, value_name = "FILE", requires = "function")]
    component: Option<PathBuf>,
    /// The function of it to call, as `ambit inspect` shows it
    #[arg(long, value_name = "NAME", requires = "component")]
    function: Option<String>,
    /// What to call it with: a JSON object with one property for each parameter
    #[arg(long, value_name = "JSON", default_value = "{}", requires = "component")]
    input: String,
    /// How many rounds
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Tasks that wait at once, at most
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(100..=14_000))]
    tasks: u32,
    /// Measure only what has one of these names in the JSON, as `task,wasmtime_task`
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<String>,
    /// Draw the times as a picture: an SVG file
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

pub(super) fn bench(context: &Context, verb: &Verb) -> Result<ExitCode, Failure> {
    let arguments = match verb {
        Verb::Isolation(arguments) => arguments,
        Verb::Held(held) => {
            output::json(&memory::of_one(held)?)?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    let subject = match (&arguments.component, &arguments.function) {
        (Some(file), Some(function)) => Subject::theirs(file, function.clone(), arguments.input.clone())?,
        _ => Subject::ours()?,
    };
    let home = crate::config::Home::open(context.home.as_deref()).map_err(crate::front::FrontError::from)?;
    let folder = Folder(home.path().join(format!("bench-{}", ulid::Ulid::generate())));
    let progress = progress();
    let results = suite::run(&folder.0, &subject, arguments, &progress);
    progress.finish_and_clear();
    let results = results?;
    if let Some(file) = &arguments.plot {
        write(file, plot::svg(&results).as_bytes())?;
    }
    match context.format {
        Format::Json => output::json(&results)?,
        Format::Human => report::show(&results)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// How far it has come, where somebody looks at a terminal.
fn progress() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{elapsed_precise} [{bar:30}] {percent:>3} % {wide_msg}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

/// A folder that is there for as long as something is measured.
struct Folder(PathBuf);

impl Drop for Folder {
    #[expect(clippy::disallowed_methods, reason = "what the benchmark wrote is its own")]
    fn drop(&mut self) {
        // What cannot be removed stays, in a folder that says what it is of.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Writes a file of the benchmark's, with the folders that it needs.
#[expect(clippy::disallowed_methods, reason = "the operator names this file, or it is the benchmark's own")]
fn write(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let made = path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(path, content));
    made.map_err(|error| {
        let help = "name a file in a folder that can be written to";
        Mistake::failure(format!("cannot write `{}`: {error}", path.display()), help)
    })
}

/// Cores of this machine.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
