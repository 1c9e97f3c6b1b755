//! What a task leaves behind: nothing, but what it was granted to keep.

use serde_json::{Value, json};

use super::support::Scene;

const KEEPER: &str =
    "[agent]\ntools = [\"keeper\"]\n[tools.keeper]\nstate = { namespace = \"notes\", quota = \"1KiB\" }";

fn keeper() -> Scene {
    Scene::with_tools(&[("keeper", "probe-state")], KEEPER)
}

fn ask(scene: &Scene, function: &str, arguments: &Value) -> Value {
    let report = scene.run(&json!({ "calls": [{ "tool": format!("keeper.{function}"), "arguments": arguments }] }));
    assert_eq!(report["status"], "succeeded", "{report}");
    report["output"][0].clone()
}

#[test]
fn memory_and_temporary_files_do_not_last_from_call_to_call() {
    let scene = Scene::probing("[agent]\ntools = [\"prober\"]");
    let call = json!({ "tool": "prober.remember", "arguments": {} });
    for _ in 0..2 {
        let report = scene.run(&json!({ "calls": [call, call] }));
        for answer in report["output"].as_array().unwrap() {
            assert_eq!(answer["ok"], "call 1, file None, written false", "{report}");
        }
    }
}

#[test]
fn an_identical_run_is_identical() {
    let scene = Scene::probing("[agent]\ntools = [\"prober\"]");
    let input = json!({ "calls": [
        { "tool": "prober.random", "arguments": { "length": 16 } },
        { "tool": "prober.now", "arguments": {} },
        { "tool": "prober.wait", "arguments": { "milliseconds": 86_400_000 } },
        { "tool": "prober.variables", "arguments": {} },
    ] });
    let (one, two) = (scene.run(&input), scene.run(&input));
    assert_eq!(one["output"], two["output"]);
    assert_eq!(one["usage"]["fuel"], two["usage"]["fuel"]);
    // A day passed on the powerless clock, which began in 2000 and says nothing of today.
    assert_eq!(one["output"][2]["ok"], 86_400_000, "{one}");
    assert!(one["output"][1]["ok"].as_u64().unwrap() < 946_684_900_000, "{one}");
    assert_eq!(one["output"][3]["ok"], json!([]));
    let other = scene.run(&json!({ "calls": [{ "tool": "prober.random", "arguments": { "length": 16 } }] }));
    assert_ne!(other["output"][0], one["output"][0], "another input draws other numbers");
}

#[test]
fn granted_randomness_differs_unless_the_operator_gives_a_seed() {
    let scene = Scene::probing("[agent]\ntools = [\"prober\"]\n[tools.prober]\nrandom = true");
    let input = json!({ "calls": [{ "tool": "prober.random", "arguments": { "length": 16 } }] });
    assert_ne!(scene.run(&input)["output"], scene.run(&input)["output"]);
    let seeded = |seed: &str| {
        let text = input.to_string();
        scene
            .ambit(&["--format", "json", "run", "bundle", "--policy", "policy", "--seed", seed, "--input", &text])
            .json()["output"]
            .clone()
    };
    assert_eq!(seeded("a"), seeded("a"));
    assert_ne!(seeded("a"), seeded("b"));
}

#[test]
fn variables_are_those_that_are_listed() {
    let scene = Scene::probing(
        "[agent]\ntools = [\"prober\"]\n[tools.prober]\nenv = { set = { MODE = \"fast\", OTHER = \"not requested\" }, inherit = [\"AMBIT_TEST_VARIABLE\"], arguments = [\"--quick\"] }",
    );
    let input = json!({ "calls": [{ "tool": "prober.variables", "arguments": {} }, { "tool": "prober.arguments", "arguments": {} }] }).to_string();
    let answer = scene.ambit_with(
        &["--format", "json", "run", "bundle", "--policy", "policy", "--input", &input],
        &[("AMBIT_TEST_VARIABLE", "given"), ("AMBIT_TEST_SECRET", "hidden")],
    );
    let output = &answer.json()["output"];
    assert_eq!(output[0]["ok"], json!([["AMBIT_TEST_VARIABLE", "given"], ["MODE", "fast"]]));
    assert_eq!(output[1]["ok"], json!(["--quick"]));
}

#[test]
fn sockets_and_names_are_refused_and_nothing_leaves() {
    let scene = Scene::probing("[agent]\ntools = [\"prober\"]");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    for (function, arguments) in [
        ("connect", json!({ "address": address })),
        ("send", json!({ "address": address })),
        ("look-up", json!({ "name": "localhost" })),
        ("look-up", json!({ "name": "data.example.com" })),
    ] {
        let answer = scene.probe(function, &arguments);
        assert_eq!(answer["error"], "failed", "{function}: {answer}");
    }
    assert!(listener.accept().is_err(), "something connected");
}

#[test]
fn what_is_printed_goes_to_the_operator_escaped_and_bounded() {
    let scene = Scene::probing("[agent]\ntools = [\"prober\"]\n[tools.prober]\nstdio = true");
    let input =
        json!({ "calls": [{ "tool": "prober.print", "arguments": { "text": "red \u{1b}[31m\nand\u{202e} more" } }] })
            .to_string();
    let answer = scene.ambit(&["run", "bundle", "--policy", "policy", "--input", &input]);
    assert!(answer.stderr.contains("[prober] red \\u{1b}[31m\n[prober] and\\u{202e} more\n"), "{answer:?}");
    assert!(!answer.stdout.contains("red"), "{answer:?}");

    scene.grant("[limits]\nlog = 100\n[agent]\ntools = [\"prober\"]\n[tools.prober]\nstdio = true");
    let call = json!({ "tool": "prober.print", "arguments": { "text": "x".repeat(45) } });
    let report = scene.run(&json!({ "calls": [call, call] }));
    assert_eq!(report["status"], "exhausted", "{report}");
    assert_eq!(report["error"]["code"], "log", "{report}");
}

