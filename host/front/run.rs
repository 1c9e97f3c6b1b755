//! Runs a job: a gate is made, the work is carried out under it, and how it ended is recorded.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::end::{End, carry_out, refused_at_load, released};
use super::report::{AuditRange, BundleName, Report};
use super::{Audience, FrontError, Host, Job, Standing, Work, keep};
use crate::approval::Desk;
use crate::audit::{Entry, Head, Kind, Ledger, Lost};
use crate::budget::Budget;
use crate::bundle::Digest;
use crate::capability::Ports;
use crate::capability::filesystem::Folders;
use crate::capability::state::Store;
use crate::edge::keep::Destination;
use crate::edge::running::Hold;
use crate::edge::tasks::{Ended, Started};
use crate::edge::workspace::TaskFolder;
use crate::gate::{Actor, Gate};
use crate::label::Labels;
use crate::policy::judged::Judgements;
use crate::recorder::{Mode, Recorder, Unrecalled};
use crate::runtime::plan::{LoadRefusal, Plan};
use crate::runtime::{Session, Tank};
use crate::task::{Clock, Seeds, TaskId};

/// What a task stands on when it begins, or goes on.
pub(super) struct Ground {
    pub(super) task: TaskId,
    pub(super) seeds: Seeds,
    pub(super) key: [u8; 32],
    pub(super) recorder: Arc<Recorder>,
    /// How many effects were asked for before.
    pub(super) effects: u64,
    /// Where records go.
    pub(super) ledger: Arc<dyn Ledger>,
    /// Where people are asked.
    pub(super) desk: Arc<dyn Desk>,
    /// Where decisions are kept.
    pub(super) judgements: Arc<dyn Judgements>,
    /// The folder of the task.
    pub(super) workspace: Arc<TaskFolder>,
    /// Opens folders of the host, unless they are as the host has them.
    pub(super) folders: Option<Arc<dyn Folders>>,
    /// Keeps state, unless that is kept as the host has it.
    pub(super) store: Option<Arc<dyn Store>>,
}

/// A job that is carried out.
pub(super) struct Course {
    pub(super) gate: Arc<Gate>,
    pub(super) actor: Arc<Actor>,
    name: BundleName,
    work: Work,
    plan: Option<Result<Arc<Plan>, LoadRefusal>>,
    ports: Arc<Ports>,
    seeds: Seeds,
    tank: Tank,
    output: Labels,
    keep: Option<Destination>,
    workspace: Arc<TaskFolder>,
}

impl Host {
    /// Runs a job until it ends or `cancelled` does.
    ///
    /// # Errors
    /// When it could not be recorded. Everything else is in the report.
    pub async fn run(
        &self,
        job: Job,
        audience: Audience,
        cancelled: impl Future<Output = ()>,
    ) -> Result<Report, FrontError> {
        let task = TaskId::generate();
        let name = task.name();
        let hold = self.running.take(&name).map_err(FrontError::Running)?;
        let (bundle, input) = (job.name.clone(), Digest::of(job.work.input().as_bytes()));
        let (seeds, key) = (job.seeds(&bundle, &input), crate::config::unforeseen());
        let detail = job.describe(&bundle, &input);
        let started = Started {
            task: name.clone(),
            bundle: bundle.name,
            version: bundle.version,
            digest: bundle.digest,
            input: input.to_string(),
            seeds: seeds.clone(),
            key,
            recipe: job.kept_recipe(),
        };
        let recorder = Arc::new(Recorder::recording(self.journal.keeper(&name), job.limits.journal));
        let mut course = self.course(job, self.ground(task, seeds, key, recorder), &audience);
        let start = Entry { detail, ..course.gate.entry(Kind::Start, &course.actor, "task.run") };
        // Nothing waits for these: whatever leaves the host later is behind them. They come right after one another, so that
        // one transaction has both.
        let listed = self.tasks.start(started);
        let begun = course.gate.record(start)?;
        let end = course.take(cancelled).await;
        let begun = async {
            listed.await?;
            Ok(begun.await?.seq)
        };
        self.settle(course, end, begun, hold).await
    }

    /// What a task of this home stands on.
    pub(super) fn ground(&self, task: TaskId, seeds: Seeds, key: [u8; 32], recorder: Arc<Recorder>) -> Ground {
        let workspace = self.workspaces.of(&task.name());
        let Standing { ledger, desk, judgements, .. } = &self.standing;
        Ground {
            task,
            seeds,
            key,
            recorder,
            effects: 0,
            ledger: Arc::clone(ledger),
            desk: Arc::clone(desk),
            judgements: Arc::clone(judgements),
            workspace,
            folders: None,
            store: None,
        }
    }

