//! The audit log: what it shows to whoever kept a checkpoint, to other programs, and what comes of a log that cannot be written.

mod golden;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::support::{Answer, Running, Scene, guests};
use super::wire::Wire;

/// A scene with some records.
fn scene() -> Scene {
    let scene = Scene::probing("[agent]\ntools = [\"prober\"]\n[tools.prober]\n");
    scene.set_secret("billing", "hunter2hunter2");
    scene.probe("read", &json!({ "path": "/none" }));
    scene
}

fn ok(answer: Answer) -> Answer {
    assert_eq!(answer.code, 0, "{answer:?}");
    answer
}

/// Copies the database away, as somebody would who means to put it back.
fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[test]
fn a_kept_checkpoint_shows_a_cut_tail_an_older_copy_and_another_history() {
    let scene = scene();
    copy(&scene.path("home"), &scene.path("older"));
    scene.probe("read", &json!({ "path": "/none" }));
    let checkpoint = ok(scene.ambit(&["audit", "checkpoint"])).stdout;
    let key = ok(scene.ambit(&["audit", "key"])).stdout.trim().to_owned();
    scene.write("kept", checkpoint.as_bytes());
    let size: u64 = checkpoint.lines().nth(1).unwrap().parse().unwrap();
    let verify = |more: &[&str]| scene.ambit(&[&["audit", "verify"], more].concat());
    let kept = ["--checkpoint", "kept", "--key", &key];
    let held = ok(verify(&kept));
    assert!(held.stdout.contains(&format!("2 checkpoints hold, the longest of {size} records")), "{held:?}");
    assert_eq!(held.stderr, "");
    // Without the key, it is said whose is believed; without a checkpoint, what cannot be told.
    assert!(ok(verify(&kept[..2])).stderr.contains("whoever holds the home could have changed"));
    assert!(ok(verify(&[])).stderr.contains("shows with `--checkpoint FILE` alone"));
    // Several that were kept, one after another; the log has grown meanwhile.
    scene.probe("read", &json!({ "path": "/none" }));
    let second = ok(scene.ambit(&["audit", "checkpoint"])).stdout;
    scene.write("kept", format!("{checkpoint}{second}").as_bytes());
    ok(verify(&kept));
    // Another key, a forged checkpoint, no checkpoint.
    let name = key.split('+').next().unwrap();
    let other = ok(self::scene().ambit(&["audit", "key"])).stdout;
    let refused = verify(&["--checkpoint", "kept", "--key", other.trim()]);
    assert!(
        refused.code == 1 && refused.stderr.contains("no key of that name"),
        "by whose key is not a guess: {refused:?}"
    );
    // Stored ones of a name without a given key are verified with the home's own, which is said.
    let held = ok(verify(&["--key", other.trim()]));
    assert!(held.stderr.contains("are of names that no given key is of"), "{held:?}");
    let forged = format!("{name}+00000000+{}", key.rsplit('+').next().unwrap());
    assert_eq!(verify(&["--key", &forged]).code, 2);
    scene.write("kept", checkpoint.replacen(&format!("\n{size}\n"), &format!("\n{}\n", size + 9), 1).as_bytes());
    let refused = verify(&kept);
    assert!(refused.code == 1 && refused.stderr.contains("it was changed, or forged"), "{refused:?}");
    scene.write("kept", checkpoint.trim_end().as_bytes());
    assert_eq!(verify(&kept).code, 2);
    scene.write("kept", checkpoint.as_bytes());
    // The last records are cut off, with all that speaks of them.
    copy(&scene.path("home"), &scene.path("whole"));
    let database = rusqlite::Connection::open(scene.path("home/ambit.db")).unwrap();
    let cut = "DROP TRIGGER audit_is_not_deleted; DROP TRIGGER checkpoint_is_not_deleted;
        DELETE FROM checkpoint; DELETE FROM audit WHERE seq > 3; UPDATE task SET audit_last = NULL;";
    database.execute_batch(cut).unwrap();
    drop(database);
    ok(verify(&[]));
    let refused = verify(&kept);
    let expected = format!("the log ends at record 3, but a checkpoint of `{name}` speaks of {size} records");
    assert!(refused.code == 1 && refused.stderr.contains(&expected), "{refused:?}");
    // An older copy of all of it, which goes on by itself afterwards.
    copy(&scene.path("older"), &scene.path("home"));
    ok(verify(&[]));
    let refused = verify(&kept);
    assert!(refused.code == 1 && refused.stderr.contains("records were cut off, or an older copy"), "{refused:?}");
    for _ in 0..4 {
        scene.probe("read", &json!({ "path": "/none" }));
    }
    let refused = verify(&kept);
    let expected = format!("the first {size} records are not those of a checkpoint of `{name}`");
    assert!(refused.code == 1 && refused.stderr.contains(&expected), "{refused:?}");
    copy(&scene.path("whole"), &scene.path("home"));
    ok(verify(&kept));
    // What seals the key can change; the key stays.
    ok(scene.ambit(&["secret", "rotate"]));
    assert!(ok(scene.ambit(&["audit", "checkpoint"])).stdout.starts_with(name));
    assert_eq!(ok(scene.ambit(&["audit", "key"])).stdout.trim(), key);
    ok(verify(&kept));
}

