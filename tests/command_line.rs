//! What the program says, whole: exit code, stdout and stderr.

use super::support::{Answer, Scene, agent};

fn shown(answer: &Answer) -> String {
    format!("exit code: {}\n--- stdout\n{}--- stderr\n{}", answer.code, answer.stdout, answer.stderr)
}

/// What differs from run to run: names of tasks, times, digests and hashes, durations.
macro_rules! assert_shown {
    ($answer:expr) => {
        insta::with_settings!({ filters => vec![
            (r"01[0-9A-Z]{24}", "TASK"),
            (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
            (r"sha256:[0-9a-f]{64}", "DIGEST"),
            (r"\b[0-9a-f]{64}\b", "HASH"),
            (r"in \d+(\.\d+)? m?s", "in SOME TIME"),
            (r#""wall_ms": \d+"#, "\"wall_ms\": SOME"),
            (r"wall_ms \d+", "wall_ms SOME"),
        ] }, { insta::assert_snapshot!(shown(&$answer)); });
    };
}

fn echo(grants: &str) -> Scene {
    let scene = Scene::with_tools(&[], grants);
    scene.component("agent", &agent("", "", "", "(call $ok (i32.const 6))"));
    scene.write("bundle/bundle.toml", b"name = \"scene\"\nversion = \"0.1.0\"\n[agent]\ncomponent = \"agent.wasm\"\n");
    scene
}

const RUN: [&str; 4] = ["run", "bundle", "--policy", "policy"];

#[test]
fn help_says_what_there_is() {
    let scene = echo("");
    assert_shown!(scene.ambit(&["--help"]));
    assert_shown!(scene.ambit(&["run", "--help"]));
    assert_shown!(scene.ambit(&["--version"]));
    assert_shown!(scene.ambit(&["policy", "test", "--help"]));
    assert_shown!(scene.ambit(&["policy", "explain", "--help"]));
}

#[test]
fn a_run_gives_its_output_and_a_short_account() {
    let scene = echo("");
    assert_shown!(scene.ambit(&RUN));
    assert_shown!(scene.ambit(&["--format", "json", "run", "bundle", "--policy", "policy"]));
    assert_shown!(scene.ambit(&["task", "list"]));
    assert_shown!(scene.ambit(&["audit", "show"]));
    assert_shown!(scene.ambit(&["audit", "verify"]));
}

#[test]
fn mistakes_on_the_command_line_say_what_to_do() {
    let scene = echo("");
    assert_shown!(scene.ambit(&["run", "bundle", "--policy", "policy", "--input", "{broken"]));
    assert_shown!(scene.ambit(&["run", "bundle", "--policy", "policy", "--input", "{\"a\":1,\"a\":2}"]));
    assert_shown!(scene.ambit(&["run", "bundle", "--policy", "policy", "--input", "@nosuch"]));
    assert_shown!(scene.ambit(&["run", "nosuch", "--policy", "policy"]));
    assert_shown!(scene.ambit(&["task", "show", "01K"]));
    assert_shown!(scene.ambit(&["run", "bundle", "--polcy", "policy"]));
}

#[test]
fn mistakes_in_manifests_and_rules_show_their_place() {
    let scene = echo("[agent]\nfilesytem = []\n");
    assert_shown!(scene.ambit(&RUN));
    scene.grant("[tools.serch]\n");
    assert_shown!(scene.ambit(&RUN));
    scene.grant("[limits]\nmemory = \"64 lightyears\"\n");
    assert_shown!(scene.ambit(&RUN));
    scene.grant("[agent]\nfilesystem = [{ host = \"x\", guest = \"/data/../etc\" }]\n");
    assert_shown!(scene.ambit(&RUN));
    scene.grant("[agent]\nclock = false\n");
    assert_shown!(scene.ambit(&RUN));
    scene.grant("");
    scene.rules("permit (principal, action, resource)\nwhen { context.sise > 1 };\n");
    assert_shown!(scene.ambit(&RUN));
    scene.rules("permit (principal, action == Ambit::Action::\"tools.cal\", resource);\n");
    assert_shown!(scene.ambit(&RUN));
    scene.rules("");
    scene.write("bundle/agent.wasm", b"\0asm\x01\0\0\0");
    assert_shown!(scene.ambit(&RUN));
    scene.write("bundle/agent.wasm", b"#!/bin/sh");
    assert_shown!(scene.ambit(&RUN));
    scene.write(
        "bundle/bundle.toml",
        b"name = \"scene\"\nversion = \"0.1.0\"\n[agent]\ncomponent = \"../agent.wasm\"\n",
    );
    assert_shown!(scene.ambit(&RUN));
}

#[test]
fn check_shows_what_is_requested_beside_what_is_granted() {
    let scene = Scene::with_tools(&[], "[agent]\nclock = true\nenv = { set = { MODE = \"a\", SECRET = \"b\" } }\n");
    scene.component("agent", &agent("", "", "", "(call $ok (i32.const 6))"));
    assert_shown!(scene.ambit(&["check", "bundle", "--policy", "policy"]));
    scene.component("agent", "(component)");
    assert_shown!(scene.ambit(&["check", "bundle", "--policy", "policy"]));
}

#[test]
fn a_log_that_was_changed_does_not_verify() {
    let scene = echo("");
    scene.ambit(&RUN);
    let database = scene.path("home/ambit.db");
    let change = |sql: &str| rusqlite::Connection::open(&database).unwrap().execute_batch(sql);
    assert!(change("UPDATE audit SET code = 'failed' WHERE seq = 2").is_err(), "the log is append-only");
    change("DROP TRIGGER audit_is_not_changed; UPDATE audit SET code = 'failed' WHERE seq = 2").unwrap();
    assert_shown!(scene.ambit(&["audit", "verify"]));
    change("DROP TRIGGER audit_is_not_deleted; DELETE FROM audit WHERE seq = 2").unwrap();
    assert_shown!(scene.ambit(&["audit", "verify"]));
}
