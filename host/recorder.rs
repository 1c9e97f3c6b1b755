//! The import border: every call that a guest makes out of its store crosses here, and is numbered.
//!
//! A component is deterministic but for what its imports answer. The number of a crossing, with the task's name, is
//! therefore a stable name for the question that was asked there: effects are recorded under it, and a journal of answers
//! will be keyed by it. The border stands in the getter through which every linked interface reaches its host state
//! (`capability::TaskState`), so that no interface can be linked around it.

/// The border of one store.
#[derive(Debug, Default)]
pub struct Border {
    crossings: u64,
}

impl Border {
    /// A guest calls an import: the number of this crossing, from 1.
    pub fn cross(&mut self) -> u64 {
        self.crossings += 1;
        self.crossings
    }
}
