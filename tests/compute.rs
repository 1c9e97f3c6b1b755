//! Guests that take too much: time, memory, stack, handles, bytes; and ones that break the ABI. The host lives, the task
//! ends with a typed reason, and the log has it.

use serde_json::{Value, json};

use super::support::{Scene, agent};

/// A scene whose agent is this body, and nothing else.
fn alone(grants: &str, wat: &str) -> Scene {
    let scene = Scene::with_tools(&[], grants);
    scene.component("agent", wat);
    scene
}

fn body(grants: &str, body: &str) -> Value {
    alone(grants, &agent("", "", "", body)).run(&Value::Null)
}

fn ended(report: &Value, status: &str, code: &str) {
    assert_eq!(report["status"], status, "{report}");
    assert_eq!(report["error"]["code"], code, "{report}");
}

#[test]
fn a_loop_without_end_spends_the_fuel_and_always_the_same() {
    let spin = |fuel: u64| body(&format!("[limits]\nfuel = {fuel}"), "(loop $again (br $again)) unreachable");
    let (one, two) = (spin(1_000_000), spin(1_000_000));
    ended(&one, "exhausted", "fuel");
    assert_eq!(one["usage"]["fuel"], 1_000_000);
    assert_eq!(one["usage"]["fuel"], two["usage"]["fuel"]);
    assert!(one["error"]["message"].as_str().unwrap().contains("1000000 of 1000000"), "{one}");
}

#[test]
fn two_runs_with_the_same_input_burn_the_same_fuel() {
    let scene = alone(
        "",
        &agent(
            "",
            "",
            "",
            "(local $i i32) (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 12345)))) (call $ok (i32.const 6))",
        ),
    );
    let (one, two) = (scene.run(&json!("x")), scene.run(&json!("x")));
    assert_eq!(one["output"], "done");
    assert_eq!(one["usage"]["fuel"], two["usage"]["fuel"]);
    assert!(one["usage"]["fuel"].as_u64().unwrap() > 12_345);
}

#[test]
fn a_loop_without_end_is_stopped_by_the_clock_as_well() {
    let report = body(
        "[limits]\nfuel = 9_000_000_000_000_000_000\nwall-time = \"200ms\"",
        "(loop $again (br $again)) unreachable",
    );
    ended(&report, "exhausted", "wall-time");
    assert!(report["error"]["message"].as_str().unwrap().contains("of 200 ms"), "{report}");
}

#[test]
fn memory_does_not_grow_beyond_the_limit() {
    // 65,536 pages are 4 GiB.
    let report = body("", "(memory.grow (i32.const 65000)) (i32.const -1) i32.eq (call $digit)");
    assert_eq!(report["output"], 1, "growing must fail: {report}");
    assert!(report["usage"]["memory_peak_bytes"].as_u64().unwrap() < 1 << 20, "{report}");
    let report =
        body("[limits]\nmemory = \"4MiB\"", "(memory.grow (i32.const 100)) (i32.const -1) i32.eq (call $digit)");
    assert_eq!(report["output"], 1, "{report}");
    let report =
        body("[limits]\nmemory = \"8MiB\"", "(memory.grow (i32.const 100)) (i32.const -1) i32.eq (call $digit)");
    assert_eq!(report["output"], 0, "{report}");
    assert_eq!(report["usage"]["memory_peak_bytes"], 102 * 65_536, "{report}");
}

#[test]
fn recursion_without_end_is_a_trap() {
    let wat = agent(
        "",
        "",
        "(func $deep (param i32) (result i32) (i32.add (call $deep (local.get 0)) (i32.const 1)))",
        "(call $digit (call $deep (i32.const 1)))",
    );
    let report = alone("", &wat).run(&Value::Null);
    ended(&report, "trapped", "trapped");
    assert!(report["error"]["message"].as_str().unwrap().contains("stack"), "{report}");
}

#[test]
fn results_that_break_the_abi_are_traps() {
    for broken in [
        // A result area that is not aligned, one beyond memory, a discriminant that does not exist, a string beyond memory,
        // a string that is not UTF-8.
        "(i32.const 17)",
        "(i32.const 131070)",
        "(i32.store (i32.const 16) (i32.const 7)) (i32.const 16)",
        "(i32.store (i32.const 16) (i32.const 0)) (i32.store (i32.const 20) (i32.const 131000)) (i32.store (i32.const 24) (i32.const 99999)) (i32.const 16)",
        "(i32.store8 (i32.const 1000) (i32.const 255)) (call $ok (i32.const 1))",
    ] {
        ended(&body("", broken), "trapped", "trapped");
    }
}

