//! Keeps what is decided, and on what, so that other grants and rules can be asked the same.

use std::sync::Arc;

use super::case::Case;
use super::{Code, Denied, Effect, Gate, Guard};
use crate::audit::Entry;
use crate::label::Labels;
use crate::policy::judged::{Ground, Judged, Ruling};
use crate::policy::{Decision, RuleNames, Standing};

/// An effect that is being decided.
pub(super) struct Judging<'a> {
    gate: &'a Gate,
    judged: Arc<Judged>,
    /// Whether nothing can have changed since it was looked how the task stands.
    is_fresh: bool,
}

impl<'a, G> Guard<'a, G> {
    /// Begins to decide about an effect.
    pub(super) fn judging<E: Effect<Grant = G>>(&self, effect: &E, case: &Case, entry: &Entry) -> Judging<'a> {
        let policy = self.gate.rules.policy();
        let judged = Judged {
            effect: entry.effect,
            at: entry.at,
            principal: self.actor.principal.clone(),
            standing: self.standing(),
            action: case.action.into(),
            resource: Arc::clone(&case.resource),
            context: Arc::clone(&case.context),
            arguments: effect.arguments().and_then(|values| policy.ok()?.told(&case.resource.name, values)),
            told: effect.told(),
            entry: self.grant.map(|grant| effect.entry(grant)).unwrap_or_default(),
            folder: Arc::clone(crate::config::working_folder()),
            ruling: Ruling::default(),
        };
        Judging { gate: self.gate, judged: Arc::new(judged), is_fresh: true }
    }

    /// What refuses an effect that its capability refuses: what the grant does not cover, others might.
    pub(super) fn ground<E: Effect<Grant = G>>(&self, code: Code, effect: &E) -> Ground {
        let covered = self.grant.is_some_and(|grant| effect.covered(grant));
        if code == Code::NotGranted && !covered { Ground::Grant } else { Ground::Capability }
    }
}

impl Judging<'_> {
    /// This decides next.
    pub(super) fn at(&mut self, ground: Ground) {
        self.judged().ruling.ground = ground;
    }

    /// How the task stands when the rules are asked, with these labels: as it did a moment ago, if they were not asked yet; else
    /// as `now` says.
    pub(super) fn standing(&mut self, labels: &Labels, now: impl FnOnce() -> Standing) -> Standing {
        if !std::mem::take(&mut self.is_fresh) || self.judged.standing.labels != *labels {
            self.judged().standing = now();
        }
        self.judged.standing.clone()
    }

    /// The rules decide.
    pub(super) fn asked(&mut self, decision: &Decision) {
        let judged = self.judged();
        let before = std::mem::take(&mut judged.ruling);
        judged.ruling = match decision {
            Decision::Allow { rules } => Ruling { rules: Arc::clone(rules), ..before },
            Decision::Deny { rules, error } => Ruling { rules: Arc::clone(rules), why: error.clone(), ..before },
            Decision::NeedsApproval { rules, ask } => {
                Ruling { rules: Arc::clone(rules), groups: ask.groups.clone(), ..before }
            }
        };
        self.at(Ground::Rules);
    }

    /// It is allowed, by these rules.
    pub(super) fn allowed(&mut self, rules: &RuleNames) {
        let ruling = &mut self.judged().ruling;
        (ruling.code, ruling.rules) = ("allowed".into(), Arc::clone(rules));
        self.keep();
    }

    /// It did not come to be.
    pub(super) fn denied(&mut self, denied: &Denied) {
        let ruling = &mut self.judged().ruling;
        match denied {
            Denied::Refused(refusal) => {
                ruling.code = refusal.code.as_str().into();
                if refusal.code == Code::Unavailable && ruling.ground != Ground::Point {
                    ruling.ground = Ground::Host;
                }
            }
            Denied::Exhausted(exhausted) => {
                (ruling.code, ruling.ground) = ("exhausted".into(), Ground::Limit);
                ruling.why = Some(exhausted.limit.key().to_owned());
            }
            // The task is at its end, and nothing was decided.
            Denied::Unrecalled(_) => return,
        }
        self.keep();
    }

    /// It is refused with this code.
    pub(super) fn refused(&mut self, ground: Ground, code: Code) {
        self.at(ground);
        self.judged().ruling.code = code.as_str().into();
        self.keep();
    }

    /// What is said of it. Once it was kept, this is another one.
    fn judged(&mut self) -> &mut Judged {
        Arc::make_mut(&mut self.judged)
    }

    fn keep(&self) {
        let (judged, leaks) = (Arc::clone(&self.judged), &self.gate.leaks);
        let covered = if leaks.is_empty() { judged } else { Arc::new(Arc::unwrap_or_clone(judged).covered(leaks)) };
        self.gate.judgements.note(covered);
    }
}
