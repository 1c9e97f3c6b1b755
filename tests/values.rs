//! Values of every type, through the command line and a real component, there and back.

use serde_json::{Value, json};

use super::support::{Scene, guest};

fn scene() -> Scene {
    let scene = Scene::with_tools(&[], "");
    scene.write("echo.wasm", &guest("echo"));
    scene
}

fn call(scene: &Scene, function: &str, arguments: &str) -> Value {
    let answer = scene.ambit(&["--format", "json", "call", "echo.wasm", function, arguments]);
    assert_eq!(answer.code, 0, "{function} {arguments}: {answer:?}");
    answer.json()["output"].clone()
}

#[test]
fn every_type_survives() {
    let scene = scene();
    let shape = json!({
        "name": "s", "corners": [{ "x": -1, "y": 0.5 }], "center": null, "color": "dark-green", "drawn-with": { "dashed": 3 }
    });
    for (function, value) in [
        ("echo-bool", json!(true)),
        ("echo-s8", json!(-128)),
        ("echo-u16", json!(65_535)),
        ("echo-s64", json!("-9223372036854775808")),
        ("echo-u64", json!("18446744073709551615")),
        ("echo-u64", json!(9_007_199_254_740_991_u64)),
        ("echo-f32", json!(0.1)),
        ("echo-f64", json!(-0.0)),
        ("echo-f64", json!("NaN")),
        ("echo-f64", json!(5e-324)),
        ("echo-char", json!("𝄞")),
        ("echo-string", json!("a\u{0}\u{1f}é")),
        ("echo-bytes", json!("AP8Q")),
        ("echo-numbers", json!([1, "9007199254740993"])),
        ("echo-lists", json!([[], ["a", ""]])),
        ("echo-option", Value::Null),
        ("echo-options", Value::Null),
        ("echo-options", json!({ "some": null })),
        ("echo-options", json!({ "some": 7 })),
        ("echo-results", json!([{ "ok": 1 }, { "err": "no" }])),
        ("echo-tuple", json!([1, "two", false])),
        ("echo-record", shape),
        ("echo-variant", json!("empty")),
        ("echo-variant", json!({ "both": [1, true] })),
        ("echo-enum", json!("type")),
        ("echo-flags", json!(["monday", "last-day"])),
        ("echo-pairs", json!([["a", 1]])),
    ] {
        assert_eq!(call(&scene, function, &json!({ "value": value }).to_string()), value, "{function}");
    }
    assert_eq!(call(&scene, "echo-many", r#"{"second": "b", "first": 1}"#), json!([1, "b", null]));
    assert_eq!(call(&scene, "echo-nothing", r#"{"value": "x"}"#), Value::Null);
    // The numbers are written as they were read, not as 64-bit floats would have them.
    let raw = scene.ambit(&["--format", "json", "call", "echo.wasm", "echo-s64", r#"{"value": 9007199254740993}"#]);
    assert!(raw.stdout.contains("\"9007199254740993\""), "{raw:?}");
}

#[test]
fn a_function_that_fails_and_arguments_that_do_not_fit_are_failures() {
    let scene = scene();
    for (function, arguments, code) in [
        ("echo-result", r#"{"value": {"err": "no"}}"#, "failed"),
        ("echo-u8", r#"{"value": 256}"#, "invalid-arguments"),
        ("echo-u8", r#"{"value": 5.0}"#, "invalid-arguments"),
        ("echo-u8", r#"{"value": 1, "value": 2}"#, "invalid-arguments"),
        ("echo-record", r#"{"value": {"nam": "s"}}"#, "invalid-arguments"),
        ("echo-enum", r#"{"value": "purple"}"#, "invalid-arguments"),
        ("echo-bytes", r#"{"value": "not base64!"}"#, "invalid-arguments"),
        ("no-such", "{}", "unknown-function"),
    ] {
        let answer = scene.ambit(&["--format", "json", "call", "echo.wasm", function, arguments]);
        assert_eq!(answer.code, 1, "{function}: {answer:?}");
        assert_eq!(answer.json()["error"]["code"], code, "{function}: {answer:?}");
    }
}

#[test]
fn inspect_shows_functions_with_their_documentation_and_schema() {
    let scene = Scene::with_tools(&[], "");
    scene.write("search.wasm", &guest("search"));
    let shown = scene.ambit(&["--format", "json", "inspect", "search.wasm"]).json();
    let query = &shown["functions"][0];
    assert_eq!(query["name"], "query");
    assert!(query["description"].as_str().unwrap().len() > 40, "{query}");
    assert_eq!(query["parameters"]["type"], "object");
    assert_eq!(query["parameters"]["required"], json!(["question", "limit"]));
    assert_eq!(shown["needs"], json!([]));
    assert!(shown["may_use"].as_array().unwrap().contains(&json!("filesystem")), "{shown}");
    let state = Scene::with_tools(&[], "");
    state.write("keeper.wasm", &guest("probe-state"));
    assert_eq!(state.ambit(&["--format", "json", "inspect", "keeper.wasm"]).json()["needs"], json!(["state"]));
}

#[test]
fn a_call_is_bounded_as_a_task_is() {
    let scene = scene();
    let grant = |text: &str| scene.write("grants.toml", format!("bundle = \"alone\"\n{text}").as_bytes());
    let ask = || {
        scene.ambit(&[
            "--format",
            "json",
            "call",
            "echo.wasm",
            "echo-string",
            r#"{"value": "twelve bytes"}"#,
            "--grant",
            "grants.toml",
        ])
    };
    grant("[tools.echo]\n");
    assert_eq!(ask().code, 0);
    grant("[limits]\noutput = 10\n[tools.echo]\n");
    assert_eq!(ask().json()["error"]["code"], "output");
    grant(&format!("[tools.echo]\ndigest = \"sha256:{}\"\n", "0".repeat(64)));
    let answer = ask();
    assert_eq!(answer.code, 2, "{answer:?}");
    assert!(answer.stderr.contains("not the one that is pinned"), "{answer:?}");
}
