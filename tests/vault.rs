//! Credentials from Vault: whom it is asked as, and that what is not exactly an answer attaches nothing.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::support::{Answer, Program, Running, Scene, eventually};
use super::wire::{Arrived, Latch, Wire, endless, over_tls, redirect, silent, text};

const VALUE: &str = "sk-From-Vault/71c3";
const TOKEN: &str = "hvs.CAESIJ-token-of-ambit";
const SECRET_ID: &str = "84896a0c-1347-aa90-a4f6-aca8b7558780";

/// An answer in JSON, with a status.
fn answer(status: u16, body: &Value) -> Vec<u8> {
    let text = String::from_utf8(text(&body.to_string())).unwrap();
    text.replace("200 OK", &format!("{status} Said")).replace("text/plain", "application/json").into_bytes()
}

/// KV version 1, "Read secret".
fn first(data: &Value) -> Value {
    json!({ "request_id": "0d8a6e4e", "lease_id": "", "renewable": false, "lease_duration": 2_764_800, "data": data,
            "wrap_info": null, "warnings": null, "auth": null })
}

/// KV version 2, "Read secret version".
fn second(data: &Value) -> Value {
    let metadata = json!({ "created_time": "2018-03-22T02:24:06.945319214Z", "custom_metadata": null, "deletion_time": "",
                           "destroyed": false, "version": 2 });
    let mut answer = first(&json!({ "data": data, "metadata": metadata }));
    answer["lease_duration"] = 0.into();
    answer
}

/// `AppRole`, "Login with `AppRole`".
fn login(token: &str) -> Value {
    json!({ "request_id": "5b9e", "lease_id": "", "renewable": false, "lease_duration": 0, "data": null,
            "wrap_info": null, "warnings": null, "auth": {
                "renewable": true, "lease_duration": 1200, "metadata": null, "token_policies": ["default"],
                "policies": ["default"], "accessor": "fd6c9a00-d2dc-3b11-0be5-af7ae0e1d374", "client_token": token,
                "entity_id": "", "token_type": "service", "orphan": true, "mfa_requirement": null } })
}

/// What is asked for; a question mark with nothing after it says nothing.
fn asked(request: &Arrived) -> String {
    request.line().trim_end_matches('?').to_owned()
}

/// A Vault as its documentation has it.
fn vault() -> Wire {
    Wire::answering(|request, stream| {
        let denied = answer(403, &json!({ "errors": ["permission denied"] }));
        let admitted = request.header("x-vault-token") == [TOKEN];
        let answered = match asked(request).as_str() {
            "POST /v1/auth/approle/login" | "POST /v1/auth/teams/desk/login" => {
                let sent: Value = serde_json::from_slice(&request.body).unwrap();
                if sent == json!({ "role_id": "ambit-desk", "secret_id": SECRET_ID }) {
                    answer(200, &login(TOKEN))
                } else {
                    answer(400, &json!({ "errors": [format!("invalid secret id {}", sent["secret_id"])] }))
                }
            }
            _ if !admitted => denied,
            "GET /v1/secret/data/teams/billing" => {
                answer(200, &second(&json!({ "token": VALUE, "number": 12_345_678 })))
            }
            "GET /v1/kv/teams/billing" => answer(200, &first(&json!({ "token": VALUE }))),
            _ => answer(404, &json!({ "errors": [] })),
        };
        stream.write_all(&answered)
    })
}

/// A scene whose tool's requests to `host` bear what this source gives.
fn scene(host: &Wire, source: &str) -> Scene {
    let rule = format!(
        "{{ scheme = \"http\", host = \"127.0.0.1\", port = {}, methods = [\"GET\"], paths = [\"/**\"], credential = \"billing\" }}",
        host.port
    );
    let grant = format!("[agent]\ntools = [\"caller\"]\n[tools.caller]\nhttp = [{rule}]\n");
    let scene = Scene::with_tools(&[("caller", "probe-http")], &grant);
    private(&scene, "home/token", &format!("{TOKEN}\n"));
    private(&scene, "home/secret-id", &format!("{SECRET_ID}\n"));
    scene.write("home/config.toml", format!("[secrets.billing]\nsource = {{ vault = {{ {source} }} }}\n").as_bytes());
    scene
}

