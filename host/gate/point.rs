//! Asks the operator's own decision point about what the rules allow.

use super::{Code, Guard};
use crate::policy::point;
use crate::policy::{Policy, Question};

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
}

impl<G> Guard<'_, G> {
    /// What the decision point has against something, if there is one. No answer is one.
    pub(super) async fn objection(&self, policy: &Policy, question: &Question<'_>, effect: u64) -> Option<Objection> {
        let point = self.gate.point.as_ref()?;
        let unanswered = |error: point::PointError| Objection {
            code: Code::Unavailable,
            why: format!("the decision point gave no answer: {error}"),
            reason: None,
        };
        let asked = match point::asked(question, policy.arguments(question)) {
            Ok(asked) => asked,
            Err(error) => return Some(unanswered(error)),
        };
        match point.evaluate(format!("{}-{effect}", question.principal.task), asked).await {
            Ok(verdict) if verdict.allowed => None,
            Ok(verdict) => {
                let why = "the decision point does not allow it".to_owned();
                Some(Objection { code: Code::Denied, why, reason: verdict.reason })
            }
            Err(error) => Some(unanswered(error)),
        }
    }
}
