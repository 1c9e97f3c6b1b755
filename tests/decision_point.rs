//! A decision point of the operator's own: it can forbid what the rules allow, never the other way, and no answer is a no.

use std::io::Write as _;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::support::{Program, Running, Scene};
use super::wire::{Arrived, Latch, Wire, endless, over_tls, silent, text, until_gone};

const START: &str = "@id(\"all\") permit (principal, action, resource);\n";

/// A scene whose tool may keep values, and that asks a decision point.
fn scene(point: &str) -> Scene {
    let grant = "[agent]\ntools = [\"keeper\"]\n[tools.keeper]\nstate = { namespace = \"notes\" }\n";
    let scene = Scene::with_tools(&[("keeper", "probe-state")], grant);
    scene.write("home/config.toml", format!("[decision-point]\n{point}\n").as_bytes());
    scene
}

fn at(wire: &Wire) -> String {
    format!("url = \"http://127.0.0.1:{}/access/v1/evaluation\"", wire.port)
}

fn answer(decision: &Value) -> Vec<u8> {
    text(&decision.to_string())
}

fn asked(arrived: &Arrived) -> Value {
    serde_json::from_slice(&arrived.body).unwrap()
}

/// What becomes of keeping a value; whether it was kept.
fn keep(scene: &Scene) -> (Value, bool) {
    let arguments = json!({ "bucket": "", "key": "k", "value": "v" });
    let report = scene.run(&json!({ "calls": [{ "tool": "keeper.set", "arguments": arguments }] }));
    let database = rusqlite::Connection::open(scene.path("home/ambit.db")).unwrap();
    let kept: i64 = database.query_row("SELECT count(*) FROM state", [], |row| row.get(0)).unwrap();
    (report["output"][0].clone(), kept > 0)
}

/// A point that allows all but changes of state, and says why.
fn cautious() -> Wire {
    Wire::answering(|request, stream| {
        let allowed = asked(request)["action"]["name"] != "state.write";
        let reason = if allowed { Value::Null } else { json!({ "reason_admin": { "en": "the vault is closed" } }) };
        stream.write_all(&answer(&json!({ "decision": allowed, "context": reason })))
    })
}

#[test]
fn it_is_asked_in_the_words_of_authzen_with_typed_arguments() {
    let wire = Wire::answering(|_, stream| stream.write_all(&answer(&json!({ "decision": true }))));
    let scene = scene(&at(&wire));
    assert!(keep(&scene).1);
    let arrived = wire.arrived();
    let [call, write] = &arrived[..] else { panic!("{arrived:?}") };
    assert_eq!(call.line(), "POST /access/v1/evaluation");
    for (name, value) in [("content-type", "application/json"), ("accept", "application/json")] {
        assert_eq!(call.header(name), [value]);
    }
    assert_ne!(call.header("x-request-id"), write.header("x-request-id"));
    let (call, write) = (asked(call), asked(write));
    assert_eq!(call["subject"]["type"], "task");
    assert_eq!((&call["action"]["name"], &call["resource"]["id"]), (&json!("tools.call"), &json!("keeper.set")));
    assert_eq!(call["context"]["args"], json!({ "bucket": "", "key": "k", "value": "v" }), "{call}");
    assert_eq!(call["resource"]["properties"], json!({ "tool": "keeper", "function": "set" }));
    let subject = &write["subject"]["properties"];
    assert_eq!((&subject["component"], &subject["depth"]), (&json!("keeper"), &json!(1)), "{write}");
    assert_eq!((&subject["labels"], &subject["usage"]["toolCalls"]), (&json!([]), &json!(1)));
    assert_eq!(write["resource"], json!({ "type": "Namespace", "id": "notes", "properties": {} }));
    let (now, weekday) = (&write["context"]["now"], &write["context"]["weekday"]);
    assert!(now.as_str().unwrap().ends_with('Z') && weekday.as_str().unwrap().ends_with("day"), "{write}");
    let context =
        json!({ "now": now, "weekday": weekday, "approvals": [], "operation": "set", "key": "k", "bytes": 1 });
    assert_eq!(write["context"], context);
}

