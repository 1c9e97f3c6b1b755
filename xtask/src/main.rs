//! The project's own commands, run as `cargo xtask NAME`.
//!
//! | command | what it does |
//! | --- | --- |
//! | `setup` | makes rustc able to build for `wasm32-wasip2` |
//! | `guests` | builds guest-examples/ and puts each bundle's components into its folder |
//! | `foreign` | builds the guests in Python, and fetches the one that somebody else built |
//! | `demo` | the main job and its hostile twins, from nothing to a verified audit log |
//! | `serve` | the local services that bundles reach, until Ctrl-C |
//! | `test` | every check, in the order in which they are likely to fail |
//!
//! Each sets up what it needs first, and does again only what is out of date.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    reason = "a build tool, not the product"
)]

mod demo;
mod failure;
mod foreign;
mod guests;
mod real;
mod serve;
mod setup;
mod steps;
mod test;
mod workspace;

use std::error::Error;
use std::process::ExitCode;

use crate::failure::Failure;
use crate::steps::Steps;
use crate::workspace::Workspace;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  setup          make rustc able to build for wasm32-wasip2
  guests         build guest-examples/ and put each bundle's components into its folder
  foreign        build the guests in Python, and fetch the one that somebody else built
  demo           run the main job and its hostile twins
  serve          run the documentation server, the billing service, the repository host and the manager of
                 services until Ctrl-C:
                 [--docs DIR] [--docs-port PORT] [--ledger DIR] [--billing-port PORT]
                 [--repositories DIR] [--repository-port PORT] [--manager-port PORT]
                 [--repository-keys FILE] [--trust-domain NAME] [--repository-token FILE]
  test [--real]  run every check; with --real those against real servers as well";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if matches!(arguments.as_slice(), ["help" | "--help" | "-h"]) {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let Some(command) = command(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let mut steps = Steps::default();
    let result = Workspace::discover().and_then(|workspace| command(&mut steps, &workspace));
    steps.summarise();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(steps.failed(), &failure);
            ExitCode::FAILURE
        }
    }
}

type Command = Box<dyn FnOnce(&mut Steps, &Workspace) -> Result<(), Failure>>;

/// What the command line asks for.
fn command(arguments: &[&str]) -> Option<Command> {
    let command: Command = match arguments {
        ["setup"] => Box::new(setup::wasm_target),
        ["guests"] => Box::new(|steps, workspace| {
            setup::wasm_target(steps, workspace)?;
            guests::build(steps, workspace).map(drop)
        }),
        ["foreign"] => Box::new(foreign::build),
        ["demo"] => Box::new(demo::run),
        ["serve", options @ ..] => {
            let options = serve::Options::parse(options)?;
            Box::new(move |_, workspace| serve::run(workspace, &options))
        }
        ["test"] => Box::new(|steps, workspace| test::run(steps, workspace, false)),
        ["test", "--real"] => Box::new(|steps, workspace| test::run(steps, workspace, true)),
        _ => return None,
    };
    Some(command)
}

/// Prints a failure, the step that it happened in, and what caused it, a line each.
fn complain(step: Option<&str>, failure: &Failure) {
    match step {
        Some(step) => eprintln!("\nerror in the step `{step}`: {failure}"),
        None => eprintln!("\nerror: {failure}"),
    }
    let mut cause = failure.source();
    while let Some(error) = cause {
        eprintln!("  because: {error}");
        cause = error.source();
    }
}
