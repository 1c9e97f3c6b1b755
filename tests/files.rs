//! Attempts on the file system, from inside of a mount: none leaves it, none outgrows it, none opens what is no file.

use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use super::support::Scene;

const READ: &str =
    "[agent]\ntools = [\"prober\"]\n[tools.prober]\nfilesystem = [{ host = \"../data\", guest = \"/data\" }]";
const WRITE: &str = "[agent]\ntools = [\"prober\"]\n[tools.prober]\nfilesystem = [{ host = \"../data\", guest = \"/data\", access = \"write\", quota = { bytes = \"64KiB\", files = 20 } }]";

/// A mount with a file, a folder and links that lead out, beside a secret.
fn scene(grants: &str) -> Scene {
    let scene = Scene::probing(grants);
    scene.write("data/plain.txt", b"plain");
    scene.write("data/folder/inner.txt", b"inner");
    scene.write("secret/flag", b"SENTINEL");
    symlink("../secret/flag", scene.path("data/to-secret")).unwrap();
    symlink("..", scene.path("data/to-parent")).unwrap();
    symlink("../secret", scene.path("data/to-folder")).unwrap();
    symlink("/etc", scene.path("data/to-etc")).unwrap();
    symlink("plain.txt", scene.path("data/to-plain")).unwrap();
    scene
}

fn refused(answer: &Value, what: &str) {
    assert!(answer["ok"].is_null() && !answer["error"].is_null(), "{what}: {answer}");
    assert!(!answer.to_string().contains("SENTINEL") && !answer.to_string().contains("root:"), "{what}: {answer}");
}

/// Several calls in one task.
fn all(scene: &Scene, calls: &[(&str, Value)]) -> Vec<Value> {
    let calls: Vec<Value> = calls
        .iter()
        .map(|(function, arguments)| json!({ "tool": format!("prober.{function}"), "arguments": arguments }))
        .collect();
    let report = scene.run(&json!({ "calls": calls }));
    assert_eq!(report["status"], "succeeded", "{report}");
    report["output"].as_array().unwrap().clone()
}

#[test]
fn inside_of_a_mount_reading_works_as_anywhere() {
    let scene = scene(READ);
    let answers = all(
        &scene,
        &[
            ("read", json!({ "path": "/data/plain.txt" })),
            ("read", json!({ "path": "/data/folder/../plain.txt" })),
            ("read", json!({ "path": "/data/to-plain" })),
            ("entries", json!({ "path": "/data/folder" })),
            ("folders", json!({})),
        ],
    );
    let expected = [json!("plain"), json!("plain"), json!("plain"), json!(["inner.txt"]), json!(["/data"])];
    for (answer, expected) in answers.iter().zip(expected) {
        assert_eq!(answer["ok"], expected, "{answer}");
    }
}

#[test]
fn no_path_and_no_link_leads_out_of_a_mount() {
    let scene = scene(READ);
    let paths = [
        "..",
        "../",
        "../.",
        "../secret/flag",
        "../secret/flag/",
        "/etc/passwd",
        "/",
        "//etc/passwd",
        "",
        ".//../secret/flag",
        "folder/../../secret/flag",
        "folder/../../secret/flag/",
        "folder/../..",
        "a/../../secret/flag",
        "to-secret",
        "to-secret/",
        "to-secret/.",
        "to-parent/secret/flag",
        "to-parent",
        "to-parent/",
        "to-parent/.",
        "to-folder/flag",
        "to-folder/flag/",
        "to-folder",
        "to-folder/",
        "to-etc/passwd",
        "to-etc/passwd/.",
        "to-etc",
        "to-etc/",
        "./to-parent/./secret/flag",
        "to-folder/../secret/flag",
        "folder/../to-parent/secret/flag",
        "plain.txt/../../secret/flag",
        "pl\u{0}ain.txt",
        "\u{0}",
        "..\\secret\\flag",
    ];
    let mut calls = Vec::new();
    for path in paths {
        for (follow, folder) in [(false, false), (true, false), (false, true), (true, true)] {
            calls.push(("open-raw", json!({ "path": path, "follow": follow, "folder": folder })));
        }
    }
    let long = "x/".repeat(2500) + "y";
    calls.push(("open-raw", json!({ "path": long, "follow": true, "folder": false })));
    calls.push(("open-raw", json!({ "path": "x".repeat(5000), "follow": true, "folder": false })));
    for path in ["/data/../secret/flag", "/data/to-secret", "/etc/passwd", "/secret/flag", "/data/to-etc/passwd"] {
        calls.push(("read", json!({ "path": path })));
    }
    scene.grant(&format!("[limits]\ntool-calls = 1000\n{READ}"));
    for ((_, arguments), answer) in calls.iter().zip(all(&scene, &calls)) {
        refused(&answer, &arguments.to_string());
    }
}

