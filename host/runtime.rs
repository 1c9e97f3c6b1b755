//! Runs what a plan holds: the only place where a store is made.
//!
//! A task is a [`Session`]: a gate, a plan, and the ports to the outside. The agent and every tool call run in a store of
//! their own, which ends with them. Fuel goes down the tree and back: a caller's remaining fuel is put into the store of
//! the call, and what is left there is put back, also when the call is dropped half-way.

pub mod imports;
pub mod plan;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use wasmtime::component::{Instance, Val};
use wasmtime::{PoolConcurrencyLimitError, Store, Trap};
use wasmtime_wasi::I32Exit;

use crate::budget::{Exhausted, Limit};
use crate::capability::tools::typed::BrokenTool;
use crate::capability::tools::{Answer, Call, CallError, Fuel, Spawn, types};
use crate::capability::{OpenError, Ports, Setting, Shared, TaskState};
use crate::engine::{Limiter, YIELD_INTERVAL};
use crate::gate::{Actor, Denied, Gate, Permit, Refusal};
use crate::recorder::Unrecalled;
use crate::task::{Seeds, TaskId};
use crate::tool::{Function, Outcome};
use plan::{Plan, Unit};

/// A task that runs.
pub struct Session {
    plan: Arc<Plan>,
    gate: Arc<Gate>,
    seeds: Seeds,
    ports: Arc<Ports>,
    shared: Shared,
    itself: Weak<Session>,
}

/// Why a store gave no result.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// Something that it cannot go on without was refused.
    #[error(transparent)]
    Refused(Refusal),
    /// A limit of the whole task is spent.
    #[error(transparent)]
    Exhausted(Exhausted),
    /// It cannot go on on what was recorded of it.
    #[error(transparent)]
    Unrecalled(Unrecalled),
    /// The host could not give what it was granted.
    #[error("{0}")]
    Unavailable(String),
    /// The guest broke down. `kind` is in the host's words alone; `detail` may hold what the guest said.
    #[error("{kind}")]
    Trapped {
        /// What happened.
        kind: String,
        /// Everything that wasmtime says of it.
        detail: String,
    },
}

/// The shortest time that a timer is set to.
const TICK: Duration = Duration::from_millis(10);

/// What the agent gave.
pub type Given = Result<String, types::Failure>;

impl Session {
    /// A task with a plan, about to run.
    pub fn new(plan: Arc<Plan>, gate: Arc<Gate>, seeds: Seeds, ports: Arc<Ports>) -> Arc<Self> {
        Arc::new_cyclic(|itself| Self {
            plan,
            gate,
            seeds,
            ports,
            shared: Shared::default(),
            itself: Weak::clone(itself),
        })
    }

    /// Runs the agent on an input until it ends, its time is over, or the future is dropped.
    ///
    /// # Errors
    /// Why it gave no result.
    pub async fn run(&self, actor: &Arc<Actor>, input: &str, tank: &mut Tank) -> Result<Given, Broken> {
        let run = std::pin::pin!(async {
            let unit = &self.plan.root;
            let (mut running, instance) = Box::pin(self.enter(unit, actor, None, tank)).await?;
            let export = unit.run.as_ref().ok_or_else(|| Broken::Unavailable("it is no agent".to_owned()))?;
            let store = &mut running.store;
            let broken = |error| self.broken(&error);
            let run = instance.get_typed_func::<(&str,), (Given,)>(&mut *store, export).map_err(broken)?;
            let (given,) = run.call_async(&mut *store, (input,)).await.map_err(broken)?;
            Ok(given)
        });
        self.within_time(run).await
    }

    /// Runs one function of the tool that the plan is made of.
    ///
    /// # Errors
    /// Why it gave no result.
    pub async fn call_root(
        &self,
        actor: &Arc<Actor>,
        function: &Function,
        arguments: &[Val],
        tank: &mut Tank,
    ) -> Result<Outcome, Broken> {
        let call = std::pin::pin!(self.invoke(&self.plan.root, actor, None, function, arguments, tank));
        let answer = self.within_time(call).await?;
        function.outcome(answer.as_slice()).map_err(|error| {
            let kind = "it gave a value that cannot be JSON".to_owned();
            Broken::Trapped { kind, detail: error.to_string() }
        })
    }

