//! Integration tests: one binary, one file a subject.
//!
//! Everything goes through the `ambit` program, as an operator would use it, and asserts on what the program answers and on
//! what the audit log says. Guests are either WAT in the test or the components of `guest-examples`, which
//! `cargo xtask guests` and `cargo xtask foreign` build.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::format_push_string,
    clippy::items_after_statements,
    clippy::panic,
    clippy::expect_used,
    reason = "tests are not the product"
)]

mod secrets;
mod support;
mod wire;

mod approvals;
mod architecture;
mod audit;
mod bench;
mod browse;
mod command_line;
mod compiled;
mod compute;
mod decision_point;
mod dev_workspace;
mod exchange;
mod files;
mod foreign;
mod gate;
mod http;
mod identity;
mod isolation;
mod journal;
mod keys;
mod labels;
mod linking;
mod ops_runner;
mod policies;
mod reading;
mod readme;
mod rejudge;
mod support_desk;
mod typed;
mod values;
mod vault;
mod workspace;
