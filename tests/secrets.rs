//! Credentials reach the host that a rule names, and nothing else: no guest, no log, no record, no file.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::{Value, json};

use super::support::{Answer, Running, Scene, assert_no_file_holds};
use super::wire::{Arrived, Latch, Wire, redirect, text};

const VALUE: &str = "sk-Live/9+a\"b~7f3Q";

/// What would give the value away.
fn spellings() -> Vec<Vec<u8>> {
    let mut all = vec![VALUE.as_bytes().to_vec(), VALUE.bytes().rev().collect(), hex(VALUE).into_bytes()];
    all.push(hex(VALUE).to_uppercase().into_bytes());
    all.push(serde_json::to_string(VALUE).unwrap().trim_matches('"').as_bytes().to_vec());
    all.push(url::form_urlencoded::byte_serialize(VALUE.as_bytes()).collect::<String>().into_bytes());
    all.push(VALUE.bytes().flat_map(|byte| format!("%{byte:02x}").into_bytes()).collect());
    all.push(VALUE.bytes().flat_map(|byte| format!("\\u{byte:04x}").into_bytes()).collect());
    for before in ["", "x", "xy"] {
        for encoded in [STANDARD.encode(format!("{before}{VALUE}")), URL_SAFE.encode(format!("{before}{VALUE}"))] {
            all.push(encoded.as_bytes()[4..encoded.len() - 4].to_vec());
        }
    }
    all
}