#[test]
fn a_result_that_is_not_json_is_a_failure_and_a_long_one_spends_the_limit() {
    ended(&body("", "(call $ok (i32.const 5))"), "failed", "bad-output");
    let report = body("[limits]\noutput = 5", "(call $ok (i32.const 6))");
    ended(&report, "exhausted", "output");
    assert_eq!(report["output"], Value::Null, "{report}");
}

/// `ambit:agent/tools` imported into the WAT agent, with `call(pointer, length, pointer, length, result)`.
const TOOLS: (&str, &str) = (
    r#"(import "ambit:agent/types@0.1.0" (instance $types
        (type $code' (enum "not-granted" "denied" "needs-approval" "quota" "unavailable"))
        (export "refusal-code" (type $code (eq $code')))
        (type $refusal' (record (field "code" $code) (field "record" u64)))
        (export "refusal" (type $refusal (eq $refusal')))))
      (alias export $types "refusal" (type $refusal))
      (import "ambit:agent/tools@0.1.0" (instance $tools
        (alias outer 1 $refusal (type $r))
        (export "refusal" (type $refusal (eq $r)))
        (type $error' (variant (case "unknown-tool") (case "invalid-arguments" string) (case "refused" $refusal) (case "failed" string) (case "trapped" string)))
        (export "error" (type $error (eq $error')))
        (export "call" (func (param "name" string) (param "arguments" string) (result (result string (error $error)))))))"#,
    r#"(core func $call (canon lower (func $tools "call") (memory (core memory $memory "memory")) (realloc (core func $memory "realloc"))))
      (core instance $host (export "call" (func $call)))"#,
);
const CALL: &str = r#"(import "host" "call" (func $call (param i32 i32 i32 i32 i32)))"#;

#[test]
fn more_bytes_than_a_host_call_may_carry_are_a_trap() {
    // A name of 9 MiB, where 8 MiB are allowed.
    let wat = agent(
        TOOLS.0,
        TOOLS.1,
        CALL,
        "(drop (memory.grow (i32.const 160)))
         (memory.fill (i32.const 2000) (i32.const 65) (i32.const 9437184))
         (call $call (i32.const 2000) (i32.const 9437184) (i32.const 1000) (i32.const 6) (i32.const 64))
         (call $ok (i32.const 6))",
    );
    let scene = Scene::with_tools(&[("prober", "probe")], "[agent]\ntools = [\"prober\"]");
    scene.component("agent", &wat);
    let report = scene.run(&Value::Null);
    ended(&report, "trapped", "trapped");
    assert_eq!(scene.records_of("intent", "tools.call").len(), 0);
}

/// Waiting on the monotonic clock, imported into the WAT agent: `subscribe(ns) -> handle`, `block(handle)`.
const CLOCK: (&str, &str, &str) = (
    r#"(import "wasi:io/poll@0.2.6" (instance $poll
        (export "pollable" (type $pollable (sub resource)))
        (export "[method]pollable.block" (func (param "self" (borrow $pollable))))))
      (alias export $poll "pollable" (type $pollable))
      (import "wasi:clocks/monotonic-clock@0.2.6" (instance $clock
        (alias outer 1 $pollable (type $p))
        (export "pollable" (type $pollable (eq $p)))
        (export "subscribe-duration" (func (param "when" u64) (result (own $pollable))))))"#,
    r#"(core func $subscribe (canon lower (func $clock "subscribe-duration")))
      (core func $block (canon lower (func $poll "[method]pollable.block")))
      (core instance $host (export "subscribe" (func $subscribe)) (export "block" (func $block)))"#,
    r#"(import "host" "subscribe" (func $subscribe (param i64) (result i32))) (import "host" "block" (func $block (param i32)))"#,
);
const SLEEP_FOR_EVER: &str = "(call $block (call $subscribe (i64.const -1))) (call $ok (i32.const 6))";

fn clock(grants: &str, body: &str) -> Scene {
    alone(grants, &agent(CLOCK.0, CLOCK.1, CLOCK.2, body))
}

#[test]
fn a_wait_without_end_ends_with_the_wall_time() {
    let scene = clock("[limits]\nwall-time = \"200ms\"\n[agent]\nclock = true", SLEEP_FOR_EVER);
    let report = scene.run(&Value::Null);
    ended(&report, "exhausted", "wall-time");
    assert!(report["usage"]["fuel"].as_u64().unwrap() < 100_000, "{report}");
    assert_eq!(scene.records_of("intent", "clock.sleep").len(), 1);
}

#[test]
fn a_wait_on_the_powerless_clock_is_over_at_once_and_no_effect() {
    let scene = clock("", SLEEP_FOR_EVER);
    assert_eq!(scene.run(&Value::Null)["output"], "done");
    assert_eq!(scene.records_of("intent", "clock.sleep").len(), 0);
}

#[test]
fn a_refused_wait_ends_the_task_because_the_interface_has_no_error() {
    let scene = clock("[agent]\nclock = true", SLEEP_FOR_EVER);
    scene.rules("@id(\"no-waiting\") forbid (principal, action == Ambit::Action::\"clock.sleep\", resource); permit (principal, action, resource);");
    ended(&scene.run(&Value::Null), "refused", "denied");
    let refusals = scene.records_of("refusal", "clock.sleep");
    assert_eq!(refusals.len(), 1);
    assert_eq!(refusals[0]["rules"], json!(["no-waiting"]));
}

#[test]
fn a_guest_that_collects_refusals_or_effects_runs_out() {
    let forever = "(loop $again (drop (call $subscribe (i64.const 1))) (br $again)) unreachable";
    let scene = clock("[limits]\neffects = 20\n[agent]\nclock = true", forever);
    let report = scene.run(&Value::Null);
    ended(&report, "exhausted", "effects");
    assert!(report["error"]["message"].as_str().unwrap().contains("21 of 20"), "{report}");
    assert_eq!(scene.records_of("intent", "clock.sleep").len(), 20);
}

#[test]
fn more_handles_than_a_store_may_have_are_a_trap() {
    let forever = "(loop $again (drop (call $subscribe (i64.const 1))) (br $again)) unreachable";
    let report = clock("[limits]\nhandles = 50", forever).run(&Value::Null);
    ended(&report, "trapped", "trapped");
}

#[test]
fn a_component_with_too_many_instances_is_refused_when_it_starts() {
    let many = "(core module $empty)".to_owned() + &"(core instance (instantiate $empty))".repeat(70);
    let scene = alone("", &agent(&many, "", "", "(call $ok (i32.const 6))"));
    ended(&scene.run(&Value::Null), "trapped", "trapped");
    scene.grant("[limits]\ninstances = 100");
    assert_eq!(scene.run(&Value::Null)["status"], "succeeded");
}

#[test]
fn a_store_has_as_many_instances_as_it_was_granted() {
    let empty = "(core module $empty)".to_owned() + &"(core instance (instantiate $empty))".repeat(900);
    let many = format!("(component $many {empty}) {}", "(instance (instantiate $many))".repeat(4));
    let scene = alone("[limits]\ninstances = 3_700", &agent(&many, "", "", "(call $ok (i32.const 6))"));
    let report = scene.run(&Value::Null);
    assert_eq!(report["status"], "succeeded", "{report}");
}

#[test]
fn what_is_too_large_to_compile_is_refused_at_load() {
    for bomb in [
        format!("(component (core module {}))", "(func)".repeat(1_000_001)),
        format!("(component (core module {}))", "(type (func))".repeat(1_000_001)),
        "(component (core module (memory 1) (memory 1)))".to_owned(),
    ] {
        let scene = alone("", &bomb);
        let report = scene.run(&Value::Null);
        ended(&report, "refused", "not-compiled");
        assert_eq!(scene.records_of("refusal", "task.load").len(), 1);
    }
}

#[test]
fn a_guest_that_only_calls_the_host_is_stopped_by_the_clock_as_well() {
    // Bad arguments for ever: no effect happens, and little fuel burns. Then reading a folder for ever.
    let scene = Scene::with_tools(
        &[("prober", "probe")],
        "[limits]\nwall-time = \"300ms\"\neffects = 1_000_000_000\nfuel = 1_000_000_000_000\n[agent]\ntools = [\"prober\"]",
    );
    let wat = agent(
        TOOLS.0,
        TOOLS.1,
        CALL,
        "(loop $again
           (call $call (i32.const 2000) (i32.const 0) (i32.const 1000) (i32.const 6) (i32.const 64))
           (br $again)) unreachable",
    );
    scene.component("agent", &wat);
    let report = scene.run(&Value::Null);
    ended(&report, "exhausted", "wall-time");
    assert!(report["usage"]["wall_ms"].as_u64().unwrap() < 5000, "{report}");
    scene.grant("[limits]\neffects = 30\n[agent]\ntools = [\"prober\"]");
    ended(&scene.run(&Value::Null), "exhausted", "effects");
}

/// A scene whose agent waits twice for a millisecond of the real clock.
pub(crate) fn waiting_twice() -> Scene {
    let wait = "(call $block (call $subscribe (i64.const 1000000)))";
    clock("[agent]\nclock = true", &format!("{wait} {wait} (call $ok (i32.const 6))"))
}
