//! What a recorder has recorded and has to give again, and where a task is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::{Batch, Crossing, Divergence, Found, Mode, Place, Question, Row, Slot, Unrecalled, diverged, size};

/// See the module.
pub(super) struct Tape {
    /// What was recorded, and was not asked again yet.
    pub(super) recalled: BTreeMap<Place, Row>,
    /// What was recorded since, and is held back.
    pub(super) pending: Batch,
    /// Calls that are under way, and how many rows were held back when they began.
    pub(super) under_way: Vec<(String, usize)>,
    /// Paths of which something was kept.
    pub(super) written: BTreeSet<Arc<str>>,
    /// The last crossing of each store that asked something, and how often it did.
    pub(super) parts: BTreeMap<Arc<str>, (u64, u32)>,
    /// Bytes that may be recorded yet.
    pub(super) room: u64,
    /// Why nothing is recorded any more, if so.
    pub(super) closed: Option<&'static str>,
    /// Why the task is at its end, as far as it is told: what is answered now is not recorded.
    pub(super) ended: Option<Unrecalled>,
    /// Something was changed for good.
    pub(super) lasts: bool,
    /// Calls that changed the task's own folder: they are made again, and so are those that lead to them.
    pub(super) again: BTreeSet<String>,
    /// Crossings whose effects go on while the guest does, and those that wait for a person.
    pub(super) busy: BTreeSet<Crossing>,
    pub(super) waiting: BTreeSet<Crossing>,
}

impl Tape {
    /// The place of the next question of a crossing.
    pub(super) fn peek(&mut self, path: &Arc<str>, import: u64) -> Place {
        let part = self.parts.get(path).filter(|(last, _)| *last == import).map_or(0, |(_, part)| *part);
        Place { path: Arc::clone(path), import, part }
    }

    pub(super) fn next(&mut self, path: &Arc<str>, import: u64) -> Place {
        let place = self.peek(path, import);
        self.parts.insert(Arc::clone(path), (import, place.part + 1));
        place
    }

    /// What was recorded of the same store at a later crossing: it should have been asked in between.
    pub(super) fn beyond(&self, place: &Place) -> Option<&Row> {
        let after = (std::ops::Bound::Excluded(place), std::ops::Bound::Unbounded);
        self.recalled.range(after).next().filter(|(later, _)| later.path == place.path).map(|(_, row)| row)
    }

    /// Whether the task can go on from here another time, and all that is under way waits for people.
    pub(super) fn is_quiet(&self) -> bool {
        self.closed.is_none() && !self.lasts && self.busy.is_subset(&self.waiting)
    }

    /// What a question comes to.
    pub(super) fn find<A: DeserializeOwned>(
        &mut self,
        path: &Arc<str>,
        import: u64,
        question: Question,
        mode: Mode,
    ) -> Result<Found<A>, Unrecalled> {
        if let Some(why) = &self.ended {
            return Err(why.clone());
        }
        let place = self.next(path, import);
        let Some(row) = self.recalled.remove(&place) else {
            if let Some(other) = self.beyond(&place) {
                let divergence = diverged(&place, None, Some(question.what));
                return Err(Divergence { recorded: Some(other.what.to_string()), ..divergence }.into());
            }
            return match mode {
                Mode::Replay => Err(Unrecalled::Ended),
                Mode::Record | Mode::Resume => Ok(Found::New(Slot::new(place, question))),
            };
        };
        if row.what != question.what || row.digest != question.digest {
            return Err(diverged(&place, Some(row.what.into_owned()), Some(question.what)).into());
        }
        match row.answer.as_deref().map(postcard::from_bytes) {
            Some(Ok(answer)) => Ok(Found::Recalled(answer)),
            Some(Err(_)) => Err(diverged(&place, None, None).into()),
            None if mode == Mode::Replay => Err(Unrecalled::Ended),
            None => Ok(Found::New(Slot { unknown: true, ..Slot::new(place, question) })),
        }
    }

    /// Holds a row back, in place of one of the same place.
    pub(super) fn hold(&mut self, row: Row) {
        match self.pending.rows.last_mut().filter(|last| last.place == row.place) {
            Some(last) => *last = row,
            None => self.pending.rows.push(row),
        }
    }

    pub(super) fn has_room_for(&mut self, row: &Row) -> bool {
        if self.closed.is_none() && size(row) > self.room {
            self.close("it was answered more than `journal` allows");
        }
        self.closed.is_none()
    }

    /// Nothing is recorded any more.
    pub(super) fn close(&mut self, why: &'static str) {
        if self.closed.is_none() {
            self.closed = Some(why);
            self.pending.closed = Some(why);
        }
    }
}
