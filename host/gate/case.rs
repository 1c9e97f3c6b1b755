//! An effect that is asked for, told once: what records, rules and the journal are told of it is the same each time, and is made
//! one time.

use std::sync::Arc;

use super::Effect;
use crate::policy::{self, Attribute, Name, Resource};
use crate::recorder::Question;

/// See the module.
pub(super) struct Case {
    /// `<grant key>.<verb>`.
    pub(super) action: &'static str,
    /// What it acts on.
    pub(super) resource: Arc<Resource>,
    /// That, as records name it.
    pub(super) name: Arc<str>,
    /// What rules are told beside.
    pub(super) context: Arc<[(Name, Attribute)]>,
    /// All of it, in bytes that no other effect has; or why it cannot be told.
    pub(super) canonical: Result<Vec<u8>, String>,
}

impl Case {
    pub(super) fn of<E: Effect>(effect: &E) -> Self {
        let resource = effect.resource();
        let name = resource.full_name().into();
        let context = policy::parts(effect.context()).collect();
        let canonical = serde_json::to_vec(effect).map_err(|error| error.to_string());
        Self { action: effect.action(), resource: Arc::new(resource), name, context, canonical }
    }

    /// It as a question, by which its answer is found again. What cannot be told is refused by the gate.
    pub(super) fn question<E: Effect>(&self, effect: &E) -> Question {
        let part = effect.asked().map(Result::unwrap_or_default);
        let asked = part.as_deref().or(self.canonical.as_deref().ok()).unwrap_or_default();
        let length = (self.name.len() as u64).to_be_bytes();
        Question::of_parts(self.action, [&length, self.name.as_bytes(), asked])
    }
}
