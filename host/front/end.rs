//! How a task ends: its work is run, and what came of it is put into words, unless it must stay inside.

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;

use super::{ReportedError, Work};
use crate::audit::{self, Entry, Kind};
use crate::budget::Exhausted;
use crate::gate::{Actor, Code, Exempt, Gate, cleared};
use crate::label::Labels;
use crate::recorder::Unrecalled;
use crate::runtime::plan::LoadRefusal;
use crate::runtime::{Broken, Session, Tank};
use crate::task::Status;
use crate::tool::Outcome;

/// How a task ended, before that is recorded.
pub(super) struct End {
    pub(super) status: Status,
    pub(super) output: Option<serde_json::Value>,
    pub(super) error: Option<ReportedError>,
}

/// Runs the work, until it ends or is stopped.
pub(super) async fn carry_out(
    session: &Arc<Session>,
    work: &Work,
    gate: &Gate,
    actor: &Arc<Actor>,
    tank: &mut Tank,
    cancelled: impl Future<Output = ()>,
) -> End {
    let run = std::pin::pin!(async {
        match work {
            Work::Agent { input, .. } => agent_end(session.run(actor, input, tank).await, gate),
            Work::Function { function, arguments, .. } => {
                call_end(session, gate, actor, function, arguments, tank).await
            }
        }
    });
    tokio::select! {
        biased;
        end = run => end,
        () = cancelled => End::because(Status::Cancelled, "cancelled", "the operator stopped it", None),
    }
}

/// The result of a task is a sink: what it carries must be accepted, or it stays inside. So must what it says when it
/// fails or breaks down.
pub(super) async fn released(end: End, gate: &Gate, actor: &Actor, accepted: &Labels) -> End {
    // Nothing is looked at where nothing was lent.
    let texts = std::iter::once_with(|| end.output.as_ref().map(texts)).flatten().flatten();
    if let Err(why) = gate.free_of_loans(Exempt::Nobody, texts) {
        let message = Box::pin(withheld(gate, actor, "the task's result", &why)).await;
        let help = "a result holds no credentials; `[output]` cannot allow it".to_owned();
        return End::because(Status::Refused, "denied", message, Some(help));
    }
    let end = without_loans(end, gate);
    let Err(why) = cleared(&actor.labels.now(), accepted) else { return end };
    let (status, code, what) = match end.status {
        Status::Succeeded => (Status::Refused, "denied", "the task's result"),
        // The word that it gave for its failure is its own as well.
        Status::Failed => (Status::Failed, "withheld", "what it said"),
        Status::Trapped => (Status::Trapped, "trapped", "what it said"),
        _ => return end,
    };
    let message = Box::pin(withheld(gate, actor, what, &why)).await;
    let help = "if its result may carry them, add them to `accepts` under [output] in the grants".to_owned();
    End::because(status, code, message, Some(help))
}

/// Records that something stays inside, and says so.
async fn withheld(gate: &Gate, actor: &Actor, what: &str, why: &str) -> String {
    let entry = gate.entry(Kind::Refusal, actor, "task.output");
    let refusal = gate.refuse(Code::Denied, Entry { detail: crate::gate::detail("why", why), ..entry }).await;
    format!("{what} is withheld (record {}): {why}", refusal.record)
}

/// In what is said of a failure, what the task was lent is covered.
fn without_loans(end: End, gate: &Gate) -> End {
    let error = end.error.map(|error| ReportedError { message: gate.leaks.covered(error.message), ..error });
    End { error, ..end }
}

/// The texts of a result, and the whole of it as JSON.
fn texts(output: &serde_json::Value) -> Vec<Cow<'_, [u8]>> {
    let mut texts = vec![Cow::Owned(output.to_string().into_bytes())];
    let mut open = vec![output];
    while let Some(value) = open.pop() {
        match value {
            serde_json::Value::String(text) => texts.push(text.as_bytes().into()),
            serde_json::Value::Array(values) => open.extend(values),
            serde_json::Value::Object(fields) => open.extend(fields.values()),
            _ => {}
        }
    }
    texts
}

impl End {
    fn because(status: Status, code: &str, message: impl Into<String>, help: Option<String>) -> Self {
        let error = ReportedError { code: code.to_owned(), message: message.into(), help };
        Self { status, output: None, error: Some(error) }
    }

    fn with(output: serde_json::Value) -> Self {
        Self { status: Status::Succeeded, output: Some(output), error: None }
    }

    /// There is nothing to run any more.
    pub(super) fn nothing() -> Self {
        Self::because(Status::Failed, "taken", "it was run already", None)
    }

    /// The task goes no further here, and is not at its end.
    pub(super) fn stopped(why: &Unrecalled) -> Self {
        match why {
            Unrecalled::Suspended(approval) => {
                let help = format!("answer with `ambit approvals approve {approval}`, then `ambit task resume`");
                Self::because(Status::Suspended, "suspended", why.to_string(), Some(help))
            }
            Unrecalled::Ended => Self::because(Status::Unknown, "ended", why.to_string(), None),
            Unrecalled::Over(_) => Self::because(Status::Unknown, "over", why.to_string(), None),
            Unrecalled::Diverged(_) => Self::because(Status::Unknown, "diverged", why.to_string(), None),
        }
    }

