//! Tasks that survive: they go on where their process was killed, do nothing twice, are put away while people are asked,
//! and can be told again.

mod golden;

use std::process::Child;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::support::{Answer, Running, Scene, eventually};
use super::wire::{Arrived, Wire, text, until_gone};

/// What a request to the server asks for.
fn step(wire: &Wire, name: &str) -> Value {
    let ask = json!({
        "method": "POST", "authority": format!("127.0.0.1:{}", wire.port), "path": "/v1/steps", "pieces": [name],
    });
    json!({ "tool": "caller.send", "arguments": { "ask": ask } })
}

fn count() -> Value {
    json!({ "tool": "keeper.increment", "arguments": { "bucket": "", "key": "n", "delta": 1 } })
}

/// A scene whose tools send requests to a server, count in a state, and write to a mount and a workspace.
fn scene(wire: &Wire) -> Scene {
    let tools = [("caller", "probe-http"), ("keeper", "probe-state"), ("writer", "probe")];
    let scene = Scene::with_tools(
        &tools,
        &format!(
            "[agent]\ntools = [\"caller\", \"keeper\", \"writer\"]\n\
             [tools.caller]\nhttp = [{{ scheme = \"http\", host = \"127.0.0.1\", port = {}, methods = [\"POST\"], \
             paths = [\"/v1/**\"] }}]\n\
             [tools.keeper]\nstate = {{ namespace = \"counts\" }}\n\
             [tools.writer]\nfilesystem = [{{ host = \"../data\", guest = \"/data\", access = \"write\" }}]\n",
            wire.port
        ),
    );
    std::fs::create_dir_all(scene.path("data")).unwrap();
    scene
}

fn started(scene: &Scene, calls: &[Value]) -> Running {
    let input = json!({ "calls": calls }).to_string();
    let arguments =
        ["--format", "json", "run", "bundle", "--policy", "policy", "--approvals", "suspend", "--input", &input];
    Running::start(&mut scene.command(&arguments))
}

fn killed(mut running: Running) -> Answer {
    running.child.kill().unwrap();
    running.end()
}

/// The only task, as it is listed.
fn task(scene: &Scene) -> Value {
    let listed = scene.ambit(&["--format", "json", "task", "list"]).json();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    listed[0].clone()
}

fn resume(scene: &Scene, more: &[&str]) -> Answer {
    let name = task(scene)["task"].as_str().unwrap().to_owned();
    let mut arguments = vec!["--format", "json", "task", "resume", &name];
    arguments.extend(more);
    scene.ambit(&arguments)
}

fn arrivals(wire: &Wire, name: &str) -> Vec<Arrived> {
    wire.arrived().into_iter().filter(|request| request.body == name.as_bytes()).collect()
}

/// A server that does not answer the first request with this body.
fn stuck_at(name: &'static str) -> Wire {
    let held = std::sync::atomic::AtomicBool::new(true);
    Wire::answering(move |request: &Arrived, stream| {
        if request.body == name.as_bytes() && held.swap(false, std::sync::atomic::Ordering::SeqCst) {
            until_gone(stream);
            return Ok(());
        }
        std::io::Write::write_all(stream, &text("done"))
    })
}

