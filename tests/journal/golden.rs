//! A home as an earlier version left it: later ones read it, verify its log, and tell its tasks again.

use std::path::PathBuf;

use rusqlite::Connection;
use serde_json::{Value, json};

use super::super::compute::waiting_twice;
use super::super::support::Scene;

/// Where the scene's folder was when the fixture was written.
const FOLDER: &str = "/srv/ambit";

fn fixture() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/home-v5.sql")
}

/// A database as SQL, row by row.
fn dumped(database: &Connection) -> String {
    let texts = |query: &str| -> Vec<String> {
        let mut select = database.prepare(query).unwrap();
        let rows = select.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    let version: i64 = database.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    let mut dump = format!("PRAGMA user_version = {version};\n");
    let schema = |kinds: &str| {
        let query = format!("SELECT sql FROM sqlite_master WHERE type IN ({kinds}) AND sql NOT NULL ORDER BY rowid");
        texts(&query).iter().flat_map(|sql| [sql.as_str(), ";\n"]).collect::<String>()
    };
    dump.push_str(&schema("'table'"));
    for table in
        texts("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY rowid")
    {
        let columns = texts(&format!("SELECT 'quote(' || name || ')' FROM pragma_table_info('{table}')"));
        let rows = texts(&format!("SELECT {} FROM {table}", columns.join(" || ', ' || ")));
        for row in rows {
            dump.push_str(&format!("INSERT INTO {table} VALUES ({row});\n"));
        }
    }
    dump.push_str(&schema("'index', 'trigger'"));
    dump
}

#[test]
#[ignore = "writes the fixture anew, when the layout of the database has changed"]
fn the_fixture_is_written() {
    let scene = waiting_twice();
    scene.write("home/config.toml", b"[audit]\norigin = \"audit.example.net/one\"\nrecords = 4\n");
    assert_eq!(scene.run(&Value::Null)["output"], "done");
    assert_eq!(scene.ambit(&["audit", "checkpoint"]).code, 0);
    let database = Connection::open(scene.path("home/ambit.db")).unwrap();
    let folder = scene.path("").canonicalize().unwrap();
    let dump = dumped(&database).replace(folder.to_str().unwrap(), FOLDER);
    std::fs::write(fixture(), dump).unwrap();
}

/// A scene whose home is that of the fixture.
fn scene() -> Scene {
    let scene = waiting_twice();
    let folder = scene.path("").canonicalize().unwrap();
    let dump = std::fs::read_to_string(fixture()).unwrap().replace(FOLDER, folder.to_str().unwrap());
    Connection::open(scene.path("home/ambit.db")).unwrap().execute_batch(&dump).unwrap();
    scene
}

#[test]
fn a_home_that_was_stored_before_is_read() {
    let scene = scene();
    let verified = scene.ambit(&["--format", "json", "audit", "verify"]);
    assert_eq!((verified.code, &verified.json()["intact"]), (0, &json!(true)), "{verified:?}");
    assert_eq!(verified.json()["checkpoints"], 2);
    let listed = scene.ambit(&["--format", "json", "task", "list"]).json();
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["status"]), (1, &json!("succeeded")));
    let task = listed[0]["task"].as_str().unwrap();
    let told = scene.ambit(&["task", "replay", task]);
    assert!(told.code == 0 && told.stderr.contains("to the same end"), "{told:?}");
    let intents: Vec<Value> = scene.records_of("intent", "clock.sleep");
    assert_eq!(intents.len(), 2);
    // It goes on from there.
    scene.run(&Value::Null);
}
