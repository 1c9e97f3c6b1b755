//! The wasmtime engine: what a guest's code may be, compilation in a process of its own, and a cache of what was compiled.
//!
//! The engine meters fuel and yields by it; there are no epochs (measured dearer, and a yield with an outer timeout does
//! the same). What would make two runs of the same component differ is off: NaNs are canonical, relaxed SIMD is
//! deterministic, there are no threads.
//!
//! Compiling is where a hostile component costs the most and where nothing is metered, so it happens in a child process
//! with limits on its memory and time (`ambit compile-component`, hidden). What it gives is native code; it is loaded only
//! from the home's own folder, which nobody else may write.

use std::io::{Read as _, Write as _};

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use cap_std::fs::{Dir, MetadataExt as _, OpenOptions, OpenOptionsExt as _, PermissionsExt as _};
use wasmtime::component::Component;
use wasmtime::{Config, ResourceLimiter};

use crate::budget::Budget;
use crate::bundle::Digest;
use crate::config::Home;

/// Address space of the compiler process, in bytes.
const COMPILER_MEMORY: u64 = 4 << 30;
/// Processor time of the compiler process, in seconds.
const COMPILER_SECONDS: u64 = 120;
/// Fuel between two yields: about a tenth of a millisecond of computing, and a few thousand calls of the host.
pub(crate) const YIELD_INTERVAL: u64 = 1_000_000;
/// Elements that the tables of one store may have together.
const TABLE_ELEMENTS: usize = 200_000;

/// Why a component could not be made ready to run.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The engine itself.
    #[error("the engine cannot start: {0}")]
    Engine(String),
    /// The component is no valid one, or too large to compile.
    #[error("it does not compile: {0}")]
    Compile(String),
    /// The compiler process.
    #[error("the compiler process failed")]
    Process(#[source] std::io::Error),
    /// The cache.
    #[error("the folder of compiled components failed")]
    Cache(#[source] std::io::Error),
}

/// Compiles components and keeps what it compiled.
pub struct Engine {
    engine: wasmtime::Engine,
    /// The program that compiles: ambit itself.
    compiler: PathBuf,
    cache: Dir,
    cache_path: PathBuf,
    fingerprint: String,
}

/// The settings of every engine; whoever compiles and whoever runs must agree in them.
fn settings() -> Config {
    let mut config = Config::new();
    config
        .consume_fuel(true)
        .concurrency_support(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true);
    config
}

impl Engine {
    /// An engine that compiles with the program `compiler` and keeps its cache in the home folder.
    ///
    /// # Errors
    /// When the machine cannot run the engine, or the cache cannot be opened.
    pub fn new(home: &Home, compiler: &Path) -> Result<Self, EngineError> {
        let engine = wasmtime::Engine::new(&settings()).map_err(|error| EngineError::Engine(error.to_string()))?;
        let mut hash = Fingerprint(Vec::new());
        std::hash::Hash::hash(&engine.precompile_compatibility_hash(), &mut hash);
        let fingerprint = Digest::of(&hash.0).to_string().trim_start_matches("sha256:")[..16].to_owned();
        let mut builder = cap_std::fs::DirBuilder::new();
        cap_std::fs::DirBuilderExt::mode(builder.recursive(true), 0o700);
        home.dir().create_dir_with("compiled", &builder).map_err(EngineError::Cache)?;
        let cache = home.dir().open_dir("compiled").map_err(EngineError::Cache)?;
        Ok(Self { engine, compiler: compiler.to_owned(), cache, cache_path: home.path().join("compiled"), fingerprint })
    }

    /// The engine of wasmtime.
    pub fn wasmtime(&self) -> &wasmtime::Engine {
        &self.engine
    }

    /// The component, compiled now or before.
    ///
    /// # Errors
    /// When it does not compile within the limits.
    pub fn component(&self, wasm: &[u8], digest: &Digest) -> Result<Component, EngineError> {
        let name = format!("{}-{}.cwasm", digest.to_string().trim_start_matches("sha256:"), self.fingerprint);
        if self.is_ours(&name).map_err(EngineError::Cache)?
            && let Ok(component) = self.load(&name)
        {
            return Ok(component);
        }
        let compiled = self.compile(wasm)?;
        self.keep(&name, &compiled).map_err(EngineError::Cache)?;
        self.load(&name).map_err(|error| EngineError::Compile(error.to_string()))
    }

    /// Whether the cache has this file, as `keep` leaves it: this user's, and writable by nobody.
    fn is_ours(&self, name: &str) -> std::io::Result<bool> {
        let metadata = match self.cache.symlink_metadata(name) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            metadata => metadata?,
        };
        let user = rustix::process::geteuid().as_raw();
        Ok(metadata.is_file() && metadata.uid() == user && metadata.permissions().mode() & 0o777 == 0o400)
    }

    #[expect(unsafe_code, clippy::disallowed_methods, reason = "native code can only be loaded so; see SAFETY")]
    fn load(&self, name: &str) -> wasmtime::Result<Component> {
        // SAFETY: the file was written by `keep`, from what the compiler process of the same program printed, into a folder
        // and with a mode that let only this user write it (`is_ours`); wasmtime checks version and settings itself.
        unsafe { Component::deserialize_file(&self.engine, self.cache_path.join(name)) }
    }

    /// Writes a compiled component under its final name, whole or not at all.
    fn keep(&self, name: &str, compiled: &[u8]) -> std::io::Result<()> {
        let part = format!("{name}.{}", ulid::Ulid::generate());
        let mut options = OpenOptions::new();
        let mut file = self.cache.open_with(&part, options.write(true).create_new(true).mode(0o400))?;
        file.write_all(compiled)?;
        file.sync_all()?;
        self.cache.rename(&part, &self.cache, name)
    }

    /// Compiles in a child process.
    #[expect(clippy::disallowed_types, reason = "the compiler is a process of its own")]
    fn compile(&self, wasm: &[u8]) -> Result<Vec<u8>, EngineError> {
        let mut child = std::process::Command::new(&self.compiler)
            .arg(COMPILE)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(EngineError::Process)?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (mut compiled, mut complaint) = (Vec::new(), Vec::new());
        let read = std::thread::scope(|scope| {
            // A child that gives up early closes its end: that shows in its exit status.
            scope.spawn(|| stdin.map(|mut stdin| stdin.write_all(wasm)));
            scope.spawn(|| stderr.map(|stderr| stderr.take(4096).read_to_end(&mut complaint)));
            stdout.map_or(Ok(0), |mut stdout| stdout.read_to_end(&mut compiled))
        });
        let status = child.wait().map_err(EngineError::Process)?;
        read.map_err(EngineError::Process)?;
        if status.success() { Ok(compiled) } else { Err(EngineError::Compile(reason(status, &complaint))) }
    }
}

