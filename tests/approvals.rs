//! A person's yes: to one exact effect, once, in time, and never by the task itself.
//!
//! The tool appends a line to a file of a mount; what is in the file afterwards says how often it was let.

use std::time::Duration;

use serde_json::{Value, json};

use super::support::{Answer, Running, Scene};

const GRANT: &str = "[agent]\ntools = [\"prober\"]\n[tools.prober]\n\
    filesystem = [{ host = \"../data\", guest = \"/data\", access = \"write\" }]\n";

fn rules(more: &str) -> String {
    format!(
        "@id(\"all\") permit (principal, action, resource);
         @id(\"ask\") @approval(\"finance\") {more}
         forbid (principal, action == Ambit::Action::\"tools.call:prober.append\", resource)
         when {{ context.args.text != \"small\" }} unless {{ context.approvals.contains(\"finance\") }};"
    )
}

/// A scene where the tool has to ask, and where this user answers as maria and jo, of finance, and max, who is not.
fn scene() -> Scene {
    let scene = Scene::probing(GRANT);
    std::fs::create_dir_all(scene.path("data")).unwrap();
    scene.rules(&rules(""));
    let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(scene.path("data")).unwrap());
    let people = format!(
        "[people.maria]\nuid = {uid}\ngroups = [\"finance\"]\n[people.jo]\nuid = {uid}\ngroups = [\"finance\"]\n\
         [people.max]\nuid = {uid}\n[people.ann]\nuid = {}\ngroups = [\"finance\"]\n",
        uid + 1
    );
    scene.write("home/config.toml", people.as_bytes());
    scene
}

fn append(text: &str) -> Value {
    json!({ "tool": "prober.append", "arguments": { "path": "/data/log", "text": text } })
}

/// A task in the background.
fn start(scene: &Scene, calls: &[Value], more: &[&str]) -> Running {
    let input = json!({ "calls": calls }).to_string();
    let mut arguments =
        vec!["--format", "json", "run", "bundle", "--policy", "policy", "--approvals", "wait", "--input", &input];
    arguments.extend(more);
    Running::start(&mut scene.command(&arguments))
}

fn approve(scene: &Scene, id: &str) -> Answer {
    scene.ambit(&["approvals", "approve", id, "--by", "maria"])
}

fn written(scene: &Scene) -> String {
    std::fs::read_to_string(scene.path("data/log")).unwrap_or_default()
}

fn codes(scene: &Scene, kind: &str) -> Vec<String> {
    scene.records_of(kind, "tools.call").iter().map(|record| record["code"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_yes_from_another_terminal_lets_it_happen_once() {
    let scene = scene();
    scene.grant(&format!("[limits]\nwall-time = \"2s\"\n{GRANT}"));
    let running = start(&scene, &[append("one"), append("small")], &["--as", "sam"]);
    let id = running.question();
    let shown = scene.ambit(&["approvals", "show", &id]);
    for part in ["finance is asked", "tools.call Tool::\"prober.append\"", "\"text\": \"one\"", "ask", "sam", "open"] {
        assert!(shown.stdout.contains(part), "{part}: {shown:?}");
    }
    // Longer than the task's own time, which does not run meanwhile.
    assert!(running.keeps_waiting(Duration::from_millis(2500)));
    assert_eq!(written(&scene), "");
    let yes = approve(&scene, &id);
    assert_eq!((yes.code, yes.stdout.trim()), (0, "approved by maria, once"), "{yes:?}");
    let report = running.end();
    assert_eq!(report.code, 0, "{report:?}");
    assert_eq!(report.json()["usage"]["approvals"], 1);
    assert!(report.json()["usage"]["waited_ms"].as_u64().unwrap() >= 2000, "{report:?}");
    assert_eq!(written(&scene), "onesmall");
    assert_eq!((codes(&scene, "ask"), codes(&scene, "answer")), (vec!["asked".into()], vec!["approved".into()]));
    let intent = &scene.records_of("intent", "tools.call")[0];
    assert_eq!((&intent["detail"], &intent["rules"]), (&json!(format!("{{\"approval\":\"{id}\"}}")), &json!(["all"])));
    // It is used up.
    let again = approve(&scene, &id);
    assert_eq!(again.code, 2);
    assert!(again.stderr.contains("is used already"), "{again:?}");
}

#[test]
fn each_request_needs_a_yes_of_its_own() {
    let scene = scene();
    // The same once more, and with one character changed.
    let running = start(&scene, &[append("one"), append("one"), append("onE")], &[]);
    for number in 0..3 {
        let id = running.question();
        assert_eq!(written(&scene).len(), 3 * number);
        assert_eq!(approve(&scene, &id).code, 0);
    }
    assert_eq!(running.end().code, 0);
    assert_eq!(written(&scene), "oneoneonE");
}

#[test]
fn a_no_is_remembered_for_the_task() {
    let scene = scene();
    let running = start(&scene, &[append("one"), append("one"), append("two")], &[]);
    let first = running.question();
    assert_eq!(scene.ambit(&["approvals", "deny", &first, "--by", "jo"]).code, 0);
    // The second is not asked about; the third is something else.
    let third = running.question();
    approve(&scene, &third);
    let report = running.end().json();
    assert_eq!(report["output"][0]["code"], "RefusalCode::Denied", "{report}");
    assert_eq!(report["output"][1]["code"], "RefusalCode::NeedsApproval", "{report}");
    assert_eq!(written(&scene), "two");
    let refusals = scene.records_of("refusal", "tools.call");
    assert!(refusals[0]["detail"].as_str().unwrap().contains("jo denied it"), "{refusals:?}");
    assert!(refusals[1]["detail"].as_str().unwrap().contains("has denied the same"), "{refusals:?}");
    assert_eq!(codes(&scene, "ask").len(), 2);
}

#[test]
fn the_same_in_other_words_is_the_same() {
    let scene = scene();
    let written_otherwise = |arguments: &str| json!({ "tool": "prober.append", "arguments": arguments });
    let calls = [
        append("one"),
        written_otherwise(" {\"text\" : \"one\",\n \"path\": \"/data/log\" }"),
        written_otherwise("{\"path\": \"/data/log\", \"text\": \"\\u006fne\"}"),
        written_otherwise("{\"path\": \"/data/log\", \"text\": \"one\", \"more\": 1}"),
        written_otherwise("{\"path\": \"/data/log\", \"text\": \"small\", \"text\": \"one\"}"),
    ];
    let running = start(&scene, &calls, &[]);
    let id = running.question();
    assert_eq!(scene.ambit(&["approvals", "deny", &id, "--by", "jo"]).code, 0);
    let report = running.end().json();
    let answers: Vec<&str> =
        report["output"].as_array().unwrap().iter().map(|answer| answer["error"].as_str().unwrap()).collect();
    assert_eq!(answers, ["refused", "refused", "refused", "invalid-arguments", "invalid-arguments"], "{report}");
    assert_eq!((codes(&scene, "ask").len(), written(&scene)), (1, String::new()));
}

#[test]
fn of_two_who_approve_at_once_one_comes_first_and_it_happens_once() {
    let scene = scene();
    let running = start(&scene, &[append("one")], &[]);
    let id = running.question();
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let threads: Vec<_> = ["maria", "jo", "maria", "jo"]
            .map(|by| scope.spawn(|| scene.ambit(&["approvals", "approve", &id, "--by", by])))
            .into();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(answers.iter().filter(|answer| answer.code == 0).count(), 1, "{answers:?}");
    assert_eq!(running.end().code, 0);
    assert_eq!(written(&scene), "one");
    assert_eq!(codes(&scene, "answer"), ["approved"]);
    assert_eq!(codes(&scene, "intent").len(), 1);
}

#[test]
fn nobody_approves_for_themselves_or_for_others() {
    let scene = scene();
    let running = start(&scene, &[append("one")], &["--as", "maria"]);
    let id = running.question();
    for (by, why) in [
        (Some("maria"), "on behalf of `maria`"),
        (Some("max"), "none of the groups"),
        (Some("ann"), "does not answer as the user"),
        (Some("nosuch"), "does not answer as the user"),
        (None, "several people"),
    ] {
        let mut arguments = vec!["approvals", "approve", &id];
        arguments.extend(by.iter().flat_map(|name| ["--by", name]));
        let answer = scene.ambit(&arguments);
        assert_eq!(answer.code, 2, "{answer:?}");
        assert!(answer.stderr.contains(why), "{why}: {answer:?}");
    }
    assert_eq!(scene.ambit(&["approvals", "approve", &id, "--by", "jo"]).code, 0);
    assert_eq!(running.end().code, 0);
    assert_eq!(written(&scene), "one");
    // Who tried, and was of those who may answer at all, is on record.
    assert_eq!(codes(&scene, "answer"), ["refused", "refused", "approved"]);
}

#[test]
fn no_answer_is_a_no() {
    let scene = scene();
    scene.rules(&rules("@deadline(\"300ms\")"));
    let report = start(&scene, &[append("one")], &[]).end();
    assert_eq!(report.json()["output"][0]["code"], "RefusalCode::NeedsApproval", "{report:?}");
    assert_eq!(written(&scene), "");
    assert_eq!(codes(&scene, "answer"), ["unanswered"]);
    let id = scene.ambit(&["--format", "json", "approvals", "list", "--all"]).json()[0]["id"].clone();
    let late = approve(&scene, id.as_str().unwrap());
    assert_eq!(late.code, 2, "{late:?}");
    assert!(late.stderr.contains("unanswered already"), "{late:?}");
}

#[test]
fn a_yes_that_came_too_long_ago_is_none() {
    let scene = scene();
    // It is looked for ten times a second, and by then is over.
    scene.rules(&rules("@ttl(\"1ms\")"));
    let running = start(&scene, &[append("one")], &[]);
    let id = running.question();
    assert_eq!(approve(&scene, &id).code, 0);
    let report = running.end().json();
    assert_eq!(report["output"][0]["code"], "RefusalCode::NeedsApproval", "{report}");
    let refusal = &scene.records_of("refusal", "tools.call")[0];
    assert!(refusal["detail"].as_str().unwrap().contains("the approval has expired"), "{refusal}");
    assert_eq!(written(&scene), "");
}

#[test]
fn what_changes_while_it_waits_voids_it() {
    type Change = (&'static str, fn(&Scene), &'static str);
    let changes: [Change; 4] = [
        ("other rules", |scene| scene.rules(&format!("{}// more", rules(""))), "the rules were changed"),
        ("rules that forbid", |scene| scene.rules("forbid (principal, action, resource);"), "the rules were changed"),
        ("other grants", |scene| scene.grant(&format!("{GRANT}# more")), "the grants were changed"),
        ("rules that are none", |scene| scene.rules("permit (principal"), "cannot be read any more"),
    ];
    for (what, change, why) in changes {
        let scene = scene();
        let running = start(&scene, &[append("one"), append("small")], &[]);
        let id = running.question();
        change(&scene);
        assert_eq!(approve(&scene, &id).code, 0, "{what}");
        let report = running.end().json();
        assert_eq!(report["output"][0]["code"], "RefusalCode::NeedsApproval", "{what}: {report}");
        let refusal = &scene.records_of("refusal", "tools.call")[0];
        assert!(refusal["detail"].as_str().unwrap().contains(why), "{what}: {refusal}");
        assert!(!written(&scene).contains("one"), "{what}");
        // The new rules hold for what comes next; rules that cannot be read let nothing happen.
        let goes_on = ["other rules", "other grants"].contains(&what);
        assert_eq!(written(&scene) == "small", goes_on, "{what}");
        let all = scene.ambit(&["--format", "json", "approvals", "list", "--all"]).json();
        assert_eq!(all[0]["state"], "withdrawn", "{what}");
    }
}

#[test]
fn a_task_that_is_stopped_asks_no_more() {
    let scene = scene();
    let running = start(&scene, &[append("one")], &[]);
    let id = running.question();
    let pid = rustix::process::Pid::from_child(&running.child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(running.end().code, 130);
    let late = approve(&scene, &id);
    assert!(late.stderr.contains("is withdrawn already"), "{late:?}");
    assert_eq!(written(&scene), "");
}

#[test]
fn an_intent_that_cannot_be_recorded_uses_nothing_up() {
    let scene = scene();
    let running = start(&scene, &[append("one")], &[]);
    let id = running.question();
    let database = rusqlite::Connection::open(scene.path("home/ambit.db")).unwrap();
    database
        .execute_batch(
            "CREATE TRIGGER full BEFORE INSERT ON audit WHEN NEW.kind = 'intent' BEGIN SELECT RAISE(ABORT, 'no space'); END;",
        )
        .unwrap();
    assert_eq!(approve(&scene, &id).code, 0);
    let report = running.end().json();
    assert_eq!(report["output"][0]["code"], "RefusalCode::Unavailable", "{report}");
    assert_eq!(written(&scene), "");
    let state: String = database.query_row("SELECT state FROM approval", [], |row| row.get(0)).unwrap();
    assert_eq!(state, "withdrawn");
}

#[test]
fn a_desk_that_is_down_lets_nothing_happen() {
    let scene = scene();
    scene.run(&json!({ "calls": [] }));
    let database = rusqlite::Connection::open(scene.path("home/ambit.db")).unwrap();
    database
        .execute_batch("CREATE TRIGGER down BEFORE INSERT ON approval BEGIN SELECT RAISE(ABORT, 'no space'); END;")
        .unwrap();
    let report = start(&scene, &[append("one")], &[]).end().json();
    assert_eq!(report["output"][0]["code"], "RefusalCode::Unavailable", "{report}");
    assert_eq!(written(&scene), "");
    // A record that was forged is bound to nothing that is asked.
    database.execute_batch("DROP TRIGGER down;").unwrap();
    let running = start(&scene, &[append("one")], &[]);
    let id = running.question();
    database
        .execute("UPDATE approval SET state = 'approved', digest = zeroblob(32), answered = asked, answered_boot = asked_boot WHERE id = ?1", [&id])
        .unwrap();
    let report = running.end().json();
    assert_eq!(report["output"][0]["code"], "RefusalCode::NeedsApproval", "{report}");
    let refusal = &scene.records_of("refusal", "tools.call").pop().unwrap();
    assert!(refusal["detail"].as_str().unwrap().contains("another request"), "{refusal}");
    assert_eq!(written(&scene), "");
}

#[test]
fn people_are_not_asked_without_end() {
    let scene = scene();
    scene.grant(&format!("[limits]\napprovals = 2\napprovals-per-hour = 3\n{GRANT}"));
    scene.rules(&rules("@deadline(\"200ms\")"));
    let calls: Vec<Value> = (0..5).map(|number| append(&number.to_string())).collect();
    let report = start(&scene, &calls, &[]).end();
    assert_eq!(codes(&scene, "ask").len(), 2, "{report:?}");
    let refusals = scene.records_of("refusal", "tools.call");
    assert_eq!(refusals.len(), 5);
    assert!(refusals[2]["detail"].as_str().unwrap().contains("the task has asked 2 times"), "{refusals:?}");
    start(&scene, &calls, &[]).end();
    assert_eq!(codes(&scene, "ask").len(), 3);
    let refusals = scene.records_of("refusal", "tools.call");
    assert!(refusals[6]["detail"].as_str().unwrap().contains("approvals-per-hour"), "{refusals:?}");
    assert_eq!(written(&scene), "");
}

#[test]
fn what_a_person_reads_is_the_hosts_rendering() {
    let scene = scene();
    let disguise = "pay 9\u{202e}00 \u{1b}[2K\u{1b}[31mharmless\r\n\u{7}\u{200b}approve me";
    let running = start(&scene, &[append(disguise)], &[]);
    let id = running.question();
    let shown = scene.ambit(&["approvals", "show", &id]);
    let plain = |text: &str| text.chars().all(|c| c == '\n' || (!c.is_control() && !"\u{202e}\u{200b}".contains(c)));
    assert!(plain(&shown.stdout), "{shown:?}");
    assert!(shown.stdout.contains("\\u{202e}"), "{shown:?}");
    scene.ambit(&["approvals", "deny", &id, "--by", "maria"]);
    let report = running.end();
    assert!(plain(&report.stderr), "{report:?}");
    // A text that would fill lines to their end, and go on where the host begins its own.
    let filled = format!("{}approval 01K: nobody is asked", " ".repeat(200));
    let running = start(&scene, &[append(&filled)], &[]);
    let id = running.question();
    let shown = scene.ambit(&["approvals", "show", &id]);
    assert!(shown.stdout.lines().all(|line| line.chars().count() < 80), "{shown:?}");
    scene.ambit(&["approvals", "deny", &id, "--by", "maria"]);
    running.end();
    // What is too long to be read is not asked about.
    let report = start(&scene, &[append(&"x".repeat(17 << 10))], &[]).end();
    assert_eq!(report.json()["output"][0]["code"], "RefusalCode::NeedsApproval");
    assert_eq!(codes(&scene, "ask").len(), 2);
}

#[test]
fn without_a_terminal_nobody_is_asked_unless_that_is_said() {
    let scene = scene();
    let report = scene.run(&json!({ "calls": [append("one")] }));
    assert_eq!(report["output"][0]["code"], "RefusalCode::NeedsApproval", "{report}");
    assert_eq!(codes(&scene, "ask").len(), 0);
    let answer = scene.ambit(&["run", "bundle", "--policy", "policy", "--approvals", "ask"]);
    assert_eq!(answer.code, 2);
    assert!(answer.stderr.contains("this is no terminal"), "{answer:?}");
}

#[test]
fn effects_of_tools_and_state_are_asked_about_as_well() {
    let scene = Scene::with_tools(
        &[("keeper", "probe-state")],
        "[agent]\ntools = [\"keeper\"]\n[tools.keeper]\nstate = { namespace = \"notes\" }",
    );
    scene.write("home/config.toml", &std::fs::read(self::scene().path("home/config.toml")).unwrap());
    scene.rules(
        "@id(\"all\") permit (principal, action, resource);
         @id(\"ask\") @approval(\"finance\") forbid (principal, action == Ambit::Action::\"state.write\", resource)
         unless { context.approvals.contains(\"finance\") };",
    );
    let set = json!({ "tool": "keeper.set", "arguments": { "bucket": "", "key": "k", "value": "the value" } });
    let running = start(&scene, &[set], &[]);
    let id = running.question();
    let shown = scene.ambit(&["approvals", "show", &id]);
    assert!(shown.stdout.contains("the value") && shown.stdout.contains("keeper of scene"), "{shown:?}");
    approve(&scene, &id);
    let report = running.end();
    assert_eq!(report.code, 0, "{report:?}");
    let (intents, outcomes) = (scene.records_of("intent", "state.write"), scene.records_of("outcome", "state.write"));
    assert_eq!((intents.len(), outcomes.len(), &outcomes[0]["code"]), (1, 1, &json!("done")));
}

#[test]
fn what_changes_while_a_call_waits_voids_it_as_well() {
    let scene = scene();
    scene.grant("[tools.prober]\nfilesystem = [{ host = \"../data\", guest = \"/data\", access = \"write\" }]\n");
    let rule = |more: &str| {
        format!(
            "permit (principal, action, resource); {more}
             @approval(\"finance\") forbid (principal, action == Ambit::Action::\"filesystem.write\", resource)
             unless {{ context.approvals.contains(\"finance\") }};"
        )
    };
    scene.rules(&rule(""));
    let arguments = append("one")["arguments"].to_string();
    let call =
        ["call", "bundle/prober.wasm", "append", &arguments, "--grant", "policy/grants.toml", "--approvals", "wait"];
    let running = Running::start(&mut scene.command(&call));
    let id = running.question();
    scene.rules(&rule("forbid (principal, action, resource) when { principal.depth > 9 };"));
    approve(&scene, &id);
    running.end();
    assert_eq!(written(&scene), "");
    let refused = &scene.records_of("refusal", "filesystem.write")[0];
    assert!(refused["detail"].to_string().contains("the rules were changed"), "{refused}");
}

#[test]
fn who_cannot_answer_is_not_shown_what_it_is_about() {
    let scene = scene();
    let running = start(&scene, &[append("the secret")], &[]);
    let id = running.question();
    scene.ambit(&["approvals", "deny", &id, "--by", "maria"]);
    let told = running.end().stderr;
    assert!(told.contains(&format!("ambit approvals show {id}")) && told.contains("Tool::\"prober.append\""), "{told}");
    assert!(!told.contains("the secret"), "{told}");
    assert!(scene.ambit(&["approvals", "show", &id]).stdout.contains("the secret"));
}
