//! `secrets`: what a task is lent, and who may see it.
//!
//! A **lease** gives the host the right to attach a secret to a component's requests to one place, for minutes; the
//! component sees nothing of it. It is asked for by the host, when a request that a rule with a `credential` lists is about
//! to be sent and no lease holds (`lease`). A **reveal** hands a secret to a component that must sign or decrypt by itself:
//! it has to be granted by name, the component is labelled by it, and everything but that component's own store is guarded
//! against the value ([`crate::leak`]).
//!
//! What a component may not have, what is not there, and what it may only have attached are the same to it.

pub(super) mod lease;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wasmtime::component::Linker;

use super::http::Lease;
use super::tools::{shown, types};
use super::{Capability, Lens, OpenError, Scope, Setting, Target, TaskState};
use crate::gate::{Confided, Denied, Durability, Effect, Failure, Guard, Notes, Permit};
use crate::label::Labels;
use crate::policy::Resource;
use crate::policy::schema::Action;
use crate::secret::{Secret, SecretName};

mod bindings {
    //! `ambit:agent/secrets`.
    wasmtime::component::bindgen!({
        path: "wit",
        inline: "package ambit:secrets; world secrets { import ambit:agent/secrets@0.1.0; }",
        imports: { default: async | trappable },
        with: { "ambit:agent/types": crate::capability::tools::types },
    });
}
use bindings::ambit::agent::secrets;

/// See the module.
pub struct Secrets;

/// A secret that a component may see: `{ reveal = "signing-key", labels = ["secret"] }`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Revealed {
    reveal: SecretName,
    #[serde(default = "secret")]
    labels: Labels,
}

fn secret() -> Labels {
    "secret".parse().into_iter().collect()
}

/// `secrets = [{ reveal = "signing-key", labels = ["secret"] }]`
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct Grant(Vec<Revealed>);

impl Grant {
    fn entry(&self, name: &str) -> Option<&Revealed> {
        self.0.iter().find(|entry| entry.reveal.as_str() == name)
    }
}

/// `secrets = { reveal = ["signing-key"], reason = "…" }`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    reveal: Vec<SecretName>,
    /// Why.
    #[serde(default)]
    reason: String,
}

/// A secret is revealed to a component.
#[derive(Debug, Serialize)]
pub struct Reveal {
    /// What the guest called it.
    pub name: String,
}

impl Effect for Reveal {
    type Grant = Grant;
    const ACTION: &'static str = "secrets.reveal";
    const DURABILITY: Durability = Durability::Outside;

    fn resource(&self) -> Resource {
        Resource::new("Secret", self.name.clone())
    }

    fn covered(&self, grant: &Grant) -> bool {
        grant.entry(&self.name).is_some()
    }

    fn entry(&self, grant: &Grant) -> serde_json::Value {
        let entry = grant.entry(&self.name);
        entry
            .map(|entry| serde_json::json!([{ "reveal": entry.reveal.as_str(), "labels": entry.labels }]))
            .unwrap_or_default()
    }
}

/// A secret, for as long as it is lent.
#[derive(Debug)]
pub struct Lent {
    /// The value.
    pub value: Secret,
    /// Which of the secret's values it is, where the source can tell them apart.
    pub version: Option<String>,
    /// How long the source gives it for, where it says so.
    pub lasts: Option<Duration>,
    /// What was given for it, and is no more for others than it.
    pub beside: Option<Secret>,
}

/// Why there is no value. It says nothing of one.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unlent(pub String);

/// A value, later.
pub type Answer = Pin<Box<dyn Future<Output = Result<Lent, Unlent>> + Send>>;

/// Has the secrets.
pub trait Broker: Send + Sync {
    /// Gives a secret that is lent.
    fn lend(&self, permit: Permit<Lease>) -> Answer;
    /// Gives a secret that is revealed.
    fn reveal(&self, permit: Permit<Reveal>) -> Answer;
    /// Whether each task, and each call within it, has one of its own.
    fn is_of_a_task(&self, name: &SecretName) -> bool;
    /// Which of a secret's values is the present one: another than the one that was lent ends a lease.
    ///
    /// # Errors
    /// When there is none any more.
    fn version(&self, name: &SecretName) -> Result<Option<String>, Unlent>;
}

/// What a store holds.
pub struct Opened(Arc<dyn Broker>);

/// Why a secret is not revealed.
#[derive(Serialize, Deserialize)]
enum Kept {
    Denied(Denied),
    Unlent,
}

