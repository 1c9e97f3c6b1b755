//! The other side: wasmtime alone, on the same engine, doing the same. Nothing is granted here, recorded or decided.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::types::ComponentFunc;
use wasmtime::component::{
    Component, ComponentExportIndex, ComponentType, InstancePre, Linker, Lower, Resource, ResourceTable, ResourceType,
    Val,
};
use wasmtime::{Config, Engine, Store, StoreContextMut, StoreLimits, StoreLimitsBuilder};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::series::{Sample, Taken};
use super::waiting::Waiting;
use crate::config::Instant;
use crate::engine::YIELD_INTERVAL;
use crate::tool::Functions;

/// Fuel for one call.
const FUEL: u64 = 1 << 50;

/// A component, linked with all of WASI.
pub(super) struct Bare {
    pre: InstancePre<Data>,
    export: ComponentExportIndex,
    arguments: Vec<Val>,
    /// Whether the function gives something.
    gives: bool,
    metered: bool,
}

struct Data {
    wasi: WasiCtx,
    table: ResourceTable,
    limits: StoreLimits,
}

impl WasiView for Data {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl Bare {
    /// A component of an engine.
    pub(super) fn of(component: &Component, wasm: &[u8], function: &str, input: &str) -> Result<Self, String> {
        let told = |error: wasmtime::Error| format!("{error:#}");
        let mut linker = Linker::new(component.engine());
        #[expect(clippy::disallowed_methods, reason = "what is compared with is wasmtime as others use it")]
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).map_err(told)?;
        let pre = linker.instantiate_pre(component).map_err(|error| {
            format!("bare wasmtime has nothing for what it imports beyond WASI ({})", error.root_cause())
        })?;
        let functions = Functions::of(component, component.engine(), wasm).map_err(|error| error.to_string())?;
        let function = functions.into_iter().find(|known| known.name() == function);
        let function = function.ok_or_else(|| "it has no such function".to_owned())?;
        let (arguments, _) = function.arguments(input).map_err(|error| error.to_string())?;
        let gives = function.result().is_some();
        Ok(Self { pre, export: *function.export(), arguments, gives, metered: true })
    }

    /// The same on an engine that does not meter fuel.
    pub(super) fn unmetered(wasm: &[u8], function: &str, input: &str) -> Result<Self, String> {
        let mut config = Config::new();
        config.concurrency_support(false).cranelift_nan_canonicalization(true).relaxed_simd_deterministic(true);
        let engine = Engine::new(&config).map_err(|error| error.to_string())?;
        #[expect(clippy::disallowed_methods, reason = "it is ambit's own component")]
        let component = Component::from_binary(&engine, wasm).map_err(|error| error.to_string())?;
        Ok(Self { metered: false, ..Self::of(&component, wasm, function, input)? })
    }

    #[expect(clippy::disallowed_methods, reason = "a store of wasmtime's alone, to compare with")]
    fn store(&self) -> wasmtime::Result<Store<Data>> {
        let limits = StoreLimitsBuilder::new().memory_size(256 << 20).instances(100).build();
        let data = Data { wasi: WasiCtx::builder().build(), table: ResourceTable::new(), limits };
        let mut store = Store::new(self.pre.component().engine(), data);
        store.limiter(|data| &mut data.limits);
        if self.metered {
            store.set_fuel(FUEL)?;
            store.fuel_async_yield_interval(Some(YIELD_INTERVAL))?;
        }
        Ok(store)
    }

    async fn once(&self, arguments: &[Val]) -> wasmtime::Result<Duration> {
        let mut store = self.store()?;
        let instance = self.pre.instantiate_async(&mut store).await?;
        let called = instance
            .get_func(&mut store, self.export)
            .ok_or_else(|| wasmtime::Error::msg("the function is not there"))?;
        let mut results = vec![Val::Bool(false); usize::from(self.gives)];
        let begun = Instant::now();
        called.call_async(&mut store, arguments, &mut results).await?;
        Ok(begun.elapsed())
    }

