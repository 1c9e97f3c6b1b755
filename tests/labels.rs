//! Labels: they stick to whatever touches labelled data, and bound where it may go.

use serde_json::{Value, json};

use super::support::Scene;

/// A tool that reads what is labelled, one that keeps values, and an agent that may call both.
const GRANT: &str = "[agent]\ntools = [\"marker\", \"keeper\"]\n\
    [tools.marker]\nfilesystem = [{ host = \"../data\", guest = \"/data\", labels = [\"confidential\"] }]\nlabel = { remove = [\"pii\"] }\n\
    [tools.keeper]\nstate = { namespace = \"notes\" }\n";
const ACCEPTED: &str = "[output]\naccepts = [\"confidential\", \"pii\"]\n";

fn scene(grants: &str) -> Scene {
    let scene = Scene::with_tools(&[("marker", "probe-label"), ("keeper", "probe-state")], grants);
    scene.write("data/secret.txt", b"secret");
    scene
}

fn call(tool: &str, arguments: &Value) -> Value {
    json!({ "tool": tool, "arguments": arguments })
}

fn read() -> Value {
    call("marker.read", &json!({ "path": "/data/secret.txt" }))
}

fn run(scene: &Scene, calls: &[Value]) -> Value {
    scene.run(&json!({ "calls": calls }))
}

#[test]
fn a_labelled_mount_labels_who_mounts_it_and_who_called() {
    let scene = scene(GRANT);
    let report = run(&scene, &[read()]);
    assert_eq!((&report["status"], &report["error"]["code"]), (&json!("refused"), &json!("denied")), "{report}");
    assert_eq!((&report["output"], &report["labels"]), (&Value::Null, &json!(["confidential"])), "{report}");
    assert!(report["error"]["help"].as_str().unwrap().contains("[output]"), "{report}");
    assert_eq!(scene.records_of("refusal", "task.output").len(), 1);
    scene.grant(&format!("{GRANT}{ACCEPTED}"));
    assert_eq!(run(&scene, &[read()])["output"][0]["ok"], "secret");
    // Who calls nobody touches nothing.
    scene.grant(GRANT);
    assert_eq!(run(&scene, &[])["labels"], json!([]));
}

#[test]
fn what_a_task_says_when_it_fails_is_withheld_as_well() {
    let scene = scene(GRANT);
    scene.grant(&GRANT.replace("[agent]", "[agent]\nlabels = [\"pii\"]"));
    let report = scene.run(&json!({ "fail": { "code": "no", "message": "the secret" } }));
    assert_eq!(report["status"], "failed");
    assert!(!report.to_string().contains("the secret"), "{report}");
    let shown = scene.ambit(&["task", "show", report["task"].as_str().unwrap()]);
    assert!(!shown.stdout.contains("the secret"), "{shown:?}");
    assert!(shown.stdout.contains("label    pii: to agent with the grants (record 1)"), "{shown:?}");
}

#[test]
fn labels_enter_a_tool_with_the_call_and_leave_it_also_when_it_breaks_down() {
    let scene = scene(&format!("{GRANT}{ACCEPTED}"));
    scene.grant(&format!("{}{ACCEPTED}", GRANT.replace("[tools.keeper]", "[tools.keeper]\nlabels = [\"pii\"]")));
    let keys = call("keeper.keys", &json!({ "bucket": "" }));
    let report = run(&scene, &[keys, call("marker.labels", &json!({}))]);
    assert_eq!(report["output"][1]["ok"], json!(["confidential", "pii"]), "{report}");
    scene.grant(GRANT);
    let fall = call("marker.read-and-fall", &json!({ "path": "/data/secret.txt" }));
    assert_eq!(run(&scene, &[fall])["labels"], json!(["confidential"]));
}

