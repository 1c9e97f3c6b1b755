//! A home, a bundle and its policy in a temporary folder, and the `ambit` program run on them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

/// A bundle under a policy, with a home of its own.
pub(crate) struct Scene {
    folder: tempfile::TempDir,
}

/// What the program answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Answer {
    pub(crate) fn of(output: std::process::Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Standard output as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }
}

impl Scene {
    /// A bundle named `scene` of the agent `agent-probe` and the tool `prober`, with these grants below `bundle =`.
    pub(crate) fn probing(grants: &str) -> Self {
        Self::with_tools(&[("prober", "probe")], grants)
    }

    /// As [`Self::probing`], with these tools: (name, guest). Every tool and the agent request everything.
    pub(crate) fn with_tools(tools: &[(&str, &str)], grants: &str) -> Self {
        let scene = Self { folder: tempfile::tempdir().unwrap() };
        for folder in ["bundle", "policy", "home/compiled"] {
            std::fs::create_dir_all(scene.path(folder)).unwrap();
        }
        let names: Vec<String> = tools.iter().map(|(name, _)| format!("{name:?}")).collect();
        let requests = format!(
            "tools = {{ names = [{}] }}\nstate = {{}}\nclock = {{}}\nrandom = {{}}\nstdio = {{}}\n\
             http = {{ methods = [\"GET\", \"POST\", \"PUT\", \"DELETE\", \"HEAD\"] }}\n\
             label = {{ remove = [\"confidential\", \"pii\"] }}\n\
             env = {{ names = [\"MODE\", \"AMBIT_TEST_VARIABLE\"], arguments = true }}\n\
             workspace = {{ guest = \"/workspace\" }}\n\
             identity = {{ audiences = [\"https://billing.example.net\", \"https://other.example.net\"] }}\n\
             secrets = {{ reveal = [\"signing-key\", \"foreign\", \"attached\", \"nothing\"] }}\n\
             filesystem = {{ mounts = [{{ guest = \"/data\", access = \"write\" }}, {{ guest = \"/more\", access = \"write\" }}] }}\n",
            names.join(", ")
        );
        let mut bundle = format!(
            "name = \"scene\"\nversion = \"0.1.0\"\n[agent]\ncomponent = \"agent.wasm\"\n[agent.requests]\n{requests}"
        );
        scene.write("bundle/agent.wasm", &guest("agent-probe"));
        for (name, file) in tools {
            bundle
                .push_str(&format!("[tools.{name}]\ncomponent = \"{name}.wasm\"\n[tools.{name}.requests]\n{requests}"));
            scene.write(&format!("bundle/{name}.wasm"), &guest(file));
        }
        scene.write("bundle/bundle.toml", bundle.as_bytes());
        scene.grant(grants);
        scene
    }

    /// Replaces the grant manifest.
    pub(crate) fn grant(&self, grants: &str) {
        self.write("policy/grants.toml", format!("bundle = \"scene\"\n{grants}").as_bytes());
    }

    /// Adds rules.
    pub(crate) fn rules(&self, rules: &str) {
        self.write("policy/rules.cedar", rules.as_bytes());
    }

