//! The workspace of a task: one folder for all its components, for nobody else, and gone with it.

use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::support::{Running, Scene, eventually};

const GRANT: &str = "[agent]\ntools = [\"prober\", \"marker\"]\n\
    [tools.prober]\nworkspace = { guest = \"/workspace\", quota = { bytes = \"64KiB\", files = 20 } }\nclock = true\n\
    [tools.marker]\nworkspace = { guest = \"/workspace\", quota = { bytes = \"64KiB\", files = 20 } }\nlabel = { remove = [\"pii\"] }\n";

fn scene(grants: &str) -> Scene {
    let scene = Scene::with_tools(&[("prober", "probe"), ("marker", "probe-label")], grants);
    scene.write("secret/flag", b"SENTINEL");
    scene
}

fn call(tool: &str, arguments: &Value) -> Value {
    json!({ "tool": tool, "arguments": arguments })
}

fn write(name: &str, text: &str) -> Value {
    call("prober.write", &json!({ "path": format!("/workspace/{name}"), "text": text }))
}

fn read(tool: &str, name: &str) -> Value {
    call(tool, &json!({ "path": format!("/workspace/{name}") }))
}

fn run(scene: &Scene, calls: &[Value]) -> Value {
    let report = scene.run(&json!({ "calls": calls }));
    assert_eq!(left(scene), Vec::<PathBuf>::new(), "{report}");
    report
}

/// The folders of tasks in the home.
fn left(scene: &Scene) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(scene.path("home/workspaces")).into_iter().flatten();
    folders.map(|entry| entry.unwrap().path()).collect()
}

/// Runs the agent on these calls, and keeps the workspace in the folder `kept`.
fn keep(scene: &Scene, calls: &[Value]) -> (i32, Value) {
    let input = json!({ "calls": calls }).to_string();
    let arguments = ["--format", "json", "run", "bundle", "--policy", "policy", "--input", &input, "--keep", "kept"];
    let answer = scene.ambit(&arguments);
    (answer.code, answer.json())
}

/// A task in the background that has written `name` to its workspace, and waits.
fn waiting(scene: &Scene, name: &str) -> (Running, PathBuf) {
    let before = left(scene);
    let calls = [write(name, "here"), call("prober.wait", &json!({ "milliseconds": 600_000 }))];
    let input = json!({ "calls": calls }).to_string();
    let mut command = scene.command(&["run", "bundle", "--policy", "policy", "--input", &input]);
    let running = Running::start(&mut command);
    let made = || left(scene).into_iter().find(|folder| !before.contains(folder) && folder.join(name).exists());
    let folder = eventually("the task writes", made);
    (running, folder)
}

fn signal(running: &Running, signal: Signal) {
    kill_process(Pid::from_child(&running.child), signal).unwrap();
}

#[test]
fn the_components_of_a_task_see_one_folder_and_the_next_task_a_new_one() {
    let scene = scene(GRANT);
    let entries = call("prober.entries", &json!({ "path": "/workspace" }));
    let calls = [write("a", "text"), read("marker.read", "a"), entries.clone()];
    let report = run(&scene, &calls);
    assert_eq!(report["output"][1]["ok"], "text", "{report}");
    assert_eq!(report["output"][2]["ok"], json!(["a"]), "{report}");
    assert_eq!(run(&scene, &[entries])["output"][0]["ok"], json!([]));
    assert_eq!(scene.records_of("intent", "workspace.mount").len(), 4);
    assert_eq!(scene.records_of("intent", "workspace.write").len(), 1);
    for action in ["filesystem.mount", "filesystem.write"] {
        assert!(scene.records().iter().all(|record| record["action"] != action), "{action}");
    }
}