#[test]
fn a_task_goes_on_where_it_was_killed_and_asks_about_what_nobody_knows() {
    for (choice, third) in [("--retry-unknown", 2), ("--fail-unknown", 1)] {
        let wire = stuck_at("three");
        let scene = scene(&wire);
        let calls =
            [step(&wire, "one"), count(), step(&wire, "two"), count(), step(&wire, "three"), step(&wire, "four")];
        let running = started(&scene, &calls);
        wire.wait_for(3);
        killed(running);
        assert_eq!(task(&scene)["status"], "unknown");
        let asked = resume(&scene, &[]);
        assert!(asked.code == 2 && asked.stderr.contains("it is not known whether"), "{asked:?}");
        assert!(asked.stderr.contains("http.request") && asked.stderr.contains(choice), "{asked:?}");
        let report = resume(&scene, &[choice]);
        assert_eq!((report.code, &report.json()["status"]), (0, &json!("succeeded")), "{report:?}");
        let output = report.json()["output"].clone();
        assert_eq!((&output[1]["ok"], &output[3]["ok"]), (&json!(1), &json!(2)), "{output}");
        assert_eq!(output[4]["ok"].is_null(), choice == "--fail-unknown", "{output}");
        for (name, times) in [("one", 1), ("two", 1), ("three", third), ("four", 1)] {
            assert_eq!(arrivals(&wire, name).len(), times, "{name}");
        }
        let keys: Vec<Vec<String>> = ["one", "three"]
            .map(|name| {
                let keys = |request: &Arrived| request.header("idempotency-key").concat();
                arrivals(&wire, name).iter().map(keys).collect()
            })
            .to_vec();
        assert!(keys[1].iter().all(|key| *key == keys[1][0] && *key != keys[0][0]), "{keys:?}");
        // What it had used is not forgotten.
        assert_eq!(report.json()["usage"]["tool_calls"], 6);
        assert_eq!(scene.ambit(&["audit", "verify"]).code, 0);
        let again = resume(&scene, &[]);
        assert!(again.code == 2 && again.stderr.contains("has ended"), "{again:?}");
        let told = scene.ambit(&["task", "replay", report.json()["task"].as_str().unwrap()]);
        assert!(told.code == 0 && told.stderr.contains("to the same end"), "{told:?}");
        assert_eq!(wire.connections(), 3 + third);
    }
}

#[test]
fn a_task_that_runs_is_not_taken_up_by_another_process() {
    let wire = stuck_at("one");
    let scene = scene(&wire);
    let running = started(&scene, &[step(&wire, "one")]);
    wire.wait_for(1);
    let taken = resume(&scene, &["--retry-unknown"]);
    assert!(taken.code == 2 && taken.stderr.contains(" runs"), "{taken:?}");
    let all = scene.ambit(&["task", "resume", "--all"]);
    assert!(all.code == 0 && all.stderr.is_empty(), "{all:?}");
    killed(running);
}

#[test]
fn a_task_that_wrote_to_a_folder_of_the_host_does_not_go_on_past_that() {
    let wire = stuck_at("two");
    let scene = scene(&wire);
    let write = json!({ "tool": "writer.append", "arguments": { "path": "/data/log", "text": "once" } });
    let running = started(&scene, &[step(&wire, "one"), write, step(&wire, "two")]);
    wire.wait_for(2);
    killed(running);
    let refused = resume(&scene, &["--retry-unknown"]);
    assert!(refused.code == 2 && refused.stderr.contains("a folder that is not its own"), "{refused:?}");
    assert_eq!(std::fs::read_to_string(scene.path("data/log")).unwrap().matches("once").count(), 1);
    let checked = scene.ambit(&["check", "bundle", "--policy", "policy"]);
    assert!(checked.stdout.contains("does not go on"), "{checked:?}");
}

#[test]
fn a_task_goes_on_only_as_what_it_was() {
    let wire = stuck_at("one");
    let scene = scene(&wire);
    let running = started(&scene, &[step(&wire, "one")]);
    wire.wait_for(1);
    killed(running);
    let grants = std::fs::read_to_string(scene.path("policy/grants.toml")).unwrap();
    scene.write("policy/grants.toml", format!("{grants}\n# more").as_bytes());
    let changed = resume(&scene, &["--retry-unknown"]);
    assert!(changed.code == 2 && changed.stderr.contains("the grant manifest is"), "{changed:?}");
    scene.write("policy/grants.toml", grants.as_bytes());
    let bundle = std::fs::read_to_string(scene.path("bundle/bundle.toml")).unwrap();
    scene.write("bundle/bundle.toml", bundle.replace("0.1.0", "0.1.1").as_bytes());
    let changed = resume(&scene, &["--retry-unknown"]);
    assert!(changed.code == 2 && changed.stderr.contains("the bundle is"), "{changed:?}");
    assert_eq!(wire.connections(), 1);
}