    /// Replaces a component of the bundle by one in WAT.
    pub(crate) fn component(&self, name: &str, wat: &str) {
        self.write(&format!("bundle/{name}.wasm"), &wat::parse_str(wat).unwrap());
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// Runs the agent and takes the answer as JSON; the log verifies afterwards.
    pub(crate) fn run(&self, input: &Value) -> Value {
        let answer =
            self.ambit(&["--format", "json", "run", "bundle", "--policy", "policy", "--input", &input.to_string()]);
        let verdict = self.ambit(&["audit", "verify"]);
        assert_eq!(verdict.code, 0, "{verdict:?}");
        let report = answer.json();
        assert_eq!(answer.code, code_of(report["status"].as_str().unwrap()), "{answer:?}");
        // Whatever it is, it can be told again, to the same end; unless that came from outside.
        let told = self.ambit(&["--format", "json", "task", "replay", report["task"].as_str().unwrap()]);
        let was_stopped = report["status"] == "exhausted";
        assert!(told.code == 0 && told.json()["ends_early"] == was_stopped, "{told:?}");
        report
    }

    /// Calls one function of the tool `prober` through the agent, and gives the agent's account of it.
    pub(crate) fn probe(&self, function: &str, arguments: &Value) -> Value {
        let input = serde_json::json!({ "calls": [{ "tool": format!("prober.{function}"), "arguments": arguments }] });
        let report = self.run(&input);
        assert_eq!(report["status"], "succeeded", "{report}");
        report["output"][0].clone()
    }

    /// All records of the home.
    pub(crate) fn records(&self) -> Vec<Value> {
        let answer = self.ambit(&["--format", "json", "audit", "show", "--limit", "1000000"]);
        answer
            .json()
            .as_array()
            .unwrap()
            .iter()
            .map(|record| {
                let mut entry = record["record"].clone();
                entry["seq"] = record["seq"].clone();
                entry
            })
            .collect()
    }

    /// Records of a kind and an action.
    pub(crate) fn records_of(&self, kind: &str, action: &str) -> Vec<Value> {
        self.records().into_iter().filter(|record| record["kind"] == kind && record["action"] == action).collect()
    }

    /// Runs the program in the scene's folder.
    pub(crate) fn ambit(&self, arguments: &[&str]) -> Answer {
        self.ambit_with(arguments, &[])
    }

    /// As [`Self::ambit`], with variables.
    pub(crate) fn ambit_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Answer {
        let answer = Answer::of(self.command(arguments).envs(variables.iter().copied()).output().unwrap());
        keep_compiled(&self.path("home"));
        answer
    }

    /// Sets a secret of the home.
    pub(crate) fn set_secret(&self, name: &str, value: &str) {
        let answer = self.ambit_reading(&["secret", "set", name], value);
        assert_eq!(answer.code, 0, "{answer:?}");
    }

    /// As [`Self::ambit`], with this on standard input.
    pub(crate) fn ambit_reading(&self, arguments: &[&str], input: &str) -> Answer {
        let mut command = self.command(arguments);
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        Answer::of(child.wait_with_output().unwrap())
    }

    /// The program in the scene's folder, to be run.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        take_compiled(&self.path("home"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_ambit"));
        command.current_dir(self.folder.path()).env_clear().env("AMBIT_HOME", "home").args(arguments);
        command
    }
}

/// How long a program in the background is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program in the background, and what it says meanwhile.
pub(crate) struct Running {
    pub(crate) child: Child,
    /// Lines of stderr that nobody has looked at yet; closed when the program has ended.
    lines: Receiver<String>,
    stdout: JoinHandle<String>,
    stderr: JoinHandle<String>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (mut stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let stdout = std::thread::spawn(move || {
            let mut text = String::new();
            stdout.read_to_string(&mut text).unwrap();
            text
        });
        let (sender, lines) = channel();
        let stderr = std::thread::spawn(move || {
            let mut text = String::new();
            for line in BufReader::new(stderr).lines().map(Result::unwrap) {
                text.push_str(&format!("{line}\n"));
                // Nobody may be looking any more.
                let _ = sender.send(line);
            }
            text
        });
        Self { child, lines, stdout, stderr }
    }

    /// Waits until it asks people, and gives the question's id. Each is given once.
    pub(crate) fn question(&self) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|why| panic!("nobody is asked: {why}"));
            if let Some(id) = line.trim().strip_prefix("ambit approvals deny ") {
                return id.to_owned();
            }
        }
    }

    /// Whether it neither says anything nor ends for as long as this.
    pub(crate) fn keeps_waiting(&self, time: Duration) -> bool {
        self.lines.recv_timeout(time) == Err(RecvTimeoutError::Timeout)
    }

    pub(crate) fn end(mut self) -> Answer {
        let (stdout, stderr) = (self.stdout.join().unwrap(), self.stderr.join().unwrap());
        Answer { code: self.child.wait().unwrap().code().unwrap_or(-1), stdout, stderr }
    }
}

/// A copy of a policy folder of `policies/` in a folder of its own, with texts in its grants and rules replaced. Its mounts of
/// folders outside it stay where they were.
pub(crate) fn policy_with(name: &str, changes: &[(&str, &str)]) -> tempfile::TempDir {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let copy = tempfile::tempdir().unwrap();
    copy_with(&root.join("policies").join(name), copy.path(), &|text| {
        let text = text.replace("../../", &format!("{}/", root.display()));
        changes.iter().fold(text, |text, (from, to)| text.replace(from, to))
    });
    copy
}

fn copy_with(from: &Path, to: &Path, change: &dyn Fn(&str) -> String) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_with(&entry.path(), &to, change);
        } else {
            std::fs::write(to, change(&std::fs::read_to_string(entry.path()).unwrap())).unwrap();
        }
    }
}

/// A task was told again, and came to the same end.
pub(crate) fn assert_told_again(answer: &Answer) {
    assert!(answer.code == 0 && answer.json()["ends_early"] == false, "{answer:?}");
}

