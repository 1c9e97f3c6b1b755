//! ambit: a runtime for AI agents that nobody has to trust.
//!
//! > No effect without a permit. No permit without a decision. No decision without a record.
//!
//! A tour, in the order in which a task goes through the house:
//!
//! - [`bundle`] is what an author ships and [`grant`] what an operator allows it; both are read by [`manifest`];
//! - [`front`] is where tasks come from; [`runtime`] turns bundle and grant into linkers and stores, and runs them;
//! - [`engine`] compiles components; [`tool`] says what functions they export and speaks JSON with them;
//! - [`capability`] holds one module for each kind of power, and the registry of them;
//! - [`gate`] decides on every effect, with [`policy`], [`budget`] and, where rules ask for them, people ([`approval`],
//!   [`people`]), records it in the [`audit`] log, and only then hands out the permit that functions in [`edge`] take;
//! - [`label`] marks data, and what has touched it;
//! - [`recorder`] stands at the import border; [`task`] names tasks and keeps their clocks; [`config`] holds what the host
//!   takes from the machine, [`settings`] what its operator says; [`address`] tells public addresses from others; [`secret`]
//!   holds what nobody may see; what the host does for a guest is polled on stacks that `aside` lends.

pub mod address;
pub mod approval;
mod aside;
pub mod audit;
pub mod budget;
pub mod bundle;
pub mod capability;
pub mod cli;
pub mod config;
pub mod edge;
pub mod engine;
pub mod front;
pub mod gate;
pub mod grant;
pub mod identity;
pub mod label;
pub mod leak;
pub mod manifest;
pub mod people;
pub mod policy;
pub mod recorder;
pub mod runtime;
pub mod secret;
pub mod settings;
pub mod task;
pub mod tool;

/// This version of ambit, with that of the engine: `0.1.0 (wasmtime 48.0.8)`.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (wasmtime 48.0.8)");
