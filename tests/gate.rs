//! For every action of every capability, every kind of refusal: the guest hears it, the log has it, nothing happened.

use std::sync::OnceLock;

use serde_json::{Value, json};

use super::support::Scene;
use super::wire::Wire;

/// An action, what a tool is granted for it, and a call that asks for it. `happened` says whether the effect shows.
struct Case {
    action: &'static str,
    /// The tool that asks: its name and guest.
    tool: (&'static str, &'static str),
    grant: &'static str,
    function: &'static str,
    arguments: fn() -> Value,
    happened: fn(&Scene, &Value) -> bool,
    /// Whether asking without a grant is an effect that is refused, and not a missing or powerless interface.
    asks_without_grant: bool,
}

const PROBE: (&str, &str) = ("prober", "probe");
const STATE: (&str, &str) = ("keeper", "probe-state");
/// `PORT` in the grant of a case is that of a server that greets.
fn server() -> &'static Wire {
    static SERVER: OnceLock<Wire> = OnceLock::new();
    SERVER.get_or_init(Wire::greeting)
}

const WORKSPACE: &str = "workspace = { guest = \"/workspace\" }";
const NOTES: &str = "state = { namespace = \"notes\" }";

fn ok(answer: &Value) -> bool {
    !answer["ok"].is_null()
}

const CASES: &[Case] = &[
    Case {
        action: "filesystem.mount",
        tool: PROBE,
        grant: "filesystem = [{ host = \"../data\", guest = \"/data\" }]",
        function: "read",
        arguments: || json!({ "path": "/data/secret.txt" }),
        happened: |_, answer| answer["ok"] == "secret",
        asks_without_grant: false,
    },
    Case {
        action: "filesystem.write",
        tool: PROBE,
        grant: "filesystem = [{ host = \"../data\", guest = \"/data\", access = \"write\" }]",
        function: "write",
        arguments: || json!({ "path": "/data/new.txt", "text": "new" }),
        happened: |scene, _| scene.path("data/new.txt").exists(),
        asks_without_grant: false,
    },
    Case {
        action: "workspace.mount",
        tool: PROBE,
        grant: WORKSPACE,
        function: "folders",
        arguments: || json!({}),
        happened: |_, answer| answer["ok"].to_string().contains("/workspace"),
        asks_without_grant: false,
    },
    Case {
        action: "workspace.write",
        tool: PROBE,
        grant: WORKSPACE,
        function: "write",
        arguments: || json!({ "path": "/workspace/new.txt", "text": "new" }),
        // The folder is gone with its task: what is not known to the guest did not happen.
        happened: |_, answer| answer != &Value::Null && answer["error"].is_null(),
        asks_without_grant: false,
    },
    Case {
        action: "env.read",
        tool: PROBE,
        grant: "env = { set = { MODE = \"fast\" } }",
        function: "variables",
        arguments: || json!({}),
        happened: |_, answer| answer.to_string().contains("fast"),
        asks_without_grant: false,
    },
    Case {
        action: "clock.sleep",
        tool: PROBE,
        grant: "clock = true",
        function: "wait",
        arguments: || json!({ "milliseconds": 1 }),
        happened: |_, answer| ok(answer),
        asks_without_grant: false,
    },
    Case {
        action: "random.seed",
        tool: PROBE,
        grant: "random = true",
        function: "random",
        arguments: || json!({ "length": 4 }),
        happened: |_, answer| ok(answer),
        asks_without_grant: false,
    },
    Case {
        action: "stdio.open",
        tool: PROBE,
        grant: "stdio = true",
        function: "print",
        arguments: || json!({ "text": "heard" }),
        happened: |_, answer| answer["error"].is_null(),
        asks_without_grant: false,
    },
    Case {
        action: "http.request",
        tool: ("caller", "probe-http"),
        grant: "http = [{ scheme = \"http\", host = \"127.0.0.1\", port = PORT, methods = [\"GET\"], paths = [\"/*\"] }]",
        function: "send",
        arguments: || json!({ "ask": { "authority": format!("127.0.0.1:{}", server().port), "path": "/x" } }),
        happened: |_, answer| answer["ok"]["status"] == 200,
        asks_without_grant: false,
    },
    Case {
        action: "state.read",
        tool: STATE,
        grant: NOTES,
        function: "get",
        arguments: || json!({ "bucket": "", "key": "k" }),
        happened: |_, answer| answer["error"].is_null(),
        asks_without_grant: false,
    },
    Case {
        action: "state.write",
        tool: STATE,
        grant: NOTES,
        function: "set",
        arguments: || json!({ "bucket": "", "key": "k", "value": "v" }),
        happened: |scene, _| values(scene) > 0,
        asks_without_grant: false,
    },
    Case {
        action: "secrets.lease",
        tool: ("caller", "probe-http"),
        grant: "http = [{ scheme = \"http\", host = \"127.0.0.1\", port = PORT, methods = [\"GET\"], paths = [\"/*\"], credential = \"attached\" }]",
        function: "send",
        arguments: || json!({ "ask": { "authority": format!("127.0.0.1:{}", server().port), "path": "/x" } }),
        happened: |_, answer| answer["ok"]["status"] == 200,
        asks_without_grant: false,
    },
    Case {
        action: "secrets.reveal",
        tool: ("signer", "probe-secret"),
        grant: "secrets = [{ reveal = \"attached\", labels = [] }]",
        function: "reveal",
        arguments: || json!({ "name": "attached" }),
        happened: |_, answer| ok(answer),
        asks_without_grant: false,
    },
    Case {
        action: "identity.token",
        tool: ("teller", "probe-identity"),
        grant: "identity = { audiences = [{ audience = \"https://billing.example.net\" }] }",
        function: "token",
        arguments: || json!({ "audience": "https://billing.example.net", "seconds": 60 }),
        // It may see the token, and not give it away.
        happened: |_, answer| answer["why"] == "what it gave is withheld",
        asks_without_grant: false,
    },
    Case {
        action: "label.remove",
        tool: ("marker", "probe-label"),
        grant: "label = { remove = [\"confidential\"] }\nlabels = [\"confidential\"]\n[output]\naccepts = [\"confidential\"]",
        function: "remove",
        arguments: || json!({ "label": "confidential" }),
        happened: |_, answer| answer["error"].is_null(),
        asks_without_grant: false,
    },
    Case {
        action: "tools.call",
        tool: PROBE,
        grant: "",
        function: "folders",
        arguments: || json!({}),
        happened: |_, answer| ok(answer),
        asks_without_grant: true,
    },
];

