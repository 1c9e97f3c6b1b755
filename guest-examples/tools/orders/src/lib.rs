//! Looks up order records: one JSON file for each order, called after its number.

#[cfg(target_family = "wasm")]
mod component;
pub mod record;
