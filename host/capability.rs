//! Capabilities: the kinds of power that a task may be given, and the registry of them.
//!
//! A capability is one file under `capability/`, one key of the grant manifest, one fragment of the policy schema, one
//! set of WIT interfaces. To add one, write its file and add its row to [`REGISTRY`]; nothing else changes.
//!
//! Host code of a capability works on a [`Scope`]: its own state, its guard, the table of handles. It cannot name
//! another's. What is not granted is either absent from the linker or, for the interfaces that every language runtime
//! drags in, there in a *powerless* form ([`Capability::powerless`]).

pub mod clock;
pub mod env;
pub mod filesystem;
pub mod http;
pub mod identity;
pub mod label;
pub mod powerless;
pub mod random;
mod registry;
pub mod secrets;
pub mod state;
pub mod stdio;
pub mod switch;
pub mod tools;
pub mod workspace;

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::future::Future;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toml::Spanned;
use wasmtime::component::{HasData, Linker, ResourceTable};

pub use self::registry::Registered;
use self::registry::Row;
use crate::gate::{Actor, Denied, Effect, Gate, Guard};
use crate::label::Labels;
use crate::manifest::{Section, Sections};
use crate::policy::judged::Judged;
use crate::policy::schema::{Action, Terms};
use crate::policy::{Attribute, Resource};
use crate::recorder::Border;
use crate::task::Seeds;
use crate::tool::Function;

/// All capabilities, in the order of DESIGN's table.
pub static REGISTRY: &[&dyn Registered] = &[
    &Row::<filesystem::Filesystem>::NEW,
    &Row::<workspace::Workspace>::NEW,
    &Row::<env::Env>::NEW,
    &Row::<clock::Clock>::NEW,
    &Row::<random::Random>::NEW,
    &Row::<stdio::Stdio>::NEW,
    &Row::<http::Http>::NEW,
    &Row::<state::State>::NEW,
    &Row::<label::Label>::NEW,
    &Row::<tools::Tools>::NEW,
    &Row::<secrets::Secrets>::NEW,
    &Row::<identity::Identity>::NEW,
];

/// The registry as the vocabulary of manifests.
pub fn vocabulary() -> Vec<&'static dyn Section> {
    REGISTRY.iter().map(|row| *row as &dyn Section).collect()
}

/// What rules can speak of: the capabilities' entities and actions, and these functions of granted tools.
pub fn terms<'a>(functions: Option<Vec<(&'a str, &'a Function)>>) -> Terms<'a> {
    let entities = REGISTRY.iter().map(|row| row.entities()).collect();
    Terms { entities, actions: REGISTRY.iter().flat_map(|row| row.actions()).copied().collect(), functions }
}

