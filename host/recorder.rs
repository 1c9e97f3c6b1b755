//! The import border: every call that a guest makes out of its store crosses here, is numbered, and what it was answered is
//! recorded.
//!
//! A component is deterministic but for what its imports answer. The number of a crossing, with the task's path, is
//! therefore a stable name for the question that was asked there ([`Place`]). What is recorded under it can be given again:
//! a task *resumes* by running its component once more on the recorded answers, up to where they end, and going on from
//! there; a *replay* ends with them. The border stands in the getter through which every linked interface reaches its host
//! state (`capability::TaskState`), so that no interface can be linked around it.
//!
//! Not every crossing needs an answer of its own. What the host computes from answers that it has (a reading of a clock
//! that did not move, bytes of a body that was recorded when it arrived) it computes again. What is mostly the same is
//! recorded where it is not ([`Recorder::exception`]).
//!
//! Answers are held back until something leaves the host or is written beside the log: until then, a task that breaks off
//! may as well begin at an earlier point. When a call of a tool is over, its answer stands for all that was asked within
//! it, and that is dropped. So a tool that only reads costs the journal one answer.

mod question;
mod tape;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

pub use self::question::{
    Batch, Divergence, Exception, Found, Keeper, Mode, Nowhere, Place, Question, Row, Slot, Unrecalled,
};
use self::tape::Tape;

/// The border of one store.
#[derive(Debug, Default)]
pub struct Border {
    crossings: u64,
}

impl Border {
    /// A guest calls an import: the number of this crossing, from 1.
    pub fn cross(&mut self) -> u64 {
        self.crossings += 1;
        self.crossings
    }
}

/// Records what a task is answered, or gives it again.
pub struct Recorder {
    mode: Mode,
    keeper: Arc<dyn Keeper>,
    tape: Mutex<Tape>,
    over: Notify,
}

/// A crossing of a store.
type Crossing = (Arc<str>, u64);

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("mode", &self.mode).finish_non_exhaustive()
    }
}

/// The question whose answer is what a call of a tool came to.
pub const OVER: &str = "over";

/// Bytes that most answers take, at most.
const ANSWER: usize = 128;

/// What a row takes beside its answer, in bytes.
const ROW: u64 = 64;

fn size(row: &Row) -> u64 {
    row.answer.as_ref().map_or(0, Vec::len) as u64 + ROW
}

/// Whether a path is that of a call, or below it.
fn is_below(path: &str, call: &str) -> bool {
    path.strip_prefix(call).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '!']))
}

/// Whether a path that sorts behind that of a call is before all that cannot be below it.
fn may_be_below(path: &str, call: &str) -> bool {
    path.strip_prefix(call).is_some_and(|rest| rest.bytes().next().is_none_or(|next| next <= b'/'))
}

impl Recorder {
    /// Records at most `room` bytes.
    pub fn recording(keeper: Arc<dyn Keeper>, room: u64) -> Self {
        Self::recalling(Mode::Record, keeper, Vec::new(), room)
    }

    /// Gives what was recorded. Rows without an answer are of effects that the operator does not want to be repeated.
    pub fn recalling(mode: Mode, keeper: Arc<dyn Keeper>, rows: Vec<Row>, room: u64) -> Self {
        // One by one: most tasks begin with none, and what sorts them first allocates for none as well.
        let mut written = BTreeSet::new();
        written.extend(rows.iter().map(|row| Arc::clone(&row.place.path)));
        let room = room.saturating_sub(rows.iter().map(size).sum());
        let mut recalled = BTreeMap::new();
        recalled.extend(rows.into_iter().map(|row| (row.place.clone(), row)));
        let (pending, parts) = (Batch::default(), BTreeMap::new());
        let tape = Tape {
            recalled,
            pending,
            under_way: Vec::new(),
            written,
            parts,
            room,
            closed: None,
            ended: None,
            lasts: false,
            again: BTreeSet::new(),
            busy: BTreeSet::new(),
            waiting: BTreeSet::new(),
        };
        Self { mode, keeper, tape: Mutex::new(tape), over: Notify::new() }
    }

    /// What becomes of answers.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether a store comes to nothing new yet.
    pub fn recalls(&self, path: &str) -> bool {
        let tape = self.tape();
        let first = Place { path: path.into(), import: 0, part: 0 };
        tape.recalled.range(first..).next().is_some_and(|(place, _)| &*place.path == path)
    }

    /// What was recorded and never asked for again.
    pub fn left_over(&self) -> Option<Divergence> {
        let tape = self.tape();
        // What flows may have come further than the guest read.
        let (place, row) = tape.recalled.iter().find(|(place, _)| !place.path.contains('!'))?;
        Some(diverged(place, Some(row.what.to_string()), None))
    }

