//! The wasmtime engine: what a guest's code may be, compilation in a process of its own, and a cache of what was compiled.
//!
//! The engine meters fuel and yields by it; there are no epochs (measured dearer, and a yield with an outer timeout does
//! the same). What would make two runs of the same component differ is off: NaNs are canonical, relaxed SIMD is
//! deterministic, there are no threads.
//!
//! Compiling is where a hostile component costs the most and where nothing is metered, so it happens in a child process
//! with limits on its memory and time (`ambit compile-component`, hidden). What it gives is native code; it is loaded only
//! from the home's own folder, if it is what was written there (`cache`).

mod cache;
mod compiler;
mod limiter;
mod pool;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use wasmtime::Config;
use wasmtime::component::Component;

use self::cache::Cache;
pub use self::compiler::{COMPILE, compile_here};
pub(crate) use self::limiter::Limiter;
pub use self::pool::Allocation;
use crate::bundle::Digest;
use crate::config::Home;

/// Fuel between two yields: about a tenth of a millisecond of computing, and a few thousand calls of the host.
pub(crate) const YIELD_INTERVAL: u64 = 1_000_000;

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
    /// The program that compiles: ambit itself.
    compiler: PathBuf,
    cache: Cache,
    /// How many stores can live at once.
    room: Room,
    /// How deep the calls of the one task are that will run, once that is known.
    depth: OnceLock<u32>,
    /// With a pool, where that can be had. Made when it is first needed: much of ambit runs nothing.
    pooled: OnceLock<Made>,
    /// Without, for components that do not fit into one.
    roomy: OnceLock<Made>,
    /// What was loaded.
    loaded: Mutex<BTreeMap<[u8; 32], Component>>,
    /// One component is compiled at a time.
    compiling: Mutex<()>,
}

/// For how many stores there has to be room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// For those of one task: its own, and one for each call of a tool within a call.
    OneTask,
    /// For so many.
    Stores(u32),
}

/// Stores of one task whose limits are not known: more than there can be calls within calls.
const STORES: u32 = 80;
/// Stores beyond those of the calls that a task's limits allow: its own, and those that are being let go of.
const BESIDE: u32 = 4;

/// An engine of wasmtime's.
struct Made {
    engine: wasmtime::Engine,
    allocation: Allocation,
    /// Tells what was compiled for it from what was not.
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
    /// An engine that compiles with the program `compiler`, keeps its cache in the home folder, and has that much room.
    ///
    /// # Errors
    /// When the cache cannot be opened.
    pub fn new(home: &Home, compiler: &Path, room: Room) -> Result<Self, EngineError> {
        Ok(Self {
            compiler: compiler.to_owned(),
            cache: Cache::open(home).map_err(EngineError::Cache)?,
            room,
            depth: OnceLock::new(),
            pooled: OnceLock::new(),
            roomy: OnceLock::new(),
            loaded: Mutex::default(),
            compiling: Mutex::default(),
        })
    }

    /// Calls of the task that will run are at most that deep: where it is one, no more room is made than that takes. What is
    /// said after something was loaded comes too late.
    pub fn expect_depth(&self, depth: u64) {
        self.depth.get_or_init(|| u32::try_from(depth).unwrap_or(STORES));
    }

    /// How stores get their memory.
    ///
    /// # Errors
    /// When the machine cannot run an engine.
    pub fn allocation(&self) -> Result<&Allocation, EngineError> {
        Ok(&self.pooled()?.allocation)
    }

    /// The component, compiled now or before.
    ///
    /// # Errors
    /// When it does not compile within the limits.
    pub fn component(&self, wasm: &[u8], digest: &Digest) -> Result<Component, EngineError> {
        if let Some(component) = self.loaded().get(digest.as_bytes()) {
            return Ok(component.clone());
        }
        let component = match self.load_for(self.pooled()?, wasm, digest) {
            Err(Unloaded::Unfit(_)) => self.load_for(self.roomy()?, wasm, digest),
            loaded => loaded,
        };
        let component = component.map_err(|unloaded| match unloaded {
            Unloaded::Failed(error) => error,
            Unloaded::Unfit(error) => EngineError::Compile(error.to_string()),
        })?;
        self.loaded().insert(*digest.as_bytes(), component.clone());
        Ok(component)
    }

