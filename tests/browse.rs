//! A tool that reads pages: the documentation of the house is reachable and answered from, and everything else is not; a twin
//! of it that would send away what it reads gets nowhere.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use xtask::services::{Service, Talk};

use super::support::{Answer, assert_told_again, keep_compiled, policy_with, take_compiled};
use super::wire::Wire;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A text that stands in the documentation and nowhere else.
const SECRET: &str = "The launch code is heliotrope-7731.";

/// A documentation server over a folder, and a home.
struct House {
    folder: tempfile::TempDir,
    docs: Service,
}

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let docs = folder.path().join("docs");
        std::fs::create_dir_all(docs.join("guide")).unwrap();
        for (name, text) in [
            (
                "index.html",
                "<title>House</title><h1>House</h1><p>See <a href=guide/launch.md>launching</a>, \
                <a href='/admin'>the office</a> and <a href='http://127.0.0.1:1/docs/'>another house</a>."
                    .to_owned(),
            ),
            ("guide/launch.md", format!("# Launching\n\n{SECRET} Nobody outside may know.\n\nSee [fuel](fuel.md).\n")),
            ("guide/fuel.md", "# Fuel\n\nThe tank holds 300 litres of fuel.\n".to_owned()),
        ] {
            std::fs::write(docs.join(name), text).unwrap();
        }
        let docs = Service::documentation(&docs, 0, Talk::Quiet).unwrap();
        Self { folder, docs }
    }

    /// A page of the documentation.
    fn page(&self, path: &str) -> String {
        format!("{}{path}", self.docs.url())
    }

    fn ambit(&self, arguments: &[&str]) -> Answer {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ambit"));
        command.current_dir(ROOT).env("AMBIT_HOME", self.folder.path().join("home")).args(["--format", "json"]);
        let home = self.folder.path().join("home");
        take_compiled(&home);
        let answer = Answer::of(command.args(arguments).output().unwrap());
        keep_compiled(&home);
        answer
    }

    fn run(&self, bundle: &str, policy: &Path, question: &str, pages: &[String]) -> Value {
        let input = json!({ "question": question, "pages": pages }).to_string();
        let bundle = format!("guest-examples/bundles/{bundle}");
        let answer = self.ambit(&["run", &bundle, "--policy", policy.to_str().unwrap(), "--input", &input]);
        assert_eq!(self.ambit(&["audit", "verify"]).code, 0);
        let report = answer.json();
        assert_told_again(&self.ambit(&["task", "replay", report["task"].as_str().unwrap()]));
        report
    }

    /// Records of requests, of a kind.
    fn requests(&self, kind: &str) -> Vec<Value> {
        let log = self.ambit(&["audit", "show", "--limit", "100000"]).json();
        let records = log.as_array().unwrap().iter().map(|entry| entry["record"].clone());
        records.filter(|record| record["kind"] == kind && record["action"] == "http.request").collect()
    }
}

#[test]
fn the_documentation_of_the_house_is_answered_from() {
    let house = House::new();
    let policy = policy_with("researcher", &[("8801", &house.docs.port().to_string())]);
    let question = "How many litres of fuel does the tank hold?";
    let report = house.run("researcher", policy.path(), question, &[house.page("/docs/"), house.page("/docs/none.md")]);
    assert_eq!(report["status"], "succeeded", "{report}");
    assert_eq!(report["labels"], json!(["confidential"]));
    let output = &report["output"];
    assert_eq!(output["answer"], "The tank holds 300 litres of fuel. [1]", "{report}");
    assert_eq!(output["citations"][0]["cite"], house.page("/docs/guide/fuel.md"));
    // What it was not let to is told, and was asked for by nobody.
    assert_eq!(output["pages"]["refused"], json!([house.page("/admin")]), "{report}");
    assert!(output["notes"].to_string().contains("404"), "{report}");
    let asked = ["GET /docs/", "GET /docs/none.md", "GET /docs/guide/launch.md", "GET /docs/guide/fuel.md"];
    assert_eq!(house.docs.requests(), asked);
    assert_eq!((house.requests("intent").len(), house.requests("refusal").len()), (4, 1));
}

#[test]
fn everything_else_is_not_reached() {
    let house = House::new();
    let wire = Wire::greeting();
    let policy = policy_with("researcher", &[("8801", &house.docs.port().to_string())]);
    let port = house.docs.port();
    let pages = [
        house.page("/admin"),
        house.page("/docs"),
        house.page("/docs/../admin"),
        house.page("/docs/%2e%2e/admin"),
        house.page("/docs/..%2fadmin"),
        format!("http://127.0.0.1:{port}/docs/"),
        format!("https://localhost:{port}/docs/"),
        format!("http://localhost:{}/docs/", wire.port),
        format!("http://127.0.0.1:{}/docs/", wire.port),
        "http://example.com/docs/".to_owned(),
        "http://169.254.169.254/docs/".to_owned(),
    ];
    let report = house.run("researcher", policy.path(), "What is the launch code?", &pages);
    assert_eq!(report["status"], "succeeded", "{report}");
    assert_eq!(report["output"]["pages"]["read"], json!([]), "{report}");
    assert_eq!(report["output"]["notes"].as_array().unwrap().len(), pages.len() + 2, "{report}");
    assert_eq!(report["labels"], json!([]), "nothing was read");
    assert_eq!((house.docs.requests(), wire.connections()), (Vec::<String>::new(), 0));
    assert_eq!(house.requests("refusal").len(), pages.len());
    assert_eq!(house.requests("intent").len(), 0);
}

