//! Requests: exactly what a grant lists leaves the host, as the host has built it.

use std::io::Write as _;
use std::time::Duration;

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
    scene.probe("send", &json!({ "ask": ask }))
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
    let [outcome] = &scene.records_of("outcome", "http.request")[..] else { panic!() };
    let detail: Value = serde_json::from_str(outcome["detail"].as_str().unwrap()).unwrap();
    assert_eq!((&outcome["code"], &outcome["resource"]), (&json!("done"), &json!("Host::\"127.0.0.1\"")));
    assert_eq!((&detail["status"], &detail["address"]), (&json!(200), &json!(authority(&wire))));
    assert!(detail["sent"].as_u64().unwrap() > 8 && detail["received"].as_u64().unwrap() > 5, "{detail}");
}
