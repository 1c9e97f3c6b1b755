//! What a task holds that waits for an effect, beside an instance of bare wasmtime that waits for the same.
//!
//! Each is measured in a process of its own: memory that one has given back, the other would use again unseen.
#![expect(clippy::disallowed_types, reason = "the processes are of this program")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use super::super::{Failure, this_program};
use super::bare::Bare;
use super::house::House;
use super::subject::{self, Subject};
use crate::bundle::Digest;
use crate::config::Home;
use crate::engine::{Engine, Room};

/// Tasks that wait before anything is measured, so that what is made once is there.
const FIRST: usize = 50;

/// Which side holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum Side {
    /// Tasks of ambit's.
    Task,
    /// Instances of bare wasmtime.
    Wasmtime,
}

/// What one process measures.
#[derive(clap::Args)]
pub(in crate::cli) struct Held {
    /// Who waits
    #[arg(long, value_enum)]
    by: Side,
    /// How many do
    #[arg(long)]
    tasks: u32,
    /// The folder of the benchmark
    #[arg(long)]
    folder: PathBuf,
}

/// What each holds that waits, in bytes: a task, and an instance of bare wasmtime.
pub(super) fn of_both(folder: &Path, tasks: u32) -> Result<(u64, u64), String> {
    let program = this_program().map_err(|_| "ambit's own program is not found".to_owned())?;
    let of = |by: Side| {
        let name = if by == Side::Task { "task" } else { "wasmtime" };
        let mut command = Command::new(&program);
        command.args(["bench", "held", "--by", name, "--tasks", &tasks.to_string(), "--folder"]).arg(folder);
        let output = command.output().map_err(|error| format!("ambit cannot be started: {error}"))?;
        let said = String::from_utf8_lossy(&output.stdout);
        said.trim().parse().map_err(|_| {
            let why = crate::audit::escaped(String::from_utf8_lossy(&output.stderr).trim());
            format!("what was to hold it ended with {}: {why}", output.status)
        })
    };
    Ok((of(Side::Task)?, of(Side::Wasmtime)?))
}

/// What each of one side holds that waits, in bytes.
pub(super) fn of_one(Held { by, tasks, folder }: &Held) -> Result<u64, Failure> {
    let failed = |why: String| Failure::Host(miette::miette!("{why}"));
    let (house, many) = (folder.join("house"), *tasks as usize);
    let each = |before: u64, during: u64| during.saturating_sub(before) / u64::from(*tasks);
    if *by == Side::Task {
        let house = Arc::new(House::open(&house, &Subject::ours()?, tasks + 64)?);
        house.waiting(FIRST, |_| ()).map_err(failed)?;
        let before = held().map_err(failed)?;
        return Ok(each(before, house.waiting(many, |_| held()).map_err(failed)?.0.map_err(failed)?));
    }
    let home = Home::open(Some(&house.join("home"))).map_err(crate::front::FrontError::from)?;
    let (program, wasm) = (this_program()?, subject::agent()?);
    let engine = Engine::new(&home, &program, Room::Stores(tasks + 64)).map_err(|error| failed(error.to_string()))?;
    let agent = engine.component(&wasm, &Digest::of(&wasm)).map_err(|error| failed(error.to_string()))?;
    Bare::waiting(&agent, FIRST, || ()).map_err(failed)?;
    let before = held().map_err(failed)?;
    Ok(each(before, Bare::waiting(&agent, many, held).map_err(failed)?.map_err(failed)?))
}

/// Bytes that are in memory and of this process alone, with the page tables that lead to them.
#[expect(clippy::disallowed_methods, reason = "a benchmark asks the kernel what this process has")]
fn held() -> Result<u64, String> {
    let read = |path: &str| std::fs::read_to_string(path).map_err(|error| format!("{path} cannot be read: {error}"));
    let (rollup, status) = (read("/proc/self/smaps_rollup")?, read("/proc/self/status")?);
    let kibibytes = |text: &str, name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
    };
    let own = kibibytes(&rollup, "Private_Dirty") + kibibytes(&rollup, "Private_Clean");
    Ok((own + kibibytes(&status, "VmPTE")) * 1024)
}
