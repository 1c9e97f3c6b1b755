//! Whether a log is whole: what could not be written is counted, and said in the log before it goes on.
//!
//! What was queued behind a record that failed fails with it, so that no later record stands where it should. What is
//! appended after that tries again, in a new *generation*, and writes first how many records were lost.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::database::{DatabaseError, Rows, whole};
use super::{append, by_operator};
use crate::audit::{AuditError, Entry, escaped};

/// How a log stands in this process.
#[derive(Clone, Default)]
pub(super) struct Standing(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Grows with each failure. What was queued in an older one fails.
    generation: u64,
    /// Records that could not be written, and that no committed record tells of.
    lost: u64,
    /// How many of them a record tells of that is written and not committed.
    announced: u64,
    /// Why the first could not.
    reason: Option<AuditError>,
    /// One of this generation could not be written, and it is not known yet what else came of its transaction.
    is_failing: bool,
}

/// One piece of work on the log, from when it is queued until it is known what came of it.
pub(super) struct Turn {
    standing: Standing,
    generation: u64,
    /// How many records it is about.
    records: u64,
    /// How many lost ones it tells of.
    announces: u64,
}

/// The record of what was lost.
fn lost(records: u64, why: &AuditError) -> Entry {
    let detail = serde_json::json!({ "records": records, "why": escaped(&why.0) }).to_string();
    Entry { code: "lost".into(), detail, ..by_operator("audit.lost", "", "ambit") }
}

impl Standing {
    /// Whether nothing is lost that no record tells of.
    pub(super) fn is_whole(&self) -> bool {
        self.state().lost == 0
    }

    /// Begins work that appends so many records.
    pub(super) fn turn(&self, records: u64) -> Turn {
        let generation = self.state().generation;
        Turn { standing: self.clone(), generation, records, announces: 0 }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Does the work in its transaction, after what has to be said first.
    pub(super) fn write<T>(
        &mut self,
        rows: &Rows<'_>,
        work: impl FnOnce(&Rows<'_>) -> Result<T, DatabaseError>,
    ) -> Result<T, AuditError> {
        let before = self.announce()?;
        let written = match before {
            None => work(rows),
            Some(entry) => whole(rows, |rows| append(rows, &entry).and_then(|_| work(rows))),
        };
        written.map_err(|error| {
            let error = AuditError::from(error);
            let mut state = self.standing.state();
            state.withdraw(&mut self.announces);
            if self.generation == state.generation {
                state.is_failing = true;
                state.reason.get_or_insert_with(|| error.clone());
            }
            error
        })
    }

    /// Whether nothing that was queued before it has failed.
    ///
    /// # Errors
    /// Why something did.
    pub(super) fn admitted(&self) -> Result<(), AuditError> {
        let state = self.standing.state();
        state.reason.clone().filter(|_| state.has_failed(self.generation)).map_or(Ok(()), Err)
    }

    /// The record that has to come before.
    fn announce(&mut self) -> Result<Option<Entry>, AuditError> {
        let mut state = self.standing.state();
        if let Some(reason) = state.reason.clone().filter(|_| state.has_failed(self.generation)) {
            return Err(reason);
        }
        let records = state.lost - state.announced;
        state.announced = state.lost;
        self.announces = records;
        Ok(state.reason.as_ref().filter(|_| records > 0).map(|reason| lost(records, reason)))
    }

    /// Takes note of what came of it, once that is known.
    pub(super) fn settle<T>(mut self, result: &Result<T, AuditError>) {
        let mut state = self.standing.state();
        let announced = state.withdraw(&mut self.announces);
        match result {
            Ok(_) => state.lost -= announced,
            Err(error) => {
                state.lost += self.records;
                state.fail(self.generation, error);
                state.reason.get_or_insert_with(|| error.clone());
            }
        }
        if state.lost == 0 {
            state.reason = None;
        }
    }
}

impl State {
    /// What a piece of work tells of lost records may not come about, or has.
    fn withdraw(&mut self, announces: &mut u64) -> u64 {
        let announces = std::mem::take(announces);
        self.announced -= announces;
        announces
    }

    /// Whether what was queued in a generation fails, because something before it did.
    fn has_failed(&self, generation: u64) -> bool {
        generation < self.generation || (generation == self.generation && self.is_failing)
    }

    /// Takes note of a failure that is not merely that of another one before.
    fn fail(&mut self, generation: u64, error: &AuditError) {
        if generation == self.generation {
            self.generation += 1;
            self.is_failing = false;
            self.reason.get_or_insert_with(|| error.clone());
        }
    }
}
