//! The gate: the only place where an effect becomes a permit.
//!
//! > No effect without a permit. No permit without a decision. No decision without a record.
//!
//! An effect passes in this order, and whatever fails refuses it:
//!
//! 1. the attempt is counted (a guest that only collects refusals runs out as well);
//! 2. **grant**: [`Effect::covered`]; nothing that the task was lent goes along ([`Effect::carries`]); and for a sink its
//!    clearance: [`Effect::accepts`];
//! 3. **policy**: Cedar, and the operator's own decision point, if there is one; an error is a refusal;
//! 4. **approval**: when only rules forbid it that people can lift, they are asked, and it is decided again (`ask`);
//! 5. the budget is reserved, the approval claimed and the **intent** appended, in one transaction; if the log cannot take
//!    it, or the approval is not what it was, the budget has it back;
//! 6. **execute**, with the [`Permit`], after the durability that the effect asks for;
//! 7. **settle**: the outcome is appended with the labels that the task gained, and its clock moves. A future that is
//!    dropped leaves `abandoned`.
//!
//! Functions in `edge/` take a permit by value, and only this module can make one: a capability that forgets to ask does
//! not compile.
//!
//! ```compile_fail,E0451
//! // A permit cannot be forged: its fields are private to the gate.
//! fn forge<E: ambit::gate::Effect>(effect: E) -> ambit::gate::Permit<E> {
//!     ambit::gate::Permit { effect, intent: None, notes: Default::default(), approval: None, pen: None }
//! }
//! ```

mod actor;
mod ask;
mod case;
mod effect;
mod enter;
mod intent;
mod judging;
mod lent;
mod point;
mod recall;
mod refusal;
mod rules;
mod settlement;

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub use self::actor::Actor;
pub use self::ask::Approval;
use self::case::Case;
pub use self::effect::{Durability, Effect};
pub use self::enter::Inner;
use self::judging::Judging;
pub use self::lent::Exempt;
pub use self::recall::{Confided, Pen};
pub use self::refusal::{Code, Denied, Failure, Outcome, Refusal};
pub use self::settlement::Notes;
use self::settlement::Settlement;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::approval::{Desk, Mode};
use crate::aside::aside;
use crate::audit::{self, AuditError, Entry, Kind, Ledger, Lost, Ticket};
use crate::budget::Budget;
use crate::label::Labels;
use crate::leak::Leaks;
use crate::policy::Resource;
use crate::policy::in_force::InForce;
use crate::policy::judged::{Ground, Judgements};
use crate::policy::point::Point;
use crate::recorder::{Found, Recorder, Slot};
use crate::task::Clock;

/// The right to let one effect happen, once.
#[derive(Debug)]
#[must_use = "a permit that is not redeemed lets nothing happen"]
pub struct Permit<E> {
    effect: E,
    intent: Option<Intent>,
    notes: Notes,
    approval: Option<Approval>,
    pen: Option<Pen>,
}

impl<E> Permit<E> {
    /// Gives up the permit for the effect.
    pub fn redeem(self) -> E {
        self.effect
    }

    /// What the outcome will say beside how it went. They can be written to as long as the effect is under way.
    pub fn notes(&self) -> Notes {
        self.notes.clone()
    }

    /// Who approved it, and for how long, where people were asked.
    pub fn approval(&self) -> Option<&Approval> {
        self.approval.as_ref()
    }

    /// For an effect that was allowed before, and is made again.
    fn again(effect: E) -> Self {
        Self { effect, intent: None, notes: Notes::default(), approval: None, pen: None }
    }

    /// Gives up the permit for the effect, the record and the answer that must be written in the same transaction. There
    /// are none unless the effect's durability is [`Durability::Shared`].
    pub(crate) fn redeem_shared(self) -> (E, Option<Entry>, Option<Pen>) {
        let entry = self.intent.and_then(|intent| intent.take());
        (self.effect, entry, self.pen)
    }
}

/// The record of an intent that has not been written yet.
#[derive(Clone, Debug)]
struct Intent(Arc<Mutex<Option<Entry>>>);

