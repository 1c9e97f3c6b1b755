//! Stands for the outside: appends what it is told to an outbox in granted state.

#[cfg(target_family = "wasm")]
mod component;
pub mod outbox;
