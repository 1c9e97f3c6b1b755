//! What the documents show is what happens: their commands are run, their manifests and rules are read.

use std::path::Path;
use std::process::Command;

use xtask::services::{Service, Talk};

use super::support::policy_with;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn document(name: &str) -> String {
    std::fs::read_to_string(Path::new(ROOT).join(name)).unwrap()
}

/// The blocks of a document that are marked with a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("\n```").next().unwrap().to_owned()).collect()
}

#[test]
fn the_commands_of_the_readme_do_what_it_says() {
    let home = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_ambit")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap_or_default());
    let sessions = blocks(&document("README.md"), "console").into_iter().filter(|block| block.contains("$ ambit"));
    let mut session = sessions.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    // What `cargo xtask serve` runs, on ports that nobody else has.
    let docs = Service::documentation(&Path::new(ROOT).join("docs"), 0, Talk::Quiet).unwrap();
    let billing = Service::billing(&home.path().join("billing"), 0, Talk::Quiet).unwrap();
    let ports = [("8801", docs.port().to_string()), ("8802", billing.port().to_string())];
    let ports = ports.each_ref().map(|(shipped, port)| (*shipped, port.as_str()));
    let policies = ["researcher", "support-desk"].map(|name| (name, policy_with(name, &ports)));
    for (name, copy) in &policies {
        session = session.replace(&format!("policies/{name} "), &format!("{} ", copy.path().display()));
    }
    session = ports.iter().fold(session, |session, (shipped, port)| session.replace(shipped, port));
    let mut lines = session.lines().peekable();
    let mut ran = 0;
    while let Some(line) = lines.next() {
        let command = line.strip_prefix("$ ").unwrap_or_else(|| panic!("what is this line: {line}"));
        let mut expected = Vec::new();
        while lines.peek().is_some_and(|next| !next.starts_with("$ ")) {
            expected.push(lines.next().unwrap());
        }
        let output = Command::new("sh")
            .args(["-c", command])
            .current_dir(ROOT)
            .env("PATH", &path)
            .env("AMBIT_HOME", home.path())
            .output()
            .unwrap();
        let shown = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let code = if expected.iter().any(|line| line.starts_with("error: ")) { 3 } else { 0 };
        assert_eq!(output.status.code(), Some(code), "{command}\n{shown}");
        for line in expected {
            assert!(shown.contains(line), "{command}\ndoes not say: {line}\nbut: {shown}");
        }
        ran += 1;
    }
    assert!(ran > 6, "only {ran} commands");
    assert!(docs.requests().len() > 2 && !billing.requests().is_empty(), "the services were not asked");
}

#[test]
fn the_shipped_grants_fit_the_shipped_bundles() {
    let home = tempfile::tempdir().unwrap();
    for (bundle, code) in [
        ("researcher", 0),
        ("researcher-import", 3),
        ("researcher-prowl", 0),
        ("researcher-leak", 0),
        ("support-desk", 0),
        ("support-desk-twisted", 0),
        ("ops-runner", 0),
        ("ops-runner-implant", 0),
        ("dev-workspace", 0),
        ("dev-workspace-hoarder", 0),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_ambit"))
            .args(["check", &format!("guest-examples/bundles/{bundle}"), "--policy", &format!("policies/{bundle}")])
            .current_dir(ROOT)
            .env("AMBIT_HOME", home.path())
            .output()
            .unwrap();
        let shown = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.code(), Some(code), "{shown}");
        assert!(!shown.contains("unused") && !shown.contains("requested, not granted"), "{shown}");
    }
}

