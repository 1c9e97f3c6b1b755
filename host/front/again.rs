//! Tasks that go on after their host broke down or a person was waited for, and tasks that are told again.

use std::future::Future;
use std::sync::Arc;

use serde::Serialize;

use super::end::End;
use super::report::Report;
use super::run::Ground;
use super::{Audience, FrontError, Host, Job};
use crate::approval::{Answer, Answered, Claim, ClaimError, Desk, Later, Request, Unasked};
use crate::audit::{AuditError, Entry, Head, Kind, Ledger, Lost, Ticket};
use crate::edge::database::DatabaseError;
use crate::edge::journal;
use crate::edge::running::Hold;
use crate::edge::tasks::Listed;
use crate::edge::workspace::InPlace;
use crate::policy::judged::{Judged, Judgements};
use crate::recorder::{Mode, Nowhere, Recorder, Row, Unrecalled};
use crate::task::{Status, TaskId};

/// What becomes of effects of which only the intent is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// The operator is asked.
    Ask,
    /// They are repeated.
    Retry,
    /// They are not, and the task hears that they were refused.
    Fail,
}

/// Why a task does not go on, or is not told again.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum AgainError {
    /// No task of that name, or more than one.
    #[error("no task, or more than one, is called `{0}`")]
    #[diagnostic(help("`ambit task list` shows the names"))]
    Missing(String),
    /// There is no journal.
    #[error("the task {0} has no journal")]
    #[diagnostic(help("it was deleted, or the task was run by an ambit that kept none"))]
    Forgotten(String),
    /// A process has it.
    #[error("the task {0} runs")]
    #[diagnostic(help("wait for its end, or stop the process that runs it"))]
    Running(String),
    /// It is over.
    #[error("the task {task} has ended: {status}")]
    #[diagnostic(help("`ambit task replay {task}` tells it again, without any effect"))]
    Ended {
        /// Its name.
        task: String,
        /// How.
        status: String,
    },
    /// It cannot be told up to where it was.
    #[error("the task {task} cannot go on: {why}")]
    #[diagnostic(help("run it anew; `ambit task show {task}` says how far it came"))]
    Closed {
        /// Its name.
        task: String,
        /// Why not.
        why: String,
    },
    /// What runs now is not what ran then.
    #[error("the task {task} cannot go on: {what} is {now} now, and was {then}")]
    #[diagnostic(help("put back what the task was begun with, or run it anew"))]
    Changed {
        /// Its name.
        task: String,
        /// What changed.
        what: &'static str,
        /// Its digest.
        now: String,
        /// As it was.
        then: String,
    },
    /// Nobody knows whether something happened.
    #[error("it is not known whether this happened before the task {task} broke off: {}", .effects.join("; "))]
    #[diagnostic(help(
        "find out where it would show; then add `--retry-unknown` to do it again, or `--fail-unknown` to tell the task that it was refused"
    ))]
    Unknown {
        /// Its name.
        task: String,
        /// The effects, with the records of their intents.
        effects: Vec<String>,
    },
    /// The database.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Database(#[from] DatabaseError),
    /// It could not be run or recorded.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Front(#[from] FrontError),
}

/// A task that broke off, held by this process.
pub struct Broken {
    task: TaskId,
    name: String,
    hold: Hold,
    listed: Listed,
    told: journal::Told,
    unknown: Vec<String>,
}

/// A task that was told again.
#[derive(Debug, Serialize)]
pub struct Told {
    /// How it went now.
    #[serde(flatten)]
    pub report: Report,
    /// Where it went otherwise than it was recorded, or could not be told further; nothing when it came to the same.
    pub diverged: Option<String>,
    /// Whether what was recorded ends before the task does.
    pub ends_early: bool,
}

