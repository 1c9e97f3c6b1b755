//! The grant of a capability that is there or not: `clock = true`.

use serde::Deserialize;

/// `true`. A capability that is not granted is not mentioned: there is no `false` that a merge could overlook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "bool")]
pub struct Granted;

impl TryFrom<bool> for Granted {
    type Error = &'static str;

    fn try_from(value: bool) -> Result<Self, Self::Error> {
        if value { Ok(Self) } else { Err("a capability is granted by `true`; to withhold it, leave the key out") }
    }
}

/// `{ reason = "…" }`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Why it asks.
    #[serde(default)]
    pub reason: String,
}
