//! Where tasks come from: here, one task at a time, from the command line.
//!
//! A front opens what a task stands on, records that it starts, runs it, and records how it ended. What is wrong with a
//! manifest or a policy shows before there is a task; everything later is the task's own end, and recorded.

mod again;
pub mod crew;
mod end;
mod keep;
mod report;
mod run;
mod telling;
mod trial;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use self::again::{AgainError, Told, Unknown};
pub use self::keep::{KeepStatus, Kept};
pub use self::report::{AuditRange, BundleName, Report, ReportedError};
pub use self::trial::Tried;
use crate::approval::{Desk, Mode};
use crate::audit::{AuditError, Ledger};
use crate::bundle::{Bundle, ComponentSource, Digest};
use crate::capability::env::Variables;
use crate::capability::http::Sender;
use crate::capability::identity::Minter;
use crate::capability::secrets::Broker;
use crate::capability::state::Store;
use crate::capability::stdio::Log;
use crate::config::{ConfigError, Home};
use crate::edge::approvals::Approvals;
use crate::edge::checkpoints::Checkpoints;
use crate::edge::database::{self, Database, DatabaseError};
use crate::edge::decision_point::DecisionPoint;
use crate::edge::folder::HostFolders;
use crate::edge::http::Web;
use crate::edge::identities::Identities;
use crate::edge::journal::Journal;
use crate::edge::judgements::JudgementList;
use crate::edge::keep::Destination;
use crate::edge::ledger::AuditLog;
use crate::edge::running::Running;
use crate::edge::sealing::Sealing;
use crate::edge::secrets::Secrets;
use crate::edge::tasks::{EndError, TaskList};
use crate::edge::telemetry::Telemetry;
use crate::edge::values::Values;
use crate::edge::variables::HostVariables;
use crate::edge::workspace::Workspaces;
use crate::engine::{Engine, EngineError, Room};
use crate::gate::Observer;
use crate::grant::Limits;
use crate::label::Labels;
use crate::manifest::ManifestError;
use crate::people::People;
use crate::policy::Person;
use crate::policy::in_force::InForce;
use crate::policy::judged::Judgements;
use crate::policy::point::Point;
use crate::runtime::plan::{LoadRefusal, Loader, Plan};
use crate::settings::Settings;
use crate::task::{Seed, Seeds};

/// A home that is being opened: what does not need its database is there already.
pub struct Opening {
    home: Arc<Home>,
    database: database::Opening,
    settings: Settings,
    loader: Loader,
}

/// What every task of a home stands on.
pub struct Host {
    loader: Loader,
    standing: Standing,
    folders: HostFolders,
    workspaces: Workspaces,
    web: Arc<dyn Sender>,
    /// Its secrets.
    pub secrets: Secrets,
    /// Its keys, and what they sign.
    pub identities: Identities,
    /// The people whom its configuration names.
    pub people: People,
    point: Option<Arc<dyn Point>>,
    /// The audit log.
    pub audit: AuditLog,
    /// What people were asked.
    pub approvals: Approvals,
    /// The tasks that ran.
    pub tasks: TaskList,
    /// What they were answered.
    pub journal: Journal,
    running: Running,
    /// What was decided, and on what.
    pub judgements: JudgementList,
    telemetry: Option<Telemetry>,
}