#[test]
fn a_question_is_whole_and_its_arguments_have_their_types() {
    let wire = Wire::answering(|_, stream| stream.write_all(&answer(&json!({ "decision": true }))));
    let scene = Scene::probing(
        "[agent]\ntools = [\"prober\"]\n[tools.prober]\n\
         filesystem = [{ host = \"../data\", guest = \"/data\", access = \"write\" }]\n",
    );
    std::fs::create_dir_all(scene.path("data")).unwrap();
    let config = format!("[people.maria]\ngroups = [\"finance\", \"board\"]\n[decision-point]\n{}\n", at(&wire));
    scene.write("home/config.toml", config.as_bytes());
    let arguments = json!({ "path": "/data/log", "offset": 5, "text": "a \"quoted\" \u{e9}" });
    let input = json!({ "calls": [{ "tool": "prober.write-at", "arguments": arguments }] }).to_string();
    let run = ["--format", "json", "run", "bundle", "--policy", "policy", "--as", "maria", "--input", &input];
    assert_eq!(scene.ambit(&run).code, 0);
    let arrived = wire.arrived();
    let all: Vec<Value> = arrived.iter().map(asked).collect();
    let actions: Vec<&Value> = all.iter().map(|asked| &asked["action"]["name"]).collect();
    assert_eq!(actions, ["tools.call", "filesystem.mount", "filesystem.write"]);
    let [intent] = &scene.records_of("intent", "tools.call")[..] else { panic!() };
    let id = format!("{}-{}", intent["task"].as_str().unwrap(), intent["effect"]);
    assert_eq!(arrived[0].header("x-request-id"), [id]);
    let mut call = all[0].clone();
    for taken in ["/context/now", "/context/weekday", "/subject/properties/digest", "/subject/properties/usage"] {
        assert!(!call.pointer_mut(taken).unwrap().take().is_null(), "{taken}");
    }
    let expected = json!({
        "subject": { "type": "task", "id": intent["task"], "properties": {
            "bundle": "scene", "component": "agent", "digest": null, "depth": 0, "labels": [], "usage": null,
            "user": { "name": "maria", "groups": ["board", "finance"] },
        } },
        "action": { "name": "tools.call" },
        "resource": { "type": "Tool", "id": "prober.write-at", "properties": { "tool": "prober", "function": "write-at" } },
        "context": { "now": null, "weekday": null, "approvals": [], "depth": 1, "bytes": arguments.to_string().len(),
            "args": arguments },
    });
    assert_eq!(call, expected);
}

#[test]
fn what_it_forbids_does_not_happen_and_why_is_for_the_operator() {
    let wire = cautious();
    let scene = scene(&at(&wire));
    let (heard, kept) = keep(&scene);
    assert!(!kept && heard["error"].is_string(), "{heard}");
    assert!(!heard.to_string().contains("vault"), "{heard}");
    let [refusal] = &scene.records_of("refusal", "state.write")[..] else { panic!() };
    assert_eq!(refusal["code"], "denied");
    assert!(refusal["detail"].as_str().unwrap().contains("the vault is closed"), "{refusal}");
    assert!(scene.records_of("intent", "state.write").is_empty());
    // What the rules forbid it is not even asked about.
    let before = wire.connections();
    scene.rules("@id(\"none\") permit (principal, action, resource) when { principal.depth > 7 };");
    keep(&scene);
    assert_eq!(wire.connections(), before);
    // Where none is configured, the rules decide alone.
    scene.rules(START);
    scene.write("home/config.toml", b"");
    assert!(keep(&scene).1);
    assert_eq!(wire.connections(), before);
}

