//! What one store may hold: memory, tables, instances.

use std::sync::Arc;

use wasmtime::ResourceLimiter;

use crate::budget::Budget;

/// Elements that the tables of one store may have together.
pub(super) const TABLE_ELEMENTS: usize = 200_000;

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