/// The actions that this file refuses, for `architecture.rs`.
pub(crate) fn covered_actions() -> Vec<&'static str> {
    CASES.iter().map(|case| case.action).collect()
}

fn values(scene: &Scene) -> i64 {
    let database = rusqlite::Connection::open(scene.path("home/ambit.db")).unwrap();
    database.query_row("SELECT count(*) FROM state", [], |row| row.get(0)).unwrap()
}

impl Case {
    fn scene(&self) -> Scene {
        let scene = Scene::with_tools(&[self.tool], &self.granted());
        scene.write("data/secret.txt", b"secret");
        if self.action.starts_with("secrets.") {
            scene.set_secret("attached", "the value of a token");
        }
        scene
    }

    /// The grant manifest.
    fn granted(&self) -> String {
        let (name, _) = self.tool;
        let grant = self.grant.replace("PORT", &server().port.to_string());
        format!("[agent]\ntools = [{name:?}]\n[tools.{name}]\n{grant}")
    }

    /// What the agent got from the call.
    fn ask(&self, scene: &Scene) -> Value {
        let tool = format!("{}.{}", self.tool.0, self.function);
        let report = scene.run(&json!({ "calls": [{ "tool": tool, "arguments": (self.arguments)() }] }));
        assert_eq!(report["status"], "succeeded", "{}: {report}", self.action);
        report["output"][0].clone()
    }