#[test]
fn a_log_whose_name_is_changed_to_and_fro_goes_on() {
    let scene = scene();
    for name in ["audit.example.net/one", "audit.example.net/two", "audit.example.net/one"] {
        scene.write("home/config.toml", format!("[audit]\norigin = \"{name}\"\n").as_bytes());
        let checkpoint = ok(scene.ambit(&["audit", "checkpoint"])).stdout;
        assert!(checkpoint.starts_with(&format!("{name}\n")), "{checkpoint}");
    }
    ok(scene.ambit(&["audit", "verify"]));
    assert_eq!(scene.records_of("operator", "audit.key").len(), 3);
}

#[test]
fn an_exported_log_is_verified_without_a_home() {
    let scene = scene();
    let checkpoint = ok(scene.ambit(&["audit", "checkpoint"])).stdout;
    let key = ok(scene.ambit(&["audit", "key"])).stdout.trim().to_owned();
    let log = ok(scene.ambit(&["audit", "export", "--format", "jsonl"])).stdout;
    assert_eq!(log, ok(scene.ambit(&["audit", "export"])).stdout);
    scene.write("log", log.as_bytes());
    scene.write("kept", checkpoint.as_bytes());
    let verify = |more: &[&str]| {
        let arguments = [&["--home", "/nowhere/at/all", "audit", "verify", "--log", "log"], more].concat();
        scene.ambit(&arguments)
    };
    let kept = ["--checkpoint", "kept", "--key", &key];
    assert_eq!(ok(verify(&kept)).stderr, "");
    assert!(ok(verify(&[])).stderr.contains("shows with `--checkpoint FILE` alone"));
    assert_eq!(verify(&kept[..2]).code, 2);
    let shorter: Vec<&str> = log.lines().take(3).collect();
    scene.write("log", format!("{}\n", shorter.join("\n")).as_bytes());
    ok(verify(&[]));
    assert!(verify(&kept).stderr.contains("the log ends at record 3"));
    scene.write("log", log.replacen("\"allowed\"", "\"Allowed\"", 1).as_bytes());
    let refused = verify(&[]);
    assert!(refused.code == 1 && refused.stderr.contains("was changed"), "{refused:?}");
    // Parts of it are for reading.
    let task = scene.records_of("start", "task.run")[0]["task"].as_str().unwrap().split('/').next().unwrap().to_owned();
    let own = ok(scene.ambit(&["audit", "export", "--task", &task, "--after", "3"])).stdout;
    assert!(own.lines().count() > 1 && own.lines().all(|line| line.contains(&task)), "{own}");
    assert_eq!(scene.ambit(&["audit", "show", "--format", "ocsf"]).code, 2);
}

