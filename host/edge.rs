//! Everything that touches the world, and so takes a permit: folders, variables and the database.
//!
//! Functions here that act for a guest take the effect's `Permit` by value. What the host does for itself (its records,
//! its list of tasks) takes none.

pub mod approvals;
mod asked;
pub mod checkpoints;
pub mod connection;
pub mod database;
pub mod decision_point;
pub mod folder;
pub mod http;
pub mod identities;
pub mod journal;
pub mod judgements;
pub mod keep;
pub mod ledger;
pub mod running;
pub mod sealing;
pub mod secrets;
pub mod tasks;
pub mod telemetry;
pub mod values;
pub mod variables;
pub mod workspace;
