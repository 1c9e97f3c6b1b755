//! `stdio`: log lines for the operator.
//!
//! What a component prints to stdout and stderr goes, line by line, to the operator's log, escaped and marked with the
//! component's name; the bytes count against the task's `log` limit. Not granted, it is discarded, uncounted. Standard
//! input is always closed.
//!
//! The log takes data out of the task. Once the component carries a label that the grant does not accept, its lines are
//! discarded; the first of them is recorded as a refusal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use wasmtime::component::{Linker, Resource as Handle};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::bindings::cli::{stderr, stdout};
use wasmtime_wasi::p2::{DynOutputStream, OutputStream, Pollable, StreamError, StreamResult};

use super::switch::Request;
use super::{Capability, Lens, OpenError, Scope, Setting, Target, TaskState};
use crate::audit::{Entry, Kind};
use crate::gate::{Actor, Code, Denied, Durability, Effect, Gate, Guard, cleared, detail};
use crate::label::Labels;
use crate::leak::{Flow, Found, named};
use crate::policy::Resource;
use crate::policy::schema::Action;

/// See the module.
pub struct Stdio;

/// `stdio = true`, or `stdio = { accepts = ["confidential"] }`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "Written")]
pub struct Granted {
    /// The labels that log lines may carry.
    accepts: Labels,
}

/// The grant as it is written.
#[derive(Deserialize)]
#[serde(untagged, expecting = "stdio is granted by `true`, or by `{ accepts = [\"label\"] }`")]
enum Written {
    Switch(super::switch::Granted),
    Sink(Sinks),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sinks {
    accepts: Labels,
}

impl From<Written> for Granted {
    fn from(written: Written) -> Self {
        match written {
            Written::Switch(_) => Self::default(),
            Written::Sink(Sinks { accepts }) => Self { accepts },
        }
    }
}

/// Where log lines go.
pub trait Log: Send + Sync {
    /// Takes a line, escaped and without its end, of a component of a task.
    fn line(&self, task: &str, component: &str, text: &str);
}

/// The longest line that is kept together, in bytes; a longer one goes on in the next.
const LONGEST_LINE: usize = 1000;
/// The bytes that one write may bring.
const WRITE: usize = 64 << 10;

/// A component's output is connected to the operator's log.
#[derive(Debug, Serialize)]
struct Open;

impl Effect for Open {
    type Grant = Granted;
    const ACTION: &'static str = "stdio.open";
    const DURABILITY: Durability = Durability::Inside;

    fn resource(&self) -> Resource {
        Resource::new("Log", "operator")
    }

    fn covered(&self, _grant: &Granted) -> bool {
        true
    }

    fn entry(&self, grant: &Granted) -> serde_json::Value {
        if grant.accepts.is_empty() { true.into() } else { serde_json::json!({ "accepts": grant.accepts }) }
    }
}

/// What a store holds: where its lines go, if anywhere.
pub struct Output(Option<Sink>);

#[derive(Clone)]
struct Sink {
    log: Arc<dyn Log>,
    gate: Arc<Gate>,
    actor: Arc<Actor>,
    accepts: Labels,
    /// Whether it has been recorded that lines were discarded.
    withheld: Arc<AtomicBool>,
}

impl Sink {
    fn line(&self, text: &str) {
        let Actor { task, principal, labels, .. } = self.actor.as_ref();
        match cleared(&labels.now(), &self.accepts) {
            Ok(()) => self.log.line(&task.to_string(), &principal.component, text),
            Err(_) if self.withheld.swap(true, Ordering::Relaxed) => {}
            Err(why) => self.refused(&why),
        }
    }

    /// What the task was lent stood in a line, and was covered.
    fn lent(&self, found: &Found) {
        if !found.is_empty() {
            self.refused(&format!("what the task was lent stood in a line, and was covered: {}", named(found)));
        }
    }

