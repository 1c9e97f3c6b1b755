//! The support desk: a small refund by itself, a large one with a person's yes, and what a twin gets that obeys whatever it
//! reads.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde::Deserialize;
use serde_json::Value;
use xtask::services::{Service, Talk};

use super::{Demo, shortened};
use crate::failure::Failure;
use crate::steps;

/// What customers write.
const SMALL: &str =
    r#"{"customer": "c-1042", "message": "The blue mug of A-1001 arrived broken, I want my money back"}"#;
const LARGE: &str = r#"{"customer": "c-1042", "message": "My order A-1002 arrived broken, refund please"}"#;
const TWISTED: &str = r#"{"order": "A-1001", "message": "please look at the notes"}"#;

/// Where the grants say that billing is.
const BILLING: u16 = 8802;

/// What is read of a run's report.
#[derive(Deserialize)]
struct Report {
    output: Value,
}

/// A small refund, and a large one that maria of finance approves.
pub(super) fn serve(demo: &Demo) -> Result<(), Failure> {
    let _billing = billing(demo)?;
    steps::run(demo.ambit().args(["policy", "test", "policies/support-desk"]))?;
    let report = report(&mut desk(demo, "support-desk", SMALL))?;
    said(&report, "/refund/outcome", "done")?;
    said(&report, "/notified/outcome", "refused")?;
    let home = demo.folder.join("home");
    let uid = fs::metadata(&home).map_err(Failure::file("read", &home))?.uid();
    let people = format!("[people.maria]\nuid    = {uid}\ngroups = [\"finance\"]\n");
    fs::write(home.join("config.toml"), people).map_err(Failure::file("write", &home))?;
    let mut large = desk(demo, "support-desk", LARGE);
    large.args(["--approvals", "wait", "--format", "json"]);
    eprintln!("$ {} &", steps::shown(&large));
    let program = large.get_program().to_string_lossy().into_owned();
    let running = large.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut running = running.map_err(|source| Failure::Start { program: program.clone(), source })?;
    let id = question(&mut running)?;
    steps::run(demo.ambit().args(["approvals", "show", &id]))?;
    steps::run(demo.ambit().args(["approvals", "approve", &id]))?;
    let output = running.wait_with_output().map_err(|source| Failure::Start { program, source })?;
    said(&parsed(&large, &output.stdout)?, "/refund/outcome", "done")
}

/// What the twin tried, and what came of it: two small refunds, as two messages could have had, and nothing else.
pub(super) fn obey(demo: &Demo) -> Result<(), Failure> {
    let billing = billing(demo)?;
    let report = report(&mut desk(demo, "support-desk-twisted", TWISTED))?;
    let attempts = report.output["attempts"].as_array().cloned().unwrap_or_default();
    println!("    {:<34}{:<16}{:<50}result", "told by", "to call", "with");
    let mut done = 0;
    for attempt in &attempts {
        let refused = attempt["outcome"]["refused"].as_str();
        done += usize::from(refused.is_none());
        let word = |key: &str| shortened(attempt[key].as_str().unwrap_or_default());
        let with: String = word("arguments").chars().take(48).collect();
        let result = refused.map_or_else(|| "done".to_owned(), |code| format!("refused: {code}"));
        println!("    {:<34}{:<16}{with:<50}{result}", word("read-in"), word("tool"));
    }
    if attempts.len() < 10 || done > 2 || billing.requests().len() > 2 {
        return Err(Failure::Demo("the twin did too little, or too much"));
    }
    Ok(())
}

fn desk(demo: &Demo, bundle: &str, input: &str) -> Command {
    let mut command = demo.ambit();
    command.arg("run").arg(Path::new("guest-examples/bundles").join(bundle));
    command.arg("--policy").arg(Path::new("policies").join(bundle)).args(["--input", input]);
    command
}

fn report(command: &mut Command) -> Result<Report, Failure> {
    let output = steps::capture(command.args(["--format", "json"]), 0)?;
    parsed(command, &output.stdout)
}

fn parsed(command: &Command, text: &[u8]) -> Result<Report, Failure> {
    serde_json::from_slice(text).map_err(|source| Failure::Json { command: steps::shown(command), source })
}

/// Whether the output has this word there.
fn said(report: &Report, place: &str, expected: &str) -> Result<(), Failure> {
    let found = report.output.pointer(place).and_then(Value::as_str).unwrap_or("nothing");
    println!("    {}: {found}", place.trim_start_matches('/').replace('/', " "));
    if found == expected { Ok(()) } else { Err(Failure::Demo("the support desk did something else")) }
}

/// The billing service, with a ledger of this demo's own.
fn billing(demo: &Demo) -> Result<Service, Failure> {
    Ok(Service::billing(&demo.folder.join("ledger"), BILLING, Talk::Requests)?)
}

/// Waits until somebody is asked, and says what the question's id is.
fn question(running: &mut Child) -> Result<String, Failure> {
    let nobody = Failure::Demo("nobody was asked");
    let Some(stderr) = running.stderr.take() else { return Err(nobody) };
    let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
    let id = lines.find_map(|line| line.trim().strip_prefix("ambit approvals deny ").map(str::to_owned));
    // Whatever else it says is read, so that it is never kept waiting for a reader.
    std::thread::spawn(move || lines.for_each(drop));
    id.ok_or(nobody)
}
