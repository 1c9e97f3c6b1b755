//! What bounds requests and responses: bytes, time, headers, budgets, labels, and how many are under way.

use std::io::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::support::Scene;
use super::super::wire::{Wire, until_gone};
use super::{authority, get, grant, heard, post, refusals, rule, rule_of, scene, send, send_each};

/// A server whose answer is as long as its path says, and framed as it says.
fn long() -> Wire {
    Wire::answering(|request, stream| {
        let line = request.line();
        let (how, length) = line.trim_start_matches("GET /v1/").split_once('/').unwrap();
        let length: usize = length.parse().unwrap();
        let piece = [b'x'; 4096];
        match how {
            "plain" => stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").as_bytes())?,
            "endless" => stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?,
            "slow" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
                return trickle(stream);
            }
            "slow-head" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
                return trickle(stream);
            }
            "headers" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
                for number in 0..length {
                    stream.write_all(format!("x-{number}: y\r\n").as_bytes())?;
                }
                return stream.write_all(b"content-length: 0\r\n\r\n");
            }
            "bomb" => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
                encoder.write_all(&vec![0; length])?;
                let bomb = encoder.finish()?;
                let head =
                    format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", bomb.len());
                stream.write_all(head.as_bytes())?;
                return stream.write_all(&bomb);
            }
            "both" => {
                return stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
            }
            "chunks" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
                for _ in 0..length {
                    stream.write_all(b"1000\r\n")?;
                    stream.write_all(&piece)?;
                    stream.write_all(b"\r\n")?;
                }
                return stream.write_all(b"0\r\nx-trailer: secret\r\n\r\n");
            }
            other => panic!("{other}"),
        }
        for _ in 0..length / piece.len() {
            stream.write_all(&piece)?;
        }
        Ok(())
    })
}

