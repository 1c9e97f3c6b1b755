//! Where tasks come from: here, one task at a time, from the command line.
//!
//! A front opens what a task stands on, records that it starts, runs it, and records how it ended. What is wrong with a
//! manifest or a policy shows before there is a task; everything later is the task's own end, and recorded.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use serde::Serialize;

use crate::approval::Mode;
use crate::audit::{self, AuditError, Entry, Hash, Kind};
use crate::budget::{Budget, Exhausted};
use crate::bundle::{Bundle, ComponentSource, Digest};
use crate::capability::stdio::Log;
use crate::config::{ConfigError, Home};
use crate::edge::approvals::Approvals;
use crate::edge::database::{Database, DatabaseError};
use crate::edge::folder::HostFolders;
use crate::edge::ledger::AuditLog;
use crate::edge::tasks::{Ended, Started, TaskList};
use crate::edge::values::Values;
use crate::edge::variables::HostVariables;
use crate::engine::{Engine, EngineError};
use crate::gate::{Actor, Code, Gate, Observer, cleared};
use crate::grant::Limits;
use crate::label::Labels;
use crate::manifest::ManifestError;
use crate::people::People;
use crate::policy::Person;
use crate::policy::in_force::InForce;
use crate::runtime::plan::{LoadRefusal, Plan};
use crate::runtime::{Broken, Outside, Session, Tank};
use crate::task::{Clock, Seed, Seeds, Status, TaskId, Usage};
use crate::tool::Outcome;

/// What every task of a home stands on.
pub struct Host {
    engine: Engine,
    outside_store: Arc<Values>,
    folders: HostFolders,
    /// The people whom its configuration names.
    pub people: People,
    /// The audit log.
    pub audit: AuditLog,
    /// What people were asked.
    pub approvals: Approvals,
    /// The tasks that ran.
    pub tasks: TaskList,
}