#[test]
fn a_stored_value_keeps_its_writers_labels_and_gives_them_to_its_reader() {
    let scene = scene(&format!("{GRANT}{ACCEPTED}"));
    let set = |key: &str| call("keeper.set", &json!({ "bucket": "", "key": key, "value": "1" }));
    assert_eq!(run(&scene, &[set("plain")])["labels"], json!([]));
    assert_eq!(run(&scene, &[read(), set("marked")])["labels"], json!(["confidential"]));
    let labels = |function: &str, arguments: Value| run(&scene, &[call(function, &arguments)])["labels"].clone();
    assert_eq!(labels("keeper.get", json!({ "bucket": "", "key": "plain" })), json!([]));
    // That a key is missing tells something of all who could have removed it.
    assert_eq!(labels("keeper.get", json!({ "bucket": "", "key": "nosuch" })), json!(["confidential"]));
    assert_eq!(labels("keeper.get", json!({ "bucket": "", "key": "marked" })), json!(["confidential"]));
    assert_eq!(labels("keeper.keys", json!({ "bucket": "" })), json!(["confidential"]));
    // A number that grows keeps them, whoever adds to it, and so does the plain one for whoever is not.
    let add = |key: &str| json!({ "bucket": "", "key": key, "delta": 1 });
    assert_eq!(labels("keeper.increment", add("marked")), json!(["confidential"]));
    assert_eq!(labels("keeper.increment", add("plain")), json!([]));
    assert_eq!(labels("keeper.get", json!({ "bucket": "", "key": "marked" })), json!(["confidential"]));
    // A namespace can be labelled as a whole.
    scene.grant(&format!("{}{ACCEPTED}", GRANT.replace("\"notes\" }", "\"notes\", labels = [\"pii\"] }")));
    assert_eq!(run(&scene, &[call("keeper.get", &json!({ "bucket": "", "key": "plain" }))])["labels"], json!(["pii"]));
}

#[test]
fn a_key_that_somebody_removed_tells_of_them() {
    let scene = scene(&format!("{GRANT}{ACCEPTED}"));
    let at = |function: &str, key: &str| call(function, &json!({ "bucket": "", "key": key }));
    let set = |key: &str| call("keeper.set", &json!({ "bucket": "", "key": key, "value": "1" }));
    assert_eq!(run(&scene, &[set("a"), set("b"), at("keeper.get", "c")])["labels"], json!([]));
    run(&scene, &[read(), at("keeper.delete", "b")]);
    assert_eq!(run(&scene, &[at("keeper.get", "a")])["labels"], json!([]));
    assert_eq!(run(&scene, &[at("keeper.get", "b")])["labels"], json!(["confidential"]));
}

#[test]
fn a_sink_takes_what_it_accepts_and_what_it_is_labelled_with() {
    let out = |more: &str| {
        GRANT.replace(
            "labels = [\"confidential\"] }]",
            &format!(
                "labels = [\"confidential\"] }}, {{ host = \"../out\", guest = \"/more\", access = \"write\"{more} }}]"
            ),
        )
    };
    for (more, works) in [
        ("", false),
        (", accepts = [\"pii\"]", false),
        (", accepts = [\"confidential\"]", true),
        (", labels = [\"confidential\"]", true),
    ] {
        let scene = scene(&format!("{}{ACCEPTED}", out(more)));
        std::fs::create_dir_all(scene.path("out")).unwrap();
        let report = run(&scene, &[call("marker.write", &json!({ "path": "/more/x", "text": "secret" }))]);
        assert_eq!(scene.path("out/x").exists(), works, "{more}: {report}");
        assert_eq!(scene.records_of("refusal", "filesystem.write").len(), usize::from(!works), "{more}");
        if !works {
            let detail = scene.records_of("refusal", "filesystem.write")[0]["detail"].to_string();
            assert!(detail.contains("confidential"), "{detail}");
        }
    }
}

#[test]
fn names_that_a_guest_made_up_are_its_own_text_in_the_log() {
    let scene = scene(&format!("{GRANT}{ACCEPTED}"));
    let made_up = call("the-secret-is-marlin.x", &json!({}));
    run(&scene, &[made_up.clone(), read(), made_up, call("marker.remove", &json!({ "label": "is-hidden-yonder" }))]);
    let refusals = scene.records_of("refusal", "tools.call");
    assert_eq!((&refusals[0]["resource"], &refusals[0]["text"]), (&json!("Tool"), &json!("the-secret-is-marlin.x")));
    // Not even there, once it carries a label: the log may be shown to anyone.
    assert_eq!((&refusals[1]["resource"], &refusals[1]["text"]), (&json!("Tool"), &json!("")));
    let log = scene.ambit(&["--format", "json", "audit", "show", "--after", &refusals[0]["seq"].to_string()]);
    assert!(!log.stdout.contains("marlin") && !log.stdout.contains("yonder"), "{log:?}");
}

