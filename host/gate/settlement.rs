//! What becomes of an effect that was allowed: its outcome, whatever happens to the future that it runs in.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Actor, Failure, Gate, Intent, Outcome};
use crate::audit::Entry;
use crate::label::Labels;

/// What the host has to say of an effect that is under way, for the record of its outcome: nothing that a guest made.
#[derive(Clone, Debug, Default)]
pub struct Notes(Arc<Mutex<serde_json::Map<String, serde_json::Value>>>);

impl Notes {
    /// Notes something, in place of what was noted under that name before.
    pub fn put(&self, name: &str, value: impl Into<serde_json::Value>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), value.into());
    }

    /// A number that was noted; 0 if none was.
    pub fn number(&self, name: &str) -> u64 {
        let notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        notes.get(name).and_then(serde_json::Value::as_u64).unwrap_or_default()
    }

    fn take(&self) -> serde_json::Map<String, serde_json::Value> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// An effect that is under way. It leaves an outcome, whatever happens to the future that it runs in.
pub(super) struct Settlement<'a> {
    pub(super) gate: &'a Gate,
    pub(super) actor: &'a Actor,
    /// What the task carried before.
    pub(super) before: Labels,
    pub(super) intent: Option<Intent>,
    pub(super) notes: Notes,
    pub(super) outcome: Option<Entry>,
    /// How it went, as far as that is known.
    pub(super) how: (Outcome, String),
    /// It is written that it was about to happen.
    pub(super) began: bool,
}

impl<'a> Settlement<'a> {
    /// Nothing has happened yet.
    pub(super) fn of(gate: &'a Gate, actor: &'a Actor, before: Labels, outcome: Option<Entry>) -> Self {
        let (notes, how) = (Notes::default(), (Outcome::Abandoned, String::new()));
        Self { gate, actor, before, intent: None, notes, outcome, how, began: false }
    }

    /// The effect's number.
    pub(super) fn effect(&self) -> u64 {
        self.outcome.as_ref().map(|outcome| outcome.effect).unwrap_or_default()
    }

    /// It was settled before.
    pub(super) fn forget(&mut self) {
        self.outcome = None;
    }

    /// What the effect came to. It is written when this is dropped.
    pub(super) fn come_to<T, X: Failure>(&mut self, result: &Result<T, X>) {
        self.how = match result {
            Ok(_) => (Outcome::Done, String::new()),
            Err(failure) => (failure.outcome(), failure.text().to_owned()),
        };
        if matches!(self.how.0, Outcome::Quota | Outcome::Refused) {
            self.gate.budget.refused();
        }
    }

    fn write(&mut self) {
        let Some(outcome) = self.outcome.take() else { return };
        let (how, text) = &self.how;
        if *how == Outcome::Abandoned && self.gate.recorder.ended().is_some() {
            // The task goes on another time, and this with it.
            return;
        }
        let gained = self.actor.labels.now().without(&self.before);
        let mut notes = self.notes.take();
        if !gained.is_empty() {
            notes.insert("labels".to_owned(), serde_json::json!(gained));
        }
        let detail = if notes.is_empty() { String::new() } else { serde_json::Value::Object(notes).to_string() };
        let (at, code) = (super::now(), how.as_str().into());
        let outcome = Entry { at, code, text: self.gate.told(self.actor, text), detail, ..outcome };
        // A shared intent that nobody wrote: the effect did not reach the database, but it was allowed, and that is said.
        let unwritten = self.intent.take().and_then(|intent| intent.take());
        for entry in unwritten.into_iter().chain([outcome]) {
            self.gate.note(entry);
        }
        self.gate.clock.tick();
    }
}

impl Drop for Settlement<'_> {
    fn drop(&mut self) {
        self.write();
    }
}
