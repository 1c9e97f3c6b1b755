//! What a task was lent does not leave it, and does not enter the log.

use std::borrow::Cow;
use std::sync::Arc;

use super::{Actor, Gate, Guard, Notes};
use crate::audit::Entry;
use crate::identity::Subject;
use crate::leak::{Found, Leaks, named};

/// What may be there although the task was lent it.
#[derive(Clone, Copy, Debug)]
pub enum Exempt<'a> {
    /// Nothing.
    Nobody,
    /// What was revealed to a store.
    Shown(&'a Actor),
}

impl Gate {
    /// Whether what would leave a store holds nothing that the task was lent.
    ///
    /// # Errors
    /// What it holds, in a sentence.
    pub fn free_of_loans<'b>(
        &self,
        exempt: Exempt<'_>,
        parts: impl Iterator<Item = Cow<'b, [u8]>>,
    ) -> Result<(), String> {
        if self.leaks.is_empty() {
            return Ok(());
        }
        self.judged(exempt, parts.flat_map(|part| self.leaks.find(&part)).collect())
    }

    /// As [`Self::free_of_loans`], of what was found already.
    ///
    /// # Errors
    /// What was found, in a sentence.
    pub fn judged(&self, exempt: Exempt<'_>, mut found: Found) -> Result<(), String> {
        if let Exempt::Shown(actor) = exempt {
            found.retain(|name| !actor.was_shown(name));
        }
        if found.is_empty() { Ok(()) } else { Err(format!("it holds what the task was lent: {}", named(&found))) }
    }

    /// What a guest said, fit for the log.
    pub fn told(&self, actor: &Actor, text: &str) -> String {
        // Before it is cut to its length: what is left of a value would not be found.
        actor.told(&self.leaks.covered(text.to_owned()))
    }

    /// A record without anything that the task was lent.
    pub(super) fn covered(&self, mut entry: Entry) -> Entry {
        if self.leaks.is_empty() {
            return entry;
        }
        for field in [&mut entry.detail, &mut entry.text] {
            *field = self.leaks.covered(std::mem::take(field));
        }
        entry.resource = self.leaks.covered(entry.resource.to_string()).into();
        entry
    }
}

impl<G> Guard<'_, G> {
    /// [`Gate::free_of_loans`], of what the asking store would get.
    ///
    /// # Errors
    /// What it holds, in a sentence.
    pub fn free_of_loans<'b>(&self, parts: impl Iterator<Item = Cow<'b, [u8]>>) -> Result<(), String> {
        self.gate.free_of_loans(Exempt::Shown(self.actor), parts)
    }

    /// What was kept before and is read again, as the asking store may see it: without what the task was lent since, which is
    /// noted.
    pub fn shown(&self, mut bytes: Vec<u8>, notes: &Notes) -> Vec<u8> {
        let found = self.leaks().find(&bytes);
        if self.judged(found.clone()).is_err() {
            self.leaks().cover(&mut bytes);
            notes.put("covered", serde_json::json!(found));
        }
        bytes
    }

    /// Who asks, as a token says it.
    pub fn subject(&self) -> Subject {
        let (principal, rules) = (&self.actor.principal, &self.gate.rules);
        Subject {
            task: principal.task.to_string(),
            bundle: principal.bundle.to_string(),
            component: principal.component.to_string(),
            digest: principal.digest.to_string(),
            grant: rules.grant().to_string(),
            policy: rules.policy().map(|policy| policy.digest().to_string()).unwrap_or_default(),
            user: principal.user.as_ref().map(|user| user.name.clone()),
            left: self.gate.budget.time_left(),
        }
    }

    /// What the task was lent.
    pub fn leaks(&self) -> &Arc<Leaks> {
        &self.gate.leaks
    }

    /// [`Gate::judged`], for the asking store.
    ///
    /// # Errors
    /// What was found, in a sentence.
    pub fn judged(&self, found: Found) -> Result<(), String> {
        self.gate.judged(Exempt::Shown(self.actor), found)
    }
}