    fn refused(&self, scene: &Scene, code: &str) -> Value {
        let answer = self.ask(scene);
        assert!(!(self.happened)(scene, &answer), "{} happened: {answer}", self.action);
        let refusals = scene.records_of("refusal", self.action);
        assert_eq!(refusals.len(), 1, "{}: {refusals:?}", self.action);
        assert_eq!(refusals[0]["code"], code, "{}", self.action);
        assert_eq!(scene.records_of("intent", self.action).len(), 0, "{}", self.action);
        refusals[0].clone()
    }
}

fn forbidding(action: &str, annotations: &str, condition: &str) -> String {
    format!(
        "@id(\"all\") permit (principal, action, resource);\n\
         @id(\"none-of-this\") {annotations} forbid (principal, action in Ambit::Action::\"{action}\", resource) {condition};"
    )
}

#[test]
fn what_is_granted_and_permitted_happens_and_leaves_an_intent_and_an_outcome() {
    for case in CASES {
        let scene = case.scene();
        let answer = case.ask(&scene);
        assert!((case.happened)(&scene, &answer), "{} did not happen: {answer}", case.action);
        let (intents, outcomes) = (scene.records_of("intent", case.action), scene.records_of("outcome", case.action));
        assert_eq!(intents.len(), 1, "{}", case.action);
        assert_eq!(outcomes.len(), 1, "{}", case.action);
        assert_eq!(intents[0]["rules"], json!(["built-in"]));
        assert_eq!(outcomes[0]["code"], "done", "{}", case.action);
        let effect = |record: &Value| [record["effect"].clone(), record["import"].clone(), record["arguments"].clone()];
        assert_eq!(effect(&intents[0]), effect(&outcomes[0]), "{}", case.action);
        assert!(intents[0]["seq"].as_u64() < outcomes[0]["seq"].as_u64(), "{}", case.action);
        assert_eq!(intents[0]["arguments"].as_str().unwrap().len(), 64, "{}", case.action);
    }
}

#[test]
fn what_a_rule_forbids_does_not_happen() {
    for case in CASES {
        let scene = case.scene();
        scene.rules(&forbidding(case.action, "", ""));
        let refusal = case.refused(&scene, "denied");
        assert_eq!(refusal["rules"], json!(["none-of-this"]), "{}", case.action);
    }
}

#[test]
fn what_no_rule_permits_does_not_happen() {
    for case in CASES {
        let scene = case.scene();
        let others: Vec<String> = ambit::capability::REGISTRY
            .iter()
            .flat_map(|row| row.actions())
            .map(|action| action.name)
            .filter(|action| *action != case.action)
            .map(|action| format!("Ambit::Action::{action:?}"))
            .collect();
        scene.rules(&format!("permit (principal, action in [{}], resource);", others.join(", ")));
        assert_eq!(case.refused(&scene, "denied")["rules"], json!([]), "{}", case.action);
    }
}

