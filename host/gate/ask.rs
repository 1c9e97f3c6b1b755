//! Asks people, when only they can let an effect be.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize as _;

use super::{Code, Denied, Effect, Gate, Guard, Observer, detail};
use crate::approval::{Answer, Answered, Binding, Claim, Desk, LONGEST_ARGUMENTS, Mode, Request};
use crate::audit::{AuditError, Entry};
use crate::policy::{Ask, Decision, Question};
use crate::recorder::{Recorder, Unrecalled};

/// How long is waited for an answer before the task is put away.
const PAUSE: Duration = Duration::from_millis(20);

/// That people let an effect be.
#[derive(Clone, Debug)]
pub struct Approval {
    /// The groups that said yes.
    pub groups: BTreeSet<String>,
    /// Until when it holds, where it opens something that lasts: counted from the first answer.
    pub until: Answered,
}

impl Approval {
    /// How long it holds yet, by the clock by which that is less.
    pub fn left(&self) -> Duration {
        let wall = self.until.wall.saturating_sub(crate::config::wall_clock());
        wall.min(self.until.boot.saturating_sub(crate::config::since_boot()))
    }
}

/// What people approved, before it is used.
pub(super) struct Approved {
    pub(super) claim: Claim,
    groups: BTreeSet<String>,
    ttl: Duration,
}

impl Approved {
    /// It, from when it was answered.
    pub(super) fn since(self, answered: Answered) -> Approval {
        let until = Answered { wall: answered.wall + self.ttl, boot: answered.boot + self.ttl };
        Approval { groups: self.groups, until }
    }
}

/// Why people did not let it be.
enum No {
    Because {
        code: Code,
        why: String,
    },
    /// The whole task goes no further here.
    Ended(Unrecalled),
}

impl No {
    /// Nobody approved it.
    #[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
    fn unapproved(why: impl ToString) -> Self {
        Self::Because { code: Code::NeedsApproval, why: why.to_string() }
    }

    /// Somebody, or a rule, is against it.
    #[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
    fn denied(why: impl ToString) -> Self {
        Self::Because { code: Code::Denied, why: why.to_string() }
    }
}

impl From<AuditError> for No {
    fn from(AuditError(why): AuditError) -> Self {
        Self::Because { code: Code::Unavailable, why: format!("the approval could not be recorded: {why}") }
    }
}

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
    ) -> Result<Approved, Denied> {
        let asked = ask.groups.iter().cloned().collect::<Vec<_>>().join(", ");
        let (groups, ttl) = (ask.groups.clone(), ask.ttl);
        match self.yes(effect, entry, question, ask).await {
            Ok(claim) => Ok(Approved { claim, groups, ttl }),
            Err(No::Ended(why)) => Err(why.into()),
            Err(No::Because { code, why }) => {
                let detail = serde_json::json!({ "approval": asked, "why": crate::audit::escaped(&why) }).to_string();
                Err(self.gate.refuse(code, Entry { detail, ..entry.clone() }).await.into())
            }
        }
    }

    async fn yes<E: Effect<Grant = G>>(
        &self,
        effect: &E,
        entry: &mut Entry,
        question: &Question<'_>,
        ask: Ask,
    ) -> Result<Claim, No> {
        let gate = self.gate;
        if gate.approvals == Mode::Deny {
            return Err(No::unapproved("nobody is asked in this run"));
        }
        let (policy, groups) = (gate.rules.policy().map_err(No::denied)?, ask.groups.clone());
        let request = self.request(effect, entry, question, ask, &policy.digest().to_string());
        let request = request.map_err(No::unapproved)?;
        let digest = request.digest;
        let open = self.answered(request).await?;
        gate.rules.still().map_err(No::unapproved)?;
        let standing = self.standing();
        let question = Question { standing: &standing, ..question.clone() };
        match policy.decide(&question, &groups) {
            Decision::Allow { rules } => entry.rules = rules,
            Decision::Deny { rules, error } => {
                entry.rules = rules;
                return Err(No::denied(error.unwrap_or_else(|| "it is not allowed any more".to_owned())));
            }
            Decision::NeedsApproval { .. } => return Err(No::denied("it is not allowed any more")),
        }
        if let Some(objection) = self.objection(effect, &question, &groups, entry.effect).await {
            return Err(No::Because { code: objection.code, why: objection.sentence() });
        }
        entry.detail = detail("approval", &open.id);
        Ok(Claim { id: open.keep(), digest })
    }

    /// Puts a request before people, and waits until they have approved it.
    async fn answered(&self, request: Request) -> Result<Open, No> {
        let gate = self.gate;
        if !gate.budget.ask() {
            let most = gate.budget.limits().approvals;
            return Err(No::unapproved(format!("the task has asked {most} times, which is all that it may")));
        }
        if let Some(mended) = gate.ledger.mend() {
            mended.await?;
        }
        let id = gate.desk.open(request).await?.map_err(No::unapproved)?;
        let open = Open::new(gate, id);
        let _waiting = gate.budget.wait_for_person();
        let answer = match gate.approvals {
            Mode::Suspend => self.answer_or_put_away(&open.id).await?,
            Mode::Wait | Mode::Deny => gate.desk.answer(&open.id).await?,
        };
        match answer {
            Answer::Approved => Ok(open),
            Answer::Denied { by } => Err(No::denied(format!("{by} denied it"))),
            Answer::None => Err(No::unapproved("nobody answered in time")),
        }
    }

    /// The answer, if it is there; else the task is put away, as soon as nothing of it is under way but what waits as well.
    async fn answer_or_put_away(&self, id: &str) -> Result<Answer, No> {
        let _waits = self.gate.recorder.waiting(&self.actor.path, self.import);
        let mut answer = self.gate.desk.answer(id);
        loop {
            if let Ok(answer) = tokio::time::timeout(PAUSE, &mut answer).await {
                return Ok(answer?);
            }
            if let Some(why) = self.gate.recorder.put_away(id).or_else(|| self.gate.recorder.ended()) {
                return Err(No::Ended(why));
            }
        }
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
            user: principal.user.as_deref(),
            grant: &grant,
            policy,
            groups: &ask.groups,
        };
        Ok(Request {
            bundle: principal.bundle.to_string(),
            user: principal.user.as_ref().map(|user| user.name.clone()),
            arguments: self.gate.leaks.covered(String::from_utf8_lossy(&arguments).into_owned()),
            digest: binding.digest(),
            likeness: binding.likeness(),
            labels,
            rules: entry.rules.to_vec(),
            ask,
            per_hour: self.gate.budget.limits().approvals_per_hour,
            entry: self.gate.covered(entry.clone()),
        })
    }
}

/// A question that is open. Dropped, it is withdrawn: nobody waits for the answer any more, unless the task does.
struct Open {
    desk: Arc<dyn Desk>,
    observer: Arc<dyn Observer>,
    recorder: Arc<Recorder>,
    id: String,
    kept: bool,
}

impl Open {
    fn new(gate: &Gate, id: String) -> Self {
        gate.observer.asked(&id);
        let (desk, observer, recorder) =
            (Arc::clone(&gate.desk), Arc::clone(&gate.observer), Arc::clone(&gate.recorder));
        Self { desk, observer, recorder, id, kept: false }
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
        let is_put_away = matches!(self.recorder.ended(), Some(Unrecalled::Suspended(_)));
        if !self.kept && !is_put_away {
            self.desk.withdraw(&self.id);
        }
    }
}
