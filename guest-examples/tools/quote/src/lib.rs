//! Returns exact passages of files, by their lines.

#[cfg(target_family = "wasm")]
mod component;
pub mod passage;
