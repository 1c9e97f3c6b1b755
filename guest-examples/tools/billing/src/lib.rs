//! Refunds orders, by asking the billing service.
//!
//! The service keeps the ledger, and makes the same refund once. Where it is stands in the variable `BILLING_URL`, which the
//! operator sets.

#[cfg(target_family = "wasm")]
mod component;
pub mod service;