#[test]
fn what_needs_a_person_does_not_happen_and_says_so() {
    for case in CASES {
        let scene = case.scene();
        let unless = "unless { context.approvals.contains(\"finance\") }";
        scene.rules(&forbidding(case.action, "@approval(\"finance\")", unless));
        let refusal = case.refused(&scene, "needs-approval");
        let detail = refusal["detail"].as_str().unwrap();
        assert_eq!(detail, r#"{"approval":"finance","why":"nobody is asked in this run"}"#, "{}", case.action);
        assert_eq!(scene.records_of("ask", case.action).len(), 0, "{}", case.action);
    }
}

#[test]
fn a_rule_that_errors_refuses() {
    for case in CASES {
        let scene = case.scene();
        // The depth of a task is a small number: the sum overflows, and Cedar skips the rule.
        scene.rules(&format!(
            "permit (principal, action, resource);
             forbid (principal, action in Ambit::Action::\"{}\", resource) when {{ principal.depth + 9223372036854775807 > 0 && principal.depth + 9223372036854775807 + 1 < 0 }};",
            case.action
        ));
        let refusal = case.refused(&scene, "denied");
        assert!(refusal["detail"].as_str().unwrap().contains("error"), "{}: {refusal}", case.action);
    }
}

#[test]
fn what_is_not_granted_is_not_there_or_refused() {
    for case in CASES {
        let scene = case.scene();
        let (name, _) = case.tool;
        if case.asks_without_grant {
            // A tool that is granted to another component only.
            scene.write("bundle/other.wasm", &super::support::guest("probe"));
            let bundle = std::fs::read_to_string(scene.path("bundle/bundle.toml")).unwrap();
            let asked = bundle.replace("names = [\"prober\"]", "names = [\"prober\", \"other\"]");
            let other =
                "[tools.other]\ncomponent = \"other.wasm\"\n[tools.other.requests]\ntools = { names = [\"prober\"] }\n";
            scene.write("bundle/bundle.toml", format!("{asked}{other}").as_bytes());
            scene.grant("[agent]\ntools = [\"other\"]\n[tools.other]\ntools = [\"prober\"]");
            case.refused(&scene, "not-granted");
            continue;
        }
        scene.grant(&format!("[agent]\ntools = [{name:?}]"));
        let tool = format!("{name}.{}", case.function);
        let report = scene.run(&json!({ "calls": [{ "tool": tool, "arguments": (case.arguments)() }] }));
        if ["keeper", "marker", "caller", "signer", "teller"].contains(&name) {
            assert_eq!(report["status"], "refused", "{report}");
            assert_eq!(report["error"]["code"], "import-not-granted", "{report}");
        } else {
            let harmless = ["clock.sleep", "random.seed", "stdio.open"].contains(&case.action);
            let happened = (case.happened)(&scene, &report["output"][0]);
            assert_eq!(happened, harmless, "{}: {report}", case.action);
        }
        assert_eq!(scene.records_of("intent", case.action).len(), 0, "{}", case.action);
    }
}

#[test]
fn a_log_that_cannot_be_written_lets_nothing_happen() {
    for case in CASES {
        let scene = case.scene();
        // The first run makes the database; then records of this action cannot be appended any more.
        scene.grant("");
        scene.run(&json!({ "calls": [] }));
        let (name, _) = case.tool;
        scene.grant(&case.granted());
        let database = rusqlite::Connection::open(scene.path("home/ambit.db")).unwrap();
        let broken = format!(
            "CREATE TRIGGER broken BEFORE INSERT ON audit WHEN NEW.action = '{}' BEGIN SELECT RAISE(ABORT, 'no space'); END;",
            case.action
        );
        database.execute_batch(&broken).unwrap();
        let tool = format!("{name}.{}", case.function);
        let input = json!({ "calls": [{ "tool": tool, "arguments": (case.arguments)() }] }).to_string();
        let answer = scene.ambit(&["--format", "json", "run", "bundle", "--policy", "policy", "--input", &input]);
        if answer.code == 0 {
            // It was refused, and what could not be recorded is told by what could.
            let happened = (case.happened)(&scene, &answer.json()["output"][0]);
            let lost = scene.records_of("operator", "audit.lost");
            assert!(!happened && lost.len() == 1, "{}: {answer:?}", case.action);
        } else {
            // It stayed inside the host, and its task does not come to an end without it.
            assert_eq!(answer.code, 70, "{}: {answer:?}", case.action);
            assert!(answer.stderr.contains("the audit log cannot be written"), "{}: {answer:?}", case.action);
        }
        // What stays inside the host may go on until the next effect that leaves; nothing is left of it.
        if ["filesystem.write", "workspace.write", "state.write"].contains(&case.action) {
            assert!(!(case.happened)(&scene, &Value::Null), "{} happened", case.action);
        }
    }
}

#[test]
fn tool_calls_and_their_depth_are_bounded() {
    let scene = Scene::probing("[limits]\ntool-calls = 3\n[agent]\ntools = [\"prober\"]");
    let call = json!({ "tool": "prober.folders", "arguments": {} });
    let report = scene.run(&json!({ "calls": [call, call, call, call] }));
    assert_eq!(report["status"], "exhausted", "{report}");
    assert_eq!(report["error"]["code"], "tool-calls");
    assert_eq!(report["usage"]["tool_calls"], 3, "{report}");
    assert_eq!(scene.records_of("intent", "tools.call").len(), 3);

    let scene = Scene::probing("[limits]\ntool-depth = 0\n[agent]\ntools = [\"prober\"]");
    let answer = scene.probe("folders", &json!({}));
    assert_eq!(answer["code"], "RefusalCode::NotGranted", "{answer}");
    assert_eq!(scene.records_of("refusal", "tools.call").len(), 1);
}

#[test]
fn the_guest_learns_the_number_of_the_record_and_not_the_rule() {
    let scene = Scene::probing("[agent]\ntools = [\"prober\"]");
    scene.rules(&forbidding("tools.call", "", ""));
    let answer = scene.probe("folders", &json!({}));
    let refusal = &scene.records_of("refusal", "tools.call")[0];
    assert_eq!(answer, json!({ "error": "refused", "code": "RefusalCode::Denied", "record": refusal["seq"] }));
}

#[test]
fn arguments_that_do_not_fit_are_told_to_the_caller_and_nothing_runs() {
    let scene = Scene::probing("[agent]\ntools = [\"prober\"]");
    for arguments in [
        json!({}),
        json!({ "path": 7 }),
        json!({ "path": "/x", "extra": 1 }),
        json!("{\"path\": \"/a\", \"path\": \"/b\"}"),
        json!("{\"path\": "),
        json!([]),
    ] {
        let answer = scene.probe("read", &arguments);
        assert_eq!(answer["error"], "invalid-arguments", "{answer}");
    }
    assert_eq!(scene.records_of("intent", "tools.call").len(), 0);
}

#[test]
fn a_tool_that_breaks_down_is_an_error_to_its_caller_and_no_more() {
    let scene = Scene::probing("[limits]\nmemory = \"4MiB\"\n[agent]\ntools = [\"prober\"]");
    for (function, arguments) in [
        ("fall", json!({ "text": "the secret word" })),
        ("leave", json!({ "code": 3 })),
        ("recurse", json!({})),
        ("allocate", json!({ "bytes": 100_000_000 })),
    ] {
        let answer = scene.probe(function, &arguments);
        assert_eq!(answer["error"], "trapped", "{function}: {answer}");
        assert!(!answer.to_string().contains("secret word"), "{answer}");
        let outcomes = scene.records_of("outcome", "tools.call");
        assert_eq!(outcomes.last().unwrap()["code"], "failed", "{function}");
    }
    // One that spends the fuel ends the whole task.
    scene.grant("[limits]\nfuel = 5_000_000\n[agent]\ntools = [\"prober\"]");
    let report = scene.run(&json!({ "calls": [{ "tool": "prober.spin", "arguments": {} }] }));
    assert_eq!(report["status"], "exhausted", "{report}");
    assert_eq!(report["error"]["code"], "fuel", "{report}");
    assert_eq!(report["usage"]["fuel"], 5_000_000, "{report}");
}

#[test]
fn a_rule_about_a_tool_and_more_holds_where_there_are_no_tools() {
    let scene = Scene::with_tools(&[("keeper", "probe-state")], "");
    scene.grant("[tools.keeper]\nstate = { namespace = \"notes\" }\n");
    scene.rules(
        "@id(\"all\") permit (principal, action, resource);
         @id(\"elsewhere\") forbid (principal, action == Ambit::Action::\"tools.call:marker.read\", resource);
         @id(\"stay\") forbid (principal, action in [Ambit::Action::\"state.write\", Ambit::Action::\"tools.call:marker.read\"], resource);",
    );
    let arguments = json!({ "bucket": "", "key": "k", "value": "v" }).to_string();
    let answer = scene.ambit(&["call", "bundle/keeper.wasm", "set", &arguments, "--grant", "policy/grants.toml"]);
    assert!(answer.stderr.contains("access-denied"), "{answer:?}");
    assert_eq!(scene.records_of("refusal", "state.write")[0]["rules"], json!(["stay"]));
}
