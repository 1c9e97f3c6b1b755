//! Effects that are tasks of their own: calls of tools.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::case::Case;
use super::recall::Kept;
use super::settlement::Settlement;
use super::{Denied, Effect, Failure, Guard, Permit, Refusal};
use crate::aside::aside;
use crate::audit::{Entry, Kind};
use crate::recorder::{Exception, Found, OVER, Question};

/// An effect that is a task of its own.
pub trait Inner<E> {
    /// What it gives.
    type Answer;
    /// Why it does not.
    type Failure: Failure;
    /// What is recorded of both.
    type Told: Serialize + DeserializeOwned;

    /// Runs it.
    fn execute(&mut self, permit: Permit<E>) -> impl Future<Output = Result<Self::Answer, Self::Failure>> + Send;
    /// What is recorded.
    fn told(&self, result: &Result<Self::Answer, Self::Failure>) -> Self::Told;
    /// It was executed before.
    ///
    /// # Errors
    /// As it ended then.
    fn again(&mut self, told: Self::Told) -> Result<Self::Answer, Self::Failure>;
}

impl<G> Guard<'_, G> {
    /// As [`Self::answer`], for a call that is a task of its own below `path`. Once it is over, its answer stands for all
    /// that was asked within it, unless it changed the task's own folder; before that, it is entered again without being
    /// decided on, and goes on.
    ///
    /// # Errors
    /// As there.
    pub fn enter<E, I>(
        &self,
        effect: E,
        path: &str,
        mut inner: I,
    ) -> impl Future<Output = Result<I::Answer, I::Failure>>
    where
        E: Effect<Grant = G>,
        I: Inner<E>,
    {
        aside(|| async move {
            let recorder = &self.gate.recorder;
            let case = Case::of(&effect);
            let question = case.question(&effect);
            let over = Question { what: OVER, ..question.clone() };
            let ask_over = |over| recorder.exception::<Kept<Option<I::Told>, ()>>(&self.actor.path, self.import, over);
            // What was over before anything else was written stands alone.
            if let Exception::Recalled(kept) = ask_over(over.clone()).map_err(Denied::from)? {
                let settlement = Settlement::of(self.gate, self.actor, self.actor.labels.now(), None);
                return self.over(kept, Permit::again(effect), settlement, inner).await;
            }
            let before = self.actor.labels.now();
            let (entered, (permit, mut settlement)) = match self.asked_before::<Kept<u64, Refusal>>(question)? {
                Found::Recalled(entered) => {
                    let number = self.given(entered).map_err(Denied::Refused)?;
                    (None, self.enter_again(effect, &case, number))
                }
                Found::New(slot) => {
                    let decided = self.decide(effect, case, None).await;
                    let entered = match &decided {
                        Ok((_, settlement)) => Ok(settlement.effect()),
                        Err(Denied::Refused(refusal)) => Err(*refusal),
                        Err(ended) => return Err(ended.clone().into()),
                    };
                    self.keep(slot.clone(), &before, entered);
                    (Some(slot), decided?)
                }
            };
            let slot = match ask_over(over.clone()).map_err(Denied::from)? {
                Exception::Recalled(kept) => return self.over(kept, permit, settlement, inner).await,
                Exception::Usual => None,
                Exception::New(slot) => Some(slot),
            };
            recorder.begin_call(path);
            let result = inner.execute(permit).await;
            settlement.come_to(&result);
            let told = (!recorder.is_run_again(path)).then(|| inner.told(&result));
            let is_told = told.is_some();
            if let Some(slot) = slot {
                let alone = entered.filter(|entered| recorder.take_back(path, entered));
                let slot = alone.map_or(slot, |entered| entered.asking(over));
                self.keep(slot, &before, Ok::<_, ()>(told));
            }
            if is_told {
                recorder.drop_below(path);
            }
            result
        })
    }

    /// A call that was over before. What it did to the task's own folder is done again.
    async fn over<E, I>(
        &self,
        Kept { result, gained, usage }: Kept<Option<I::Told>, ()>,
        permit: Permit<E>,
        mut settlement: Settlement<'_>,
        mut inner: I,
    ) -> Result<I::Answer, I::Failure>
    where
        I: Inner<E>,
    {
        settlement.forget();
        let result = match result {
            Ok(Some(told)) => inner.again(told),
            Ok(None) | Err(()) => inner.execute(permit).await,
        };
        self.stands(&gained, usage);
        result
    }

    /// What was allowed before, and not over: its outcome is that of the intent that is in the log.
    fn enter_again<E: Effect<Grant = G>>(&self, effect: E, case: &Case, number: u64) -> (Permit<E>, Settlement<'_>) {
        let entry = self.question(&effect, case, number);
        let arguments = case.canonical.as_ref().map(|canonical| self.gate.digest(canonical)).unwrap_or_default();
        let outcome = Entry { kind: Kind::Outcome, arguments, ..entry };
        let settlement = Settlement::of(self.gate, self.actor, self.actor.labels.now(), Some(outcome));
        (Permit::again(effect), settlement)
    }
}
