//! Requests: exactly what a grant lists leaves the host, as the host has built it.

mod limits;

use std::io::Write as _;

use serde_json::{Value, json};

use super::support::Scene;
use super::wire::{Wire, redirect, text};

/// A rule for a server of a test. `more` may overwrite nothing; it adds.
fn rule(wire: &Wire, more: &str) -> String {
    rule_of("127.0.0.1", wire.port, more)
}

fn rule_of(host: &str, port: u16, more: &str) -> String {
    let more =
        if more.contains("methods") { more.to_owned() } else { format!("methods = [\"GET\", \"POST\"], {more}") };
    let more = if more.contains("paths") { more } else { format!("paths = [\"/v1/**\"], {more}") };
    format!("{{ scheme = \"http\", host = \"{host}\", port = {port}, {more} }}")
}

fn scene(rules: &[String]) -> Scene {
    Scene::with_tools(&[("prober", "probe-http")], &grant(rules))
}

fn grant(rules: &[String]) -> String {
    format!("[agent]\ntools = [\"prober\"]\n[tools.prober]\nhttp = [{}]\n", rules.join(", "))
}

fn send(scene: &Scene, ask: &Value) -> Value {
    heard(scene.probe("send", &json!({ "ask": ask })))
}

/// What the tool said: the error that it got, where it got one.
fn heard(answer: Value) -> Value {
    if answer["error"] == "failed" { json!({ "error": answer["value"] }) } else { answer }
}

/// Sends them one after another, in one task.
fn send_each<'a>(scene: &Scene, asks: impl IntoIterator<Item = &'a Value>) -> Vec<Value> {
    let call = |ask: &'a Value| json!({ "tool": "prober.send", "arguments": { "ask": ask } });
    let calls: Vec<Value> = asks.into_iter().map(call).collect();
    let report = scene.run(&json!({ "calls": calls }));
    report["output"].as_array().unwrap().iter().cloned().map(heard).collect()
}

fn authority(wire: &Wire) -> String {
    format!("127.0.0.1:{}", wire.port)
}

fn get(wire: &Wire, path: &str) -> Value {
    json!({ "authority": authority(wire), "path": path })
}

fn post(wire: &Wire, body: &str) -> Value {
    json!({ "method": "POST", "authority": authority(wire), "path": "/v1/x", "pieces": [body] })
}

/// The records of refused requests.
fn refusals(scene: &Scene) -> Vec<Value> {
    let is_refused = |record: &Value| {
        record["kind"] == "refusal"
            || (record["kind"] == "outcome" && ["refused", "quota"].contains(&record["code"].as_str().unwrap()))
    };
    scene.records().into_iter().filter(|record| record["action"] == "http.request" && is_refused(record)).collect()
}

#[test]
fn a_granted_request_goes_out_as_the_host_has_built_it() {
    let wire = Wire::greeting();
    let scene = scene(&[rule(&wire, "")]);
    let ask = json!({
        "method": "POST", "authority": authority(&wire), "path": "/v1/a%2Db?x=1", "pieces": ["one, ", "two"],
        "headers": [["content-type", "text/plain"], ["X-Mine", "1"], ["accept-encoding", "br"], ["content-length", "8"]],
    });
    let answer = send(&scene, &ask);
    assert_eq!((&answer["ok"]["status"], &answer["ok"]["body"]), (&json!(200), &json!("hello")), "{answer}");
    let [request] = &wire.arrived()[..] else { panic!("{:?}", wire.arrived()) };
    assert_eq!((request.line(), request.body.as_slice()), ("POST /v1/a-b?x=1".to_owned(), &b"one, two"[..]));
    for (name, values) in [
        ("host", vec![authority(&wire)]),
        ("content-length", vec!["8".to_owned()]),
        ("transfer-encoding", vec![]),
        ("accept-encoding", vec!["gzip".to_owned()]),
        ("content-type", vec!["text/plain".to_owned()]),
        ("x-mine", vec!["1".to_owned()]),
    ] {
        assert_eq!(request.header(name), values, "{name}");
    }
    let names: Vec<&str> = request.head.lines().skip(1).map(|line| line.split(':').next().unwrap()).collect();
    let user_agent = "user-agent";
    assert_eq!(
        names,
        [
            "host",
            "accept-encoding",
            "connection",
            "content-type",
            "x-mine",
            user_agent,
            "idempotency-key",
            "content-length"
        ]
    );
    let [outcome] = &scene.records_of("outcome", "http.request")[..] else { panic!() };
    let detail: Value = serde_json::from_str(outcome["detail"].as_str().unwrap()).unwrap();
    assert_eq!((&outcome["code"], &outcome["resource"]), (&json!("done"), &json!("Host::\"127.0.0.1\"")));
    assert_eq!((&detail["status"], &detail["address"]), (&json!(200), &json!(authority(&wire))));
    assert!(detail["sent"].as_u64().unwrap() > 8 && detail["received"].as_u64().unwrap() > 5, "{detail}");
}

