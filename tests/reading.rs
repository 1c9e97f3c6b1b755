//! What a task did, read from its records: as a tree, as a page, and as spans that are sent to a collector.

use std::io::Write as _;

use serde_json::{Value, json};

use super::support::{Answer, Running, Scene};
use super::wire::{Arrived, Wire, silent, text, until_gone};

/// A tool that is called, calls another, and adds one.
const PASSING: &str = r#"(component
    (import "acme:billing/refunds@1.0.0" (instance $b (export "refund" (func (param "amount" u32) (result u32)))))
    (core func $refund (canon lower (func $b "refund")))
    (core module $m (import "host" "refund" (func $refund (param i32) (result i32)))
      (func (export "refund") (param i32) (result i32) (i32.add (call $refund (local.get 0)) (i32.const 1))))
    (core instance $i (instantiate $m (with "host" (instance (export "refund" (func $refund))))))
    (func $mine (param "amount" u32) (result u32) (canon lift (core func $i "refund")))
    (instance $x (export "refund" (func $mine)))
    (export "acme:desk/refunds" (instance $x)))"#;

/// A tool that traps.
const FALLING: &str = r#"(component
    (core module $m (func (export "refund") (param i32) (result i32) unreachable))
    (core instance $i (instantiate $m))
    (func $mine (param "amount" u32) (result u32) (canon lift (core func $i "refund")))
    (instance $x (export "refund" (func $mine)))
    (export "acme:billing/refunds@1.0.0" (instance $x)))"#;

const GRANT: &str = "[agent]\ntools = [\"prober\", \"marker\", \"desk\"]\n\
    [tools.prober]\nfilesystem = [{ host = \"../data\", guest = \"/data\", access = \"write\" }]\n\
    [tools.marker]\nfilesystem = [{ host = \"../data\", guest = \"/data\", labels = [\"confidential\"] }]\nlabel = { remove = [\"pii\"] }\n\
    [tools.desk]\ntools = [\"billing\"]\n[tools.billing]\n\
    [output]\naccepts = [\"confidential\"]\n";