    /// The plan that runs.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The future is where it will stay: it is large, and each time that it is moved costs.
    async fn within_time<T>(&self, mut run: Pin<&mut impl Future<Output = Result<T, Broken>>>) -> Result<T, Broken> {
        let budget = &self.gate.budget;
        budget.begin();
        // Most tasks never wait: they need no timer, and nothing can end them meanwhile.
        if let Some(why) = self.gate.recorder.ended() {
            return Err(Broken::Unrecalled(why));
        }
        if let Poll::Ready(result) = std::future::poll_fn(|context| Poll::Ready(run.as_mut().poll(context))).await {
            return self.result(result);
        }
        loop {
            // While a person is waited for, the time that is left stays what it is.
            let ended = self.gate.recorder.until_ended();
            let timed = tokio::time::timeout(budget.time_left().max(TICK), &mut run);
            let timed = tokio::select! {
                biased;
                why = ended => return Err(Broken::Unrecalled(why)),
                timed = timed => timed,
            };
            match timed {
                Ok(result) => return self.result(result),
                Err(_) => budget.in_time().map_err(Broken::Exhausted)?,
            }
        }
    }

    /// What came of it, unless a limit was spent that nothing stopped it at.
    fn result<T>(&self, result: Result<T, Broken>) -> Result<T, Broken> {
        let budget = &self.gate.budget;
        // What never waits never comes to the timer.
        budget.in_time().and(budget.overdrawn()).map_err(Broken::Exhausted).and(result)
    }

    /// Makes a store for a component, with everything that it is granted opened, and instantiates it there.
    #[expect(clippy::disallowed_methods, reason = "the only place where a store is made")]
    async fn enter<'f>(
        &self,
        unit: &Unit,
        actor: &Arc<Actor>,
        caller: Option<&Arc<Actor>>,
        fuel: &'f mut dyn Fuel,
    ) -> Result<(Running<'f>, Instance), Broken> {
        let carried = CarriedBack { actor: Arc::clone(actor), caller: caller.cloned() };
        let spawn = self.itself.upgrade().ok_or_else(|| Broken::Unavailable("the task has ended".to_owned()))?;
        let spawn = &(spawn as Arc<dyn Spawn>);
        let (ports, bundle, seeds, gate) = (&self.ports, &*self.plan.bundle, &self.seeds, &self.gate);
        let (shared, together) = (&self.shared, Shared::default());
        let setting = Setting { ports, spawn, bundle, seeds, gate, actor, shared, store: &together };
        let limiter = Limiter::new(Arc::clone(&gate.budget));
        let state = TaskState::open(setting, &unit.grants, limiter).await.map_err(unopened)?;
        let limits = gate.budget.limits();
        let mut store = Store::new(unit.pre.component().engine(), state);
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(usize::try_from(limits.host_call).unwrap_or(usize::MAX));
        store.set_max_component_handles(usize::try_from(limits.handles).unwrap_or(usize::MAX));
        let mut running = Running { store, fuel, _carried: carried };
        let broken = |error: wasmtime::Error| self.broken(&error);
        let lent = running.fuel.take();
        running.store.set_fuel(lent).map_err(broken)?;
        running.store.fuel_async_yield_interval(Some(YIELD_INTERVAL)).map_err(broken)?;
        let instance = unit.pre.instantiate_async(&mut running.store).await.map_err(|error| {
            if error.is::<PoolConcurrencyLimitError>() {
                let why = "this process has as many stores as it has room for: fewer tasks at once, or fewer calls within calls";
                return Broken::Unavailable(why.to_owned());
            }
            match broken(error) {
                Broken::Trapped { detail, .. } => {
                    Broken::Trapped { kind: "it could not be instantiated".to_owned(), detail }
                }
                broken => broken,
            }
        })?;
        Ok((running, instance))
    }

    /// Calls a function in a store of its own.
    async fn invoke(
        &self,
        unit: &Unit,
        actor: &Arc<Actor>,
        caller: Option<&Arc<Actor>>,
        function: &Function,
        arguments: &[Val],
        fuel: &mut dyn Fuel,
    ) -> Result<Answer, Broken> {
        let (mut running, instance) = Box::pin(self.enter(unit, actor, caller, fuel)).await?;
        let store = &mut running.store;
        let missing = || Broken::Unavailable(format!("the function `{}` is not there", function.name()));
        let callee = instance.get_func(&mut *store, function.export()).ok_or_else(missing)?;
        let mut results = vec![Val::Bool(false); usize::from(function.result().is_some())];
        callee.call_async(&mut *store, arguments, &mut results).await.map_err(|error| self.broken(&error))?;
        Ok(results.pop())
    }

    /// What an error of wasmtime's means for the task.
    fn broken(&self, error: &wasmtime::Error) -> Broken {
        match error.downcast_ref::<Denied>() {
            Some(Denied::Refused(refusal)) => return Broken::Refused(*refusal),
            Some(Denied::Exhausted(exhausted)) => return Broken::Exhausted(*exhausted),
            Some(Denied::Unrecalled(why)) => return Broken::Unrecalled(why.clone()),
            None => {}
        }
        if let Some(broken) = error.downcast_ref::<BrokenTool>() {
            return Broken::Trapped { kind: broken.to_string(), detail: broken.detail.clone() };
        }
        let fuel = self.gate.budget.limits().fuel;
        if let Some(Trap::OutOfFuel) = error.downcast_ref() {
            return Broken::Exhausted(Exhausted { limit: Limit::Fuel, used: fuel, allowed: fuel });
        }
        let kind = if let Some(trap) = error.downcast_ref::<Trap>() {
            match trap {
                Trap::UnreachableCodeReached => "it panicked or aborted (unreachable code was reached)".to_owned(),
                trap => format!("it trapped: {trap}"),
            }
        } else if let Some(I32Exit(code)) = error.downcast_ref() {
            format!("it exited with code {code} instead of giving a result")
        } else {
            "a call of the host failed".to_owned()
        };
        // Before it is cut to its length anywhere: what is left of a value would not be found.
        Broken::Trapped { kind, detail: self.gate.leaks.covered(format!("{:#}", error.root_cause())) }
    }
}

