//! Keeps the report of a task in its workspace, and counts entries over all tasks in granted state.

#[cfg(target_family = "wasm")]
mod component;
pub mod entry;