    fn loaded(&self) -> std::sync::MutexGuard<'_, BTreeMap<[u8; 32], Component>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pooled(&self) -> Result<&Made, EngineError> {
        let stores = match self.room {
            Room::Stores(stores) => stores,
            Room::OneTask => self.depth.get().map_or(STORES, |depth| depth.saturating_add(BESIDE).min(STORES)),
        };
        made(&self.pooled, || pool::engine(&settings(), stores))
    }

    fn roomy(&self) -> Result<&Made, EngineError> {
        let why = || "a component does not fit into the pool".to_owned();
        made(&self.roomy, || Ok((wasmtime::Engine::new(&settings())?, Allocation::OnDemand { why: why() })))
    }

    /// Loads a component for an engine, and compiles it where that has not been done.
    fn load_for(&self, made: &Made, wasm: &[u8], digest: &Digest) -> Result<Component, Unloaded> {
        let name = format!("{}-{}.cwasm", digest.to_string().trim_start_matches("sha256:"), made.fingerprint);
        let cache = |error| Unloaded::Failed(EngineError::Cache(error));
        if let Some(kept) = self.cache.find(&name).map_err(cache)? {
            return load(made, &kept).map_err(Unloaded::Unfit);
        }
        let _one_at_a_time = self.compiling.lock().unwrap_or_else(PoisonError::into_inner);
        if self.cache.find(&name).map_err(cache)?.is_none() {
            let compiled = compiler::compile(&self.compiler, wasm).map_err(Unloaded::Failed)?;
            self.cache.keep(&name, &compiled).map_err(cache)?;
        }
        let changed = || std::io::Error::other("what was just written to it is not there");
        let kept = self.cache.find(&name).map_err(cache)?.ok_or_else(|| cache(changed()))?;
        load(made, &kept).map_err(Unloaded::Unfit)
    }
}

/// Why a component was not loaded.
enum Unloaded {
    /// It cannot be, for any engine.
    Failed(EngineError),
    /// Not for this one.
    Unfit(wasmtime::Error),
}

/// Makes an engine when it is first needed.
fn made(
    place: &OnceLock<Made>,
    make: impl FnOnce() -> wasmtime::Result<(wasmtime::Engine, Allocation)>,
) -> Result<&Made, EngineError> {
    if let Some(made) = place.get() {
        return Ok(made);
    }
    let (engine, allocation) = make().map_err(|error| EngineError::Engine(error.to_string()))?;
    let mut hash = Fingerprint(Vec::new());
    std::hash::Hash::hash(&engine.precompile_compatibility_hash(), &mut hash);
    let fingerprint = Digest::of(&hash.0).to_string().trim_start_matches("sha256:")[..16].to_owned();
    Ok(place.get_or_init(|| Made { engine, allocation, fingerprint }))
}

/// Maps what was compiled.
#[expect(unsafe_code, clippy::disallowed_methods, reason = "native code can only be loaded so; see SAFETY")]
fn load(made: &Made, kept: &cache::Kept) -> wasmtime::Result<Component> {
    // SAFETY: the file is what `Cache::keep` wrote, by its code under the home's key, from what the compiler process of the
    // same program printed. It is open, so that no other can come into its place, and only this user could write it, in a
    // folder of this user's; wasmtime checks version and settings itself.
    unsafe { Component::deserialize_file(&made.engine, kept.path()) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_as_much_room_as_one_task_takes() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(Some(folder.path())).unwrap();
        let engine = |room| Engine::new(&home, Path::new("ambit"), room).unwrap();
        let stores = |engine: &Engine| match engine.allocation().unwrap() {
            Allocation::Pool { stores, .. } => *stores,
            Allocation::OnDemand { why } => panic!("{why}"),
        };
        assert_eq!(stores(&engine(Room::Stores(7))), 7);
        assert_eq!(stores(&engine(Room::OneTask)), STORES);
        for (depth, expected) in [(0, BESIDE), (4, 4 + BESIDE), (64, 64 + BESIDE), (u64::MAX, STORES)] {
            let engine = engine(Room::OneTask);
            engine.expect_depth(depth);
            assert_eq!(stores(&engine), expected);
            // What is there already does not grow.
            engine.expect_depth(80);
            assert_eq!(stores(&engine), expected);
        }
    }
}
