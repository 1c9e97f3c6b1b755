//! What the rules say of an effect, the decision point, and people where rules ask for them.

use std::collections::BTreeSet;

use super::ask::Approved;
use super::case::Case;
use super::judging::Judging;
use super::{Approval, Code, Denied, Effect, Guard, detail};
use crate::audit::Entry;
use crate::label::Labels;
use crate::policy::in_force::Changed;
use crate::policy::judged::Ground;
use crate::policy::{self, Arguments, Attribute, Decision, Name, Question, Resource, Standing};

impl<G> Guard<'_, G> {
    /// What the rules say to a task with these labels, and people, where the rules ask for them. An approval has to be claimed
    /// yet.
    pub(super) async fn permitted<E: Effect<Grant = G>>(
        &self,
        effect: &E,
        (case, labels): (&Case, &Labels),
        entry: &mut Entry,
        judging: &mut Judging<'_>,
    ) -> Result<Option<Approved>, Denied> {
        let standing = judging.standing(labels, || self.standing());
        let question = self.asked(effect, &standing, &case.resource, &case.context);
        let policy = match self.gate.rules.policy() {
            Ok(policy) => policy,
            Err(error) => {
                entry.detail = detail("error", &error);
                return Err(self.gate.refuse(Code::Denied, entry.clone()).await.into());
            }
        };
        let decision = policy.judge(&question);
        judging.asked(&decision);
        let ask = match decision {
            Decision::Allow { rules } => {
                entry.rules = rules;
                None
            }
            Decision::NeedsApproval { rules, ask } => {
                entry.rules = rules;
                Some(ask)
            }
            Decision::Deny { rules, error } => {
                entry.detail = match error {
                    Some(error) => detail("error", &error),
                    None if rules.is_empty() => detail("why", "no rule permits it"),
                    None => detail("why", "a rule forbids it"),
                };
                entry.rules = rules;
                return Err(self.gate.refuse(Code::Denied, entry.clone()).await.into());
            }
        };
        judging.at(Ground::Point);
        // Nobody is bothered about what it does not allow.
        if let Some(objection) = self.objection(effect, &question, &BTreeSet::new(), entry.effect).await {
            entry.detail = objection.detail();
            return Err(self.gate.refuse(objection.code, entry.clone()).await.into());
        }
        judging.at(Ground::People);
        match ask {
            None => Ok(None),
            Some(ask) => self.approved(effect, entry, &question, ask).await.map(Some),
        }
    }

    /// Whether the rules would let an effect be now that they let be before, with what people approved then: for what an
    /// effect has opened. The rules are read again, if they were changed; the grants are those that the task began with.
    /// Nothing is recorded.
    pub fn still<E: Effect<Grant = G>>(&self, effect: &E, approval: Option<&Approval>) -> bool {
        if matches!(self.gate.rules.still(), Err(Changed::Grants | Changed::Unreadable(_))) {
            return false;
        }
        let (resource, context, standing) = (effect.resource(), policy::context(effect.context()), self.standing());
        let question = self.asked(effect, &standing, &resource, &context);
        let none = BTreeSet::new();
        let groups = approval.map_or(&none, |approval| &approval.groups);
        let covered = self.grant.is_some_and(|grant| effect.covered(grant));
        let policy = self.gate.rules.policy();
        covered && policy.is_ok_and(|policy| matches!(policy.decide(&question, groups), Decision::Allow { .. }))
    }

    /// An effect, as rules are asked about it.
    pub(super) fn asked<'q, E: Effect<Grant = G>>(
        &'q self,
        effect: &'q E,
        standing: &'q Standing,
        resource: &'q Resource,
        context: &'q [(Name, Attribute)],
    ) -> Question<'q> {
        let (principal, arguments) = (&self.actor.principal, effect.arguments().map(Arguments::Values));
        Question { principal, standing, action: effect.action(), resource, context, arguments }
    }

    /// How the task stands now.
    pub(super) fn standing(&self) -> Standing {
        Standing { labels: self.actor.labels.now(), usage: self.gate.budget.usage(), now: crate::config::wall_clock() }
    }
}
