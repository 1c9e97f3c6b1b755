//! Decisions that come out the same each time, kept so that they are made once: those of rules that look at nothing that
//! passes (`Slice::steady`), on everything else that a decision depends on.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use super::{Attribute, Decision, Principal, Question, Resource};

/// How many are kept. When there are more, all are forgotten.
const MOST: usize = 4096;
/// The longest question that is kept, in bytes.
const LONGEST: usize = 4096;

/// The decisions of one policy.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<HashMap<Vec<u8>, Decision>>);

impl Known {
    /// What came of a question before.
    pub(super) fn find(&self, asked: &[u8]) -> Option<Decision> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(asked).cloned()
    }

    /// Keeps what came of it.
    pub(super) fn keep(&self, asked: Vec<u8>, decision: &Decision) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(asked, decision.clone());
    }
}

/// A question but for the task's name, what it used, and the time, in bytes that no other has; none for one that is too
/// long to be kept. It names every part, so that a new one is not forgotten. Of what the rules do not look at in the
/// context, only the type is there.
pub(super) fn asked(question: &Question<'_>, looked_at: &BTreeSet<String>) -> Option<Vec<u8>> {
    let Question { principal, standing, action, resource, context, arguments } = question;
    let Principal { task: _, bundle, component, digest, depth, user } = principal;
    let Resource { kind, name, attributes, within } = resource;
    let task = (bundle, component, digest, depth, user, &standing.labels);
    let context: Vec<(&str, Result<&Attribute, &str>)> =
        context.iter().map(|(name, value)| (&**name, told(name, value, looked_at))).collect();
    let parts = (task, action, (kind, name, attributes, within), context, arguments.is_some());
    postcard::to_extend(&parts, Vec::with_capacity(256)).ok().filter(|asked| asked.len() <= LONGEST)
}

/// What is told of a part of the context: it, or the name of its type where no rule looks at it.
fn told<'a>(name: &str, value: &'a Attribute, looked_at: &BTreeSet<String>) -> Result<&'a Attribute, &'static str> {
    match value {
        Attribute::String(_) if !looked_at.contains(name) => Err("String"),
        Attribute::Long(_) if !looked_at.contains(name) => Err("Long"),
        Attribute::Bool(_) if !looked_at.contains(name) => Err("Bool"),
        // Others may not be what Cedar can take, and then nothing is allowed.
        value => Ok(value),
    }
}