/// What a guest asks for, and nothing must come of.
#[test]
fn what_no_rule_lists_opens_no_connection_and_is_recorded_once() {
    let (wire, other) = (Wire::greeting(), Wire::greeting());
    let scene = scene(&[rule(&wire, "methods = [\"GET\"]")]);
    let host = authority(&wire);
    let at = |authority: &str, path: &str| json!({ "authority": authority, "path": path });
    let denied = "ErrorCode::HttpRequestDenied";
    let odd = "ErrorCode::HttpRequestUriInvalid";
    let cases: Vec<(Value, &str)> = vec![
        // Another host, port, scheme, method, path.
        (at(&authority(&other), "/v1/x"), denied),
        (at("127.0.0.1", "/v1/x"), denied),
        (at("127.0.0.2:80", "/v1/x"), denied),
        (at("example.com", "/v1/x"), denied),
        (at(&format!("localhost:{}", wire.port), "/v1/x"), denied),
        (json!({ "scheme": "https", "authority": host, "path": "/v1/x" }), denied),
        (json!({ "scheme": "ftp", "authority": host, "path": "/v1/x" }), odd),
        (json!({ "method": "POST", "authority": host, "path": "/v1/x", "pieces": ["x"] }), denied),
        (json!({ "method": "get", "authority": host, "path": "/v1/x" }), denied),
        (json!({ "method": "CONNECT", "authority": host, "path": "/v1/x" }), denied),
        (at(&host, "/"), denied),
        (at(&host, "/v1"), denied),
        (at(&host, "/v2/x"), denied),
        (at(&host, "/admin"), denied),
        // Paths that a server could read otherwise.
        (at(&host, "/v1/../admin"), odd),
        (at(&host, "/v1/%2e%2e/admin"), odd),
        (at(&host, "/v1/%2E./admin"), odd),
        (at(&host, "//v1/x"), odd),
        (at(&host, "/v1//x"), odd),
        (at(&host, "/v1/..;/admin"), odd),
        (at(&host, "/v1/;x"), odd),
        (at(&host, "/v1/%2fadmin"), odd),
        (at(&host, "/v1/%252e%252e/admin"), odd),
        // A name that carries data, below a host that is granted, and names that mean the machine itself.
        (at(&format!("c2VjcmV0.{host}"), "/v1/x"), odd),
        (at("secret.example.com", "/v1/x"), denied),
        (at("localhost.", "/v1/x"), odd),
        (at("metadata.google.internal", "/v1/x"), denied),
        (at(&format!("127.1:{}", wire.port), "/v1/x"), odd),
        (at(&format!("0x7f000001:{}", wire.port), "/v1/x"), odd),
        (at(&format!("2130706433:{}", wire.port), "/v1/x"), odd),
        (at(&format!("0177.0.0.1:{}", wire.port), "/v1/x"), odd),
        (at("[::1]", "/v1/x"), denied),
        (at("[::ffff:169.254.169.254]", "/v1/x"), odd),
        (at("[64:ff9b::a9fe:a9fe]", "/v1/x"), denied),
        (at("169.254.169.254", "/latest/meta-data/"), denied),
        (at(&format!("{host}@evil.example"), "/v1/x"), odd),
    ];
    let answers = send_each(&scene, cases.iter().map(|(ask, _)| ask));
    for ((ask, expected), answer) in cases.iter().zip(answers) {
        assert_eq!(answer["error"], *expected, "{ask}: {answer}");
    }
    assert_eq!((wire.connections(), other.connections()), (0, 0));
    let refused = refusals(&scene);
    assert_eq!(refused.len(), cases.len());
    for record in &refused {
        assert_eq!((&record["code"], &record["resource"]), (&json!("not-granted"), &json!("Host")), "{record}");
        assert!(!record["text"].as_str().unwrap().is_empty(), "{record}");
    }
    assert!(refused[0]["text"].as_str().unwrap().starts_with("GET http://127.0.0.1:"), "{}", refused[0]);
    assert!(scene.records_of("intent", "http.request").is_empty());
    // The one that is listed goes through.
    assert_eq!(send(&scene, &get(&wire, "/v1/x"))["ok"]["status"], 200);
}