/// Why a task could not be begun, or its end not be recorded.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum FrontError {
    /// The machine did not give something.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Config(#[from] ConfigError),
    /// The database.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Database(#[from] DatabaseError),
    /// The home's own configuration.
    #[error(transparent)]
    #[diagnostic(transparent)]
    People(#[from] ManifestError),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The log.
    #[error("the audit log cannot be written: {0}")]
    #[diagnostic(help("the task was not run, or its end is not recorded"))]
    Audit(#[from] AuditError),
}

/// What is to be run, and under what.
pub struct Job {
    /// What runs.
    pub work: Work,
    /// Its components, linked; or why they are refused.
    pub plan: Result<Plan, LoadRefusal>,
    /// Its folders, which no task may write to.
    pub folders: Vec<PathBuf>,
    /// What the task may spend.
    pub limits: Limits,
    /// The labels that its result may carry.
    pub output: Labels,
    /// The rules, under the grant manifest.
    pub rules: InForce,
    /// What the record of the start says of the rules: `built-in`, `rules`, and their digest.
    pub policy: (&'static str, Digest),
    /// On whose behalf it acts, if on anybody's.
    pub user: Option<Person>,
    /// What happens where a person would have to be asked.
    pub approvals: Mode,
    /// The seed that the operator chose.
    pub seed: Option<Seed>,
}

/// What runs.
pub enum Work {
    /// A bundle's agent.
    Agent {
        /// The bundle.
        bundle: Box<Bundle>,
        /// The input, as JSON.
        input: String,
    },
    /// One function of a tool, alone.
    Function {
        /// The tool.
        tool: Box<ComponentSource>,
        /// The function's name.
        function: String,
        /// The arguments, as JSON.
        arguments: String,
    },
}

/// Who is told what happens while a task runs.
#[derive(Clone)]
pub struct Audience {
    /// Takes log lines.
    pub log: Arc<dyn Log>,
    /// Is told of each effect.
    pub observer: Arc<dyn Observer>,
}

/// How a task went.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Its name.
    pub task: String,
    /// What ran.
    pub bundle: BundleName,
    /// How it ended.
    pub status: Status,
    /// What it gave.
    pub output: Option<serde_json::Value>,
    /// Why it did not succeed.
    pub error: Option<ReportedError>,
    /// The labels of what it touched.
    pub labels: Labels,
    /// What it consumed.
    pub usage: Usage,
    /// Its own records.
    pub audit: AuditRange,
}

/// A bundle's name, version and digest.
#[derive(Clone, Debug, Serialize)]
pub struct BundleName {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its digest.
    pub digest: String,
}

/// Why a task did not succeed.
#[derive(Clone, Debug, Serialize)]
pub struct ReportedError {
    /// A stable word.
    pub code: String,
    /// What happened.
    pub message: String,
    /// What to do about it, if that is known.
    pub help: Option<String>,
}

/// A task's records.
#[derive(Debug, Serialize)]
pub struct AuditRange {
    /// The number of its first.
    pub first: u64,
    /// The number of its last.
    pub last: u64,
    /// The hash of its last.
    pub head: Hash,
}

/// How a task ended, before that is recorded.
struct End {
    status: Status,
    output: Option<serde_json::Value>,
    error: Option<ReportedError>,
}

impl Host {
    /// Opens a home. `compiler` is ambit's own program, which compiles components in a process of its own.
    ///
    /// # Errors
    /// When the home or the engine cannot be opened.
    pub fn open(home: Option<&Path>, compiler: &Path) -> Result<Self, FrontError> {
        crate::config::raise_open_files();
        let home = Home::open(home)?;
        let database = Database::open(&home)?;
        Ok(Self {
            engine: Engine::new(&home, compiler)?,
            outside_store: Arc::new(Values(Arc::clone(&database))),
            folders: HostFolders::outside_of(home.path()),
            people: People::open(&home)?,
            audit: AuditLog::new(Arc::clone(&database)),
            approvals: Approvals::new(Arc::clone(&database)),
            tasks: TaskList::new(database),
        })
    }

    /// The engine, to look at components without running them.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

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
        let name = job.work.bundle();
        let input = Digest::of(job.work.input().as_bytes());
        let fixed = Seed::of(&[name.digest.as_bytes(), input.to_string().as_bytes()]);
        let granted = Seed::from(crate::config::entropy()?);
        let seeds = match &job.seed {
            Some(seed) => Seeds { fixed: seed.clone(), granted: seed.clone() },
            None => Seeds { fixed, granted },
        };
        let key = crate::config::entropy()?;
        let started = Started {
            task: task.to_string(),
            bundle: name.name.clone(),
            version: name.version.clone(),
            digest: name.digest.clone(),
            input: input.to_string(),
            seeds: seeds.clone(),
            key,
        };
        self.tasks.start(started).await?;
        let detail = job.describe(&name, &input);
        let Job { work, plan, folders, limits, output, rules, user, approvals, .. } = job;
        let gate = Arc::new(Gate {
            rules,
            budget: Budget::new(limits),
            clock: Arc::new(Clock::start()),
            ledger: Arc::new(self.audit.clone()),
            desk: Arc::new(self.approvals.clone()),
            approvals,
            observer: Arc::clone(&audience.observer),
            key,
            effects: AtomicU64::new(0),
        });
        let labels = plan.as_ref().map(|plan| plan.root.labels.clone()).unwrap_or_default();
        let actor = Actor::new(task.clone(), &name.name, &work.root(), name.digest.clone(), user);
        let actor = Arc::new(actor.carrying(labels));
        let start = Entry { detail, ..gate.entry(Kind::Start, &actor, "task.run") };
        let first = gate.append(start).await?;
        let mut tank = Tank(gate.budget.limits().fuel);
        let end = match plan {
            Err(refusal) => refused_at_load(&gate, &actor, refusal).await,
            Ok(plan) => {
                let outside = Outside {
                    store: Arc::clone(&self.outside_store) as _,
                    folders: Arc::new(self.folders.fixing(&folders)),
                    variables: Arc::new(HostVariables),
                    log: Arc::clone(&audience.log),
                };
                let session = Session::new(plan, Arc::clone(&gate), seeds, outside);
                let end = carry_out(&session, &work, &gate, &actor, &mut tank, cancelled).await;
                released(end, &gate, &actor, &output).await
            }
        };
        self.approvals.withdraw_all(&actor.principal.task).await?;
        let mut usage = gate.budget.usage();
        usage.fuel = gate.budget.limits().fuel - tank.0.min(gate.budget.limits().fuel);
        let record = Entry {
            code: end.status.as_str().to_owned(),
            detail: serde_json::to_string(&usage).unwrap_or_default(),
            text: audit::escaped(end.error.as_ref().map_or("", |error| &error.message)),
            ..gate.entry(Kind::End, &actor, "task.run")
        };
        let last = gate.append(record).await?;
        let ended = Ended {
            task: task.to_string(),
            status: end.status,
            usage: serde_json::to_value(usage).unwrap_or_default(),
            error: end.error.as_ref().and_then(|error| serde_json::to_value(error).ok()),
            audit: (first, last),
        };
        self.tasks.end(ended).await?;
        let head = self.audit.hash(last)?;
        let End { status, output, error } = end;
        let (labels, audit) = (actor.labels.now(), AuditRange { first, last, head });
        Ok(Report { task: task.to_string(), bundle: name, status, output, error, labels, usage, audit })
    }
}

/// Runs the work, until it ends or is stopped.
async fn carry_out(
    session: &Arc<Session>,
    work: &Work,
    gate: &Gate,
    actor: &Arc<Actor>,
    tank: &mut Tank,
    cancelled: impl Future<Output = ()>,
) -> End {
    let run = async {
        match work {
            Work::Agent { input, .. } => agent_end(session.run(actor, input, tank).await, gate),
            Work::Function { function, arguments, .. } => {
                call_end(session, gate, actor, function, arguments, tank).await
            }
        }
    };
    tokio::select! {
        end = run => end,
        () = cancelled => End::because(Status::Cancelled, "cancelled", "the operator stopped it", None),
    }
}

