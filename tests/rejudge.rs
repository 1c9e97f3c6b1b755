//! What tasks did, judged again by other grants and rules; and the least grants that they needed.

use serde_json::{Value, json};

use super::support::{Answer, Running, Scene};
use super::wire::Wire;

const GRANTS: &str = "\
[agent]
tools = [\"quote\", \"keeper\", \"prober\"]
[tools.keeper]
state = { namespace = \"notes\" }
";

const LINES: &str = "\
@id(\"calls\")
permit (principal, action in Ambit::Action::\"tools.call\", resource);
@id(\"notes\")
permit (principal, action in [Ambit::Action::\"state.read\", Ambit::Action::\"state.write\"], resource);
";

const SHORT: &str = "\
@id(\"short\")
forbid (principal, action == Ambit::Action::\"tools.call:quote.lines\", resource) when { context.args.last > 100 };
";

fn scene() -> Scene {
    let scene = Scene::with_tools(&[("quote", "quote"), ("keeper", "probe-state"), ("prober", "probe")], GRANTS);
    scene.rules(LINES);
    scene
}

fn lines(last: u64) -> Value {
    json!({ "tool": "quote.lines", "arguments": { "file": "a", "first": 1, "last": last } })
}

fn set(key: &str) -> Value {
    json!({ "tool": "keeper.set", "arguments": { "bucket": "", "key": key, "value": "v" } })
}

fn run(scene: &Scene, calls: &[Value]) -> String {
    let report = scene.run(&json!({ "calls": calls }));
    assert_eq!(report["status"], "succeeded", "{report}");
    report["task"].as_str().unwrap().to_owned()
}

/// Another policy folder.
fn other(scene: &Scene, grants: &str, rules: &str) {
    scene.write("other/grants.toml", format!("bundle = \"scene\"\n{grants}").as_bytes());
    scene.write("other/rules.cedar", rules.as_bytes());
}

fn rejudge(scene: &Scene, more: &[&str]) -> Answer {
    scene.ambit(&[&["policy", "rejudge", "--policy", "other", "--bundle", "bundle"], more].concat())
}

fn judged(scene: &Scene) -> Value {
    rejudge(scene, &["--format", "json"]).json()
}

#[test]
fn what_is_the_same_is_no_change() {
    let scene = scene();
    run(&scene, &[lines(2), lines(200), set("a")]);
    other(&scene, GRANTS, LINES);
    let answer = rejudge(&scene, &[]);
    assert_eq!(answer.code, 0, "{answer:?}");
    assert_eq!(answer.stdout, "1 task, 4 effects: every decision would be the same\n");
    assert_eq!(judged(&scene)["summary"], json!({ "effects": 4, "changed": 0, "unreached": 0, "not_judged": 0 }));
}

#[test]
fn what_changes_is_named_and_what_comes_after_is_marked() {
    let scene = scene();
    run(&scene, &[lines(2), lines(200), set("a"), lines(300)]);
    run(&scene, &[lines(2)]);
    other(&scene, GRANTS, &format!("{LINES}{SHORT}"));
    let answer = rejudge(&scene, &[]);
    insta::assert_snapshot!(shown(&answer));
    let judged = judged(&scene);
    assert_eq!(judged["summary"], json!({ "effects": 6, "changed": 2, "unreached": 3, "not_judged": 0 }));
    let changes = &judged["tasks"][0]["changes"];
    assert_eq!((&changes[0]["reached"], &changes[1]["reached"]), (&json!(true), &json!(false)));
    assert_eq!(changes[0]["was"], json!({ "decision": "allowed", "rules": ["calls"], "groups": [], "why": null }));
    assert_eq!(changes[0]["now"], json!({ "decision": "denied", "rules": ["short"], "groups": [], "why": null }));
}

#[test]
fn every_kind_of_decision_can_change() {
    let scene = scene();
    let task = run(&scene, &[lines(2), set("a"), json!({ "tool": "prober.now", "arguments": {} })]);
    let decisions = |grants: &str, rules: &str| {
        other(&scene, grants, rules);
        let judged = rejudge(&scene, &["--format", "json", "--task", &task]).json();
        let changes = judged["tasks"][0]["changes"].as_array().unwrap().clone();
        let told = changes.iter().map(|change| {
            let word = |part: &str| change[part]["decision"].as_str().unwrap().to_owned();
            format!("{} {} -> {}", change["action"].as_str().unwrap(), word("was"), word("now"))
        });
        told.collect::<Vec<_>>()
    };
    let fewer = GRANTS.replace("namespace = \"notes\"", "namespace = \"others\"");
    assert_eq!(decisions(&fewer, LINES), ["state.write allowed -> not-granted"]);
    let limits = format!("[limits]\ntool-calls = 2\n{GRANTS}");
    assert_eq!(decisions(&limits, LINES), ["tools.call allowed -> exhausted"]);
    let limits = format!("[limits]\neffects = 2\n{GRANTS}");
    assert_eq!(decisions(&limits, LINES), ["state.write allowed -> exhausted", "tools.call allowed -> exhausted"]);
    let ask = "@id(\"ask\") @approval(\"staff\") forbid (principal, action == Ambit::Action::\"state.write\", resource)\n\
               unless { context.approvals.contains(\"staff\") };\n";
    assert_eq!(decisions(GRANTS, &format!("{LINES}{ask}")), ["state.write allowed -> needs-approval"]);
    let key = "@id(\"key\") forbid (principal, action == Ambit::Action::\"state.write\", resource) when { context.key == \"a\" };";
    assert_eq!(decisions(GRANTS, &format!("{LINES}{key}")), ["state.write allowed -> denied"]);
    let used = "@id(\"used\") forbid (principal, action == Ambit::Action::\"state.write\", resource)\n\
                when { principal.usage.toolCalls >= 2 };";
    assert_eq!(decisions(GRANTS, &format!("{LINES}{used}")), ["state.write allowed -> denied"]);
}

#[test]
fn what_was_refused_can_be_allowed() {
    let scene = scene();
    scene.rules(&format!("{LINES}{SHORT}"));
    run(&scene, &[lines(200), set("a")]);
    other(&scene, GRANTS, LINES);
    let changes = judged(&scene)["tasks"][0]["changes"].clone();
    assert_eq!((&changes[0]["was"]["decision"], &changes[0]["now"]["decision"]), (&json!("denied"), &json!("allowed")));
    assert_eq!(changes.as_array().unwrap().len(), 1);
}

#[test]
fn what_cannot_be_judged_is_said() {
    let scene = scene();
    let task = run(&scene, &[lines(2)]);
    other(&scene, GRANTS, LINES);
    let wrong = |more: &[&str], what: &str| {
        let answer = rejudge(&scene, more);
        assert!(answer.code == 2 && answer.stderr.contains(what), "{what}: {answer:?}");
    };
    wrong(&["--task", "01NOSUCH"], "no task, or more than one, is called `01NOSUCH`");
    wrong(&["--since", "noon"], "`noon` is no point in time");
    wrong(&["--since", "2200-01-01T00:00:00Z"], "no decisions of `scene` are kept since then");
    assert_eq!(rejudge(&scene, &["--since", "1h"]).code, 0);
    // Where the bundle is, the task's journal says.
    assert_eq!(scene.ambit(&["policy", "rejudge", "--policy", "other"]).code, 0);
    let other_bundle = scene.ambit(&["call", "bundle/quote.wasm", "lines", "{\"file\":\"a\",\"first\":1,\"last\":2}"]);
    let listed = scene.ambit(&["--format", "json", "task", "list"]).json();
    let called = listed[0]["task"].as_str().unwrap();
    assert_ne!(called, task, "{other_bundle:?}");
    wrong(&["--task", called], "and the grants are for `scene`");
    let database = rusqlite::Connection::open(scene.path("home/ambit.db")).unwrap();
    database.execute_batch("DELETE FROM judged; DELETE FROM answer; DELETE FROM journal;").unwrap();
    drop(database);
    wrong(&["--task", &task], "its journal was deleted, or it ran before decisions were kept");
}

fn shown(answer: &Answer) -> String {
    let text = format!("exit code: {}\n--- stdout\n{}--- stderr\n{}", answer.code, answer.stdout, answer.stderr);
    let is_name = |word: &str| word.len() == 26 && word.starts_with("01");
    let is_time = |word: &str| word.len() == 24 && word.ends_with('Z') && word.contains('T');
    let words = text.split_inclusive([' ', '\n', ',']).map(|word| {
        let bare = word.trim_end_matches([' ', '\n', ',']);
        let kept = if is_name(bare) {
            "[task]"
        } else if is_time(bare) {
            "[time]"
        } else {
            bare
        };
        format!("{kept}{}", &word[bare.len()..])
    });
    words.collect()
}

fn suggested(scene: &Scene, tasks: &[&str]) -> String {
    let tasks: Vec<&str> = tasks.iter().flat_map(|task| ["--task", task]).collect();
    let answer = scene.ambit(&[&["grants", "suggest"], &tasks[..]].concat());
    assert_eq!(answer.code, 0, "{answer:?}");
    answer.stdout
}

#[test]
fn the_least_grants_allow_what_was_done_and_no_more() {
    let grants = "[agent]\ntools = [\"quote\", \"keeper\", \"prober\"]\nclock = true\nenv = { set = { MODE = \"fast\" } }\n\
        [tools.quote]\nlabels = [\"untrusted\"]\nfilesystem = [\n\
        { host = \"../in\", guest = \"/data\", access = \"write\", labels = [\"pii\"], accepts = [\"untrusted\", \"other\"] },\n\
        { host = \"in\", guest = \"/more\" } ]\n\
        [tools.keeper]\nstate = { namespace = \"notes\", labels = [\"internal\"] }\n\
        [output]\naccepts = [\"untrusted\", \"pii\", \"internal\", \"other\"]\n";
    let scene = scene();
    std::fs::create_dir_all(scene.path("in")).unwrap();
    std::fs::create_dir_all(scene.path("policy/in")).unwrap();
    scene.grant(grants);
    scene.rules("permit (principal, action, resource);");
    let first = run(&scene, &[set("a"), lines(2)]);
    let second = run(&scene, &[lines(2), lines(3)]);
    let text = suggested(&scene, &[&first, &second]);
    for part in [
        "tools = [\n  \"keeper\",  # 1 use in 1 task, e.g. record 4\n  \"quote\",  # 3 uses in 2 tasks, e.g. record 8\n]",
        "env = { set = { MODE = \"fast\" } }  # 2 uses in 2 tasks",
        "labels = [\"untrusted\"]  # as it was marked",
        "guest = \"/data\", access = \"read\", labels = [\"pii\"] }",
        &format!("host = \"{}\", guest = \"/more\"", scene.path("policy/in").display()),
        "state = { namespace = \"notes\", quota = \"1MiB\", labels = [\"internal\"] }",
        "accepts = [\"pii\", \"untrusted\"]  # what results carried",
        "tool-calls = 4  # the most that a task used: 2",
        "\ntool-depth = 1",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("prober") && !text.contains("clock =") && !text.contains("other"), "{text}");
    scene.write("other/grants.toml", text.as_bytes());
    scene.write("other/rules.cedar", b"permit (principal, action, resource);");
    let answer = rejudge(&scene, &[]);
    assert_eq!(answer.code, 0, "{answer:?}");
}

fn asked(wire: &Wire, path: &str) -> Value {
    let ask = json!({ "authority": format!("127.0.0.1:{}", wire.port), "path": path });
    json!({ "tool": "prober.send", "arguments": { "ask": ask } })
}

fn posted(wire: &Wire, body: &str) -> Value {
    let authority = format!("127.0.0.1:{}", wire.port);
    let ask = json!({ "method": "POST", "authority": authority, "path": "/v1/x", "pieces": [body] });
    json!({ "tool": "prober.send", "arguments": { "ask": ask } })
}

#[test]
fn requests_become_rules_and_are_judged_by_them() {
    let wire = Wire::greeting();
    let rules = |more: &str| {
        let credential = "{ secret = \"attached\", header = \"x-api-key\", lease = \"2m\" }";
        format!(
            "[agent]\ntools = [\"prober\"]\n[tools.prober]\nhttp = [\n{more}\n{{ scheme = \"http\", host = \"127.0.0.1\", port = {}, \
             methods = [\"GET\", \"POST\"], paths = [\"/v1/**\"], credential = {credential}, labels = [\"pii\"], accepts = [\"pii\"] }} ]\n\
             [output]\naccepts = [\"pii\"]\n",
            wire.port
        )
    };
    let scene = Scene::with_tools(&[("prober", "probe-http")], &rules(""));
    scene.set_secret("attached", "swordfish-swordfish");
    let all = "permit (principal, action, resource);";
    scene.rules(all);
    let mut calls: Vec<Value> = (1..=5).map(|n| asked(&wire, &format!("/v1/pages/{n}?q=swordfish"))).collect();
    calls.extend([posted(&wire, "the body"), asked(&wire, "/other/page")]);
    let task = run(&scene, &calls);
    let text = suggested(&scene, &[&task]);
    for part in [
        "# 1 effect was refused, and not in here.",
        "[[tools.prober.http]]",
        "methods = [\"GET\"]\npaths = [\"/v1/pages/*\"]",
        "methods = [\"POST\"]\npaths = [\"/v1/x\"]",
        "request = \"1KiB\"",
        "budget = { requests = 20 }",
        "# 5 uses in 1 task, e.g. record",
        "labels = [\"pii\"]",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // Under what is suggested, everything is as it was.
    scene.write("other/grants.toml", text.as_bytes());
    scene.write("other/rules.cedar", all.as_bytes());
    let answer = rejudge(&scene, &[]);
    assert_eq!(answer.code, 0, "{answer:?}");
    let unused = scene.ambit(&["grants", "unused", "--policy", "other"]);
    assert!(unused.stdout.contains("everything that is granted was used"), "{unused:?}");
    // What no rule listed is listed by another.
    let wider = rules(&format!(
        "{{ scheme = \"http\", host = \"127.0.0.1\", port = {}, methods = [\"GET\"], paths = [\"/other/*\"], accepts = [\"pii\"] }},",
        wire.port
    ));
    other(&scene, &wider, all);
    let changes = judged(&scene)["tasks"][0]["changes"].clone();
    assert_eq!(changes.as_array().unwrap().len(), 1, "{changes}");
    assert_eq!(
        (&changes[0]["was"]["decision"], &changes[0]["now"]["decision"]),
        (&json!("not-granted"), &json!("allowed"))
    );
    // Labels have to be accepted, queries are seen, and a lease needs its credential.
    other(&scene, &rules("").replace("labels = [\"pii\"], accepts = [\"pii\"] ", "labels = [\"pii2\"] "), all);
    assert!(rejudge(&scene, &[]).stdout.contains("denied: the task carries what may not go there: pii"));
    other(
        &scene,
        &rules(""),
        &format!(
            "{all} @id(\"q\") forbid (principal, action == Ambit::Action::\"http.request\", resource) when {{ context.query like \"*fish\" }};"
        ),
    );
    assert_eq!(judged(&scene)["summary"]["changed"], 5);
    other(&scene, &rules("").replace("\"attached\"", "\"another\""), all);
    let changed = judged(&scene)["tasks"][0]["changes"].clone();
    assert_eq!(
        (&changed[0]["action"], &changed[0]["now"]["decision"]),
        (&json!("secrets.lease"), &json!("not-granted"))
    );
    super::support::assert_no_file_holds(&scene.path("home"), &["swordfish-swordfish"]);
}

#[test]
fn what_was_granted_and_never_used_is_named() {
    let scene = scene();
    std::fs::create_dir_all(scene.path("policy/in")).unwrap();
    let grants = "[agent]\ntools = [\"quote\", \"keeper\"]\nclock = true\n\
        [tools.quote]\nfilesystem = [{ host = \"in\", guest = \"/data\", access = \"write\" }]\n\
        http = [{ host = \"a.example\", methods = [\"GET\"], paths = [\"/**\"] }]\n\
        [tools.keeper]\nstate = { namespace = \"notes\" }\n[output]\naccepts = [\"pii\"]\n";
    scene.grant(grants);
    scene.rules("permit (principal, action, resource);");
    run(&scene, &[lines(2)]);
    let answer = scene.ambit(&["grants", "unused", "--policy", "policy"]);
    insta::assert_snapshot!(shown(&answer));
    let json = scene.ambit(&["--format", "json", "grants", "unused", "--policy", "policy"]).json();
    assert_eq!(
        json["unused"][0],
        json!({ "component": "agent", "key": "clock", "place": "policy/grants.toml:4", "what": "waiting (whether it is read is not recorded)" })
    );
}

#[test]
fn what_people_approved_stays_approved_by_the_same_people() {
    let scene = scene();
    let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(scene.path("home")).unwrap());
    scene.write("home/config.toml", format!("[people.maria]\nuid = {uid}\ngroups = [\"staff\"]\n").as_bytes());
    let ask = |group: &str| {
        format!(
            "{LINES}@id(\"ask\") @approval(\"{group}\") forbid (principal, action == Ambit::Action::\"state.write\", resource)\n\
             unless {{ context.approvals.contains(\"{group}\") }};"
        )
    };
    scene.rules(&ask("staff"));
    let input = json!({ "calls": [set("a"), lines(2)] }).to_string();
    let arguments = ["run", "bundle", "--policy", "policy", "--approvals", "wait", "--input", &input];
    let running = Running::start(&mut scene.command(&arguments));
    let id = running.question();
    assert_eq!(scene.ambit(&["approvals", "approve", &id, "--by", "maria"]).code, 0);
    assert_eq!(running.end().code, 0);
    let judged_under = |rules: &str| {
        other(&scene, GRANTS, rules);
        let task = judged(&scene)["tasks"][0].clone();
        let now = task["changes"].as_array().unwrap().first().map(|change| change["now"]["decision"].clone());
        (now, task["ends"].clone())
    };
    assert_eq!(judged_under(&ask("staff")), (None, Value::Null));
    assert_eq!(judged_under(LINES), (Some(json!("allowed")), Value::Null));
    assert_eq!(judged_under(&ask("others")), (Some(json!("needs-approval")), json!(2)));
    // A task to which nobody said yes.
    run(&scene, &[set("a")]);
    let other_task = |rules: &str| {
        other(&scene, GRANTS, rules);
        judged(&scene)["tasks"][1]["changes"].clone()
    };
    assert_eq!(other_task(&ask("staff")), json!([]));
    assert_eq!(other_task(LINES)[0]["was"]["decision"], "needs-approval");
}

#[test]
fn what_grants_and_rules_have_no_say_in_is_not_judged() {
    let grants = "[agent]\ntools = [\"prober\"]\n[tools.prober]\nworkspace = { guest = \"/workspace\" }\n\
        filesystem = [{ host = \"in\", guest = \"/data\" }]\nstate = { namespace = \"n\" }\n";
    let scene = Scene::probing(grants);
    std::fs::create_dir_all(scene.path("policy/in")).unwrap();
    std::os::unix::fs::symlink("../../home/ambit.db", scene.path("policy/in/out")).unwrap();
    scene.rules("permit (principal, action, resource);");
    let call =
        |function: &str, arguments: Value| json!({ "tool": format!("prober.{function}"), "arguments": arguments });
    run(
        &scene,
        &[
            call("read", json!({ "path": "/data/out" })),
            call("write", json!({ "path": "/data/new", "text": "x" })),
            call("write", json!({ "path": "/workspace/new", "text": "x" })),
        ],
    );
    let all = "permit (principal, action, resource);";
    std::fs::create_dir_all(scene.path("other/in")).unwrap();
    other(&scene, &grants.replace("host = \"in\"", "host = \"../policy/./in\""), all);
    let answer = rejudge(&scene, &[]);
    assert!(answer.code == 0 && answer.stdout.contains("not judged: 1 refusal "), "{answer:?}");
    // The same name for another folder is another folder; write access is what was missing.
    other(&scene, grants, all);
    assert!(rejudge(&scene, &[]).stdout.contains("filesystem.mount Mount::\"/data\" by prober\n     was  allowed"));
    let writable = grants
        .replace("host = \"in\", guest = \"/data\"", "host = \"../policy/in\", guest = \"/data\", access = \"write\"");
    other(&scene, &writable, all);
    let changes = judged(&scene)["tasks"][0]["changes"].clone();
    let [change] = changes.as_array().unwrap().as_slice() else { panic!("{changes}") };
    assert_eq!((&change["action"], &change["now"]["decision"]), (&json!("filesystem.write"), &json!("allowed")));
    // What is suggested has the workspace, and the folder to read.
    let text = suggested(&scene, &[judged(&scene)["tasks"][0]["task"].as_str().unwrap()]);
    for part in ["workspace = { guest = \"/workspace\" }  # 4 uses in 1 task", "guest = \"/data\", access = \"read\" }"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    scene.write("other/grants.toml", text.as_bytes());
    assert_eq!(rejudge(&scene, &[]).code, 0);
}