#[test]
fn what_is_no_url_header_or_method_is_no_request() {
    let wire = Wire::greeting();
    let scene = scene(&[rule(&wire, "")]);
    let host = authority(&wire);
    for (ask, error) in [
        (json!({ "authority": "evil.example#@127.0.0.1" }), "bad authority"),
        (json!({ "authority": format!("{host}/x\r\nHost: evil") }), "bad authority"),
        (json!({ "authority": host, "path": "http://evil.example/v1/x" }), "bad path"),
        (json!({ "authority": host, "path": "/v1/x HTTP/1.1\r\nX: y" }), "bad path"),
        (json!({ "authority": host, "method": "GET / HTTP/1.1\r\nX: y" }), "bad method"),
        (json!({ "authority": host, "method": "M".repeat(33) }), "bad method"),
        (json!({ "authority": format!("{}:80", "a".repeat(300)) }), "bad authority"),
        (json!({ "authority": host, "headers": [["x", "a\r\nHost: evil"]] }), "bad header x"),
        (json!({ "authority": host, "headers": [["x\r\nHost", "evil"]] }), "bad header x\\r\\nHost"),
        (
            json!({ "authority": host, "path": "/v1/x", "headers": [["content-length", "1"], ["content-length", "2"]] }),
            "bad header content-length",
        ),
    ] {
        assert_eq!(send(&scene, &ask)["error"], error, "{ask}");
    }
    assert_eq!(wire.connections(), 0);
}

#[test]
fn headers_that_are_the_hosts_are_refused_and_recorded() {
    let wire = Wire::greeting();
    let scene = scene(&[rule(&wire, "")]);
    let names = [
        "Host",
        "Authorization",
        "Cookie",
        "X-Forwarded-Host",
        "X-Forwarded-For",
        "Forwarded",
        "Transfer-Encoding",
        "Connection",
        "Proxy-Authorization",
        "Upgrade",
        "TE",
        "Trailer",
        "Expect",
        "X-HTTP-Method-Override",
        "X-Original-URL",
        "X_Forwarded_For",
        "Content_Length",
        "Transfer_Encoding",
        "X-Forwarded",
    ];
    let ask = |name: &&str| json!({ "authority": authority(&wire), "path": "/v1/x", "headers": [[name, "evil"]] });
    let asks: Vec<Value> = names.iter().map(ask).collect();
    for (name, answer) in names.iter().zip(send_each(&scene, &asks)) {
        assert_eq!(answer["error"], format!("forbidden header {name}"), "{answer}");
    }
    let recorded: Vec<String> =
        refusals(&scene).iter().map(|record| record["text"].as_str().unwrap().to_owned()).collect();
    let expected: Vec<String> = names.iter().map(|name| format!("header {}", name.to_lowercase())).collect();
    assert_eq!(recorded, expected);
    // Trailers are found when the body ends.
    let ask =
        json!({ "method": "POST", "authority": authority(&wire), "path": "/v1/x", "pieces": ["x"], "trailers": true });
    assert_eq!(send(&scene, &ask)["error"], "ErrorCode::HttpRequestDenied");
    assert_eq!(refusals(&scene).last().unwrap()["text"], "trailers");
    // Far too many of them end the guest before they are anywhere.
    let answer = scene.probe("many-headers", &json!({ "name": "x-a", "times": 100_000 }));
    assert_eq!(answer["error"], "trapped", "{answer}");
    assert_eq!(wire.connections(), 0);
}