/// One kind of power that a task may be given.
pub trait Capability: Sized + Send + Sync + 'static {
    /// Names the grant section, the module and the policy actions.
    const NAME: &'static str;
    /// What it is for, in a few words.
    const SUMMARY: &'static str;
    /// Its entities, in Cedar's schema syntax.
    const ENTITIES: &'static str;
    /// Its actions, `NAME.verb`.
    const ACTIONS: &'static [Action];
    /// Actions of other capabilities that its grant covers.
    const COVERS: &'static [&'static str] = &[];
    /// The WIT interfaces that it links, without versions.
    const INTERFACES: &'static [&'static str];
    /// Whether its interfaces are there, without power, when it is not granted.
    const POWERLESS: bool = false;
    /// Its section of the grant manifest.
    type Grant: DeserializeOwned + Send + Sync;
    /// Its section of a bundle's requests.
    type Request: DeserializeOwned + Send + Sync;
    /// What one store holds of it while it runs.
    type State: Send;

    /// Makes relative host paths absolute: they are relative to the manifest's folder.
    fn locate(_grant: &mut Self::Grant, _base: &Path) {}
    /// The tools that a section names, with their places.
    fn tools_of(_names: Names<'_, Self>) -> Vec<Spanned<String>> {
        Vec::new()
    }
    /// What is wrong between a component's grant of this and its other grants, and what to do about it.
    fn conflict(_grant: &Self::Grant, _grants: &Sections) -> Option<(String, &'static str)> {
        None
    }
    /// What a grant gives, one line for each power: `read /documents`.
    fn given(grant: &Self::Grant) -> Vec<String>;
    /// What of it stays when the task is gone, and is not the task's own: a task that broke off after that does not go on.
    fn lasting(_grant: &Self::Grant) -> Vec<String> {
        Vec::new()
    }
    /// What a bundle asks for, in the same words.
    fn asked(request: &Self::Request) -> Vec<String>;
    /// What is asked for beside what is given, line by line.
    fn compared(grant: Option<&Self::Grant>, request: Option<&Self::Request>) -> Vec<Compared> {
        let (asked, given) = (request.map(Self::asked).unwrap_or_default(), grant.map(Self::given).unwrap_or_default());
        let unused = given.iter().filter(|given| !asked.contains(given)).map(|given| (given.clone(), Standing::Unused));
        let unused: Vec<_> = unused.collect();
        let standing = |asked: &String| if given.contains(asked) { Standing::Granted } else { Standing::Refused };
        let asked: Vec<_> = asked.iter().map(|asked| (asked.clone(), standing(asked))).collect();
        asked.into_iter().chain(unused).collect()
    }
    /// Why it asks.
    fn reason(request: &Self::Request) -> &str;
    /// The part of the grant that was asked for; none when nothing is left.
    fn narrow(grant: &Self::Grant, request: &Self::Request) -> Option<Self::Grant>;
    /// What one of [`Self::ACTIONS`] on the resource of that name would act on; none when the grant does not cover it.
    fn find(grant: &Self::Grant, action: &str, resource: &str) -> Option<Target>;
    /// What an effect that was judged before would act on under this grant; none when the grant does not cover it.
    fn again(grant: &Self::Grant, judged: &Judged) -> Option<Again> {
        Self::find(grant, &judged.action, &judged.resource.name).map(Again::from)
    }
    /// What a grant gives beside what another one gives, line by line.
    fn beyond(grant: &Self::Grant, needed: Option<&Self::Grant>) -> Vec<String> {
        let needed = needed.map(Self::given).unwrap_or_default();
        Self::given(grant).into_iter().filter(|given| !needed.contains(given)).collect()
    }
    /// What stands in a store when it is not granted; some where [`Self::POWERLESS`], else none.
    fn powerless(_setting: &Setting<'_>) -> Option<Self::State> {
        None
    }
    /// Opens what is granted, for one store.
    fn open(
        guard: Guard<'_, Self::Grant>,
        setting: &Setting<'_>,
    ) -> impl Future<Output = Result<Self::State, OpenError>> + Send;
    /// Adds its imports, and no others.
    ///
    /// # Errors
    /// When an interface is defined twice, which is a bug.
    fn link(linker: &mut Linker<TaskState>) -> wasmtime::Result<()>;
}

/// How a power that is requested or granted stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Requested and granted.
    Granted,
    /// Requested, not granted.
    Refused,
    /// Granted, not requested: it is not there.
    Unused,
}

/// One power, and how it stands.
pub type Compared = (String, Standing);

/// What an effect that a grant covers acts on.
#[derive(Clone, Debug)]
pub struct Target {
    /// It, as rules see it.
    pub resource: Resource,
    /// The labels that may go there; none when nothing leaves the task by it.
    pub accepts: Option<Labels>,
}

impl Target {
    /// Asks an effect what the gate would ask it; none when the grant does not cover it.
    fn of<E: Effect>(effect: &E, grant: &E::Grant) -> Option<Self> {
        effect.covered(grant).then(|| Self { resource: effect.resource(), accepts: effect.accepts(grant) })
    }

    /// This, if it has that name: for capabilities whose effects all act on one thing.
    fn named(self, name: &str) -> Option<Self> {
        (self.resource.name == name).then_some(self)
    }
}