#[test]
fn no_proper_answer_is_a_no() {
    type Answers = fn(&Arrived, &mut TcpStream) -> std::io::Result<()>;
    let cases: [(&str, Answers); 9] = [
        ("took too long", silent),
        ("took too long", endless),
        ("status 500", |_, stream| {
            stream.write_all(b"HTTP/1.1 500 No\r\ncontent-length: 18\r\n\r\n{\"decision\": true}")
        }),
        ("status 302", |_, stream| {
            stream.write_all(b"HTTP/1.1 302 There\r\nlocation: /yes\r\ncontent-length: 0\r\n\r\n")
        }),
        ("no JSON", |_, stream| stream.write_all(&text("yes"))),
        ("true or false", |_, stream| stream.write_all(&answer(&json!({ "decision": "true" })))),
        ("true or false", |_, stream| stream.write_all(&answer(&json!({})))),
        ("length limit", |_, stream| {
            stream.write_all(&answer(&json!({ "decision": true, "context": { "x": "y".repeat(70_000) } })))
        }),
        ("gave no answer", |_, _| Ok(())),
    ];
    for (why, answers) in cases {
        let wire = Wire::answering(answers);
        let scene = scene(&format!("{}\ntimeout = \"200ms\"", at(&wire)));
        let (heard, kept) = keep(&scene);
        assert!(!kept, "{why}: {heard}");
        assert_eq!(heard["code"], "RefusalCode::Unavailable", "{why}: {heard}");
        let [refusal] = &scene.records_of("refusal", "tools.call")[..] else { panic!("{why}") };
        assert!(refusal["detail"].as_str().unwrap().contains(why), "{why}: {refusal}");
    }
    // Nobody is there; or it is somewhere else than the configuration says.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let scene = scene(&format!("url = \"http://127.0.0.1:{closed}/\""));
    assert!(!keep(&scene).1);
    let arguments = json!({ "bucket": "", "key": "k" }).to_string();
    let explain = ["policy", "explain", "bundle", "--policy", "policy", "--tool", "keeper.get", "--args", &arguments];
    let told = scene.ambit(&explain);
    assert!(told.stdout.contains("besides, the decision point at http://127.0.0.1:"), "{told:?}");
    let wire = cautious();
    scene
        .write("home/config.toml", format!("[decision-point]\n{}\naddresses = [\"10.0.0.1\"]\n", at(&wire)).as_bytes());
    assert!(!keep(&scene).1);
    assert_eq!(wire.connections(), 0);
}

#[test]
fn people_are_asked_only_about_what_it_allows_and_it_is_asked_again_after_them() {
    let allows = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&allows);
    let wire = Wire::answering(move |request, stream| {
        let allowed = told.load(Ordering::SeqCst) || asked(request)["action"]["name"] == "tools.call";
        stream.write_all(&answer(&json!({ "decision": allowed })))
    });
    let scene = scene("");
    let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(scene.path("home")).unwrap());
    let config = format!("[people.maria]\nuid = {uid}\ngroups = [\"ops\"]\n[decision-point]\n{}\n", at(&wire));
    scene.write("home/config.toml", config.as_bytes());
    scene.rules(&format!(
        "{START}@id(\"ask\") @approval(\"ops\") forbid (principal, action == Ambit::Action::\"state.write\", resource) \
         unless {{ context.approvals.contains(\"ops\") }};"
    ));
    let calls = json!({ "calls": [{ "tool": "keeper.set", "arguments": { "bucket": "", "key": "k", "value": "v" } }] });
    let run = [
        "--format",
        "json",
        "run",
        "bundle",
        "--policy",
        "policy",
        "--approvals",
        "wait",
        "--input",
        &calls.to_string(),
    ];
    let answer = scene.ambit(&run);
    assert!(answer.json()["output"][0]["error"].is_string(), "{answer:?}");
    assert!(scene.records_of("ask", "state.write").is_empty());
    // It allows, so that maria is asked; when she has answered it allows no more.
    for (afterwards, kept) in [(false, false), (true, true)] {
        allows.store(true, Ordering::SeqCst);
        let running = Running::start(&mut scene.command(&run));
        let id = running.question();
        allows.store(afterwards, Ordering::SeqCst);
        let given = scene.ambit(&["approvals", "approve", &id]);
        assert_eq!(given.code, 0, "{given:?}");
        let report = running.end().json();
        assert_eq!(report["output"][0]["error"].is_null(), kept, "{report}");
    }
    // The point can tell the two questions apart.
    let [.., before, after] = &wire.arrived()[..] else { panic!() };
    let approvals = [before, after].map(|request| asked(request)["context"]["approvals"].clone());
    assert_eq!(approvals, [json!([]), json!(["ops"])]);
    let ids = [before, after].map(|request| request.header("x-request-id").join(""));
    assert_eq!(format!("{}-approved", ids[0]), ids[1]);
}

