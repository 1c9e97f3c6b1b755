//! Makes the active rustc able to build for `wasm32-wasip2`.
//!
//! `wasm-target.sh` tries rustup first, and otherwise builds the target's standard library from pinned sources; it does
//! nothing when the target works. It is a script so that it can be run where this tool cannot be built yet.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::UNIX_EPOCH;
use std::{fs, io};

use crate::failure::Failure;
use crate::guests::write_if_changed;
use crate::steps::{self, Steps};
use crate::workspace::{WASM, Workspace};

/// Sets the target up if it does not work yet.
pub(crate) fn wasm_target(steps: &mut Steps, workspace: &Workspace) -> Result<(), Failure> {
    steps.step("the target wasm32-wasip2", || {
        steps::run(Command::new("bash").arg("xtask/wasm-target.sh"))?;
        let (_, target) = workspace.guests()?;
        forget_other_std(&target)
    })
}

/// Deletes what guests were compiled to with another standard library than the one that is installed.
///
/// Cargo does not notice that it was replaced, and rustc then fails with E0463.
fn forget_other_std(target: &Path) -> Result<(), Failure> {
    let installed = installed_std()?;
    let stamp = target.join(".std");
    if target.exists() && fs::read_to_string(&stamp).ok().as_ref() != Some(&installed) {
        eprintln!("    guests were built with another standard library, or an unknown one: starting afresh");
        fs::remove_dir_all(target).map_err(Failure::file("delete", target))?;
    }
    write_if_changed(&stamp, installed.as_bytes()).map(drop)
}

/// What tells one installed standard library from another: its files with their sizes and times.
fn installed_std() -> Result<String, Failure> {
    let mut rustc = Command::new("rustc");
    let output = steps::capture(rustc.args(["--print", "target-libdir", "--target", WASM]), 0)?;
    let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end());
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder).map_err(Failure::file("read", &folder))? {
        let read = |entry: io::Result<fs::DirEntry>| {
            let entry = entry?;
            let metadata = entry.metadata()?;
            let changed = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            Ok(format!("{} {} {}\n", entry.file_name().to_string_lossy(), metadata.len(), changed.as_nanos()))
        };
        files.push(read(entry).map_err(Failure::file("read", &folder))?);
    }
    files.sort();
    Ok(files.concat())
}
