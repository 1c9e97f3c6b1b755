//! Every check of the project, in the order in which they are likely to fail; the first that fails ends the run.
//!
//! Nothing here reaches for more than a package registry. What does is asked for with `--real`.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::failure::Failure;
use crate::foreign;
use crate::guests;
use crate::real;
use crate::setup;
use crate::steps::{self, Steps};
use crate::workspace::{WASM, Workspace};

/// The variable that tells integration tests where the guests' components lie.
pub(crate) const GUESTS_VARIABLE: &str = "AMBIT_GUESTS";

/// Why `cargo deny` is not asked.
const NO_DENY: &str = "cargo-deny is not here: `cargo install --locked cargo-deny`";

/// Runs every check. `real` asks for those against real servers as well.
pub(crate) fn run(steps: &mut Steps, workspace: &Workspace, real: bool) -> Result<(), Failure> {
    sources(steps, workspace)?;
    setup::wasm_target(steps, workspace)?;
    lints(steps, workspace)?;
    steps.step("guests: unit tests", || cargo(workspace.guest_cargo(), &["test", "--workspace", "--locked"]))?;
    let components = guests::build(steps, workspace)?;
    foreign::build(steps, workspace)?;
    tests(steps, workspace, &components)?;
    documentation(steps, workspace)?;
    dependencies(steps, workspace)?;
    real_servers(steps, workspace, &components, real)
}

/// What can be said without compiling.
fn sources(steps: &mut Steps, workspace: &Workspace) -> Result<(), Failure> {
    steps.step("no toolchain file", || {
        for folder in [workspace.root.clone(), workspace.guests_folder()] {
            for name in ["rust-toolchain.toml", "rust-toolchain"] {
                let path = folder.join(name);
                if path.exists() {
                    return Err(Failure::ToolchainFile { path });
                }
            }
        }
        Ok(())
    })?;
    steps.step("lock files are current", || {
        for mut command in [workspace.cargo(), workspace.guest_cargo()] {
            let tree = ["tree", "--workspace", "--locked", "--quiet", "--depth", "0"];
            steps::run(command.args(tree).stdout(Stdio::null()))?;
        }
        Ok(())
    })?;
    steps.step("format", || {
        for command in [workspace.cargo(), workspace.guest_cargo()] {
            cargo(command, &["fmt", "--all", "--check"])?;
        }
        Ok(())
    })
}

fn lints(steps: &mut Steps, workspace: &Workspace) -> Result<(), Failure> {
    let clippy = ["clippy", "--workspace", "--all-targets", "--locked"];
    let strict = ["--", "-D", "warnings"];
    steps.step("lints", || cargo(workspace.cargo(), &[clippy.as_slice(), &strict].concat()))?;
    steps.step("guests: lints", || {
        let target = ["--target", WASM];
        cargo(workspace.guest_cargo(), &[clippy.as_slice(), &target, &strict].concat())
    })
}

/// All features and profiles are the same in each call, so that nothing is compiled twice.
fn tests(steps: &mut Steps, workspace: &Workspace, components: &Path) -> Result<(), Failure> {
    steps.step("documentation examples", || cargo(workspace.cargo(), &["test", "--doc", "--workspace", "--locked"]))?;
    let test: &[&str] = if installed("nextest") {
        &["nextest", "run", "--workspace", "--locked"]
    } else {
        &["test", "--lib", "--bins", "--tests", "--workspace", "--locked"]
    };
    steps.step("tests", || {
        let mut command = workspace.cargo();
        command.env(GUESTS_VARIABLE, components);
        cargo(command, test)
    })
}

fn documentation(steps: &mut Steps, workspace: &Workspace) -> Result<(), Failure> {
    steps.step("documentation", || {
        let mut command = workspace.cargo();
        command.env("RUSTDOCFLAGS", "-D warnings");
        let all = ["doc", "--workspace", "--no-deps", "--document-private-items", "--locked"];
        cargo(command, &all)
    })
}

/// Licences and sources: what `cargo deny` can say without asking anybody.
fn dependencies(steps: &mut Steps, workspace: &Workspace) -> Result<(), Failure> {
    let name = "dependencies: licences and sources";
    if !installed("deny") {
        steps.skip(name, NO_DENY);
        return Ok(());
    }
    steps.step(name, || deny(workspace, &["bans", "licenses", "sources"]))
}

/// What needs more than a package of cargo's.
fn real_servers(steps: &mut Steps, workspace: &Workspace, components: &Path, asked: bool) -> Result<(), Failure> {
    let advisories = "dependencies: advisories";
    if !asked {
        steps.skip(advisories, "`cargo xtask test --real` fetches the advisory database");
    } else if !installed("deny") {
        steps.skip(advisories, NO_DENY);
    } else {
        steps.step(advisories, || deny(workspace, &["advisories"]))?;
    }
    real::tests(steps, workspace, components, asked)
}

/// Both workspaces, by the one deny.toml: it is looked for in the folders above as well.
fn deny(workspace: &Workspace, checks: &[&str]) -> Result<(), Failure> {
    for command in [workspace.cargo(), workspace.guest_cargo()] {
        cargo(command, &[["deny", "--locked", "check"].as_slice(), checks].concat())?;
    }
    Ok(())
}

pub(crate) fn cargo(mut command: Command, arguments: &[&str]) -> Result<(), Failure> {
    steps::run(command.args(arguments))
}

/// Whether cargo has a command that does not come with it.
fn installed(command: &str) -> bool {
    Command::new(format!("cargo-{command}"))
        .args([command, "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
