//! A home as it was once stored, which later versions have to read.

use std::path::Path;

use serde_json::json;

use super::super::support::{Answer, Scene};
use super::{fixture, ok};

/// The files of the home that the layout of now is held to.
const GOLDEN: [&str; 5] = ["home-4.sql", "home-4.key", "home-4.jsonl", "home-4.checkpoint", "home-4.vkey"];

/// A task with records of many kinds, with state, secrets, keys and a question that nobody answers.
fn golden_scene() -> Scene {
    let scene = Scene::with_tools(
        &[("prober", "probe"), ("keeper", "probe-state")],
        "[limits]\neffects = 1000\n[agent]\ntools = [\"prober\", \"keeper\"]\n[tools.prober]\n[tools.keeper]\nstate = { namespace = \"notes\" }\n",
    );
    scene.rules(
        "@id(\"all\") permit (principal, action, resource);
         @id(\"ask\") @approval(\"finance\") @deadline(\"100ms\") forbid (principal, action == Ambit::Action::\"tools.call:prober.entries\", resource)
         unless { context.approvals.contains(\"finance\") };",
    );
    scene
}

fn golden_run(scene: &Scene) -> Answer {
    let set = json!({ "tool": "keeper.set", "arguments": { "bucket": "", "key": "k", "value": "v" } });
    let read = json!({ "tool": "prober.read", "arguments": { "path": "/none" } });
    let ask = json!({ "tool": "prober.entries", "arguments": { "path": "/none" } });
    let input = json!({ "calls": [set, read, ask] }).to_string();
    ok(scene.ambit(&["run", "bundle", "--policy", "policy", "--approvals", "wait", "--input", &input]))
}

/// Everything that is in a database, as SQL.
fn dumped(database: &Path) -> String {
    let rows = rusqlite::Connection::open(database).unwrap();
    let all = |select: &str| -> Vec<String> {
        let mut select = rows.prepare(select).unwrap();
        select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let mut dump = all("SELECT sql || ';' FROM sqlite_schema WHERE type = 'table'");
    for table in all("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY rowid") {
        let columns = all(&format!("SELECT 'quote(\"' || name || '\")' FROM pragma_table_info('{table}')"));
        let values = columns.join(" || ', ' || ");
        dump.extend(all(&format!("SELECT 'INSERT INTO \"{table}\" VALUES (' || {values} || ');' FROM \"{table}\"")));
    }
    dump.extend(all("SELECT sql || ';' FROM sqlite_schema WHERE type <> 'table' AND sql NOT NULL"));
    dump.extend(all("SELECT 'PRAGMA user_version = ' || user_version || ';' FROM pragma_user_version"));
    dump.join("\n") + "\n"
}

/// Makes the golden home anew, when its files were removed: for a new layout, beside those of the ones before.
/// `cargo test --test integration -- --ignored golden`.
#[test]
#[ignore = "writes the fixtures `home-4.*`, if they are not there"]
fn the_golden_home_is_written() {
    if GOLDEN.iter().any(|name| fixture(name).exists()) {
        return;
    }
    let scene = golden_scene();
    scene.set_secret("billing", "hunter2hunter2");
    golden_run(&scene);
    ok(scene.ambit(&["audit", "checkpoint"]));
    ok(scene.ambit(&["identity", "rotate"]));
    let checkpoint = ok(scene.ambit(&["audit", "checkpoint"])).stdout;
    let (key, log) = (ok(scene.ambit(&["audit", "key"])).stdout, ok(scene.ambit(&["audit", "export"])).stdout);
    let dump = dumped(&scene.path("home/ambit.db")).into_bytes();
    let sealing = std::fs::read(scene.path("home/key")).unwrap();
    let files = [dump, sealing, log.into_bytes(), checkpoint.into_bytes(), key.into_bytes()];
    for (name, bytes) in GOLDEN.iter().zip(files) {
        std::fs::write(fixture(name), bytes).unwrap();
    }
}

/// A home as it was stored by the fourth layout: later versions open it, come to the same, and go on in it.
#[test]
fn a_stored_home_of_the_fourth_layout_is_read() {
    let read = |name: &str| std::fs::read(fixture(name)).unwrap();
    let text = |name: &str| String::from_utf8(read(name)).unwrap();
    let scene = golden_scene();
    let database = rusqlite::Connection::open(scene.path("home/ambit.db")).unwrap();
    database.execute_batch(&text("home-4.sql")).unwrap();
    drop(database);
    scene.write("home/key", &read("home-4.key"));
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(scene.path("home/key"), private).unwrap();
    let (log, kept, key) = (text("home-4.jsonl"), fixture("home-4.checkpoint"), text("home-4.vkey"));
    let verify = ["audit", "verify", "--checkpoint", kept.to_str().unwrap(), "--key", key.trim()];
    let held = ok(scene.ambit(&[&["--format", "json"], verify.as_slice()].concat())).json();
    let count = log.lines().count();
    assert_eq!((&held["records"], &held["checkpoints"]), (&json!(count), &json!(3)), "{held}");
    assert_eq!(ok(scene.ambit(&["audit", "export"])).stdout, log);
    assert_eq!(ok(scene.ambit(&["audit", "show"])).stdout.lines().count(), count);
    for format in ["ocsf", "otlp"] {
        assert!(!ok(scene.ambit(&["audit", "export", "--format", format])).stdout.is_empty());
    }
    ok(scene.ambit(&["audit", "prove", "1"]));
    assert_eq!(ok(scene.ambit(&["audit", "key"])).stdout, key);
    assert!(ok(scene.ambit(&["secret", "list"])).stdout.contains("billing"));
    assert!(!ok(scene.ambit(&["approvals", "list", "--all"])).stdout.is_empty());
    // It goes on: with the key that is sealed in it.
    golden_run(&scene);
    let newest = ok(scene.ambit(&["audit", "checkpoint"])).stdout;
    let size: usize = newest.lines().nth(1).unwrap().parse().unwrap();
    assert!(size > count && newest.lines().next() == key.split('+').next(), "{newest}");
    ok(scene.ambit(&verify));
}
