//! The record of an effect: what it says before it is decided, and the intent that it becomes.

use std::sync::{Arc, Mutex};

use super::ask::Approved;
use super::case::Case;
use super::settlement::Settlement;
use super::{Approval, Code, Denied, Durability, Effect, Guard, Intent, Refusal, detail, now};
use crate::approval::ClaimError;
use crate::audit::{AuditError, Entry, Kind};
use crate::budget::Exhausted;
use crate::recorder::Slot;

impl<G> Guard<'_, G> {
    /// Records the intent, with what has to be true in the same transaction. From when it is on its way, the settlement owes
    /// it an outcome, also while the disk is waited for.
    pub(super) async fn record<E: Effect<Grant = G>>(
        &self,
        effect: &E,
        approved: Option<Approved>,
        [entry, outcome]: [Entry; 2],
        slot: Option<&Slot>,
        settlement: &mut Settlement<'_>,
    ) -> Result<Option<Approval>, Denied> {
        let gate = self.gate;
        let unavailable = |AuditError(_)| {
            gate.budget.refused();
            Denied::Refused(Refusal { code: Code::Unavailable, record: 0 })
        };
        if approved.is_some() || E::DURABILITY != Durability::Inside {
            // Whoever goes on after this must not come to it again.
            settlement.began = E::DURABILITY != Durability::Shared;
            effect.lasts().into_iter().for_each(|what| gate.recorder.lasts(what));
            slot.filter(|_| settlement.began).into_iter().for_each(|slot| gate.recorder.begin(slot));
            gate.recorder.flush();
        }
        gate.make_up().await.map_err(unavailable)?;
        if let Some(approved) = approved {
            // What a person approved waits for the disk, whatever it is: the approval is used up by it.
            return match gate.desk.claim(approved.claim.clone(), gate.covered(entry.clone())).await {
                Ok(answered) => {
                    settlement.outcome = Some(outcome);
                    Ok(Some(approved.since(answered)))
                }
                Err(ClaimError::Unavailable(error)) => Err(unavailable(error)),
                Err(error) => {
                    let entry = Entry { detail: detail("approval", &error.to_string()), ..entry };
                    Err(gate.refuse(Code::NeedsApproval, entry).await.into())
                }
            };
        }
        if E::DURABILITY == Durability::Shared {
            // The effect's own transaction has to hold it.
            settlement.intent = Some(Intent(Arc::new(Mutex::new(Some(gate.covered(entry))))));
            settlement.outcome = Some(outcome);
            return Ok(None);
        }
        if E::DURABILITY == Durability::Inside {
            gate.ledger.note(gate.covered(entry), &gate.lost);
            settlement.outcome = Some(outcome);
            return Ok(None);
        }
        let ticket = gate.ledger.append(gate.covered(entry)).map_err(unavailable)?;
        settlement.outcome = Some(outcome);
        if let Err(error) = ticket.await {
            settlement.outcome = None;
            return Err(unavailable(error));
        }
        Ok(None)
    }

    /// The record of an effect, before it is decided.
    pub(super) fn question<E: Effect<Grant = G>>(&self, effect: &E, case: &Case, number: u64) -> Entry {
        let mut entry = self.gate.entry(Kind::Intent, self.actor, case.action);
        entry.effect = number;
        entry.import = self.import;
        if self.grant.is_some_and(|grant| effect.covered(grant)) {
            entry.resource = Arc::clone(&case.name);
        } else {
            // A name that no grant lists is the guest's own text, and stands in the field for such text alone.
            entry.resource = (*case.resource.kind).into();
            entry.text = self.gate.told(self.actor, &case.resource.name);
        }
        if let Some(told) = effect.told() {
            entry.text = self.gate.told(self.actor, &told);
        }
        entry
    }

    pub(super) async fn exhausted(&self, exhausted: Exhausted, mut entry: Entry) -> Denied {
        (entry.kind, entry.at) = (Kind::Refusal, now());
        entry.code = "exhausted".into();
        entry.detail = detail("limit", &exhausted.to_string());
        self.gate.budget.refused();
        // The task ends in any case, and says why; what the log cannot take shows when its end is recorded.
        let _ = self.gate.append(entry).await;
        Denied::Exhausted(exhausted)
    }
}
