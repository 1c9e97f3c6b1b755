//! `state`: values that outlive a task, by key, in a namespace (`wasi:keyvalue`).
//!
//! A namespace belongs to one bundle: two bundles that name theirs alike do not share it. A guest opens it as `""`,
//! `"default"` or by its own name; whether any other exists is not told. Every value that is read or written is an effect,
//! also in a batch; a write and its record are one transaction, and what a namespace holds (bytes of keys and values) has
//! a quota.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};
use wasmtime::component::{Linker, Resource as Handle};

use super::{Capability, Lens, OpenError, Scope, Setting, Target, TaskState};
use crate::gate::{Code, Denied, Durability, Effect, Failure, Guard, Outcome, Permit};
use crate::label::Labels;
use crate::manifest::ByteSize;
use crate::policy::schema::Action;
use crate::policy::{Attribute, Resource};

mod bindings {
    //! `wasi:keyvalue`, every function of which can pass the gate.
    wasmtime::component::bindgen!({
        path: "wit",
        inline: "
            package ambit:state;
            world state {
                import wasi:keyvalue/store@0.2.0-draft;
                import wasi:keyvalue/atomics@0.2.0-draft;
                import wasi:keyvalue/batch@0.2.0-draft;
            }
        ",
        imports: { default: async | trappable },
        trappable_error_type: { "wasi:keyvalue/store.error" => super::StateError },
        with: { "wasi:keyvalue/store.bucket": super::Bucket },
    });
}
use bindings::wasi::keyvalue::{atomics, batch, store};

/// See the module.
pub struct State;

/// The longest key, in bytes.
const LONGEST_KEY: usize = 1024;
/// Keys in one answer to `list-keys`.
pub(crate) const PAGE: u64 = 1000;

/// `state = { namespace = "support", quota = "1MiB" }`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The namespace, within those of the bundle.
    namespace: NamespaceName,
    /// What it may hold, keys and values.
    #[serde(default = "default_quota")]
    quota: ByteSize,
    /// What whoever reads from it carries from then on, beside what its values are labelled with.
    #[serde(default)]
    labels: Labels,
}

impl Grant {
    /// It, as a manifest writes it.
    fn entry(&self) -> serde_json::Value {
        let mut entry = serde_json::json!({ "namespace": self.namespace.0, "quota": self.quota });
        if !self.labels.is_empty() {
            entry["labels"] = serde_json::json!(self.labels);
        }
        entry
    }
}

fn default_quota() -> ByteSize {
    ByteSize::new(1 << 20)
}

/// A namespace's name: letters, digits, `-`, `_` and `.`, at most 64 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct NamespaceName(String);

impl TryFrom<String> for NamespaceName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if (1..=64).contains(&name.len()) && name.chars().all(fits) {
            Ok(Self(name))
        } else {
            Err(format!("`{}` is no namespace: it takes 1 to 64 of A-Z a-z 0-9 - _ .", name.escape_debug()))
        }
    }
}

/// `state = { reason = "…" }`
pub use super::switch::Request;

/// A namespace of one bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Namespace {
    /// The bundle.
    pub bundle: String,
    /// Its name there.
    pub name: String,
}

/// What a store holds: where its values are.
pub struct Opened {
    store: Arc<dyn Store>,
    namespace: Namespace,
    quota: u64,
}

/// A handle to the namespace.
pub struct Bucket;

/// A value, or the names of values, is read.
#[derive(Debug, Serialize)]
pub struct Read {
    /// Where.
    pub namespace: Namespace,
    /// What.
    pub what: Query,
}

/// What is read.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Query {
    /// The value of a key.
    Value(String),
    /// Names of keys, from this place in their order.
    Keys(u64),
}

/// A value is changed.
#[derive(Debug, Serialize)]
pub struct Write {
    /// Where.
    pub namespace: Namespace,
    /// What the namespace may hold afterwards, in bytes.
    pub quota: u64,
    /// What the writer carries: the value keeps it.
    #[serde(skip)]
    pub labels: Labels,
    /// Which.
    pub key: String,
    /// How.
    pub change: Change,
}

/// How a value is changed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// To these bytes.
    Set(#[serde(serialize_with = "digest")] Vec<u8>),
    /// It is removed.
    Delete,
    /// It is a number in decimal, and this is added; what is not there is 0.
    Increment(u64),
}

impl Change {
    fn name(&self) -> &'static str {
        match self {
            Self::Set(_) => "set",
            Self::Delete => "delete",
            Self::Increment(_) => "increment",
        }
    }
}