#[test]
fn a_name_that_leads_to_the_machine_itself_is_refused_unless_the_rule_names_the_address() {
    let wire = Wire::greeting();
    let ask = json!({ "authority": format!("localhost:{}", wire.port), "path": "/v1/x" });
    let scene = scene(&[rule_of("localhost", wire.port, "")]);
    assert_eq!(send(&scene, &ask)["error"], "ErrorCode::DestinationIpProhibited");
    assert_eq!(wire.connections(), 0);
    let [refused] = &refusals(&scene)[..] else { panic!() };
    assert_eq!((&refused["kind"], &refused["code"]), (&json!("outcome"), &json!("refused")));
    assert!(refused["detail"].as_str().unwrap().contains("loopback"), "{refused}");
    scene.grant(&grant(&[rule_of("localhost", wire.port, "addresses = [\"127.0.0.1\", \"::1\"]")]));
    assert_eq!(send(&scene, &ask)["ok"]["status"], 200);
    // Another address of the same machine is another address.
    scene.grant(&grant(&[rule_of("localhost", wire.port, "addresses = [\"127.0.0.2/32\"]")]));
    assert_eq!(send(&scene, &ask)["error"], "ErrorCode::DestinationIpProhibited");
    assert_eq!(wire.connections(), 1);
}

#[test]
fn a_redirect_is_a_request_of_its_own() {
    let second = Wire::greeting();
    let elsewhere = Wire::greeting();
    let (to_second, to_elsewhere) = (authority(&second), authority(&elsewhere));
    let wire = Wire::answering(move |request, stream| {
        let location = match request.line().split_once(' ').unwrap().1 {
            "/v1/metadata" => "http://169.254.169.254/latest/meta-data/".to_owned(),
            "/v1/ungranted" => format!("http://{to_elsewhere}/v1/x"),
            "/v1/second" => format!("http://{to_second}/v1/found?y=1"),
            "/v1/local" => "../v1/end".to_owned(),
            "/v1/odd" => "/v1//x".to_owned(),
            "/v1/round" => "/v1/round".to_owned(),
            _ => return stream.write_all(&text("end")),
        };
        stream.write_all(&redirect(if request.line().starts_with("POST") { 307 } else { 302 }, &location))
    });
    let follows = rule(&wire, "redirects = 3");
    let scene = scene(&[follows, rule(&second, "")]);
    let body = |path: &str| send(&scene, &get(&wire, path));
    for (path, error) in [
        ("/v1/metadata", "ErrorCode::HttpRequestDenied"),
        ("/v1/ungranted", "ErrorCode::HttpRequestDenied"),
        ("/v1/odd", "ErrorCode::HttpRequestUriInvalid"),
    ] {
        assert_eq!(body(path)["error"], error);
    }
    assert_eq!((elsewhere.connections(), refusals(&scene).len()), (0, 3));
    assert!(refusals(&scene)[0]["text"].as_str().unwrap().contains("169.254.169.254"));
    assert_eq!(body("/v1/local")["ok"]["body"], "end");
    assert_eq!(body("/v1/second")["ok"]["body"], "hello");
    // After as many as the rule allows, the guest has the redirect itself.
    let round = body("/v1/round");
    assert_eq!(round["ok"]["status"], 302, "{round}");
    assert_eq!(wire.arrived().iter().filter(|request| request.line() == "GET /v1/round").count(), 4);
    // With a body that is sent again, and hardly any header.
    let ask = json!({
        "method": "POST", "authority": authority(&wire), "path": "/v1/second", "pieces": ["the body"],
        "headers": [["content-type", "text/plain"], ["x-request-kind", "mine"], ["accept", "text/html"]],
    });
    assert_eq!(send(&scene, &ask)["ok"]["status"], 200);
    let arrived = second.arrived();
    let request = arrived.last().unwrap();
    assert_eq!((request.line(), request.body.as_slice()), ("POST /v1/found?y=1".to_owned(), &b"the body"[..]));
    assert_eq!((request.header("x-request-kind").len(), request.header("content-type").len()), (0, 1));
    assert_eq!(request.header("host"), [authority(&second)]);
    // Rules can tell a hop from a first request.
    scene.rules("permit (principal, action, resource) unless { context has redirects && context.redirects > 0 };");
    assert_eq!(body("/v1/local")["error"], "ErrorCode::HttpRequestDenied");
    // Where none is followed, the guest is shown where it leads.
    scene.grant(&grant(&[rule(&wire, "")]));
    let shown = body("/v1/second");
    assert_eq!(shown["ok"]["status"], 302);
    assert!(shown["ok"]["headers"].to_string().contains("/v1/found"), "{shown}");
}