#[test]
fn the_configurations_of_the_documents_load() {
    let both = ["README.md", "docs/policies.md"].map(|name| blocks(&document(name), "toml")).concat();
    let configurations =
        both.iter().filter(|block| block.starts_with("[people.") || block.starts_with("[decision-point]"));
    let mut read = 0;
    for block in configurations {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("config.toml"), block).unwrap();
        let mut ambit = Command::new(env!("CARGO_BIN_EXE_ambit"));
        let output = ambit.args(["approvals", "list"]).env("AMBIT_HOME", home.path()).output().unwrap();
        assert!(output.status.success(), "{block}\n{output:?}");
        read += 1;
    }
    assert_eq!(read, 3);
}

#[test]
fn the_grants_and_rules_of_the_documents_load() {
    let vocabulary = ambit::capability::vocabulary();
    let grants = document("docs/grants.md");
    let pieces = blocks(&grants, "toml");
    let whole = pieces[0].replace("sha256:…", &format!("sha256:{}", "0".repeat(64)));
    ambit::grant::Manifest::parse(&whole, Path::new("docs/grants.md"), &vocabulary).unwrap();
    for piece in &pieces[1..] {
        let manifest = format!("bundle = \"shown\"\n[agent]\n{piece}\n");
        let read = ambit::grant::Manifest::parse(&manifest, Path::new("docs/grants.md"), &vocabulary);
        assert!(read.is_ok(), "{piece}: {:?}", read.err());
    }
    let texts = ["docs/labels.md", "docs/secrets.md", "docs/identity.md"].map(|name| (name, document(name)));
    for (name, text) in &texts {
        for piece in blocks(text, "toml") {
            if piece.starts_with("[tools.") {
                let manifest = format!("bundle = \"shown\"\n{piece}");
                let read = ambit::grant::Manifest::parse(&manifest, Path::new(name), &vocabulary);
                assert!(read.is_ok(), "{piece}: {:?}", read.err());
            } else {
                let folder = tempfile::tempdir().unwrap();
                std::fs::write(folder.path().join("config.toml"), &piece).unwrap();
                let home = ambit::config::Home::open(Some(folder.path())).unwrap();
                let read = ambit::settings::Settings::open(&home);
                assert!(read.is_ok(), "{piece}: {:?}", read.err());
            }
        }
    }
    // Every limit with its default.
    let limits = ambit::grant::Limits::default();
    for (key, default) in [
        ("fuel", "10,000,000,000".to_owned()),
        ("tool-calls", limits.tool_calls.to_string()),
        ("effects", "10,000".to_owned()),
        ("approvals", limits.approvals.to_string()),
        ("approvals-per-hour", limits.approvals_per_hour.to_string()),
        ("tool-depth", limits.tool_depth.to_string()),
        ("memory", format!("`\"{}MiB\"`", limits.memory >> 20)),
        ("output", format!("`\"{}MiB\"`", limits.output >> 20)),
        ("log", format!("`\"{}KiB\"`", limits.log >> 10)),
        ("host-call", format!("`\"{}MiB\"`", limits.host_call >> 20)),
        ("handles", "1,000".to_owned()),
        ("instances", limits.instances.to_string()),
        ("wall-time", format!("`\"{}s\"`", limits.wall_time.as_secs())),
    ] {
        assert!(
            grants.contains(&format!("| `{key}` | {default} |")),
            "docs/grants.md does not say that `{key}` is {default}"
        );
    }
    let policies = document("docs/policies.md");
    for action in ambit::capability::REGISTRY.iter().flat_map(|row| row.actions()).map(|action| action.name) {
        assert!(policies.contains(&format!("| `{action}` |")), "docs/policies.md does not mention {action}");
    }
    for rules in texts.iter().map(|(_, text)| text).chain([&policies]).flat_map(|text| blocks(text, "cedar")) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("rules.cedar"), rules).unwrap();
        let dir = cap_std::fs::Dir::open_ambient_dir(folder.path(), cap_std::ambient_authority()).unwrap();
        let files = ambit::policy::rules::RuleFiles::read(&dir, folder.path()).unwrap();
        ambit::policy::Policy::of(&files, &ambit::capability::terms(None)).unwrap();
    }
}