/// A value stands in an effect's record as its digest and length: records are small.
fn digest<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{}, {} bytes", crate::bundle::Digest::of(bytes), bytes.len()))
}

impl Effect for Read {
    type Grant = Grant;
    const ACTION: &'static str = "state.read";
    const DURABILITY: Durability = Durability::Inside;

    fn resource(&self) -> Resource {
        Resource::new("Namespace", self.namespace.name.clone())
    }

    fn context(&self) -> Vec<(&'static str, Attribute)> {
        let (operation, key) = match &self.what {
            Query::Value(key) => ("get", key.clone()),
            Query::Keys(_) => ("list", String::new()),
        };
        vec![("operation", Attribute::String(operation.to_owned())), ("key", Attribute::String(key))]
    }

    fn covered(&self, grant: &Grant) -> bool {
        self.namespace.name == grant.namespace.0
    }

    fn entry(&self, grant: &Grant) -> serde_json::Value {
        grant.entry()
    }
}

impl Effect for Write {
    type Grant = Grant;
    const ACTION: &'static str = "state.write";
    const DURABILITY: Durability = Durability::Shared;

    fn resource(&self) -> Resource {
        Resource::new("Namespace", self.namespace.name.clone())
    }

    fn context(&self) -> Vec<(&'static str, Attribute)> {
        let bytes = if let Change::Set(value) = &self.change { value.len() as u64 } else { 0 };
        vec![
            ("operation", Attribute::String(self.change.name().to_owned())),
            ("key", Attribute::String(self.key.clone())),
            ("bytes", Attribute::count(bytes)),
        ]
    }

    fn covered(&self, grant: &Grant) -> bool {
        self.namespace.name == grant.namespace.0 && self.quota <= grant.quota.bytes()
    }

    fn entry(&self, grant: &Grant) -> serde_json::Value {
        grant.entry()
    }

    fn carries(&self) -> Vec<Cow<'_, [u8]>> {
        let mut carried = vec![Cow::Borrowed(self.key.as_bytes())];
        if let Change::Set(value) = &self.change {
            carried.push(value.into());
        }
        carried
    }

    fn shown(&self) -> Result<serde_json::Value, serde_json::Error> {
        // A digest of the value, as in the record, tells a person nothing.
        let change = match &self.change {
            Change::Set(value) => serde_json::json!({ "set": String::from_utf8_lossy(value) }),
            change => serde_json::to_value(change)?,
        };
        Ok(serde_json::json!({ "key": self.key, "change": change }))
    }
}

/// An answer of the store.
pub type Answer<T> = Pin<Box<dyn Future<Output = Result<T, StateError>> + Send>>;

/// What was found, and the labels of whoever wrote it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Labelled<T> {
    /// What was found.
    pub value: T,
    /// What its writers carried.
    pub labels: Labels,
}

/// Keeps values.
pub trait Store: Send + Sync {
    /// The value of a key ([`Query::Value`]).
    fn value(&self, permit: Permit<Read>) -> Answer<Labelled<Option<Vec<u8>>>>;
    /// A page of names of keys ([`Query::Keys`]).
    fn keys(&self, permit: Permit<Read>) -> Answer<Labelled<Vec<String>>>;
    /// Changes a value, in one transaction with the record of it, and gives the number that an increment results in.
    fn change(&self, permit: Permit<Write>) -> Answer<Labelled<u64>>;
}

