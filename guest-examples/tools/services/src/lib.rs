//! Looks at services and restarts them, by asking the manager that runs them.
//!
//! Where the manager is stands in the variable `SERVICES_URL`, which the operator sets.

#[cfg(target_family = "wasm")]
mod component;
pub mod manager;