    /// From here on the task cannot be told again, and that is written before whatever is written next.
    pub fn close(&self, why: &'static str) {
        self.tape().close(why);
    }

    /// An effect is about to happen that stays when the task is gone, and that is written before whatever is written next.
    pub fn lasts(&self, what: &'static str) {
        let mut tape = self.tape();
        tape.pending.lasting = Some(what);
        tape.lasts = true;
    }

    /// Nothing of the task happens any more.
    pub fn give_up(&self, why: Unrecalled) -> Unrecalled {
        self.end(&why);
        why
    }

    /// Puts the task away, if it can go on another time, and all of it that is under way waits for people, as this crossing
    /// does.
    pub fn put_away(&self, approval: &str) -> Option<Unrecalled> {
        if !self.tape().is_quiet() {
            return None;
        }
        self.flush();
        let why = Unrecalled::Suspended(approval.to_owned());
        self.end(&why);
        Some(why)
    }

    /// Why nothing of the task happens any more, if so.
    pub fn ended(&self) -> Option<Unrecalled> {
        self.tape().ended.clone()
    }

    /// Ends when nothing of the task happens any more.
    pub async fn until_ended(&self) -> Unrecalled {
        loop {
            let over = self.over.notified();
            if let Some(why) = self.ended() {
                return why;
            }
            over.await;
        }
    }

    fn end(&self, why: &Unrecalled) {
        self.tape().ended.get_or_insert_with(|| why.clone());
        self.over.notify_waiters();
    }

    /// An effect of this crossing goes on while the guest does, until this is dropped.
    pub fn busy(self: &Arc<Self>, path: &Arc<str>, import: u64) -> Busy {
        let crossing = (Arc::clone(path), import);
        self.tape().busy.insert(crossing.clone());
        Busy { recorder: Arc::clone(self), crossing, waits: false }
    }

    /// An effect of this crossing waits for a person, until this is dropped.
    pub fn waiting(self: &Arc<Self>, path: &Arc<str>, import: u64) -> Busy {
        let crossing = (Arc::clone(path), import);
        self.tape().waiting.insert(crossing.clone());
        Busy { recorder: Arc::clone(self), crossing, waits: true }
    }

    /// Asks: what was answered at this place before, or where the answer goes.
    ///
    /// # Errors
    /// When something else was asked before, or a replay is at its end.
    pub fn ask<A: DeserializeOwned>(
        &self,
        path: &Arc<str>,
        import: u64,
        question: Question,
    ) -> Result<Found<A>, Unrecalled> {
        let found = self.tape().find(path, import, question, self.mode);
        found.inspect_err(|why| self.end(why))
    }

    /// As [`Self::ask`], where only unusual answers are recorded.
    ///
    /// # Errors
    /// As there.
    pub fn exception<A: DeserializeOwned>(
        &self,
        path: &Arc<str>,
        import: u64,
        question: Question,
    ) -> Result<Exception<A>, Unrecalled> {
        let there = {
            let mut tape = self.tape();
            let place = tape.peek(path, import);
            let recorded = tape.recalled.get(&place).is_some_and(|row| row.what == question.what);
            if !recorded && (self.mode == Mode::Replay || tape.beyond(&place).is_some()) {
                return Ok(Exception::Usual);
            }
            recorded
        };
        if !there {
            let place = self.tape().peek(path, import);
            return Ok(Exception::New(Slot::new(place, question)));
        }
        Ok(match self.ask(path, import, question)? {
            Found::Recalled(answer) => Exception::Recalled(answer),
            Found::New(slot) => Exception::New(slot),
        })
    }

    /// An effect is about to happen: that is written before whatever is written next.
    pub fn begin(&self, slot: &Slot) {
        let Slot { place, question, .. } = slot;
        let mut tape = self.tape();
        if tape.ended.is_none() && tape.closed.is_none() {
            let (place, what) = (place.clone(), question.what.into());
            tape.hold(Row { place, what, digest: question.digest, answer: None, secret: false });
        }
    }

    /// Keeps an answer.
    pub fn keep<A: Serialize>(&self, slot: Slot, answer: &A) {
        let Some(row) = self.fitted(slot, answer) else { return };
        self.tape().hold(row);
    }

    /// An answer, to be kept in a transaction that is not the recorder's own. None where nothing is recorded.
    pub fn row<A: Serialize>(&self, slot: Slot, answer: &A) -> Option<Row> {
        let row = self.fitted(slot, answer)?;
        self.tape().written.insert(Arc::clone(&row.place.path));
        Some(row)
    }

