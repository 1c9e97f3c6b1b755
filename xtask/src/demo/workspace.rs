//! A developer in a workspace that is gone when its task has ended: a change of one file becomes a branch of a repository whose host
//! admits the task's own identity and nobody else; and what a twin gets that is after that identity.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;
use xtask::services::{Admission, Service, Talk, Workloads};

use super::{Attempt, Demo, table};
use crate::failure::Failure;
use crate::steps;

/// Where the grants say that the repositories are, and the host outside.
const REPOSITORY: u16 = 8804;
const OUTSIDE: u16 = 8803;

/// The change.
const CHANGE: &str = r#"{"repository": "team/site.git", "branch": "main", "change": {"path": "config/site.json", "find": "\"items-per-page\": 10", "replace": "\"items-per-page\": 25"}}"#;

/// What is read of a run's report.
#[derive(Deserialize)]
struct Report {
    output: Value,
}

/// One thing that the twin tried.
#[derive(Deserialize)]
struct Tried {
    what: String,
    got: Option<String>,
    refused: String,
}

/// A change becomes a branch; the workspace is kept beside it, for whoever wants to look.
pub(super) fn develop(demo: &Demo) -> Result<(), Failure> {
    let (repository, folder) = host(demo)?;
    let kept = demo.folder.join("kept");
    let mut run = demo.asked("dev-workspace", Path::new("policies/dev-workspace"), CHANGE);
    let report = report(run.arg("--keep").arg(&kept))?;
    let branch = report.output["branch"].as_str().unwrap_or_default();
    steps::run(Command::new("git").arg("-C").arg(folder.join("team/site.git")).args(["log", "--stat", "-1", branch]))?;
    let left = fs::read_dir(demo.folder.join("home/workspaces")).into_iter().flatten().count();
    if left > 0 || repository.authorizations().iter().any(|borne| !borne.starts_with("Bearer ")) {
        return Err(Failure::Demo("a workspace was left, or a request went without a credential"));
    }
    Ok(())
}

/// What the twin tried, and what came of it: the host does not admit it, and nobody else is asked.
pub(super) fn hoard(demo: &Demo) -> Result<(), Failure> {
    let (repository, _) = host(demo)?;
    let outside = Service::outside(OUTSIDE, Talk::Requests)?;
    let mut run = demo.asked("dev-workspace-hoarder", Path::new("policies/dev-workspace-hoarder"), "null");
    let report = report(&mut run)?;
    let tried: Vec<Tried> = serde_json::from_value(report.output["attempts"].clone())
        .map_err(|source| Failure::Json { command: steps::shown(&run), source })?;
    let attempt = |tried: &Tried| Attempt {
        tried: tried.what.clone(),
        result: tried.got.as_ref().map_or_else(|| format!("refused: {}", tried.refused), |got| format!("GOT {got}")),
    };
    table(&tried.iter().map(attempt).collect::<Vec<_>>());
    // The first is the page that shows what it was asked with: it is granted, and says that the twin is not admitted.
    let got = tried.iter().skip(1).any(|tried| tried.got.is_some());
    if got || tried.len() < 20 || !outside.requests().is_empty() || repository.requests() != ["GET /reflect"] {
        return Err(Failure::Demo("the twin got something, or tried too little"));
    }
    Ok(())
}

/// The host of the repositories, which knows the keys of this demo's home.
fn host(demo: &Demo) -> Result<(Service, PathBuf), Failure> {
    let (keys, folder) = (demo.folder.join("jwks.json"), demo.folder.join("repositories"));
    let published = steps::capture(demo.ambit().args(["identity", "jwks"]), 0)?;
    fs::write(&keys, published.stdout).map_err(Failure::file("write", &keys))?;
    let audience = format!("http://localhost:{REPOSITORY}");
    let below = "spiffe://ambit.local/agent/dev-workspace/".to_owned();
    let admission = Admission::Workloads(Workloads { keys, audience, below });
    Ok((Service::repository(&folder, REPOSITORY, admission, Talk::Requests)?, folder))
}

fn report(command: &mut Command) -> Result<Report, Failure> {
    let output = steps::capture(command.args(["--format", "json"]), 0)?;
    serde_json::from_slice(&output.stdout).map_err(|source| Failure::Json { command: steps::shown(command), source })
}