    /// A store, an instance, a call, and an end, so often.
    pub(super) fn tasks(&self, times: u32) -> Taken {
        let runtime = super::super::runtime().map_err(|_| "there is no runtime".to_owned())?;
        let begun = Instant::now();
        runtime.block_on(async {
            for _ in 0..times {
                self.once(&self.arguments).await.map_err(|error| format!("{error:#}"))?;
            }
            Ok(Sample { operations: times, took: begun.elapsed() })
        })
    }

    /// One call, without what it takes to come to it.
    pub(super) fn call(&self) -> Taken {
        let runtime = super::super::runtime().map_err(|_| "there is no runtime".to_owned())?;
        let took = runtime.block_on(self.once(&self.arguments)).map_err(|error| format!("{error:#}"))?;
        Ok(Sample { operations: 1, took })
    }

    /// So many instances of the agent that wait for their state, and what is done while they do.
    pub(super) fn waiting<T>(agent: &Component, times: usize, meanwhile: impl FnOnce() -> T) -> Result<T, String> {
        let told = |error: wasmtime::Error| format!("{error:#}");
        let waiting = Arc::new(Waiting::default());
        let bare = Arc::new(Self::that_waits(agent, &waiting).map_err(told)?);
        let runtime = super::super::runtime().map_err(|_| "there is no runtime".to_owned())?;
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let mut calls = tokio::task::JoinSet::new();
            for number in 0..times {
                let (bare, input) = (Arc::clone(&bare), Val::String(super::house::waiting_for(number).to_string()));
                calls.spawn_local(async move { bare.once(&[input]).await.map(drop) });
            }
            while waiting.count() < times && !calls.is_empty() {
                tokio::task::yield_now().await;
                if let Some(ended) = calls.try_join_next() {
                    ended.map_err(|error| error.to_string())?.map_err(told)?;
                }
            }
            let done = meanwhile();
            waiting.let_go();
            while calls.join_next().await.is_some() {}
            Ok(done)
        })
    }

    /// The agent, with state that answers when it is let go of.
    fn that_waits(agent: &Component, waiting: &Arc<Waiting>) -> wasmtime::Result<Self> {
        let mut linker = Linker::new(agent.engine());
        #[expect(clippy::disallowed_methods, reason = "what is compared with is wasmtime as others use it")]
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        let mut store = linker.instance("wasi:keyvalue/store@0.2.0-draft")?;
        store.resource("bucket", ResourceType::host::<Bucket>(), |_, _| Ok(()))?;
        store.func_wrap("open", |mut store: StoreContextMut<'_, Data>, (_name,): (String,)| {
            Ok((Ok::<_, StateError>(store.data_mut().table.push(Bucket)?),))
        })?;
        let held = Arc::clone(waiting);
        store.func_wrap_async("[method]bucket.get", move |_, (_bucket, _key): (Resource<Bucket>, String)| {
            let held = Arc::clone(&held);
            Box::new(async move {
                held.wait().await;
                Ok((Ok::<Option<Vec<u8>>, StateError>(None),))
            })
        })?;
        let uncalled = |_: StoreContextMut<'_, Data>, _: ComponentFunc, _: &[Val], _: &mut [Val]| {
            Err(wasmtime::Error::msg("an agent that waits calls no tool"))
        };
        linker.instance("ambit:agent/tools@0.1.0")?.func_new("call", uncalled)?;
        let export = agent.get_export_index(None, "run").ok_or_else(|| wasmtime::Error::msg("it is no agent"))?;
        let pre = linker.instantiate_pre(agent)?;
        Ok(Self { pre, export, arguments: Vec::new(), gives: true, metered: true })
    }
}

/// A bucket of state in which there is nothing.
struct Bucket;

/// As `wasi:keyvalue/store` has it.
#[expect(dead_code, reason = "the type of an answer that does not come")]
#[derive(ComponentType, Lower)]
#[component(variant)]
enum StateError {
    #[component(name = "no-such-store")]
    NoSuchStore,
    #[component(name = "access-denied")]
    AccessDenied,
    #[component(name = "other")]
    Other(String),
}
