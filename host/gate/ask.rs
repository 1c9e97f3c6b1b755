//! Asks people, when only they can let an effect be.

use std::sync::Arc;

use serde::Serialize as _;

use super::{Code, Denied, Effect, Guard, Observer, detail};
use crate::approval::{Answer, Binding, Claim, Desk, LONGEST_ARGUMENTS, Mode, Request};
use crate::audit::{AuditError, Entry};
use crate::policy::{Ask, Decision, Question};

impl<G> Guard<'_, G> {
    /// Asks the groups that the rules name, waits for them, and decides again with their approval.
    ///
    /// # Errors
    /// When nobody may be asked, they say no or nothing, or it is not allowed any more: recorded as a refusal.
    pub(super) async fn approved<E: Effect<Grant = G>>(
        &self,
        effect: &E,
        entry: &mut Entry,
        question: &Question<'_>,
        ask: Ask,
    ) -> Result<Claim, Denied> {
        let gate = self.gate;
        let groups = ask.groups.clone();
        let refuse = async |code: Code, why: &str, entry: &Entry| {
            let asked = groups.iter().cloned().collect::<Vec<_>>().join(", ");
            let detail = serde_json::json!({ "approval": asked, "why": crate::audit::escaped(why) }).to_string();
            Denied::from(gate.refuse(code, Entry { detail, ..entry.clone() }).await)
        };
        if gate.approvals == Mode::Deny {
            return Err(refuse(Code::NeedsApproval, "nobody is asked in this run", entry).await);
        }
        let policy = match gate.rules.policy() {
            Ok(policy) => policy,
            Err(error) => return Err(refuse(Code::Denied, &error, entry).await),
        };
        let request = match self.request(effect, entry, question, ask, &policy.digest().to_string()) {
            Ok(request) => request,
            Err(why) => return Err(refuse(Code::NeedsApproval, &why, entry).await),
        };
        if !gate.budget.ask() {
            let why = format!("the task has asked {} times, which is all that it may", gate.budget.limits().approvals);
            return Err(refuse(Code::NeedsApproval, &why, entry).await);
        }
        let digest = request.digest;
        let unavailable = |AuditError(why)| format!("the approval could not be recorded: {why}");
        let opened = match gate.ledger.health() {
            Ok(()) => gate.desk.open(request).await,
            Err(error) => Err(error),
        };
        let id = match opened.map_err(unavailable) {
            Ok(Ok(id)) => id,
            Ok(Err(unasked)) => return Err(refuse(Code::NeedsApproval, &unasked.to_string(), entry).await),
            Err(why) => return Err(refuse(Code::Unavailable, &why, entry).await),
        };
        let open = Open::new(&gate.desk, &gate.observer, id);
        let answer = {
            let _waiting = gate.budget.wait_for_person();
            gate.desk.answer(&open.id).await.map_err(unavailable)
        };
        match answer {
            Ok(Answer::Approved) => {}
            Ok(Answer::Denied { by }) => return Err(refuse(Code::Denied, &format!("{by} denied it"), entry).await),
            Ok(Answer::None) => return Err(refuse(Code::NeedsApproval, "nobody answered in time", entry).await),
            Err(why) => return Err(refuse(Code::Unavailable, &why, entry).await),
        }
        if let Err(changed) = gate.rules.still() {
            return Err(refuse(Code::NeedsApproval, &changed.to_string(), entry).await);
        }
        let standing = self.standing();
        match policy.decide(&Question { standing: &standing, ..question.clone() }, &groups) {
            Decision::Allow { rules } => entry.rules = rules,
            Decision::Deny { rules, error } => {
                entry.rules = rules;
                let why = error.unwrap_or_else(|| "it is not allowed any more".to_owned());
                return Err(refuse(Code::Denied, &why, entry).await);
            }
            Decision::NeedsApproval { .. } => {
                return Err(refuse(Code::Denied, "it is not allowed any more", entry).await);
            }
        }
        entry.detail = detail("approval", &open.id);
        Ok(Claim { id: open.keep(), digest })
    }

    /// The question that people are asked.
    fn request<E: Effect<Grant = G>>(
        &self,
        effect: &E,
        entry: &Entry,
        question: &Question<'_>,
        ask: Ask,
        policy: &str,
    ) -> Result<Request, String> {
        let shown = effect.shown().map_err(|error| error.to_string())?;
        let mut arguments = Vec::new();
        let mut pretty = serde_json::Serializer::pretty(&mut arguments);
        shown.serialize(&mut pretty).map_err(|error| error.to_string())?;
        if arguments.len() > LONGEST_ARGUMENTS {
            let length = arguments.len();
            return Err(format!(
                "it has {length} bytes of arguments, and nobody is asked about more than {LONGEST_ARGUMENTS}"
            ));
        }
        let principal = question.principal;
        let (labels, grant) = (question.standing.labels.clone(), self.gate.rules.grant().to_string());
        let binding = Binding {
            task: &entry.task,
            import: entry.import,
            component: [&principal.bundle, &principal.component, &principal.digest],
            action: &entry.action,
            resource: &entry.resource,
            arguments: &entry.arguments,
            labels: &labels,
            user: principal.user.as_ref(),
            grant: &grant,
            policy,
            groups: &ask.groups,
        };
        Ok(Request {
            bundle: principal.bundle.clone(),
            user: principal.user.as_ref().map(|user| user.name.clone()),
            arguments: String::from_utf8_lossy(&arguments).into_owned(),
            digest: binding.digest(),
            likeness: binding.likeness(),
            labels,
            rules: entry.rules.clone(),
            ask,
            per_hour: self.gate.budget.limits().approvals_per_hour,
            entry: entry.clone(),
        })
    }
}

/// A question that is open. Dropped, it is withdrawn: nobody waits for the answer any more.
struct Open {
    desk: Arc<dyn Desk>,
    observer: Arc<dyn Observer>,
    id: String,
    kept: bool,
}

impl Open {
    fn new(desk: &Arc<dyn Desk>, observer: &Arc<dyn Observer>, id: String) -> Self {
        observer.asked(&id);
        Self { desk: Arc::clone(desk), observer: Arc::clone(observer), id, kept: false }
    }

    /// It was answered, and will be claimed.
    fn keep(mut self) -> String {
        self.kept = true;
        self.id.clone()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.observer.answered();
        if !self.kept {
            self.desk.withdraw(&self.id);
        }
    }
}