impl Intent {
    fn take(&self) -> Option<Entry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Is told of what happens, to show it.
pub trait Observer: Send + Sync {
    /// An effect was allowed and begins.
    fn effect(&self, action: &'static str, resource: &Resource);
    /// People are asked for an approval of this name, and waited for.
    fn asked(&self, _approval: &str) {}
    /// They are not waited for any more.
    fn answered(&self) {}
    /// Something beside the task did not work, which changes nothing for it.
    fn warned(&self, _what: &str) {}
}

/// The gate of one task and all its calls.
pub struct Gate {
    /// The rules.
    pub rules: InForce,
    /// What the task may spend.
    pub budget: Arc<Budget>,
    /// The task's clocks.
    pub clock: Arc<Clock>,
    /// Where records go.
    pub ledger: Arc<dyn Ledger>,
    /// Who else decides, if anybody.
    pub point: Option<Arc<dyn Point>>,
    /// Where people are asked.
    pub desk: Arc<dyn Desk>,
    /// Whether they are.
    pub approvals: Mode,
    /// Who is shown what happens.
    pub observer: Arc<dyn Observer>,
    /// The task's own key for digests of arguments, so that deleting it unlinks them.
    pub key: [u8; 32],
    /// How many effects were asked for.
    pub effects: AtomicU64,
    /// What the task was lent, which must not leave it.
    pub leaks: Arc<Leaks>,
    /// What it was answered.
    pub recorder: Arc<Recorder>,
    /// Intents that nobody waited for and that could not be written: they come before the next effect, and before the end.
    pub lost: Lost,
    /// Where decisions are kept.
    pub judgements: Arc<dyn Judgements>,
}

impl Gate {
    /// A record of `actor`'s, with nothing said yet.
    pub fn entry(&self, kind: Kind, actor: &Actor, action: &'static str) -> Entry {
        Entry {
            kind,
            at: now(),
            task: Arc::clone(&actor.principal.task),
            component: Arc::clone(&actor.principal.component),
            effect: 0,
            import: 0,
            action: Cow::Borrowed(action),
            resource: Arc::default(),
            arguments: Arc::default(),
            code: Cow::Borrowed(""),
            rules: Arc::default(),
            detail: String::new(),
            text: String::new(),
        }
    }

    /// The number of the next effect that is asked for.
    fn next_effect(&self) -> u64 {
        self.effects.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Records a refusal, counts it, and waits until the disk has it.
    pub fn refuse(&self, code: Code, entry: Entry) -> impl Future<Output = Refusal> {
        aside(|| async move {
            self.budget.refused();
            // People may have been asked since it was asked for.
            let entry = Entry { kind: Kind::Refusal, at: now(), code: Cow::Borrowed(code.as_str()), ..entry };
            match self.append(entry).await {
                Ok(record) => Refusal { code, record },
                Err(AuditError(_)) => Refusal { code: Code::Unavailable, record: 0 },
            }
        })
    }

    /// Appends a record and waits until the disk has it.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub async fn append(&self, entry: Entry) -> Result<u64, AuditError> {
        Ok(self.record(entry)?.await?.seq)
    }

    /// Appends a record now. What this gives tells when the disk has it.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub fn record(&self, entry: Entry) -> Result<Ticket, AuditError> {
        self.ledger.append(self.covered(entry))
    }

    /// Writes what could not be written before.
    ///
    /// # Errors
    /// When it still cannot.
    pub async fn make_up(&self) -> Result<(), AuditError> {
        if let Some(mended) = self.ledger.mend() {
            mended.await?;
        }
        while let Some(entry) = self.lost.take() {
            let written = match self.ledger.append(entry.clone()) {
                Ok(ticket) => ticket.await,
                Err(error) => Err(error),
            };
            if let Err(error) = written {
                self.lost.put(entry);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Appends a record where nobody can wait for the disk.
    pub fn note(&self, entry: Entry) {
        self.ledger.put(self.covered(entry));
    }

    /// The digest of a canonical effect under the task's key.
    fn digest(&self, effect: &[u8]) -> Arc<str> {
        audit::Hash(self.keyed(effect)).to_string().into()
    }

    fn keyed(&self, bytes: &[u8]) -> [u8; 32] {
        #[expect(clippy::expect_used, reason = "INVARIANT: HMAC takes keys of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("a key");
        mac.update(bytes);
        mac.finalize().into_bytes().into()
    }
}

/// What a capability holds to ask the gate: who asks, under which grant, at which crossing of the import border.
pub struct Guard<'a, G> {
    gate: &'a Gate,
    actor: &'a Arc<Actor>,
    grant: Option<&'a G>,
    import: u64,
}

impl<G> Clone for Guard<'_, G> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<G> Copy for Guard<'_, G> {}

impl<'a, G> Guard<'a, G> {
    /// A guard for one crossing. Without a grant it refuses everything.
    pub(crate) fn new(gate: &'a Gate, actor: &'a Arc<Actor>, grant: Option<&'a G>, import: u64) -> Self {
        Self { gate, actor, grant, import }
    }

    /// What the operator grants, if anything.
    pub fn grant(&self) -> Option<&'a G> {
        self.grant
    }

    /// The same guard, under another grant.
    pub(crate) fn under<H>(&self, grant: &'a H) -> Guard<'a, H> {
        Guard { gate: self.gate, actor: self.actor, grant: Some(grant), import: self.import }
    }

    /// Who asks.
    pub fn actor(&self) -> &'a Arc<Actor> {
        self.actor
    }

    /// The task has touched data with these labels, and carries them from now on.
    pub fn gain(&self, labels: &Labels) {
        self.actor.labels.gain(labels);
    }

    /// The task's budget, for what is metered as it flows.
    pub fn budget(&self) -> &'a Arc<Budget> {
        &self.gate.budget
    }