#[test]
fn a_mount_for_reading_is_not_changed_and_every_attempt_is_recorded() {
    let scene = scene(READ);
    let attempts = [
        ("write", json!({ "path": "/data/plain.txt", "text": "x" })),
        ("write", json!({ "path": "/data/new.txt", "text": "x" })),
        ("append", json!({ "path": "/data/plain.txt", "text": "x" })),
        ("resize", json!({ "path": "/data/plain.txt", "size": 0 })),
        ("make-folder", json!({ "path": "/data/new" })),
        ("remove", json!({ "path": "/data/plain.txt" })),
        ("remove-folder", json!({ "path": "/data/folder" })),
        ("rename", json!({ "old": "/data/plain.txt", "new": "/data/moved.txt" })),
        ("hard-link", json!({ "old": "/data/plain.txt", "new": "/data/linked.txt" })),
        ("symlink-raw", json!({ "target": "plain.txt", "path": "linked.txt" })),
        ("touch-raw", json!({ "path": "plain.txt" })),
    ];
    let before = std::fs::metadata(scene.path("data/plain.txt")).unwrap().modified().unwrap();
    for (answer, (function, _)) in all(&scene, &attempts).iter().zip(&attempts) {
        refused(answer, function);
    }
    refused(&scene.probe("write-read-only", &json!({ "path": "plain.txt" })), "write through a handle for reading");
    assert_eq!(std::fs::read_to_string(scene.path("data/plain.txt")).unwrap(), "plain");
    assert_eq!(std::fs::metadata(scene.path("data/plain.txt")).unwrap().modified().unwrap(), before);
    let mut names: Vec<_> = std::fs::read_dir(scene.path("data")).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["folder", "plain.txt", "to-etc", "to-folder", "to-parent", "to-plain", "to-secret"]);
    let refusals = scene.records_of("refusal", "filesystem.write");
    assert!(refusals.len() >= attempts.len(), "{} of {}", refusals.len(), attempts.len());
    assert!(refusals.iter().all(|refusal| refusal["code"] == "not-granted"), "{refusals:?}");
    assert_eq!(scene.records_of("intent", "filesystem.write").len(), 0);
}

#[test]
fn a_mount_for_writing_is_changed_with_a_record_of_every_call() {
    let scene = scene(WRITE);
    let calls = [
        ("write", json!({ "path": "/data/new.txt", "text": "new" })),
        ("append", json!({ "path": "/data/new.txt", "text": " text" })),
        ("read", json!({ "path": "/data/new.txt" })),
        ("make-folder", json!({ "path": "/data/made" })),
        ("rename", json!({ "old": "/data/new.txt", "new": "/data/made/moved.txt" })),
        ("resize", json!({ "path": "/data/made/moved.txt", "size": 3 })),
        ("read", json!({ "path": "/data/made/moved.txt" })),
        ("remove", json!({ "path": "/data/made/moved.txt" })),
        ("remove-folder", json!({ "path": "/data/made" })),
    ];
    let answers = all(&scene, &calls);
    for (answer, (function, _)) in answers.iter().zip(&calls) {
        assert!(answer["error"].is_null(), "{function}: {answer}");
    }
    assert_eq!(answers[2]["ok"], "new text");
    assert_eq!(answers[6]["ok"], "new");
    assert!(!scene.path("data/made").exists());
    let (intents, outcomes) =
        (scene.records_of("intent", "filesystem.write"), scene.records_of("outcome", "filesystem.write"));
    // Two opens for writing, a folder, both ends of a rename, an open and a new size, two removals.
    assert_eq!(intents.len(), 9, "{intents:?}");
    assert_eq!(outcomes.len(), 9);
}