/// The exit code that belongs to a status.
pub(crate) fn code_of(status: &str) -> i32 {
    match status {
        "succeeded" => 0,
        "failed" | "trapped" => 1,
        "refused" => 3,
        "exhausted" => 5,
        other => panic!("no task should end as {other}"),
    }
}

/// Where the guests' components are.
pub(crate) fn guests() -> PathBuf {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("guest-examples/target/wasm32-wasip2/components");
    std::env::var_os("AMBIT_GUESTS").map_or(default, PathBuf::from)
}

/// A guest of `guest-examples`, as `cargo xtask guests` built it, or `cargo xtask foreign`.
pub(crate) fn guest(name: &str) -> Vec<u8> {
    let path = guests().join(format!("{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|error| {
        panic!("{}: {error}; run `cargo xtask guests` and `cargo xtask foreign` first", path.display())
    })
}

/// Where compiled guests are kept between tests: compiling is what takes the longest.
fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled")
}

/// The key under which all homes of the tests keep compiled components, so that one can have what another compiled.
const KEY: [u8; 32] = [7; 32];

/// Gives a home what other tests have compiled.
pub(crate) fn take_compiled(home: &Path) {
    std::fs::create_dir_all(home).unwrap();
    std::fs::write(home.join("compiled.key"), KEY).unwrap();
    share_compiled(&cache(), &home.join("compiled"));
}

/// Gives other tests what was compiled in a home.
pub(crate) fn keep_compiled(home: &Path) {
    share_compiled(&home.join("compiled"), &cache());
}

/// Links the compiled components of one folder into another.
fn share_compiled(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).into_iter().flatten().flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "cwasm" || extension == "code") {
            // It may be there already, from another test.
            let _ = std::fs::hard_link(entry.path(), to.join(entry.file_name()));
        }
    }
}

/// An agent in WAT: a component with these imports (in the component's text), whose core module has these imports, and
/// whose `run(pointer, length)` has this body. `ok` gives back what lies at 1,000 with the length in the local `$length`.
pub(crate) fn agent(imports: &str, core_imports: &str, arguments: &str, body: &str) -> String {
    format!(
        r#"(component
  {imports}
  (core module $memory (memory (export "memory") 2)
    (global $next (mut i32) (i32.const 65536))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (global.set $next (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
      (global.get $next)
      (global.set $next (i32.add (global.get $next) (local.get 3)))))
  (core instance $memory (instantiate $memory))
  {core_imports}
  (core module $main
    (import "memory" "memory" (memory 2))
    {arguments}
    (data (i32.const 1000) "\"done\"")
    (func $ok (param $length i32) (result i32)
      (i32.store (i32.const 16) (i32.const 0))
      (i32.store (i32.const 20) (i32.const 1000))
      (i32.store (i32.const 24) (local.get $length))
      (i32.const 16))
    (func $digit (param $value i32) (result i32)
      (i32.store8 (i32.const 1000) (i32.add (i32.const 48) (local.get $value)))
      (call $ok (i32.const 1)))
    (func (export "run") (param $pointer i32) (param $size i32) (result i32)
      {body}))
  (core instance $main (instantiate $main (with "memory" (instance $memory)) {with}))
  (type $failure' (record (field "code" string) (field "message" string)))
  (export $failure "failure" (type $failure'))
  (func $run (param "input" string) (result (result string (error $failure)))
    (canon lift (core func $main "run") (memory (core memory $memory "memory")) (realloc (core func $memory "realloc"))))
  (export "run" (func $run)))"#,
        with = if core_imports.is_empty() { "" } else { "(with \"host\" (instance $host))" },
    )
}

/// A server in a process of its own.
pub(crate) struct Program(Child);

impl Program {
    /// Starts it, and waits until it listens.
    pub(crate) fn start(command: &mut Command, address: SocketAddr) -> Self {
        let program = Self(command.spawn().unwrap());
        eventually("it listens", || TcpStream::connect(address).ok());
        program
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits for something that tells nobody when it has come about.
pub(crate) fn eventually<T>(what: &str, mut come: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(come) = come() {
            return come;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}: not within a minute");
        // Between two looks.
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// No file below a folder holds any of these.
pub(crate) fn assert_no_file_holds(folder: &Path, any: &[impl AsRef<[u8]>]) {
    let machine = aho_corasick::AhoCorasick::new(any).unwrap();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if let Some(found) = machine.find(&std::fs::read(&path).unwrap()) {
                let held = any[found.pattern().as_usize()].as_ref();
                panic!("{} holds {}", path.display(), String::from_utf8_lossy(held));
            }
        }
    }
}
