//! Finds the passages of granted folders that answer a question best: `retrieval`, over a walk through the folders.

#[cfg(target_family = "wasm")]
mod component;