fn unopened(error: OpenError) -> Broken {
    match error {
        OpenError::Denied(Denied::Refused(refusal)) => Broken::Refused(refusal),
        OpenError::Denied(Denied::Exhausted(exhausted)) => Broken::Exhausted(exhausted),
        OpenError::Denied(Denied::Unrecalled(why)) => Broken::Unrecalled(why),
        OpenError::Unavailable { what, source } => Broken::Unavailable(format!("{what}: {source}")),
    }
}

/// A store in use. However it ends, what is left of its fuel goes back, and what it carries goes to its caller.
struct Running<'f> {
    store: Store<TaskState>,
    fuel: &'f mut dyn Fuel,
    _carried: CarriedBack,
}

/// However a call ends, also before its store is made, its caller carries what it carried.
struct CarriedBack {
    actor: Arc<Actor>,
    caller: Option<Arc<Actor>>,
}

impl Drop for CarriedBack {
    fn drop(&mut self) {
        if let Some(caller) = &self.caller {
            caller.labels.gain(&self.actor.labels.now());
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.fuel.give_back(self.store.get_fuel().unwrap_or(0));
    }
}

/// The fuel of the whole task.
#[derive(Debug)]
pub struct Tank(pub u64);

impl Fuel for Tank {
    fn take(&mut self) -> u64 {
        std::mem::take(&mut self.0)
    }

    fn give_back(&mut self, left: u64) {
        self.0 = left;
    }
}

impl Spawn for Session {
    fn functions(&self, tool: &str) -> &[Arc<Function>] {
        self.plan.tools.get(tool).map(|unit| unit.functions.as_slice()).unwrap_or_default()
    }

    fn call<'a>(
        &'a self,
        permit: Permit<Call>,
        task: TaskId,
        caller: &'a Arc<Actor>,
        fuel: &'a mut dyn Fuel,
    ) -> Pin<Box<dyn Future<Output = Result<Answer, CallError>> + Send + 'a>> {
        let call = permit.redeem();
        Box::pin(async move {
            let trapped = |kind: &str, detail: String| CallError::Trapped { kind: kind.to_owned(), detail };
            let gone = || trapped("it is not there", String::new());
            let unit = self.plan.tools.get(&call.tool).ok_or_else(gone)?;
            let function = unit.functions.iter().find(|known| known.name() == call.function).ok_or_else(gone)?;
            // What the caller carries goes in with the arguments, beside what the tool's own grant labels.
            let labels = caller.labels.now().and(&unit.labels);
            let user = caller.principal.user.clone();
            let actor =
                Actor::new(task, Arc::clone(&self.plan.bundle), Arc::clone(&unit.name), Arc::clone(&unit.digest), user);
            let actor = Arc::new(actor.carrying(labels));
            match self.invoke(unit, &actor, Some(caller), function, &call.values, fuel).await {
                Ok(answer) => Ok(answer),
                Err(Broken::Refused(refusal)) => Err(CallError::Denied(Denied::Refused(refusal))),
                Err(Broken::Exhausted(exhausted)) => Err(CallError::Denied(Denied::Exhausted(exhausted))),
                Err(Broken::Unrecalled(why)) => Err(CallError::Denied(Denied::Unrecalled(why))),
                Err(Broken::Unavailable(what)) => Err(trapped("it could not be started", what)),
                Err(Broken::Trapped { kind, detail }) => Err(CallError::Trapped { kind, detail }),
            }
        })
    }
}