#[test]
fn writing_does_not_lead_out_of_a_mount_either() {
    let scene = scene(WRITE);
    let attempts = [
        ("write", json!({ "path": "/data/to-secret", "text": "x" })),
        ("write", json!({ "path": "/data/../secret/flag", "text": "x" })),
        ("write", json!({ "path": "/data/to-parent/secret/flag", "text": "x" })),
        ("write", json!({ "path": "/data/to-folder/new", "text": "x" })),
        ("append", json!({ "path": "/data/to-secret", "text": "x" })),
        ("resize", json!({ "path": "/data/to-secret", "size": 0 })),
        ("make-folder", json!({ "path": "/data/to-folder/new" })),
        ("remove", json!({ "path": "/data/to-folder/flag" })),
        ("remove", json!({ "path": "/data/to-parent/secret/flag" })),
        ("rename", json!({ "old": "/data/to-folder/flag", "new": "/data/stolen" })),
        ("rename", json!({ "old": "/data/plain.txt", "new": "/data/to-folder/new" })),
        ("rename-raw", json!({ "old": "to-folder/", "new": "moved" })),
        ("rename-raw", json!({ "old": "to-parent/.", "new": "moved" })),
        ("rename-raw", json!({ "old": "plain.txt", "new": "../plain.txt" })),
        ("hard-link", json!({ "old": "/data/to-folder/flag", "new": "/data/stolen" })),
        ("symlink-raw", json!({ "target": "../secret/flag", "path": "mine" })),
        ("symlink-raw", json!({ "target": "/etc/passwd", "path": "mine" })),
        ("symlink-raw", json!({ "target": "folder/../../secret/flag", "path": "mine" })),
        ("touch-raw", json!({ "path": "../secret/flag" })),
    ];
    for (answer, (function, arguments)) in all(&scene, &attempts).iter().zip(&attempts) {
        refused(answer, &format!("{function} {arguments}"));
    }
    assert_eq!(std::fs::read_to_string(scene.path("secret/flag")).unwrap(), "SENTINEL");
    assert_eq!(std::fs::read_dir(scene.path("secret")).unwrap().count(), 1);
    for name in ["stolen", "moved", "mine"] {
        assert!(std::fs::symlink_metadata(scene.path(&format!("data/{name}"))).is_err(), "{name}");
    }
}

#[test]
fn a_quota_bounds_bytes_and_files() {
    let scene = scene(WRITE);
    let big = "x".repeat(40_000);
    let answers = all(
        &scene,
        &[
            ("write", json!({ "path": "/data/one", "text": big })),
            ("write", json!({ "path": "/data/two", "text": big })),
            ("write-at", json!({ "path": "/data/sparse", "offset": 1_u64 << 40, "text": "x" })),
            ("resize", json!({ "path": "/data/one", "size": 1_u64 << 40 })),
        ],
    );
    assert!(answers[0]["error"].is_null(), "{}", answers[0]);
    for answer in &answers[1..] {
        assert_eq!(answer["error"], "failed", "{answer}");
    }
    let held: u64 = std::fs::read_dir(scene.path("data"))
        .unwrap()
        .map(|e| {
            let metadata = e.unwrap().path().symlink_metadata().unwrap();
            if metadata.is_file() { metadata.len() } else { 0 }
        })
        .sum();
    assert!(held <= 64 << 10, "{held}");
    assert!(
        !scene.records().iter().any(|record| record["detail"].as_str().unwrap().contains("xxxx")),
        "payload in the log"
    );

    let answer = scene.probe("fill", &json!({ "folder": "/data", "count": 1000 }));
    assert!(answer["ok"].as_str().unwrap().contains("files, then"), "{answer}");
    let answer = scene.probe("dig", &json!({ "folder": "/data", "depth": 1000 }));
    assert!(answer["ok"].as_str().unwrap().contains("folders, then"), "{answer}");
    assert!(std::fs::read_dir(scene.path("data")).unwrap().count() <= 21);
    // What is removed makes room again.
    let answers = all(
        &scene,
        &[("remove", json!({ "path": "/data/one" })), ("write", json!({ "path": "/data/one", "text": big }))],
    );
    assert!(answers[1]["error"].is_null(), "{}", answers[1]);
}

