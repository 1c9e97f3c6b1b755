//! `tools`: calls to tool components, by name or by way of an imported interface of theirs.
//!
//! | call | by | arguments and results |
//! | --- | --- | --- |
//! | dynamic | `ambit:agent/tools.call` | JSON |
//! | typed (`typed`) | a function of a tool's own interface, imported | component values |
//!
//! Both are one effect, and take one way through the gate (`Line::dispatch`): a policy, an approval and a record see the
//! same arguments, whichever way they came.
//!
//! Every call is a task of its own, in a fresh store with the tool's own grant. It shares the budget of its caller: the
//! caller's remaining fuel is lent to the call and what is left given back, also when the call is dropped. What a tool
//! may call itself stands in its own grant; how deep that goes is the limit `tool-depth`.

mod grant;
pub(crate) mod typed;

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};
use toml::Spanned;
use wasmtime::component::{Linker, Type, Val};
use wasmtime::{AsContextMut as _, StoreContextMut};

use super::{Capability, Guarded, Names, OpenError, Setting, Target, TaskState};
use crate::budget::Cost;
use crate::gate::{Actor, Code, Denied, Durability, Effect, Failure, Guard, Inner, Outcome, Permit};
use crate::policy::schema::Action;
use crate::policy::{Attribute, Resource};
use crate::recorder::Unrecalled;
use crate::task::TaskId;
use crate::tool::value::texts;
use crate::tool::{self, Function};

pub use grant::Grant;

#[expect(missing_docs, reason = "generated from WIT, which says it")]
mod bindings {
    //! The types of `ambit:agent`.
    wasmtime::component::bindgen!({ path: "wit", inline: "package ambit:types; world types { import ambit:agent/tools@0.1.0; }" });
}
use bindings::ambit::agent::tools as wit;
pub use bindings::ambit::agent::types;

/// See the module.
pub struct Tools;

/// The longest arguments of a call, in bytes of JSON. Reading them takes the host many times that.
const LONGEST_ARGUMENTS: usize = 1 << 20;

/// `tools = { names = ["search", "quote"], reason = "…" }`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The tools that it calls.
    names: Vec<Spanned<String>>,
    /// Why.
    #[serde(default)]
    reason: String,
}

impl Request {
    /// Whether a tool is among them.
    pub fn asks_for(&self, tool: &str) -> bool {
        self.names.iter().any(|name| name.get_ref() == tool)
    }
}

/// What a store holds: the tools that it may call, and how many calls it made.
pub struct Opened {
    spawn: Arc<dyn Spawn>,
    calls: Arc<AtomicU32>,
}

/// A function of a tool is called.
#[derive(Debug, Serialize)]
pub struct Call {
    /// The tool's name in the bundle.
    pub tool: String,
    /// The function's name in the tool.
    pub function: String,
    /// The arguments, as canonical JSON.
    pub arguments: String,
    /// How deep the call is: 1 for the agent's own.
    pub depth: u64,
    /// What `arguments` was written from: the values in the order of the parameters.
    #[serde(skip)]
    pub values: Vec<Val>,
}

impl Call {
    /// A call of a function before it is known whether the tool has it.
    fn unknown((tool, function): (&str, &str), depth: u64) -> Self {
        let (tool, function) = (tool.to_owned(), function.to_owned());
        Self { tool, function, arguments: String::new(), depth, values: Vec::new() }
    }

    /// A call of a function that `tool` has, with values that are of its parameters' types.
    pub(crate) fn of(tool: &str, function: &Function, values: Vec<Val>, arguments: String, depth: u64) -> Self {
        Self { tool: tool.to_owned(), function: function.name().to_owned(), arguments, depth, values }
    }
}

impl Effect for Call {
    type Grant = Grant;
    const ACTION: &'static str = "tools.call";
    const DURABILITY: Durability = Durability::Inside;

    fn resource(&self) -> Resource {
        Resource::new("Tool", format!("{}.{}", self.tool, self.function))
            .with("tool", Attribute::String(self.tool.clone()))
            .with("function", Attribute::String(self.function.clone()))
    }

    fn context(&self) -> Vec<(&'static str, Attribute)> {
        vec![("depth", Attribute::count(self.depth)), ("bytes", Attribute::count(self.arguments.len() as u64))]
    }

    fn arguments(&self) -> Option<&[Val]> {
        Some(&self.values)
    }

