//! What a task was answered is recorded, and given again where it was asked before.

use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::case::Case;
use super::{Denied, Effect, Failure, Guard, Permit, Refusal};
use crate::aside::aside;
use crate::audit::Hash;
use crate::label::Labels;
use crate::recorder::{Busy, Exception, Found, Question, Recorder, Row, Slot, Strand, Unrecalled};
use crate::task::{TaskId, Usage};

/// What an effect came to, with what it did to the task.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Kept<T, X> {
    pub(super) result: Result<T, X>,
    /// The labels that the store gained by it.
    pub(super) gained: Labels,
    /// What the task had used when it was over.
    pub(super) usage: Usage,
}

/// A value that is shown to a store, and to nobody else.
#[derive(Serialize, Deserialize)]
pub struct Confided {
    /// It.
    pub value: Vec<u8>,
    /// Which of several it is, where that can be told.
    pub version: Option<String>,
    /// Until when it holds, since the Unix epoch.
    pub until: Option<Duration>,
}

impl Confided {
    fn is_over(&self) -> bool {
        self.until.is_some_and(|until| until <= crate::config::wall_clock())
    }
}

/// Writes the answer of an effect in the transaction in which it happens.
#[derive(Debug)]
pub struct Pen {
    recorder: Arc<Recorder>,
    task: TaskId,
    slot: Slot,
    usage: Usage,
}

impl Pen {
    pub(super) fn of<G>(guard: &Guard<'_, G>, slot: Slot) -> Self {
        let (recorder, task) = (Arc::clone(&guard.gate.recorder), guard.actor.task.clone());
        Self { recorder, task, slot, usage: guard.gate.budget.usage() }
    }

    /// The task without its calls, and the row that keeps an answer, if it is kept.
    pub(crate) fn row<T: Serialize, X: Serialize>(self, result: &Result<T, X>) -> Option<(String, Row)> {
        let kept = Kept { result: result.as_ref(), gained: Labels::default(), usage: self.usage };
        self.recorder.row(self.slot, &kept).map(|row| (self.task.root().to_owned(), row))
    }
}