const RULES: &str = "@id(\"all\") permit (principal, action, resource);
    @id(\"ask\") @approval(\"finance\") forbid (principal, action == Ambit::Action::\"tools.call:prober.append\", resource)
      unless { context.approvals.contains(\"finance\") };
    @id(\"never\") forbid (principal, action == Ambit::Action::\"tools.call:prober.remove\", resource);";

/// What stands in a page as it is would begin a script, end a style, and turn the rest of a line round.
const HOSTILE: &str = "</style><script>alert(\"1\")</script>\u{202e}'&";

fn scene(config: &str) -> Scene {
    let tools = [("prober", "probe"), ("marker", "probe-label"), ("desk", "echo"), ("billing", "echo")];
    let scene = Scene::with_tools(&tools, GRANT);
    scene.component("desk", PASSING);
    scene.component("billing", FALLING);
    scene.write("data/secret.txt", b"secret");
    scene.rules(RULES);
    let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(scene.path("data")).unwrap());
    let people = format!("[people.maria]\nuid = {uid}\ngroups = [\"finance\"]\n{config}");
    scene.write("home/config.toml", people.as_bytes());
    scene
}

/// All that can become of a call, one after another.
fn calls() -> Value {
    json!({ "calls": [
        { "tool": "prober.remove", "arguments": { "path": "/data/secret.txt" } },
        { "tool": format!("{HOSTILE}.read"), "arguments": {} },
        { "tool": "prober.append", "arguments": { "path": "/data/log", "text": "one" } },
        { "tool": "desk.refund", "arguments": { "amount": 4 } },
        { "tool": "marker.read", "arguments": { "path": "/data/secret.txt" } },
    ] })
}

fn start(scene: &Scene, input: &Value, approvals: &str) -> Running {
    let input = input.to_string();
    let arguments =
        ["--format", "json", "run", "bundle", "--policy", "policy", "--approvals", approvals, "--input", &input];
    Running::start(&mut scene.command(&arguments))
}

/// Runs them all, with an approval in between; the report, and what was said.
fn run(scene: &Scene) -> Answer {
    let running = start(scene, &calls(), "wait");
    let id = running.question();
    assert_eq!(scene.ambit(&["approvals", "approve", &id, "--by", "maria"]).code, 0);
    let answer = running.end();
    assert_eq!((answer.code, &answer.json()["status"]), (0, &json!("succeeded")), "{answer:?}");
    answer
}

fn show(scene: &Scene, format: &str) -> Answer {
    let task = scene.ambit(&["--format", "json", "task", "list"]).json()[0]["task"].as_str().unwrap().to_owned();
    let shown = scene.ambit(&["--format", format, "task", "show", &task]);
    assert_eq!((shown.code, shown.stderr.as_str()), (0, ""), "{shown:?}");
    shown
}

/// What nobody would see, as it is shown.
fn escaped(text: &str) -> String {
    text.replace('\u{202e}', "\\u{202e}")
}

/// A line without its column of times, and with other times as `T`.
fn timeless(line: &str) -> String {
    let mut words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
    assert!(words[0].starts_with('+') && ["ms", "s"].contains(&words[1]), "{line}");
    words.drain(..2);
    for index in 1..words.len() {
        let unit = words[index].trim_end_matches(':');
        if ["ms", "s"].contains(&unit) && words[index - 1].parse::<f64>().is_ok() {
            words[index - 1] = "T";
        }
    }
    words.join(" ").replace("T ms", "T").replace("T s", "T")
}

#[test]
fn a_task_is_shown_as_a_tree() {
    let scene = scene("");
    run(&scene);
    let shown = show(&scene, "human");
    let (head, tree) = shown.stdout.split_once("\n\n").unwrap();
    assert!(head.contains("status   succeeded") && head.contains("usage    fuel "), "{head}");
    assert!(
        head.contains("label    confidential: to marker with filesystem.mount Mount::\"/data\" (record "),
        "{head}"
    );
    let told: Vec<String> = tree.lines().map(timeless).collect();
    let expected = [
        "agent".to_owned(),
        "├─ tools.call Tool::\"prober.remove\" ⊘ refused (denied) by never: a rule forbids it".to_owned(),
        format!("├─ tools.call Tool “{}.read” ⊘ refused (not-granted): the grant does not cover it", escaped(HOSTILE)),
        "├─ tools.call Tool::\"prober.append\" asked finance, approved by maria after T allowed by all → done in T"
            .to_owned(),
        "│ ├─ filesystem.mount Mount::\"/data\" allowed by all → done in T".to_owned(),
        "│ └─ filesystem.write Mount::\"/data\" allowed by all → done in T".to_owned(),
        "├─ tools.call Tool::\"desk.refund\" allowed by all → ✗ failed in T".to_owned(),
        "│ └─ tools.call Tool::\"billing.refund\" allowed by all → ✗ failed in T".to_owned(),
        "├─ tools.call Tool::\"marker.read\" allowed by all → done in T +labels confidential".to_owned(),
        "│ └─ filesystem.mount Mount::\"/data\" allowed by all → done in T +labels confidential".to_owned(),
        "└─ succeeded".to_owned(),
    ];
    assert_eq!(told.len(), expected.len(), "{tree}");
    for (told, expected) in told.iter().zip(&expected) {
        assert!(told.starts_with(expected.as_str()), "{told}\n{expected}\n{tree}");
    }
    assert!(!shown.stdout.contains(HOSTILE), "{shown:?}");
    // The tree has a line for each effect; the list one for each record.
    let task = head.lines().next().unwrap().trim_start_matches("task     ");
    let listed = scene.ambit(&["task", "show", task, "--records"]).stdout;
    let records = scene.records().len();
    assert_eq!(listed.split_once("\n\n").unwrap().1.lines().count(), records, "{listed}");
    assert!(records > told.len() && !listed.contains("├─"), "{listed}");
}

#[test]
fn the_tree_is_there_for_programs_as_well_and_leaves_no_record_out() {
    let scene = scene("");
    run(&scene);
    let shown = show(&scene, "json").json();
    let tree = &shown["tree"];
    assert_eq!((&tree["task"], &tree["end"]["status"]), (&shown["summary"]["task"], &json!("succeeded")));
    assert_eq!(tree["ground"]["bundle"]["digest"], shown["summary"]["digest"]);
    assert_eq!(tree["end"]["usage"]["fuel"], shown["summary"]["usage"]["fuel"]);
    let steps = tree["steps"].as_array().unwrap();
    let states: Vec<&str> = steps.iter().map(|step| step["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["refused", "refused", "done", "failed", "done"]);
    // Calls that are refused have numbers as well: the third attempt is the task 3.
    let asked = &steps[2];
    assert_eq!(asked["child"], format!("{}/3", tree["task"].as_str().unwrap()));
    let [approval] = &asked["approvals"].as_array().unwrap()[..] else { panic!("{asked}") };
    assert_eq!((&approval["groups"], &approval["answers"][0]["by"]), (&json!(["finance"]), &json!("maria")));
    let at = |step: &Value, name: &str| step[name].as_u64().unwrap();
    assert!(at(asked, "begin_ms") < at(&approval["answers"][0], "at_ms"), "{asked}");
    assert!(at(&approval["answers"][0], "at_ms") <= at(asked, "decided_ms"), "it was allowed after that: {asked}");
    assert!(at(asked, "decided_ms") < at(asked, "end_ms"), "two files are opened in between: {asked}");
    let failed = &steps[3]["steps"][0];
    assert_eq!((&failed["resource"], &failed["state"]), (&json!("Tool::\"billing.refund\""), &json!("failed")));
    assert_eq!(steps[4]["labels"], json!(["confidential"]));
    fn records(step: &Value) -> Vec<u64> {
        let own = step["records"].as_array().into_iter().flatten().map(|record| record.as_u64().unwrap());
        own.chain(step["steps"].as_array().into_iter().flatten().flat_map(records)).collect()
    }
    let mut found = records(tree);
    found.sort_unstable();
    let kinds = ["start", "end"];
    let all = scene.records().into_iter().filter(|record| !kinds.contains(&record["kind"].as_str().unwrap()));
    assert_eq!(found, all.map(|record| record["seq"].as_u64().unwrap()).collect::<Vec<_>>());
}

#[test]
fn a_page_holds_everything_and_loads_and_runs_nothing() {
    let scene = scene("");
    let write = json!({ "path": "/data/log", "text": "x" });
    let hostile = json!({ "tool": format!("{HOSTILE}.read"), "arguments": {} });
    let report = scene.run(&json!({ "calls": [{ "tool": "prober.write", "arguments": write }, hostile] }));
    assert_eq!(report["status"], "succeeded", "{report}");
    let page = show(&scene, "html").stdout;
    assert!(page.starts_with("<!doctype html>\n") && page.ends_with("</html>\n"), "{page}");
    assert!(page.contains("content=\"default-src 'none'; style-src 'sha256-"), "{page}");
    let named = "&lt;/style&gt;&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;\\u{202e}&#39;&amp;.read";
    assert!(page.contains(named), "{page}");
    for part in ["<script", "\u{202e}", "src=", "href=\"h", "href=\"/", "@import", "style=\"", "<link", "<img"] {
        assert!(!page.contains(part), "{part}: {page}");
    }
    for part in ["tools.call", "filesystem.write", "✓ done", "fuel", report["task"].as_str().unwrap()] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert_eq!(page.matches("<details>").count(), page.matches("</details>").count());
    assert_eq!(page.matches("<details>").count(), 4);
}

#[test]
fn a_format_is_for_the_verbs_that_write_it() {
    let scene = scene("");
    scene.run(&json!({}));
    let task = scene.ambit(&["--format", "json", "task", "list"]).json()[0]["task"].as_str().unwrap().to_owned();
    for arguments in [
        &["--format", "html", "task", "list"][..],
        &["--format", "html", "audit", "show"],
        &["--format", "html", "audit", "export"],
        &["--format", "html", "run", "bundle", "--policy", "policy"],
        &["--format", "html", "task", "replay", &task],
        &["--format", "jsonl", "task", "show", &task],
        &["--format", "ocsf", "task", "show", &task],
        &["--format", "otlp", "task", "list"],
    ] {
        let answer = scene.ambit(arguments);
        assert_eq!((answer.code, answer.stdout.as_str()), (2, ""), "{answer:?}");
        assert!(answer.stderr.contains("this verb does not write that format"), "{answer:?}");
    }
    let help = scene.ambit(&["task", "show", "--help"]).stdout;
    assert!(help.contains("--format html") && help.contains("--records"), "{help}");
}

#[test]
fn what_was_put_away_or_broke_off_is_one_story() {
    let scene = scene("");
    let append = json!({ "tool": "prober.append", "arguments": { "path": "/data/log", "text": "one" } });
    let waits = start(&scene, &json!({ "calls": [append] }), "suspend").end();
    assert_eq!(waits.code, 4, "{waits:?}");
    let tree = show(&scene, "human").stdout;
    assert!(tree.contains("asked finance, … no answer yet") && tree.contains("… suspended"), "{tree}");
    let task = waits.json()["task"].as_str().unwrap().to_owned();
    let id = scene.ambit(&["--format", "json", "approvals", "list"]).json()[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(scene.ambit(&["approvals", "approve", &id]).code, 0);
    assert_eq!(scene.ambit(&["task", "resume", &task]).code, 0);
    let shown = show(&scene, "json").json();
    let [step] = &shown["tree"]["steps"].as_array().unwrap()[..] else { panic!("{shown}") };
    assert_eq!((&step["state"], step["approvals"].as_array().unwrap().len()), (&json!("done"), 1), "{step}");
    assert_eq!(shown["tree"]["resumed_ms"].as_array().unwrap().len(), 1);
    let resumed = &shown["tree"]["resumed_ms"][0];
    assert!(step["decided_ms"].as_u64() >= resumed.as_u64() && step["begin_ms"].as_u64() < resumed.as_u64(), "{shown}");
    let tree = show(&scene, "human").stdout;
    assert!(tree.contains("resumed  after ") && tree.matches("prober.append").count() == 1, "{tree}");

    // What was under way when its process was killed is unknown.
    let wire = Wire::answering(|_, stream| {
        until_gone(stream);
        Ok(())
    });
    let scene = Scene::with_tools(
        &[("caller", "probe-http")],
        &format!(
            "[agent]\ntools = [\"caller\"]\n[tools.caller]\n\
             http = [{{ scheme = \"http\", host = \"127.0.0.1\", port = {}, methods = [\"POST\"], paths = [\"/**\"] }}]\n",
            wire.port
        ),
    );
    let ask =
        json!({ "method": "POST", "authority": format!("127.0.0.1:{}", wire.port), "path": "/v1", "pieces": ["x"] });
    let mut running =
        start(&scene, &json!({ "calls": [{ "tool": "caller.send", "arguments": { "ask": ask } }] }), "deny");
    wire.wait_for(1);
    running.child.kill().unwrap();
    running.end();
    let tree = show(&scene, "human").stdout;
    let request = tree.lines().find(|line| line.contains("http.request")).unwrap();
    assert!(request.contains("│  └─ ") && request.contains("→ ? unknown: it has no outcome"), "{tree}");
    assert!(tree.trim_end().ends_with("? its end is not recorded"), "{tree}");
    let page = show(&scene, "html").stdout;
    assert!(page.contains("? unknown") && page.contains("<rect class=\"open\""), "{page}");
}

/// What a collector says that takes everything.
fn taken() -> Vec<u8> {
    text("{}")
}

fn telemetry(wire: &Wire) -> String {
    format!("[telemetry]\nendpoint = \"http://127.0.0.1:{}/v1/traces\"\n", wire.port)
}

/// The attributes of a span or an event, by name.
fn attributes(of: &Value) -> Value {
    let told = of["attributes"].as_array().unwrap().iter().map(|attribute| {
        let value = &attribute["value"];
        let value = value.get("stringValue").or_else(|| value.get("intValue")).unwrap_or(value);
        (attribute["key"].as_str().unwrap().to_owned(), value.clone())
    });
    told.collect::<serde_json::Map<_, _>>().into()
}

#[test]
fn a_collector_is_sent_the_spans_of_a_task_that_has_ended() {
    let wire = Wire::answering(|_, stream| stream.write_all(&taken()));
    let scene = scene(&telemetry(&wire));
    let answer = run(&scene);
    assert!(!answer.stderr.contains("warning"), "{answer:?}");
    let [arrived] = &wire.arrived()[..] else { panic!("one request, once: {:?}", wire.arrived()) };
    assert_eq!(
        (arrived.line().as_str(), arrived.header("content-type")),
        ("POST /v1/traces", vec!["application/json"])
    );
    let request: Value = serde_json::from_slice(&arrived.body).unwrap();
    // The same is printed at any time.
    assert_eq!(show(&scene, "otlp").json(), request);
    let resource = attributes(&request["resourceSpans"][0]["resource"]);
    assert_eq!(resource["service.name"], "ambit");
    let spans = request["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
    let report = answer.json();

    let root = &spans[0];
    assert_eq!(
        (&root["name"], &root["kind"], root.get("parentSpanId")),
        (&json!("invoke_agent scene"), &json!(1), None)
    );
    let told = attributes(root);
    for (name, value) in [
        ("gen_ai.operation.name", json!("invoke_agent")),
        ("gen_ai.agent.name", json!("scene")),
        ("gen_ai.agent.version", json!("0.1.0")),
        ("gen_ai.agent.id", report["bundle"]["digest"].clone()),
        ("ambit.task", report["task"].clone()),
        ("ambit.status", json!("succeeded")),
        ("ambit.usage.fuel", json!(report["usage"]["fuel"].to_string())),
    ] {
        assert_eq!(told[name], value, "{name}: {told}");
    }
    assert!(told.get("error.type").is_none() && root["status"] == json!({}), "{root}");
    assert_eq!(root["traceId"].as_str().unwrap().len(), 32);

    let named =
        |name: &str| spans.iter().find(|span| span["name"] == name).unwrap_or_else(|| panic!("{name}: {spans:?}"));
    let desk = named("execute_tool desk.refund");
    let billing = named("execute_tool billing.refund");
    assert_eq!((&desk["parentSpanId"], &billing["parentSpanId"]), (&root["spanId"], &desk["spanId"]));
    let told = attributes(billing);
    assert_eq!(
        [&told["gen_ai.operation.name"], &told["gen_ai.tool.name"], &told["gen_ai.tool.type"], &told["error.type"]],
        ["execute_tool", "billing.refund", "function", "failed"]
    );
    assert_eq!(
        (&billing["status"]["code"], &told["ambit.rules"]),
        (&json!(2), &json!({ "arrayValue": { "values": [{ "stringValue": "all" }] } }))
    );
    let refused = named("execute_tool prober.remove");
    assert_eq!((&attributes(refused)["error.type"], &refused["status"]["code"]), (&json!("denied"), &json!(2)));
    assert_eq!(refused["status"]["message"], "a rule forbids it");
    let mark = spans.iter().rfind(|span| span["name"] == "filesystem.mount").unwrap();
    assert!(attributes(mark)["ambit.labels.gained"].to_string().contains("confidential"), "{mark}");

    let events = named("execute_tool prober.append")["events"].as_array().unwrap();
    let names: Vec<&Value> = events.iter().map(|event| &event["name"]).collect();
    assert_eq!(names, ["ambit.approval.asked", "ambit.approval.answered"]);
    let answered = attributes(&events[1]);
    assert_eq!(
        (&answered["ambit.approval.by"], &answered["ambit.approval.answer"]),
        (&json!("maria"), &json!("approved"))
    );

    let mut ids: Vec<&str> = spans.iter().map(|span| span["spanId"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), spans.len());
    let nanoseconds = |span: &Value, name: &str| span[name].as_str().unwrap().parse::<u128>().unwrap();
    for span in spans {
        assert!(span["spanId"].as_str().unwrap().len() == 16 && span["traceId"] == root["traceId"], "{span}");
        assert!(nanoseconds(span, "startTimeUnixNano") <= nanoseconds(span, "endTimeUnixNano"), "{span}");
        assert!(nanoseconds(span, "endTimeUnixNano") <= nanoseconds(root, "endTimeUnixNano"), "{span}");
    }
    // What the file held, what was to be appended, and what the agent gave, are in no record.
    let body = String::from_utf8(arrived.body.clone()).unwrap();
    assert!(!body.contains("\"secret\"") && !body.contains("\"one\""), "{body}");
}

#[test]
fn nothing_is_sent_unless_that_is_configured_nor_before_the_end() {
    let wire = Wire::answering(|_, stream| stream.write_all(&taken()));
    let scene = self::scene("");
    run(&scene);
    assert_eq!(wire.connections(), 0);
    // A task that waits has not ended; told again, it does nothing.
    let scene = self::scene(&telemetry(&wire));
    let append = json!({ "tool": "prober.append", "arguments": { "path": "/data/log", "text": "one" } });
    let waits = start(&scene, &json!({ "calls": [append] }), "suspend").end();
    assert_eq!((waits.code, wire.connections()), (4, 0), "{waits:?}");
    let id = scene.ambit(&["--format", "json", "approvals", "list"]).json()[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(scene.ambit(&["approvals", "approve", &id]).code, 0);
    let task = waits.json()["task"].as_str().unwrap().to_owned();
    assert_eq!(scene.ambit(&["task", "resume", &task]).code, 0);
    assert_eq!(wire.connections(), 1);
    let request: Value = serde_json::from_slice(&wire.arrived()[0].body).unwrap();
    let spans = request["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
    assert_eq!(spans.iter().filter(|span| span["name"] == "execute_tool prober.append").count(), 1, "{spans:?}");
    assert_eq!(scene.ambit(&["task", "replay", &task]).code, 0);
    assert_eq!(wire.connections(), 1);
}

#[test]
fn a_collector_that_does_not_take_them_changes_nothing() {
    type Answers = fn(&Arrived, &mut std::net::TcpStream) -> std::io::Result<()>;
    let cases: [(&str, Answers); 4] = [
        ("it took too long", silent),
        ("its answer has the status 503", |_, stream| {
            stream.write_all(b"HTTP/1.1 503 Later\r\ncontent-length: 0\r\n\r\n")
        }),
        // Nobody goes where it leads: that would be a second connection.
        ("its answer has the status 307", |_, stream| {
            stream.write_all(b"HTTP/1.1 307 There\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n")
        }),
        ("it did not take 2 spans", |_, stream| {
            stream.write_all(&text("{\"partialSuccess\":{\"rejectedSpans\":\"2\"}}"))
        }),
    ];
    for (why, answers) in cases {
        let wire = Wire::answering(answers);
        let scene = scene(&format!("{}timeout = \"300ms\"\n", telemetry(&wire)));
        let input = json!({ "fail": { "code": "no", "message": "not today" } }).to_string();
        let answer = scene.ambit(&["--format", "json", "run", "bundle", "--policy", "policy", "--input", &input]);
        assert_eq!((answer.code, &answer.json()["error"]["code"]), (1, &json!("no")), "{answer:?}");
        assert!(answer.stderr.contains("warning: the task's spans were not sent: http://127.0.0.1:"), "{answer:?}");
        assert!(answer.stderr.contains(why) && wire.connections() == 1, "{why}: {answer:?}");
        assert_eq!(show(&scene, "json").json()["summary"]["status"], "failed");
    }
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let scene = scene(&format!("[telemetry]\nendpoint = \"http://localhost:{closed}/v1/traces\"\n"));
    let answer = scene.ambit(&["run", "bundle", "--policy", "policy", "--input", "{\"calls\": []}"]);
    assert_eq!((answer.code, answer.stdout.trim()), (0, "[]"), "{answer:?}");
    assert_eq!(answer.stderr.matches("warning: the task's spans were not sent").count(), 1, "{answer:?}");
    scene.write("home/config.toml", b"[telemetry]\nendpoint = \"http://otel.example.net/v1/traces\"\n");
    let answer = scene.ambit(&["run", "bundle", "--policy", "policy"]);
    assert!(answer.code == 2 && answer.stderr.contains("readable on the way without TLS"), "{answer:?}");
}