#[test]
fn a_redirect_that_leads_out_is_refused() {
    let house = House::new();
    let outside = Wire::greeting();
    let target = format!("http://127.0.0.1:{}/docs/", outside.port);
    let inside =
        Wire::answering(move |_, stream| std::io::Write::write_all(stream, &super::wire::redirect(302, &target)));
    let policy = policy_with("researcher", &[("8801", &inside.port.to_string())]);
    let page = format!("http://localhost:{}/docs/", inside.port);
    let report = house.run("researcher", policy.path(), "What is the launch code?", &[page]);
    assert_eq!(report["output"]["pages"]["refused"].as_array().map(Vec::len), Some(1), "{report}");
    assert_eq!((inside.connections(), outside.connections()), (1, 0));
    assert_eq!((house.requests("intent").len(), house.requests("refusal").len()), (1, 1));
}

/// The policy of the twin, for servers where they are.
fn leak(house: &House, outside: &Wire) -> tempfile::TempDir {
    policy_with("researcher-leak", &[("8801", &house.docs.port().to_string()), ("8803", &outside.port.to_string())])
}

/// What the twin's tool says of each attempt, when it is called alone on the page with the secret, under the grant of its
/// bundle with a text replaced.
fn attempts(house: &House, outside: &Wire, change: (&str, &str)) -> Vec<Value> {
    let policy = leak(house, outside);
    let grants = policy.path().join("grants.toml");
    let text = std::fs::read_to_string(&grants).unwrap().replace("tools.browse", "tools.browse-post");
    std::fs::write(&grants, text.replace(change.0, change.1)).unwrap();
    let component = "guest-examples/bundles/researcher-leak/browse-post.wasm";
    let arguments = json!({ "url": house.page("/docs/guide/launch.md") }).to_string();
    let answer = house.ambit(&["call", component, "read", &arguments, "--grant", grants.to_str().unwrap()]);
    assert_eq!(answer.code, 0, "{answer:?}");
    serde_json::from_str(answer.json()["output"]["text"].as_str().unwrap()).unwrap()
}

#[test]
fn a_twin_sends_nothing_of_what_it_read_and_reads_nothing_else() {
    let house = House::new();
    let outside = Wire::greeting();
    let attempts = attempts(&house, &outside, ("", ""));
    let got: Vec<&Value> = attempts.iter().filter(|attempt| !attempt["got"].is_null()).collect();
    // It has read the page, which is what it was granted, and got nothing else.
    assert_eq!(got.len(), 1, "{got:#?}");
    assert!(got[0]["kind"] == "page" && got[0]["got"].as_str().unwrap().contains(SECRET), "{got:#?}");
    assert!(attempts.len() > 60, "only {} attempts", attempts.len());
    for kind in ["held", "whole", "piece", "query", "path", "header", "bit", "method", "outside"] {
        assert!(attempts.iter().any(|attempt| attempt["kind"] == kind), "nothing of the kind {kind}");
    }
    // What was begun before the page was read had begun to flow, and was cut off there. Nothing else arrived.
    assert_eq!((outside.connections(), outside.bodies().as_str()), (1, "begun "), "{:?}", outside.arrived());
    assert_eq!(house.docs.requests(), ["GET /docs/guide/launch.md"]);
    let cut = house.requests("outcome").into_iter().find(|outcome| outcome["code"] == "refused").unwrap();
    assert!(cut["detail"].to_string().contains("gained labels"), "{cut}");
    // Each attempt but the page and what was cut off left a refusal.
    assert_eq!(house.requests("refusal").len(), attempts.len() - 2, "{attempts:#?}");
    assert_eq!(house.requests("intent").len(), 2);
}

#[test]
fn what_is_not_confidential_goes_where_it_is_granted() {
    let house = House::new();
    let outside = Wire::greeting();
    let attempts = attempts(&house, &outside, ("labels    = [\"confidential\"]", "labels    = []"));
    // So it is the label that holds it back above, and nothing that the twin does wrong.
    let sends = ["held", "whole", "piece", "query", "path", "header", "bit"];
    for attempt in &attempts {
        let sent = sends.iter().any(|kind| attempt["kind"] == *kind) || attempt["kind"] == "page";
        assert_eq!(attempt["got"].is_null(), !sent, "{attempt}");
    }
    // Four times whole, and once in pieces.
    assert_eq!(outside.bodies().matches(SECRET).count(), 5, "{:?}", outside.bodies());
}

#[test]
fn the_twin_gets_no_further_in_its_bundle() {
    let house = House::new();
    let outside = Wire::greeting();
    let policy = leak(&house, &outside);
    let page = house.page("/docs/guide/launch.md");
    let report = house.run("researcher-leak", policy.path(), "What was refused?", &[page]);
    assert_eq!((&report["status"], &report["labels"]), (&json!("succeeded"), &json!(["confidential"])), "{report}");
    assert_eq!(outside.bodies(), "begun ");
    assert!(house.requests("refusal").len() > 60);
}