#[test]
fn only_files_and_folders_can_be_opened() {
    let scene = scene(READ);
    rustix::fs::mknodat(rustix::fs::CWD, scene.path("data/pipe"), rustix::fs::FileType::Fifo, 0o666.into(), 0).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(scene.path("data/socket")).unwrap();
    for name in ["pipe", "socket"] {
        for (follow, folder) in [(false, false), (true, false), (true, true)] {
            // A pipe without a writer would block whoever opens it: the test would not end.
            refused(&scene.probe("open-raw", &json!({ "path": name, "follow": follow, "folder": folder })), name);
        }
    }
    drop(socket);
}

#[test]
fn a_folder_that_is_not_there_is_said_to_the_operator_and_not_to_the_guest() {
    let scene = Scene::probing(
        "[agent]\ntools = [\"prober\"]\n[tools.prober]\nfilesystem = [{ host = \"../nosuch\", guest = \"/data\" }]",
    );
    let answer = scene.probe("folders", &json!({}));
    assert_eq!(answer["error"], "trapped", "{answer}");
    assert!(!answer.to_string().contains("nosuch"), "{answer}");
    let outcome = &scene.records_of("outcome", "tools.call")[0];
    assert!(outcome["text"].as_str().unwrap().contains("nosuch"), "{outcome}");
}

#[test]
fn swapping_a_folder_for_a_link_while_it_is_read_gives_nothing_away() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let scene = scene(&format!("[limits]\ntool-calls = 1000\n{READ}"));
    scene.write("data/swapped/flag", b"harmless");
    let (swapped, aside) = (scene.path("data/swapped"), scene.path("data/aside"));
    struct Done<'a>(&'a AtomicBool);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                std::fs::rename(&swapped, &aside).unwrap();
                symlink("../secret", &swapped).unwrap();
                std::fs::remove_file(&swapped).unwrap();
                std::fs::rename(&aside, &swapped).unwrap();
            }
        });
        // However this ends, the other thread ends as well.
        let _done = Done(&done);
        let calls: Vec<_> = (0..200).map(|_| ("read", json!({ "path": "/data/swapped/flag" }))).collect();
        for answer in all(&scene, &calls) {
            assert!(!answer.to_string().contains("SENTINEL"), "{answer}");
        }
    });
}

#[test]
fn the_home_is_never_mounted_and_what_decides_is_never_written() {
    for (host, access) in [
        ("../home", "read"),
        ("../home/compiled", "read"),
        ("..", "read"),
        ("../policy", "write"),
        ("../bundle", "write"),
    ] {
        let scene = Scene::probing(&format!(
            "[agent]\ntools = [\"prober\"]\n[tools.prober]\nfilesystem = [{{ host = {host:?}, guest = \"/data\", access = {access:?} }}]"
        ));
        let answer = scene.probe("entries", &json!({ "path": "/data" }));
        assert_eq!(answer["error"], "trapped", "{host}: {answer}");
        let outcomes = scene.records_of("outcome", "filesystem.mount");
        assert_eq!(outcomes[0]["code"], "failed", "{host}");
    }
}