    fn carries(&self) -> Vec<Cow<'_, [u8]>> {
        self.values.iter().flat_map(texts).collect()
    }

    fn shown(&self) -> Result<serde_json::Value, serde_json::Error> {
        // `serde_json` reads some floats one bit off.
        crate::tool::json::parse(&self.arguments).map_err(serde::de::Error::custom)
    }

    fn covered(&self, grant: &Grant) -> bool {
        grant.names().any(|name| name == self.tool)
    }

    fn entry(&self, grant: &Grant) -> serde_json::Value {
        grant.entry(&self.tool)
    }

    fn cost(&self) -> Cost {
        Cost { tool_calls: 1 }
    }
}

/// What a call gave: the function's result, if it has one.
pub type Answer = Option<Val>;

/// Why a call gave nothing.
#[derive(Clone, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum CallError {
    /// The gate refused the call, or something that the call cannot go on without; or the task is at its end.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The tool broke down. The caller hears `kind`, which is in the host's words; `detail` is for the record.
    #[error("{kind}")]
    Trapped {
        /// What happened.
        kind: String,
        /// What is known of it; the tool may have had a say in that.
        detail: String,
    },
    /// What it gave holds what the task was lent. The caller hears no more than that.
    #[error("{WITHHELD}")]
    Withheld,
}

/// What a caller hears where a result is withheld.
const WITHHELD: &str = "what it gave is withheld";

impl Failure for CallError {
    fn outcome(&self) -> Outcome {
        if matches!(self, Self::Withheld) { Outcome::Refused } else { Outcome::Failed }
    }

    fn text(&self) -> &str {
        if let Self::Trapped { detail, .. } = self { detail } else { "" }
    }
}

/// Where a call's fuel comes from, and where what is left goes.
pub trait Fuel: Send {
    /// Takes all that is there.
    fn take(&mut self) -> u64;
    /// Puts back what is left.
    fn give_back(&mut self, left: u64);
}

/// The caller's own fuel, while the caller waits.
struct Lent<'a>(StoreContextMut<'a, TaskState>);

impl Lent<'_> {
    fn left(&self) -> u64 {
        self.0.get_fuel().unwrap_or(0)
    }
}

impl Fuel for Lent<'_> {
    fn take(&mut self) -> u64 {
        let fuel = self.0.get_fuel().unwrap_or(0);
        // Fuel is on in every engine of ambit's: setting it cannot fail.
        let _ = self.0.set_fuel(0);
        fuel
    }

    fn give_back(&mut self, left: u64) {
        let _ = self.0.set_fuel(left);
    }
}

/// Runs tools.
pub trait Spawn: Send + Sync {
    /// A tool's functions.
    fn functions(&self, tool: &str) -> &[Arc<Function>];
    /// Calls a function as the task `task`.
    fn call<'a>(
        &'a self,
        permit: Permit<Call>,
        task: TaskId,
        caller: &'a Arc<Actor>,
        fuel: &'a mut dyn Fuel,
    ) -> Pin<Box<dyn Future<Output = Result<Answer, CallError>> + Send + 'a>>;
}

impl Capability for Tools {
    const NAME: &'static str = "tools";
    const SUMMARY: &'static str = "calls to tools of the bundle";
    const ENTITIES: &'static str = "entity Tool { tool: String, function: String };";
    const ACTIONS: &'static [Action] =
        &[Action { name: "tools.call", resource: "Tool", context: "depth: Long, bytes: Long" }];
    const INTERFACES: &'static [&'static str] = &["ambit:agent/tools"];
    type Grant = Grant;
    type Request = Request;
    type State = Opened;

    fn tools_of(names: Names<'_, Self>) -> Vec<Spanned<String>> {
        match names {
            Names::Grant(grant) => grant.places().cloned().collect(),
            Names::Request(request) => request.names.clone(),
        }
    }

    fn given(grant: &Grant) -> Vec<String> {
        grant.names().map(|name| format!("call {name}")).collect()
    }

    fn asked(request: &Request) -> Vec<String> {
        request.names.iter().map(|name| format!("call {}", name.get_ref())).collect()
    }

    fn reason(request: &Request) -> &str {
        &request.reason
    }

    fn narrow(grant: &Grant, request: &Request) -> Option<Grant> {
        grant.only(|name| request.asks_for(name))
    }

    fn find(grant: &Grant, _action: &str, resource: &str) -> Option<Target> {
        Target::of(&Call::unknown(resource.split_once('.')?, 0), grant)
    }

    async fn open(_guard: Guard<'_, Grant>, setting: &Setting<'_>) -> Result<Opened, OpenError> {
        Ok(Opened { spawn: Arc::clone(setting.spawn), calls: Arc::default() })
    }

    fn link(linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
        let mut instance = linker.instance("ambit:agent/tools@0.1.0")?;
        instance.func_wrap("list", |mut store: StoreContextMut<'_, TaskState>, (): ()| Ok((list(&mut store)?,)))?;
        instance.func_wrap_async("call", |store, (name, arguments): (String, String)| {
            Box::new(async move { call(store, &name, &arguments).await.map(|answer| (answer,)) })
        })
    }
}