fn hex(text: &str) -> String {
    text.bytes().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn assert_clean(bytes: &[u8], place: &str) {
    for spelling in spellings() {
        let found = bytes.windows(spelling.len()).any(|window| window == spelling);
        assert!(!found, "{} stands in {place}", String::from_utf8_lossy(&spelling));
    }
}

/// Nothing that is left behind holds the value.
fn assert_clean_folder(folder: &Path) {
    assert_no_file_holds(folder, &spellings());
}

fn assert_clean_run(scene: &Scene, answer: &Answer) {
    assert_clean(answer.stdout.as_bytes(), "the output");
    assert_clean(answer.stderr.as_bytes(), "the log lines");
    let records = scene.records();
    let texts = records.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert_clean(texts.as_bytes(), "the audit log");
    assert_clean_folder(&scene.path("home"));
    assert_clean_folder(&scene.path("data"));
}

/// A server that gives back what it was authorized with, in the way that the path says.
fn echo() -> Wire {
    Wire::answering(|request: &Arrived, stream| {
        let bearer = request.header("authorization").first().copied().unwrap_or("nothing").to_owned();
        let value = bearer.trim_start_matches("Bearer ").to_owned();
        let line = request.line();
        let body = match line.rsplit('/').next().unwrap() {
            "header" => {
                let head = format!(
                    "HTTP/1.1 200 OK\r\nx-echo: {bearer}\r\nset-cookie: s={value}\r\ncontent-length: 2\r\n\r\nok"
                );
                return stream.write_all(head.as_bytes());
            }
            "error" => return stream.write_all(format!("HTTP/1.1 {value} {value}\r\n{value}\r\n\r\n").as_bytes()),
            "location" => return stream.write_all(&redirect(302, &format!("/{}", hex(&value)))),
            "gzip" => {
                let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                gzip.write_all(bearer.as_bytes())?;
                let body = gzip.finish()?;
                let head =
                    format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", body.len());
                stream.write_all(head.as_bytes())?;
                return stream.write_all(&body);
            }
            "split" => {
                stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", bearer.len()).as_bytes())?;
                for byte in bearer.bytes() {
                    stream.write_all(&[byte])?;
                    stream.flush()?;
                    std::thread::sleep(Duration::from_millis(2));
                }
                return Ok(());
            }
            "base64" => STANDARD.encode(&bearer),
            "base64url" => URL_SAFE.encode(format!("..{value}")),
            "hex" => hex(&value).to_uppercase(),
            "reversed" => value.chars().rev().collect(),
            "json" => json!({ "authorization": bearer }).to_string(),
            "percent" => url::form_urlencoded::byte_serialize(value.as_bytes()).collect(),
            _ => bearer,
        };
        stream.write_all(&text(&body))
    })
}

fn rule(port: u16, more: &str) -> String {
    format!(
        "{{ scheme = \"http\", host = \"127.0.0.1\", port = {port}, methods = [\"GET\", \"POST\"], paths = [\"/**\"]{more} }}"
    )
}

/// A scene whose tool `caller` has `attached` attached to its requests, and whose tool `signer` may see `signing-key`.
fn scene(rules: &[String]) -> Scene {
    let tools =
        [("caller", "probe-http"), ("signer", "probe-secret"), ("keeper", "probe-state"), ("other", "probe-secret")];
    let scene = Scene::with_tools(
        &tools,
        &format!(
            "[agent]\ntools = [\"caller\", \"signer\", \"keeper\", \"other\"]\nstdio = true\n[tools.caller]\nhttp = [{}]\n\
             [tools.signer]\nsecrets = [{{ reveal = \"signing-key\" }}]\nstdio = {{ accepts = [\"secret\"] }}\n\
             filesystem = [{{ host = \"../data\", guest = \"/data\", access = \"write\", accepts = [\"secret\"] }}]\n\
             [tools.keeper]\nstate = {{ namespace = \"notes\" }}\n\
             [tools.other]\nsecrets = [{{ reveal = \"foreign\" }}]\nstdio = true\n\
             filesystem = [{{ host = \"../data\", guest = \"/data\", access = \"write\" }}]\n\
             [output]\naccepts = [\"secret\"]\n",
            rules.join(", ")
        ),
    );
    std::fs::create_dir_all(scene.path("data")).unwrap();
    scene.set_secret("attached", VALUE);
    scene.set_secret("foreign", "another secret altogether");
    scene
}

fn attached(port: u16) -> Scene {
    scene(&[rule(port, ", redirects = 3, credential = \"attached\"")])
}

fn send(port: u16, path: &str) -> Value {
    json!({ "tool": "caller.send", "arguments": { "ask": { "authority": format!("127.0.0.1:{port}"), "path": path } } })
}

/// Runs the agent on these calls; nothing anywhere holds the value afterwards.
fn run(scene: &Scene, calls: &[Value]) -> (Value, Answer) {
    let input = json!({ "calls": calls }).to_string();
    let answer = scene.ambit(&["--format", "json", "run", "bundle", "--policy", "policy", "--input", &input]);
    let report = answer.json();
    if spellings().iter().any(|spelling| input.as_bytes().windows(spelling.len()).any(|window| window == spelling)) {
        // The journal holds what the operator gave the task.
        let forgotten = scene.ambit(&["task", "forget", report["task"].as_str().unwrap()]);
        assert_eq!(forgotten.code, 0, "{forgotten:?}");
    }
    assert_clean_run(scene, &answer);
    (report, answer)
}

#[test]
fn what_a_host_sends_back_of_a_credential_is_covered() {
    let echo = echo();
    let scene = attached(echo.port);
    let ways = [
        "body",
        "header",
        "gzip",
        "split",
        "base64",
        "base64url",
        "hex",
        "reversed",
        "json",
        "percent",
        "error",
        "location",
    ];
    let calls: Vec<_> = ways.iter().map(|way| send(echo.port, &format!("/{way}"))).collect();
    let (report, _) = run(&scene, &calls);
    assert_eq!(report["status"], "succeeded", "{report}");
    for (way, answer) in ways.iter().zip(report["output"].as_array().unwrap()) {
        match *way {
            // The place that a location leads to holds the value: the request that would follow is refused.
            "error" | "location" => assert!(answer["ok"].is_null(), "{way}: {answer}"),
            "header" => assert!(
                answer.to_string().contains("Bearer ****") && !answer.to_string().contains("cookie"),
                "{answer}"
            ),
            _ => assert!(answer["ok"]["body"].as_str().unwrap().contains("****"), "{way}: {answer}"),
        }
    }
    let bearer = format!("Bearer {VALUE}");
    let (first, redirected) =
        echo.arrived().into_iter().partition::<Vec<_>, _>(|request| !request.line().contains(&hex(VALUE)));
    assert!(first.iter().all(|request| request.header("authorization") == [bearer.as_str()]), "{first:?}");
    assert_eq!((first.len(), redirected.len()), (ways.len(), 0));
    let covered = scene
        .records_of("outcome", "http.request")
        .iter()
        .filter(|record| record.to_string().contains("covered"))
        .count();
    assert_eq!(covered, ways.len() - 2);
    assert_eq!(scene.records_of("intent", "secrets.lease").len(), 1, "one lease for all of them");
}

#[test]
fn what_a_task_was_lent_does_not_leave_it() {
    let echo = echo();
    let scene = attached(echo.port);
    let (begin, end) = VALUE.split_at(7);
    let url = format!("127.0.0.1:{}", echo.port);
    let ask = |ask: Value| json!({ "tool": "caller.send", "arguments": { "ask": ask } });
    let parts = json!([begin, end]);
    let hexed = hex(VALUE);
    let (report, answer) = run(
        &scene,
        &[
            send(echo.port, "/body"),
            ask(json!({ "authority": url, "method": "POST", "path": "/post", "pieces": parts })),
            ask(json!({ "authority": url, "path": format!("/out?q={}", hexed.to_uppercase()) })),
            ask(json!({ "authority": url, "path": "/out", "headers": [["x-note", hexed]] })),
            json!({ "tool": "other.note", "arguments": { "parts": parts, "path": "/data/note" } }),
            json!({ "tool": "other.say", "arguments": { "parts": parts } }),
            json!({ "tool": "other.fail", "arguments": { "parts": parts } }),
            json!({ "tool": "other.panics", "arguments": { "parts": parts } }),
            json!({ "tool": "other.join", "arguments": { "parts": parts } }),
            json!({ "tool": "keeper.set", "arguments": { "bucket": "", "key": "k", "value": hexed } }),
        ],
    );
    let output = report["output"].as_array().unwrap();
    assert!(output[0]["ok"].is_object(), "{report}");
    assert!(output[1..5].iter().chain(&output[6..]).all(|answer| answer["ok"].is_null()), "{report}");
    assert_eq!(echo.arrived().len(), 1);
    assert!(answer.stderr.contains("****"), "{answer:?}");
    let whys: Vec<String> =
        scene.records().iter().filter(|r| r["kind"] == "refusal").map(|r| r["detail"].to_string()).collect();
    assert!(whys.len() >= 5 && whys.iter().all(|why| why.contains("`attached`")), "{whys:?}");
    assert!(!std::fs::read_to_string(scene.path("data/note")).unwrap_or_default().contains(end));
}

#[test]
fn a_body_that_flows_is_cut_off_before_the_value_is_whole() {
    let echo = echo();
    let scene = scene(&[rule(echo.port, ", stream = true, credential = \"attached\"")]);
    let (begin, end) = VALUE.split_at(7);
    let url = format!("127.0.0.1:{}", echo.port);
    let post = |pieces: Value| {
        let ask = json!({ "authority": url, "method": "POST", "path": "/post", "pieces": pieces });
        json!({ "tool": "caller.send", "arguments": { "ask": ask } })
    };
    let (report, _) =
        run(&scene, &[post(json!(["plain ", begin, " and ", end])), post(json!(["before ", begin, end, " after"]))]);
    assert_eq!(report["output"][0]["ok"]["status"], 200, "{report}");
    assert!(report["output"][1]["ok"].is_null(), "{report}");
    let bodies = echo.bodies();
    assert!(bodies.contains(&format!("plain {begin} and {end}")) && !bodies.contains(VALUE), "{bodies}");
    assert!(!bodies.contains(&format!("before {begin}")), "the beginning was kept back: {bodies}");
}

#[test]
fn guests_set_no_credentials_of_their_own() {
    let echo = echo();
    let scene = scene(&[rule(
        echo.port,
        ", credential = { secret = \"attached\", header = \"x-desk-key\", prefix = \"key \" }",
    )]);
    let ask = |name: &str| {
        let ask =
            json!({ "authority": format!("127.0.0.1:{}", echo.port), "path": "/none", "headers": [[name, "guessed"]] });
        json!({ "tool": "caller.send", "arguments": { "ask": ask } })
    };
    let names =
        ["authorization", "cookie", "x-api-key", "X-Desk-Key", "x_desk-key", "proxy-authorization", "private-token"];
    let (report, _) = run(&scene, &names.map(ask));
    for (name, answer) in names.iter().zip(report["output"].as_array().unwrap()) {
        assert!(answer["ok"].is_null(), "{name}: {answer}");
    }
    assert_eq!(echo.connections(), 0);
    run(&scene, &[send(echo.port, "/none")]);
    assert_eq!(echo.arrived()[0].header("x-desk-key"), [format!("key {VALUE}")]);
}

#[test]
fn a_redirect_takes_no_credential_along() {
    let second = echo();
    let to = format!("http://127.0.0.1:{}/second", second.port);
    let first = Wire::answering(move |_, stream| stream.write_all(&redirect(307, &to)));
    let more = ", redirects = 3, credential = \"attached\"";
    let scene = scene(&[rule(first.port, more), rule(second.port, more)]);
    let (report, _) = run(&scene, &[send(first.port, "/")]);
    assert_eq!(report["output"][0]["ok"]["body"], "nothing", "{report}");
    assert_eq!(first.arrived()[0].header("authorization").len(), 1);
    assert!(second.arrived()[0].header("authorization").is_empty());
}

#[test]
fn a_basic_credential_names_its_user() {
    let echo = echo();
    let scene = scene(&[rule(echo.port, ", credential = { secret = \"attached\", user = \"git\" }")]);
    let (report, _) = run(&scene, &[send(echo.port, "/body")]);
    assert!(report["output"][0]["ok"]["body"].as_str().unwrap().contains("****"), "{report}");
    assert_eq!(
        echo.arrived()[0].header("authorization"),
        [format!("Basic {}", STANDARD.encode(format!("git:{VALUE}")))]
    );
}

#[test]
fn what_is_not_ones_own_is_refused_like_what_is_not_there() {
    let echo = echo();
    let scene = attached(echo.port);
    scene.set_secret("signing-key", "a key to sign with");
    // `attached` is granted to another host's requests alone, `foreign` to another tool, and `nothing` does not exist.
    let names = ["attached", "foreign", "nothing", "billing", "\u{0}", "attached\n"];
    let calls = names.map(|name| json!({ "tool": "signer.refused", "arguments": { "name": name } }));
    let (report, _) = run(&scene, &calls);
    let answers = report["output"].as_array().unwrap();
    assert!(answers.iter().all(|answer| answer == &answers[0]), "{report}");
    assert!(answers[0]["ok"].as_str().unwrap().contains("NotGranted"), "{report}");
    assert_eq!(scene.records_of("refusal", "secrets.reveal").len(), names.len());
    // A task of another bundle's, and one after this, is told the same.
    let (again, _) = run(&scene, &calls);
    assert_eq!(again["output"], report["output"]);
}

#[test]
fn a_secret_is_revealed_to_one_store_and_stays_there() {
    let echo = echo();
    let scene = attached(echo.port);
    scene.set_secret("signing-key", VALUE);
    let call = |function: &str, mut more: Value| {
        more["name"] = "signing-key".into();
        json!({ "tool": format!("signer.{function}"), "arguments": more })
    };
    let (report, answer) = run(
        &scene,
        &[
            call("reveal", json!({})),
            call("give", json!({ "spelling": "plain" })),
            call("give", json!({ "spelling": "hex" })),
            call("give-bytes", json!({})),
            call("fall", json!({})),
            call("print", json!({ "spelling": "plain" })),
            call("print", json!({ "spelling": "reversed" })),
        ],
    );
    let output = report["output"].as_array().unwrap();
    assert_eq!(output[0]["ok"], VALUE.len(), "{report}");
    for answer in &output[1..5] {
        assert!(answer["ok"].is_null(), "{report}");
    }
    assert_eq!(report["labels"], json!(["secret"]), "whoever saw it is marked");
    assert!(answer.stderr.matches("****").count() >= 2, "{answer:?}");
    assert_eq!(scene.records_of("intent", "secrets.reveal").len(), 7);
    // Nowhere else: not where other stores of the task read, nor what comes of it alone.
    let grants = std::fs::read_to_string(scene.path("policy/grants.toml")).unwrap();
    let shared = "[tools.signer]\nworkspace = { guest = \"/workspace\", accepts = [\"secret\"] }\n";
    scene.grant(&grants.split_once('\n').unwrap().1.replace("[tools.signer]\n", shared));
    let (report, _) = run(&scene, &[call("write", json!({ "path": "/workspace/signed" }))]);
    assert!(report["output"][0]["error"].is_string(), "{report}");
    let arguments = json!({ "name": "signing-key", "spelling": "plain" }).to_string();
    let alone = ["--format", "json", "call", "bundle/signer.wasm", "give", &arguments, "--grant", "policy/grants.toml"];
    let answer = scene.ambit(&alone);
    assert!(answer.json()["error"]["message"].as_str().unwrap().contains("withheld"), "{answer:?}");
    assert_clean_run(&scene, &answer);
    scene.grant(grants.split_once('\n').unwrap().1);
    // It may write it where the operator said that the label may go.
    let input = json!({ "calls": [call("write", json!({ "path": "/data/signed" }))] }).to_string();
    let report = scene.ambit(&["--format", "json", "run", "bundle", "--policy", "policy", "--input", &input]).json();
    assert!(report["output"][0]["error"].is_null(), "{report}");
    assert_eq!(std::fs::read_to_string(scene.path("data/signed")).unwrap(), VALUE);
}

/// A scene where `caller`'s credential needs a yes, which holds for as long.
fn asking(port: u16, ttl: &str) -> Scene {
    let scene = attached(port);
    scene.rules(&format!(
        "@id(\"all\") permit (principal, action, resource);
         @id(\"ask\") @approval(\"desk\") @ttl(\"{ttl}\")
         forbid (principal, action == Ambit::Action::\"secrets.lease\", resource == Ambit::Secret::\"attached\")
         unless {{ context.host == \"127.0.0.1\" && context.approvals.contains(\"desk\") }};"
    ));
    let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(scene.path("data")).unwrap());
    scene.write("home/config.toml", format!("[people.maria]\nuid = {uid}\ngroups = [\"desk\"]\n").as_bytes());
    scene
}

fn start(scene: &Scene, calls: &[Value]) -> Running {
    let input = json!({ "calls": calls }).to_string();
    let arguments =
        ["--format", "json", "run", "bundle", "--policy", "policy", "--approvals", "wait", "--input", &input];
    Running::start(&mut scene.command(&arguments))
}

#[test]
fn access_for_a_while_is_asked_for_once_and_ends() {
    let first = Latch::default();
    let opened = first.clone();
    let slow = Wire::answering(move |request, stream| {
        if request.line().ends_with("/slow") {
            opened.wait();
        }
        stream.write_all(&text("hello"))
    });
    let scene = asking(slow.port, "3s");
    let running =
        start(&scene, &[send(slow.port, "/a"), send(slow.port, "/b"), send(slow.port, "/slow"), send(slow.port, "/c")]);
    let yes = |id: &str| assert_eq!(scene.ambit(&["approvals", "approve", id]).code, 0);
    yes(&running.question());
    // The first three need no other yes; when the slow one is answered, the access is over.
    slow.wait_for(3);
    // What is waited for is time: the three seconds, and one more.
    std::thread::sleep(Duration::from_secs(4));
    first.open();
    let second = running.question();
    assert_eq!(slow.arrived().len(), 3, "nothing is sent without it");
    assert_eq!(scene.ambit(&["approvals", "deny", &second]).code, 0);
    let report = running.end().json();
    assert_eq!(report["output"][2]["ok"]["status"], 200, "{report}");
    assert!(report["output"][3]["ok"].is_null(), "{report}");
    assert_eq!(slow.arrived().len(), 3);
    assert_eq!(scene.records_of("intent", "secrets.lease").len(), 1);
    // Another task has no part in it.
    let next = start(&scene, &[send(slow.port, "/d")]);
    scene.ambit(&["approvals", "deny", &next.question()]);
    assert!(next.end().json()["output"][0]["ok"].is_null());
}

#[test]
fn a_secret_that_is_removed_ends_the_lease() {
    let (slow, latch) = Wire::held();
    let scene = attached(slow.port);
    let running = start(&scene, &[send(slow.port, "/a"), send(slow.port, "/b")]);
    slow.wait_for(1);
    assert_eq!(scene.ambit(&["secret", "remove", "attached"]).code, 0);
    latch.open();
    let answer = running.end();
    assert_clean_run(&scene, &answer);
    let report = answer.json();
    assert_eq!(report["output"][0]["ok"]["status"], 200, "{report}");
    assert!(report["output"][1]["ok"].is_null(), "{report}");
    assert_eq!(slow.arrived().len(), 1);
}

#[test]
fn rules_that_are_changed_end_the_lease() {
    let (slow, latch) = Wire::held();
    let scene = attached(slow.port);
    scene.rules("@id(\"all\") permit (principal, action, resource);");
    let running = start(&scene, &[send(slow.port, "/a"), send(slow.port, "/b")]);
    slow.wait_for(1);
    scene.rules(
        "@id(\"all\") permit (principal, action, resource);
         @id(\"stop\") forbid (principal, action == Ambit::Action::\"secrets.lease\", resource);",
    );
    latch.open();
    let report = running.end().json();
    assert_eq!(report["output"][0]["ok"]["status"], 200, "{report}");
    assert!(report["output"][1]["ok"].is_null(), "{report}");
    assert_eq!(scene.records_of("refusal", "secrets.lease")[0]["rules"], json!(["stop"]));
    assert_eq!(slow.arrived().len(), 1);
}

#[test]
fn what_was_kept_before_it_was_lent_is_covered_from_then_on() {
    let echo = echo();
    let scene = attached(echo.port);
    let keep = json!({ "tool": "keeper.set", "arguments": { "bucket": "", "key": "k", "value": VALUE } });
    let input = json!({ "calls": [keep] }).to_string();
    let before = scene.ambit(&["--format", "json", "run", "bundle", "--policy", "policy", "--input", &input]).json();
    assert!(before["output"][0]["error"].is_null(), "{before}");
    let get = json!({ "tool": "keeper.get", "arguments": { "bucket": "", "key": "k" } });
    let input = json!({ "calls": [send(echo.port, "/none"), get] }).to_string();
    let answer = scene.ambit(&["--format", "json", "run", "bundle", "--policy", "policy", "--input", &input]);
    assert!(answer.stdout.contains("****"), "{answer:?}");
    assert_clean(answer.stdout.as_bytes(), "the output");
    let outcomes = scene.records_of("outcome", "state.read");
    assert!(outcomes[0]["detail"].as_str().unwrap().contains("attached"), "{outcomes:?}");
}

#[test]
fn a_request_is_decided_on_once_more_when_its_credential_is_there() {
    let echo = echo();
    let scene = attached(echo.port);
    let (report, _) = run(&scene, &[send(echo.port, "/none")]);
    assert_eq!(report["output"][0]["ok"]["status"], 200, "{report}");
    // The last effect was the lease: with it there is one more than when the request was decided on.
    let before = report["usage"]["effects"].as_u64().unwrap() - 1;
    scene.rules(&format!(
        "@id(\"all\") permit (principal, action, resource);
         @id(\"few\") forbid (principal, action == Ambit::Action::\"http.request\", resource)
         when {{ principal.usage.effects > {before} }};"
    ));
    let (report, _) = run(&scene, &[send(echo.port, "/none")]);
    assert!(report["output"][0]["ok"].is_null(), "{report}");
    let outcomes = scene.records_of("outcome", "http.request");
    assert_eq!((outcomes[1]["code"].as_str(), echo.connections()), (Some("refused"), 1), "{outcomes:?}");
}

#[test]
fn a_secret_is_set_from_standard_input_and_never_shown() {
    let scene = attached(1);
    let listed = scene.ambit(&["secret", "list"]);
    assert!(listed.stdout.contains("attached") && listed.stdout.contains("foreign"), "{listed:?}");
    assert_eq!(scene.ambit(&["secret", "rotate"]).stdout, "2 sealed anew\n");
    assert_clean_run(&scene, &listed);
    assert_eq!(scene.ambit(&["secret", "set", "late", "value-on-the-command-line"]).code, 2);
    assert_eq!(scene.ambit(&["secret", "set", "late"]).code, 2, "an empty one is none");
    assert_eq!(scene.ambit(&["secret", "remove", "late"]).code, 2);
    assert_eq!(scene.records_of("operator", "secret.set").len(), 2);
    // Other sources.
    scene.write("home/token", b"in a file, this one\n");
    let config =
        "[secrets.late]\nsource = { environment = \"LATE\" }\n[secrets.filed]\nsource = { file = \"token\" }\n";
    scene.write("home/config.toml", config.as_bytes());
    let refused = scene.ambit(&["secret", "set", "late"]);
    assert!(refused.code == 2, "{refused:?}");
    let listed = scene.ambit(&["--format", "json", "secret", "list"]).json();
    assert_eq!(listed.as_array().unwrap().len(), 4, "{listed}");
}

#[test]
fn values_come_from_the_environment_and_from_files_as_well() {
    let echo = echo();
    let scene = scene(&[
        rule(echo.port, ", credential = \"late\"").replace("/**", "/late/**"),
        rule(echo.port, ", credential = \"filed\"").replace("/**", "/filed/**"),
    ]);
    scene.write("home/token", format!("{VALUE}\n").as_bytes());
    std::fs::set_permissions(scene.path("home/token"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let config =
        "[secrets.late]\nsource = { environment = \"LATE\" }\n[secrets.filed]\nsource = { file = \"token\" }\n";
    scene.write("home/config.toml", config.as_bytes());
    let input = json!({ "calls": [send(echo.port, "/late/body"), send(echo.port, "/filed/body")] }).to_string();
    let arguments = ["--format", "json", "run", "bundle", "--policy", "policy", "--input", &input];
    let report = scene.ambit_with(&arguments, &[("LATE", "from the environment")]).json();
    assert_eq!(report["status"], "succeeded", "{report}");
    assert!(report["output"].as_array().unwrap().iter().all(|answer| answer.to_string().contains("****")), "{report}");
    let bearers: Vec<_> = echo.arrived().iter().map(|request| request.header("authorization")[0].to_owned()).collect();
    assert_eq!(bearers, ["Bearer from the environment".to_owned(), format!("Bearer {VALUE}")]);
    // A file that everybody reads is no place for one.
    std::fs::set_permissions(scene.path("home/token"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let report = scene.ambit_with(&arguments, &[]).json();
    assert!(report["output"].as_array().unwrap().iter().all(|answer| answer["ok"].is_null()), "{report}");
    let records = scene.records_of("outcome", "secrets.lease");
    assert!(records.iter().any(|record| record.to_string().contains("everybody")), "{records:?}");
}