    /// Makes the gate of a task, and all that it needs to be carried out.
    pub(super) fn course(&self, job: Job, ground: Ground, audience: &Audience) -> Course {
        let Job { name, work, plan, folders, limits, output, rules, user, approvals, keep, .. } = job;
        let Ground { task, seeds, key, recorder, effects, ledger, desk, judgements, workspace, store, .. } = ground;
        let tank = Tank(limits.fuel);
        let gate = Arc::new(Gate {
            rules,
            budget: Budget::new(limits),
            clock: Arc::new(Clock::start()),
            ledger,
            point: self.point.clone(),
            desk,
            approvals,
            observer: Arc::clone(&audience.observer),
            key,
            effects: AtomicU64::new(effects),
            leaks: Arc::default(),
            recorder,
            judgements,
            lost: Lost::default(),
        });
        let labels = plan.as_ref().map(|plan| plan.root.labels.clone()).unwrap_or_default();
        let BundleName { name: bundle, digest, root, .. } = name.clone();
        let actor = Actor::new(task, bundle, root, digest, user);
        let standing = &self.standing;
        let ports = Ports {
            store: store.unwrap_or_else(|| Arc::clone(&standing.store)),
            folders: ground.folders.unwrap_or_else(|| Arc::new(self.folders.fixing(folders))),
            workspace: Arc::clone(&workspace) as _,
            variables: Arc::clone(&standing.variables),
            log: Arc::clone(&audience.log),
            web: Arc::clone(&self.web),
            broker: Arc::clone(&standing.broker),
            minter: Arc::clone(&standing.minter),
        };
        let (actor, plan, ports) = (Arc::new(actor.carrying(labels)), Some(plan), Arc::new(ports));
        Course { gate, actor, name, work, plan, ports, seeds, tank, output, keep, workspace }
    }

    /// Records how a task ended, or that it waits, and reports it. `begun` gives the number of its first record once the disk
    /// has it: nobody waits for that before the end is on its way as well.
    pub(super) async fn settle(
        &self,
        course: Course,
        end: End,
        begun: impl Future<Output = Result<u64, FrontError>>,
        hold: Option<Hold>,
    ) -> Result<Report, FrontError> {
        let Course { gate, actor, workspace, output, keep, .. } = &course;
        let task = &actor.principal.task;
        if let Some(why) = gate.recorder.ended() {
            // It is not at its end: it goes on another time, or cannot.
            workspace.remove().map_err(FrontError::Workspace)?;
            if let Unrecalled::Suspended(approval) = &why {
                self.journal.put_away(task, approval).await?;
            }
            let first = begun.await?;
            let seq = self.audit.span(task)?.last;
            let head = Head { seq, hash: self.audit.hash(seq)? };
            return Ok(course.report(End::stopped(&why), first, head));
        }
        gate.recorder.flush();
        let (mut begun, mut first) = (std::pin::pin!(begun), None);
        let kept = match keep {
            Some(to) => {
                first = Some(begun.as_mut().await?);
                Some(keep::keep(workspace, to, gate, actor, output).await?)
            }
            None => None,
        };
        let removed = workspace.remove();
        let record = Entry {
            code: end.status.as_str().into(),
            detail: serde_json::to_string(&course.usage()).unwrap_or_default(),
            text: gate.told(actor, end.error.as_ref().map_or("", |error| &error.message)),
            ..gate.entry(Kind::End, actor, "task.run")
        };
        gate.make_up().await?;
        let ended = Ended {
            task: task.clone(),
            status: end.status,
            usage: serde_json::to_value(course.usage()).unwrap_or_default(),
            error: end.error.as_ref().and_then(|error| serde_json::to_value(error).ok()),
            told: end.told(),
            // What one asked for before it broke off may be open yet, whatever it did since.
            asked: course.usage().approvals > 0 || gate.recorder.mode() != Mode::Record,
        };
        let recorded = gate.record(record)?;
        let noted = self.tasks.end(&self.audit, ended);
        let first = match first {
            Some(first) => first,
            None => begun.await?,
        };
        let last = recorded.await?;
        noted.await?;
        drop(hold);
        self.tell(&course).await;
        let report = course.report(end, first, last);
        removed.map_err(FrontError::Workspace)?;
        Ok(Report { kept, ..report })
    }
}

impl Course {
    /// Carries it out, until it ends or `cancelled` does.
    pub(super) async fn take(&mut self, cancelled: impl Future<Output = ()>) -> End {
        let (gate, actor) = (&self.gate, &self.actor);
        match self.plan.take() {
            None => End::nothing(),
            Some(Err(refusal)) => refused_at_load(gate, actor, refusal).await,
            Some(Ok(plan)) => {
                let session = Session::new(plan, Arc::clone(gate), self.seeds.clone(), Arc::clone(&self.ports));
                let end = carry_out(&session, &self.work, gate, actor, &mut self.tank, cancelled).await;
                released(end, gate, actor, &self.output).await
            }
        }
    }

    /// What it consumed.
    fn usage(&self) -> crate::task::Usage {
        let fuel = self.gate.budget.limits().fuel;
        crate::task::Usage { fuel: fuel - self.tank.0.min(fuel), ..self.gate.budget.usage() }
    }

    /// What is told of it, with the number of its first record and where its last one stands.
    pub(super) fn report(&self, end: End, first: u64, last: Head) -> Report {
        let End { status, output, error } = end;
        let (task, labels) = (self.actor.principal.task.clone(), self.actor.labels.now());
        Report {
            task: task.to_string(),
            bundle: self.name.clone(),
            status,
            output,
            error,
            labels,
            kept: None,
            usage: self.usage(),
            audit: AuditRange { first, last: last.seq, head: last.hash },
        }
    }
}