#[test]
fn what_guests_say_stands_in_one_field_of_what_is_exported() {
    let wire = Wire::greeting();
    let scene = Scene::with_tools(&[("caller", "probe-http")], "");
    scene.grant(&format!(
        "[agent]\ntools = [\"caller\"]\n[tools.caller]\nhttp = [{{ scheme = \"http\", host = \"127.0.0.1\", port = {}, \
         methods = [\"GET\"], paths = [\"/\"] }}]\n",
        wire.port
    ));
    let get = |path: &str| json!({ "tool": "caller.send", "arguments": { "ask": { "authority": format!("127.0.0.1:{}", wire.port), "path": path } } });
    scene.run(&json!({ "calls": [get("/"), get("/evil-words")] }));
    let export = |format| ok(scene.ambit(&["audit", "export", "--format", format])).stdout;
    let events: Vec<Value> = export("ocsf").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), scene.records().len());
    let mut requests = 0;
    for event in &events {
        let class = event["class_uid"].as_u64().unwrap();
        assert_eq!(event["category_uid"], class / 1000);
        assert_eq!(event["type_uid"], class * 100 + event["activity_id"].as_u64().unwrap());
        for required in ["metadata", "time", "severity_id", "actor", "src_endpoint"] {
            assert!(!event[required].is_null(), "{required}: {event}");
        }
        assert_eq!(class == 6003, event["api"]["operation"].is_string());
        requests += u64::from(class == 4002);
        let mut rest = event.clone();
        rest["unmapped"]["text"].take();
        assert!(!rest.to_string().contains("evil-words"), "{event}");
    }
    let refusal = events.iter().find(|event| event["metadata"]["event_code"] == "refusal").unwrap();
    assert_eq!(
        (&refusal["disposition_id"], &refusal["severity_id"], &refusal["activity_id"]),
        (&json!(2), &json!(3), &json!(3))
    );
    assert!(refusal["unmapped"]["text"].as_str().unwrap().ends_with("/evil-words"), "{refusal}");
    assert!(requests >= 3, "{events:?}");
    let pages: Vec<Value> = export("otlp").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let logs = pages[0]["resourceLogs"][0]["scopeLogs"][0]["logRecords"].as_array().unwrap();
    assert_eq!((pages.len(), logs.len()), (1, events.len()));
    for log in logs {
        assert!(log["timeUnixNano"].as_str().unwrap().len() > 18 && log["severityNumber"].is_u64(), "{log}");
        for attribute in log["attributes"].as_array().unwrap() {
            let key = attribute["key"].as_str().unwrap();
            assert!(
                key.starts_with("ambit.") && (key == "ambit.text" || !attribute.to_string().contains("evil")),
                "{log}"
            );
        }
    }
}

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// What the log in the fixture comes to.
fn expected() -> Value {
    serde_json::from_str(&std::fs::read_to_string(fixture("audit-v1.json")).unwrap()).unwrap()
}

/// The record format as it was first written: later versions read it, and come to the same hashes.
#[test]
fn the_first_format_of_records_is_read() {
    let file = |name: &str| fixture(name).to_str().unwrap().to_owned();
    let read = |name: &str| std::fs::read_to_string(fixture(name)).unwrap();
    let scene = Scene::with_tools(&[], "[agent]\n");
    let (log, kept, key) = (file("audit-v1.jsonl"), file("audit-v1.checkpoint"), read("audit-v1.vkey"));
    let arguments = ["--format", "json", "audit", "verify", "--log", &log, "--checkpoint", &kept, "--key", key.trim()];
    let answer = ok(scene.ambit(&arguments)).json();
    let expected = expected();
    for field in ["records", "head", "root"] {
        assert_eq!(answer[field], expected[field], "{field}");
    }
    let kinds = ["start", "intent", "outcome", "refusal", "ask", "answer", "end", "operator"];
    for kind in kinds {
        assert!(read("audit-v1.jsonl").contains(&format!("\"kind\":\"{kind}\"")), "{kind}");
    }
}

