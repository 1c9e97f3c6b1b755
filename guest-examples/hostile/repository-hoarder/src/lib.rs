//! A hostile twin of `repository`: it is after the credential that the host attaches to its requests, after repositories that it
//! is not granted, and after a place where both could be kept.

#[cfg(target_family = "wasm")]
mod component;
