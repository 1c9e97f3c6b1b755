//! The main job from nothing to a verified audit log, from a folder and from pages, and what three hostile twins of it get:
//! nothing; a support desk that asks a person, a developer with a credential for minutes, and an operations agent that goes on where
//! it was, each with a twin of its own.
//!
//! Every command is shown as it is run, so that it can be copied. What must come of each is checked here, and not by
//! asking the twin alone: none of the secrets that were planted for it may stand in what it returns.

mod desk;
mod ops;
mod pages;
mod plant;
mod workspace;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::demo::plant::Planted;
use crate::failure::Failure;
use crate::guests;
use crate::setup;
use crate::steps::{self, Steps};
use crate::workspace::Workspace;

/// What the agent is asked. The answer stands in the project's own documents.
const QUESTION: &str = r#"{"question": "Which exit code means that a limit was spent?"}"#;

/// `ambit`'s exit code for a task that a grant or a policy refused.
const REFUSED: i32 = 3;

/// What is read of `ambit --format json call`, when the tool is the prowling search.
#[derive(Deserialize)]
struct Report {
    output: Output,
}

#[derive(Deserialize)]
struct Output {
    passages: Vec<Attempt>,
}

/// One thing that the prowling search tried. It answers as a search does, with passages.
#[derive(Deserialize)]
struct Attempt {
    /// What it tried.
    #[serde(rename = "file")]
    tried: String,
    /// What came of it: `GOT …`, or how it was refused.
    #[serde(rename = "text")]
    result: String,
}

/// A fresh folder for each run, and the `ambit` that is tried in it.
struct Demo {
    ambit: PathBuf,
    folder: PathBuf,
}

/// Builds what is missing, and runs the job and its twins.
pub(crate) fn run(steps: &mut Steps, workspace: &Workspace) -> Result<(), Failure> {
    setup::wasm_target(steps, workspace)?;
    let components = workspace.relative(&guests::build(steps, workspace)?);
    steps.step("ambit", || steps::run(workspace.cargo().args(["build", "--release", "--locked"])))?;
    let demo = Demo::fresh(workspace)?;
    steps.step("the job: a question, answered from a folder of documents", || {
        steps::run(&mut demo.run("researcher", Path::new("policies/researcher")))
    })?;
    steps.step("a twin that imports what it is not granted is refused before it runs", || {
        let policy = Path::new("policies/researcher-import");
        steps::expect(&mut demo.run("researcher-import", policy), REFUSED)
    })?;
    let planted = steps.step("secrets are laid out for the second twin", || {
        let planted = Planted::lay_out(&demo.folder, Path::new("policies/researcher-prowl"))?;
        steps::run(&mut demo.keep_state(&planted, &components))?;
        Ok(planted)
    })?;
    steps.step("a twin that prowls gets nothing", || prowl(&demo, &planted, &components))?;
    steps.step("the job again, answered from pages of a local web server", || pages::read(&demo))?;
    steps.step("a twin that would send the pages away sends nothing", || pages::leak(&demo, &components))?;
    steps
        .step("a support desk gives back a little by itself, and more when a person says yes", || desk::serve(&demo))?;
    steps.step("a twin that obeys whatever it reads gets no further", || desk::obey(&demo))?;
    steps.step("a developer pushes a change from a workspace that is gone afterwards", || workspace::develop(&demo))?;
    steps.step("a twin that is after its credentials is not admitted anywhere", || workspace::hoard(&demo))?;
    steps.step("an operations agent is put away while it waits, goes on with a yes, and is told again", || {
        ops::run(&demo)
    })?;
    steps.step("a twin with an implant leaves nothing for its next task", || ops::implant(&demo))?;
    steps.step("the audit log holds it all, unbroken", || steps::run(demo.ambit().args(["audit", "verify"])))
}

impl Demo {
    fn fresh(workspace: &Workspace) -> Result<Demo, Failure> {
        let folder = workspace.relative(&workspace.target.join("demo"));
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(Failure::file("delete", &folder))?;
        }
        fs::create_dir_all(&folder).map_err(Failure::file("create", &folder))?;
        let ambit = workspace.relative(&workspace.target.join("release/ambit"));
        Ok(Demo { ambit, folder })
    }

    fn ambit(&self) -> Command {
        let mut command = Command::new(&self.ambit);
        command.arg("--home").arg(self.folder.join("home"));
        command
    }

    fn run(&self, bundle: &str, policy: &Path) -> Command {
        self.asked(bundle, policy, QUESTION)
    }

    fn asked(&self, bundle: &str, policy: &Path, input: &str) -> Command {
        let mut command = self.ambit();
        command.arg("run").arg(Path::new("guest-examples/bundles").join(bundle));
        command.arg("--policy").arg(policy).args(["--input", input]);
        command
    }

    /// An honest task of somebody else's, which leaves a secret in a namespace of its own.
    fn keep_state(&self, planted: &Planted, components: &Path) -> Command {
        let mut command = self.ambit();
        command.arg("call").arg(components.join("probe-state.wasm")).arg("set");
        command.arg(serde_json::json!({ "bucket": "", "key": "salaries", "value": planted.state }).to_string());
        command.arg("--grant").arg(&planted.state_grant);
        command
    }
}

/// Runs the prowling twin, then its search alone under the same grant, prints what each attempt got, and fails if one got
/// anything.
fn prowl(demo: &Demo, planted: &Planted, components: &Path) -> Result<(), Failure> {
    let mut twin = demo.run("researcher-prowl", &planted.policy);
    twin.args(["--format", "json"]).env(plant::VARIABLE, &planted.variable);
    let told = steps::capture(&mut twin, 0)?;
    let mut search = demo.ambit();
    search.args(["--format", "json", "call"]).arg(components.join("search-prowl.wasm")).arg("query");
    search.arg(r#"{"question": "anything", "limit": 100}"#).arg("--grant").arg(&planted.search_grant);
    search.env(plant::VARIABLE, &planted.variable);
    let output = steps::capture(&mut search, 0)?;
    let report: Report = serde_json::from_slice(&output.stdout)
        .map_err(|source| Failure::Json { command: steps::shown(&search), source })?;
    let attempts = &report.output.passages;
    table(attempts);
    if attempts.is_empty() {
        return Err(Failure::Demo("the twin tried nothing"));
    }
    if attempts.iter().any(|attempt| !attempt.result.starts_with("refused: ")) {
        return Err(Failure::Demo("an attempt got something"));
    }
    let said = [told.stdout, told.stderr, output.stdout, output.stderr].concat();
    if planted.stands_in(&String::from_utf8_lossy(&said)) {
        return Err(Failure::Demo("a planted secret came out"));
    }
    Ok(())
}

fn table(attempts: &[Attempt]) {
    let width = attempts.iter().map(|attempt| shortened(&attempt.tried).chars().count()).max();
    let width = width.unwrap_or_default();
    println!("    {:width$}  result", "attempt");
    for attempt in attempts {
        println!("    {:width$}  {}", shortened(&attempt.tried), shortened(&attempt.result));
    }
}

/// A guest's text, fit for one column of a terminal.
fn shortened(text: &str) -> String {
    // Quotes are harmless, and easier to read as they are.
    text.escape_debug().to_string().replace("\\\"", "\"").chars().take(72).collect()
}