#[test]
fn a_connection_is_kept_and_replaced_when_it_is_stale() {
    let yes = || answer(&json!({ "decision": true }));
    let kept = Wire::keeping(move |_, stream| stream.write_all(&yes()));
    let scene = scene(&at(&kept));
    let set = json!({ "tool": "keeper.set", "arguments": { "bucket": "", "key": "k", "value": "v" } });
    let calls = json!({ "calls": [set, set, set] });
    scene.run(&calls);
    assert_eq!((kept.arrived().len(), kept.connections()), (6, 1));
    // One that goes away after each answer without a word.
    let wire = Wire::answering(move |_, stream| stream.write_all(&yes()));
    scene.write("home/config.toml", format!("[decision-point]\n{}\n", at(&wire)).as_bytes());
    let report = scene.run(&calls);
    assert_eq!((report["usage"]["refusals"].as_u64(), wire.connections()), (Some(0), 6), "{report}");
}

#[test]
fn an_answer_that_is_almost_a_yes_is_a_no() {
    let yes = String::from_utf8(text("{\"decision\":true}")).unwrap();
    let endless = |stream: &mut TcpStream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        loop {
            stream.write_all(&[b' '; 4096])?;
        }
    };
    let cases = [
        yes.replace("200 OK", "202 Later"),
        yes.replace("200 OK", "403 No"),
        yes.replace("content-length: 17", "content-length: 99"),
        yes.replace("HTTP/1.1 200 OK", "SSH-2.0-OpenSSH_9.2"),
        String::from_utf8(text("{\"decision\":false,\"decision\":true}")).unwrap(),
        String::from_utf8(text("{\"result\":{\"decision\":true}}")).unwrap(),
        String::new(),
    ];
    for said in cases {
        let shown = said.clone();
        let wire = Wire::answering(
            move |_, stream| {
                if said.is_empty() { endless(stream) } else { stream.write_all(said.as_bytes()) }
            },
        );
        let scene = scene(&at(&wire));
        let (heard, kept) = keep(&scene);
        assert_eq!((&heard["code"], kept), (&json!("RefusalCode::Unavailable"), false), "{shown}");
        assert_eq!(wire.connections(), 1, "{shown}");
    }
}

#[test]
fn over_tls_it_is_who_its_certificate_says() {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let yes = Wire::answering(|_, stream| stream.write_all(&text("{\"decision\":true}")));
    let port = over_tls(&certified, yes.port);
    let scene = scene("");
    scene.write("home/ca.pem", certified.cert.pem().as_bytes());
    for (host, more, may) in [
        ("localhost", "", false),
        ("127.0.0.1", "ca = \"ca.pem\"", false),
        ("localhost", "ca = \"not-there.pem\"", false),
        ("localhost", "ca = \"ca.pem\"", true),
    ] {
        let section = format!("[decision-point]\nurl = \"https://{host}:{port}/access/v1/evaluation\"\n{more}");
        scene.write("home/config.toml", section.as_bytes());
        let (heard, kept) = keep(&scene);
        assert_eq!((heard["code"] == "RefusalCode::Unavailable", kept), (!may, may), "{host} {more}: {heard}");
    }
}

