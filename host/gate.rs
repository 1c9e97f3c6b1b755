//! The gate: the only place where an effect becomes a permit.
//!
//! > No effect without a permit. No permit without a decision. No decision without a record.
//!
//! An effect passes in this order, and whatever fails refuses it:
//!
//! 1. the attempt is counted (a guest that only collects refusals runs out as well);
//! 2. **grant**: [`Effect::covered`];
//! 3. **policy**: Cedar; an error is a refusal;
//! 4. approval: rules that ask for a person refuse, until approvals exist;
//! 5. the budget is reserved and the **intent** is appended; if the log cannot take it, the budget has it back;
//! 6. **execute**, with the [`Permit`], after the durability that the effect asks for;
//! 7. **settle**: the outcome is appended and the task's clock moves. A future that is dropped leaves `abandoned`.
//!
//! Functions in `edge/` take a permit by value, and only this module can make one: a capability that forgets to ask does
//! not compile.
//!
//! ```compile_fail,E0451
//! // A permit cannot be forged: its fields are private to the gate.
//! fn forge<E: ambit::gate::Effect>(effect: E) -> ambit::gate::Permit<E> {
//!     ambit::gate::Permit { effect, intent: None }
//! }
//! ```

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Serialize;
use sha2::Sha256;

use crate::audit::{self, AuditError, Entry, Kind, Ledger};
use crate::budget::{Budget, Cost, Exhausted};
use crate::policy::{Attribute, Decision, Policy, Principal, Resource};
use crate::task::{Clock, TaskId};

/// How durable an effect's intent must be before the effect happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It leaves the host: its intent is on the disk first.
    Outside,
    /// It stays inside: its intent is ordered first, and on the disk no later than the next effect that leaves.
    Inside,
    /// It changes the database that the log is in: both are one transaction, made by whoever redeems the permit.
    Shared,
}

/// One use of a capability, as data: what is decided on is exactly what runs.
pub trait Effect: Debug + Serialize + Send + Sync {
    /// The section of the grant manifest that covers it.
    type Grant;
    /// `<grant key>.<verb>`, as in the schema.
    const ACTION: &'static str;
    /// How durable its intent must be.
    const DURABILITY: Durability;

    /// What it acts on.
    fn resource(&self) -> Resource;
    /// Its arguments, as the schema types them.
    fn context(&self) -> Vec<(&'static str, Attribute)> {
        Vec::new()
    }
    /// Does the grant list it?
    fn covered(&self, grant: &Self::Grant) -> bool;
    /// What it takes from the task's budget.
    fn cost(&self) -> Cost {
        Cost::default()
    }
}

/// The right to let one effect happen, once.
#[derive(Debug)]
#[must_use = "a permit that is not redeemed lets nothing happen"]
pub struct Permit<E> {
    effect: E,
    intent: Option<Intent>,
}

impl<E> Permit<E> {
    /// Gives up the permit for the effect.
    pub fn redeem(self) -> E {
        self.effect
    }

    /// Gives up the permit for the effect and the record that must be written in the same transaction. There is none
    /// unless the effect's durability is [`Durability::Shared`].
    pub(crate) fn redeem_shared(self) -> (E, Option<Entry>) {
        let entry = self.intent.and_then(|intent| intent.take());
        (self.effect, entry)
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

/// Why an effect was refused, in the words that a guest may hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The grant does not list it.
    NotGranted,
    /// A rule forbids it, or none permits it.
    Denied,
    /// Rules forbid it unless a person approves.
    NeedsApproval,
    /// A quota of the capability is spent.
    Quota,
    /// It could not be recorded.
    Unavailable,
}

impl Code {
    /// The word that is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotGranted => "not-granted",
            Self::Denied => "denied",
            Self::NeedsApproval => "needs-approval",
            Self::Quota => "quota",
            Self::Unavailable => "unavailable",
        }
    }
}

/// An effect that did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("refused: {} (record {record})", .code.as_str())]
pub struct Refusal {
    /// Why.
    pub code: Code,
    /// The number of the audit record; 0 when the log could not take one.
    pub record: u64,
}

/// Why an effect gave no result: the guest hears of a refusal, and never of the end of its task.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Denied {
    /// The effect was refused; the task goes on.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The whole task ends.
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
}

/// What an effect that was allowed can fail with.
pub trait Failure: From<Denied> {
    /// What its outcome is recorded as: `failed`, or the code of a refusal that only showed while it ran.
    fn outcome(&self) -> Outcome {
        Outcome::Failed
    }

    /// What the guest behind the effect said when it broke down, for the record's field of guest-made text.
    fn text(&self) -> &str {
        ""
    }
}

/// How an effect that was allowed went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It happened.
    Done,
    /// It was tried, and did not work.
    Failed,
    /// It would have outgrown a quota, and did not happen.
    Quota,
    /// Its future was dropped: how far it came is not known.
    Abandoned,
}

