//! Refunds orders, and keeps a ledger of it in granted state.

#[cfg(target_family = "wasm")]
mod component;
pub mod ledger;
