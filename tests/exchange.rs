//! A task's own token is exchanged for a service's (RFC 8693), which is attached, and ends with the task.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::support::{Answer, Program, Scene, assert_no_file_holds};
use super::wire::{Arrived, Wire, over_tls, redirect, silent, text};

const AUDIENCE: &str = "https://billing.example.net";

/// A scene whose tool's requests to `host` bear what the endpoint at that address gives.
fn scene(host: &Wire, endpoint: &str, more: &str) -> Scene {
    let rule = format!(
        "{{ scheme = \"http\", host = \"127.0.0.1\", port = {}, methods = [\"GET\"], paths = [\"/**\"], credential = \"billing\" }}",
        host.port
    );
    let grant = format!("[agent]\ntools = [\"caller\"]\n[tools.caller]\nhttp = [{rule}]\n");
    let scene = Scene::with_tools(&[("caller", "probe-http")], &grant);
    let source = format!("{{ endpoint = \"{endpoint}\", audience = \"{AUDIENCE}\"{more} }}");
    scene.write("home/config.toml", format!("[secrets.billing]\nsource = {{ exchange = {source} }}\n").as_bytes());
    scene
}

fn endpoint(wire: &Wire) -> String {
    format!("http://127.0.0.1:{}/token", wire.port)
}

fn run(scene: &Scene, host: &Wire, requests: usize) -> Answer {
    let ask = json!({ "authority": format!("127.0.0.1:{}", host.port), "path": "/" });
    let call = json!({ "tool": "caller.send", "arguments": { "ask": ask } });
    let input = json!({ "calls": vec![call; requests] }).to_string();
    scene.ambit(&["--format", "json", "run", "bundle", "--policy", "policy", "--input", &input])
}

fn form(request: &Arrived) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(&request.body).into_owned().collect()
}

