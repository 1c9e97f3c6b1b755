//! What `config.toml` says of the audit log: how often checkpoints are made, and what the log is called in them.

use std::num::NonZeroU64;

use serde::Deserialize;

use crate::audit::note::KeyName;
use crate::manifest::HumanDuration;
use crate::policy::point::some_time;

/// `[audit]` of `config.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditSetting {
    /// After how many records a checkpoint is made.
    pub records: NonZeroU64,
    /// After how long, if there are fewer.
    #[serde(deserialize_with = "some_time")]
    pub time: HumanDuration,
    /// The log's name, which is that of the key that signs; made up with the key, if nothing is said.
    pub origin: Option<KeyName>,
}

impl Default for AuditSetting {
    fn default() -> Self {
        const RECORDS: NonZeroU64 = NonZeroU64::MIN.saturating_add(999);
        Self { records: RECORDS, time: HumanDuration::from_millis(60_000), origin: None }
    }
}
