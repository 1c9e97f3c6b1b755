//! Approvals: a person's time-bound yes to one exact effect, once.
//!
//! An approval is bound to a digest over everything that the person was asked about, the grants and the rules
//! ([`Binding`]): another effect, another policy or another grant has another digest. What changes by itself (time, usage)
//! is not bound, but decided on again. It is claimed in the transaction that records the effect's intent, so that of two
//! that would use it one comes first. It expires by two clocks: the time of day, and the time since the machine was
//! started, which nobody can set back.
//!
//! What a person reads is made by the host, of the arguments in their canonical form.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::audit::{AuditError, Entry, Hash};
use crate::label::Labels;
use crate::policy::{Ask, Person};

/// The longest arguments that a person is asked about, in bytes: nobody can judge what nobody can read.
pub const LONGEST_ARGUMENTS: usize = 16 << 10;

/// What happens when only a person could let an effect be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They are asked, and waited for until the rule's deadline.
    Wait,
    /// They are asked, and the task is put away until they have answered.
    Suspend,
    /// Nobody is asked: the effect is refused.
    Deny,
}

/// Everything that an approval is bound to.
#[derive(Clone, Debug)]
pub struct Binding<'a> {
    /// The task or child task.
    pub task: &'a str,
    /// The crossing of its import border.
    pub import: u64,
    /// The bundle and the component, and the component's digest.
    pub component: [&'a str; 3],
    /// The action.
    pub action: &'a str,
    /// What it acts on.
    pub resource: &'a str,
    /// The digest of the canonical arguments.
    pub arguments: &'a str,
    /// The labels that the task carries.
    pub labels: &'a Labels,
    /// On whose behalf it acts.
    pub user: Option<&'a Person>,
    /// The digest of the grant manifest.
    pub grant: &'a str,
    /// The digest of the rules.
    pub policy: &'a str,
    /// Who is asked.
    pub groups: &'a BTreeSet<String>,
}

impl Binding<'_> {
    /// The digest of it all.
    pub fn digest(&self) -> Hash {
        self.hash(Some(self.import))
    }

    /// The digest that two requests share which ask for the same at different times.
    pub fn likeness(&self) -> Hash {
        self.hash(None)
    }

    fn hash(&self, import: Option<u64>) -> Hash {
        let mut hash = Sha256::new_with_prefix(b"ambit.approval.v1");
        let mut field = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        match import {
            Some(import) => {
                field(self.task.as_bytes());
                field(&import.to_be_bytes());
            }
            None => field(self.task.split('/').next().unwrap_or_default().as_bytes()),
        }
        self.component.iter().for_each(|part| field(part.as_bytes()));
        for text in [self.action, self.resource, self.arguments, self.grant, self.policy] {
            field(text.as_bytes());
        }
        field(self.labels.to_string().as_bytes());
        field(self.user.map(|user| user.name.as_str()).unwrap_or_default().as_bytes());
        self.groups.iter().for_each(|group| field(group.as_bytes()));
        Hash(hash.finalize().into())
    }
}

/// A question to people.
#[derive(Clone, Debug)]
pub struct Request {
    /// The bundle whose task asks.
    pub bundle: String,
    /// On whose behalf it acts.
    pub user: Option<String>,
    /// The arguments, as JSON, to be shown.
    pub arguments: String,
    /// The labels that the task carries.
    pub labels: Labels,
    /// The rules that ask.
    pub rules: Vec<String>,
    /// Whom, and for how long.
    pub ask: Ask,
    /// What it is bound to.
    pub digest: Hash,
    /// What equal requests share.
    pub likeness: Hash,
    /// How often this bundle's tasks may ask within an hour.
    pub per_hour: u64,
    /// The record of the effect, with nothing said yet.
    pub entry: Entry,
}

/// Why people were not asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unasked {
    /// Somebody has said no to the same before.
    #[error("`{by}` has denied the same request of this task before (approval {id})")]
    DeniedBefore {
        /// Who.
        by: String,
        /// The approval.
        id: String,
    },
    /// Nobody has answered the same before.
    #[error("nobody answered the same request of this task before (approval {id})")]
    UnansweredBefore {
        /// The approval.
        id: String,
    },
    /// This bundle's tasks have asked too often.
    #[error("this bundle has asked {asked} times within an hour, and `approvals-per-hour` is {allowed}")]
    TooOften {
        /// How often.
        asked: u64,
        /// How often it may.
        allowed: u64,
    },
}

/// What came of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// All groups that were asked said yes.
    Approved,
    /// Somebody said no.
    Denied {
        /// Who.
        by: String,
    },
    /// The deadline passed. No answer is a no.
    None,
}

/// When an approval was given: since the Unix epoch, and since the machine was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// By the time of day.
    pub wall: Duration,
    /// By a clock that nobody sets.
    pub boot: Duration,
}

/// The right to use an approval.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The approval.
    pub id: String,
    /// What it must be bound to.
    pub digest: Hash,
}

/// Why an approval cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClaimError {
    /// There is none of that name.
    #[error("there is no such approval")]
    Missing,
    /// It is for something else.
    #[error("the approval is for another request")]
    Different,
    /// It was used, denied, or never given.
    #[error("the approval is {0}")]
    NotGiven(State),
    /// Its time is over, by one clock or the other.
    #[error("the approval has expired")]
    Expired,
    /// It could not be recorded.
    #[error(transparent)]
    Unavailable(#[from] AuditError),
}

/// How an approval stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It waits for an answer.
    Open,
    /// It was given, and not used yet.
    Approved,
    /// Somebody said no.
    Denied,
    /// Nobody answered in time.
    Unanswered,
    /// The task ended before there was an answer, or before it was used.
    Withdrawn,
    /// It was used.
    Used,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Open, Self::Approved, Self::Denied, Self::Unanswered, Self::Withdrawn, Self::Used];

    /// The word that is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Unanswered => "unanswered",
            Self::Withdrawn => "withdrawn",
            Self::Used => "used",
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A point in time by both clocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Since the Unix epoch.
    pub wall: Duration,
    /// Since the machine was started, the time that it slept included.
    pub since_boot: Duration,
    /// Which start of the machine that was.
    pub boot: String,
}

/// What a desk gives, later.
pub type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Where people are asked.
pub trait Desk: Send + Sync {
    /// Puts a request before them, and gives its name. The record of it is in the same transaction.
    fn open(&self, request: Request) -> Later<Result<Result<String, Unasked>, AuditError>>;
    /// Waits for the answer, at most until the deadline.
    fn answer(&self, id: &str) -> Later<Result<Answer, AuditError>>;
    /// Nobody waits for the answer any more, or wants to use it.
    fn withdraw(&self, id: &str);
    /// Uses an approval, and appends the intent of the effect that it is for, in one transaction. Gives when it was answered
    /// first.
    fn claim(&self, claim: Claim, intent: Entry) -> Later<Result<Answered, ClaimError>>;
}

/// A desk where nobody sits.
#[cfg(test)]
pub(crate) struct Closed;

#[cfg(test)]
impl Desk for Closed {
    fn open(&self, _request: Request) -> Later<Result<Result<String, Unasked>, AuditError>> {
        Box::pin(async { Err(AuditError("nobody can be asked".to_owned())) })
    }

    fn answer(&self, _id: &str) -> Later<Result<Answer, AuditError>> {
        Box::pin(async { Ok(Answer::None) })
    }

    fn withdraw(&self, _id: &str) {}

    fn claim(&self, _claim: Claim, _intent: Entry) -> Later<Result<Answered, ClaimError>> {
        Box::pin(async { Err(ClaimError::Missing) })
    }
}