impl Outcome {
    /// The word that is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Quota => "quota",
            Self::Abandoned => "abandoned",
        }
    }
}

/// Is told of each effect as it begins, to show progress.
pub trait Observer: Send + Sync {
    /// An effect was allowed and begins.
    fn effect(&self, action: &'static str, resource: &Resource);
}

/// One store of a task: who asks.
#[derive(Debug)]
pub struct Actor {
    /// The task or child task.
    pub task: TaskId,
    /// How policies see it.
    pub principal: Principal,
}

impl Actor {
    /// A component of a bundle, in a task.
    pub fn new(task: TaskId, bundle: &str, component: &str, digest: String) -> Self {
        let principal = Principal {
            task: task.to_string(),
            bundle: bundle.to_owned(),
            component: component.to_owned(),
            digest,
            depth: task.depth() as u64,
        };
        Self { task, principal }
    }
}

/// The gate of one task and all its calls.
pub struct Gate {
    /// The rules.
    pub policy: Arc<Policy>,
    /// What the task may spend.
    pub budget: Arc<Budget>,
    /// The task's clocks.
    pub clock: Arc<Clock>,
    /// Where records go.
    pub ledger: Arc<dyn Ledger>,
    /// Who is shown what happens.
    pub observer: Arc<dyn Observer>,
    /// The task's own key for digests of arguments, so that deleting it unlinks them.
    pub key: [u8; 32],
    /// How many effects were asked for.
    effects: AtomicU64,
}

impl Gate {
    /// The gate of a task that begins.
    pub fn new(
        policy: Arc<Policy>,
        budget: Arc<Budget>,
        clock: Arc<Clock>,
        ledger: Arc<dyn Ledger>,
        observer: Arc<dyn Observer>,
        key: [u8; 32],
    ) -> Self {
        Self { policy, budget, clock, ledger, observer, key, effects: AtomicU64::new(0) }
    }

    /// A record of `actor`'s, with nothing said yet.
    pub fn entry(&self, kind: Kind, actor: &Actor, action: &str) -> Entry {
        Entry {
            kind,
            at: u64::try_from(crate::config::wall_clock().as_millis()).unwrap_or(u64::MAX),
            task: actor.task.to_string(),
            component: actor.principal.component.clone(),
            effect: 0,
            import: 0,
            action: action.to_owned(),
            resource: String::new(),
            arguments: String::new(),
            code: String::new(),
            rules: Vec::new(),
            detail: String::new(),
            text: String::new(),
        }
    }

    /// Records a refusal, counts it, and waits until the disk has it.
    pub async fn refuse(&self, code: Code, entry: Entry) -> Refusal {
        self.budget.refused();
        let entry = Entry { kind: Kind::Refusal, code: code.as_str().to_owned(), ..entry };
        match self.append(entry).await {
            Ok(record) => Refusal { code, record },
            Err(AuditError(_)) => Refusal { code: Code::Unavailable, record: 0 },
        }
    }

    /// Appends a record and waits until the disk has it.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub async fn append(&self, entry: Entry) -> Result<u64, AuditError> {
        self.ledger.append(entry)?.await
    }

    /// The digest of an effect under the task's key.
    fn digest(&self, effect: &impl Serialize) -> Result<String, serde_json::Error> {
        let bytes = serde_json::to_vec(effect)?;
        #[expect(clippy::expect_used, reason = "INVARIANT: HMAC takes keys of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("a key");
        mac.update(&bytes);
        Ok(audit::Hash(mac.finalize().into_bytes().into()).to_string())
    }
}

