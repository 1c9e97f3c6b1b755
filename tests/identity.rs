//! A task says who it is, for minutes, to whom it may, and others can tell that it is true.

use std::path::PathBuf;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::support::{Running, Scene, eventually, guests};
use super::wire::{Latch, Wire};

const AUDIENCE: &str = "https://billing.example.net";

/// A scene whose tool `teller` may have tokens for one audience, of which `caller` has one attached.
fn scene(port: u16) -> Scene {
    let scene = Scene::with_tools(
        &[("teller", "probe-identity"), ("caller", "probe-http")],
        &format!(
            "[agent]\ntools = [\"teller\", \"caller\"]\n[tools.teller]\n\
             identity = {{ audiences = [{{ audience = \"{AUDIENCE}\", lifetime = \"2m\" }}] }}\n\
             filesystem = [{{ host = \"../data\", guest = \"/data\", access = \"write\" }}]\n\
             [tools.caller]\nhttp = [{{ scheme = \"http\", host = \"127.0.0.1\", port = {port}, methods = [\"GET\"], paths = [\"/**\"], \
             credential = {{ token = \"{AUDIENCE}\", lease = \"1m\" }} }}]\n"
        ),
    );
    std::fs::create_dir_all(scene.path("data")).unwrap();
    scene
}

fn send(port: u16) -> Value {
    json!({ "tool": "caller.send", "arguments": { "ask": { "authority": format!("127.0.0.1:{port}"), "path": "/" } } })
}

fn token(audience: &str, seconds: u32) -> Value {
    json!({ "tool": "teller.token", "arguments": { "audience": audience, "seconds": seconds } })
}

fn keep(seconds: u32, path: &str) -> Value {
    json!({ "tool": "teller.keep", "arguments": { "audience": AUDIENCE, "seconds": seconds, "path": path } })
}

fn start(scene: &Scene, calls: &[Value]) -> Running {
    let input = json!({ "calls": calls }).to_string();
    let arguments = ["--format", "json", "run", "bundle", "--policy", "policy", "--input", &input];
    Running::start(&mut scene.command(&arguments))
}

fn verify(scene: &Scene, token: &str, audience: &str) -> super::support::Answer {
    scene.ambit_reading(&["identity", "verify", "--audience", audience], token)
}

#[test]
fn tokens_are_handed_out_for_granted_audiences_and_minutes_alone() {
    let scene = scene(1);
    let who = json!({ "tool": "teller.whoami", "arguments": {} });
    let calls = [
        who,
        keep(60, "/data/token"),
        token("https://other.example.net", 60),
        token(AUDIENCE, 121),
        token(AUDIENCE, 31_536_000),
        token(AUDIENCE, 0),
    ];
    let report = scene.run(&json!({ "calls": calls }));
    let output = report["output"].as_array().unwrap();
    let id = format!("spiffe://ambit.local/agent/scene/task/{}/1", report["task"].as_str().unwrap());
    assert_eq!(output[0]["ok"], id, "{report}");
    assert!(
        output[1]["error"].is_null() && std::fs::read_to_string(scene.path("data/token")).unwrap().starts_with("ey")
    );
    for answer in &output[2..] {
        assert!(answer.to_string().contains("NotGranted"), "{report}");
    }
    assert_eq!(scene.records_of("refusal", "identity.token").len(), 4);
    // Back to the caller it does not come: it was made for the tool that asked.
    let report = scene.run(&json!({ "calls": [token(AUDIENCE, 60)] }));
    assert!(report["output"][0].to_string().contains("withheld"), "{report}");
}

/// A token of a task that still runs, the scene, and what ends the task.
fn running() -> (Scene, Running, Latch, String, Wire) {
    let (slow, latch) = Wire::held();
    let scene = scene(slow.port);
    let running = start(&scene, &[keep(120, "/data/token"), keep(1, "/data/short"), send(slow.port)]);
    slow.wait_for(1);
    let token = std::fs::read_to_string(scene.path("data/token")).unwrap();
    (scene, running, latch, token, slow)
}

#[test]
fn a_token_holds_for_its_audience_until_its_task_ends() {
    let (scene, task, latch, token, slow) = running();
    let answer = verify(&scene, &token, AUDIENCE);
    assert_eq!(answer.code, 0, "{answer:?}");
    let claims = answer.json();
    assert!(claims["sub"].as_str().unwrap().starts_with("spiffe://ambit.local/agent/scene/task/"), "{claims}");
    assert!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap() <= 120);
    for claim in ["task", "bundle", "component", "grant", "policy"] {
        assert!(claims[format!("urn:ambit:claim:{claim}")].is_string(), "{claims}");
    }
    // The one that was attached: another token, for no longer than its rule says.
    let bearer = slow.arrived()[0].header("authorization")[0].trim_start_matches("Bearer ").to_owned();
    let attached = verify(&scene, &bearer, AUDIENCE).json();
    assert_ne!(attached["jti"], claims["jti"]);
    assert!(attached["exp"].as_u64().unwrap() - attached["iat"].as_u64().unwrap() <= 60);
    assert_eq!(verify(&scene, &token, "https://other.example.net").code, 1);
    assert_eq!(verify(&scene, &format!("{token}x"), AUDIENCE).code, 1);
    assert_eq!(verify(&scene, "", AUDIENCE).code, 1);
    // Another home's keys did not sign it.
    assert!(verify(&self::scene(1), &token, AUDIENCE).stderr.contains("no key of this home"));
    // Keys rotate, and what they signed holds.
    assert_eq!(scene.ambit(&["identity", "rotate"]).code, 0);
    assert_eq!(verify(&scene, &token, AUDIENCE).code, 0);
    latch.open();
    assert_eq!(task.end().json()["status"], "succeeded");
    let ended = verify(&scene, &token, AUDIENCE);
    assert!(ended.code == 1 && ended.stderr.contains("its task has ended"), "{ended:?}");
    // No key, and nothing that was attached, is left in the open.
    let database = std::fs::read(scene.path("home/ambit.db")).unwrap();
    for secret in [bearer.as_bytes(), token.as_bytes()] {
        assert!(!database.windows(secret.len()).any(|window| window == secret));
    }
}

