//! Compiles a component in a child process, with limits on what goes in, what comes out, and what it takes.

use std::io::{Read, Write as _};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use super::{EngineError, settings};

/// Bytes of a component that is compiled, at most.
const LARGEST: usize = 64 << 20;
/// Bytes that the compiler may give, at most.
const LARGEST_COMPILED: u64 = 1 << 30;
/// Address space of the compiler process, in bytes.
const MEMORY: u64 = 4 << 30;
/// Processor time of the compiler process, in seconds.
const SECONDS: u64 = 120;
/// How long it may take, however little of the processor it gets.
const PATIENCE: Duration = Duration::from_secs(600);
/// Bytes of a complaint that are read.
const COMPLAINT: u64 = 4096;

/// The hidden verb of the command line that [`compile_here`] stands behind.
pub const COMPILE: &str = "compile-component";

/// Compiles in a child process of this program.
#[expect(clippy::disallowed_types, reason = "the compiler is a process of its own")]
pub(super) fn compile(program: &Path, wasm: &[u8]) -> Result<Vec<u8>, EngineError> {
    if wasm.len() > LARGEST {
        return Err(EngineError::Compile(format!(
            "it has {} bytes, and what has more than {LARGEST} is not compiled",
            wasm.len()
        )));
    }
    let mut child = std::process::Command::new(program)
        .arg(COMPILE)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(EngineError::Process)?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (mut compiled, mut complaint) = (Vec::new(), Vec::new());
    let (done, late) = std::sync::mpsc::channel::<()>();
    let (read, was_late) = std::thread::scope(|scope| {
        // A child that gives up early closes its end: that shows in its exit status.
        scope.spawn(|| stdin.map(|mut stdin| stdin.write_all(wasm)));
        scope.spawn(|| stderr.map(|stderr| stderr.take(COMPLAINT).read_to_end(&mut complaint)));
        let child = &mut child;
        let watch = scope.spawn(move || {
            let was_late = matches!(late.recv_timeout(PATIENCE), Err(std::sync::mpsc::RecvTimeoutError::Timeout));
            // One that has ended by itself cannot be stopped any more.
            was_late.then(|| drop(child.kill())).is_some()
        });
        let read = stdout.map_or(Ok(0), |stdout| stdout.take(LARGEST_COMPILED + 1).read_to_end(&mut compiled));
        drop(done);
        (read, watch.join().unwrap_or_default())
    });
    if compiled.len() as u64 > LARGEST_COMPILED {
        // What nobody reads stops it.
        let _ = child.kill();
    }
    let status = child.wait().map_err(EngineError::Process)?;
    read.map_err(EngineError::Process)?;
    if was_late {
        return Err(EngineError::Compile(format!("the compiler was stopped after {} s", PATIENCE.as_secs())));
    }
    if compiled.len() as u64 > LARGEST_COMPILED {
        return Err(EngineError::Compile(format!("it compiles to more than {} MiB", LARGEST_COMPILED >> 20)));
    }
    if status.success() { Ok(compiled) } else { Err(EngineError::Compile(reason(status, &complaint))) }
}

/// Why the compiler gave nothing.
fn reason(status: ExitStatus, complaint: &[u8]) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    let said = crate::audit::escaped(String::from_utf8_lossy(complaint).trim());
    match (status.signal(), said.as_str()) {
        (None, "") => "the compiler failed and said nothing".to_owned(),
        (None, said) => said.to_owned(),
        (Some(_), _) => format!(
            "the compiler was stopped: it took more than {SECONDS} s of processor time or {} GiB of memory",
            MEMORY >> 30
        ),
    }
}

/// The compiler process: limits itself, then compiles standard input to standard output.
///
/// # Errors
/// When the limits cannot be set, the input is no component, or it does not compile within them.
pub fn compile_here() -> Result<(), EngineError> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let limit = |value| Rlimit { current: Some(value), maximum: Some(value) };
    let process = |error: rustix::io::Errno| EngineError::Process(error.into());
    setrlimit(Resource::As, limit(MEMORY)).map_err(process)?;
    setrlimit(Resource::Cpu, limit(SECONDS)).map_err(process)?;
    setrlimit(Resource::Core, limit(0)).map_err(process)?;
    setrlimit(Resource::Fsize, limit(0)).map_err(process)?;
    let mut wasm = Vec::new();
    std::io::stdin().take(LARGEST as u64 + 1).read_to_end(&mut wasm).map_err(EngineError::Process)?;
    let engine = wasmtime::Engine::new(&settings()).map_err(|error| EngineError::Engine(error.to_string()))?;
    let failed = |error: wasmtime::Error| EngineError::Compile(format!("{error:#}"));
    let compiled = engine.precompile_component(&wasm).map_err(failed)?;
    std::io::stdout().write_all(&compiled).map_err(EngineError::Process)
}
