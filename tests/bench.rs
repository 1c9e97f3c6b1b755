//! `ambit bench isolation`: that it measures what it says, and says what it cannot measure. How long anything took is nobody's
//! business here.

use super::support::{Scene, guest};

const KEYS: [&str; 12] = [
    "task_over_wasmtime",
    "tool_call_over_wasmtime",
    "task_over_process",
    "task_over_bubblewrap",
    "start_over_wasmtime_run",
    "waiting_task_extra_bytes",
    "task_at_10000_over_100",
    "latency_beside_burner",
    "two_cores_over_one",
    "fuel_sha256",
    "fuel_json",
    "fuel_sieve",
];

fn scene() -> Scene {
    Scene::probing("[agent]\ntools = [\"prober\"]")
}

#[test]
fn ratios_are_of_what_was_asked_for_and_the_rest_is_null() {
    let scene = scene();
    let only = "task,wasmtime_task,tool_call,host_call,load,task_among_100,task_among_many,wasmtime_among_100,\
        wasmtime_among_many,task_beside_waiting,latency,latency_beside_burner,waiting_task_extra_bytes,\
        sha256_fuel,sha256_no_fuel,json_fuel,json_no_fuel,sieve_fuel,sieve_no_fuel";
    let answer = scene.ambit(&[
        "--format",
        "json",
        "bench",
        "isolation",
        "--rounds",
        "1",
        "--tasks",
        "100",
        "--only",
        only,
        "--plot",
        "plot.svg",
    ]);
    assert_eq!(answer.code, 0, "{answer:?}");
    let results = answer.json();
    let measured: Vec<&str> =
        results["measured"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    let mut asked_for: Vec<&str> = only.split(',').filter(|name| *name != "waiting_task_extra_bytes").collect();
    let mut named = measured.clone();
    asked_for.sort_unstable();
    named.sort_unstable();
    assert_eq!(named, asked_for, "{results}");
    for key in KEYS {
        let was_asked_for = [
            "task_over_wasmtime",
            "tool_call_over_wasmtime",
            "waiting_task_extra_bytes",
            "task_at_10000_over_100",
            "latency_beside_burner",
            "fuel_sha256",
            "fuel_json",
            "fuel_sieve",
        ];
        let ratio = results["ratios"].get(key).unwrap_or_else(|| panic!("{key} is missing: {results}"));
        assert_eq!(ratio.is_f64(), was_asked_for.contains(&key), "{key}: {results}");
    }
    assert!(results["ratios"]["task_over_wasmtime"].as_f64().unwrap() > 0.0);
    for one in results["measured"].as_array().unwrap() {
        let (low, high) = (one["quartiles"][0].as_f64().unwrap(), one["quartiles"][1].as_f64().unwrap());
        let median = one["median"].as_f64().unwrap();
        assert!(0.0 < low && low <= median && median <= high, "{one}");
    }
    let plot = std::fs::read_to_string(scene.path("plot.svg")).unwrap();
    assert!(plot.starts_with("<svg") && plot.contains("a call of a tool") && !plot.contains("<script"), "{plot}");
    let left = std::fs::read_dir(scene.path("home")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(left.filter(|name| name.to_string_lossy().starts_with("bench-")).count(), 0, "nothing is left");
}

#[test]
fn a_component_of_ones_own_is_measured_and_one_that_fails_is_not() {
    let scene = scene();
    scene.write("own.wasm", &guest("echo"));
    let bench = |function: &str, input: &str| {
        let rest = ["--rounds", "1", "--only", "task,wasmtime_task", "--component", "own.wasm", "--function", function];
        scene.ambit(&[&["--format", "json", "bench", "isolation"], rest.as_slice(), &["--input", input]].concat())
    };
    let answer = bench("echo-u32", r#"{"value":7}"#);
    assert_eq!(answer.code, 0, "{answer:?}");
    assert_eq!(answer.json()["function"], "echo-u32");
    assert!(answer.json()["ratios"]["task_over_wasmtime"].is_f64(), "{answer:?}");
    for (function, input, says) in [
        ("nothing", "{}", "there is no function `nothing`"),
        ("echo-u32", r#"{"value":"x"}"#, "the component cannot be measured"),
    ] {
        let answer = bench(function, input);
        assert!(answer.code == 2 && answer.stderr.contains(says), "{answer:?}");
    }
    let answer = scene.ambit(&["bench", "isolation", "--component", "own.wasm"]);
    assert!(answer.code == 2 && answer.stderr.contains("--function"), "{answer:?}");
    let answer = scene.ambit(&["bench", "isolation", "--only", "task,tsk"]);
    assert!(answer.code == 2 && answer.stderr.contains("called `tsk`"), "{answer:?}");
    assert!(answer.stderr.contains("wasmtime_task"), "{answer:?}");
}