#[test]
fn log_lines_are_withheld_and_that_is_said_once() {
    let scene = scene(&format!("{}{ACCEPTED}", GRANT.replace("label = {", "stdio = true\nlabel = {")));
    let print = call("marker.print", &json!({ "text": "one line\nand another" }));
    let input = json!({ "calls": [print] }).to_string();
    let arguments = ["run", "bundle", "--policy", "policy", "--input", &input];
    let answer = scene.ambit(&arguments);
    assert!(!answer.stderr.contains("one line"), "{answer:?}");
    assert_eq!(scene.records_of("refusal", "stdio.open").len(), 1);
    let accepting = GRANT.replace("label = {", "stdio = { accepts = [\"confidential\"] }\nlabel = {");
    scene.grant(&format!("{accepting}{ACCEPTED}"));
    let answer = scene.ambit(&arguments);
    assert!(answer.stderr.contains("[marker] one line\n[marker] and another"), "{answer:?}");
}

#[test]
fn rules_see_them_and_a_person_is_told() {
    let scene = scene(&format!("{GRANT}{ACCEPTED}"));
    scene.rules(
        "@id(\"all\") permit (principal, action, resource);
         @id(\"stay\") forbid (principal, action == Ambit::Action::\"tools.call:keeper.set\", resource)
         when { principal.labels.contains(\"confidential\") };",
    );
    let set = call("keeper.set", &json!({ "bucket": "", "key": "k", "value": "v" }));
    let report = run(&scene, &[set.clone(), read(), set]);
    assert!(report["output"][0]["ok"].is_null() && report["output"][0]["error"].is_null(), "{report}");
    assert_eq!(report["output"][2]["code"], "RefusalCode::Denied", "{report}");
    assert_eq!(scene.records_of("refusal", "tools.call")[0]["rules"], json!(["stay"]));
}

#[test]
fn a_label_is_taken_off_by_whoever_may_and_its_caller_keeps_its_own() {
    let may = GRANT.replace("remove = [\"pii\"]", "remove = [\"confidential\"]");
    let scene = scene(&may);
    let redacted = call("marker.read-and-remove", &json!({ "path": "/data/secret.txt", "label": "confidential" }));
    let report = run(&scene, std::slice::from_ref(&redacted));
    assert_eq!((&report["output"][0]["ok"], &report["labels"]), (&json!("secret"), &json!([])), "{report}");
    assert_eq!(scene.records_of("intent", "label.remove")[0]["resource"], "Label::\"confidential\"");
    // Who carries it already does so still.
    scene.grant(&format!("{may}{ACCEPTED}"));
    assert_eq!(run(&scene, &[read(), redacted.clone()])["labels"], json!(["confidential"]));
    // Not granted, or not a label: it stays.
    for (grant, label) in [(GRANT, "confidential"), (&may, "nosuch"), (&may, "Not a label")] {
        scene.grant(&format!("{grant}{ACCEPTED}"));
        let remove = call("marker.remove", &json!({ "label": label }));
        let report = run(&scene, &[remove]);
        assert_eq!(report["output"][0]["value"], "RefusalCode::NotGranted", "{report}");
        assert_eq!(report["labels"], json!(["confidential"]));
    }
    // A rule forbids it.
    scene.grant(&format!("{may}{ACCEPTED}"));
    scene.rules("permit (principal, action, resource); forbid (principal, action == Ambit::Action::\"label.remove\", resource);");
    let report = run(&scene, &[redacted]);
    assert_eq!(
        (&report["output"][0]["value"], &report["labels"]),
        (&json!("RefusalCode::Denied"), &json!(["confidential"]))
    );
}

#[test]
fn where_each_label_came_from_is_shown() {
    let scene = scene(&format!("{GRANT}{ACCEPTED}"));
    let report = run(&scene, &[read()]);
    let shown = scene.ambit(&["task", "show", report["task"].as_str().unwrap()]);
    for line in [
        "label    confidential: to marker with filesystem.mount Mount::\"/data\" (record 4)",
        "label    confidential: to agent with tools.call Tool::\"marker.read\" (record 5)",
    ] {
        assert!(shown.stdout.contains(line), "{line}: {}", shown.stdout);
    }
}

#[test]
fn labels_in_manifests_are_read_strictly() {
    let scene = scene(&GRANT.replace("labels = [\"confidential\"]", "labels = [\"Confidential\"]"));
    let answer = scene.ambit(&["run", "bundle", "--policy", "policy"]);
    assert_eq!(answer.code, 2);
    assert!(answer.stderr.contains("`Confidential` is no label"), "{answer:?}");
    scene.grant(&GRANT.replace("labels = [\"confidential\"]", "accepts = [\"confidential\"]"));
    let answer = scene.ambit(&["run", "bundle", "--policy", "policy"]);
    assert!(answer.stderr.contains("only read accepts nothing"), "{answer:?}");
}

#[test]
fn the_code_of_a_failure_is_withheld_as_well() {
    let scene = scene(&GRANT.replace("[agent]", "[agent]\nlabels = [\"pii\"]"));
    let report = scene.run(&json!({ "fail": { "code": "the-secret-is-4711", "message": "" } }));
    assert!(!report.to_string().contains("4711"), "{report}");
}

#[test]
fn who_hears_how_much_a_namespace_holds_carries_its_labels() {
    let scene = scene(&format!("{GRANT}{ACCEPTED}"));
    run(&scene, &[read(), call("keeper.set-large", &json!({ "bucket": "", "key": "n", "size": 4711 }))]);
    scene.grant(GRANT);
    let report = run(&scene, &[call("keeper.set-large", &json!({ "bucket": "", "key": "x", "size": 1 << 20 }))]);
    assert_eq!(report["labels"], json!(["confidential"]), "{report}");
}

#[test]
fn an_increment_that_fails_labels_as_well() {
    let scene = scene(&format!("{GRANT}{ACCEPTED}"));
    run(&scene, &[read(), call("keeper.set", &json!({ "bucket": "", "key": "n", "value": "4711" }))]);
    scene.grant(GRANT);
    let add = call("keeper.increment", &json!({ "bucket": "", "key": "n", "delta": u64::MAX - 4710 }));
    let report = run(&scene, &[add]);
    assert_eq!(report["labels"], json!(["confidential"]), "{report}");
}

#[test]
fn an_increment_reads_a_labelled_namespace() {
    let scene = scene(GRANT);
    run(&scene, &[call("keeper.set", &json!({ "bucket": "", "key": "n", "value": "4711" }))]);
    scene.grant(&GRANT.replace("\"notes\" }", "\"notes\", labels = [\"pii\"] }"));
    let report = run(&scene, &[call("keeper.increment", &json!({ "bucket": "", "key": "n", "delta": 0 }))]);
    assert_eq!(report["labels"], json!(["pii"]), "{report}");
}

#[test]
fn a_tool_that_could_not_be_opened_labels_its_caller() {
    let scene = scene(GRANT);
    let more = GRANT.replace(
        "labels = [\"confidential\"] }]",
        "labels = [\"confidential\"] }, { host = \"../nosuch\", guest = \"/more\" }]",
    );
    scene.grant(&more);
    let report = run(&scene, &[read()]);
    assert_eq!(report["labels"], json!(["confidential"]), "{report}");
}

mod laws {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn calls() -> impl Strategy<Value = Vec<Value>> {
        let at = |key: &str| json!({ "bucket": "", "key": key });
        let set = json!({ "bucket": "", "key": "a", "value": "1" });
        let file = "/data/secret.txt";
        let known = vec![
            read(),
            call("keeper.set", &set),
            call("keeper.get", &at("a")),
            call("keeper.delete", &at("a")),
            call("keeper.keys", &json!({ "bucket": "" })),
            call("keeper.increment", &json!({ "bucket": "", "key": "a", "delta": 1 })),
            call("marker.remove", &json!({ "label": "pii" })),
            call("marker.remove", &json!({ "label": "confidential" })),
            call("marker.read-and-remove", &json!({ "path": file, "label": "pii" })),
            call("marker.read-and-fall", &json!({ "path": file })),
            call("marker.nosuch", &json!({})),
        ];
        proptest::collection::vec(proptest::sample::select(known), 1..6)
    }

    fn labels(calls: &[Value]) -> BTreeSet<String> {
        let marked = GRANT.replace("\"notes\" }", "\"notes\", labels = [\"pii\"] }");
        let report = run(&scene(&marked), calls);
        report["labels"].as_array().unwrap().iter().map(|label| label.as_str().unwrap().to_owned()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

        /// Whatever a task does next, it carries what it carried before: the agent may take nothing off.
        #[test]
        fn a_task_never_carries_less_than_before(calls in calls()) {
            let mut before = BTreeSet::new();
            for count in 1..=calls.len() {
                let now = labels(&calls[..count]);
                prop_assert!(now.is_superset(&before), "{before:?} became {now:?} with {}", calls[count - 1]);
                before = now;
            }
        }
    }
}