impl From<Denied> for Kept {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

impl Failure for Kept {}

impl Capability for Secrets {
    const NAME: &'static str = "secrets";
    const SUMMARY: &'static str = "secrets in plain view, for what must sign by itself";
    const ENTITIES: &'static str = "entity Secret;";
    const ACTIONS: &'static [Action] = &[
        Action { name: "secrets.lease", resource: "Secret", context: "host: String, seconds: Long" },
        Action { name: "secrets.reveal", resource: "Secret", context: "" },
    ];
    const INTERFACES: &'static [&'static str] = &["ambit:agent/secrets"];
    type Grant = Grant;
    type Request = Request;
    type State = Opened;

    fn given(grant: &Grant) -> Vec<String> {
        grant.0.iter().map(|entry| format!("see {}", entry.reveal)).collect()
    }

    fn asked(request: &Request) -> Vec<String> {
        request.reveal.iter().map(|name| format!("see {name}")).collect()
    }

    fn reason(request: &Request) -> &str {
        &request.reason
    }

    fn narrow(grant: &Grant, request: &Request) -> Option<Grant> {
        let entries = grant.0.iter().filter(|entry| request.reveal.contains(&entry.reveal));
        let entries: Vec<_> = entries.cloned().collect();
        (!entries.is_empty()).then_some(Grant(entries))
    }

    fn find(grant: &Grant, action: &str, resource: &str) -> Option<Target> {
        if action == Reveal::ACTION { Target::of(&Reveal { name: resource.to_owned() }, grant) } else { None }
    }

    async fn open(_guard: Guard<'_, Grant>, setting: &Setting<'_>) -> Result<Opened, OpenError> {
        Ok(Opened(Arc::clone(&setting.ports.broker)))
    }

    fn link(linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
        secrets::add_to_linker::<_, Lens<Self>>(linker, TaskState::scope::<Self>)
    }
}

impl secrets::Host for Scope<'_, Secrets> {
    async fn reveal(&mut self, name: String) -> wasmtime::Result<Result<Vec<u8>, types::Refusal>> {
        let Scope { guard, host: Opened(broker), .. } = self;
        let labels = guard.grant().and_then(|grant| grant.entry(&name)).map(|entry| entry.labels.clone());
        let told = std::sync::OnceLock::new();
        let unlent = |why: String| {
            told.get().into_iter().for_each(|notes: &Notes| notes.put("error", crate::audit::escaped(&why)));
            Kept::Unlent
        };
        let reveal = async |permit: Permit<Reveal>| {
            told.get_or_init(|| permit.notes());
            let lent = broker.reveal(permit).await.map_err(|why| unlent(why.to_string()))?;
            let value = lent.value.expose().to_vec();
            let until = lent.lasts.map(|lasts| crate::config::wall_clock() + lasts);
            Ok(Confided { value, version: lent.version, until })
        };
        let holds = |confided: &Confided| {
            let secret = name.parse::<SecretName>().ok().and_then(|secret| broker.version(&secret).ok());
            secret.is_some_and(|version| version == confided.version)
        };
        let take = |confided: Result<Confided, Kept>| {
            let value = Secret::new(confided?.value.into()).map_err(|why| unlent(why.to_string()))?;
            guard.leaks().watch(&name, &value).map_err(|why| unlent(why.to_string()))?;
            guard.gain(&labels.unwrap_or_default());
            guard.actor().show(&name);
            Ok(value.expose().to_vec())
        };
        let run = guard.answer_sealed(Reveal { name: name.clone() }, reveal, holds, take);
        match run.await {
            Ok(value) => Ok(Ok(value)),
            Err(Kept::Denied(Denied::Refused(refusal))) => Ok(Err(shown(refusal))),
            Err(Kept::Denied(denied)) => Err(wasmtime::Error::new(denied)),
            // It was allowed, and its outcome says what is wrong; the guest hears that it is not to be had.
            Err(Kept::Unlent) => Ok(Err(types::Refusal { code: types::RefusalCode::Unavailable, record: 0 })),
        }
    }
}

/// A broker that has no secrets.
#[cfg(test)]
pub(crate) struct Without;

#[cfg(test)]
impl Broker for Without {
    fn lend(&self, _permit: Permit<Lease>) -> Answer {
        Box::pin(async { Err(Unlent("there are no secrets".to_owned())) })
    }

    fn reveal(&self, _permit: Permit<Reveal>) -> Answer {
        Box::pin(async { Err(Unlent("there are no secrets".to_owned())) })
    }

    fn is_of_a_task(&self, _name: &SecretName) -> bool {
        false
    }

    fn version(&self, _name: &SecretName) -> Result<Option<String>, Unlent> {
        Err(Unlent("there are no secrets".to_owned()))
    }
}

#[cfg(test)]
impl super::identity::Minter for Without {
    fn id(&self, _subject: &crate::identity::Subject) -> Option<String> {
        None
    }

    fn token(&self, _permit: Permit<super::identity::Token>) -> Answer {
        Box::pin(async { Err(Unlent("there are no tokens".to_owned())) })
    }

    fn attach(&self, _permit: Permit<super::http::Ticket>) -> Answer {
        Box::pin(async { Err(Unlent("there are no tokens".to_owned())) })
    }
}
