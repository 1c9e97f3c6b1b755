//! `identity`: who a task is, to others, and tokens that say so.
//!
//! A token is handed out for granted audiences alone, for minutes, to components that have to pass it on by other ways than a
//! header of a request. Where a header will do, a rule of `http` attaches one, and the component does not see it
//! (`credential = { token = "…" }`). An audience is a sink: what a token says of a task, its audience learns.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::de::Deserializer;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use wasmtime::component::Linker;

use super::http::Ticket;
use super::secrets::Answer;
use super::tools::{shown, types};
use super::{Again, Capability, Lens, OpenError, Scope, Setting, Target, TaskState};
use crate::gate::{Confided, Denied, Durability, Effect, Failure, Guard, Notes, Permit};
use crate::identity::{LONGEST, Subject};
use crate::label::Labels;
use crate::manifest::{HumanDuration, reject};
use crate::policy::judged::Judged;
use crate::policy::schema::Action;
use crate::policy::{Attribute, Resource};
use crate::secret::Secret;

mod bindings {
    //! `ambit:agent/identity`.
    wasmtime::component::bindgen!({
        path: "wit",
        inline: "package ambit:identity; world identity { import ambit:agent/identity@0.1.0; }",
        imports: { default: async | trappable },
        with: { "ambit:agent/types": crate::capability::tools::types },
    });
}
use bindings::ambit::agent::identity;

/// See the module.
pub struct Identity;

/// `{ audience = "https://billing.example.net", lifetime = "2m", accepts = ["confidential"] }`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    audience: String,
    #[serde(default = "minutes", deserialize_with = "short")]
    lifetime: HumanDuration,
    #[serde(default)]
    accepts: Labels,
}

fn minutes() -> HumanDuration {
    HumanDuration::from_millis(120_000)
}

fn short<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HumanDuration, D::Error> {
    let lifetime = HumanDuration::deserialize(deserializer)?;
    if lifetime.duration() < Duration::from_secs(1) || lifetime.duration() > LONGEST {
        return Err(reject("a token is good for minutes: it cannot be taken back", "write at most `5m`"));
    }
    Ok(lifetime)
}

/// `identity = { audiences = [{ audience = "https://billing.example.net" }] }`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    audiences: Vec<Entry>,
}

impl Grant {
    fn entry(&self, audience: &str) -> Option<&Entry> {
        self.audiences.iter().find(|entry| entry.audience == audience)
    }
}

/// `identity = { audiences = ["https://billing.example.net"], reason = "…" }`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    audiences: Vec<String>,
    /// Why.
    #[serde(default)]
    reason: String,
}

/// A token is handed out.
#[derive(Debug, Serialize)]
pub struct Token {
    /// For whom.
    pub audience: String,
    /// For how long, in seconds.
    pub seconds: u64,
    /// Who it is about.
    #[serde(skip)]
    pub subject: Option<Subject>,
}

impl Effect for Token {
    type Grant = Grant;
    const ACTION: &'static str = "identity.token";
    const DURABILITY: Durability = Durability::Outside;

    fn resource(&self) -> Resource {
        Resource::new("Audience", self.audience.clone())
    }

    fn context(&self) -> Vec<(&'static str, Attribute)> {
        vec![("seconds", Attribute::count(self.seconds))]
    }

    fn covered(&self, grant: &Grant) -> bool {
        let most = |entry: &Entry| entry.lifetime.duration().as_secs();
        grant.entry(&self.audience).is_some_and(|entry| (1..=most(entry)).contains(&self.seconds))
    }

    fn entry(&self, grant: &Grant) -> serde_json::Value {
        let Some(Entry { audience, lifetime, accepts }) = grant.entry(&self.audience) else { return Value::Null };
        let mut entry = json!({ "audience": audience, "lifetime": lifetime });
        if !accepts.is_empty() {
            entry["accepts"] = json!(accepts);
        }
        json!({ "audiences": [entry] })
    }

    fn accepts(&self, grant: &Grant) -> Option<Labels> {
        Some(grant.entry(&self.audience).map(|entry| entry.accepts.clone()).unwrap_or_default())
    }
}

/// Mints tokens.
pub trait Minter: Send + Sync {
    /// The SPIFFE id of a task; none where it would be too long.
    fn id(&self, subject: &Subject) -> Option<String>;
    /// A token to be handed out.
    fn token(&self, permit: Permit<Token>) -> Answer;
    /// A token to be attached to requests.
    fn attach(&self, permit: Permit<Ticket>) -> Answer;
}

/// What a store holds.
pub struct Opened(Arc<dyn Minter>);

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opened")
    }
}

/// Why there is no token.
#[derive(Serialize, Deserialize)]
enum Untold {
    Denied(Denied),
    Unminted,
}