    /// Whether the task's time is not over: asked by host functions that work without waiting, and are no effects.
    ///
    /// # Errors
    /// When it is over.
    pub fn in_time(&self) -> Result<(), Denied> {
        Ok(self.gate.budget.in_time()?)
    }

    /// The task's clocks.
    pub fn clock(&self) -> &'a Arc<Clock> {
        &self.gate.clock
    }

    /// Lets an effect happen, if it may: `execute` is called with the permit, and what it returns is recorded as done or
    /// failed.
    ///
    /// # Errors
    /// What `execute` returns, or why it was not called.
    pub async fn run<E, T, X>(&self, effect: E, execute: impl AsyncFnOnce(Permit<E>) -> Result<T, X>) -> Result<T, X>
    where
        E: Effect<Grant = G>,
        X: Failure,
    {
        self.run_at(None, effect, execute).await
    }

    /// As [`Self::run`], for an effect whose answer is kept by `execute`, in `slot`, if anywhere.
    ///
    /// # Errors
    /// As there.
    pub fn run_at<E, T, X>(
        &self,
        slot: Option<&Slot>,
        effect: E,
        execute: impl AsyncFnOnce(Permit<E>) -> Result<T, X>,
    ) -> impl Future<Output = Result<T, X>>
    where
        E: Effect<Grant = G>,
        X: Failure,
    {
        aside(|| async move {
            let case = Case::of(&effect);
            let (permit, mut settlement) = self.decide(effect, case, slot).await?;
            let result = execute(permit).await;
            settlement.come_to(&result);
            result
        })
    }

    /// Refuses an effect on grounds that the capability alone knows: a quota of its own.
    ///
    /// # Errors
    /// Always: that is the refusal, or the end of the task.
    pub fn refuse<E: Effect<Grant = G>>(&self, code: Code, effect: &E, why: &str) -> impl Future<Output = Denied> {
        aside(|| async move {
            let case = Case::of(effect);
            let slot = match self.asked_before::<Refusal>(case.question(effect)) {
                Ok(Found::Recalled(refusal)) => return refusal.into(),
                Ok(Found::New(slot)) => slot,
                Err(denied) => return denied,
            };
            let question = self.question(effect, &case, self.gate.next_effect());
            let mut judging = self.judging(effect, &case, &question);
            if let Err(exhausted) = self.gate.budget.attempt() {
                judging.denied(&Denied::Exhausted(exhausted));
                return self.exhausted(exhausted, question).await;
            }
            judging.refused(self.ground(code, effect), code);
            let entry = Entry { detail: detail("why", why), ..question };
            let refusal = self.gate.refuse(code, entry).await;
            self.gate.recorder.keep(slot, &refusal);
            Denied::Refused(refusal)
        })
    }

    /// As [`Self::refuse`], where nobody can wait for the disk: what is refused has not happened in any case.
    pub fn refuse_in_passing<E: Effect<Grant = G>>(&self, code: Code, effect: &E, why: &str) {
        if self.gate.recorder.recalls(&self.actor.path) {
            return;
        }
        if let Err(exhausted) = self.gate.budget.attempt() {
            self.gate.budget.overdraw(exhausted);
        }
        self.gate.budget.refused();
        let case = Case::of(effect);
        let question = self.question(effect, &case, self.gate.next_effect());
        self.judging(effect, &case, &question).refused(self.ground(code, effect), code);
        let (kind, code) = (Kind::Refusal, Cow::Borrowed(code.as_str()));
        let entry = Entry { kind, code, detail: detail("why", why), ..question };
        self.gate.note(entry);
    }

