//! Makes the active rustc able to build for `wasm32-wasip2`.
//!
//! `wasm-target.sh` tries rustup first, and otherwise builds the target's standard library from pinned sources; it does
//! nothing when the target works. It is a script so that it can be run where this tool cannot be built yet.

use std::process::Command;

use crate::failure::Failure;
use crate::steps::{self, Steps};
use crate::workspace::Workspace;

/// Sets the target up if it does not work yet.
pub(crate) fn wasm_target(steps: &mut Steps, workspace: &Workspace) -> Result<(), Failure> {
    steps.step("the target wasm32-wasip2", || {
        let mut script = Command::new("bash");
        steps::run(script.arg("xtask/wasm-target.sh").current_dir(&workspace.root))
    })
}