#[test]
fn hosts_have_domains_and_requests_have_a_context() {
    let wire = Wire::greeting();
    let scene = scene(&[rule_of("localhost", wire.port, "addresses = [\"127.0.0.1\", \"::1\"]")]);
    let ask = |method: &str, path: &str| json!({ "method": method, "authority": format!("localhost:{}", wire.port), "path": path, "pieces": ["four"] });
    let start = "@id(\"start\") permit (principal, action in Ambit::Action::\"tools.call\", resource);\n";
    scene.rules(&format!(
        "{start}@id(\"in\") permit (principal, action == Ambit::Action::\"http.request\", resource in Ambit::Domain::\"localhost\")\n\
         when {{ context.method == \"POST\" && context.path == \"/v1/x\" && context.query == \"q\" && context.scheme == \"http\"\n\
         && context.port == {} && context.bytes == 4 && context.redirects == 0 }};",
        wire.port
    ));
    assert_eq!(send(&scene, &ask("POST", "/v1/x?q"))["ok"]["status"], 200);
    for (method, path) in [("POST", "/v1/x"), ("GET", "/v1/x?q"), ("POST", "/v1/y?q")] {
        assert_eq!(send(&scene, &ask(method, path))["error"], "ErrorCode::HttpRequestDenied");
    }
    assert_eq!(wire.connections(), 1);
    for (host, domain, within) in [
        ("docs.example.net", "example.net", true),
        ("docs.example.net", "net", true),
        ("docs.example.net", "docs.example.net", true),
        ("docs.example.net", "ample.net", false),
        ("evilexample.net", "example.net", false),
        ("example.net.evil.com", "example.net", false),
        ("127.0.0.1", "0.0.1", false),
    ] {
        scene.grant(&grant(&[rule_of(host, 80, "")]));
        scene
            .rules(&format!("{start}@id(\"in\") permit (principal, action, resource in Ambit::Domain::\"{domain}\");"));
        let context = json!({ "scheme": "http", "port": 80, "method": "GET", "path": "/", "query": "", "bytes": 0, "stream": false, "redirects": 0 });
        let told = scene.ambit(&[
            "--format",
            "json",
            "policy",
            "explain",
            "bundle",
            "--policy",
            "policy",
            "--component",
            "prober",
            "--action",
            "http.request",
            "--resource",
            host,
            "--context",
            &context.to_string(),
        ]);
        let decision = told.json()["decision"].clone();
        assert_eq!(decision, if within { "allow" } else { "deny" }, "{host} in {domain}: {told:?}");
    }
}