    fn refused(&self, why: &str) {
        self.gate.budget.refused();
        self.gate.note(Entry {
            code: Code::Denied.as_str().into(),
            resource: Open.resource().to_string().into(),
            detail: detail("why", why),
            ..self.gate.entry(Kind::Refusal, &self.actor, Open::ACTION)
        });
    }
}

impl Capability for Stdio {
    const NAME: &'static str = "stdio";
    const SUMMARY: &'static str = "log lines for the operator";
    const ENTITIES: &'static str = "entity Log;";
    const ACTIONS: &'static [Action] = &[Action { name: "stdio.open", resource: "Log", context: "" }];
    const INTERFACES: &'static [&'static str] = &["wasi:cli/stdout", "wasi:cli/stderr"];
    const POWERLESS: bool = true;
    type Grant = Granted;
    type Request = Request;
    type State = Output;

    fn given(_grant: &Granted) -> Vec<String> {
        vec!["log lines".to_owned()]
    }

    fn asked(_request: &Request) -> Vec<String> {
        vec!["log lines".to_owned()]
    }

    fn reason(request: &Request) -> &str {
        &request.reason
    }

    fn narrow(grant: &Granted, _request: &Request) -> Option<Granted> {
        Some(grant.clone())
    }

    fn find(grant: &Granted, _action: &str, resource: &str) -> Option<Target> {
        Target::of(&Open, grant)?.named(resource)
    }

    fn powerless(_setting: &Setting<'_>) -> Option<Output> {
        Some(Output(None))
    }

    async fn open(guard: Guard<'_, Granted>, setting: &Setting<'_>) -> Result<Output, OpenError> {
        let open = guard.answer(Open, async |permit| {
            permit.redeem();
            Ok::<_, OpenError>(())
        });
        open.await?;
        Ok(Output(Some(Sink {
            log: Arc::clone(&setting.ports.log),
            gate: Arc::clone(setting.gate),
            actor: Arc::clone(guard.actor()),
            accepts: guard.grant().map(|grant| grant.accepts.clone()).unwrap_or_default(),
            withheld: Arc::default(),
        })))
    }

    fn link(linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
        stdout::add_to_linker::<_, Lens<Self>>(linker, TaskState::scope::<Self>)?;
        stderr::add_to_linker::<_, Lens<Self>>(linker, TaskState::scope::<Self>)
    }
}

impl Scope<'_, Stdio> {
    fn stream(&mut self) -> wasmtime::Result<Handle<DynOutputStream>> {
        let sink = self.host.0.clone();
        let flow = sink.as_ref().map(|sink| sink.gate.leaks.flow());
        let stream: DynOutputStream = Box::new(Lines { sink, flow, line: Vec::new() });
        Ok(self.table.push(stream)?)
    }
}

impl stdout::Host for Scope<'_, Stdio> {
    fn get_stdout(&mut self) -> wasmtime::Result<Handle<DynOutputStream>> {
        self.stream()
    }
}

impl stderr::Host for Scope<'_, Stdio> {
    fn get_stderr(&mut self) -> wasmtime::Result<Handle<DynOutputStream>> {
        self.stream()
    }
}

/// A stream that is cut into lines.
struct Lines {
    sink: Option<Sink>,
    /// What the task was lent is covered before lines are cut.
    flow: Option<Flow>,
    line: Vec<u8>,
}

impl Lines {
    fn take(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match byte {
                b'\n' => self.end_line(),
                byte => self.line.push(byte),
            }
            if self.line.len() >= LONGEST_LINE {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if let Some(sink) = &self.sink {
            sink.line(&crate::audit::escaped(&String::from_utf8_lossy(&line)));
        }
    }
}

impl OutputStream for Lines {
    fn write(&mut self, bytes: bytes::Bytes) -> StreamResult<()> {
        let Some(sink) = &self.sink else { return Ok(()) };
        let spent = sink.gate.budget.log(bytes.len() as u64);
        spent.map_err(|exhausted| StreamError::Trap(wasmtime::Error::new(Denied::Exhausted(exhausted))))?;
        let Some(flow) = &mut self.flow else { return Ok(()) };
        let (bytes, found) = flow.pass_at_once(&bytes);
        sink.lent(&found);
        self.take(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE)
    }
}

#[async_trait]
impl Pollable for Lines {
    async fn ready(&mut self) {}
}

impl Drop for Lines {
    fn drop(&mut self) {
        let held = self.flow.as_mut().map(Flow::end).unwrap_or_default();
        self.take(&held);
        if !self.line.is_empty() {
            self.end_line();
        }
    }
}