/// `list`: the granted tools' functions, by name.
fn list(store: &mut StoreContextMut<'_, TaskState>) -> wasmtime::Result<Vec<wit::Tool>> {
    let scope = store.data_mut().scope::<Tools>();
    scope.guard.in_time().map_err(wasmtime::Error::new)?;
    let mut tools: Vec<wit::Tool> = scope
        .guard
        .grant()
        .into_iter()
        .flat_map(Grant::names)
        .flat_map(|tool| scope.host.spawn.functions(tool).iter().map(move |function| (tool, function)))
        .map(|(tool, function)| wit::Tool {
            name: format!("{tool}.{}", function.name()),
            description: function.description().to_owned(),
            parameters: function.parameters_schema().to_string(),
            returns: function.result_schema().to_string(),
        })
        .collect();
    tools.sort_by(|a, b| a.name.cmp(&b.name));
    tools.dedup_by(|a, b| a.name == b.name);
    Ok(tools)
}

/// What a call goes through: the caller's side of it, apart from the caller's store.
struct Line {
    guarded: Guarded,
    spawn: Arc<dyn Spawn>,
    calls: Arc<AtomicU32>,
}

impl Line {
    /// The guest crosses the import border to call a tool.
    fn open(store: &mut StoreContextMut<'_, TaskState>) -> wasmtime::Result<Self> {
        let (guarded, opened, _) = store.data_mut().detached::<Tools>();
        let line = Self { guarded, spawn: Arc::clone(&opened.spawn), calls: Arc::clone(&opened.calls) };
        line.guard().in_time().map_err(wasmtime::Error::new)?;
        Ok(line)
    }

    fn guard(&self) -> Guard<'_, Grant> {
        self.guarded.guard::<Tools>()
    }

    /// How deep the next call is.
    fn depth(&self) -> u64 {
        self.guard().actor().task.depth() as u64 + 1
    }

    /// Passes a call through the gate and runs it. The caller's fuel is lent to it meanwhile.
    async fn dispatch(&self, store: StoreContextMut<'_, TaskState>, call: Call) -> Result<Answer, CallError> {
        let guard = self.guard();
        let deepest = guard.budget().limits().tool_depth;
        if call.depth > deepest {
            let why = format!("it would be {} calls deep, and `tool-depth` is {deepest}", call.depth);
            return Err(CallError::Denied(guard.refuse(Code::NotGranted, &call, &why).await));
        }
        let number = self.calls.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let task = guard.actor().task.child(number);
        let path = task.clone();
        let functions = self.spawn.functions(&call.tool);
        let result = functions.iter().find(|known| known.name() == call.function).and_then(|known| known.result());
        guard.enter(call, path.path(), Entered { line: self, guard, task, result, store, fuel: 0 }).await
    }
}

/// A call that was allowed.
struct Entered<'a> {
    line: &'a Line,
    guard: Guard<'a, Grant>,
    task: TaskId,
    /// The type of the result.
    result: Option<&'a Type>,
    /// The caller's.
    store: StoreContextMut<'a, TaskState>,
    /// What it consumed.
    fuel: u64,
}

/// What is recorded of a call that is over.
#[derive(Serialize, Deserialize)]
struct Told {
    /// The result, as JSON.
    answer: Result<Option<String>, CallError>,
    fuel: u64,
}

impl Inner<Call> for Entered<'_> {
    type Answer = Answer;
    type Failure = CallError;
    type Told = Told;

    async fn execute(&mut self, permit: Permit<Call>) -> Result<Answer, CallError> {
        let (notes, caller) = (permit.notes(), self.guard.actor());
        let mut fuel = Lent(self.store.as_context_mut());
        let before = fuel.left();
        let answer = self.line.spawn.call(permit, self.task.clone(), caller, &mut fuel).await;
        self.fuel = before.saturating_sub(fuel.left());
        let answer = answer?;
        self.guard.free_of_loans(answer.iter().flat_map(texts)).map_err(|why| {
            notes.put("why", why);
            CallError::Withheld
        })?;
        Ok(answer)
    }

    fn told(&self, result: &Result<Answer, CallError>) -> Told {
        let told = |answer: &Answer| -> Option<String> {
            let (value, ty) = answer.as_ref().zip(self.result)?;
            // What has no JSON is no result of a tool: its caller has heard of that.
            tool::value::to_json(value, ty).ok().map(|value| written(&value))
        };
        // What a tool said when it broke down is for the record alone, and there it is covered.
        let failed = |error: &CallError| match error {
            CallError::Trapped { kind, .. } => CallError::Trapped { kind: kind.clone(), detail: String::new() },
            error => error.clone(),
        };
        Told { answer: result.as_ref().map(told).map_err(failed), fuel: self.fuel }
    }

    fn again(&mut self, Told { answer, fuel }: Told) -> Result<Answer, CallError> {
        let mut own = Lent(self.store.as_context_mut());
        let left = own.take().saturating_sub(fuel);
        own.give_back(left);
        let Some((text, ty)) = answer?.zip(self.result) else { return Ok(None) };
        let value = tool::json::parse(&text).ok().and_then(|value| tool::value::from_json(ty, &value).ok());
        value.map(Some).ok_or_else(|| Denied::from(Unrecalled::Ended).into())
    }
}

