//! `label`: taking a label off.
//!
//! A label sticks to whatever touched labelled data, and only this takes it off: an effect that the grant has to list and
//! that a rule has to permit. It is for components that the operator trusts to let nothing through that the label is for.
//! A caller keeps what it carried before it called such a component.

use serde::{Deserialize, Serialize};
use wasmtime::component::Linker;

use super::tools::{shown, types};
use super::{Capability, Lens, OpenError, Scope, Setting, Target, TaskState};
use crate::gate::{Denied, Durability, Effect, Failure, Guard};
use crate::label::Labels;
use crate::policy::Resource;
use crate::policy::schema::Action;

mod bindings {
    //! `ambit:agent/labels`.
    wasmtime::component::bindgen!({
        path: "wit",
        inline: "package ambit:label; world label { import ambit:agent/labels@0.1.0; }",
        imports: { default: async | trappable },
        with: { "ambit:agent/types": crate::capability::tools::types },
    });
}
use bindings::ambit::agent::labels;

/// See the module.
pub struct Label;

/// `label = { remove = ["confidential"] }`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// What may be taken off.
    remove: Labels,
}

/// `label = { remove = ["confidential"], reason = "…" }`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// What it would take off.
    remove: Labels,
    /// Why.
    #[serde(default)]
    reason: String,
}

/// What a store holds: nothing, for its labels are its task's.
#[derive(Debug)]
pub struct Opened;

/// A label is taken off.
#[derive(Debug, Serialize)]
struct Remove {
    /// What the guest called it.
    name: String,
    /// The label of that name, if there can be one.
    #[serde(skip)]
    label: Option<crate::label::Label>,
}

impl Remove {
    /// The label of that name is taken off.
    fn of(name: String) -> Self {
        Self { label: name.parse().ok(), name }
    }
}

impl Effect for Remove {
    type Grant = Grant;
    const ACTION: &'static str = "label.remove";
    const DURABILITY: Durability = Durability::Inside;

    fn resource(&self) -> Resource {
        Resource::new("Label", self.name.clone())
    }

    fn covered(&self, grant: &Grant) -> bool {
        self.label.as_ref().is_some_and(|label| grant.remove.contains(label))
    }

    fn entry(&self, _grant: &Grant) -> serde_json::Value {
        serde_json::json!({ "remove": [self.name] })
    }
}

/// Why a label stays.
struct Kept(Denied);

impl From<Denied> for Kept {
    fn from(denied: Denied) -> Self {
        Self(denied)
    }
}

impl Failure for Kept {}

impl Capability for Label {
    const NAME: &'static str = "label";
    const SUMMARY: &'static str = "taking labels off";
    const ENTITIES: &'static str = "entity Label;";
    const ACTIONS: &'static [Action] = &[Action { name: "label.remove", resource: "Label", context: "" }];
    const INTERFACES: &'static [&'static str] = &["ambit:agent/labels"];
    type Grant = Grant;
    type Request = Request;
    type State = Opened;

    fn given(grant: &Grant) -> Vec<String> {
        grant.remove.iter().map(|label| format!("take off {label}")).collect()
    }

    fn asked(request: &Request) -> Vec<String> {
        request.remove.iter().map(|label| format!("take off {label}")).collect()
    }

    fn reason(request: &Request) -> &str {
        &request.reason
    }

    fn narrow(grant: &Grant, request: &Request) -> Option<Grant> {
        let remove: Labels = grant.remove.iter().filter(|label| request.remove.contains(label)).cloned().collect();
        (!remove.is_empty()).then_some(Grant { remove })
    }

    fn find(grant: &Grant, _action: &str, resource: &str) -> Option<Target> {
        Target::of(&Remove::of(resource.to_owned()), grant)
    }

    async fn open(_guard: Guard<'_, Grant>, _setting: &Setting<'_>) -> Result<Opened, OpenError> {
        Ok(Opened)
    }

    fn link(linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
        labels::add_to_linker::<_, Lens<Self>>(linker, TaskState::scope::<Self>)
    }
}

impl labels::Host for Scope<'_, Label> {
    async fn list(&mut self) -> wasmtime::Result<Vec<String>> {
        self.guard.in_time().map_err(wasmtime::Error::new)?;
        // What the task was answered meanwhile can have brought some.
        let carried = || self.guard.actor().labels.now().iter().map(ToString::to_string).collect();
        self.guard.recall("label.list", &[], carried).map_err(wasmtime::Error::new)
    }

    async fn remove(&mut self, label: String) -> wasmtime::Result<Result<(), types::Refusal>> {
        let guard = &self.guard;
        let removed = guard.renew(Remove::of(label), async |permit| {
            if let Some(label) = permit.redeem().label {
                guard.actor().labels.remove(&label);
            }
            Ok::<_, Kept>(())
        });
        match removed.await {
            Ok(()) => Ok(Ok(())),
            Err(Kept(Denied::Refused(refusal))) => Ok(Err(shown(refusal))),
            Err(Kept(denied)) => Err(wasmtime::Error::new(denied)),
        }
    }
}