    /// Whether an effect may happen. Its answer will be kept in `slot`, if anywhere.
    async fn decide<E: Effect<Grant = G>>(
        &self,
        effect: E,
        case: Case,
        slot: Option<&Slot>,
    ) -> Result<(Permit<E>, Settlement<'a>), Denied> {
        if let Some(why) = self.gate.recorder.ended() {
            return Err(why.into());
        }
        let entry = self.question(&effect, &case, self.gate.next_effect());
        // What is needed to decide is let go of when it is decided: the effect may take long.
        let decided = Box::pin(async {
            // The attempt counts before anything else is said of the task.
            let attempt = self.gate.budget.attempt();
            let mut judging = self.judging(&effect, &case, &entry);
            let decided = match attempt {
                Ok(()) => self.decided((effect, case), slot, entry, &mut judging).await,
                Err(exhausted) => Err(self.exhausted(exhausted, entry).await),
            };
            decided.inspect_err(|denied| judging.denied(denied))
        });
        decided.await
    }

    async fn decided<E: Effect<Grant = G>>(
        &self,
        (effect, case): (E, Case),
        slot: Option<&Slot>,
        mut entry: Entry,
        judging: &mut Judging<'_>,
    ) -> Result<(Permit<E>, Settlement<'a>), Denied> {
        let gate = self.gate;
        let before = self.actor.labels.now();
        judging.at(Ground::Grant);
        let Some(grant) = self.grant.filter(|grant| effect.covered(grant)) else {
            entry.detail = detail("why", "the grant does not cover it");
            return Err(gate.refuse(Code::NotGranted, entry).await.into());
        };
        let canonical = match &case.canonical {
            Ok(canonical) => canonical,
            Err(error) => {
                entry.detail = detail("error", error);
                return Err(gate.refuse(Code::Unavailable, entry).await.into());
            }
        };
        entry.arguments = gate.digest(canonical);
        judging.at(Ground::Loan);
        let carried = std::iter::once_with(|| effect.carries()).flatten();
        let shown = if effect.may_show() { Exempt::Shown(self.actor) } else { Exempt::Nobody };
        if let Err(why) = gate.free_of_loans(shown, carried.chain([Cow::Borrowed(&**canonical)])) {
            entry.detail = detail("why", &why);
            return Err(gate.refuse(Code::Denied, entry).await.into());
        }
        if slot.is_some_and(|slot| slot.unknown) {
            entry.detail = detail("why", "whether it happened before is not known, and it is not repeated");
            return Err(gate.refuse(Code::Unavailable, entry).await.into());
        }
        let approved = loop {
            let labels = self.actor.labels.now();
            judging.at(Ground::Clearance);
            if let Some(accepted) = effect.accepts(grant)
                && let Err(why) = cleared(&labels, &accepted)
            {
                entry.detail = detail("why", &why);
                return Err(gate.refuse(Code::Denied, entry).await.into());
            }
            let approved = self.permitted(&effect, (&case, &labels), &mut entry, judging).await?;
            // While others were asked, the task can have touched data, and what was decided is not decided for that.
            if self.actor.labels.now() == labels {
                break approved;
            }
        };
        judging.at(Ground::Limit);
        let reservation = match gate.budget.reserve(effect.cost()) {
            Ok(reservation) => reservation,
            Err(exhausted) => return Err(self.exhausted(exhausted, entry).await),
        };
        // Others may have been asked since it was asked for.
        (entry.at, entry.code) = (now(), Cow::Borrowed("allowed"));
        let outcome = Entry { kind: Kind::Outcome, detail: String::new(), ..entry.clone() };
        let mut settlement = Settlement::of(gate, self.actor, before, None);
        let notes = settlement.notes.clone();
        judging.at(if approved.is_some() { Ground::People } else { Ground::Rules });
        judging.allowed(&entry.rules);
        let approval = self.record(&effect, approved, [entry, outcome], slot, &mut settlement).await?;
        reservation.keep();
        gate.observer.effect(case.action, &case.resource);
        let pen = slot.map(|slot| Pen::of(self, slot.clone()));
        Ok((Permit { effect, intent: settlement.intent.clone(), notes, approval, pen }, settlement))
    }
}

/// Whether a sink accepts what a task carries; if not, why.
///
/// # Errors
/// The labels that it does not accept, in a sentence.
pub fn cleared(carried: &Labels, accepted: &Labels) -> Result<(), String> {
    if carried.is_among(accepted) {
        return Ok(());
    }
    Err(format!("the task carries what may not go there: {}", carried.without(accepted)))
}

/// The time of a record.
fn now() -> u64 {
    u64::try_from(crate::config::wall_clock().as_millis()).unwrap_or(u64::MAX)
}

/// What the host has to say in a record, as JSON.
pub fn detail(key: &str, value: &str) -> String {
    let value = serde_json::Value::from(audit::escaped(value));
    format!("{{\"{key}\":{value}}}")
}