/// `call`. The outer error ends the guest.
async fn call(
    mut store: StoreContextMut<'_, TaskState>,
    name: &str,
    arguments: &str,
) -> wasmtime::Result<Result<String, wit::Error>> {
    let line = Line::open(&mut store)?;
    let guard = line.guard();
    let depth = line.depth();
    let Some((tool, function)) = name.split_once('.') else { return unanswered(&guard, wit::Error::UnknownTool) };
    // What a tool that is not granted has for functions is not told: the gate refuses the call as it stands.
    if !guard.grant().is_some_and(|grant| grant.names().any(|known| known == tool)) {
        return match line.dispatch(store, Call::unknown((tool, function), depth)).await {
            Ok(_) => Err(wasmtime::Error::msg("a tool that is not granted was called")),
            Err(error) => answered_without(error),
        };
    }
    let Some(found) = line.spawn.functions(tool).iter().find(|known| known.name() == function) else {
        return unanswered(&guard, wit::Error::UnknownTool);
    };
    if arguments.len() > LONGEST_ARGUMENTS {
        let why = format!("they have {} bytes, more than {LONGEST_ARGUMENTS}", arguments.len());
        return unanswered(&guard, wit::Error::InvalidArguments(why));
    }
    let (values, canonical) = match found.arguments(arguments) {
        Ok(arguments) => arguments,
        Err(error) => return unanswered(&guard, wit::Error::InvalidArguments(error.to_string())),
    };
    let answer = match line.dispatch(store, Call::of(tool, found, values, canonical, depth)).await {
        Ok(answer) => answer,
        Err(error) => return answered_without(error),
    };
    Ok(match found.outcome(answer.as_slice()) {
        Ok(tool::Outcome::Ok(value)) => Ok(written(&value)),
        Ok(tool::Outcome::Err(value)) => Err(wit::Error::Failed(written(&value))),
        Err(_) => Err(wit::Error::Trapped("it gave a value that cannot be JSON".to_owned())),
    })
}

/// A value as text, in one piece of memory: `to_string` would write it bit by bit.
fn written(value: &serde_json::Value) -> String {
    // A value has text keys alone: it can be written.
    serde_json::to_string(value).unwrap_or_default()
}

/// How a dynamic caller hears that a call gave nothing.
fn answered_without(error: CallError) -> wasmtime::Result<Result<String, wit::Error>> {
    match error {
        CallError::Denied(Denied::Refused(refusal)) => Ok(Err(wit::Error::Refused(shown(refusal)))),
        CallError::Denied(denied) => Err(wasmtime::Error::new(denied)),
        CallError::Trapped { kind, .. } => Ok(Err(wit::Error::Trapped(kind))),
        CallError::Withheld => Ok(Err(wit::Error::Trapped(WITHHELD.to_owned()))),
    }
}

/// A call that is none: it counts as an attempt, so that a guest cannot make them for ever.
fn unanswered(guard: &Guard<'_, Grant>, error: wit::Error) -> wasmtime::Result<Result<String, wit::Error>> {
    guard.budget().attempt().map_err(|exhausted| wasmtime::Error::new(Denied::Exhausted(exhausted)))?;
    Ok(Err(error))
}

/// A refusal in the words of WIT.
pub(crate) fn shown(refusal: crate::gate::Refusal) -> types::Refusal {
    let code = match refusal.code {
        Code::NotGranted => types::RefusalCode::NotGranted,
        Code::Denied => types::RefusalCode::Denied,
        Code::NeedsApproval => types::RefusalCode::NeedsApproval,
        Code::Quota => types::RefusalCode::Quota,
        Code::Unavailable => types::RefusalCode::Unavailable,
    };
    types::Refusal { code, record: refusal.record }
}