#[test]
fn state_lasts_and_stays_in_its_namespace_and_its_bundle() {
    let scene = keeper();
    assert!(ask(&scene, "set", &json!({ "bucket": "", "key": "k", "value": "kept" }))["error"].is_null());
    assert_eq!(ask(&scene, "get", &json!({ "bucket": "notes", "key": "k" }))["ok"], "kept");
    assert_eq!(ask(&scene, "keys", &json!({ "bucket": "default" }))["ok"], json!(["k"]));
    for bucket in ["other", "scene/notes", "../notes", "NOTES"] {
        let answer = ask(&scene, "get", &json!({ "bucket": bucket, "key": "k" }));
        assert_eq!(answer["value"], "access-denied", "{bucket}: {answer}");
    }
    assert_eq!(scene.records_of("refusal", "state.read").len(), 4);
    // The same namespace of another bundle, in the same home, is another one.
    let rename = |name: &str, from: &str, to: &str| {
        let text = std::fs::read_to_string(scene.path(name)).unwrap();
        std::fs::write(scene.path(name), text.replace(from, to)).unwrap();
    };
    rename("bundle/bundle.toml", "name = \"scene\"", "name = \"other\"");
    rename("policy/grants.toml", "bundle = \"scene\"", "bundle = \"other\"");
    assert_eq!(ask(&scene, "get", &json!({ "bucket": "", "key": "k" }))["ok"], Value::Null);
    assert_eq!(ask(&scene, "keys", &json!({ "bucket": "" }))["ok"], json!([]));
}

#[test]
fn a_quota_of_state_is_an_error_to_the_guest_and_recorded() {
    let scene = keeper();
    assert!(ask(&scene, "set-large", &json!({ "bucket": "", "key": "k", "size": 1000 }))["error"].is_null());
    let answer = ask(&scene, "set-large", &json!({ "bucket": "", "key": "l", "size": 1000 }));
    assert!(answer["value"].as_str().unwrap().contains("quota"), "{answer}");
    assert_eq!(ask(&scene, "keys", &json!({ "bucket": "" }))["ok"], json!(["k"]));
    let outcomes = scene.records_of("outcome", "state.write");
    assert_eq!(outcomes.last().unwrap()["code"], "quota");
    assert_eq!(scene.records_of("intent", "state.write").len(), outcomes.len());
    ask(&scene, "delete", &json!({ "bucket": "", "key": "k" }));
    assert!(ask(&scene, "set-large", &json!({ "bucket": "", "key": "l", "size": 1000 }))["error"].is_null());
}

#[test]
fn numbers_are_incremented_and_batches_are_decided_key_by_key() {
    let scene = keeper();
    assert_eq!(ask(&scene, "increment", &json!({ "bucket": "", "key": "n", "delta": 7 }))["ok"], 7);
    assert_eq!(ask(&scene, "increment", &json!({ "bucket": "", "key": "n", "delta": 5 }))["ok"], 12);
    ask(&scene, "set", &json!({ "bucket": "", "key": "t", "value": "text" }));
    assert_eq!(ask(&scene, "increment", &json!({ "bucket": "", "key": "t", "delta": 1 }))["error"], "failed");
    scene.rules("permit (principal, action, resource); @id(\"not-b\") forbid (principal, action == Ambit::Action::\"state.write\", resource) when { context.key == \"b\" };");
    let answer = ask(&scene, "set-many", &json!({ "bucket": "", "values": [["a", "1"], ["b", "2"], ["c", "3"]] }));
    assert_eq!(answer["value"], "access-denied", "{answer}");
    assert_eq!(ask(&scene, "get", &json!({ "bucket": "", "key": "b" }))["ok"], Value::Null);
}

#[test]
fn a_guest_that_only_reads_runs_out_of_effects() {
    let scene = keeper();
    scene.grant(&format!("[limits]\neffects = 50\n{KEEPER}"));
    let report = scene.run(
        &json!({ "calls": [{ "tool": "keeper.get-often", "arguments": { "bucket": "", "key": "k", "times": 1000 } }] }),
    );
    assert_eq!(report["status"], "exhausted", "{report}");
    assert_eq!(report["error"]["code"], "effects");
    assert_eq!(report["usage"]["effects"], 50, "{report}");
}

#[test]
fn records_hold_digests_and_no_payloads() {
    let scene = keeper();
    ask(&scene, "set", &json!({ "bucket": "", "key": "k", "value": "a very particular payload" }));
    let log = scene.ambit(&["--format", "json", "audit", "show"]).stdout;
    assert!(!log.contains("particular"), "{log}");
    // The same write in another task has another digest: they are made with the task's own key.
    ask(&scene, "set", &json!({ "bucket": "", "key": "k", "value": "a very particular payload" }));
    let intents = scene.records_of("intent", "state.write");
    assert_ne!(intents[0]["arguments"], intents[1]["arguments"]);
}