/// One byte now and then, until the client goes away.
fn trickle(stream: &mut std::net::TcpStream) -> std::io::Result<()> {
    loop {
        stream.write_all(b"x")?;
        // It is slow: that is what it is for.
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn responses_have_bounds_of_bytes_time_headers_and_ratio() {
    let wire = long();
    let slow = "paths = [\"/v1/slow/*\", \"/v1/slow-head/*\"], time = \"300ms\"";
    let scene = scene(&[rule(&wire, slow), rule(&wire, "response = \"1MiB\"")]);
    let too_long = "exceeds limit: 1048576 bytes";
    let cases: [(&str, Result<u64, &str>); 12] = [
        ("plain/1048576", Ok(1 << 20)),
        ("chunks/256", Ok(1 << 20)),
        ("plain/1052672", Err(too_long)),
        ("chunks/257", Err(too_long)),
        ("endless/100000000", Err(too_long)),
        ("chunks/500000", Err(too_long)),
        ("slow/0", Err("HTTP response timeout")),
        ("slow-head/0", Err("HttpResponseTimeout")),
        ("headers/90", Ok(0)),
        ("headers/200", Err("HttpProtocolError")),
        ("bomb/60000", Ok(60_000)),
        ("bomb/20000000", Err("response content coding")),
    ];
    let asks: Vec<Value> = cases.iter().map(|(path, _)| get(&wire, &format!("/v1/{path}"))).collect();
    for ((path, expected), answer) in cases.iter().zip(send_each(&scene, &asks)) {
        match expected {
            Ok(length) => assert_eq!(answer["ok"]["length"], *length, "{path}: {}", answer["error"]),
            Err(why) => assert!(answer["error"].as_str().unwrap_or_default().contains(why), "{path}: {answer}"),
        }
    }
    let failed = scene.records_of("outcome", "http.request").iter().filter(|record| record["code"] == "failed").count();
    assert_eq!(failed, 8);
}

#[test]
fn a_message_that_is_framed_in_two_ways_and_trailers_reach_no_guest() {
    let wire = long();
    let scene = scene(&[rule(&wire, "")]);
    let answers = send_each(&scene, &["both/0", "chunks/1"].map(|path| get(&wire, &format!("/v1/{path}"))));
    // RFC 9112, section 6.3: `transfer-encoding` overrides `content-length`; or it is an error.
    assert!(answers[0]["ok"]["body"] == "hello" || answers[0]["error"].is_string(), "{}", answers[0]);
    assert_eq!(answers[1]["ok"]["length"], 4096);
    assert!(!answers[1].to_string().contains("secret"));
    for header in ["transfer-encoding", "connection"] {
        assert!(!answers[1]["ok"]["headers"].to_string().contains(header), "{}", answers[1]);
    }
}

#[test]
fn a_request_that_cannot_be_recorded_is_not_sent() {
    let wire = Wire::greeting();
    let scene = scene(&[rule(&wire, "")]);
    scene.run(&json!({ "calls": [] }));
    let database = rusqlite::Connection::open(scene.path("home/ambit.db")).unwrap();
    let broken = "CREATE TRIGGER broken BEFORE INSERT ON audit WHEN NEW.action = 'http.request' \
                  BEGIN SELECT RAISE(ABORT, 'no space'); END;";
    database.execute_batch(broken).unwrap();
    let calls = json!({ "calls": [{ "tool": "prober.send", "arguments": { "ask": get(&wire, "/v1/x") } }] });
    let answer = scene.ambit(&["run", "bundle", "--policy", "policy", "--input", &calls.to_string()]);
    assert_eq!((answer.code, wire.connections()), (0, 0), "{answer:?}");
    assert!(answer.stdout.contains("HttpRequestDenied"), "{answer:?}");
    assert_eq!(scene.records_of("operator", "audit.lost").len(), 1);
}

#[test]
fn requests_have_bounds_too() {
    let wire = Wire::greeting();
    let scene = scene(&[rule(&wire, "request = \"64KiB\"")]);
    let ask = |size: u32| json!({ "method": "POST", "authority": authority(&wire), "path": "/v1/x", "size": size });
    assert_eq!(send(&scene, &ask(65_536))["ok"]["status"], 200);
    assert_eq!(send(&scene, &ask(65_537))["error"], "ErrorCode::HttpRequestBodySize(Some(65536))");
    assert_eq!(send(&scene, &ask(4 << 20))["error"], "ErrorCode::HttpRequestBodySize(Some(65536))");
    assert_eq!((wire.connections(), wire.arrived()[0].body.len()), (1, 65_536));
    assert_eq!(refusals(&scene).iter().filter(|record| record["code"] == "quota").count(), 2);
    // Timeouts that a guest asks for shorten the wait, also to nothing.
    let silent = Wire::answering(|_, stream| {
        until_gone(stream);
        Ok(())
    });
    scene.grant(&grant(&[rule(&silent, "")]));
    for nanoseconds in [0u64, 1, 20_000_000] {
        let ask = json!({ "authority": authority(&silent), "path": "/v1/x", "timeout": nanoseconds });
        let error = send(&scene, &ask)["error"].as_str().unwrap().to_owned();
        assert!(
            ["ErrorCode::ConnectionTimeout", "ErrorCode::HttpResponseTimeout"].contains(&error.as_str()),
            "{error}"
        );
    }
}

#[test]
fn a_task_has_a_budget_for_each_host() {
    let (wire, other) = (Wire::greeting(), Wire::greeting());
    let scene = scene(&[
        rule(&wire, "budget = { requests = 3 }"),
        rule_of(
            "localhost",
            other.port,
            "addresses = [\"127.0.0.1\", \"::1\"], budget = { sent = \"1KiB\", received = \"2KiB\" }",
        ),
    ]);
    let ask = get(&wire, "/v1/x");
    let answers = send_each(&scene, vec![&ask; 5]);
    let status = |answer: &Value| answer["ok"]["status"].as_u64().unwrap_or(0);
    // Every call has a store of its own; the budget is the task's.
    assert_eq!(answers.iter().map(status).collect::<Vec<_>>(), [200, 200, 200, 0, 0]);
    assert_eq!((wire.connections(), refusals(&scene).len()), (3, 2));
    assert!(refusals(&scene)[0]["detail"].as_str().unwrap().contains("4 of 3"));
    // The next task has its own.
    assert_eq!(status(&send(&scene, &ask)), 200);
    // What is split into pieces, into queries and headers adds up.
    let data = "x".repeat(200);
    let piece = json!({ "authority": format!("localhost:{}", other.port), "path": format!("/v1/x?{data}"), "headers": [["x-data", data]] });
    let answers = send_each(&scene, vec![&piece; 4]);
    assert_eq!(answers.iter().map(status).collect::<Vec<_>>(), [200, 200, 0, 0]);
    assert_eq!(answers[3]["error"], "ErrorCode::HttpRequestDenied");
    assert_eq!(other.connections(), 2);
}

#[test]
fn nothing_confidential_leaves_in_pieces_or_through_a_body_that_was_opened_before() {
    let (inside, outside) = (Wire::greeting(), Wire::greeting());
    let labelled = "labels = [\"confidential\"]";
    let rules = |stream: &str| {
        let rules = [rule(&inside, labelled), rule_of("127.0.0.1", outside.port, stream)];
        format!("{}[output]\naccepts = [\"confidential\"]\n", grant(&rules))
    };
    let scene = scene(&[]);
    scene.grant(&rules("redirects = 0"));
    let (read, post) = (get(&inside, "/v1/x"), post(&outside, "secret"));
    let hold = || scene.probe("hold-open", &json!({ "first": post, "then": read }))["ok"].clone();
    // Nothing was read yet.
    assert_eq!(send(&scene, &post)["ok"]["status"], 200);
    let answers = send_each(&scene, [&read, &post, &get(&outside, "/v1/?secret"), &read, &post]);
    for (number, ok) in [(0, true), (1, false), (2, false), (3, true), (4, false)] {
        assert_eq!(answers[number]["ok"].is_object(), ok, "{number}: {}", answers[number]);
    }
    let held = hold();
    assert_eq!(held[0]["err"], "ErrorCode::HttpRequestDenied", "{held}");
    assert_eq!(held[1]["ok"]["status"], 200);
    assert_eq!((outside.connections(), refusals(&scene).len()), (1, 4));
    // A body that flows is cut off when the task gains a label.
    scene.grant(&rules("stream = true"));
    assert_eq!(send(&scene, &post)["ok"]["status"], 200);
    let held = hold();
    assert_eq!(held[0]["err"], "ErrorCode::HttpRequestDenied", "{held}");
    assert_eq!(outside.bodies(), "secretsecret");
    let last = refusals(&scene).pop().unwrap();
    assert_eq!((&last["kind"], &last["code"]), (&json!("outcome"), &json!("refused")));
    assert!(last["detail"].as_str().unwrap().contains("gained labels"), "{last}");
}

#[test]
fn a_body_that_flows_has_bounds_and_nobody_is_asked_about_it() {
    let wire = Wire::greeting();
    let scene = scene(&[rule(&wire, "stream = true, request = \"1MiB\"")]);
    let ask = |size: u32| json!({ "method": "POST", "authority": authority(&wire), "path": "/v1/x", "size": size });
    assert_eq!(send(&scene, &ask(1 << 20))["ok"]["status"], 200);
    assert_eq!(wire.arrived()[0].header("transfer-encoding"), ["chunked"]);
    assert_eq!(send(&scene, &ask((1 << 20) + 1))["error"], "ErrorCode::HttpRequestBodySize(Some(1048576))");
    let start = "@id(\"start\") permit (principal, action in Ambit::Action::\"tools.call\", resource);\n";
    scene.rules(&format!("{start}@id(\"small\") permit (principal, action, resource) when {{ context has bytes && context.bytes < 1000 }};"));
    assert_eq!(send(&scene, &ask(1))["error"], "ErrorCode::HttpRequestDenied");
    scene.rules(&format!(
        "{start}@id(\"all\") permit (principal, action, resource);\n@id(\"ask\") @approval(\"ops\") \
         forbid (principal, action == Ambit::Action::\"http.request\", resource) unless {{ context.approvals.contains(\"ops\") }};"
    ));
    scene.write("home/config.toml", b"[people.maria]\nuid = 12345\ngroups = [\"ops\"]\n");
    let call = json!({ "calls": [{ "tool": "prober.send", "arguments": { "ask": ask(1) } }] }).to_string();
    let run = ["--format", "json", "run", "bundle", "--policy", "policy", "--approvals", "wait", "--input", &call];
    assert_eq!(heard(scene.ambit(&run).json()["output"][0].clone())["error"], "ErrorCode::HttpRequestDenied");
    let refused = refusals(&scene).pop().unwrap();
    assert_eq!(refused["code"], "needs-approval");
    assert!(refused["detail"].as_str().unwrap().contains("flows"), "{refused}");
}

#[test]
fn who_lets_go_of_a_request_or_ends_before_it_leaves_a_log_that_says_so() {
    let silent = Wire::answering(|_, stream| {
        until_gone(stream);
        Ok(())
    });
    let wire = Wire::greeting();
    let scene = scene(&[rule(&silent, ""), rule(&wire, "")]);
    let one = get(&silent, "/v1/x");
    let left = scene.probe("leave", &json!({ "ask": one, "then": get(&wire, "/v1/x") }));
    assert_eq!(left["ok"]["status"], 200, "{left}");
    // Whatever was begun has an end in the log, before the task's own.
    let ends = |scene: &Scene| {
        let outcomes = scene.records_of("outcome", "http.request");
        assert_eq!(scene.records_of("intent", "http.request").len(), outcomes.len());
        assert_eq!(scene.records().last().unwrap()["kind"], "end");
        outcomes.iter().map(|record| record["code"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ends(&scene), ["done", "abandoned"]);
    // Also when its time is over, and its request under way.
    scene.grant(&format!("[limits]\nwall-time = \"1s\"\n{}", grant(&[rule(&silent, "")])));
    let report = scene.run(&json!({ "calls": [{ "tool": "prober.send", "arguments": { "ask": one } }] }));
    assert_eq!((&report["status"], &report["error"]["code"]), (&json!("exhausted"), &json!("wall-time")), "{report}");
    assert_eq!(ends(&scene), ["done", "abandoned", "abandoned"]);
    // Who begins more than can be under way is refused, whether it waits for them or not.
    scene.grant(&grant(&[rule(&silent, "")]));
    scene.probe("let-go", &json!({ "ask": one, "times": 200 }));
    let refused = refusals(&scene);
    assert_eq!(refused.len(), 200 - 64);
    assert!(refused.iter().all(|record| record["code"] == "quota"), "{refused:?}");
    assert_eq!(ends(&scene).len(), 3);
    // Many at once have all their turn.
    scene.grant(&grant(&[rule(&wire, "")]));
    let all = scene.probe("send-all", &json!({ "asks": vec![get(&wire, "/v1/x"); 40] }));
    assert!(all["ok"].as_array().unwrap().iter().all(|answer| answer["ok"]["status"] == 200), "{all}");
    // A limit of the task that is spent beside the guest ends the task.
    scene.grant(&format!("[limits]\neffects = 10\n{}", grant(&[rule(&wire, "")])));
    let call = json!({ "tool": "prober.send-all", "arguments": { "asks": vec![get(&wire, "/v1/x"); 40] } });
    let report = scene.run(&json!({ "calls": [call] }));
    assert_eq!(report["status"], "exhausted", "{report}");
}
