//! The operations agent: it works through a runbook, asks before it restarts anything, goes on where it was killed, and a twin
//! with an implant leaves nothing for the next task.

use std::process::Command;

use serde_json::{Value, json};
use xtask::services::{Service, Talk};

use super::support::{Answer, Running, keep_compiled, policy_with, take_compiled};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const INPUT: &str = r#"{"runbook": "restart-web"}"#;

/// A home, and a manager of services.
struct House {
    home: tempfile::TempDir,
    manager: Service,
    policy: tempfile::TempDir,
    bundle: &'static str,
}

impl House {
    fn of(bundle: &'static str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(home.path()).unwrap());
        let people = format!("[people.jo]\nuid = {uid}\ngroups = [\"oncall\"]\n");
        std::fs::write(home.path().join("config.toml"), people).unwrap();
        let manager = Service::manager(0, Talk::Quiet).unwrap();
        let runbooks = format!("{ROOT}/policies/ops-runner/runbooks");
        let port = manager.port().to_string();
        let changes = [("8805", port.as_str()), ("\"../ops-runner/runbooks\"", &format!("{runbooks:?}"))];
        let policy = policy_with(bundle, &changes);
        Self { home, manager, policy, bundle }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        take_compiled(self.home.path());
        let mut command = Command::new(env!("CARGO_BIN_EXE_ambit"));
        command.current_dir(ROOT).env("AMBIT_HOME", self.home.path()).args(["--format", "json"]).args(arguments);
        command
    }

    fn ambit(&self, arguments: &[&str]) -> Answer {
        let answer = Answer::of(self.command(arguments).output().unwrap());
        keep_compiled(self.home.path());
        answer
    }

    fn run(&self) -> Command {
        let bundle = format!("guest-examples/bundles/{}", self.bundle);
        let policy = self.policy.path().to_str().unwrap();
        self.command(&["run", &bundle, "--policy", policy, "--approvals", "suspend", "--input", INPUT])
    }

    /// Runs it up to the question, has that answered, and lets it go on.
    fn worked_through(&self) -> Answer {
        let waits = Answer::of(self.run().output().unwrap());
        keep_compiled(self.home.path());
        assert_eq!((waits.code, &waits.json()["status"]), (4, &json!("suspended")), "{waits:?}");
        let asked = self.ambit(&["approvals", "list"]).json();
        assert_eq!(self.ambit(&["approvals", "approve", asked[0]["id"].as_str().unwrap()]).code, 0);
        let done = self.ambit(&["task", "resume", waits.json()["task"].as_str().unwrap()]);
        assert_eq!(done.code, 0, "{done:?}");
        done
    }

    fn restarts(&self) -> usize {
        self.manager.requests().iter().filter(|request| request.starts_with("POST")).count()
    }
}

#[test]
fn it_works_through_a_runbook_and_asks_before_it_restarts() {
    let house = House::of("ops-runner");
    let output = house.worked_through().json()["output"].clone();
    let steps: Vec<(&Value, &Value)> =
        output["steps"].as_array().unwrap().iter().map(|step| (&step["step"], &step["outcome"])).collect();
    assert_eq!((steps.len(), output["finished"] == true), (6, true), "{output}");
    assert!(steps.iter().all(|(_, outcome)| *outcome == "done"), "{output}");
    assert_eq!(steps[3].0, "restart web");
    let report = output["report"].as_str().unwrap();
    assert!(report.contains("- check web: it is not healthy\n- restart web: it is healthy"), "{report}");
    // Nothing that was done before it was put away was done again.
    assert_eq!((house.manager.requests().len(), house.restarts()), (4, 1));
    // The next task has a report of its own; the count goes on.
    let next = house.worked_through().json()["output"].clone();
    assert_eq!(next["report"].as_str().unwrap().lines().count(), 6, "{next}");
    assert_eq!(next["steps"][5]["answer"], 12, "{next}");
}

#[test]
fn what_who_is_on_call_denies_is_the_end_of_the_runbook() {
    let house = House::of("ops-runner");
    let waits = Answer::of(house.run().output().unwrap());
    let asked = house.ambit(&["approvals", "list"]).json();
    assert_eq!(house.ambit(&["approvals", "deny", asked[0]["id"].as_str().unwrap()]).code, 0);
    let done = house.ambit(&["task", "resume", waits.json()["task"].as_str().unwrap()]).json();
    let output = &done["output"];
    assert_eq!((&output["finished"], output["steps"].as_array().unwrap().len()), (&json!(false), 4), "{output}");
    assert_eq!((&output["steps"][3]["code"], house.restarts()), (&json!("denied"), 0));
}

#[test]
fn killed_halfway_it_goes_on_where_it_was() {
    let house = House::of("ops-runner");
    let mut running = Running::start(&mut house.run());
    // It is killed with two checks behind it, wherever it is by then.
    super::support::eventually("two checks", || (house.manager.requests().len() >= 2).then_some(()));
    running.child.kill().unwrap();
    running.end();
    let task = house.ambit(&["task", "list"]).json()[0]["task"].as_str().unwrap().to_owned();
    let waits = house.ambit(&["task", "resume", &task, "--retry-unknown"]);
    assert_eq!(waits.code, 4, "{waits:?}");
    let asked = house.ambit(&["approvals", "list"]).json();
    assert_eq!(asked.as_array().unwrap().len(), 1, "{asked}");
    assert_eq!(house.ambit(&["approvals", "approve", asked[0]["id"].as_str().unwrap()]).code, 0);
    let done = house.ambit(&["task", "resume", &task]);
    let output = &done.json()["output"];
    assert_eq!(
        (&output["finished"], output["report"].as_str().unwrap().lines().count()),
        (&json!(true), 6),
        "{output}"
    );
    assert_eq!((&output["steps"][5]["answer"], house.restarts()), (&json!(6), 1), "{output}");
    assert_eq!(house.ambit(&["audit", "verify"]).code, 0);
    let told = house.ambit(&["task", "replay", &task]).json();
    assert_eq!(told["diverged"], Value::Null, "{told}");
}

#[test]
fn an_implant_leaves_nothing_for_the_next_task() {
    let house = House::of("ops-runner-implant");
    for _ in 0..3 {
        let done = house.worked_through();
        let output = &done.json()["output"];
        let lines: Vec<&str> = output["report"].as_str().unwrap().lines().collect();
        assert_eq!(lines.len(), 6, "{output}");
        // In the first call nothing is found of any task before; in later ones the task's own folder, and no more.
        assert_eq!(lines[0], "- memory false, files 0, state false", "{output}");
        assert!(lines[1..].iter().all(|line| *line == "- memory false, files 1, state false"), "{output}");
        // What it would have the operator read stays a line of its own, and nothing that a terminal obeys.
        assert!(done.stderr.contains("approved by maria") && !done.stderr.contains('\u{1b}'), "{done:?}");
        assert!(done.stderr.lines().all(|line| !line.starts_with("2026-01-01")), "{done:?}");
    }
    let records = house.ambit(&["audit", "show", "--limit", "100000"]);
    assert!(!records.stdout.contains("approved by maria"), "{records:?}");
    let refused = records.stdout.matches("\"action\": \"state.write\"").count();
    assert!(refused > 0 && !house.policy.path().join("runbooks/.implant").exists());
}