fn private(scene: &Scene, name: &str, text: &str) {
    scene.write(name, text.as_bytes());
    std::fs::set_permissions(scene.path(name), std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// A field of the secret `teams/billing` in the Vault on that port.
fn at(port: u16, more: &str) -> String {
    format!("address = \"http://127.0.0.1:{port}\", path = \"teams/billing\", field = \"token\", {more}")
}

const BY_TOKEN: &str = "auth = { token-file = \"token\" }";
const BY_ROLE: &str = "auth = { approle = { role-id = \"ambit-desk\", secret-id-file = \"secret-id\" } }";

/// Runs the agent on one request to the host; what is left behind holds neither the value nor what Vault knows ambit by.
fn run(scene: &Scene, host: &Wire, change: impl FnOnce(&mut Command)) -> (Value, Answer) {
    let ask = json!({ "authority": format!("127.0.0.1:{}", host.port), "path": "/" });
    let input = json!({ "calls": [{ "tool": "caller.send", "arguments": { "ask": ask } }] }).to_string();
    let mut command = scene.command(&["--format", "json", "run", "bundle", "--policy", "policy", "--input", &input]);
    change(&mut command);
    let answer = Answer::of(command.output().unwrap());
    let records: String = scene.records().iter().map(ToString::to_string).collect();
    for secret in [VALUE, TOKEN, SECRET_ID] {
        for (text, place) in [(&answer.stdout, "the output"), (&answer.stderr, "the lines"), (&records, "the records")]
        {
            assert!(!text.contains(secret), "{secret} stands in {place}: {text}");
        }
    }
    (answer.json()["output"][0].clone(), answer)
}

#[test]
fn a_credential_comes_from_either_version_for_a_token_and_for_an_application() {
    let cases = [
        (BY_TOKEN.to_owned(), "GET /v1/secret/data/teams/billing", ""),
        (format!("{BY_TOKEN}, kv = 1, mount = \"kv\""), "GET /v1/kv/teams/billing", ""),
        ("auth = { token-environment = \"DESK_TOKEN\" }".to_owned(), "GET /v1/secret/data/teams/billing", ""),
        (BY_ROLE.to_owned(), "GET /v1/secret/data/teams/billing", "POST /v1/auth/approle/login"),
        (
            format!("{}, kv = 1, mount = \"kv\"", BY_ROLE.replace("} }", ", mount = \"teams/desk\" } }")),
            "GET /v1/kv/teams/billing",
            "POST /v1/auth/teams/desk/login",
        ),
    ];
    for (more, read, login) in cases {
        let (vault, host) = (vault(), Wire::greeting());
        let scene = scene(&host, &at(vault.port, &more));
        let listed = scene.ambit(&["secret", "list"]).stdout;
        assert!(
            listed.contains(&format!("Vault, {}", if more.contains("kv") { "kv/" } else { "secret/" })),
            "{listed}"
        );
        let (output, answer) = run(&scene, &host, |command| {
            command.env("DESK_TOKEN", TOKEN);
        });
        assert_eq!(output["ok"]["status"], 200, "{more}: {answer:?}");
        assert_eq!(host.arrived()[0].header("authorization"), [format!("Bearer {VALUE}")]);
        let arrived = vault.arrived();
        let lines: Vec<String> = arrived.iter().map(asked).collect();
        assert_eq!(lines, [login, read].into_iter().filter(|line| !line.is_empty()).collect::<Vec<_>>());
        assert_eq!(arrived.last().unwrap().header("x-vault-token"), [TOKEN]);
        assert!(arrived.len() == 1 || arrived[0].header("x-vault-token").is_empty(), "a login bears no token");
    }
}

/// What is said of it in the record, while the guest is told nothing of it and the host is sent nothing.
fn refused(scene: &Scene, host: &Wire, why: &str) {
    let (output, answer) = run(scene, host, |_| {});
    assert!(output["ok"].is_null(), "{why}: {output}");
    assert!(!output.to_string().to_lowercase().contains("vault"), "{output}");
    let records = scene.records_of("outcome", "secrets.lease");
    let record = records.last().unwrap_or_else(|| panic!("{why}: {answer:?}")).to_string();
    assert!(record.contains(why) && record.contains("`billing` is not to be had from Vault"), "{why}: {record}");
    assert_eq!(host.connections(), 0, "{why}");
}

#[test]
fn what_it_does_not_admit_or_does_not_have_is_attached_nowhere() {
    let (vault, host) = (vault(), Wire::greeting());
    let refuse = |source: &str, why: &str| refused(&scene(&host, source), &host, why);
    let token = at(vault.port, BY_TOKEN);
    refuse(&token.replace("\"token\", auth", "\"tokens\", auth"), "it has no field `tokens`");
    refuse(&token.replace("\"token\", auth", "\"number\", auth"), "its field `number` is no text");
    refuse(&token.replace("billing", "payroll"), "it answered 404: nothing is there");
    // The form of the other version.
    refuse(&format!("{token}, kv = 1, mount = \"secret/data\""), "it has no field `token`");
    refuse(&at(vault.port, "auth = { token-environment = \"UNSET\" }"), "the variable `UNSET` is not set");
    refuse(&at(vault.port, "auth = { token-file = \"not-there\" }"), "not-there` cannot be used");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    refuse(&at(closed, BY_TOKEN), "it cannot be reached: ");
    let other = |name: &str, text: &str, more: &str, why: &str| {
        let scene = scene(&host, &at(vault.port, more));
        private(&scene, name, text);
        refused(&scene, &host, why);
        let records = scene.records();
        assert!(text.is_empty() || !records.iter().any(|record| record.to_string().contains(text)), "{records:?}");
    };
    other("home/token", "hvs.another", BY_TOKEN, "it answered 403: permission denied");
    other("home/token", "", BY_TOKEN, "ambit's token can stand in no header");
    other("home/token", "hvs.a\nx-vault-namespace: b", BY_TOKEN, "ambit's token can stand in no header");
    // What the Vault says holds what it was sent.
    other("home/secret-id", "another-secret-id", BY_ROLE, "at the login it answered 400: invalid secret id ");
    let scene = scene(&host, &token);
    std::fs::set_permissions(scene.path("home/token"), std::fs::Permissions::from_mode(0o644)).unwrap();
    refused(&scene, &host, "it can be read or changed by everybody");
}

type Answers = fn(&Arrived, &mut TcpStream) -> std::io::Result<()>;

#[test]
fn what_is_no_answer_is_attached_nowhere() {
    let cases: [(&str, &str, Answers); 9] = [
        ("within 200ms", BY_TOKEN, silent),
        ("within 200ms", BY_TOKEN, endless),
        ("within 200ms", BY_ROLE, silent),
        ("no answer to that", BY_TOKEN, |_, stream| stream.write_all(&text(VALUE))),
        ("no answer to that", BY_TOKEN, |_, stream| stream.write_all(&answer(200, &second(&json!([VALUE]))))),
        ("no answer to that", BY_TOKEN, |_, stream| {
            stream.write_all(&answer(200, &json!({ "data": { "data": { "token": VALUE } } })))
        }),
        ("the token that the login gave can stand in no header", BY_ROLE, |_, stream| {
            stream.write_all(&answer(200, &login("hvs.a\r\nx-b: c")))
        }),
        ("it answered 503: Vault is sealed", BY_TOKEN, |_, stream| {
            stream.write_all(&answer(503, &json!({ "errors": ["Vault is sealed"] })))
        }),
        ("it cannot be reached", BY_TOKEN, |_, _| Ok(())),
    ];
    for (why, auth, answers) in cases {
        let (vault, host) = (Wire::answering(answers), Wire::greeting());
        refused(&scene(&host, &at(vault.port, &format!("{auth}, timeout = \"200ms\""))), &host, why);
        assert_eq!(vault.connections(), 1, "{why}");
    }
}

#[test]
fn a_redirect_takes_the_token_nowhere() {
    for status in [301, 302, 307, 308] {
        let elsewhere = vault();
        let to = format!("http://127.0.0.1:{}/v1/secret/data/teams/billing", elsewhere.port);
        let (vault, host) =
            (Wire::answering(move |_, stream| stream.write_all(&redirect(status, &to))), Wire::greeting());
        for auth in [BY_TOKEN, BY_ROLE] {
            let why = format!("it answered {status}, which leads elsewhere");
            refused(&scene(&host, &at(vault.port, auth)), &host, &why);
        }
        assert_eq!(elsewhere.connections(), 0);
    }
}

#[test]
fn nothing_but_the_configuration_says_where_it_is_and_as_whom() {
    let (vault, host, other) = (vault(), Wire::greeting(), Wire::greeting());
    let scene = scene(&host, &at(vault.port, BY_TOKEN));
    let elsewhere = format!("http://127.0.0.1:{}", other.port);
    let (output, answer) = run(&scene, &host, |command| {
        for name in ["VAULT_ADDR", "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
            command.env(name, &elsewhere);
        }
        for name in ["VAULT_TOKEN", "VAULT_NAMESPACE", "VAULT_CACERT", "VAULT_CAPATH", "VAULT_CLIENT_CERT"] {
            command.env(name, "/not-there");
        }
        command
            .env("VAULT_CLIENT_KEY", "/not-there")
            .env("SSL_CERT_FILE", "/not-there")
            .env("SSL_CERT_DIR", "/not-there");
    });
    assert_eq!(output["ok"]["status"], 200, "{answer:?}");
    let asked = vault.arrived();
    assert_eq!((asked.len(), asked[0].header("x-vault-token")), (1, vec![TOKEN]));
    assert!(asked[0].header("x-vault-namespace").is_empty());
    assert_eq!(other.connections(), 0);
}

#[test]
fn over_tls_it_is_who_its_certificate_says() {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let behind = vault();
    let port = over_tls(&certified, behind.port);
    for (name, more, may) in [
        ("localhost", "", false),
        ("127.0.0.1", ", ca = \"ca.pem\"", false),
        ("localhost", ", ca = \"not-there.pem\"", false),
        ("localhost", ", ca = \"ca.pem\"", true),
    ] {
        let host = Wire::greeting();
        let source = at(port, &format!("{BY_TOKEN}{more}")).replace("http://127.0.0.1", &format!("https://{name}"));
        let scene = scene(&host, &source);
        scene.write("home/ca.pem", certified.cert.pem().as_bytes());
        // Neither of these makes it trusted.
        let (output, answer) = run(&scene, &host, |command| {
            command.env("VAULT_SKIP_VERIFY", "true").env("SSL_CERT_FILE", scene.path("home/ca.pem"));
        });
        assert_eq!(
            (output["ok"]["status"] == 200, host.arrived().len()),
            (may, usize::from(may)),
            "{name}{more}: {answer:?}"
        );
    }
    assert_eq!(behind.arrived().len(), 1);
}

#[test]
fn a_lease_is_asked_for_once_and_an_answer_is_waited_for() {
    let latch = Latch::default();
    let waited = latch.clone();
    let vault = Wire::answering(move |_, stream| {
        waited.wait();
        stream.write_all(&answer(200, &second(&json!({ "token": VALUE }))))
    });
    let host = Wire::greeting();
    let scene = scene(&host, &at(vault.port, BY_TOKEN));
    let ask = json!({ "authority": format!("127.0.0.1:{}", host.port), "path": "/" });
    let call = json!({ "tool": "caller.send", "arguments": { "ask": ask } });
    let input = json!({ "calls": [call, call, call] }).to_string();
    let arguments = ["--format", "json", "run", "bundle", "--policy", "policy", "--input", &input];
    let running = Running::start(&mut scene.command(&arguments));
    vault.wait_for(1);
    assert_eq!(host.connections(), 0, "nothing is sent without it");
    latch.open();
    let report = running.end().json();
    assert_eq!(report["output"][2]["ok"]["status"], 200, "{report}");
    assert_eq!((vault.arrived().len(), host.arrived().len()), (1, 3));
}

/// Asks a Vault something as its operator, `POST /sys/mounts/kv`, and gives what it answers, unless that is an error.
fn operate(address: SocketAddr, line: &str, body: &Value) -> Option<Value> {
    let (method, path) = line.split_once(' ').unwrap();
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut stream = TcpStream::connect(address).unwrap();
    let head =
        format!("{method} /v1{path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\nx-vault-token: {ROOT}\r\n");
    stream.write_all(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    // Of a change that was made nothing may be said.
    head.starts_with("HTTP/1.1 20").then(|| serde_json::from_str(body).unwrap_or_default())
}

const ROOT: &str = "root-of-the-test";

#[test]
#[ignore = "needs the program of OpenBao: `cargo xtask test --real`"]
fn openbao_is_a_vault() {
    let program = std::env::var("AMBIT_OPENBAO").expect("AMBIT_OPENBAO names the program of OpenBao");
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let home = tempfile::tempdir().unwrap();
    let mut server = Command::new(program);
    server.args(["server", "-dev", "-dev-no-store-token"]).arg(format!("-dev-root-token-id={ROOT}"));
    server.arg(format!("-dev-listen-address={address}")).env("HOME", home.path()).current_dir(home.path());
    let _server = Program::start(server.stdout(Stdio::null()).stderr(Stdio::null()), address);
    // It listens before the engine is there that it begins with.
    eventually("it begins", || operate(address, "GET /sys/mounts/secret", &Value::Null));
    let operate = |line: &str, body: Value| operate(address, line, &body).unwrap_or_else(|| panic!("{line}"));
    operate("POST /sys/mounts/kv", json!({ "type": "kv", "options": { "version": "1" } }));
    operate("POST /kv/teams/billing", json!({ "token": VALUE, "ttl": "30m" }));
    operate("POST /secret/data/teams/billing", json!({ "data": { "token": "an older value" } }));
    operate("POST /secret/data/teams/billing", json!({ "data": { "token": VALUE, "number": 12_345_678 } }));
    operate("POST /secret/data/teams/payroll", json!({ "data": { "token": "not for ambit" } }));
    let rules = "path \"kv/teams/billing\" { capabilities = [\"read\"] }
                 path \"secret/data/teams/billing\" { capabilities = [\"read\"] }";
    operate("POST /sys/policies/acl/desk", json!({ "policy": rules }));
    let token = operate("POST /auth/token/create", json!({ "policies": ["desk"] }));
    operate("POST /sys/auth/approle", json!({ "type": "approle" }));
    operate("POST /auth/approle/role/ambit-desk", json!({ "token_policies": "desk", "token_ttl": "5m" }));
    let role = operate("GET /auth/approle/role/ambit-desk/role-id", Value::Null)["data"]["role_id"].clone();
    let secret = operate("POST /auth/approle/role/ambit-desk/secret-id", json!({}))["data"]["secret_id"].clone();
    let by_role = BY_ROLE.replace("ambit-desk", role.as_str().unwrap());
    let host = Wire::greeting();
    let scene_of = |source: &str| {
        let scene = scene(&host, source);
        private(&scene, "home/token", token["auth"]["client_token"].as_str().unwrap());
        private(&scene, "home/secret-id", secret.as_str().unwrap());
        scene
    };
    // What it refuses; the host has heard nothing then.
    let billing = at(address.port(), BY_TOKEN);
    refused(&scene_of(&billing.replace("billing", "payroll")), &host, "it answered 403: ");
    refused(&scene_of(&format!("{billing}, kv = 1, mount = \"secret\"")), &host, "it answered 403: ");
    refused(&scene_of(&billing.replace("\"token\", auth", "\"number\", auth")), &host, "its field `number` is no text");
    refused(&scene_of(&billing.replace("\"token\", auth", "\"tokens\", auth")), &host, "it has no field `tokens`");
    let other = scene_of(&billing);
    private(&other, "home/token", "hvs.another");
    refused(&other, &host, "it answered 403: ");
    let other = scene_of(&at(address.port(), &by_role));
    private(&other, "home/secret-id", "84896a0c-1347-aa90-a4f6-000000000000");
    refused(&other, &host, "at the login it answered 400: invalid role or secret ID");
    for auth in [BY_TOKEN, &by_role] {
        for engine in ["", ", kv = 1, mount = \"kv\""] {
            let (output, answer) = run(&scene_of(&at(address.port(), &format!("{auth}{engine}"))), &host, |_| {});
            assert_eq!(output["ok"]["status"], 200, "{auth}{engine}: {answer:?}");
        }
    }
    let bearers: Vec<String> = host.arrived().iter().map(|request| request.header("authorization").join(" ")).collect();
    assert_eq!(bearers, vec![format!("Bearer {VALUE}"); 4]);
    // A version that was deleted is none.
    operate("DELETE /secret/data/teams/billing", Value::Null);
    let silent = Wire::greeting();
    let gone = scene(&silent, &billing);
    private(&gone, "home/token", token["auth"]["client_token"].as_str().unwrap());
    refused(&gone, &silent, "it answered 404");
}