/// Why a value was not read or changed.
#[derive(Debug, Serialize, Deserialize, thiserror::Error)]
pub enum StateError {
    /// The gate did not let it.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The namespace would hold too much.
    #[error("quota: the namespace would hold {would} of {quota} bytes")]
    Quota {
        /// What it would hold.
        would: u64,
        /// What it may.
        quota: u64,
        /// What the writers of all that it holds carried.
        labels: Labels,
    },
    /// A batch would give more than one call of the host may carry.
    #[error("the values have more than {longest} bytes together: ask for fewer at once")]
    TooMuch {
        /// What it may carry.
        longest: u64,
    },
    /// The key is too long or empty.
    #[error("a key takes 1 to {LONGEST_KEY} bytes")]
    Key,
    /// The value that should be incremented is not a number, or too large.
    #[error("the value is not a decimal number, or the sum is larger than 64 bits")]
    NotANumber {
        /// What its writer carried.
        labels: Labels,
    },
    /// The handle is no bucket.
    #[error(transparent)]
    #[serde(skip)]
    Handle(#[from] wasmtime::component::ResourceTableError),
    /// The database failed. What it said is for the operator.
    #[error("the store is not available")]
    #[serde(skip)]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl StateError {
    /// The labels of what it tells something of.
    fn labels(&self) -> Option<&Labels> {
        match self {
            Self::Quota { labels, .. } | Self::NotANumber { labels } => Some(labels),
            _ => None,
        }
    }
}

impl Failure for StateError {
    fn outcome(&self) -> Outcome {
        if matches!(self, Self::Quota { .. }) { Outcome::Quota } else { Outcome::Failed }
    }
}

impl Capability for State {
    const NAME: &'static str = "state";
    const SUMMARY: &'static str = "values that outlive a task, by key";
    const ENTITIES: &'static str = "entity Namespace;";
    const ACTIONS: &'static [Action] = &[
        Action { name: "state.read", resource: "Namespace", context: "operation: String, key: String" },
        Action { name: "state.write", resource: "Namespace", context: "operation: String, key: String, bytes: Long" },
    ];
    const INTERFACES: &'static [&'static str] =
        &["wasi:keyvalue/store", "wasi:keyvalue/atomics", "wasi:keyvalue/batch"];
    type Grant = Grant;
    type Request = Request;
    type State = Opened;

    fn given(_grant: &Grant) -> Vec<String> {
        vec!["keep values".to_owned()]
    }

    fn asked(_request: &Request) -> Vec<String> {
        vec!["keep values".to_owned()]
    }

    fn reason(request: &Request) -> &str {
        &request.reason
    }

    fn narrow(grant: &Grant, _request: &Request) -> Option<Grant> {
        Some(grant.clone())
    }

    fn find(grant: &Grant, action: &str, resource: &str) -> Option<Target> {
        let namespace = Namespace { bundle: String::new(), name: resource.to_owned() };
        if action == Read::ACTION {
            return Target::of(&Read { namespace, what: Query::Keys(0) }, grant);
        }
        let (key, labels) = (String::new(), Labels::default());
        Target::of(&Write { namespace, quota: grant.quota.bytes(), labels, key, change: Change::Delete }, grant)
    }

    async fn open(guard: Guard<'_, Grant>, setting: &Setting<'_>) -> Result<Opened, OpenError> {
        let (name, quota) =
            guard.grant().map(|grant| (grant.namespace.0.clone(), grant.quota.bytes())).unwrap_or_default();
        let namespace = Namespace { bundle: setting.bundle.to_owned(), name };
        Ok(Opened { store: Arc::clone(&setting.ports.store), namespace, quota })
    }

    fn link(linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
        store::add_to_linker::<_, Lens<Self>>(linker, TaskState::scope::<Self>)?;
        atomics::add_to_linker::<_, Lens<Self>>(linker, TaskState::scope::<Self>)?;
        batch::add_to_linker::<_, Lens<Self>>(linker, TaskState::scope::<Self>)
    }
}

impl Scope<'_, State> {
    async fn value(&mut self, bucket: &Handle<Bucket>, key: String) -> Result<Option<Vec<u8>>, StateError> {
        self.table.get(bucket)?;
        let Opened { store, namespace, .. } = &*self.host;
        let read = Read { namespace: namespace.clone(), what: Query::Value(checked(key)?) };
        let guard = &self.guard;
        let read = guard.answer(read, async |permit| {
            let notes = permit.notes();
            let value = taken(guard, store.value(permit).await?);
            Ok::<_, StateError>(value.map(|value| guard.shown(value, &notes)))
        });
        read.await
    }

    async fn change(&mut self, bucket: &Handle<Bucket>, key: String, change: Change) -> Result<u64, StateError> {
        self.table.get(bucket)?;
        let Opened { store, namespace, quota } = &*self.host;
        let (namespace, quota, labels) = (namespace.clone(), *quota, self.guard.actor().labels.now());
        let guard = &self.guard;
        // A number that grew says what it was before.
        let reads = matches!(change, Change::Increment(_));
        let write = Write { namespace, quota, labels, key: checked(key)?, change };
        let taken = |changed: Result<Labelled<u64>, StateError>| match changed {
            Ok(changed) if reads => Ok(taken(guard, changed)),
            Ok(changed) => Ok(changed.value),
            Err(error) => {
                if let Some(labels) = error.labels() {
                    taken(guard, Labelled { value: (), labels: labels.clone() });
                }
                Err(error)
            }
        };
        guard.answer_shared(write, async |permit| store.change(permit).await, taken).await
    }
}

