//! What is kept of a task's workspace: copied out when the task has ended, however it ended, unless it must stay inside.

use std::path::PathBuf;

use serde::Serialize;

use crate::audit::{AuditError, Entry, Kind};
use crate::edge::keep::{Copied, Destination};
use crate::edge::workspace::TaskFolder;
use crate::gate::{Actor, Code, Gate, cleared, detail};
use crate::label::Labels;

/// What records call it. It is the operator's own act, and no effect of the task.
const ACTION: &str = "task.keep";

/// How keeping a workspace went.
#[derive(Debug, Serialize)]
pub struct Kept {
    /// Whether it was done.
    pub status: KeepStatus,
    /// Where to.
    pub folder: PathBuf,
    /// What was copied, and what was left behind.
    pub copied: Copied,
    /// Why it was not done.
    pub problem: Option<String>,
}

/// Whether a workspace was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeepStatus {
    /// It was.
    Kept,
    /// There was none: nobody mounted it.
    Nothing,
    /// It carries what may not leave the task.
    Refused,
    /// The disk failed half-way.
    Failed,
}

/// Copies a task's workspace out. That is a sink like the task's result, and has the same clearance.
///
/// # Errors
/// When it cannot be recorded.
pub(super) async fn keep(
    workspace: &TaskFolder,
    to: &Destination,
    gate: &Gate,
    actor: &Actor,
    accepted: &Labels,
) -> Result<Kept, AuditError> {
    let folder = to.path().to_owned();
    let without = |status, problem: Option<String>| {
        let folder = folder.clone();
        Kept { status, folder, copied: Copied::default(), problem }
    };
    let carried = actor.labels.now().and(&workspace.labels());
    if let Err(why) = cleared(&carried, accepted) {
        let entry = Entry { detail: detail("why", &why), ..gate.entry(Kind::Refusal, actor, ACTION) };
        let refusal = gate.refuse(Code::Denied, entry).await;
        let problem = format!("the workspace is withheld (record {}): {why}", refusal.record);
        return Ok(without(KeepStatus::Refused, Some(problem)));
    }
    gate.append(Entry { code: "allowed".into(), ..gate.entry(Kind::Intent, actor, ACTION) }).await?;
    let outcome = gate.entry(Kind::Outcome, actor, ACTION);
    let (kept, outcome) = match workspace.copy(to, &gate.leaks) {
        Ok(Some(copied)) => {
            let counts = serde_json::json!({ "files": copied.files, "bytes": copied.bytes, "left": copied.left.len() });
            let left = copied.left.iter().map(|left| left.path.as_str()).collect::<Vec<_>>().join(", ");
            let outcome =
                Entry { code: "done".into(), detail: counts.to_string(), text: gate.told(actor, &left), ..outcome };
            (Kept { copied, ..without(KeepStatus::Kept, None) }, outcome)
        }
        Ok(None) => {
            let problem = "the task mounted no workspace: there is nothing to keep".to_owned();
            let outcome = Entry { code: "done".into(), detail: detail("why", &problem), ..outcome };
            (without(KeepStatus::Nothing, Some(problem)), outcome)
        }
        Err(error) => {
            let problem = format!("not all of the workspace could be copied: {error}");
            let outcome = Entry { code: "failed".into(), detail: detail("error", &error.to_string()), ..outcome };
            (without(KeepStatus::Failed, Some(problem)), outcome)
        }
    };
    gate.append(outcome).await?;
    Ok(kept)
}