/// What the script says of these files.
fn stranger(arguments: &[&std::ffi::OsStr]) -> String {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/audit/verify.py");
    let output = Command::new(python()).arg(script).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{error}: run `cargo xtask foreign` first"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A Python with an implementation of Ed25519 that is not ours, which `cargo xtask foreign` sets up.
fn python() -> PathBuf {
    guests().join("../../foreign/verifier/bin/python")
}

#[test]
fn an_independent_verifier_comes_to_the_same() {
    let scene = scene();
    let key = ok(scene.ambit(&["audit", "key"])).stdout.trim().to_owned();
    ok(scene.ambit(&["audit", "checkpoint"]));
    let judge = |proof: &str, key: &str| {
        scene.write("proof", proof.as_bytes());
        stranger(&[scene.path("proof").as_os_str(), key.as_ref()])
    };
    let count = scene.records().len();
    for seq in 1..=count {
        let proof = ok(scene.ambit(&["audit", "prove", &seq.to_string()])).stdout;
        let believed = judge(&proof, &key);
        assert!(believed.starts_with(&format!("record {seq} of {count} ")), "{believed}");
    }
    let proof = ok(scene.ambit(&["audit", "prove", "3"])).stdout;
    // The whole log, by the format's description alone; and the one that was written first.
    scene.write("log", ok(scene.ambit(&["audit", "export"])).stdout.as_bytes());
    let verified = ok(scene.ambit(&["--format", "json", "audit", "verify"])).json();
    for (log, said) in [(scene.path("log"), verified), (fixture("audit-v1.jsonl"), expected())] {
        let text = |field: &str| said[field].as_str().unwrap().to_owned();
        assert_eq!(stranger(&[log.as_os_str()]), format!("{} {} {}", said["records"], text("head"), text("root")));
    }
    let other = ok(self::scene().ambit(&["audit", "key"])).stdout.trim().to_owned();
    assert_eq!(judge(&proof, &other), "not signed by that key");
    assert_eq!(judge(&proof.replacen("index 2", "index 1", 1), &key), "not in the log");
    let (head, extra) = proof.split_once("extra ").unwrap();
    let changed = if extra.starts_with('B') { extra.replacen('B', "C", 1) } else { format!("B{}", &extra[1..]) };
    assert_eq!(judge(&format!("{head}extra {changed}"), &key), "not in the log");
    assert_eq!(
        judge(&proof.replacen(&format!("\n{count}\n"), &format!("\n{}\n", count + 1), 1), &key),
        "wrong signature"
    );
    assert_eq!(scene.ambit(&["audit", "prove", "0"]).code, 2);
    assert_eq!(scene.ambit(&["audit", "prove", "9999"]).code, 2);
}

/// A task that makes so many requests, in a process that may be forbidden to write files, as if the disk were full.
struct Filling {
    wire: Wire,
    scene: Scene,
    running: Running,
}

impl Filling {
    fn start(requests: usize) -> Self {
        let wire = Wire::greeting();
        let scene = Scene::with_tools(&[("caller", "probe-http")], "");
        scene.grant(&format!(
            "[limits]\neffects = 100000\ntool-calls = 100000\n[agent]\ntools = [\"caller\"]\n[tools.caller]\nhttp = [{{ scheme = \"http\", \
             host = \"127.0.0.1\", port = {}, methods = [\"GET\"], paths = [\"/**\"] }}]\n",
            wire.port
        ));
        let authority = format!("127.0.0.1:{}", wire.port);
        let get = json!({ "tool": "caller.send", "arguments": { "ask": { "authority": authority, "path": "/" } } });
        scene.write("input", json!({ "calls": vec![get; requests] }).to_string().as_bytes());
        let command = scene.command(&["--format", "json", "run", "bundle", "--policy", "policy", "--input", "@input"]);
        // A signal ends a process that writes what it may not, unless it does not want to know.
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(command.get_program()).args(command.get_args());
        shell.current_dir(scene.path("")).env_clear().env("AMBIT_HOME", "home");
        let running = Running::start(&mut shell);
        let begun = (0..6_000).any(|_| {
            std::thread::sleep(Duration::from_millis(5));
            wire.connections() >= 3
        });
        assert!(begun, "no request comes");
        Self { wire, scene, running }
    }

    fn may_write(&self, may: bool) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.running.child.id()).unwrap());
        let limit = rustix::process::Rlimit { current: if may { None } else { Some(0) }, maximum: None };
        rustix::process::prlimit(pid, rustix::process::Resource::Fsize, limit).unwrap();
    }
}