#[test]
fn a_token_says_which_call_it_is_of_and_is_no_longer_than_it_was_approved() {
    let host = Wire::greeting();
    let scene = scene(host.port);
    scene.rules(
        "@id(\"all\") permit (principal, action, resource);
         @id(\"ask\") @approval(\"desk\") @ttl(\"20s\") forbid (principal, action == Ambit::Action::\"identity.token\", resource)
         unless { context.approvals.contains(\"desk\") };",
    );
    let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(scene.path("data")).unwrap());
    scene.write("home/config.toml", format!("[people.maria]\nuid = {uid}\ngroups = [\"desk\"]\n").as_bytes());
    let input = json!({ "calls": [send(host.port), keep(120, "/data/token"), send(host.port)] }).to_string();
    let run = ["--format", "json", "run", "bundle", "--policy", "policy", "--approvals", "wait", "--input", &input];
    let running = Running::start(&mut scene.command(&run));
    for _ in 0..3 {
        let question = running.question();
        assert_eq!(scene.ambit(&["approvals", "approve", &question]).code, 0);
    }
    let report = running.end().json();
    assert_eq!(report["status"], "succeeded", "{report}");
    let bearer = |number: usize| host.arrived()[number].header("authorization")[0].replace("Bearer ", "");
    let handed_out = std::fs::read_to_string(scene.path("data/token")).unwrap();
    for (token, call) in [(bearer(0), 1), (handed_out, 2), (bearer(1), 3)] {
        let claims: Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap();
        assert!(claims["sub"].as_str().unwrap().ends_with(&format!("/{call}")), "{claims}");
        assert!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap() <= 20, "{claims}");
    }
}

#[test]
fn keys_are_published_ahead_of_their_use() {
    let scene = scene(1);
    let keys = |more: &[&str]| scene.ambit(&[&["identity", "jwks"], more].concat()).json();
    let kids = |keys: &Value| -> Vec<String> {
        keys["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    };
    let before = keys(&[]);
    assert_eq!(kids(&before).len(), 2);
    for key in before["keys"].as_array().unwrap() {
        assert!(key["kty"] == "EC" && key["crv"] == "P-256" && key["use"] == "sig" && key["d"].is_null(), "{key}");
    }
    let spiffe = keys(&["--spiffe"]);
    assert!(spiffe["keys"][0]["use"] == "jwt-svid" && spiffe["spiffe_refresh_hint"] == 300, "{spiffe}");
    let rotated = scene.ambit(&["identity", "rotate"]).stdout;
    assert!(kids(&before).iter().any(|kid| rotated.contains(kid)), "the next one was known: {rotated}");
    let after = keys(&[]);
    assert_eq!(kids(&after).len(), 3);
    assert!(kids(&before).iter().all(|kid| kids(&after).contains(kid)));
    assert_eq!(scene.records_of("operator", "identity.rotate").len(), 1);
    let refused = scene.ambit(&["identity", "discovery"]);
    assert!(refused.code == 2 && refused.stderr.contains("issuer"), "{refused:?}");
    scene.write(
        "home/config.toml",
        b"[identity]\ntrust-domain = \"example.net\"\nissuer = \"https://ambit.example.net\"\n",
    );
    let document = scene.ambit(&["identity", "discovery"]).json();
    assert_eq!(document["jwks_uri"], "https://ambit.example.net/jwks.json");
}

/// An independent verifier: a Python with `PyJWT`, which `cargo xtask foreign` sets up.
fn python() -> PathBuf {
    guests().join("../../foreign/verifier/bin/python")
}

#[test]
fn an_independent_verifier_believes_the_same_tokens() {
    let (scene, task, latch, token, _slow) = running();
    let keys = scene.ambit(&["identity", "jwks"]).stdout;
    scene.write("jwks.json", keys.as_bytes());
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/identity/verify.py");
    let judge = |token: &str, audience: &str| {
        let mut command = Command::new(python());
        let output = command.arg(&script).arg(scene.path("jwks.json")).args([audience, token]).output();
        let output = output.unwrap_or_else(|error| panic!("{error}: run `cargo xtask foreign` first"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert!(judge(&token, AUDIENCE).starts_with("believed spiffe://ambit.local/agent/scene/task/"));
    assert_eq!(judge(&token, "https://other.example.net"), "InvalidAudienceError");
    let short = std::fs::read_to_string(scene.path("data/short")).unwrap();
    eventually("it has expired", || (judge(&short, AUDIENCE) == "ExpiredSignatureError").then_some(()));
    assert!(verify(&scene, &short, AUDIENCE).stderr.contains("ExpiredSignature"));
    // The same claims under another header, and what they were long ago.
    for (change, why, own) in [
        ("none", "InvalidAlgorithmError", "it is no token"),
        ("hs256", "InvalidAlgorithmError", "ES256"),
        ("kid", "PyJWKClientError", "no key of this home"),
        ("longer", "InvalidSignatureError", "InvalidSignature"),
    ] {
        let forged = judge(&format!("{change}:{token}"), AUDIENCE);
        assert_eq!(forged, why, "{change}");
        let made = judge(&format!("show-{change}:{token}"), AUDIENCE);
        let refused = verify(&scene, &made, AUDIENCE);
        assert!(refused.code == 1 && refused.stderr.contains(own), "{change}: {refused:?}");
    }
    latch.open();
    task.end();
}