/// What gates and ports of all tasks have together.
struct Standing {
    ledger: Arc<dyn Ledger>,
    desk: Arc<dyn Desk>,
    judgements: Arc<dyn Judgements>,
    store: Arc<dyn Store>,
    variables: Arc<dyn Variables>,
    broker: Arc<dyn Broker>,
    minter: Arc<dyn Minter>,
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
    /// The folder of a task.
    #[error("a workspace of a task that has ended cannot be removed: {0}")]
    #[diagnostic(help(
        "look at `workspaces` in the home folder; what lies there is removed when ambit is started next"
    ))]
    Workspace(#[source] std::io::Error),
    /// The place where it is noted which tasks run.
    #[error("it cannot be noted that a task runs: {0}")]
    #[diagnostic(help("look at `running` in the home folder: it must be a folder that can be written to"))]
    Running(#[source] std::io::Error),
    /// The log.
    #[error("the audit log cannot be written: {0}")]
    #[diagnostic(help("the task was not run, or its end is not recorded"))]
    Audit(#[from] AuditError),
}

/// What is to be run, and under what.
pub struct Job {
    /// What it is called.
    pub name: BundleName,
    /// What runs.
    pub work: Work,
    /// Its components, linked; or why they are refused.
    pub plan: Result<Arc<Plan>, LoadRefusal>,
    /// Its folders, which no task may write to.
    pub folders: Arc<[PathBuf]>,
    /// What the task may spend.
    pub limits: Limits,
    /// The labels that its result may carry.
    pub output: Labels,
    /// The rules, under the grant manifest.
    pub rules: InForce,
    /// What the record of the start says of the rules: `built-in`, `rules`, and their digest.
    pub policy: (&'static str, Digest),
    /// On whose behalf it acts, if on anybody's.
    pub user: Option<Arc<Person>>,
    /// What happens where a person would have to be asked.
    pub approvals: Mode,
    /// The seed that the operator chose.
    pub seed: Option<Seed>,
    /// Where the task's workspace is copied to when it has ended.
    pub keep: Option<Destination>,
    /// How the operator started it, for when it goes on.
    pub recipe: serde_json::Value,
}

/// What runs.
#[derive(Clone)]
pub enum Work {
    /// A bundle's agent.
    Agent {
        /// The bundle.
        bundle: Arc<Bundle>,
        /// The input, as JSON.
        input: String,
    },
    /// One function of a tool, alone.
    Function {
        /// The tool.
        tool: Arc<ComponentSource>,
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

impl Host {
    /// Opens a home. `compiler` is ambit's own program, which compiles components in a process of its own.
    ///
    /// # Errors
    /// When the home or the engine cannot be opened.
    pub fn open(home: Option<&Path>, compiler: &Path) -> Result<Self, FrontError> {
        Opening::begin(home, compiler, Room::OneTask)?.opened()
    }

    /// Opens a home, with room for so many stores at once: one for each task that lives, and one for each call of a tool.
    ///
    /// # Errors
    /// When the home or the engine cannot be opened.
    pub fn with_room(home: Option<&Path>, compiler: &Path, stores: u32) -> Result<Self, FrontError> {
        Opening::begin(home, compiler, Room::Stores(stores))?.opened()
    }

    /// The host is of no more use, because the process ends: what the engine mapped is the kernel's to take back.
    pub fn leave(self) {
        let Self { loader, .. } = self;
        std::mem::forget(loader);
    }

    /// Where the decision point is that decides beside the rules, if there is one.
    pub fn decision_point(&self) -> Option<String> {
        self.point.as_ref().map(|point| point.place())
    }

    /// What makes components ready to run.
    pub fn loader(&self) -> &Loader {
        &self.loader
    }
}

impl Opening {
    /// Begins to open a home for tasks that run one at a time.
    ///
    /// # Errors
    /// When the home or the engine cannot be opened.
    pub fn of_one_at_a_time(home: Option<&Path>, compiler: &Path) -> Result<Self, FrontError> {
        Self::begin(home, compiler, Room::OneTask)
    }

    fn begin(home: Option<&Path>, compiler: &Path, room: Room) -> Result<Self, FrontError> {
        crate::config::raise_open_files();
        let home = Arc::new(Home::open(home)?);
        let database = Database::opening(&home)?;
        let (settings, loader) = (Settings::open(&home)?, Loader::new(Engine::new(&home, compiler, room)?));
        Ok(Self { home, database, settings, loader })
    }

    /// What makes components ready to run.
    pub fn loader(&self) -> &Loader {
        &self.loader
    }

    /// The people whom its configuration names.
    pub fn people(&self) -> &People {
        &self.settings.people
    }

    /// The open home.
    ///
    /// # Errors
    /// When its database, or a folder of it, cannot be opened.
    pub fn opened(self) -> Result<Host, FrontError> {
        let Self { home, database, settings, loader } = self;
        let database = database.opened()?;
        let sealing = Arc::new(Sealing::new(&home, &settings.store.key, settings.store.before.as_ref()));
        let checkpoints = Checkpoints::new(Arc::clone(&sealing), settings.audit);
        let audit = AuditLog::new(Arc::clone(&database)).signed(checkpoints);
        let identities = Identities::new(Arc::clone(&database), Arc::clone(&sealing), settings.identity);
        let secrets = Secrets::new(Arc::clone(&database), Arc::clone(&sealing), &identities, settings.secrets);
        let approvals = Approvals::new(Arc::clone(&database), audit.clone());
        let judgements = JudgementList::new(Arc::clone(&database));
        let standing = Standing {
            ledger: Arc::new(audit.clone()),
            desk: Arc::new(approvals.clone()),
            judgements: Arc::new(judgements.clone()),
            store: Arc::new(Values(Arc::clone(&database), audit.clone())),
            variables: Arc::new(HostVariables),
            broker: Arc::new(secrets.clone()),
            minter: Arc::new(identities.clone()),
        };
        Ok(Host {
            standing,
            secrets,
            identities,
            loader,
            folders: HostFolders::outside_of(home.path()),
            workspaces: Workspaces::open(&home).map_err(FrontError::Workspace)?,
            web: Arc::new(Web::default()),
            people: settings.people,
            point: settings.point.map(|point| Arc::new(DecisionPoint::new(point)) as Arc<dyn Point>),
            journal: Journal::new(Arc::clone(&database), audit.clone(), Arc::clone(&sealing)),
            running: Running::open(&home).map_err(FrontError::Running)?,
            approvals,
            judgements,
            telemetry: settings.telemetry.map(Telemetry::new),
            tasks: TaskList::new(database),
            audit,
        })
    }
}

impl From<EndError> for FrontError {
    fn from(error: EndError) -> Self {
        match error {
            EndError::Database(error) => error.into(),
            EndError::Audit(error) => error.into(),
        }
    }
}

impl Work {
    /// What it is called.
    pub fn name(&self) -> BundleName {
        let (name, version, digest, root) = match self {
            Self::Agent { bundle, .. } => {
                (bundle.name.to_string(), bundle.version.as_str(), bundle.digest, &bundle.agent.name)
            }
            Self::Function { tool, .. } => (alone(tool), "", tool.digest, &tool.name),
        };
        let (digest, root) = (digest.to_string().into(), root.to_string().into());
        BundleName { name: name.into(), version: version.into(), digest, root }
    }

    fn input(&self) -> &str {
        match self {
            Self::Agent { input, .. } => input,
            Self::Function { arguments, .. } => arguments,
        }
    }
}

/// What a tool that is tried alone is called as a bundle: no bundle can have this name, and so it has no bundle's state.
pub fn alone(tool: &ComponentSource) -> String {
    format!("call/{}", tool.name)
}

impl Job {
    /// Another job that stands on the same, for other work. `recipe` says how the operator started that.
    #[must_use]
    pub fn another(&self, work: Work, recipe: serde_json::Value) -> Self {
        Self {
            name: self.name.clone(),
            work,
            recipe,
            plan: self.plan.clone(),
            folders: Arc::clone(&self.folders),
            limits: self.limits.clone(),
            output: self.output.clone(),
            rules: self.rules.for_another(),
            policy: self.policy,
            user: self.user.clone(),
            approvals: self.approvals,
            seed: self.seed.clone(),
            keep: None,
        }
    }

    /// What its randomness grows from: the operator's choice; else the bundle and the input, and entropy where that is
    /// granted.
    fn seeds(&self, bundle: &BundleName, input: &Digest) -> Seeds {
        match &self.seed {
            Some(seed) => Seeds { fixed: seed.clone(), granted: seed.clone() },
            None => Seeds {
                fixed: Seed::of(&[bundle.digest.as_bytes(), input.to_string().as_bytes()]),
                granted: Seed::from(crate::config::unforeseen()),
            },
        }
    }

    /// Seeds of a task that nobody tells again.
    fn seeds_of_trial(&self, key: &[u8; 32]) -> Seeds {
        let granted = Seed::from(*key);
        Seeds { fixed: self.seed.clone().unwrap_or_else(|| granted.clone()), granted }
    }

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
            "marks": self.plan.as_ref().map(|plan| plan.marks()).unwrap_or_default(),
            "user": self.user.as_ref().map(|user| &user.name),
            "input": input,
            "host": crate::VERSION,
        })
        .to_string()
    }
}
