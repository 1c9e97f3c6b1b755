//! How a task went, as it is told.

use std::sync::Arc;

use serde::Serialize;

use super::keep::Kept;
use crate::audit::Hash;
use crate::label::Labels;
use crate::task::{Status, Usage};

/// How a task went.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Its name.
    pub task: String,
    /// What ran.
    pub bundle: BundleName,
    /// How it ended.
    pub status: Status,
    /// What it gave.
    pub output: Option<serde_json::Value>,
    /// Why it did not succeed.
    pub error: Option<ReportedError>,
    /// The labels of what it touched.
    pub labels: Labels,
    /// What was kept of its workspace, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<Kept>,
    /// What it consumed.
    pub usage: Usage,
    /// Its own records.
    pub audit: AuditRange,
}

/// A bundle's name, version and digest.
#[derive(Clone, Debug, Serialize)]
pub struct BundleName {
    /// Its name.
    pub name: Arc<str>,
    /// Its version.
    pub version: Arc<str>,
    /// Its digest.
    pub digest: Arc<str>,
    /// The component that runs first: `agent`, or the tool that is tried alone.
    #[serde(skip)]
    pub root: Arc<str>,
}

/// Why a task did not succeed.
#[derive(Clone, Debug, Serialize)]
pub struct ReportedError {
    /// A stable word.
    pub code: String,
    /// What happened.
    pub message: String,
    /// What to do about it, if that is known.
    pub help: Option<String>,
}

/// A task's records.
#[derive(Debug, Serialize)]
pub struct AuditRange {
    /// The number of its first.
    pub first: u64,
    /// The number of its last.
    pub last: u64,
    /// The hash of its last.
    pub head: Hash,
}
