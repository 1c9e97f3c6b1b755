//! The operations agent: put away while it waits for a person, and going on where it was; and what its twin leaves behind.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;
use xtask::services::{Service, Talk};

use super::Demo;
use crate::failure::Failure;
use crate::steps;

/// Where the grants say that the manager of services is.
const MANAGER: u16 = 8805;
/// `ambit`'s exit code for a task that waits for an approval.
const WAITS: i32 = 4;

/// What is read of a run's report.
#[derive(Deserialize)]
struct Report {
    task: String,
    output: Value,
}

#[derive(Deserialize)]
struct Asked {
    id: String,
}

/// A runbook with a restart that jo, who is on call, approves.
pub(super) fn run(demo: &Demo) -> Result<(), Failure> {
    let manager = Service::manager(MANAGER, Talk::Requests)?;
    steps::run(demo.ambit().args(["policy", "test", "policies/ops-runner"]))?;
    let report = worked_through(demo, "ops-runner")?;
    println!("    {}", report.output["report"].as_str().unwrap_or_default().trim_end().replace('\n', "\n    "));
    let restarts = manager.requests().iter().filter(|request| request.starts_with("POST")).count();
    if report.output["finished"] != true || restarts != 1 {
        return Err(Failure::Demo("the runbook was not worked through"));
    }
    steps::run(demo.ambit().args(["task", "replay", &report.task]))
}

/// Two tasks of the twin: the second finds nothing of the first.
pub(super) fn implant(demo: &Demo) -> Result<(), Failure> {
    let _manager = Service::manager(MANAGER, Talk::Quiet)?;
    for _ in 0..2 {
        let report = worked_through(demo, "ops-runner-implant")?;
        let first = report.output["report"].as_str().and_then(|report| report.lines().next()).unwrap_or_default();
        println!("    its first look: {first}");
        if first != "- memory false, files 0, state false" {
            return Err(Failure::Demo("the twin found what a task before it left"));
        }
    }
    Ok(())
}

/// Runs the bundle up to its question, has that answered, and lets it go on.
fn worked_through(demo: &Demo, bundle: &str) -> Result<Report, Failure> {
    let home = demo.folder.join("home");
    let uid = fs::metadata(&home).map_err(Failure::file("read", &home))?.uid();
    let people = format!("[people.jo]\nuid    = {uid}\ngroups = [\"oncall\"]\n");
    fs::write(home.join("config.toml"), people).map_err(Failure::file("write", &home))?;
    let mut run = demo.ambit();
    run.args(["--format", "json", "run", &format!("guest-examples/bundles/{bundle}")]);
    run.args(["--policy", &format!("policies/{bundle}"), "--approvals", "suspend"]);
    run.args(["--input", r#"{"runbook": "restart-web"}"#]);
    let waits: Report = said(&mut run, WAITS)?;
    let asked: Vec<Asked> = said(demo.ambit().args(["--format", "json", "approvals", "list"]), 0)?;
    let question = asked.first().ok_or(Failure::Demo("nobody was asked"))?;
    steps::run(demo.ambit().args(["approvals", "approve", &question.id]))?;
    said(demo.ambit().args(["--format", "json", "task", "resume", &waits.task]), 0)
}

fn said<T: serde::de::DeserializeOwned>(command: &mut Command, code: i32) -> Result<T, Failure> {
    let output = steps::capture(command, code)?;
    serde_json::from_slice(&output.stdout).map_err(|source| Failure::Json { command: steps::shown(command), source })
}