    /// An answer as a row, if anything is recorded and there is room for it.
    fn fitted<A: Serialize>(&self, Slot { place, question, secret, .. }: Slot, answer: &A) -> Option<Row> {
        let mut tape = self.tape();
        if self.mode == Mode::Replay || tape.ended.is_some() {
            return None;
        }
        // An exception is a question from when it is one.
        let last = tape.parts.entry(Arc::clone(&place.path)).or_default();
        *last = (place.import, if last.0 == place.import { last.1.max(place.part + 1) } else { place.part + 1 });
        let Ok(answer) = postcard::to_extend(answer, Vec::with_capacity(ANSWER)) else {
            tape.close("an answer could not be recorded");
            return None;
        };
        let row = Row { place, what: question.what.into(), digest: question.digest, answer: Some(answer), secret };
        if !tape.has_room_for(&row) {
            return None;
        }
        tape.room -= size(&row);
        Some(row)
    }

    /// What was asked so far is written before whatever is written next.
    pub fn flush(&self) {
        let mut tape = self.tape();
        if tape.ended.is_some() {
            return;
        }
        let batch = std::mem::take(&mut tape.pending);
        tape.under_way.iter_mut().for_each(|(_, held)| *held = 0);
        tape.written.extend(batch.rows.iter().map(|row| Arc::clone(&row.place.path)));
        if batch != Batch::default() {
            // In the order of the tape.
            self.keeper.keep(batch);
        }
    }

    /// A store changed the task's own folder, which is made again when the task goes on: so is the call.
    pub fn runs_again(&self, path: &str) {
        let mut tape = self.tape();
        let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
        tape.again.extend(ends.map(|end| path[..end].to_owned()));
    }

    /// Whether a call has to be made again when the task goes on.
    pub fn is_run_again(&self, path: &str) -> bool {
        self.tape().again.contains(path)
    }

    /// A call begins, and what is asked within it is below its path.
    pub fn begin_call(&self, path: &str) {
        let mut tape = self.tape();
        // One call is made at a time: what does not lead to it is over.
        tape.under_way.retain(|(call, _)| is_below(path, call));
        let held = tape.pending.rows.len();
        tape.under_way.push((path.to_owned(), held));
    }

    /// Takes back what was kept of a call's beginning, if that is held back yet: its end can say it as well.
    pub fn take_back(&self, path: &str, begun: &Slot) -> bool {
        let mut tape = self.tape();
        let Tape { under_way, pending, room, .. } = &mut *tape;
        let Some((_, held)) = under_way.iter_mut().rev().find(|(call, _)| call == path) else { return false };
        let Some(last) = held.checked_sub(1) else { return false };
        if pending.rows.get(last).is_none_or(|row| row.place != begun.place) {
            return false;
        }
        *held = last;
        *room += size(&pending.rows.remove(last));
        true
    }

    /// A call is over: its answer stands for everything below its path.
    pub fn drop_below(&self, path: &str) {
        let mut tape = self.tape();
        if tape.ended.is_some() {
            return;
        }
        // What was held back before the call began is not of it: a task that makes many calls does not go through all.
        let began = tape.under_way.iter().rposition(|(call, _)| call == path);
        let held = began.map_or(0, |at| tape.under_way.drain(at..).next().map_or(0, |(_, held)| held));
        let since = held.min(tape.pending.rows.len());
        let dropped = tape.pending.rows.extract_if(since.., |row| is_below(&row.place.path, path));
        tape.room += dropped.map(|row| size(&row)).sum::<u64>();
        if !tape.recalled.is_empty() {
            let first = Place { path: path.into(), import: 0, part: 0 };
            let places = tape.recalled.range(first..).map(|(place, _)| place);
            let places = places.take_while(|place| may_be_below(&place.path, path));
            let places: Vec<_> = places.filter(|place| is_below(&place.path, path)).cloned().collect();
            for place in &places {
                tape.recalled.remove(place);
            }
        }
        let range = (Bound::Included(path), Bound::Unbounded);
        let next = |other: &&Arc<str>| may_be_below(other, path);
        let below = |other: &&Arc<str>| is_below(other, path);
        let stores = tape.parts.range::<str, _>(range).map(|(other, _)| other);
        let stores: Vec<_> = stores.take_while(next).filter(below).cloned().collect();
        for store in &stores {
            tape.parts.remove(store);
        }
        let written: Vec<_> = tape.written.range::<str, _>(range).take_while(next).filter(below).cloned().collect();
        for store in &written {
            tape.written.remove(store);
        }
        if !written.is_empty() {
            tape.pending.over.push(path.to_owned());
        }
    }

