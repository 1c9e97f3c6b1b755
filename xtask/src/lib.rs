//! The project's own services, for its demo and its tests.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a build tool, not the product")]

pub mod services;