#[test]
fn a_certificate_has_to_lead_to_the_roots_that_the_rule_names() {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certified.cert.der().clone()], key).unwrap();
    let config = std::sync::Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = rustls::ServerConnection::new(std::sync::Arc::clone(&config)).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, stream);
            let mut head = [0; 4096];
            if std::io::Read::read(&mut stream, &mut head).is_ok() {
                let _ = stream.write_all(&text("over TLS"));
                let _ = stream.flush();
            }
        }
    });
    let granted = |more: &str| {
        let rule = format!(
            "{{ host = \"localhost\", port = {port}, addresses = [\"127.0.0.1\", \"::1\"], methods = [\"GET\"], paths = [\"/**\"]{more} }}"
        );
        grant(&[rule])
    };
    let scene = scene(&[]);
    scene.write("policy/ca.pem", certified.cert.pem().as_bytes());
    let ask = json!({ "scheme": "https", "authority": format!("localhost:{port}") });
    scene.grant(&granted(", ca = \"ca.pem\""));
    assert_eq!(send(&scene, &ask)["ok"]["body"], "over TLS");
    scene.grant(&granted(""));
    assert_eq!(send(&scene, &ask)["error"], "ErrorCode::TlsProtocolError");
    // For another name it is no certificate.
    scene.grant(&granted(", ca = \"ca.pem\"").replace("\"localhost\", port", "\"127.0.0.1\", port"));
    let ask = json!({ "scheme": "https", "authority": format!("127.0.0.1:{port}") });
    assert_eq!(send(&scene, &ask)["error"], "ErrorCode::TlsProtocolError");
    scene.write("policy/ca.pem", b"nothing");
    assert_eq!(send(&scene, &ask)["error"], "ErrorCode::TlsProtocolError");
    let last = scene.records_of("outcome", "http.request").pop().unwrap();
    assert!(last["detail"].as_str().unwrap().contains("no certificate"), "{last}");
}

#[test]
fn a_hop_has_the_method_the_labels_and_the_bounds_that_are_due() {
    let (second, other) = (Wire::greeting(), Wire::greeting());
    let (to_second, to_other) = (authority(&second), authority(&other));
    let wire = Wire::answering(move |request, stream| {
        let path = request.line().split_once(' ').unwrap().1.to_owned();
        let status = path.trim_start_matches("/v1/").parse().unwrap_or(302);
        let to = if path == "/v1/other" { &to_other } else { &to_second };
        stream.write_all(&redirect(status, &format!("http://{to}/v1/end")))
    });
    let first =
        rule(&wire, "methods = [\"GET\", \"HEAD\", \"POST\", \"PUT\"], redirects = 1, labels = [\"confidential\"]");
    let end = rule(
        &second,
        "methods = [\"GET\", \"HEAD\", \"POST\", \"PUT\"], accepts = [\"confidential\"], request = \"4B\"",
    );
    let scene = scene(&[]);
    scene.grant(&format!("{}[output]\naccepts = [\"confidential\"]\n", grant(&[first, end, rule(&other, "")])));
    let ask = |method: &str, path: &str, body: &str| {
        let pieces = if body.is_empty() { Value::Null } else { json!([body]) };
        json!({ "method": method, "authority": authority(&wire), "path": format!("/v1/{path}"), "pieces": pieces })
    };
    for (method, status, then, body) in [
        ("GET", "302", "GET", ""),
        ("HEAD", "303", "HEAD", ""),
        ("POST", "301", "GET", ""),
        ("POST", "302", "GET", ""),
        ("POST", "303", "GET", ""),
        ("PUT", "302", "PUT", "four"),
        ("POST", "307", "POST", "four"),
        ("POST", "308", "POST", "four"),
    ] {
        let sent = if method == "GET" || method == "HEAD" { "" } else { "four" };
        let answer = send(&scene, &ask(method, status, sent));
        assert_eq!(answer["ok"]["status"], 200, "{method} {status}: {answer}");
        let arrived = second.arrived();
        let last = arrived.last().unwrap();
        assert_eq!(
            (last.line(), last.body.as_slice()),
            (format!("{then} /v1/end"), body.as_bytes()),
            "{method} {status}"
        );
    }
    let before = second.connections();
    // Longer than the second rule lets a body be; and a host that may not know what the first one said.
    assert_eq!(send(&scene, &ask("POST", "307", "and five"))["error"], "ErrorCode::HttpRequestDenied");
    assert_eq!(send(&scene, &ask("GET", "other", ""))["error"], "ErrorCode::HttpRequestDenied");
    assert_eq!((second.connections(), other.connections()), (before, 0));
    let codes: Vec<_> = refusals(&scene).iter().map(|record| record["code"].clone()).collect();
    assert_eq!(codes, ["not-granted", "denied"]);
}
