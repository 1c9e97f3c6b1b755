//! Components that ask for more than they are granted, or are not what they seem: refused before anything of them runs.

use serde_json::{Value, json};

use super::support::{Scene, agent};

fn refused(scene: &Scene, code: &str) -> Value {
    let report = scene.run(&Value::Null);
    assert_eq!(report["status"], "refused", "{report}");
    assert_eq!(report["error"]["code"], code, "{report}");
    assert_eq!(report["usage"]["fuel"], 0, "something ran: {report}");
    let refusals = scene.records_of("refusal", "task.load");
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    assert_eq!(refusals[0]["code"], code);
    report["error"].clone()
}

const STORE: &str = r#"(import "wasi:keyvalue/store@0.2.0-draft" (instance (export "bucket" (type (sub resource)))))"#;

#[test]
fn an_import_that_is_not_granted_is_named_with_the_key_that_would_allow_it() {
    let scene = Scene::with_tools(&[], "");
    scene.component("agent", &agent(STORE, "", "", "(call $ok (i32.const 6))"));
    let error = refused(&scene, "import-not-granted");
    assert_eq!(error["message"], "`agent` imports `wasi:keyvalue/store@0.2.0-draft`, which is not granted");
    assert_eq!(
        error["help"],
        "to allow it, add `state` to [agent] in the grants of `scene`; it is for values that outlive a task, by key"
    );
    scene.grant("[agent]\nstate = { namespace = \"notes\" }");
    assert_eq!(scene.run(&Value::Null)["status"], "succeeded");
}

#[test]
fn what_is_granted_but_not_requested_is_not_there() {
    let scene = Scene::with_tools(&[], "[agent]\nstate = { namespace = \"notes\" }");
    scene.component("agent", &agent(STORE, "", "", "(call $ok (i32.const 6))"));
    scene.write("bundle/bundle.toml", b"name = \"scene\"\nversion = \"0.1.0\"\n[agent]\ncomponent = \"agent.wasm\"\n");
    let error = refused(&scene, "import-not-granted");
    assert!(error["help"].as_str().unwrap().contains("does not request `state`"), "{error}");
}

#[test]
fn an_interface_that_nobody_offers_is_refused() {
    for import in ["wasi:http/outgoing-handler@0.2.3", "example:exfiltrate/upload", "ambit:agent/secrets@0.1.0"] {
        let scene = Scene::with_tools(&[], "");
        scene
            .component("agent", &agent(&format!("(import {import:?} (instance))"), "", "", "(call $ok (i32.const 6))"));
        let error = refused(&scene, "import-not-granted");
        assert!(error["message"].as_str().unwrap().contains(import), "{error}");
    }
}

#[test]
fn an_import_that_is_no_interface_is_refused() {
    let scene = Scene::with_tools(&[], "");
    scene.component("agent", &agent("(import \"launch\" (func))", "", "", "(call $ok (i32.const 6))"));
    assert!(refused(&scene, "import-not-granted")["message"].as_str().unwrap().contains("`launch`"));
}

#[test]
fn an_interface_of_another_version_or_shape_is_refused() {
    for import in [
        "(import \"wasi:cli/environment@0.3.0\" (instance (export \"get-environment\" (func))))",
        "(import \"wasi:cli/environment@0.2.0\" (instance (export \"get-environment\" (func (result u32)))))",
        "(import \"wasi:cli/environment@0.2.0\" (instance (export \"set-environment\" (func))))",
    ] {
        let scene = Scene::with_tools(&[], "");
        scene.component("agent", &agent(import, "", "", "(call $ok (i32.const 6))"));
        refused(&scene, "import-mismatch");
    }
}

#[test]
fn another_component_than_the_pinned_one_is_refused() {
    let scene = Scene::with_tools(&[], "# the operator's note\n[limits]\nfuel = 1_000_000 # enough\n");
    scene.component("agent", &agent("", "", "", "(call $ok (i32.const 6))"));
    let pinned = scene.ambit(&["check", "bundle", "--policy", "policy", "--pin"]);
    assert_eq!(pinned.code, 0, "{pinned:?}");
    assert!(pinned.stdout.contains("(pinned)"), "{pinned:?}");
    let manifest = std::fs::read_to_string(scene.path("policy/grants.toml")).unwrap();
    assert!(manifest.contains("# the operator's note") && manifest.contains("fuel = 1_000_000 # enough"), "{manifest}");
    assert_eq!(scene.run(&Value::Null)["status"], "succeeded");
    scene.component("agent", &agent("", "", "", "(nop) (call $ok (i32.const 6))"));
    refused(&scene, "digest-mismatch");
}

#[test]
fn an_agent_without_run_and_a_tool_with_resources_are_refused() {
    let scene = Scene::with_tools(&[], "");
    scene.component("agent", "(component)");
    refused(&scene, "not-an-agent");

    let scene = Scene::probing("[agent]\ntools = [\"prober\"]");
    scene.component("prober", RESOURCE);
    let error = refused(&scene, "not-a-tool");
    assert!(error["message"].as_str().unwrap().contains("open"), "{error}");
}

const RESOURCE: &str = r#"(component
  (type $file' (resource (rep i32)))
  (export $file "file" (type $file'))
  (core module $m (func (export "open") (result i32) (i32.const 1)))
  (core instance $i (instantiate $m))
  (func $open (result (own $file)) (canon lift (core func $i "open")))
  (export "open" (func $open)))"#;

#[test]
fn a_tool_whose_interfaces_share_a_function_name_is_refused() {
    let scene = Scene::probing("[agent]\ntools = [\"prober\"]");
    scene.component(
        "prober",
        r#"(component
          (core module $m (func (export "f")))
          (core instance $i (instantiate $m))
          (func $f (canon lift (core func $i "f")))
          (instance $one (export "read" (func $f)))
          (export "example:one/files" (instance $one))
          (export "example:two/files" (instance $one)))"#,
    );
    let error = refused(&scene, "not-a-tool");
    assert!(error["message"].as_str().unwrap().contains("read"), "{error}");
}

#[test]
fn tools_that_are_granted_in_a_circle_are_refused() {
    let scene = Scene::with_tools(
        &[("one", "probe"), ("two", "probe")],
        "[agent]\ntools = [\"one\"]\n[tools.one]\ntools = [\"two\"]\n[tools.two]\ntools = [\"one\"]",
    );
    let error = refused(&scene, "tool-cycle");
    assert_eq!(error["message"], "tools are granted in a circle: one → two → one");
}

#[test]
fn a_tool_that_is_not_granted_is_not_loaded_and_not_listed() {
    let scene = Scene::with_tools(&[("prober", "probe"), ("other", "probe-state")], "[agent]\ntools = [\"prober\"]");
    scene.write("bundle/other.wasm", b"\0asm\x0d\0\x01\0 and nothing more");
    let report = scene.run(&json!({ "list": true }));
    assert_eq!(report["status"], "succeeded", "{report}");
    let names = report["output"].to_string();
    assert!(names.contains("prober.") && !names.contains("other."), "{names}");
    let report = scene.run(&json!({ "calls": [{ "tool": "other.state-get", "arguments": {} }] }));
    assert_eq!(report["output"][0]["code"], "RefusalCode::NotGranted", "{report}");
    assert_eq!(scene.records_of("refusal", "tools.call").len(), 1);
}
