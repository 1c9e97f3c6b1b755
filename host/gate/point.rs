//! Asks the operator's own decision point about what the rules allow.

use std::collections::BTreeSet;

use super::{Code, Effect, Guard};
use crate::policy::Question;
use crate::policy::point;

/// Why it is not allowed after all.
pub(super) struct Objection {
    pub(super) code: Code,
    /// In the host's words.
    pub(super) why: String,
    /// In the decision point's.
    pub(super) reason: Option<String>,
}

impl Objection {
    /// What the record of the refusal says.
    pub(super) fn detail(&self) -> String {
        let mut detail = serde_json::json!({ "why": crate::audit::escaped(&self.why) });
        if let Some(reason) = &self.reason {
            detail["reason"] = crate::audit::escaped(reason).into();
        }
        detail.to_string()
    }

    /// The same in a sentence.
    pub(super) fn sentence(self) -> String {
        let Self { why, reason, .. } = self;
        reason.map_or(why.clone(), |reason| format!("{why}: {reason}"))
    }
}

impl<G> Guard<'_, G> {
    /// What the decision point has against something that these groups have approved, if there is one. No answer is one.
    pub(super) async fn objection<E: Effect<Grant = G>>(
        &self,
        effect: &E,
        question: &Question<'_>,
        approvals: &BTreeSet<String>,
        number: u64,
    ) -> Option<Objection> {
        let point = self.gate.point.as_ref()?;
        let unanswered = |error: point::PointError| Objection {
            code: Code::Unavailable,
            why: format!("the decision point gave no answer: {error}"),
            reason: None,
        };
        // All of them, as the tool gets them: what rules cannot see, another engine may look at.
        let arguments = effect.arguments().map(|_| effect.shown()).transpose();
        let arguments = arguments.map_err(|error| point::PointError(error.to_string()));
        let asked = match arguments.and_then(|arguments| point::asked(question, approvals, arguments)) {
            Ok(asked) => asked,
            Err(error) => return Some(unanswered(error)),
        };
        let turn = if approvals.is_empty() { "" } else { "-approved" };
        match point.evaluate(format!("{}-{number}{turn}", question.principal.task), asked).await {
            Ok(verdict) if verdict.allowed => None,
            Ok(verdict) => {
                let why = "the decision point does not allow it".to_owned();
                // It was told the arguments and can repeat them: its reason is kept where a guest's own words would be.
                let reason = verdict
                    .reason
                    .map(|reason| self.gate.told(self.actor, &reason))
                    .filter(|reason| !reason.is_empty());
                Some(Objection { code: Code::Denied, why, reason })
            }
            Err(error) => Some(unanswered(error)),
        }
    }
}