    /// What is kept of it, to compare what a replay comes to.
    pub(super) fn told(&self) -> serde_json::Value {
        let code = self.error.as_ref().map(|error| &error.code);
        serde_json::json!({ "status": self.status, "output": self.output, "code": code })
    }

    fn exhausted(exhausted: &Exhausted) -> Self {
        let key = exhausted.limit.key();
        let help = format!("if the task is meant to need more, raise `{key}` under [limits] in the grants");
        Self::because(Status::Exhausted, key, exhausted.to_string(), Some(help))
    }

    fn broken(broken: Broken) -> Self {
        match broken {
            Broken::Exhausted(exhausted) => Self::exhausted(&exhausted),
            Broken::Unrecalled(why) => Self::stopped(&why),
            Broken::Refused(refusal) => {
                let help = format!(
                    "`ambit audit show --after {}` starts with the record that says why",
                    refusal.record.saturating_sub(1)
                );
                Self::because(Status::Refused, refusal.code.as_str(), refusal.to_string(), Some(help))
            }
            Broken::Unavailable(what) => {
                let help = "make it available to ambit, or take it out of the grants".to_owned();
                Self::because(Status::Failed, "unavailable", what, Some(help))
            }
            Broken::Trapped { kind, detail } => {
                let detail = audit::escaped(&detail);
                let help = "grant `stdio = true` to see what it printed before".to_owned();
                Self::because(Status::Trapped, "trapped", format!("{kind}; {detail}"), Some(help))
            }
        }
    }
}

/// Records that a task was refused before it ran.
pub(super) async fn refused_at_load(gate: &Gate, actor: &Actor, refusal: LoadRefusal) -> End {
    gate.budget.refused();
    let entry = Entry {
        kind: Kind::Refusal,
        component: refusal.component.clone().into(),
        code: refusal.code.into(),
        detail: crate::gate::detail("why", &refusal.message),
        ..gate.entry(Kind::Refusal, actor, "task.load")
    };
    // The task ends in any case; a log that cannot be written fails the record of its end.
    let _ = gate.append(entry).await;
    End::because(Status::Refused, refusal.code, refusal.message, Some(refusal.help))
}

/// How an agent's run ends its task.
fn agent_end(result: Result<crate::runtime::Given, Broken>, gate: &Gate) -> End {
    let given = match result {
        Ok(Ok(given)) => given,
        Ok(Err(failure)) => {
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            let named = (1..=64).contains(&failure.code.len()) && failure.code.chars().all(fits);
            let named = named && gate.leaks.find(failure.code.as_bytes()).is_empty();
            let code = if named { failure.code.as_str() } else { "unnamed" };
            let message = audit::escaped(&gate.leaks.covered(failure.message));
            return End::because(Status::Failed, code, message, None);
        }
        Err(broken) => return End::broken(broken),
    };
    if let Err(exhausted) = gate.budget.output(given.len() as u64) {
        return End::exhausted(&exhausted);
    }
    match crate::tool::json::parse(&given) {
        Ok(output) => End::with(output),
        Err(error) => {
            let message = format!("the agent's result is not JSON: {}", audit::escaped(&error.to_string()));
            let help = "an agent returns a JSON text; a plain sentence has to be a JSON string".to_owned();
            End::because(Status::Failed, "bad-output", message, Some(help))
        }
    }
}

/// Calls one function, and how that ends its task.
async fn call_end(
    session: &Session,
    gate: &Gate,
    actor: &Arc<Actor>,
    function: &str,
    arguments: &str,
    tank: &mut Tank,
) -> End {
    let functions = &session.plan().root.functions;
    let Some(found) = functions.iter().find(|known| known.name() == function) else {
        let known: Vec<_> = functions.iter().map(|known| known.name()).collect();
        let help = format!("it has: {}", known.join(", "));
        return End::because(
            Status::Failed,
            "unknown-function",
            format!("there is no function `{}`", audit::escaped(function)),
            Some(help),
        );
    };
    let values = match found.values(arguments) {
        Ok(values) => values,
        Err(error) => {
            let help = format!("its parameters: {}", found.parameters_schema());
            return End::because(Status::Failed, "invalid-arguments", error.to_string(), Some(help));
        }
    };
    let outcome = match session.call_root(actor, found, &values, tank).await {
        Ok(outcome) => outcome,
        Err(broken) => return End::broken(broken),
    };
    let (Outcome::Ok(value) | Outcome::Err(value)) = &outcome;
    if let Err(exhausted) = gate.budget.output(crate::tool::json::length(value)) {
        return End::exhausted(&exhausted);
    }
    match outcome {
        Outcome::Ok(value) => End::with(value),
        Outcome::Err(value) => {
            let message =
                format!("the function returned the error {}", audit::escaped(&gate.leaks.covered(value.to_string())));
            End::because(Status::Failed, "failed", message, None)
        }
    }
}