#[test]
fn a_replay_by_another_component_says_where_it_diverges() {
    let wire = Wire::greeting();
    let scene = scene(&wire);
    let report = scene.run(&json!({ "calls": [step(&wire, "one"), count()] }));
    let name = report["task"].as_str().unwrap();
    let before = wire.connections();
    scene.write("bundle/keeper.wasm", &super::support::guest("probe"));
    scene.write("bundle/caller.wasm", &super::support::guest("probe-state"));
    let told = scene.ambit(&["task", "replay", name]);
    assert!(told.code == 1 && told.stderr.contains("diverges"), "{told:?}");
    assert_eq!(wire.connections(), before);
}

#[test]
fn what_was_forgotten_cannot_be_told_and_its_records_stay() {
    let wire = Wire::greeting();
    let scene = scene(&wire);
    let report = scene.run(&json!({ "calls": [step(&wire, "a word that nobody else says")] }));
    let name = report["task"].as_str().unwrap();
    let records = scene.records().len();
    assert_eq!(scene.ambit(&["task", "forget", name]).code, 0);
    let told = scene.ambit(&["task", "replay", name]);
    assert!(told.code == 2 && told.stderr.contains("has no journal"), "{told:?}");
    assert_eq!(scene.records().len(), records);
    assert_eq!(scene.ambit(&["audit", "verify"]).code, 0);
    super::support::assert_no_file_holds(&scene.path("home"), &["a word that nobody else says"]);
}