#[test]
fn a_full_disk_stops_effects_until_there_is_space() {
    const REQUESTS: usize = 900;
    let filling = Filling::start(REQUESTS);
    filling.may_write(false);
    std::thread::sleep(Duration::from_millis(60));
    let during = filling.wire.connections();
    std::thread::sleep(Duration::from_millis(40));
    assert_eq!(filling.wire.connections(), during, "no request without a record");
    filling.may_write(true);
    let Filling { wire, scene, running } = filling;
    let report = running.end().json();
    let calls = report["output"].as_array().unwrap_or_else(|| panic!("{report}"));
    let done = calls.iter().filter(|call| call["ok"].is_object()).count();
    let (first, last) = (&calls[0], &calls[REQUESTS - 1]);
    assert!(first["ok"].is_object() && last["ok"].is_object(), "it recovers: {last}");
    assert!(done < REQUESTS, "no call was refused meanwhile");
    assert_eq!(wire.connections(), done);
    assert_eq!(scene.records_of("intent", "http.request").len(), done);
    let lost = scene.records_of("operator", "audit.lost");
    assert!(!lost.is_empty());
    for record in lost {
        let detail: Value = serde_json::from_str(record["detail"].as_str().unwrap()).unwrap();
        assert!(
            detail["why"].as_str().unwrap().contains("database") && detail["records"].as_u64() > Some(0),
            "{detail}"
        );
    }
    ok(scene.ambit(&["audit", "verify"]));
}

#[test]
fn a_disk_that_stays_full_is_said_to_be() {
    let filling = Filling::start(200);
    filling.may_write(false);
    let Filling { wire, scene, running } = filling;
    let answer = running.end();
    assert!(answer.code == 70 && answer.stderr.contains("the audit log cannot be written"), "{answer:?}");
    assert!(wire.connections() < 200);
    assert_eq!(scene.records_of("intent", "http.request").len(), wire.connections());
    ok(scene.ambit(&["audit", "verify"]));
    // The task has no end in the log, and the next one is none the worse for it.
    let report = scene.run(&json!({ "calls": [] }));
    assert_eq!(report["status"], "succeeded", "{report}");
}

#[test]
fn a_database_that_cannot_be_written_runs_nothing() {
    let wire = Wire::greeting();
    let scene = scene();
    let before = scene.records().len();
    let files = ["home/ambit.db", "home/ambit.db-wal", "home/ambit.db-shm", "home"];
    let allow = |may: bool| {
        for name in files.iter().filter(|name| scene.path(name).exists()) {
            let mode = match (may, *name) {
                (true, "home") => 0o700,
                (false, "home") => 0o500,
                (true, _) => 0o600,
                (false, _) => 0o400,
            };
            let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
            std::fs::set_permissions(scene.path(name), mode).unwrap();
        }
    };
    allow(false);
    let input = json!({ "calls": [{ "tool": "prober.read", "arguments": { "path": "/none" } }] }).to_string();
    let command = scene.command(&["run", "bundle", "--policy", "policy", "--input", &input]);
    // The superuser is asked for no permission, unless that is taken away.
    let mut bound = Command::new("setpriv");
    if rustix::process::geteuid().is_root() {
        bound.args(["--bounding-set", "-dac_override", "--inh-caps", "-dac_override"]).arg(command.get_program());
    } else {
        bound = Command::new(command.get_program());
    }
    bound.args(command.get_args()).current_dir(scene.path("")).env_clear().env("AMBIT_HOME", "home");
    bound.env("PATH", "/usr/bin:/bin");
    let refused = Answer::of(bound.output().unwrap());
    assert!(refused.code == 70 && refused.stderr.contains("database"), "{refused:?}");
    assert_eq!(wire.connections(), 0);
    allow(true);
    assert_eq!(scene.records().len(), before);
    scene.probe("read", &json!({ "path": "/none" }));
}
