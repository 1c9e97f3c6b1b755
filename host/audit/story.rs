//! A task as its records tell it: what it did, in order, what became of that, and what the tools did that it called.
//!
//! An effect is one step, however many records speak of it: who was asked, what was decided, what came of it. The steps of
//! a child task stand below the call that it is. Whoever shows a task to people or to programs shows this.
//!
//! Only records are looked at, so that a story says no more than the log does. What a guest made stands in `text` and `said`,
//! as it does there.

mod build;

use serde::Serialize;
use serde_json::{Map, Value};

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It happened.
    Done,
    /// It was tried, and did not work.
    Failed,
    /// It was refused, before or while it was under way.
    Refused,
    /// People are asked, and nothing is decided yet.
    Waiting,
    /// It was about to happen: how far it came is not known, or not yet.
    Unknown,
}

impl State {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Waiting => "waiting",
            Self::Unknown => "unknown",
        }
    }
}

/// A task.
#[derive(Clone, Debug, Serialize)]
pub struct Story {
    /// Its name.
    pub task: String,
    /// When it began, in milliseconds since the Unix epoch. All other times are milliseconds since then.
    pub began: u64,
    /// When its last record was made.
    pub lasted_ms: u64,
    /// The component that ran first.
    pub component: String,
    /// What it stood on: what the record of its start says.
    pub ground: Map<String, Value>,
    /// The labels that it began with.
    pub labels: Vec<String>,
    /// When it was taken up again.
    pub resumed_ms: Vec<u64>,
    /// What it did.
    pub steps: Vec<Step>,
    /// How it ended, if that is recorded.
    pub end: Option<End>,
}

/// How a task ended.
#[derive(Clone, Debug, Serialize)]
pub struct End {
    /// Its status.
    pub status: String,
    /// When.
    pub at_ms: u64,
    /// What it consumed.
    pub usage: Map<String, Value>,
    /// What was said of why it did not succeed; a guest may have made it.
    pub text: String,
}

/// One effect.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// Its number; 0 for what has none.
    pub effect: u64,
    /// The task or child task that asked.
    pub task: String,
    /// The component that asked.
    pub component: String,
    /// What it is.
    pub action: String,
    /// What it acts on.
    pub resource: String,
    /// What the guest calls that.
    pub text: String,
    /// What became of it.
    pub state: State,
    /// `allowed` or a refusal's code, once it was decided.
    pub decision: Option<String>,
    /// The rules that decided.
    pub rules: Vec<String>,
    /// The approvals that people were asked for.
    pub approvals: Vec<Approval>,
    /// When it was asked for.
    pub begin_ms: u64,
    /// When it was decided.
    pub decided_ms: Option<u64>,
    /// When it was over.
    pub end_ms: Option<u64>,
    /// The code of its outcome.
    pub outcome: Option<String>,
    /// Why it was refused or failed, in the host's words.
    pub why: Option<String>,
    /// What the guest behind it said when it broke down.
    pub said: String,
    /// The labels that the task gained by it.
    pub labels: Vec<String>,
    /// What else the host has to say of it.
    pub notes: Map<String, Value>,
    /// The numbers of its records.
    pub records: Vec<u64>,
    /// The child task that it is, if that did anything.
    pub child: Option<String>,
    /// What that did.
    pub steps: Vec<Step>,
}

/// A question to people.
#[derive(Clone, Debug, Serialize)]
pub struct Approval {
    /// Its name.
    pub id: String,
    /// The groups that had to approve.
    pub groups: Vec<String>,
    /// When they were asked.
    pub asked_ms: u64,
    /// What they answered.
    pub answers: Vec<Answer>,
}

/// What came of asking.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    /// `approved`, `denied`, `unanswered`; `refused` for an answer that was not taken because of who gave it.
    pub code: String,
    /// Who.
    pub by: Option<String>,
    /// For which groups.
    pub groups: Vec<String>,
    /// When.
    pub at_ms: u64,
}

impl Step {
    /// From when until when people were waited for, where they were: until it was decided, and as far as is known.
    pub fn waited(&self) -> Option<(u64, u64)> {
        let from = self.approvals.first()?.asked_ms;
        let answers = self.approvals.iter().flat_map(|approval| &approval.answers);
        let until = self.decided_ms.or_else(|| answers.map(|answer| answer.at_ms).max());
        Some((from, until.unwrap_or(from).max(from)))
    }

    /// How long it took once it was allowed.
    pub fn took(&self) -> Option<u64> {
        Some(self.end_ms?.saturating_sub(self.decided_ms.unwrap_or(self.begin_ms)))
    }
}

impl Story {
    /// Every step with how deep it stands, from the first to the last: what a call did comes after the call.
    pub fn walk(&self) -> impl Iterator<Item = (usize, &Step)> {
        let mut ahead = vec![self.steps.iter()];
        std::iter::from_fn(move || {
            loop {
                if let Some(step) = ahead.last_mut()?.next() {
                    let depth = ahead.len() - 1;
                    ahead.push(step.steps.iter());
                    return Some((depth, step));
                }
                ahead.pop();
            }
        })
    }
}

#[cfg(test)]
pub(crate) mod tests;