/// Rules by which finance is asked about requests with a body of 5 bytes.
fn ask_finance(scene: &Scene) {
    scene.rules(
        "@id(\"all\") permit (principal, action, resource);
         @id(\"ask\") @approval(\"finance\") @ttl(\"1h\") @deadline(\"1h\")
         forbid (principal, action == Ambit::Action::\"http.request\", resource)
         when { context.bytes == 5 } unless { context.approvals.contains(\"finance\") };",
    );
    let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(scene.path("data")).unwrap());
    scene.write("home/config.toml", format!("[people.maria]\nuid = {uid}\ngroups = [\"finance\"]\n").as_bytes());
}

fn open(scene: &Scene) -> Vec<Value> {
    scene.ambit(&["--format", "json", "approvals", "list"]).json().as_array().unwrap().clone()
}

#[test]
fn a_task_that_waits_for_a_person_is_put_away_and_goes_on_when_it_is_answered() {
    for (verdict, times) in [("approve", 1), ("deny", 0)] {
        let wire = Wire::greeting();
        let scene = scene(&wire);
        ask_finance(&scene);
        let answer = started(&scene, &[step(&wire, "one"), count(), step(&wire, "large"), count()]).end();
        assert_eq!((answer.code, &answer.json()["status"]), (4, &json!("suspended")), "{answer:?}");
        assert_eq!(task(&scene)["status"], "suspended");
        let asked = open(&scene);
        assert_eq!(asked.len(), 1);
        // Nobody has answered: it is put away again, and asks nothing new.
        let waits = resume(&scene, &[]);
        assert_eq!((waits.code, open(&scene).len()), (4, 1), "{waits:?}");
        let all = scene.ambit(&["task", "resume", "--all"]);
        assert!(all.code == 0 && all.stdout.is_empty() && all.stderr.is_empty(), "{all:?}");
        let id = asked[0]["id"].as_str().unwrap();
        assert_eq!(scene.ambit(&["approvals", verdict, id, "--by", "maria"]).code, 0);
        let all = scene.ambit(&["--format", "json", "task", "resume", "--all"]);
        let report = all.json();
        assert_eq!((all.code, &report["status"]), (0, &json!("succeeded")), "{all:?}");
        assert_eq!(report["output"][3]["ok"], 2, "{report}");
        assert_eq!((arrivals(&wire, "one").len(), arrivals(&wire, "large").len()), (1, times));
        assert_eq!(report["usage"]["approvals"], 1);
        // What was under way when it was put away was not over.
        assert!(!scene.records().iter().any(|record| record["code"] == "abandoned"));
        assert_eq!(scene.ambit(&["audit", "verify"]).code, 0);
        let told = scene.ambit(&["task", "replay", report["task"].as_str().unwrap()]);
        assert!(told.code == 0 && told.stderr.contains("to the same end"), "{told:?}");
    }
}

#[test]
fn what_a_task_asked_before_it_broke_off_is_asked_no_more_when_it_ends() {
    let wire = Wire::greeting();
    let scene = scene(&wire);
    ask_finance(&scene);
    assert_eq!(started(&scene, &[step(&wire, "large")]).end().code, 4);
    assert_eq!(open(&scene).len(), 1);
    let ended = resume(&scene, &["--approvals", "deny"]);
    assert_eq!((ended.code, &ended.json()["usage"]["approvals"]), (0, &json!(0)), "{ended:?}");
    assert!(open(&scene).is_empty());
    assert!(arrivals(&wire, "large").is_empty());
}

#[test]
fn a_task_that_could_not_go_on_is_not_put_away() {
    let wire = Wire::greeting();
    let scene = scene(&wire);
    ask_finance(&scene);
    let write = json!({ "tool": "writer.append", "arguments": { "path": "/data/log", "text": "once" } });
    let running = started(&scene, &[write, step(&wire, "large")]);
    let id = running.question();
    assert!(running.child.id() > 0 && task(&scene)["status"] == "unknown");
    assert_eq!(scene.ambit(&["approvals", "approve", &id, "--by", "maria"]).code, 0);
    let report = running.end().json();
    assert_eq!((&report["status"], arrivals(&wire, "large").len()), (&json!("succeeded"), 1), "{report}");
}

#[test]
fn one_process_holds_as_many_tasks_as_wait_in_its_database() {
    const TASKS: usize = 100_000;
    let wire = Wire::greeting();
    let scene = scene(&wire);
    ask_finance(&scene);
    assert_eq!(started(&scene, &[step(&wire, "one"), step(&wire, "large")]).end().code, 4);
    let first = task(&scene)["task"].as_str().unwrap().to_owned();
    let mut database = rusqlite::Connection::open(scene.path("home/ambit.db")).unwrap();
    let id: String = database.query_row("SELECT waits FROM journal", [], |row| row.get(0)).unwrap();
    for table in ["task", "task_key", "journal", "answer", "approval"] {
        database.execute_batch(&format!("CREATE TEMP TABLE one_{table} AS SELECT * FROM {table}")).unwrap();
    }
    let copies = database.transaction().unwrap();
    for number in 0..TASKS {
        let name = format!("{}{number:06}", &first[..20]);
        for (table, changes) in [
            ("task", "id = ?1"),
            ("task_key", "task = ?1"),
            ("journal", "task = ?1, waits = ?1"),
            ("answer", "task = ?1"),
            ("approval", "id = ?1, task = ?1"),
        ] {
            copies.prepare_cached(&format!("UPDATE one_{table} SET {changes}")).unwrap().execute([&name]).unwrap();
            copies
                .prepare_cached(&format!("INSERT INTO {table} SELECT * FROM one_{table}"))
                .unwrap()
                .execute([])
                .unwrap();
        }
    }
    copies.commit().unwrap();
    drop(database);
    let watching = Running::start(&mut scene.command(&["--format", "json", "task", "resume", "--all", "--watch"]));
    assert_eq!(arrivals(&wire, "large").len(), 0);
    assert_eq!(scene.ambit(&["approvals", "approve", &id, "--by", "maria"]).code, 0);
    eventually("the approved one goes on", || (!arrivals(&wire, "large").is_empty()).then_some(()));
    let memory = eventually("memory", || resident(&watching.child));
    assert!(memory < 400 << 20, "{memory} bytes for {TASKS} tasks that wait");
    killed(watching);
    assert_eq!((arrivals(&wire, "one").len(), arrivals(&wire, "large").len()), (1, 1));
}

/// Bytes that a process has in memory.
fn resident(child: &Child) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}

/// A number from 0 to 1 that nobody chose (a step of `SplitMix64`).
fn fraction(seed: u64) -> f64 {
    let mut mixed = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    f64::from(u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap()) / f64::from(u32::MAX)
}

/// Kills a run at a moment that nobody chose, lets it go on until it is over or unknown, and looks at what there is.
fn one_crash(seed: u64, longest: Duration) -> bool {
    let wire = Wire::answering(|_, stream| std::io::Write::write_all(stream, &text("done")));
    let scene = scene(&wire);
    let names = ["one", "two", "three", "four"];
    let calls: Vec<Value> = names.iter().flat_map(|name| [step(&wire, name), count()]).collect();
    let running = started(&scene, &calls);
    let moment = Instant::now() + longest.mul_f64(fraction(seed));
    std::thread::sleep(moment.saturating_duration_since(Instant::now()));
    let broke_off = killed(running).code != 0;
    let listed = || scene.ambit(&["--format", "json", "task", "list"]).json().get(0).cloned();
    // There may be none yet.
    if let Some(task) = listed().filter(|task| task["status"] == "unknown") {
        let resume = ["--format", "json", "task", "resume", task["task"].as_str().unwrap()];
        let mut answer = scene.ambit(&resume);
        if answer.code == 2 && answer.stderr.contains("it is not known whether") {
            answer = scene.ambit(&[&resume[..], &["--fail-unknown"]].concat());
        }
        assert_eq!(answer.code, 0, "run {seed}: {answer:?}");
    }
    let log = scene.ambit(&["audit", "verify"]);
    assert_eq!(log.code, 0, "{log:?}");
    let intents = scene.records_of("intent", "http.request").len();
    for name in names {
        assert!(arrivals(&wire, name).len() <= 1, "{name} in run {seed}");
    }
    assert!(wire.arrived().len() <= intents, "run {seed}");
    if let Some(task) = listed() {
        assert_eq!(task["status"], "succeeded", "run {seed}: {task}");
        // What it counted, it counted once.
        let database = rusqlite::Connection::open(scene.path("home/ambit.db")).unwrap();
        let counted: Vec<u8> = database.query_row("SELECT value FROM state", [], |row| row.get(0)).unwrap();
        assert_eq!(counted, b"4", "run {seed}");
    }
    broke_off
}

fn crashes(seeds: std::ops::Range<u64>) {
    let wire = Wire::greeting();
    let before = Instant::now();
    let calls: Vec<Value> =
        ["one", "two", "three", "four"].iter().flat_map(|name| [step(&wire, name), count()]).collect();
    let whole = scene(&wire).run(&json!({ "calls": calls }));
    assert_eq!(whole["status"], "succeeded");
    let longest = before.elapsed();
    let broken = seeds.clone().filter(|seed| one_crash(*seed, longest)).count();
    assert!(broken * 4 > seeds.count(), "only {broken} were killed before their end");
}

#[test]
fn killed_at_any_moment_nothing_happens_twice_in_50_runs() {
    crashes(0..50);
}

#[test]
fn killed_at_any_moment_nothing_happens_twice_in_50_more_runs() {
    crashes(50..100);
}

#[test]
fn killed_at_any_moment_nothing_happens_twice_in_yet_50_more_runs() {
    crashes(100..150);
}

#[test]
fn killed_at_any_moment_nothing_happens_twice_in_the_last_50_runs() {
    crashes(150..200);
}
