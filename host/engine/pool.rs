//! Where stores get their memory: from a pool that was reserved beforehand, or from the kernel each time.
//!
//! A pool makes a store several times cheaper, if what a task has dirtied is found and overwritten in one call of the kernel
//! (`PAGEMAP_SCAN`, Linux 6.7). That call does not see pages that were swapped out, so it is used only where nothing can be
//! (wasmtime, pull request 14357); elsewhere pages are given back to the kernel. A machine on which a pool cannot be
//! reserved gets none: everything works there as well, and costs more.

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::limiter::TABLE_ELEMENTS;

/// Bytes of a memory and of a table that are overwritten rather than given back. Measured: more does not help.
const KEPT_MEMORY: usize = 1 << 20;
const KEPT_TABLE: usize = 64 << 10;
/// Tables of one component, at most.
const TABLES: u32 = 4;
/// Freed memories that are given back to the kernel together, where they are.
const TOGETHER: usize = 16;

/// How an engine gives memory to stores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allocation {
    /// From a pool for so many stores.
    Pool {
        /// How many stores can live at once.
        stores: u32,
        /// Whether what was dirtied is found by the kernel, and overwritten.
        scan: bool,
    },
    /// From the kernel each time.
    OnDemand {
        /// Why there is no pool, in words.
        why: String,
    },
}

impl std::fmt::Display for Allocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pool { stores, scan: true } => write!(f, "a pool of {stores} stores; dirty pages are scanned for"),
            Self::Pool { stores, scan: false } => write!(f, "a pool of {stores} stores; pages are given back"),
            Self::OnDemand { why } => write!(f, "on demand: {why}"),
        }
    }
}

/// An engine with a pool for so many stores: the cheapest that the machine has; without one where none can be had.
pub(super) fn engine(settings: &Config, stores: u32) -> wasmtime::Result<(Engine, Allocation)> {
    let pooled = |scan| {
        let mut pooled = settings.clone();
        pooled.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(stores, scan)));
        Engine::new(&pooled).map(|engine| (engine, Allocation::Pool { stores, scan }))
    };
    if !crate::config::can_swap()
        && let Ok(made) = pooled(true)
    {
        return Ok(made);
    }
    pooled(false).or_else(|error| {
        let why = format!("a pool of {stores} stores cannot be reserved ({})", error.root_cause());
        Ok((Engine::new(settings)?, Allocation::OnDemand { why }))
    })
}

/// A pool for so many stores, of one memory each. Nothing in it bounds a guest otherwise than a store's limits do, so that a
/// task runs the same in it and outside of it.
fn pool(stores: u32, scan: bool) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(stores)
        // The pool only counts them, over all tasks; each store's limit is its own.
        .total_core_instances(u32::MAX)
        .total_memories(stores)
        .total_tables(stores.saturating_mul(TABLES))
        .total_stacks(stores)
        .max_memories_per_component(1)
        .max_tables_per_component(TABLES)
        .max_memories_per_module(1)
        .max_tables_per_module(TABLES)
        .max_memory_size(1 << 32)
        .table_elements(TABLE_ELEMENTS)
        .table_keep_resident(KEPT_TABLE);
    if scan {
        pool.linear_memory_keep_resident(KEPT_MEMORY).pagemap_scan(Enabled::Yes);
    } else {
        pool.decommit_batch_size(TOGETHER).pagemap_scan(Enabled::No);
    }
    pool
}