/// Takes what was read: its labels, and those of the namespace, stick to the task.
fn taken<T>(guard: &Guard<'_, Grant>, read: Labelled<T>) -> T {
    guard.gain(&read.labels);
    if let Some(grant) = guard.grant() {
        guard.gain(&grant.labels);
    }
    read.value
}

fn checked(key: String) -> Result<String, StateError> {
    if (1..=LONGEST_KEY).contains(&key.len()) { Ok(key) } else { Err(StateError::Key) }
}

impl store::Host for Scope<'_, State> {
    async fn open(&mut self, identifier: String) -> Result<Handle<Bucket>, StateError> {
        let own = &self.host.namespace;
        if identifier.is_empty() || identifier == "default" || identifier == own.name {
            return Ok(self.table.push(Bucket)?);
        }
        let namespace = Namespace { bundle: own.bundle.clone(), name: identifier };
        let read = Read { namespace, what: Query::Keys(0) };
        Err(self.guard.refuse(Code::NotGranted, &read, "a namespace that is not granted").await.into())
    }

    fn convert_error(&mut self, error: StateError) -> wasmtime::Result<store::Error> {
        match error {
            StateError::Denied(Denied::Refused(_)) => Ok(store::Error::AccessDenied),
            StateError::Denied(denied) => Err(wasmtime::Error::new(denied)),
            StateError::Handle(error) => Err(error.into()),
            error => Ok(store::Error::Other(error.to_string())),
        }
    }
}

impl store::HostBucket for Scope<'_, State> {
    async fn get(&mut self, bucket: Handle<Bucket>, key: String) -> Result<Option<Vec<u8>>, StateError> {
        self.value(&bucket, key).await
    }

    async fn set(&mut self, bucket: Handle<Bucket>, key: String, value: Vec<u8>) -> Result<(), StateError> {
        self.change(&bucket, key, Change::Set(value)).await.map(drop)
    }

    async fn delete(&mut self, bucket: Handle<Bucket>, key: String) -> Result<(), StateError> {
        self.change(&bucket, key, Change::Delete).await.map(drop)
    }

    async fn exists(&mut self, bucket: Handle<Bucket>, key: String) -> Result<bool, StateError> {
        Ok(self.value(&bucket, key).await?.is_some())
    }

    async fn list_keys(
        &mut self,
        bucket: Handle<Bucket>,
        cursor: Option<u64>,
    ) -> Result<store::KeyResponse, StateError> {
        self.table.get(&bucket)?;
        let Opened { store, namespace, .. } = &*self.host;
        let from = cursor.unwrap_or(0);
        let read = Read { namespace: namespace.clone(), what: Query::Keys(from) };
        let guard = &self.guard;
        let answer = guard.answer(read, async |permit| Ok::<_, StateError>(taken(guard, store.keys(permit).await?)));
        let keys = answer.await?;
        let more = keys.len() as u64 == PAGE;
        Ok(store::KeyResponse { keys, cursor: more.then(|| from.saturating_add(PAGE)) })
    }

    async fn drop(&mut self, bucket: Handle<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl atomics::Host for Scope<'_, State> {
    async fn increment(&mut self, bucket: Handle<Bucket>, key: String, delta: u64) -> Result<u64, StateError> {
        self.change(&bucket, key, Change::Increment(delta)).await
    }
}

impl batch::Host for Scope<'_, State> {
    async fn get_many(
        &mut self,
        bucket: Handle<Bucket>,
        keys: Vec<String>,
    ) -> Result<Vec<Option<(String, Vec<u8>)>>, StateError> {
        let (mut values, mut bytes) = (Vec::new(), 0);
        let longest = self.guard.budget().limits().host_call;
        for key in keys {
            let value = self.value(&bucket, key.clone()).await?;
            bytes += key.len() as u64 + value.as_ref().map_or(0, |value| value.len() as u64);
            if bytes > longest {
                return Err(StateError::TooMuch { longest });
            }
            values.push(value.map(|value| (key, value)));
        }
        Ok(values)
    }

    async fn set_many(&mut self, bucket: Handle<Bucket>, values: Vec<(String, Vec<u8>)>) -> Result<(), StateError> {
        for (key, value) in values {
            self.change(&bucket, key, Change::Set(value)).await?;
        }
        Ok(())
    }

    async fn delete_many(&mut self, bucket: Handle<Bucket>, keys: Vec<String>) -> Result<(), StateError> {
        for key in keys {
            self.change(&bucket, key, Change::Delete).await?;
        }
        Ok(())
    }
}