#[test]
fn a_workspace_stands_beside_other_mounts_and_each_is_decided_by_its_own_rules() {
    let scene = scene(&GRANT.replace(
        "[tools.marker]",
        "filesystem = [{ host = \"../data\", guest = \"/data\", access = \"write\" }]\n[tools.marker]",
    ));
    scene.write("data/there", b"");
    let data = call("prober.write", &json!({ "path": "/data/new", "text": "" }));
    let link = call("prober.hard-link", &json!({ "old": "/data/there", "new": "/workspace/there" }));
    let report = run(&scene, &[call("prober.folders", &json!({})), data.clone(), write("new", ""), link]);
    assert_eq!(report["output"][0]["ok"], json!(["/data", "/workspace"]), "{report}");
    assert!(report["output"][1]["error"].is_null() && report["output"][2]["error"].is_null(), "{report}");
    assert_eq!(report["output"][3]["error"], "failed", "a link from one mount to another: {report}");
    for (action, forbidden, allowed) in [("workspace.write", 1, 0), ("filesystem.write", 0, 1)] {
        scene.rules(&format!(
            "permit (principal, action, resource);\n@id(\"no\") forbid (principal, action == Ambit::Action::\"{action}\", resource);"
        ));
        let report = run(&scene, &[data.clone(), write("new", "")]);
        assert!(report["output"][forbidden]["error"] == "failed", "{action}: {report}");
        assert!(report["output"][allowed]["error"].is_null(), "{action}: {report}");
    }
    // A path of the workspace is a path like others.
    scene.rules(
        "permit (principal, action, resource);\n@id(\"no\") forbid (principal, action == Ambit::Action::\"workspace.write\", resource) when { context.path == \"/workspace/no\" && resource.access == \"write\" && resource.host == \"\" };",
    );
    let report = run(&scene, &[write("yes", ""), write("no", "")]);
    assert!(report["output"][0]["error"].is_null() && report["output"][1]["error"] == "failed", "{report}");
}

#[test]
fn guest_paths_of_a_component_do_not_meet() {
    for (guest, message) in
        [("/workspace", "two mounts are called `/workspace`"), ("/workspace/in", "lie one in the other")]
    {
        let scene = scene(&GRANT.replace(
            "[tools.marker]",
            &format!("filesystem = [{{ host = \"../data\", guest = {guest:?} }}]\n[tools.marker]"),
        ));
        let answer = scene.ambit(&["run", "bundle", "--policy", "policy"]);
        assert_eq!(answer.code, 2, "{answer:?}");
        assert!(answer.stderr.contains(message) && answer.stderr.contains("grants.toml:5:1"), "{answer:?}");
    }
}

#[test]
fn no_path_and_no_link_leads_out_and_no_quota_is_outgrown() {
    let scene = scene(GRANT);
    let (other, folder) = waiting(&scene, "other");
    let theirs = folder.file_name().unwrap().to_str().unwrap();
    let symlink = |target: &str| call("prober.symlink-raw", &json!({ "target": target, "path": "link" }));
    let open = |path: &str| call("prober.open-raw", &json!({ "path": path, "follow": true, "folder": false }));
    let calls = [
        symlink("../secret/flag"),
        symlink("/etc/passwd"),
        symlink(&format!("../{theirs}/other")),
        symlink(&format!("{}/other", folder.display())),
        open(&format!("../{theirs}/other")),
        open(&format!("{}/other", folder.display())),
        open("../../secret/flag"),
        read("prober.read", &format!("../{theirs}/other")),
        call("prober.rename-raw", &json!({ "old": "../../secret/flag", "new": "flag" })),
        call("prober.hard-link", &json!({ "old": format!("/workspace/../{theirs}/other"), "new": "/workspace/mine" })),
        write("big", &"x".repeat((64 << 10) + 1)),
        call("prober.resize", &json!({ "path": "/workspace/big", "size": 1_u64 << 40 })),
    ];
    let report = scene.run(&json!({ "calls": calls }));
    for (answer, call) in report["output"].as_array().unwrap().iter().zip(&calls) {
        assert_eq!(answer["error"], "failed", "{call}: {answer}");
    }
    assert_eq!(std::fs::read_to_string(folder.join("other")).unwrap(), "here");
    for function in ["fill", "dig"] {
        let arguments = match function {
            "fill" => json!({ "folder": "/workspace", "count": 1000 }),
            _ => json!({ "folder": "/workspace", "depth": 1000 }),
        };
        let report = scene.run(&json!({ "calls": [call(&format!("prober.{function}"), &arguments)] }));
        assert!(report["output"][0]["ok"].as_str().unwrap().starts_with("20 "), "{report}");
    }
    assert_eq!(left(&scene), [folder]);
    signal(&other, Signal::INT);
    other.end();
}

