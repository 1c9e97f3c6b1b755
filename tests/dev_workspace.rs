//! The developer in its workspace: one repository of one host, with a credential that neither it nor its tool sees, and what a
//! twin of it gets that is after credentials, other repositories and a place to keep both.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use xtask::services::{Admission, Service, Talk, Workloads};

use super::support::{
    Answer, Running, assert_no_file_holds, assert_told_again, keep_compiled, policy_with, take_compiled,
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// What the host admits whoever bears it.
const TOKEN: &str = "tok-9fK2-mQ7x-production-3Zr8";
/// In the shipped grants.
const IDENTITY: &str = "credential = { token = \"http://localhost:8804\" }";

/// The same, spelled so that the port in the audience, which is a name, stays when services are moved to other ports.
const SAME_AUDIENCE: &str = "credential = { token = \"http://localhost:88\\u00304\" }";
/// The rule about it, and the same with the letter escaped.
const AUDIENCE: (&str, &str) = ("Audience::\"http://localhost:8804\"", "Audience::\"http://localhost:88\\u{30}4\"");

/// A home, the host of the repositories, and a host outside.
struct Development {
    folder: tempfile::TempDir,
    repository: Service,
    outside: Service,
}

impl Development {
    fn new() -> Self {
        Self::admitting(|_| Admission::Token(TOKEN.to_owned()))
    }

    fn admitting(admission: impl FnOnce(&Path) -> Admission) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("home");
        std::fs::create_dir(&home).unwrap();
        let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&home).unwrap());
        let people = format!("[people.maria]\nuid = {uid}\ngroups = [\"production\"]\n");
        std::fs::write(home.join("config.toml"), people).unwrap();
        let hosted = folder.path().join("repositories");
        let repository = Service::repository(&hosted, 0, admission(folder.path()), Talk::Quiet).unwrap();
        Self { folder, repository, outside: Service::outside(0, Talk::Quiet).unwrap() }
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        take_compiled(&self.home());
        let mut command = Command::new(env!("CARGO_BIN_EXE_ambit"));
        command.current_dir(ROOT).env("AMBIT_HOME", self.home()).args(["--format", "json"]).args(arguments);
        command
    }

    fn ambit(&self, arguments: &[&str]) -> Answer {
        let answer = Answer::of(self.command(arguments).output().unwrap());
        keep_compiled(&self.home());
        answer
    }

    fn set_secret(&self, name: &str, value: &str) {
        let mut command = self.command(&["secret", "set", name]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(value.as_bytes()).unwrap();
        let answer = Answer::of(child.wait_with_output().unwrap());
        assert_eq!(answer.code, 0, "{answer:?}");
    }

    /// The shipped policy of a bundle, for the services where they are.
    fn policy(&self, name: &str, changes: &[(&str, &str)]) -> tempfile::TempDir {
        let (repository, outside) = (self.repository.port().to_string(), self.outside.port().to_string());
        policy_with(name, &[changes, &[("8804", &repository), ("8803", &outside)]].concat())
    }

    /// The same, where the host attaches a secret of its own instead of a token of the task's identity.
    fn policy_with_secret(&self, name: &str) -> tempfile::TempDir {
        let policy = self.policy(name, &[(IDENTITY, "credential = \"repository-token\"")]);
        let rule = "@id(\"lease\") permit (principal, action == Ambit::Action::\"secrets.lease\", resource);";
        std::fs::write(policy.path().join("lease.cedar"), rule).unwrap();
        policy
    }

    fn run(&self, bundle: &str, policy: &Path, input: &Value) -> Value {
        let (bundle, input) = (format!("guest-examples/bundles/{bundle}"), input.to_string());
        let answer = self.ambit(&["run", &bundle, "--policy", policy.to_str().unwrap(), "--input", &input]);
        assert!(!answer.stdout.contains(TOKEN) && !answer.stderr.contains(TOKEN), "{answer:?}");
        let report = answer.json();
        let left = std::fs::read_dir(self.home().join("workspaces")).into_iter().flatten().count();
        assert_eq!(left, 0, "a workspace was left behind: {report}");
        assert_told_again(&self.ambit(&["task", "replay", report["task"].as_str().unwrap()]));
        report
    }

    /// What Git says of a repository at the host.
    fn git(&self, repository: &str, arguments: &[&str]) -> String {
        let folder = self.folder.path().join("repositories").join(repository);
        let output = Command::new("git").arg("-C").arg(folder).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The branches of the repository that is worked on.
    fn branches(&self) -> Vec<String> {
        let branches = self.git("team/site.git", &["for-each-ref", "--format=%(refname:short)", "refs/heads"]);
        branches.lines().map(str::to_owned).collect()
    }

    fn assert_nothing_holds(&self, secret: &str) {
        assert_no_file_holds(&self.home(), &[secret]);
    }
}

fn task() -> Value {
    json!({
        "repository": "team/site.git",
        "branch": "main",
        "change": { "path": "config/site.json", "find": "\"items-per-page\": 10", "replace": "\"items-per-page\": 25" },
    })
}

#[test]
fn a_change_becomes_a_branch_that_git_takes_for_its_own() {
    let development = Development::new();
    development.set_secret("repository-token", TOKEN);
    let policy = development.policy_with_secret("dev-workspace");
    let report = development.run("dev-workspace", policy.path(), &task());
    assert_eq!(report["status"], "succeeded", "{report}");
    assert_eq!(report["labels"], json!(["confidential"]), "{report}");
    let (output, git) = (&report["output"], |arguments: &[&str]| development.git("team/site.git", arguments));
    assert_eq!(output["changes"], json!([{ "path": "config/site.json", "kind": "modified" }]), "{report}");
    assert_eq!(development.branches(), ["change/config-site-json", "main"]);
    assert_eq!(output["commit"], git(&["rev-parse", "change/config-site-json"]).trim());
    assert_eq!(output["base"]["commit"], git(&["rev-parse", "change/config-site-json^"]).trim());
    assert_eq!(git(&["rev-parse", "main"]), git(&["rev-parse", "change/config-site-json^"]));
    assert_eq!(git(&["diff", "--numstat", "main", "change/config-site-json"]), "1\t1\tconfig/site.json\n");
    git(&["fsck", "--strict", "--full"]);
    // The host attached it to every request, and it stands nowhere.
    let borne = development.repository.authorizations();
    assert_eq!(borne, vec![format!("Bearer {TOKEN}"); 5]);
    development.assert_nothing_holds(TOKEN);
    assert!(development.outside.requests().is_empty());

    // The branch is there now; and what is not there is not changed.
    let report = development.run("dev-workspace", policy.path(), &task());
    assert_eq!(report["error"]["code"], "repository", "{report}");
    for (key, value, code) in
        [("find", "nothing of it", "not-found"), ("find", "\"", "ambiguous"), ("path", "nosuch.md", "no-such-file")]
    {
        let mut task = task();
        task["change"][key] = value.into();
        let report = development.run("dev-workspace", policy.path(), &task);
        assert_eq!((&report["status"], &report["error"]["code"]), (&json!("failed"), &json!(code)), "{report}");
    }
    assert_eq!(development.branches().len(), 2);
}

#[test]
fn nothing_is_asked_of_the_host_without_the_credential() {
    let development = Development::new();
    let policy = development.policy_with_secret("dev-workspace");
    let report = development.run("dev-workspace", policy.path(), &task());
    assert_eq!(report["status"], "failed", "{report}");
    assert!(development.repository.requests().is_empty());
}

#[test]
fn a_credential_that_is_not_admitted_opens_nothing() {
    let development = Development::new();
    development.set_secret("repository-token", "tok-of-somebody-else-0815");
    let policy = development.policy_with_secret("dev-workspace");
    let report = development.run("dev-workspace", policy.path(), &task());
    assert_eq!(report["error"]["code"], "refused", "{report}");
    assert_eq!(development.repository.requests().len(), 1);
}

#[test]
fn the_branch_that_everybody_builds_from_is_never_pushed() {
    let development = Development::new();
    development.set_secret("repository-token", TOKEN);
    let policy = development.policy_with_secret("dev-workspace");
    let mut task = task();
    task["new-branch"] = "main".into();
    let report = development.run("dev-workspace", policy.path(), &task);
    assert_eq!(report["error"]["code"], "refused", "{report}");
    assert!(!development.repository.requests().iter().any(|request| request.contains("receive-pack")));
    assert_eq!(development.branches(), ["main"]);
}

#[test]
fn productions_token_is_lent_when_a_person_says_yes_and_to_that_task_alone() {
    let development = Development::new();
    development.set_secret("production-token", TOKEN);
    let policy = development.policy("dev-workspace-exception", &[]);
    // Nobody is asked here.
    let report = development.run("dev-workspace", policy.path(), &task());
    assert_eq!(report["error"]["code"], "refused", "{report}");
    assert!(development.repository.requests().is_empty());

    let (input, path) = (task().to_string(), policy.path().to_str().unwrap());
    let arguments = ["run", "guest-examples/bundles/dev-workspace", "--policy", path, "--input", &input];
    let running = Running::start(development.command(&arguments).args(["--approvals", "wait"]));
    let id = running.question();
    let asked = development.ambit(&["approvals", "list"]).json()[0].clone();
    assert_eq!((&asked["action"], &asked["component"]), (&json!("secrets.lease"), &json!("repository")), "{asked}");
    assert!(!asked.to_string().contains(TOKEN), "{asked}");
    assert!(development.repository.requests().is_empty(), "nothing was asked of the host before");
    development.ambit(&["approvals", "approve", &id]);
    let report = running.end().json();
    // One yes was enough: the lease holds for the task's three calls.
    assert_eq!(report["status"], "succeeded", "{report}");
    assert_eq!(report["usage"]["approvals"], 1, "{report}");
    assert_eq!(development.repository.authorizations(), vec![format!("Bearer {TOKEN}"); 5]);
    development.assert_nothing_holds(TOKEN);
    // The next task has to ask again.
    let report = development.run("dev-workspace", policy.path(), &task());
    assert_eq!(report["error"]["code"], "refused", "{report}");
    assert_eq!(development.repository.requests().len(), 5);
}

#[test]
fn a_twin_that_hoards_gets_nothing_and_leaves_nothing() {
    let development = Development::new();
    development.set_secret("repository-token", TOKEN);
    let policy = development.policy_with_secret("dev-workspace-hoarder");
    for _ in 0..2 {
        let report = development.run("dev-workspace-hoarder", policy.path(), &json!(null));
        assert_eq!(report["status"], "succeeded", "{report}");
        let output = &report["output"];
        assert_eq!((&output["found"], &output["left"], &output["out"]), (&json!([]), &json!(true), &json!(false)));
        let attempts = output["attempts"].as_array().unwrap();
        assert!(attempts.len() > 20, "{report}");
        // The host shows what it was asked with, and the guest is not told.
        let reflected = attempts[0]["got"].as_str().unwrap();
        assert!(reflected.starts_with("200 ") && reflected.contains("asked with"), "{reflected}");
        for attempt in &attempts[1..] {
            assert_eq!(attempt["got"], Value::Null, "{attempt}");
        }
    }
    // What reached the host is what was granted.
    assert_eq!(development.repository.requests(), ["GET /reflect"; 2]);
    assert!(development.outside.requests().is_empty());
    development.assert_nothing_holds(TOKEN);
}

#[test]
fn the_tasks_own_identity_is_admitted_and_no_other() {
    let development = Development::admitting(|folder| {
        let below = "spiffe://ambit.local/agent/dev-workspace/".to_owned();
        let audience = "http://localhost:8804".to_owned();
        Admission::Workloads(Workloads { keys: folder.join("jwks.json"), audience, below })
    });
    let keys = development.ambit(&["identity", "jwks"]);
    std::fs::write(development.folder.path().join("jwks.json"), keys.stdout).unwrap();
    let policy = development.policy("dev-workspace", &[(IDENTITY, SAME_AUDIENCE), AUDIENCE]);
    let report = development.run("dev-workspace", policy.path(), &task());
    assert_eq!(report["status"], "succeeded", "{report}");
    let borne = development.repository.authorizations();
    assert!(borne.len() == 5 && borne.iter().all(|value| value.starts_with("Bearer ey")), "{borne:?}");
    for token in &borne {
        development.assert_nothing_holds(token);
    }
    // The twin is another bundle: its tokens are signed by the same keys, and say so.
    let policy = development.policy("dev-workspace-hoarder", &[(IDENTITY, SAME_AUDIENCE), AUDIENCE]);
    let report = development.run("dev-workspace-hoarder", policy.path(), &json!(null));
    let reflected = report["output"]["attempts"][0]["got"].as_str().unwrap();
    assert!(reflected.starts_with("401 "), "{report}");
}

#[test]
fn its_rules_decide_as_their_cases_say() {
    let development = Development::new();
    for policy in ["policies/dev-workspace", "policies/dev-workspace-exception"] {
        let answer = development.ambit(&["policy", "test", policy]);
        assert_eq!(answer.code, 0, "{answer:?}");
    }
}