/// Why the compiler gave nothing.
fn reason(status: ExitStatus, complaint: &[u8]) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    let said = crate::audit::escaped(String::from_utf8_lossy(complaint).trim());
    match (status.signal(), said.as_str()) {
        (None, "") => "the compiler failed and said nothing".to_owned(),
        (None, said) => said.to_owned(),
        (Some(_), _) => format!(
            "the compiler was stopped: it took more than {COMPILER_SECONDS} s of processor time or {} GiB of memory",
            COMPILER_MEMORY >> 30
        ),
    }
}

/// The hidden verb of the command line that [`compile_here`] stands behind.
pub const COMPILE: &str = "compile-component";

/// The compiler process: limits itself, then compiles standard input to standard output.
///
/// # Errors
/// When the limits cannot be set, the input is no component, or it does not compile within them.
pub fn compile_here() -> Result<(), EngineError> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let limit = |value| Rlimit { current: Some(value), maximum: Some(value) };
    let process = |error: rustix::io::Errno| EngineError::Process(error.into());
    setrlimit(Resource::As, limit(COMPILER_MEMORY)).map_err(process)?;
    setrlimit(Resource::Cpu, limit(COMPILER_SECONDS)).map_err(process)?;
    setrlimit(Resource::Core, limit(0)).map_err(process)?;
    setrlimit(Resource::Fsize, limit(0)).map_err(process)?;
    let mut wasm = Vec::new();
    std::io::stdin().read_to_end(&mut wasm).map_err(EngineError::Process)?;
    let engine = wasmtime::Engine::new(&settings()).map_err(|error| EngineError::Engine(error.to_string()))?;
    let failed = |error: wasmtime::Error| EngineError::Compile(format!("{error:#}"));
    let compiled = engine.precompile_component(&wasm).map_err(failed)?;
    std::io::stdout().write_all(&compiled).map_err(EngineError::Process)
}

/// Collects what a value hashes, so that the fingerprint does not depend on the standard library's hash function.
struct Fingerprint(Vec<u8>);

impl std::hash::Hasher for Fingerprint {
    fn finish(&self) -> u64 {
        0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

/// What a store may hold: memory, tables, instances.
pub(crate) struct Limiter {
    budget: Arc<Budget>,
    memory: usize,
    table_elements: usize,
}

impl Limiter {
    pub(crate) fn new(budget: Arc<Budget>) -> Self {
        Self { budget, memory: 0, table_elements: 0 }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let grown = self.memory - current.min(self.memory) + desired;
        let allowed = grown as u64 <= self.budget.limits().memory && maximum.is_none_or(|most| desired <= most);
        if allowed {
            self.memory = grown;
            self.budget.memory(grown as u64);
        }
        Ok(allowed)
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let grown = self.table_elements - current.min(self.table_elements) + desired;
        let allowed = grown <= TABLE_ELEMENTS && maximum.is_none_or(|most| desired <= most);
        if allowed {
            self.table_elements = grown;
        }
        Ok(allowed)
    }

    fn instances(&self) -> usize {
        usize::try_from(self.budget.limits().instances).unwrap_or(usize::MAX)
    }

    fn tables(&self) -> usize {
        self.instances()
    }

    fn memories(&self) -> usize {
        self.instances()
    }
}
