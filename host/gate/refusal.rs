//! Why an effect gave no result, and how one went that was allowed.

use serde::{Deserialize, Serialize};

use crate::budget::Exhausted;
use crate::recorder::Unrecalled;

/// Why an effect was refused, in the words that a guest may hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The grant does not list it.
    NotGranted,
    /// A rule forbids it, or none permits it.
    Denied,
    /// Rules forbid it unless a person approves.
    NeedsApproval,
    /// A quota of the capability is spent.
    Quota,
    /// It could not be recorded.
    Unavailable,
}

impl Code {
    /// The word that is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotGranted => "not-granted",
            Self::Denied => "denied",
            Self::NeedsApproval => "needs-approval",
            Self::Quota => "quota",
            Self::Unavailable => "unavailable",
        }
    }
}

/// An effect that did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("refused: {} (record {record})", .code.as_str())]
pub struct Refusal {
    /// Why.
    pub code: Code,
    /// The number of the audit record; 0 when the log could not take one.
    pub record: u64,
}

/// Why an effect gave no result: the guest hears of a refusal, and never of the end of its task.
#[derive(Clone, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum Denied {
    /// The effect was refused; the task goes on.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The whole task ends.
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
    /// It cannot be given what was recorded: the task is at its end.
    #[error(transparent)]
    #[serde(skip)]
    Unrecalled(#[from] Unrecalled),
}

/// What an effect that was allowed can fail with.
pub trait Failure: From<Denied> {
    /// What its outcome is recorded as: `failed`, or the code of a refusal that only showed while it ran.
    fn outcome(&self) -> Outcome {
        Outcome::Failed
    }

    /// What the guest behind the effect said when it broke down, for the record's field of guest-made text.
    fn text(&self) -> &str {
        ""
    }
}

/// How an effect that was allowed went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It happened.
    Done,
    /// It was tried, and did not work.
    Failed,
    /// It would have outgrown a quota, and did not happen.
    Quota,
    /// It was refused while it was under way, on grounds that only showed then.
    Refused,
    /// Its future was dropped: how far it came is not known.
    Abandoned,
}

impl Outcome {
    /// The word that is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Quota => "quota",
            Self::Refused => "refused",
            Self::Abandoned => "abandoned",
        }
    }
}