impl From<Denied> for Untold {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

impl Failure for Untold {}

impl Capability for Identity {
    const NAME: &'static str = "identity";
    const SUMMARY: &'static str = "tokens that say who the task is";
    const ENTITIES: &'static str = "entity Audience;";
    const ACTIONS: &'static [Action] =
        &[Action { name: "identity.token", resource: "Audience", context: "host?: String, seconds: Long" }];
    const INTERFACES: &'static [&'static str] = &["ambit:agent/identity"];
    type Grant = Grant;
    type Request = Request;
    type State = Opened;

    fn given(grant: &Grant) -> Vec<String> {
        grant.audiences.iter().map(|entry| format!("token for {}", entry.audience)).collect()
    }

    fn asked(request: &Request) -> Vec<String> {
        request.audiences.iter().map(|audience| format!("token for {audience}")).collect()
    }

    fn reason(request: &Request) -> &str {
        &request.reason
    }

    fn narrow(grant: &Grant, request: &Request) -> Option<Grant> {
        let audiences = grant.audiences.iter().filter(|entry| request.audiences.contains(&entry.audience));
        let audiences: Vec<_> = audiences.cloned().collect();
        (!audiences.is_empty()).then_some(Grant { audiences })
    }

    fn find(grant: &Grant, _action: &str, resource: &str) -> Option<Target> {
        let seconds = grant.entry(resource)?.lifetime.duration().as_secs();
        Target::of(&Token { audience: resource.to_owned(), seconds, subject: None }, grant)
    }

    fn again(grant: &Grant, judged: &Judged) -> Option<Again> {
        // One that is attached to requests is a matter of `http`.
        if judged.context("host").is_some() {
            return None;
        }
        let (audience, seconds) = (judged.resource.name.clone(), judged.number("seconds")?);
        Target::of(&Token { audience, seconds, subject: None }, grant).map(Again::from)
    }

    async fn open(_guard: Guard<'_, Grant>, setting: &Setting<'_>) -> Result<Opened, OpenError> {
        Ok(Opened(Arc::clone(&setting.ports.minter)))
    }

    fn link(linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
        identity::add_to_linker::<_, Lens<Self>>(linker, TaskState::scope::<Self>)
    }
}

impl identity::Host for Scope<'_, Identity> {
    async fn whoami(&mut self) -> wasmtime::Result<String> {
        self.guard.in_time().map_err(wasmtime::Error::new)?;
        let id = self.host.0.id(&self.guard.subject());
        id.ok_or_else(|| wasmtime::Error::msg("the task's name is too long for a SPIFFE id"))
    }

    async fn token(
        &mut self,
        audience: String,
        lifetime_seconds: Option<u32>,
    ) -> wasmtime::Result<Result<String, types::Refusal>> {
        let Scope { guard, host: Opened(minter), .. } = self;
        let granted = guard.grant().and_then(|grant| grant.entry(&audience));
        let granted = granted.map(|entry| entry.lifetime.duration().as_secs()).unwrap_or_default();
        let seconds = lifetime_seconds.map_or(granted, u64::from);
        let name = format!("token for {audience}");
        let told = std::sync::OnceLock::new();
        let unminted = |why: String| {
            told.get().into_iter().for_each(|notes: &Notes| notes.put("error", crate::audit::escaped(&why)));
            Untold::Unminted
        };
        let mint = async |permit: Permit<Token>| {
            told.get_or_init(|| permit.notes());
            let lent = minter.token(permit).await.map_err(|why| unminted(why.to_string()))?;
            let until = Some(crate::config::wall_clock() + Duration::from_secs(seconds));
            Ok(Confided { value: lent.value.expose().to_vec(), version: None, until })
        };
        let take = |confided: Result<Confided, Untold>| {
            let value = Secret::new(confided?.value.into()).map_err(|why| unminted(why.to_string()))?;
            guard.leaks().watch(&name, &value).map_err(|why| unminted(why.to_string()))?;
            // It was made to be passed on by this store, and by no other.
            guard.actor().show(&name);
            String::from_utf8(value.expose().to_vec()).map_err(|_| unminted("it is no text".to_owned()))
        };
        let token = Token { audience, seconds, subject: Some(guard.subject()) };
        let run = guard.answer_sealed(token, mint, |_| true, take);
        match run.await {
            Ok(token) => Ok(Ok(token)),
            Err(Untold::Denied(Denied::Refused(refusal))) => Ok(Err(shown(refusal))),
            Err(Untold::Denied(denied)) => Err(wasmtime::Error::new(denied)),
            Err(Untold::Unminted) => Ok(Err(types::Refusal { code: types::RefusalCode::Unavailable, record: 0 })),
        }
    }
}