/// What a capability holds to ask the gate: who asks, under which grant, at which crossing of the import border.
pub struct Guard<'a, G> {
    gate: &'a Gate,
    actor: &'a Actor,
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
    pub(crate) fn new(gate: &'a Gate, actor: &'a Actor, grant: Option<&'a G>, import: u64) -> Self {
        Self { gate, actor, grant, import }
    }

    /// What the operator grants, if anything.
    pub fn grant(&self) -> Option<&'a G> {
        self.grant
    }

    /// Who asks.
    pub fn actor(&self) -> &'a Actor {
        self.actor
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
        let (permit, settlement) = self.decide(effect).await?;
        let result = execute(permit).await;
        match &result {
            Ok(_) => settlement.settle(Outcome::Done, ""),
            Err(failure) => settlement.settle(failure.outcome(), failure.text()),
        }
        result
    }

    /// Refuses an effect on grounds that the capability alone knows: a quota of its own.
    ///
    /// # Errors
    /// Always: that is the refusal, or the end of the task.
    pub async fn refuse<E: Effect<Grant = G>>(&self, code: Code, effect: &E, why: &str) -> Denied {
        if let Err(exhausted) = self.gate.budget.attempt() {
            return self.exhausted(exhausted, self.question(effect)).await;
        }
        let entry = Entry { detail: detail("why", why), ..self.question(effect) };
        Denied::Refused(self.gate.refuse(code, entry).await)
    }

    async fn decide<E: Effect<Grant = G>>(&self, effect: E) -> Result<(Permit<E>, Settlement<'a>), Denied> {
        let gate = self.gate;
        let resource = effect.resource();
        let mut entry = self.question(&effect);
        if let Err(exhausted) = gate.budget.attempt() {
            return Err(self.exhausted(exhausted, entry).await);
        }
        if !self.grant.is_some_and(|grant| effect.covered(grant)) {
            entry.detail = detail("why", "the grant does not cover it");
            return Err(gate.refuse(Code::NotGranted, entry).await.into());
        }
        match gate.policy.decide(&self.actor.principal, E::ACTION, &resource, &effect.context()) {
            Decision::Allow { rules } => entry.rules = rules,
            Decision::Deny { rules, approvals, error } => {
                let code = if approvals.is_empty() { Code::Denied } else { Code::NeedsApproval };
                entry.detail = match error {
                    Some(error) => detail("error", &error),
                    None if rules.is_empty() => detail("why", "no rule permits it"),
                    None if approvals.is_empty() => detail("why", "a rule forbids it"),
                    None => detail("approval", &approvals.join(", ")),
                };
                entry.rules = rules;
                return Err(gate.refuse(code, entry).await.into());
            }
        }
        entry.arguments = match gate.digest(&effect) {
            Ok(digest) => digest,
            Err(error) => {
                entry.detail = detail("error", &error.to_string());
                return Err(gate.refuse(Code::Unavailable, entry).await.into());
            }
        };
        let reservation = match gate.budget.reserve(effect.cost()) {
            Ok(reservation) => reservation,
            Err(exhausted) => return Err(self.exhausted(exhausted, entry).await),
        };
        entry.code = "allowed".to_owned();
        let unavailable = |AuditError(_)| {
            gate.budget.refused();
            Denied::Refused(Refusal { code: Code::Unavailable, record: 0 })
        };
        let outcome = Entry { kind: Kind::Outcome, detail: String::new(), ..entry.clone() };
        let intent = if E::DURABILITY == Durability::Shared {
            gate.ledger.health().map_err(unavailable)?;
            Some(Intent(Arc::new(Mutex::new(Some(entry)))))
        } else {
            let ticket = gate.ledger.append(entry).map_err(unavailable)?;
            if E::DURABILITY == Durability::Outside {
                ticket.await.map_err(unavailable)?;
            }
            None
        };
        reservation.keep();
        gate.observer.effect(E::ACTION, &resource);
        Ok((Permit { effect, intent: intent.clone() }, Settlement { gate, intent, outcome: Some(outcome) }))
    }

    /// The record of an effect, before it is decided.
    fn question<E: Effect<Grant = G>>(&self, effect: &E) -> Entry {
        let mut entry = self.gate.entry(Kind::Intent, self.actor, E::ACTION);
        entry.effect = self.gate.effects.fetch_add(1, Ordering::Relaxed) + 1;
        entry.import = self.import;
        entry.resource = effect.resource().to_string();
        entry
    }

    async fn exhausted(&self, exhausted: Exhausted, mut entry: Entry) -> Denied {
        entry.kind = Kind::Refusal;
        entry.code = "exhausted".to_owned();
        entry.detail = detail("limit", &exhausted.to_string());
        self.gate.budget.refused();
        // The task ends in any case, and says why; what the log cannot take shows when its end is recorded.
        let _ = self.gate.append(entry).await;
        Denied::Exhausted(exhausted)
    }
}

/// What the host has to say in a record, as JSON.
pub fn detail(key: &str, value: &str) -> String {
    let value = serde_json::Value::from(audit::escaped(value));
    format!("{{\"{key}\":{value}}}")
}

/// An effect that is under way. It leaves an outcome, whatever happens to the future that it runs in.
struct Settlement<'a> {
    gate: &'a Gate,
    intent: Option<Intent>,
    outcome: Option<Entry>,
}

impl Settlement<'_> {
    fn settle(mut self, outcome: Outcome, text: &str) {
        self.write(outcome, text);
    }

    fn write(&mut self, how: Outcome, text: &str) {
        let Some(outcome) = self.outcome.take() else { return };
        let outcome = Entry { code: how.as_str().to_owned(), text: audit::escaped(text), ..outcome };
        if how == Outcome::Quota {
            self.gate.budget.refused();
        }
        // A shared intent that nobody wrote: the effect did not reach the database, but it was allowed, and that is said.
        let unwritten = self.intent.take().and_then(|intent| intent.take());
        for entry in unwritten.into_iter().chain([outcome]) {
            // A log that is broken refuses the next effect, and fails the end of the task.
            drop(self.gate.ledger.append(entry));
        }
        self.gate.clock.tick();
    }
}

impl Drop for Settlement<'_> {
    fn drop(&mut self) {
        self.write(Outcome::Abandoned, "");
    }
}