#[test]
fn nothing_is_left_however_a_task_ends() {
    let scene = scene(GRANT);
    let link = call("prober.symlink-raw", &json!({ "target": "folder/a", "path": "link" }));
    let folder = call("prober.make-folder", &json!({ "path": "/workspace/folder" }));
    let names = call("prober.hard-link", &json!({ "old": "/workspace/folder/a", "new": "/workspace/b" }));
    let dig = call("prober.dig", &json!({ "folder": "/workspace/folder", "depth": 10 }));
    let some = [folder, write("folder/a", "text"), link, names, dig];
    assert_eq!(run(&scene, &some)["status"], "succeeded");
    let with = |last: Value| [some.as_slice(), &[last]].concat();
    assert_eq!(run(&scene, &with(call("prober.fall", &json!({ "text": "" }))))["status"], "succeeded");
    scene.grant(&format!("{GRANT}[limits]\ntool-calls = 5\n"));
    assert_eq!(run(&scene, &with(call("prober.folders", &json!({}))))["status"], "exhausted");
    scene.grant(&GRANT.replace("[agent]", "[agent]\nworkspace = { guest = \"/workspace\" }\nlabels = [\"pii\"]"));
    assert_eq!(run(&scene, &[])["status"], "refused");
    let panic = scene.run(&json!({ "panic": "now" }));
    assert_eq!((&panic["status"], left(&scene)), (&json!("trapped"), Vec::new()));
    scene.grant(GRANT);
    let (running, folder) = waiting(&scene, "a");
    signal(&running, Signal::INT);
    assert_eq!(running.end().code, 130);
    assert!(!folder.exists());
}

#[test]
fn what_a_killed_process_left_is_removed_and_what_another_works_in_is_not() {
    let scene = scene(GRANT);
    let (killed, abandoned) = waiting(&scene, "a");
    let (other, held) = waiting(&scene, "b");
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&held.metadata().unwrap()) & 0o777, 0o700);
    signal(&killed, Signal::KILL);
    killed.end();
    assert!(abandoned.exists(), "nobody was there to remove it");
    assert_eq!(scene.ambit(&["run", "bundle", "--policy", "policy", "--input", "{\"calls\": []}"]).code, 0);
    assert!(!abandoned.exists() && held.join("b").exists());
    signal(&other, Signal::INT);
    other.end();
    assert!(!held.exists());
}

/// What `marker` gives carries the label, and it can take the label off itself, but not off what it wrote.
const WASHING: &str = "[agent]\ntools = [\"prober\", \"marker\"]\n\
    [tools.marker]\nlabels = [\"confidential\"]\nlabel = { remove = [\"confidential\"] }\n\
    workspace = { guest = \"/workspace\", accepts = [\"confidential\"] }\n\
    [tools.prober]\nworkspace = { guest = \"/workspace\" }\nstdio = true\n";

#[test]
fn what_is_written_with_a_label_labels_whoever_reads_it_also_when_the_writer_took_its_own_off() {
    let scene = scene(WASHING);
    let wash = call(
        "marker.write-and-remove",
        &json!({ "path": "/workspace/a", "text": "SENTINEL", "label": "confidential" }),
    );
    let report = run(&scene, std::slice::from_ref(&wash));
    assert_eq!((&report["status"], &report["labels"]), (&json!("succeeded"), &json!([])), "{report}");
    let report = run(&scene, &[wash.clone(), read("prober.read", "a")]);
    assert_eq!((&report["status"], &report["labels"]), (&json!("refused"), &json!(["confidential"])), "{report}");
    assert!(!report.to_string().contains("SENTINEL"), "{report}");
    // Whoever mounts the folder carries it, and so what the log does not accept is not said there.
    run(&scene, &[wash.clone(), call("prober.print", &json!({ "text": "SENTINEL" }))]);
    assert!(scene.records().iter().all(|record| !record.to_string().contains("SENTINEL")));
    assert!(!scene.records_of("refusal", "stdio.open").is_empty());
    // The folder itself may not leave either, though the task carries nothing.
    let (code, report) = keep(&scene, &[wash]);
    assert_eq!((code, &report["status"], &report["labels"]), (3, &json!("succeeded"), &json!([])), "{report}");
    assert_eq!(report["kept"]["status"], "refused", "{report}");
    assert!(std::fs::read_dir(scene.path("kept")).unwrap().next().is_none());
    assert_eq!(scene.records_of("refusal", "task.keep").len(), 1);
}