#[test]
fn what_was_decided_before_the_task_gained_labels_is_decided_again() {
    // Two questions are answered only when the task has read what is secret.
    let read = Latch::default();
    let waited = read.clone();
    let wire = Wire::keeping(move |request, stream| {
        if asked(request)["context"]["path"] == "/slow" {
            waited.wait();
        }
        stream.write_all(&answer(&json!({ "decision": true })))
    });
    let secret = Wire::answering(move |_, stream| {
        stream.write_all(&text("secret"))?;
        // The host hangs up when it has all of the answer.
        until_gone(stream);
        read.open();
        Ok(())
    });
    let (open, cleared) = (Wire::greeting(), Wire::greeting());
    let rule = |wire: &Wire, more: &str| {
        let port = wire.port;
        format!(
            "{{ scheme = \"http\", host = \"127.0.0.1\", port = {port}, addresses = [\"127.0.0.1\"], \
             methods = [\"GET\"], paths = [\"/**\"]{more} }}"
        )
    };
    let rules = [
        rule(&open, ""),
        rule(&secret, ", labels = [\"confidential\"]"),
        rule(&cleared, ", accepts = [\"confidential\"]"),
    ]
    .join(", ");
    let grant = format!(
        "[output]\naccepts = [\"confidential\"]\n[agent]\ntools = [\"prober\"]\n[tools.prober]\nhttp = [{rules}]\n"
    );
    let scene = Scene::with_tools(&[("prober", "probe-http")], &grant);
    let config = format!("[decision-point]\n{}\ntimeout = \"60s\"\n", at(&wire));
    scene.write("home/config.toml", config.as_bytes());
    let ask = |wire: &Wire, path: &str| json!({ "authority": format!("127.0.0.1:{}", wire.port), "path": path });
    let asks = json!({ "asks": [ask(&open, "/slow"), ask(&secret, "/"), ask(&cleared, "/slow")] });
    let answers = scene.probe("send-all", &asks);
    assert!(answers.to_string().contains("HttpRequestDenied"), "{answers}");
    assert_eq!((open.connections(), secret.connections(), cleared.connections()), (0, 1, 1));
    let [refusal] = &scene.records_of("refusal", "http.request")[..] else { panic!("{:?}", scene.records()) };
    assert_eq!(refusal["code"], "denied");
    assert!(refusal["detail"].as_str().unwrap().contains("carries what may not go there"), "{refusal}");
    let told: Vec<Value> = wire.arrived().iter().map(asked).collect();
    let about = |port: u16| {
        let told = told.iter().filter(move |asked| asked["context"]["port"] == port);
        told.map(|asked| asked["subject"]["properties"]["labels"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(about(cleared.port), [json!([]), json!(["confidential"])]);
}

/// A policy of Cerbos. It sees the properties of subjects and resources, and no context.
const CERBOS_POLICY: &str = "apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: Tool
  version: default
  rules:
    - actions: [tools.call]
      effect: EFFECT_ALLOW
      roles: [task]
      condition:
        match:
          expr: R.id == \"keeper.set\" && P.attr.user.name == \"sam\" && P.attr.depth == 0
";

#[test]
#[ignore = "needs the program of Cerbos: `cargo xtask test --real`"]
fn cerbos_is_a_decision_point() {
    let program = std::env::var("AMBIT_CERBOS").expect("AMBIT_CERBOS names the program of Cerbos");
    let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (http, grpc) = (free(), free());
    let scene = scene(&format!("url = \"http://{http}/access/v1/evaluation\"\ntimeout = \"20s\""));
    scene.write("cerbos/tool.yaml", CERBOS_POLICY.as_bytes());
    let state = CERBOS_POLICY.split("      condition").next().unwrap().replace("[tools.call]", "[\"*\"]");
    scene.write("cerbos/state.yaml", state.replace("resource: Tool", "resource: Namespace").as_bytes());
    let config = format!(
        "server:\n  httpListenAddr: \"{http}\"\n  grpcListenAddr: \"{grpc}\"\nstorage:\n  driver: disk\n  disk:\n    \
         directory: {}\ntelemetry:\n  disabled: true\n",
        scene.path("cerbos").display()
    );
    scene.write("cerbos.yaml", config.as_bytes());
    let mut server = Command::new(program);
    server.args(["server", "--config"]).arg(scene.path("cerbos.yaml")).stdout(Stdio::null()).stderr(Stdio::null());
    let _server = Program::start(&mut server, http);
    let run = |user: &str| {
        let call = json!({ "tool": "keeper.set", "arguments": { "bucket": "", "key": "k", "value": "v" } });
        let input = json!({ "calls": [call] }).to_string();
        let run = ["--format", "json", "run", "bundle", "--policy", "policy", "--as", user, "--input", &input];
        scene.ambit(&run).json()["output"][0].clone()
    };
    assert_eq!(run("max")["code"], "RefusalCode::Denied");
    assert!(scene.records_of("intent", "tools.call").is_empty());
    let done = run("sam");
    assert!(done["error"].is_null(), "{done}");
    assert_eq!(scene.records_of("outcome", "state.write")[0]["code"], "done");
}