impl<G> Guard<'_, G> {
    /// As [`Self::run`], for an effect whose answer is data: where it was asked before, it is not executed again.
    ///
    /// # Errors
    /// As there.
    pub fn answer<E, T, X>(
        &self,
        effect: E,
        execute: impl AsyncFnOnce(Permit<E>) -> Result<T, X>,
    ) -> impl Future<Output = Result<T, X>>
    where
        E: Effect<Grant = G>,
        T: Serialize + DeserializeOwned,
        X: Failure + Serialize + DeserializeOwned,
    {
        aside(|| async move {
            let case = Case::of(&effect);
            let slot = match self.asked_before::<Kept<T, X>>(case.question(&effect))? {
                Found::Recalled(kept) => return self.given(kept),
                Found::New(slot) => slot,
            };
            // Borrowed, so that what is large is not copied.
            let keep = |slot, before: &Labels, result: &Result<T, X>| self.keep(slot, before, result.as_ref());
            self.run_keeping(slot, (effect, case), execute, keep).await
        })
    }

    /// As [`Self::answer`], for an answer that is no data: `told` says what is recorded of it, and `again` makes it of that.
    ///
    /// # Errors
    /// As there.
    pub fn answer_as<E, T, K, X>(
        &self,
        effect: E,
        execute: impl AsyncFnOnce(Permit<E>) -> Result<T, X>,
        told: impl FnOnce(&T) -> K,
        again: impl FnOnce(K) -> Result<T, X>,
    ) -> impl Future<Output = Result<T, X>>
    where
        E: Effect<Grant = G>,
        K: Serialize + DeserializeOwned,
        X: Failure + Serialize + DeserializeOwned,
    {
        aside(|| async move {
            let case = Case::of(&effect);
            let slot = match self.asked_before::<Kept<K, X>>(case.question(&effect))? {
                Found::Recalled(kept) => return again(self.given(kept)?),
                Found::New(slot) => slot,
            };
            let keep =
                |slot, before: &Labels, result: &Result<T, X>| self.keep(slot, before, result.as_ref().map(told));
            self.run_keeping(slot, (effect, case), execute, keep).await
        })
    }

    /// As [`Self::answer`], for an effect that writes its answer itself, by its permit's [`Pen`]. `take` makes of it what
    /// the guest hears, and lets it gain the labels.
    ///
    /// # Errors
    /// As there.
    pub fn answer_shared<E, T, K, X>(
        &self,
        effect: E,
        execute: impl AsyncFnOnce(Permit<E>) -> Result<K, X>,
        take: impl FnOnce(Result<K, X>) -> Result<T, X>,
    ) -> impl Future<Output = Result<T, X>>
    where
        E: Effect<Grant = G>,
        K: Serialize + DeserializeOwned,
        X: Failure + Serialize + DeserializeOwned,
    {
        aside(|| async move {
            let case = Case::of(&effect);
            let slot = match self.asked_before::<Kept<K, X>>(case.question(&effect))? {
                Found::Recalled(kept) => return take(self.given(kept)),
                Found::New(slot) => slot,
            };
            let before = self.actor.labels.now();
            let (permit, mut settlement) = match self.decide(effect, case, Some(&slot)).await {
                Ok(decided) => decided,
                Err(denied) => {
                    let result: Result<K, X> = Err(denied.into());
                    self.keep(slot, &before, result.as_ref());
                    return take(result);
                }
            };
            let result = execute(permit).await;
            if result.is_err() {
                // The transaction may not have come about.
                self.keep(slot, &before, result.as_ref());
            }
            let result = take(result);
            settlement.come_to(&result);
            result
        })
    }

    /// As [`Self::answer`], for a value that must not be read by others: it is kept sealed, and given again as long as it
    /// holds. `take` makes of it what the guest hears, and watches over it.
    ///
    /// # Errors
    /// As there, and when its time is over.
    pub fn answer_sealed<E, T, X>(
        &self,
        effect: E,
        execute: impl AsyncFnOnce(Permit<E>) -> Result<Confided, X>,
        holds: impl FnOnce(&Confided) -> bool,
        take: impl FnOnce(Result<Confided, X>) -> Result<T, X>,
    ) -> impl Future<Output = Result<T, X>>
    where
        E: Effect<Grant = G>,
        X: Failure + Serialize + DeserializeOwned,
    {
        aside(|| async move {
            let case = Case::of(&effect);
            let what = case.action;
            let slot = match self.asked_before::<Kept<Confided, X>>(case.question(&effect))? {
                Found::Recalled(kept) => {
                    let confided = self.given(kept);
                    if confided.as_ref().is_ok_and(|confided| confided.is_over() || !holds(confided)) {
                        return Err(Denied::from(self.gate.recorder.give_up(Unrecalled::Over(what))).into());
                    }
                    return take(confided);
                }
                Found::New(slot) => slot.sealed(),
            };
            let before = self.actor.labels.now();
            let (permit, mut settlement) = match self.decide(effect, case, Some(&slot)).await {
                Ok(decided) => decided,
                Err(denied) => {
                    let result: Result<Confided, X> = Err(denied.into());
                    self.keep(slot, &before, result.as_ref());
                    return take(result);
                }
            };
            let result = execute(permit).await;
            self.keep(slot, &before, result.as_ref());
            self.gate.recorder.flush();
            let result = take(result);
            settlement.come_to(&result);
            result
        })
    }

    /// As [`Self::run`], for an effect that changes nothing outside of the task, and has to be made again for what comes
    /// after: where it was allowed before, it is not decided on again.
    ///
    /// # Errors
    /// As there.
    pub fn renew<E, T, X>(
        &self,
        effect: E,
        execute: impl AsyncFnOnce(Permit<E>) -> Result<T, X>,
    ) -> impl Future<Output = Result<T, X>>
    where
        E: Effect<Grant = G>,
        X: Failure,
    {
        aside(|| async move {
            let case = Case::of(&effect);
            let slot = match self.asked_before::<Kept<(), Refusal>>(case.question(&effect))? {
                Found::Recalled(kept) => {
                    let (gained, usage) = (kept.gained.clone(), kept.usage);
                    self.given(kept).map_err(Denied::Refused)?;
                    let result = execute(Permit::again(effect)).await;
                    self.stands(&gained, usage);
                    return result;
                }
                Found::New(slot) => slot,
            };
            let before = self.actor.labels.now();
            let (permit, mut settlement) = match self.decide(effect, case, None).await {
                Ok(decided) => decided,
                Err(denied) => {
                    if let Denied::Refused(refusal) = &denied {
                        self.keep(slot, &before, Err::<(), _>(*refusal));
                    }
                    return Err(denied.into());
                }
            };
            let result = execute(permit).await;
            settlement.come_to(&result);
            self.keep(slot, &before, Ok::<(), Refusal>(()));
            result
        })
    }

    /// Lets an effect happen whose answer is kept before its outcome is: who finds an outcome finds the answer.
    async fn run_keeping<E, T, X>(
        &self,
        slot: Slot,
        (effect, case): (E, Case),
        execute: impl AsyncFnOnce(Permit<E>) -> Result<T, X>,
        keep: impl FnOnce(Slot, &Labels, &Result<T, X>),
    ) -> Result<T, X>
    where
        E: Effect<Grant = G>,
        X: Failure,
    {
        let before = self.actor.labels.now();
        let (permit, mut settlement) = match self.decide(effect, case, Some(&slot)).await {
            Ok(decided) => decided,
            Err(denied) => {
                let result = Err(denied.into());
                keep(slot, &before, &result);
                return result;
            }
        };
        let result = execute(permit).await;
        settlement.come_to(&result);
        keep(slot, &before, &result);
        if settlement.began {
            self.gate.recorder.flush();
        }
        result
    }

    /// Something that is no effect, and that the outside answers: reading a file. Where it was asked before, `ask` is not
    /// called.
    ///
    /// # Errors
    /// When something else was asked before.
    pub fn recall<A: Serialize + DeserializeOwned>(
        &self,
        what: &'static str,
        arguments: &[u8],
        ask: impl FnOnce() -> A,
    ) -> Result<A, Denied> {
        Ok(match self.asked_before(Question::new(what, arguments))? {
            Found::Recalled(answer) => answer,
            Found::New(slot) => {
                let answer = ask();
                self.gate.recorder.keep(slot, &answer);
                answer
            }
        })
    }

    /// Something that is mostly as usual: only where it is not, it is recorded. `usual` makes it where it is not asked.
    ///
    /// # Errors
    /// When something else was asked before.
    pub fn exception<A: Serialize + DeserializeOwned>(
        &self,
        what: &'static str,
        ask: impl FnOnce() -> A,
        is_usual: impl FnOnce(&A) -> bool,
        usual: impl FnOnce() -> A,
    ) -> Result<A, Denied> {
        let recorder = &self.gate.recorder;
        Ok(match recorder.exception(&self.actor.path, self.import, Question::new(what, &[]))? {
            Exception::Recalled(answer) => answer,
            Exception::Usual => usual(),
            Exception::New(slot) => {
                let answer = ask();
                if !is_usual(&answer) {
                    recorder.keep(slot, &answer);
                }
                answer
            }
        })
    }

    /// Something that is there or not yet: only that it was not, is recorded. `get` hears whether it was there before.
    ///
    /// # Errors
    /// As `get`, or when something else was asked before.
    pub fn there_yet<T, X: From<Denied>>(
        &self,
        what: &'static str,
        get: impl FnOnce(bool) -> Result<Option<T>, X>,
    ) -> Result<Option<T>, X> {
        let recorder = &self.gate.recorder;
        match recorder.exception(&self.actor.path, self.import, Question::new(what, &[])).map_err(Denied::from)? {
            Exception::Recalled(()) => Ok(None),
            Exception::Usual => get(true),
            Exception::New(slot) => {
                let got = get(false)?;
                if got.is_none() {
                    recorder.keep(slot, &());
                }
                Ok(got)
            }
        }
    }

    /// The store changes the task's own folder.
    pub fn runs_again(&self) {
        self.gate.recorder.runs_again(&self.actor.path);
    }

    /// Whether the store comes to nothing new yet.
    pub fn recalls(&self) -> bool {
        self.gate.recorder.recalls(&self.actor.path)
    }

    pub(super) fn asked_before<A: DeserializeOwned>(&self, question: Question) -> Result<Found<A>, Denied> {
        let found = self.gate.recorder.ask(&self.actor.path, self.import, question)?;
        if matches!(found, Found::New(_)) {
            // Nothing more was recorded: from here on, the task spends its own.
            self.gate.budget.go_on();
        }
        Ok(found)
    }

    /// What tells one request from all others, and is the same when it is repeated because nobody knows what became of it:
    /// 128 bits under the task's key, as a UUID is written (RFC 9562, version 8).
    pub fn idempotency_key(&self, number: u64) -> String {
        let mut place = b"ambit.idempotency.v1".to_vec();
        place.extend(self.import.to_be_bytes());
        place.extend(number.to_be_bytes());
        place.extend(self.actor.path.as_bytes());
        let key = self.gate.keyed(&place);
        let hex = Hash(key).to_string();
        format!("{}-{}-8{}-a{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
    }

    /// Keeps the answer of an effect that flows, and says what the task gained since `before`, and has used.
    pub fn keep_flowing<T: Serialize, X: Serialize>(&self, slot: Slot, before: &Labels, result: Result<T, X>) {
        self.keep(slot, before, result);
    }

    /// Asks a strand, as [`Self::answer`] does. Some with what was answered before, or where the answer goes.
    ///
    /// # Errors
    /// When something else was asked before.
    pub fn ask_flowing<T: DeserializeOwned, X: DeserializeOwned>(
        &self,
        strand: &mut Strand,
        question: Question,
    ) -> Result<Found<Result<T, X>>, Denied> {
        Ok(match strand.ask::<Kept<T, X>>(question)? {
            Found::Recalled(kept) => Found::Recalled(self.given(kept)),
            Found::New(slot) => {
                self.gate.budget.go_on();
                Found::New(slot)
            }
        })
    }

    /// This crossing goes on while the guest does.
    pub fn busy(&self) -> Busy {
        self.gate.recorder.busy(&self.actor.path, self.import)
    }

    /// Questions of a stream that begins at this crossing.
    pub fn strand(&self) -> Strand {
        Strand::new(&self.gate.recorder, &self.actor.path, self.import, 0)
    }

    pub(super) fn keep<T: Serialize, X: Serialize>(&self, slot: Slot, before: &Labels, result: Result<T, X>) {
        let gained = self.actor.labels.now().without(before);
        self.gate.recorder.keep(slot, &Kept { result, gained, usage: self.gate.budget.usage() });
    }

    pub(super) fn given<T, X>(&self, kept: Kept<T, X>) -> Result<T, X> {
        self.stands(&kept.gained, kept.usage);
        kept.result
    }

    /// How the task stands after an answer that was recorded.
    pub(super) fn stands(&self, gained: &Labels, usage: Usage) {
        self.gain(gained);
        self.gate.budget.recall(usage);
    }
}