#[test]
fn a_component_that_carries_what_is_not_accepted_writes_nothing() {
    let scene = scene(&GRANT.replace("[agent]", "[output]\naccepts = [\"pii\"]\n[agent]\nlabels = [\"pii\"]"));
    let report = run(&scene, &[write("a", "text")]);
    assert_eq!(report["output"][0]["error"], "failed", "{report}");
    assert_eq!(scene.records_of("refusal", "workspace.write")[0]["code"], "denied");
}

#[test]
fn files_are_kept_and_links_are_not() {
    let scene = scene(GRANT);
    let calls = [
        call("prober.make-folder", &json!({ "path": "/workspace/folder" })),
        write("folder/a", "text"),
        call("prober.hard-link", &json!({ "old": "/workspace/folder/a", "new": "/workspace/same" })),
        call("prober.symlink-raw", &json!({ "target": "folder/a", "path": "link" })),
        call("prober.make-folder", &json!({ "path": "/workspace/none" })),
        write("b\u{1b}[2J", ""),
    ];
    let (code, report) = keep(&scene, &calls);
    assert_eq!((code, &report["kept"]["status"]), (0, &json!("kept")), "{report}");
    let copied = &report["kept"]["copied"];
    assert_eq!((&copied["files"], &copied["bytes"]), (&json!(1), &json!(4)), "{report}");
    let left_behind: Vec<&str> =
        copied["left"].as_array().unwrap().iter().map(|left| left["path"].as_str().unwrap()).collect();
    assert_eq!(left_behind, ["b\\u{1b}[2J", "link", "same"]);
    assert_eq!(std::fs::read_to_string(scene.path("kept/folder/a")).unwrap(), "text");
    let mode = |path: &str| std::os::unix::fs::MetadataExt::mode(&scene.path(path).metadata().unwrap()) & 0o7777;
    assert_eq!((mode("kept/folder/a") & !0o644, mode("kept/folder") & !0o755), (0, 0));
    assert!(!scene.path("kept/none").exists() && scene.path("kept/link").symlink_metadata().is_err());
    let outcome = &scene.records_of("outcome", "task.keep")[0];
    assert_eq!(outcome["detail"], r#"{"files":1,"bytes":4,"left":3}"#, "{outcome}");
    assert!(left(&scene).is_empty());

    // A folder with something in it is not written to, and nothing is run.
    let input = json!({ "calls": calls }).to_string();
    let run = |folder: &str| scene.ambit(&["run", "bundle", "--policy", "policy", "--input", &input, "--keep", folder]);
    let answer = run("kept");
    assert_eq!(answer.code, 2, "{answer:?}");
    assert!(answer.stderr.contains("is not empty"), "{answer:?}");
    assert_eq!(scene.records_of("start", "task.run").len(), 1);
    let answer = run("again");
    assert_eq!(answer.code, 0, "{answer:?}");
    for line in ["kept 1 files with 4 B in again", "left behind: link: it is a link"] {
        assert!(answer.stderr.contains(line), "{line}: {answer:?}");
    }
}

#[test]
fn a_workspace_is_kept_also_when_the_task_fails_and_none_is_made_for_it() {
    let scene = scene(&format!("{GRANT}[limits]\ntool-calls = 1\n"));
    let (code, report) = keep(&scene, &[write("a", "text"), write("b", "text")]);
    assert_eq!((code, &report["status"]), (5, &json!("exhausted")), "{report}");
    assert!(scene.path("kept/a").exists() && !scene.path("kept/b").exists());
    std::fs::remove_dir_all(scene.path("kept")).unwrap();
    let (code, report) = keep(&scene, &[]);
    assert_eq!((code, &report["kept"]["status"]), (0, &json!("nothing")), "{report}");
    assert!(!Path::new(&scene.path("home/workspaces")).exists() || left(&scene).is_empty());
}
