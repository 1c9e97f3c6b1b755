//! The rules that are in force while a task runs, and whether they still are.
//!
//! A task is decided under the rules that it started with. When it has waited for a person, which can take an hour, they
//! are read again: what changed in the meantime voids the approval, and new rules hold from then on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Policy;
use crate::bundle::Digest;

/// Reads grants and rules again: the digest of the manifest, and the policy, unless its text has the digest that is given; or
/// why they cannot be read.
pub type Again = Arc<dyn Fn(Option<Digest>) -> Result<(Digest, Option<Policy>), String> + Send + Sync>;

/// The rules of a task.
pub struct InForce {
    grant: Digest,
    now: Mutex<Result<Arc<Policy>, String>>,
    again: Option<Again>,
}

/// What has become of the rules.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Changed {
    /// There are other grants.
    #[error("the grants were changed in the meantime")]
    Grants,
    /// There are other rules.
    #[error("the rules were changed in the meantime")]
    Rules,
    /// They cannot be read any more.
    #[error("the grants or the rules cannot be read any more: {0}")]
    Unreadable(String),
}

impl InForce {
    /// Rules under a grant manifest. What `again` cannot tell does not change.
    pub fn new(grant: Digest, policy: Policy, again: Option<Again>) -> Self {
        Self { grant, now: Mutex::new(Ok(Arc::new(policy))), again }
    }

    /// The same rules, for another task.
    #[must_use]
    pub fn for_another(&self) -> Self {
        Self { grant: self.grant, now: Mutex::new(self.lock().clone()), again: self.again.clone() }
    }

    /// The digest of the grant manifest that the task runs under.
    pub fn grant(&self) -> Digest {
        self.grant
    }

    /// The rules.
    ///
    /// # Errors
    /// When they could not be read again: then nothing is allowed.
    pub fn policy(&self) -> Result<Arc<Policy>, String> {
        self.lock().clone()
    }

    /// Reads them again.
    ///
    /// # Errors
    /// When they, or the grants, are not what they were.
    pub fn still(&self) -> Result<(), Changed> {
        let Some(again) = &self.again else { return Ok(()) };
        let before = self.lock().as_ref().map(|policy| policy.digest()).ok();
        let read = again(before);
        let mut now = self.lock();
        let (grant, policy) = match read {
            Ok(read) => read,
            Err(error) => {
                *now = Err(error.clone());
                return Err(Changed::Unreadable(error));
            }
        };
        let same = policy.is_none();
        if let Some(policy) = policy {
            *now = Ok(Arc::new(policy));
        }
        match (grant == self.grant, same) {
            (false, _) => Err(Changed::Grants),
            (true, false) => Err(Changed::Rules),
            (true, true) => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Result<Arc<Policy>, String>> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for InForce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InForce").field("grant", &self.grant).finish_non_exhaustive()
    }
}
