//! `env`: variables and arguments that a component can read.
//!
//! The operator lists each variable, with a value (`set`) or by the name of one of the host's own (`inherit`). Not
//! granted, a component sees no variables and no arguments.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wasmtime::component::Linker;
use wasmtime_wasi::p2::bindings::cli::environment;

use super::{Capability, Lens, OpenError, Scope, Setting, Target, TaskState};
use crate::gate::{Durability, Effect, Guard, Permit};
use crate::policy::Resource;
use crate::policy::schema::Action;

/// See the module.
pub struct Env;

/// `env = { set = { MODE = "fast" }, inherit = ["LANG"], arguments = ["--quick"] }`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Variables with their values.
    #[serde(default)]
    set: BTreeMap<String, String>,
    /// Variables that have the host's own values; one that the host does not have is left out.
    #[serde(default)]
    inherit: Vec<String>,
    /// Arguments, the program's name not among them.
    #[serde(default)]
    arguments: Vec<String>,
}

/// `env = { names = ["LANG"], arguments = true, reason = "…" }`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Variables that it reads.
    #[serde(default)]
    names: Vec<String>,
    /// Whether it reads arguments.
    #[serde(default)]
    arguments: bool,
    /// Why.
    #[serde(default)]
    reason: String,
}

/// What a component reads: variables in the order of their names, and arguments.
#[derive(Debug, Default)]
pub struct Opened {
    variables: Vec<(String, String)>,
    arguments: Vec<String>,
}

/// A component is shown one variable, or its arguments.
#[derive(Debug, Serialize)]
pub struct Read {
    /// The variable's name.
    pub name: String,
}

/// The host's own variables.
pub trait Variables: Send + Sync {
    /// The value of one, if the host has it.
    fn value(&self, permit: Permit<Read>) -> Option<String>;
}

impl Effect for Read {
    type Grant = Grant;
    const ACTION: &'static str = "env.read";
    const DURABILITY: Durability = Durability::Inside;

    fn resource(&self) -> Resource {
        Resource::new("Variable", self.name.clone())
    }

    fn covered(&self, grant: &Grant) -> bool {
        grant.set.contains_key(&self.name)
            || grant.inherit.contains(&self.name)
            || (self.name == ARGUMENTS && !grant.arguments.is_empty())
    }

    fn entry(&self, grant: &Grant) -> serde_json::Value {
        match grant.set.get(&self.name) {
            Some(value) => serde_json::json!({ "set": { &self.name: value } }),
            None if self.name == ARGUMENTS => serde_json::json!({ "arguments": grant.arguments }),
            None => serde_json::json!({ "inherit": [self.name] }),
        }
    }
}

/// How policies name the arguments. No variable can have this name.
const ARGUMENTS: &str = "=arguments";

impl Capability for Env {
    const NAME: &'static str = "env";
    const SUMMARY: &'static str = "environment variables and arguments";
    const ENTITIES: &'static str = "entity Variable;";
    const ACTIONS: &'static [Action] = &[Action { name: "env.read", resource: "Variable", context: "" }];
    const INTERFACES: &'static [&'static str] = &["wasi:cli/environment"];
    const POWERLESS: bool = true;
    type Grant = Grant;
    type Request = Request;
    type State = Opened;

    fn given(grant: &Grant) -> Vec<String> {
        let arguments = (!grant.arguments.is_empty()).then(|| "arguments".to_owned());
        grant.set.keys().chain(&grant.inherit).map(|name| format!("read {name}")).chain(arguments).collect()
    }

    fn asked(request: &Request) -> Vec<String> {
        let arguments = request.arguments.then(|| "arguments".to_owned());
        request.names.iter().map(|name| format!("read {name}")).chain(arguments).collect()
    }

    fn reason(request: &Request) -> &str {
        &request.reason
    }

    fn narrow(grant: &Grant, request: &Request) -> Option<Grant> {
        let mut grant = grant.clone();
        grant.set.retain(|name, _| request.names.contains(name));
        grant.inherit.retain(|name| request.names.contains(name));
        if !request.arguments {
            grant.arguments.clear();
        }
        (!grant.set.is_empty() || !grant.inherit.is_empty() || !grant.arguments.is_empty()).then_some(grant)
    }

    fn find(grant: &Grant, _action: &str, resource: &str) -> Option<Target> {
        Target::of(&Read { name: resource.to_owned() }, grant)
    }

    fn powerless(_setting: &Setting<'_>) -> Option<Opened> {
        Some(Opened::default())
    }

    async fn open(guard: Guard<'_, Grant>, setting: &Setting<'_>) -> Result<Opened, OpenError> {
        let mut opened = Opened::default();
        let Some(grant) = guard.grant() else { return Ok(opened) };
        let inherited = grant.inherit.iter().filter(|name| !grant.set.contains_key(*name));
        let mut names: Vec<&String> = grant.set.keys().chain(inherited).collect();
        names.sort();
        names.dedup();
        for name in names {
            let read = guard.answer(Read { name: name.clone() }, async |permit| {
                let value = match grant.set.get(name) {
                    Some(value) => Some(value.clone()),
                    None => setting.ports.variables.value(permit),
                };
                Ok::<_, OpenError>(value.map(|value| (name.clone(), value)))
            });
            opened.variables.extend(read.await?);
        }
        if !grant.arguments.is_empty() {
            let read = guard.answer(Read { name: ARGUMENTS.to_owned() }, async |permit| {
                permit.redeem();
                Ok::<_, OpenError>(grant.arguments.clone())
            });
            opened.arguments = read.await?;
        }
        Ok(opened)
    }

    fn link(linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
        environment::add_to_linker::<_, Lens<Self>>(linker, TaskState::scope::<Self>)
    }
}

impl environment::Host for Scope<'_, Env> {
    fn get_environment(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        Ok(self.host.variables.clone())
    }

    fn get_arguments(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(self.host.arguments.clone())
    }

    fn initial_cwd(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(None)
    }
}
