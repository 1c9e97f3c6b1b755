//! Agents that import a tool's own interface and call it like a library.

use serde_json::{Value, json};

use super::support::{Scene, agent, code_of, guest};

const REFUNDS: &str = "acme:billing/refunds@1.0.0";

/// A tool that exports `refund: func(amount: u32) -> u32` in an interface, with this body of its core function. It has a
/// global `$count` and one page of memory.
fn tool(interface: &str, body: &str) -> String {
    format!(
        r#"(component
  (core module $m (global $count (mut i32) (i32.const 0)) (memory 1)
    (func (export "refund") (param $amount i32) (result i32) {body}))
  (core instance $i (instantiate $m))
  (func $refund (param "amount" u32) (result u32) (canon lift (core func $i "refund")))
  (instance $x (export "refund" (func $refund)))
  (export "{interface}" (instance $x)))"#
    )
}

const DOUBLE: &str = "(i32.mul (local.get $amount) (i32.const 2))";

/// An agent that imports `refund` of an interface in this shape, and whose `run` has this body.
fn importing(interface: &str, items: &str, body: &str) -> String {
    agent(
        &format!("(import \"{interface}\" (instance $b {items}))"),
        "(core func $refund (canon lower (func $b \"refund\") (memory (core memory $memory \"memory\"))))
         (core instance $host (export \"refund\" (func $refund)))",
        "(import \"host\" \"refund\" (func $refund (param i32) (result i32)))",
        body,
    )
}

const PLAIN: &str = "(export \"refund\" (func (param \"amount\" u32) (result u32)))";
const REFUND_4: &str = "(call $digit (call $refund (i32.const 4)))";

/// A scene of the agent and two tools, `billing` and `other`; neither answers anything until a test says so.
fn scene(grants: &str, agent: &str) -> Scene {
    let scene = Scene::with_tools(&[("billing", "echo"), ("other", "echo")], grants);
    scene.component("agent", agent);
    scene.component("billing", &tool(REFUNDS, DOUBLE));
    scene
}

const BILLING: &str = "[agent]\ntools = [\"billing\"]";

fn refused(scene: &Scene, code: &str) -> Value {
    let report = scene.run(&Value::Null);
    assert_eq!(report["status"], "refused", "{report}");
    assert_eq!(report["error"]["code"], code, "{report}");
    assert_eq!(report["usage"]["fuel"], 0, "something ran: {report}");
    assert_eq!(scene.records_of("intent", "tools.call").len(), 0);
    report["error"].clone()
}

/// The message of a refusal for a mismatch, when the agent imports the interface in this shape.
fn mismatch(items: &str) -> String {
    let imports = format!("(import \"{REFUNDS}\" (instance {items}))");
    let error = refused(&scene(BILLING, &agent(&imports, "", "", "(call $ok (i32.const 6))")), "import-mismatch");
    error["message"].as_str().unwrap().to_owned()
}

fn succeeded(scene: &Scene, output: &Value) -> Value {
    let report = scene.run(&Value::Null);
    assert_eq!(report["status"], "succeeded", "{report}");
    assert_eq!(report["output"], *output, "{report}");
    report
}

#[test]
fn a_typed_call_gives_its_value_and_leaves_an_intent_and_an_outcome() {
    let scene = scene(BILLING, &importing(REFUNDS, PLAIN, REFUND_4));
    let report = succeeded(&scene, &json!(8));
    assert_eq!(report["usage"]["tool_calls"], 1, "{report}");
    let (intents, outcomes) = (scene.records_of("intent", "tools.call"), scene.records_of("outcome", "tools.call"));
    assert_eq!((intents.len(), outcomes.len()), (1, 1));
    assert!(intents[0]["resource"].as_str().unwrap().contains("billing.refund"), "{intents:?}");
    assert_eq!(outcomes[0]["code"], "done");
    assert_eq!(intents[0]["component"], "agent");
}

#[test]
fn values_of_every_type_are_passed_and_recorded_as_in_a_call_by_name() {
    let scene = Scene::with_tools(&[("echo", "echo")], "[agent]\ntools = [\"echo\"]");
    scene.write("bundle/agent.wasm", &guest("agent-typed"));
    let report = scene.run(&Value::Null);
    assert_eq!(report["status"], "succeeded", "{report}");
    let told = report["output"].as_array().unwrap();
    assert!(told.len() > 15 && told.iter().all(|told| told["same"] == true), "{report}");
    let intents = scene.records_of("intent", "tools.call");
    assert_eq!(intents.len(), 2 * told.len());
    for pair in intents.chunks(2) {
        let stands_for = |record: &Value| [record["resource"].clone(), record["arguments"].clone()];
        assert_eq!(stands_for(&pair[0]), stands_for(&pair[1]));
        assert_ne!(pair[0]["effect"], pair[1]["effect"]);
    }
    // The digest is of the arguments, and not of nothing.
    assert_ne!(intents[0]["arguments"], intents[2]["arguments"]);
}

#[test]
fn nothing_is_kept_between_two_calls() {
    let twice = "(drop (call $refund (i32.const 1))) (call $digit (call $refund (i32.const 1)))";
    let scene = scene(BILLING, &importing(REFUNDS, PLAIN, twice));
    let counting = "(global.set $count (i32.add (global.get $count) (local.get $amount)))
        (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (local.get $amount)))
        (i32.add (global.get $count) (i32.load (i32.const 0)))";
    scene.component("billing", &tool(REFUNDS, counting));
    assert_eq!(succeeded(&scene, &json!(2))["usage"]["tool_calls"], 2);
}

#[test]
fn fuel_and_calls_are_shared() {
    let scene = scene(&format!("[limits]\nfuel = 1_000_000\n{BILLING}"), &importing(REFUNDS, PLAIN, REFUND_4));
    scene.component("billing", &tool(REFUNDS, "(loop $again (br $again)) (unreachable)"));
    let report = scene.run(&Value::Null);
    assert_eq!((&report["status"], &report["error"]["code"]), (&json!("exhausted"), &json!("fuel")), "{report}");
    assert_eq!(report["usage"]["fuel"], 1_000_000, "{report}");

    let scene = self::scene(
        &format!("[limits]\ntool-calls = 3\n{BILLING}"),
        &importing(REFUNDS, PLAIN, "(loop $again (drop (call $refund (i32.const 4))) (br $again)) (unreachable)"),
    );
    let report = scene.run(&Value::Null);
    assert_eq!((&report["status"], &report["error"]["code"]), (&json!("exhausted"), &json!("tool-calls")), "{report}");
    assert_eq!(report["usage"]["tool_calls"], 3, "{report}");
}

const FORBIDDEN: &str = "@id(\"all\") permit (principal, action, resource);
    @id(\"no-refunds\") forbid (principal, action in Ambit::Action::\"tools.call\", resource);";

#[test]
fn a_refusal_without_a_place_ends_the_task() {
    let scene = scene(BILLING, &importing(REFUNDS, PLAIN, REFUND_4));
    scene.rules(FORBIDDEN);
    let report = scene.run(&Value::Null);
    assert_eq!((&report["status"], &report["error"]["code"]), (&json!("refused"), &json!("denied")), "{report}");
    assert_eq!(code_of("refused"), 3);
    let refusals = scene.records_of("refusal", "tools.call");
    assert_eq!(refusals.len(), 1);
    assert_eq!(refusals[0]["rules"], json!(["no-refunds"]));
    assert_eq!(scene.records_of("intent", "tools.call").len(), 0);

    // Too deep is a refusal as well.
    let scene = self::scene(&format!("[limits]\ntool-depth = 0\n{BILLING}"), &importing(REFUNDS, PLAIN, REFUND_4));
    let report = scene.run(&Value::Null);
    assert_eq!((&report["status"], &report["error"]["code"]), (&json!("refused"), &json!("not-granted")), "{report}");
}

/// Types of an interface whose errors have a place for refusals: (in the component's text, what is after them `$error`).
const CODE: &str = r#"(enum "not-granted" "denied" "needs-approval" "quota" "unavailable")"#;
const REFUSAL: &str = r#"(record (field "code" $code) (field "record" u64))"#;

/// A tool whose `refund` gives a `result<u32, error>`, where `error` is this type, after these others in its text. What it
/// gives lies at 64; the body has to put it there.
fn failing(types: &[(&str, &str)], body: &str) -> String {
    let mut own = String::new();
    let mut given = String::new();
    let mut with = String::new();
    let mut exported = String::new();
    for (name, ty) in types {
        own.push_str(&format!("(type ${name} {ty})"));
        given.push_str(&format!("(type ${name}' {ty}) (import \"i-{name}\" (type ${name} (eq ${name}')))"));
        with.push_str(&format!("(with \"i-{name}\" (type ${name}))"));
        let of_exports =
            types.iter().fold((*ty).to_owned(), |ty, (name, _)| ty.replace(&format!("${name}"), &format!("$e-{name}")));
        exported.push_str(&format!("(type $o-{name} {of_exports}) (export $e-{name} \"{name}\" (type $o-{name}))"));
    }
    format!(
        r#"(component
  (core module $m (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
    (func (export "refund") (param $amount i32) (result i32) {body} (i32.const 64)))
  (core instance $i (instantiate $m))
  {own}
  (func $refund (param "amount" u32) (result (result u32 (error $error)))
    (canon lift (core func $i "refund") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
  (component $shim
    {given}
    (import "i-refund" (func $refund (param "amount" u32) (result (result u32 (error $error)))))
    {exported}
    (export "refund" (func $refund) (func (param "amount" u32) (result (result u32 (error $e-error))))))
  (instance $x (instantiate $shim {with} (with "i-refund" (func $refund))))
  (export "{REFUNDS}" (instance $x)))"#
    )
}

/// An agent that imports that function, and gives back the byte at this place of what it gets.
fn told(types: &[(&str, &str)], place: u32) -> String {
    let mut items = String::new();
    for (name, ty) in types {
        items.push_str(&format!("(type ${name}' {ty}) (export \"{name}\" (type ${name} (eq ${name}')))"));
    }
    items.push_str(r#"(export "refund" (func (param "amount" u32) (result (result u32 (error $error)))))"#);
    agent(
        &format!("(import \"{REFUNDS}\" (instance $b {items}))"),
        "(core func $refund (canon lower (func $b \"refund\")
            (memory (core memory $memory \"memory\")) (realloc (core func $memory \"realloc\"))))
         (core instance $host (export \"refund\" (func $refund)))",
        "(import \"host\" \"refund\" (func $refund (param i32 i32)))",
        &format!("(call $refund (i32.const 4) (i32.const 64)) (call $digit (i32.load8_u (i32.const {})))", 64 + place),
    )
}

#[test]
fn a_refusal_with_a_place_is_a_value() {
    // The place of a result's case is 0; here that of the code is 8.
    let itself = [("code", CODE), ("error", REFUSAL)];
    let cases = "(variant (case \"other\") (case \"refused\" $refusal) (case \"trapped\" string))";
    let among_others = [("code", CODE), ("refusal", REFUSAL), ("error", cases)];
    for (types, places) in [(&itself[..], [(0, 1), (8, 1)].as_slice()), (&among_others, &[(0, 1), (8, 1), (16, 1)])] {
        for (place, value) in places {
            let scene = scene(BILLING, &told(types, *place));
            scene.component("billing", &failing(types, "(unreachable)"));
            scene.rules(FORBIDDEN);
            succeeded(&scene, &json!(value));
            assert_eq!(scene.records_of("refusal", "tools.call").len(), 1);
            // Permitted, it is the tool's own value.
            let scene = self::scene(BILLING, &told(types, 0));
            scene.component("billing", &failing(types, ""));
            succeeded(&scene, &json!(0));
        }
    }
    // What only looks like a refusal is no place for one.
    for (code, error) in [
        (r#"(enum "not-granted" "denied" "quota" "needs-approval" "unavailable")"#, REFUSAL),
        (CODE, r#"(record (field "code" $code) (field "record" u32))"#),
        (CODE, r#"(record (field "code" $code) (field "record" u64) (field "why" string))"#),
    ] {
        let types = [("code", code), ("error", error)];
        let scene = scene(BILLING, &told(&types, 0));
        scene.component("billing", &failing(&types, "(unreachable)"));
        scene.rules(FORBIDDEN);
        assert_eq!(scene.run(&Value::Null)["status"], "refused");
    }
}

#[test]
fn a_tool_that_breaks_down_is_a_value_where_there_is_a_place_and_else_breaks_its_caller() {
    let cases = "(variant (case \"other\") (case \"refused\" $refusal) (case \"trapped\" string))";
    let types = [("code", CODE), ("refusal", REFUSAL), ("error", cases)];
    let scene = scene(BILLING, &told(&types, 8));
    scene.component("billing", &failing(&types, "(unreachable)"));
    succeeded(&scene, &json!(2));
    assert_eq!(scene.records_of("outcome", "tools.call")[0]["code"], "failed");

    let scene = self::scene(BILLING, &importing(REFUNDS, PLAIN, REFUND_4));
    scene.component("billing", &tool(REFUNDS, "(unreachable)"));
    let report = scene.run(&Value::Null);
    assert_eq!(report["status"], "trapped", "{report}");
    let message = report["error"]["message"].as_str().unwrap();
    let expected =
        "the tool `billing` that it called broke down: it panicked or aborted (unreachable code was reached)";
    assert!(message.starts_with(expected), "{message}");
    assert_eq!(scene.records_of("outcome", "tools.call")[0]["code"], "failed");
}

#[test]
fn what_differs_is_refused_and_named() {
    let of = format!("`agent` imports `refund` of `{REFUNDS}` in another shape than `billing` exports it: ");
    for (ty, difference) in [
        ("(param \"amount\" s64) (result u32)", "parameter `amount`: `agent` imports s64, `billing` exports u32"),
        ("(param \"cents\" u32) (result u32)", "the parameters: `agent` imports `cents`, `billing` exports `amount`"),
        ("(result u32)", "the parameters: `agent` imports none, `billing` exports `amount`"),
        ("(param \"amount\" u32) (result string)", "`result`: `agent` imports string, `billing` exports u32"),
        ("(param \"amount\" u32)", "`result`: `agent` imports nothing, `billing` exports u32"),
    ] {
        assert_eq!(mismatch(&format!("(export \"refund\" (func {ty}))")), format!("{of}{difference}"));
    }
    assert_eq!(
        mismatch("(export \"undo\" (func))"),
        format!("`agent` imports `undo` of `{REFUNDS}`, and `billing` exports no function of that name")
    );
    assert_eq!(
        mismatch("(export \"receipt\" (type (sub resource)))"),
        format!("`agent` imports `{REFUNDS}` with the resource `receipt`, which does not outlive a call of a tool")
    );
    assert!(mismatch("(export \"inner\" (instance))").ends_with("with `inner`, which is no function"));
}

#[test]
fn a_resource_of_another_interface_is_refused_by_name() {
    let imports = format!(
        "(import \"wasi:io/poll@0.2.6\" (instance $poll (export \"pollable\" (type $p (sub resource)))))
         (alias export $poll \"pollable\" (type $pollable))
         (import \"{REFUNDS}\" (instance (export \"refund\" (func (param \"amount\" (own $pollable)) (result u32)))))"
    );
    let scene = scene(BILLING, &agent(&imports, "", "", "(call $ok (i32.const 6))"));
    let error = refused(&scene, "import-mismatch");
    let expected = "its parameter `amount` holds a resource, which does not outlive a call";
    assert!(error["message"].as_str().unwrap().ends_with(expected), "{error}");
}

#[test]
fn two_tools_for_one_import_need_a_choice() {
    let both = "[agent]\ntools = [\"billing\", \"other\"]";
    let scene = scene(both, &importing(REFUNDS, PLAIN, REFUND_4));
    scene.component("other", &tool("acme:billing/refunds@1.2.0", "(i32.const 3)"));
    let error = refused(&scene, "ambiguous-import");
    assert_eq!(error["message"], format!("`agent` imports `{REFUNDS}`, which `billing` and `other` both export"));
    assert_eq!(
        error["help"],
        format!(
            "say which of them answers it: in `tools` of [agent] write `{{ name = \"billing\", imports = [\"{REFUNDS}\"] }}`"
        )
    );
    for (chosen, output) in [("billing", 8), ("other", 3)] {
        let not_chosen = if chosen == "billing" { "other" } else { "billing" };
        scene.grant(&format!(
            "[agent]\ntools = [\"{not_chosen}\", {{ name = \"{chosen}\", imports = [\"{REFUNDS}\"] }}]"
        ));
        succeeded(&scene, &json!(output));
        let checked = scene.ambit(&["check", "bundle", "--policy", "policy"]);
        assert_eq!(checked.code, 0, "{checked:?}");
        assert!(checked.stdout.contains(&format!("call {chosen}")), "{checked:?}");
        assert!(!checked.stdout.contains("not granted: unused"), "{checked:?}");
    }
    // A tool that was chosen and is not asked for is not stood in for by another one.
    let choice = format!("[agent]\ntools = [{{ name = \"other\", imports = [\"{REFUNDS}\"] }}, \"billing\"]");
    let scene = self::scene(&choice, &importing(REFUNDS, PLAIN, REFUND_4));
    scene.component("other", &tool(REFUNDS, DOUBLE));
    let bundle = std::fs::read_to_string(scene.path("bundle/bundle.toml")).unwrap();
    let asked = bundle.replacen("tools = { names = [\"billing\", \"other\"] }", "tools = { names = [\"billing\"] }", 1);
    assert_ne!(bundle, asked);
    scene.write("bundle/bundle.toml", asked.as_bytes());
    let error = refused(&scene, "import-not-granted");
    assert!(error["message"].as_str().unwrap().contains(REFUNDS), "{error}");
    // What two answer is refused, even if nobody imports it.
    let entry = |tool: &str| format!("{{ name = \"{tool}\", imports = [\"{REFUNDS}\"] }}");
    let grants = format!("[agent]\ntools = [{}, {}]", entry("billing"), entry("other"));
    let scene = self::scene(&grants, &agent("", "", "", "(call $ok (i32.const 6))"));
    scene.component("other", &tool(REFUNDS, DOUBLE));
    let error = refused(&scene, "ambiguous-import");
    assert!(error["message"].as_str().unwrap().ends_with("and that `other` does"), "{error}");
}

#[test]
fn a_choice_that_cannot_be_is_refused() {
    let scene = scene("", &importing(REFUNDS, PLAIN, REFUND_4));
    for (import, why) in [
        ("acme:billing/other@1.0.0", "which it does not export"),
        ("acme:billing/refunds@2.0.0", "which it does not export"),
        ("wasi:keyvalue/store@0.2.0-draft", "which no tool can"),
        ("ambit:agent/tools@0.1.0", "which no tool can"),
        ("refunds", "which no tool can"),
    ] {
        scene.grant(&format!("[agent]\ntools = [{{ name = \"billing\", imports = [\"{import}\"] }}]"));
        let error = refused(&scene, "unknown-import");
        assert!(error["message"].as_str().unwrap().ends_with(why), "{error}");
    }
    // And what is no choice at all is an error of the manifest.
    for (entry, why) in [
        ("{ name = \"billing\", import = [] }", "unknown key `import`"),
        ("{ imports = [] }", "missing key `name`"),
        ("7", "expected the name of a tool, or a table of `name` and `imports`"),
        ("{ name = \"biling\" }", "unknown tool `biling`"),
    ] {
        scene.grant(&format!("[agent]\ntools = [{entry}]"));
        let answer = scene.ambit(&["run", "bundle", "--policy", "policy"]);
        assert_eq!(answer.code, 2, "{answer:?}");
        assert!(answer.stderr.contains(why), "{why}: {answer:?}");
        assert!(answer.stderr.contains("grants.toml:3:"), "{answer:?}");
    }
}

#[test]
fn only_what_is_granted_and_requested_answers() {
    // Granted to another tool only; then the line that the help tells makes it run.
    let scene = scene(
        "[agent]\ntools = [\"other\"]\n[tools.other]\ntools = [\"billing\"]",
        &importing(REFUNDS, PLAIN, REFUND_4),
    );
    let error = refused(&scene, "import-not-granted");
    assert_eq!(error["message"], format!("`agent` imports `{REFUNDS}`, which is not granted"));
    let line = "tools = [\"other\", \"billing\"]";
    assert_eq!(
        error["help"],
        format!(
            "the tool `billing` exports it; to allow calls of it, write `{line}` in [agent] in the grants of `scene`"
        )
    );
    scene.grant(&format!("[agent]\n{line}"));
    succeeded(&scene, &json!(8));

    let bundle = std::fs::read_to_string(scene.path("bundle/bundle.toml")).unwrap();
    let modest = bundle.replacen("names = [\"billing\", \"other\"]", "names = [\"other\"]", 1);
    scene.write("bundle/bundle.toml", modest.as_bytes());
    let error = refused_again(&scene);
    assert!(error["help"].as_str().unwrap().contains("the bundle does not request it for `agent`"), "{error}");
}

fn refused_again(scene: &Scene) -> Value {
    let report = scene.run(&Value::Null);
    assert_eq!(report["error"]["code"], "import-not-granted", "{report}");
    report["error"].clone()
}

#[test]
fn an_interface_of_the_hosts_is_never_a_tools() {
    for interface in ["wasi:keyvalue/store@0.2.0-draft", "wasi:http/handler@0.2.3", "ambit:agent/secrets@0.1.0"] {
        let scene = scene(BILLING, &importing(interface, PLAIN, REFUND_4));
        scene.component("billing", &tool(interface, DOUBLE));
        // Functions of WASI interfaces are none of a tool's, so this one may have none.
        let report = scene.run(&Value::Null);
        assert_eq!(report["error"]["code"], "import-not-granted", "{report}");
        assert_eq!(scene.records_of("intent", "tools.call").len(), 0);
    }
    // What the host has itself stays the host's, and is compared with what that has.
    let scene = scene(BILLING, &importing("ambit:agent/tools@0.1.0", PLAIN, REFUND_4));
    scene.component("billing", &tool("ambit:agent/tools@0.1.0", DOUBLE));
    refused(&scene, "import-mismatch");
}

#[test]
fn compatible_versions_answer_and_others_do_not() {
    for (imported, exported, fits) in [
        ("acme:billing/refunds@1.3.0", "acme:billing/refunds@1.0.0", true),
        ("acme:billing/refunds@1.0.0", "acme:billing/refunds@1.3.0", true),
        ("acme:billing/refunds@2.0.0", "acme:billing/refunds@1.0.0", false),
        ("acme:billing/refunds@0.1.0", "acme:billing/refunds@0.2.0", false),
        ("acme:billing/refunds", "acme:billing/refunds", true),
        ("acme:billing/refunds", "acme:billing/refunds@1.0.0", false),
    ] {
        let scene = scene(BILLING, &importing(imported, PLAIN, REFUND_4));
        scene.component("billing", &tool(exported, DOUBLE));
        if fits {
            succeeded(&scene, &json!(8));
        } else {
            refused(&scene, "import-not-granted");
        }
    }
}

#[test]
fn an_interface_of_types_alone_needs_nobody() {
    let types = "(import \"acme:billing/types@1.0.0\" (instance (type $k' (enum \"a\" \"b\")) (export \"kind\" (type (eq $k')))))";
    let scene = scene("", &agent(types, "", "", "(call $ok (i32.const 6))"));
    succeeded(&scene, &json!("done"));
    let inspected = scene.ambit(&["inspect", "bundle/agent.wasm"]);
    assert!(inspected.stdout.contains("types alone: nothing to grant"), "{inspected:?}");
}

#[test]
fn inspect_says_that_a_tool_has_to_answer() {
    let scene = scene(BILLING, &importing(REFUNDS, PLAIN, REFUND_4));
    let inspected = scene.ambit(&["--format", "json", "inspect", "bundle/agent.wasm"]).json();
    assert_eq!(inspected["imports"][0]["standing"], "answered by a tool that exports it, granted by `tools`");
    assert_eq!(inspected["needs"], json!(["tools"]));
}

#[test]
fn a_tool_may_call_another_by_its_interface() {
    // `other` imports what `billing` exports, and exports the same under a name of its own.
    let passing = r#"(component
        (import "acme:billing/refunds@1.0.0" (instance $b (export "refund" (func (param "amount" u32) (result u32)))))
        (core func $refund (canon lower (func $b "refund")))
        (core module $m (import "host" "refund" (func $refund (param i32) (result i32)))
          (func (export "refund") (param i32) (result i32) (i32.add (call $refund (local.get 0)) (i32.const 1))))
        (core instance $i (instantiate $m (with "host" (instance (export "refund" (func $refund))))))
        (func $mine (param "amount" u32) (result u32) (canon lift (core func $i "refund")))
        (instance $x (export "refund" (func $mine)))
        (export "acme:desk/refunds" (instance $x)))"#;
    let grants = "[agent]\ntools = [\"other\"]\n[tools.other]\ntools = [\"billing\"]";
    let scene = scene(grants, &importing("acme:desk/refunds", PLAIN, REFUND_4));
    scene.component("other", passing);
    succeeded(&scene, &json!(9));
    let intents = scene.records_of("intent", "tools.call");
    let who: Vec<_> = intents.iter().map(|intent| intent["component"].as_str().unwrap()).collect();
    assert_eq!(who, ["agent", "other"]);

    // A refusal that has no place goes up to where there is one: here, nowhere.
    scene.rules(
        "permit (principal, action, resource);
         forbid (principal, action in Ambit::Action::\"tools.call\", resource) when { context.depth > 1 };",
    );
    let report = scene.run(&Value::Null);
    assert_eq!((&report["status"], &report["error"]["code"]), (&json!("refused"), &json!("denied")), "{report}");
    // And what breaks down below is named on the way.
    let scene = self::scene(grants, &importing("acme:desk/refunds", PLAIN, REFUND_4));
    scene.component("other", passing);
    scene.component("billing", &tool(REFUNDS, "(i32.div_u (i32.const 1) (i32.const 0))"));
    let report = scene.run(&Value::Null);
    let message = report["error"]["message"].as_str().unwrap();
    let expected =
        "the tool `other` that it called broke down: the tool `billing` that it called broke down: it trapped:";
    assert!(message.starts_with(expected), "{message}");
}

#[test]
fn arguments_that_are_too_long_are_refused() {
    let noting = r#"(component
        (core module $m (memory (export "memory") 16)
          (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0))
          (func (export "note") (param i32 i32 i32 i32)))
        (core instance $i (instantiate $m))
        (func $note (param "a" string) (param "b" string)
          (canon lift (core func $i "note") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
        (instance $x (export "note" (func $note)))
        (export "acme:notes/notes" (instance $x)))"#;
    // Zeros take six bytes each as JSON.
    let calling = |length: u32| {
        agent(
            "(import \"acme:notes/notes\" (instance $n (export \"note\" (func (param \"a\" string) (param \"b\" string)))))",
            "(core func $note (canon lower (func $n \"note\") (memory (core memory $memory \"memory\"))))
             (core instance $host (export \"note\" (func $note)))",
            "(import \"host\" \"note\" (func $note (param i32 i32 i32 i32)))",
            &format!(
                "(call $note (i32.const 2000) (i32.const {length}) (i32.const 2000) (i32.const {length})) (call $ok (i32.const 6))"
            ),
        )
    };
    let scene = scene("[agent]\ntools = [\"other\"]", &calling(80_000));
    scene.component("other", noting);
    succeeded(&scene, &json!("done"));
    scene.component("agent", &calling(100_000));
    let report = scene.run(&Value::Null);
    assert_eq!((&report["status"], &report["error"]["code"]), (&json!("refused"), &json!("quota")), "{report}");
    assert_eq!(scene.records_of("intent", "tools.call").len(), 1);
    assert_eq!(scene.records_of("refusal", "tools.call").len(), 1);
}