/// What an effect that was judged before acts on under another grant.
#[derive(Clone, Debug)]
pub struct Again {
    /// It.
    pub target: Target,
    /// Its context, where that is another than it was.
    pub context: Option<Vec<(&'static str, Attribute)>>,
}

impl From<Target> for Again {
    fn from(target: Target) -> Self {
        Self { target, context: None }
    }
}

/// What an effect that was judged before acts on under these grants; none when they do not cover it.
pub fn again(grants: &Sections, judged: &Judged) -> Option<Again> {
    let concerns = |row: &&&dyn Registered| {
        let own = row.actions().iter().any(|action| action.name == judged.action);
        own || row.covers().contains(&&*judged.action)
    };
    REGISTRY.iter().filter(concerns).find_map(|row| row.again(grants, judged))
}

/// A section that may name tools.
pub enum Names<'a, C: Capability> {
    /// Of a grant manifest.
    Grant(&'a C::Grant),
    /// Of a bundle's requests.
    Request(&'a C::Request),
}

/// Why a granted capability could not be opened.
#[derive(Debug, Serialize, Deserialize, thiserror::Error)]
pub enum OpenError {
    /// The gate refused one of its effects, or the task's budget is spent.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The world did not give what the grant names.
    #[error("{what}")]
    #[serde(skip)]
    Unavailable {
        /// What could not be opened, for the operator.
        what: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl crate::gate::Failure for OpenError {}

/// What the outside of the host offers capabilities: implemented in `edge/`, wired in one place.
#[derive(Clone)]
pub struct Ports {
    /// Keeps state.
    pub store: Arc<dyn state::Store>,
    /// Opens folders.
    pub folders: Arc<dyn filesystem::Folders>,
    /// Opens the task's own folder.
    pub workspace: Arc<dyn filesystem::Folders>,
    /// Reads variables.
    pub variables: Arc<dyn env::Variables>,
    /// Takes log lines.
    pub log: Arc<dyn stdio::Log>,
    /// Sends requests.
    pub web: Arc<dyn http::Sender>,
    /// Has the secrets.
    pub broker: Arc<dyn secrets::Broker>,
    /// Mints tokens.
    pub minter: Arc<dyn identity::Minter>,
}

/// Where a store is being set up.
pub struct Setting<'a> {
    /// The outside.
    pub ports: &'a Ports,
    /// Runs tools.
    pub spawn: &'a Arc<dyn tools::Spawn>,
    /// The bundle's name: namespaces of state are its own.
    pub bundle: &'a str,
    /// What the task's randomness grows from.
    pub seeds: &'a Seeds,
    /// The task's gate.
    pub gate: &'a Arc<Gate>,
    /// Who will run in the store.
    pub actor: &'a Arc<Actor>,
    /// What all stores of the task have together.
    pub shared: &'a Shared,
    /// What all capabilities of the store have together.
    pub store: &'a Shared,
}

/// What several have together, the stores of a task or the capabilities of a store: one value of a type.
#[derive(Default)]
pub struct Shared(Mutex<BTreeMap<TypeId, Arc<dyn Any + Send + Sync>>>);

impl Shared {
    /// The value of a type; made when it is asked for first.
    #[expect(clippy::expect_used, clippy::missing_panics_doc, reason = "INVARIANT: a value stands under its own type")]
    pub fn of<T: Any + Default + Send + Sync>(&self) -> Arc<T> {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let value = values.entry(TypeId::of::<T>()).or_insert_with(|| Arc::new(T::default()));
        Arc::clone(value).downcast().expect("a value of that type")
    }
}

/// The states of a store's capabilities: so few that looking through them is the quickest way to find one.
struct States(Vec<(TypeId, Box<dyn Any + Send>)>);

impl States {
    fn of<C: Capability>(&mut self) -> Option<&mut C::State> {
        let (_, state) = self.0.iter_mut().find(|(id, _)| *id == TypeId::of::<C>())?;
        state.downcast_mut()
    }
}

/// The data of a store.
pub struct TaskState {
    gate: Arc<Gate>,
    actor: Arc<Actor>,
    grants: Arc<Sections>,
    states: States,
    border: Border,
    /// Handles that the guest holds.
    pub(crate) table: ResourceTable,
    /// Memory, tables and instances that the store may have.
    pub(crate) limiter: crate::engine::Limiter,
    pub(crate) powerless: powerless::Context,
}

impl TaskState {
    /// Opens every capability that `grants` lists, and puts the others' powerless forms in place.
    ///
    /// # Errors
    /// When the gate refuses an effect at start, or something granted is not there.
    pub(crate) async fn open(
        setting: Setting<'_>,
        grants: &Arc<Sections>,
        limiter: crate::engine::Limiter,
    ) -> Result<Self, OpenError> {
        let mut states = Vec::with_capacity(REGISTRY.len());
        for row in REGISTRY {
            if grants.has(row.key()) {
                states.extend(row.open(grants, &setting).await?);
            } else {
                states.extend(row.powerless(&setting));
            }
        }
        let handles = setting.gate.budget.limits().handles;
        let mut table = ResourceTable::new();
        table.set_max_capacity(usize::try_from(handles).unwrap_or(usize::MAX));
        Ok(Self {
            gate: Arc::clone(setting.gate),
            actor: Arc::clone(setting.actor),
            grants: Arc::clone(grants),
            states: States(states),
            border: Border::default(),
            table,
            limiter,
            powerless: powerless::Context::default(),
        })
    }

    /// Who runs in this store.
    pub fn actor(&self) -> &Arc<Actor> {
        &self.actor
    }

    /// The task's gate.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// The guest crosses the import border to reach capability `C`.
    #[expect(clippy::expect_used, reason = "INVARIANT: an interface is linked only where its state was opened")]
    pub(crate) fn scope<C: Capability>(&mut self) -> Scope<'_, C> {
        let import = self.border.cross();
        let guard = Guard::new(&self.gate, &self.actor, self.grants.get::<C::Grant>(C::NAME), import);
        Scope { guard, host: self.states.of::<C>().expect("an opened state"), table: &mut self.table }
    }

    /// As [`Self::scope`], for host code that outlives the call or needs the store besides: what a guard is made of, apart
    /// from the store.
    #[expect(clippy::expect_used, reason = "INVARIANT: an interface is linked only where its state was opened")]
    pub(crate) fn detached<C: Capability>(&mut self) -> (Guarded, &mut C::State, &mut ResourceTable) {
        let guarded = Guarded {
            gate: Arc::clone(&self.gate),
            actor: Arc::clone(&self.actor),
            grants: Arc::clone(&self.grants),
            import: self.border.cross(),
        };
        (guarded, self.states.of::<C>().expect("an opened state"), &mut self.table)
    }

    /// The guest crosses the import border to reach what carries no authority.
    pub(crate) fn cross(&mut self) -> &mut Self {
        self.border.cross();
        self
    }
}

/// What a guard is made of.
#[derive(Clone)]
pub(crate) struct Guarded {
    gate: Arc<Gate>,
    actor: Arc<Actor>,
    grants: Arc<Sections>,
    import: u64,
}

impl Guarded {
    pub(crate) fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    pub(crate) fn guard<C: Capability>(&self) -> Guard<'_, C::Grant> {
        Guard::new(&self.gate, &self.actor, self.grants.get::<C::Grant>(C::NAME), self.import)
    }
}

/// What host code of one capability sees: its own guard and state, and the guest's handles.
pub struct Scope<'a, C: Capability> {
    /// Asks the gate.
    pub guard: Guard<'a, C::Grant>,
    /// This capability's state in this store.
    pub host: &'a mut C::State,
    /// The guest's handles.
    pub table: &'a mut ResourceTable,
}

/// Names [`Scope`] to wasmtime: `add_to_linker::<_, Lens<C>>(linker, TaskState::scope::<C>)`.
pub struct Lens<C>(PhantomData<C>);

impl<C: Capability> HasData for Lens<C> {
    type Data<'a> = Scope<'a, C>;
}