/// The result of a task is a sink: what it carries must be accepted, or it stays inside. So must what it says when it
/// fails or breaks down.
async fn released(end: End, gate: &Gate, actor: &Actor, accepted: &Labels) -> End {
    let Err(why) = cleared(&actor.labels.now(), accepted) else { return end };
    let is_its_own = matches!(end.status, Status::Succeeded | Status::Failed | Status::Trapped);
    if !is_its_own {
        return end;
    }
    let entry = gate.entry(Kind::Refusal, actor, "task.output");
    let refusal = gate.refuse(Code::Denied, Entry { detail: crate::gate::detail("why", &why), ..entry }).await;
    let help = "if its result may carry them, add them to `accepts` under [output] in the grants".to_owned();
    match end.status {
        Status::Succeeded => End::because(
            Status::Refused,
            "denied",
            format!("the task's result is withheld (record {}): {why}", refusal.record),
            Some(help),
        ),
        status => {
            // The code of a failure is the agent's own word as well.
            let code = if status == Status::Trapped { "trapped" } else { "withheld" };
            let message = format!("what it said is withheld (record {}): {why}", refusal.record);
            End::because(status, code, message, Some(help))
        }
    }
}

impl Work {
    fn bundle(&self) -> BundleName {
        match self {
            Self::Agent { bundle, .. } => BundleName {
                name: bundle.name.to_string(),
                version: bundle.version.clone(),
                digest: bundle.digest.to_string(),
            },
            Self::Function { tool, .. } => {
                BundleName { name: alone(tool), version: String::new(), digest: tool.digest.to_string() }
            }
        }
    }

    fn input(&self) -> &str {
        match self {
            Self::Agent { input, .. } => input,
            Self::Function { arguments, .. } => arguments,
        }
    }

    /// The name of the component that runs first.
    fn root(&self) -> String {
        match self {
            Self::Agent { bundle, .. } => bundle.agent.name.to_string(),
            Self::Function { tool, .. } => tool.name.to_string(),
        }
    }
}

/// What a tool that is tried alone is called as a bundle: no bundle can have this name, and so it has no bundle's state.
pub fn alone(tool: &ComponentSource) -> String {
    format!("call/{}", tool.name)
}

impl Job {
    /// What the record of the start says: everything that the task stands on, by digest.
    fn describe(&self, bundle: &BundleName, input: &Digest) -> String {
        let components: Vec<_> = match &self.work {
            Work::Agent { bundle, .. } => {
                bundle.components().map(|part| (part.name.to_string(), part.digest.to_string())).collect()
            }
            Work::Function { tool, .. } => vec![(tool.name.to_string(), tool.digest.to_string())],
        };
        let components: serde_json::Map<_, _> =
            components.into_iter().map(|(name, digest)| (name, digest.into())).collect();
        let (kind, policy) = &self.policy;
        serde_json::json!({
            "bundle": bundle,
            "components": components,
            "grant": self.rules.grant(),
            "policy": { "kind": kind, "digest": policy },
            "labels": self.plan.as_ref().map(|plan| plan.root.labels.clone()).unwrap_or_default(),
            "user": self.user.as_ref().map(|user| &user.name),
            "input": input,
            "host": crate::VERSION,
        })
        .to_string()
    }
}

impl End {
    fn because(status: Status, code: &str, message: impl Into<String>, help: Option<String>) -> Self {
        let error = ReportedError { code: code.to_owned(), message: message.into(), help };
        Self { status, output: None, error: Some(error) }
    }

    fn with(output: serde_json::Value) -> Self {
        Self { status: Status::Succeeded, output: Some(output), error: None }
    }

    fn exhausted(exhausted: &Exhausted) -> Self {
        let key = exhausted.limit.key();
        let help = format!("if the task is meant to need more, raise `{key}` under [limits] in the grants");
        Self::because(Status::Exhausted, key, exhausted.to_string(), Some(help))
    }

    fn broken(broken: Broken) -> Self {
        match broken {
            Broken::Exhausted(exhausted) => Self::exhausted(&exhausted),
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
async fn refused_at_load(gate: &Gate, actor: &Actor, refusal: LoadRefusal) -> End {
    gate.budget.refused();
    let entry = Entry {
        kind: Kind::Refusal,
        component: refusal.component.clone(),
        code: refusal.code.to_owned(),
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
            let code = if named { failure.code.as_str() } else { "unnamed" };
            return End::because(Status::Failed, code, audit::escaped(&failure.message), None);
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
    let values = match found.arguments(arguments) {
        Ok((values, _)) => values,
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
    if let Err(exhausted) = gate.budget.output(value.to_string().len() as u64) {
        return End::exhausted(&exhausted);
    }
    match outcome {
        Outcome::Ok(value) => End::with(value),
        Outcome::Err(value) => {
            let message = format!("the function returned the error {}", audit::escaped(&value.to_string()));
            End::because(Status::Failed, "failed", message, None)
        }
    }
}