fn claims(token: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

/// Neither what is left in the scene's folder, nor what was said, holds it.
fn assert_nowhere(scene: &Scene, answer: &Answer, token: &str) {
    for folder in ["home", "bundle", "policy"] {
        assert_no_file_holds(&scene.path(folder), &[token]);
    }
    assert!(!answer.stdout.contains(token) && !answer.stderr.contains(token), "{answer:?}");
}

#[test]
fn a_tasks_token_is_exchanged_for_one_of_the_service() {
    let given = AtomicUsize::new(0);
    let tokens = Wire::answering(move |_, stream| {
        let token = format!("token-of-billing-{}", given.fetch_add(1, Ordering::SeqCst));
        let kind = "urn:ietf:params:oauth:token-type:access_token";
        let body =
            json!({ "access_token": token, "issued_token_type": kind, "token_type": "Bearer", "expires_in": 60 });
        stream.write_all(&text(&body.to_string()))
    });
    let host = Wire::answering(|request, stream| stream.write_all(&text(&request.head)));
    let more = ", scope = \"refunds read\", client = { id = \"am bit\", secret = \"sts\" }";
    let scene = scene(&host, &endpoint(&tokens), more);
    scene.set_secret("sts", "s3cret&of+the client");
    let answer = run(&scene, &host, 2);
    let report = answer.json();
    assert_eq!(report["status"], "succeeded", "{report}");
    let (asked, arrived) = (tokens.arrived(), host.arrived());
    assert_eq!((asked.len(), arrived.len()), (2, 2), "each call has a token of its own");
    for (number, (asked, arrived)) in asked.iter().zip(&arrived).enumerate() {
        assert_eq!(arrived.header("authorization"), [format!("Bearer token-of-billing-{number}")]);
        assert!(report["output"][number]["ok"]["body"].as_str().unwrap().contains("Bearer ****"), "{report}");
        let form = form(asked);
        assert_eq!(asked.line(), "POST /token");
        assert_eq!(form["grant_type"], "urn:ietf:params:oauth:grant-type:token-exchange");
        assert_eq!(form["subject_token_type"], "urn:ietf:params:oauth:token-type:jwt");
        assert_eq!((form["audience"].as_str(), form["scope"].as_str()), (AUDIENCE, "refunds read"));
        assert_eq!(form.len(), 5);
        let basic = base64::engine::general_purpose::STANDARD.encode("am+bit:s3cret%26of%2Bthe+client");
        assert_eq!(asked.header("authorization"), [format!("Basic {basic}")]);
        let claims = claims(&form["subject_token"]);
        assert_eq!(claims["aud"], endpoint(&tokens));
        let task = format!("spiffe://ambit.local/agent/scene/task/{}/{}", report["task"].as_str().unwrap(), number + 1);
        assert_eq!(claims["sub"], task);
        let keys = serde_json::from_str(&scene.ambit(&["identity", "jwks"]).stdout).unwrap();
        let setting = ambit::identity::Setting::default();
        ambit::identity::verify(&form["subject_token"], &keys, &setting, &endpoint(&tokens)).unwrap();
        assert_nowhere(&scene, &answer, &form["subject_token"]);
        assert_nowhere(&scene, &answer, &format!("token-of-billing-{number}"));
    }
    let outcomes = scene.records_of("outcome", "secrets.lease");
    assert_eq!(outcomes.len(), 2);
    for outcome in outcomes {
        let detail: Value = serde_json::from_str(outcome["detail"].as_str().unwrap()).unwrap();
        assert_eq!(detail, json!({ "seconds": 60, "subject-audience": endpoint(&tokens) }));
    }
    let listed = scene.ambit(&["secret", "list"]).stdout;
    assert!(listed.contains(&format!("the token endpoint {}", endpoint(&tokens))), "{listed}");
}

#[test]
fn what_is_not_exactly_a_token_attaches_nothing() {
    let elsewhere = Wire::greeting();
    let leads = format!("http://127.0.0.1:{}/", elsewhere.port);
    let host = Wire::greeting();
    let good = r#"{"access_token": "token-of-billing", "issued_token_type": "urn:x", "token_type": "Bearer", "expires_in": 60}"#;
    let said = |status: &str, body: &str| String::from_utf8(text(body)).unwrap().replace("200 OK", status).into_bytes();
    for (answer, why) in [
        (
            said("400 No", r#"{"error": "invalid_target", "error_description": "a secret"}"#),
            "it answered 400: invalid_target",
        ),
        (said("403 No", r#"{"error": "INVALID token-of-billing"}"#), "it answered 403"),
        (said("201 Made", good), "it answered 201"),
        (redirect(307, &leads), "it answered 307 Temporary Redirect, which leads elsewhere"),
        (text("<html>"), "its answer is no JSON"),
        (text(r#"["token-of-billing", "urn:x", "Bearer", 60]"#), "its answer has no `access_token`"),
        (text(&good.replace("Bearer", "mac")), "what it issued is no bearer token"),
        (text(&good.replace(": 60", ": 0")), "what it issued is over already"),
        (text(&good.replace("token-of-billing", "short")), "a secret has at least 8"),
        (text(&"x".repeat(70_000)), "its answer has more than 65536 bytes"),
        (b"nonsense\r\n\r\n".to_vec(), "it cannot be reached"),
    ] {
        let tokens = Wire::answering(move |_, stream| stream.write_all(&answer));
        let scene = scene(&host, &endpoint(&tokens), "");
        let answer = run(&scene, &host, 1);
        assert!(answer.json()["output"][0]["ok"].is_null(), "{why}: {answer:?}");
        let outcome = &scene.records_of("outcome", "secrets.lease")[0];
        assert!(outcome["detail"].as_str().unwrap().contains(why), "{why}: {outcome}");
        assert!(outcome["detail"].as_str().unwrap().contains("subject-audience"), "{why}: {outcome}");
        let text = scene.records().iter().map(ToString::to_string).collect::<String>();
        assert!(!text.contains("a secret\"") && !text.contains("INVALID"), "{text}");
        assert_nowhere(&scene, &answer, &form(&tokens.arrived()[0])["subject_token"]);
    }
    assert_eq!((host.connections(), elsewhere.connections()), (0, 0));
}

/// What the host got, after a call that asked it twice: the second time a second and more after the first.
fn asked_twice(lasts: u64) -> (Vec<Arrived>, Vec<String>) {
    let given = AtomicUsize::new(0);
    let tokens = Wire::answering(move |_, stream| {
        let token = format!("token-of-billing-{}", given.fetch_add(1, Ordering::SeqCst));
        let kind = "urn:ietf:params:oauth:token-type:access_token";
        let body =
            json!({ "access_token": token, "issued_token_type": kind, "token_type": "bearer", "expires_in": lasts });
        stream.write_all(&text(&body.to_string()))
    });
    let host = Wire::answering(|_, stream| {
        // What is waited for is time: a second of the lease, and a little more.
        std::thread::sleep(Duration::from_millis(1200));
        stream.write_all(&text("hello"))
    });
    let scene = scene(&host, &endpoint(&tokens), "");
    let ask = json!({ "authority": format!("127.0.0.1:{}", host.port), "path": "/" });
    let call = json!({ "tool": "caller.repeat", "arguments": { "ask": ask, "times": 2 } });
    let input = json!({ "calls": [call] }).to_string();
    let answer = scene.ambit(&["--format", "json", "run", "bundle", "--policy", "policy", "--input", &input]);
    assert_eq!(answer.json()["status"], "succeeded", "{answer:?}");
    let borne = host.arrived().iter().map(|arrived| arrived.header("authorization").concat()).collect();
    (tokens.arrived(), borne)
}

#[test]
fn a_lease_ends_with_the_token_that_was_given() {
    let (asked, borne) = asked_twice(60);
    assert_eq!((asked.len(), borne), (1, vec!["Bearer token-of-billing-0".to_owned(); 2]));
    let (asked, borne) = asked_twice(1);
    assert_eq!(borne, ["Bearer token-of-billing-0", "Bearer token-of-billing-1"]);
    let [first, second] = [&asked[0], &asked[1]].map(|asked| claims(&form(asked)["subject_token"]));
    assert!(first["sub"] == second["sub"] && first["jti"] != second["jti"], "{first} {second}");
}

#[test]
fn an_endpoint_is_asked_where_and_as_long_as_the_configuration_says() {
    let host = Wire::greeting();
    let refused = |scene: &Scene, why: &str| {
        assert!(run(scene, &host, 1).json()["output"][0]["ok"].is_null());
        let outcome = &scene.records_of("outcome", "secrets.lease")[0];
        assert!(outcome["detail"].as_str().unwrap().contains(why), "{outcome}");
    };
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let kind = "urn:ietf:params:oauth:token-type:access_token";
    let body = json!({ "access_token": "token-of-billing", "issued_token_type": kind, "token_type": "N_A" });
    let tokens = Wire::answering(move |_, stream| stream.write_all(&text(&body.to_string())));
    let address = format!("https://localhost:{}/token", over_tls(&certified, tokens.port));
    // Its certificate leads to none of Mozilla's roots; and it is somewhere else than it may be.
    refused(&scene(&host, &address, ""), "it cannot be reached: ");
    let ca = ", ca = \"sts.pem\"";
    let astray = scene(&host, &address, &format!("{ca}, addresses = [\"10.0.0.7/32\"]"));
    astray.write("home/sts.pem", certified.cert.pem().as_bytes());
    refused(&astray, "is not among the `addresses`");
    assert_eq!(tokens.connections(), 0);
    let right = scene(&host, &address, &format!("{ca}, addresses = [\"127.0.0.0/8\", \"::1\"]"));
    right.write("home/sts.pem", certified.cert.pem().as_bytes());
    let report = run(&right, &host, 1).json();
    assert!(report["output"][0]["ok"].is_object(), "{report} {:?}", right.records_of("outcome", "secrets.lease"));
    assert_eq!(host.arrived()[0].header("authorization"), ["Bearer token-of-billing"]);
    let slow = Wire::answering(silent);
    refused(&scene(&host, &endpoint(&slow), ", timeout = \"300ms\""), "it did not answer in time");
    assert_eq!(host.connections(), 1);
}

#[test]
fn what_is_wrong_with_an_exchange_is_said_at_its_place() {
    let host = Wire::greeting();
    for (endpoint, why) in [
        ("http://sts.example.net/token", "without TLS"),
        ("https://user:word@sts.example.net/token", "no token endpoint"),
        ("ftp://sts.example.net", "no token endpoint"),
        ("token", "no token endpoint"),
    ] {
        let answer = run(&scene(&host, endpoint, ""), &host, 0);
        assert!(answer.code == 2 && answer.stderr.contains(why), "{answer:?}");
    }
    // It says who a task is: without a task, there is none.
    let tokens = Wire::greeting();
    let revealing = scene(&host, &endpoint(&tokens), "");
    let config = std::fs::read_to_string(revealing.path("home/config.toml")).unwrap();
    let scene = Scene::with_tools(
        &[("signer", "probe-secret")],
        "[agent]\ntools = [\"signer\"]\n[tools.signer]\nsecrets = [{ reveal = \"attached\" }]\n[output]\naccepts = [\"secret\"]\n",
    );
    scene.write("home/config.toml", config.replace("secrets.billing", "secrets.attached").as_bytes());
    let input = json!({ "calls": [{ "tool": "signer.reveal", "arguments": { "name": "attached" } }] }).to_string();
    scene.ambit(&["run", "bundle", "--policy", "policy", "--input", &input]);
    let outcome = &scene.records_of("outcome", "secrets.reveal")[0];
    assert!(outcome["detail"].as_str().unwrap().contains("cannot be revealed"), "{outcome}");
    assert_eq!(tokens.connections(), 0);
}

/// `oidc-provider` is somebody else's authorization server. `tests/exchange/server.mjs` gives it the grant of RFC 8693.
#[test]
#[ignore = "needs `oidc-provider`: `cargo xtask test --real`"]
fn a_real_token_endpoint_takes_a_tasks_token() {
    let folder = PathBuf::from(std::env::var("AMBIT_OIDC_PROVIDER").expect("AMBIT_OIDC_PROVIDER names its folder"));
    let node = std::env::var("AMBIT_NODE").expect("AMBIT_NODE names the program of Node");
    let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let address = free();
    let host = Wire::answering(|request, stream| stream.write_all(&text(&request.head)));
    let more = |audience: &str| {
        format!(
            ", client = {{ id = \"ambit\", secret = \"sts\" }}, subject-audience = \"{audience}\", timeout = \"20s\""
        )
    };
    let endpoint = format!("http://{address}/token");
    let scene = scene(&host, &endpoint, &more("https://sts.example.net"));
    scene.set_secret("sts", "the secret of ambit as a client");
    scene.write("jwks.json", scene.ambit(&["identity", "jwks"]).stdout.as_bytes());
    let mut server = Command::new(node);
    server.arg("server.mjs").current_dir(&folder).stdout(Stdio::null()).stderr(Stdio::null());
    server.args([address.port().to_string(), scene.path("jwks.json").display().to_string(), AUDIENCE.to_owned()]);
    let _server = Program::start(&mut server, address);
    let report = run(&scene, &host, 1).json();
    assert_eq!(report["status"], "succeeded", "{report}");
    let arrived = host.arrived();
    let token = arrived[0].header("authorization")[0].strip_prefix("Bearer ").unwrap();
    let claims = claims(token);
    assert_eq!(claims["aud"], AUDIENCE);
    let task = format!("spiffe://ambit.local/agent/scene/task/{}/1", report["task"].as_str().unwrap());
    assert_eq!(claims["sub"], task, "{claims}");
    // It does not believe a token for somebody else, nor a client with another secret.
    let config = std::fs::read_to_string(scene.path("home/config.toml")).unwrap();
    scene.write("home/config.toml", config.replace("https://sts.example.net", "https://other.example.net").as_bytes());
    assert!(run(&scene, &host, 1).json()["output"][0]["ok"].is_null());
    scene.write("home/config.toml", config.as_bytes());
    scene.set_secret("sts", "another secret altogether");
    assert!(run(&scene, &host, 1).json()["output"][0]["ok"].is_null());
    assert_eq!(host.arrived().len(), 1);
    let whys: Vec<_> =
        scene.records_of("outcome", "secrets.lease").iter().map(|record| record["detail"].to_string()).collect();
    assert!(whys[1].contains("invalid_grant") && whys[2].contains("invalid_client"), "{whys:?}");
}