impl Broken {
    /// How the operator started it.
    pub fn recipe(&self) -> &serde_json::Value {
        &self.told.recipe["how"]
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Job {
    /// What is kept of how it was started: with the digest of its grants.
    pub(super) fn kept_recipe(&self) -> serde_json::Value {
        serde_json::json!({ "how": self.recipe, "grant": self.rules.grant() })
    }
}

impl Host {
    /// Takes hold of a task that broke off.
    ///
    /// # Errors
    /// When it cannot go on.
    pub fn broken(&self, name: &str, unknown: Unknown) -> Result<Broken, AgainError> {
        let listed = self.tasks.find(name)?.ok_or_else(|| AgainError::Missing(crate::audit::escaped(name)))?;
        let name = listed.task.clone();
        let hold = self.running.take(&name).map_err(FrontError::Running)?;
        let hold = hold.ok_or_else(|| AgainError::Running(name.clone()))?;
        // As it stands now that nobody else can change it.
        let listed = self.tasks.find(&name)?.unwrap_or(listed);
        if ![Status::Unknown, Status::Suspended].map(Status::as_str).contains(&listed.status.as_str()) {
            return Err(AgainError::Ended { task: name, status: listed.status });
        }
        let mut told = self.journal.of(&name)?.ok_or_else(|| AgainError::Forgotten(name.clone()))?;
        if let Some(why) = told.closed.take().or_else(|| told.lasting.take()) {
            return Err(AgainError::Closed { task: name, why });
        }
        let effects = self.unknown(&name, &mut told.rows)?;
        if unknown == Unknown::Ask && !effects.is_empty() {
            return Err(AgainError::Unknown { task: name, effects });
        }
        if unknown == Unknown::Retry {
            told.rows.retain(|row| row.answer.is_some());
        }
        let task = TaskId::named(&name).ok_or_else(|| AgainError::Missing(name.clone()))?;
        Ok(Broken { task, name, hold, listed, told, unknown: effects })
    }

    /// The effects of which only the intent is known. What was about to happen and was not even intended is forgotten.
    fn unknown(&self, task: &str, rows: &mut Vec<Row>) -> Result<Vec<String>, DatabaseError> {
        let mut unknown = Vec::new();
        let mut known = Vec::new();
        for row in rows.drain(..) {
            if row.answer.is_none() {
                let (path, import) = row.place.crossing();
                let store = if path.is_empty() { task.to_owned() } else { format!("{task}/{path}") };
                let Some(intent) = self.audit.unsettled(&store, import)? else { continue };
                let entry = &intent.entry;
                unknown.push(format!("{} {} {} (record {})", entry.action, entry.resource, entry.text, intent.seq));
            }
            known.push(row);
        }
        *rows = known;
        Ok(unknown)
    }

    /// Lets a task go on where it broke off. `job` is what it was begun with.
    ///
    /// # Errors
    /// When it is not, or its going on cannot be recorded.
    pub async fn resume(
        &self,
        broken: Broken,
        job: Job,
        audience: Audience,
        cancelled: impl Future<Output = ()>,
    ) -> Result<Report, AgainError> {
        let Broken { task, name, hold, listed, told, unknown } = broken;
        job.is_of(&listed, &told.recipe)?;
        let (seeds, key) = self.tasks.grown_from(&name)?.ok_or_else(|| AgainError::Forgotten(name.clone()))?;
        let span = self.audit.span(&name)?;
        let keeper = self.journal.keeper(&name);
        let recorder = Arc::new(Recorder::recalling(Mode::Resume, keeper, told.rows, job.limits.journal));
        self.journal.take_up(&name).await?;
        let ground = Ground { effects: span.effects, ..self.ground(task, seeds, key, recorder) };
        let mut course = self.course(job, ground, &audience);
        let detail = serde_json::json!({ "unknown": unknown.len() }).to_string();
        let again = Entry { detail, ..course.gate.entry(Kind::Start, &course.actor, "task.resume") };
        course.gate.append(again).await.map_err(FrontError::from)?;
        let end = course.take(cancelled).await;
        Ok(self.settle(course, end, std::future::ready(Ok(span.first)), Some(hold)).await?)
    }

    /// How the operator started a task.
    ///
    /// # Errors
    /// When that is not known any more.
    pub fn recipe(&self, name: &str) -> Result<(Listed, serde_json::Value), AgainError> {
        let listed = self.tasks.find(name)?.ok_or_else(|| AgainError::Missing(crate::audit::escaped(name)))?;
        let told = self.journal.of(&listed.task)?.ok_or_else(|| AgainError::Forgotten(listed.task.clone()))?;
        Ok((listed, told.recipe["how"].clone()))
    }

    /// Deletes the journal of a task that does not run.
    ///
    /// # Errors
    /// When it runs, or it cannot be deleted.
    pub async fn forget(&self, task: &str) -> Result<(), AgainError> {
        let hold = self.running.take(task).map_err(FrontError::Running)?;
        let _hold = hold.ok_or_else(|| AgainError::Running(task.to_owned()))?;
        Ok(self.journal.forget(task).await?)
    }

    /// Tells a task again: the same component on the same answers. Nothing of it reaches the outside, and nothing is
    /// recorded.
    ///
    /// # Errors
    /// When what was recorded cannot be read.
    pub async fn replay(&self, listed: &Listed, job: Job, audience: Audience) -> Result<Told, AgainError> {
        let name = &listed.task;
        let told = self.journal.of(name)?.ok_or_else(|| AgainError::Forgotten(name.clone()))?;
        let (seeds, key) = self.tasks.grown_from(name)?.ok_or_else(|| AgainError::Forgotten(name.clone()))?;
        let task = TaskId::named(name).ok_or_else(|| AgainError::Missing(name.clone()))?;
        let span = self.audit.span(name)?;
        let room = job.limits.journal;
        let recorder = Arc::new(Recorder::recalling(Mode::Replay, Arc::new(Nowhere), told.rows, room));
        let workspace = self.workspaces.of(&TaskId::generate().name());
        let elsewhere = self.workspaces.of(&TaskId::generate().name());
        let ground = Ground {
            ledger: Arc::new(Unwritten),
            desk: Arc::new(Unwritten),
            judgements: Arc::new(Unwritten),
            workspace: Arc::clone(&workspace),
            folders: Some(Arc::new(InPlace(Arc::clone(&elsewhere)))),
            ..self.ground(task, seeds, key, recorder)
        };
        let before = Job { keep: None, ..job };
        let mut course = self.course(before, ground, &audience);
        let end = course.take(std::future::pending()).await;
        let recorder = Arc::clone(&course.gate.recorder);
        for folder in [workspace, elsewhere] {
            folder.remove().map_err(FrontError::Workspace)?;
        }
        course.gate.budget.go_on();
        // A limit, or the operator, stops a task at any point: it is told at least up to there.
        let stops = [Status::Exhausted, Status::Cancelled].map(Status::as_str);
        let was_stopped = told.ended.as_ref().is_some_and(|then| stops.iter().any(|stop| then["status"] == **stop));
        let ended = recorder.ended();
        let diverged = match &ended {
            Some(Unrecalled::Ended) => None,
            Some(why) => Some(why.to_string()),
            None if was_stopped => None,
            None => recorder.left_over().map(|left| left.to_string()).or_else(|| otherwise(&end, told.ended.as_ref())),
        };
        let ends_early = was_stopped || ended == Some(Unrecalled::Ended);
        let last = Head { seq: span.last, hash: self.audit.hash(span.last).map_err(FrontError::from)? };
        let report = course.report(end, span.first, last);
        Ok(Told { report, diverged, ends_early })
    }
}

/// How a task ended otherwise than it did then, if that is known.
fn otherwise(end: &End, then: Option<&serde_json::Value>) -> Option<String> {
    let (now, then) = (end.told(), then?);
    (*then != now).then(|| format!("it came to {now}, and it had come to {then}"))
}

impl Job {
    /// Whether it is what a task was begun with.
    fn is_of(&self, listed: &Listed, recipe: &serde_json::Value) -> Result<(), AgainError> {
        let (bundle, grant) = (self.name.digest.clone(), self.rules.grant().to_string());
        let granted = recipe["grant"].as_str().unwrap_or_default();
        for (what, now, then) in
            [("the bundle", bundle.to_string(), listed.digest.as_str()), ("the grant manifest", grant, granted)]
        {
            if now != then {
                return Err(AgainError::Changed { task: listed.task.clone(), what, now, then: then.to_owned() });
            }
        }
        Ok(())
    }
}

/// Records nothing, and asks nobody: what is told again has been recorded and asked.
struct Unwritten;

impl Ledger for Unwritten {
    fn append(&self, _entry: Entry) -> Result<Ticket, AuditError> {
        Ok(Box::pin(async { Ok(Head::EMPTY) }))
    }

    fn note(&self, _entry: Entry, _lost: &Lost) {}
}

impl Judgements for Unwritten {
    fn note(&self, _judged: Arc<Judged>) {}
}

impl Desk for Unwritten {
    fn open(&self, _request: Request) -> Later<Result<Result<String, Unasked>, AuditError>> {
        Box::pin(async { Err(AuditError("nobody is asked in a replay".to_owned())) })
    }

    fn answer(&self, _id: &str) -> Later<Result<Answer, AuditError>> {
        Box::pin(async { Ok(Answer::None) })
    }

    fn withdraw(&self, _id: &str) {}

    fn claim(&self, _claim: Claim, _intent: Entry) -> Later<Result<Answered, ClaimError>> {
        Box::pin(async { Err(AuditError("nothing is approved in a replay".to_owned()).into()) })
    }
}