    fn tape(&self) -> MutexGuard<'_, Tape> {
        self.tape.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Recorder::busy`] and [`Recorder::waiting`].
#[derive(Debug)]
pub struct Busy {
    recorder: Arc<Recorder>,
    crossing: Crossing,
    waits: bool,
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut tape = self.recorder.tape();
        let set = if self.waits { &mut tape.waiting } else { &mut tape.busy };
        set.remove(&self.crossing);
    }
}

/// Questions that are asked in an order of their own, and not at crossings: those of a stream, of a request under way.
#[derive(Debug)]
pub struct Strand {
    recorder: Arc<Recorder>,
    path: Arc<str>,
    asked: u64,
}

impl Strand {
    /// The strand that begins at a crossing.
    pub fn new(recorder: &Arc<Recorder>, path: &str, import: u64, part: u32) -> Self {
        Self { recorder: Arc::clone(recorder), path: format!("{path}!{import}.{part}").into(), asked: 0 }
    }

    /// The next question.
    ///
    /// # Errors
    /// As [`Recorder::ask`].
    pub fn ask<A: DeserializeOwned>(&mut self, question: Question) -> Result<Found<A>, Unrecalled> {
        self.asked += 1;
        self.recorder.ask(&self.path, self.asked, question)
    }

    /// Whether the next question was answered before.
    pub fn recalls(&self) -> bool {
        self.recorder.recalls(&self.path)
    }

    /// Where it is recorded.
    pub fn recorder(&self) -> &Arc<Recorder> {
        &self.recorder
    }
}

fn diverged(place: &Place, recorded: Option<String>, asked: Option<&'static str>) -> Divergence {
    // The end of a call stands for all of it, and a reader knows it by the name of the call.
    let recorded = recorded.map(|what| if what == OVER { "tools.call".to_owned() } else { what });
    let asked = asked.map(|what| if what == OVER { "tools.call" } else { what });
    let store = if place.path.is_empty() { "the task".to_owned() } else { format!("call {}", place.path) };
    Divergence { store, import: place.import, recorded, asked }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps batches for the test.
    #[derive(Default)]
    struct Kept(Mutex<Vec<Batch>>);

    impl Keeper for Kept {
        fn keep(&self, batch: Batch) {
            self.0.lock().unwrap().push(batch);
        }
    }

    fn asked(recorder: &Recorder, path: &str, import: u64, what: &'static str) -> Slot {
        match recorder.ask::<u64>(&path.into(), import, Question::new(what, b"")).unwrap() {
            Found::New(slot) => slot,
            Found::Recalled(answer) => panic!("{answer} was recorded"),
        }
    }

    /// A call that asks something; between that and its end, perhaps, what was asked is written.
    fn call(recorder: &Recorder, import: u64, is_written: bool) -> bool {
        let (begun, path) = (asked(recorder, "", import, "tools.call"), import.to_string());
        recorder.keep(begun.clone(), &import);
        recorder.begin_call(&path);
        let within = asked(recorder, &path, 1, "state.read");
        recorder.keep(within, &7_u64);
        if is_written {
            recorder.flush();
        }
        let (over, is_alone) = (asked(recorder, "", import, "over"), recorder.take_back(&path, &begun));
        let over = if is_alone { begun.asking(Question::new("over", b"")) } else { over };
        recorder.keep(over, &import);
        recorder.drop_below(&path);
        is_alone
    }

    #[test]
    fn a_call_that_was_over_before_anything_was_written_is_one_row() {
        let kept = Arc::new(Kept::default());
        let recorder = Recorder::recording(Arc::clone(&kept) as _, 10_000);
        assert!(call(&recorder, 1, false));
        assert!(!call(&recorder, 2, true));
        assert!(call(&recorder, 3, false));
        recorder.flush();
        let batches = kept.0.lock().unwrap();
        let rows = batches.iter().flat_map(|batch| &batch.rows);
        let rows: Vec<_> = rows.map(|row| (&*row.place.path, row.place.import, row.place.part, &*row.what)).collect();
        let again = Recorder::recalling(Mode::Resume, Arc::new(Nowhere), batches[0].rows.clone(), 10_000);
        let why = again.ask::<u64>(&"".into(), 1, Question::new(OVER, b"other")).unwrap_err();
        assert!(why.to_string().contains("`tools.call` was recorded with other arguments"), "{why}");
        let expected = [
            ("", 1, 0, "over"),
            ("", 2, 0, "tools.call"),
            ("2", 1, 0, "state.read"),
            ("", 2, 1, "over"),
            ("", 3, 0, "over"),
        ];
        assert_eq!(rows, expected);
        assert_eq!(batches.last().unwrap().over, ["2"], "what was written below is deleted");
        // What was taken back, and what was dropped before it was written, takes no room.
        assert_eq!(10_000 - recorder.tape().room, rows.len() as u64 * (ROW + 1));
    }
}
