//! `clock`: the time of day, elapsed time, and waiting.
//!
//! Readings move only at effects, so that a task can be replayed; waiting is one. Not granted, a component reads the
//! task's powerless clock, on which a wait is over at once and has moved the clock by its length.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wasmtime::component::{Linker, Resource as Handle};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::bindings::clocks::wall_clock::{self, Datetime};
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};

use super::switch::{Granted, Request};
use super::{Capability, Lens, OpenError, Scope, Setting, Target, TaskState};
use crate::gate::{Denied, Durability, Effect, Failure, Guard};
use crate::policy::schema::Action;
use crate::policy::{Attribute, Resource};
use crate::task::Reading;

mod bindings {
    //! `wasi:clocks/monotonic-clock` with waits that can pass the gate.
    wasmtime::component::bindgen!({
        path: "wit",
        inline: "package ambit:clock; world clock { import wasi:clocks/monotonic-clock@0.2.12; }",
        imports: {
            "wasi:clocks/monotonic-clock.subscribe-instant": async | trappable,
            "wasi:clocks/monotonic-clock.subscribe-duration": async | trappable,
            default: trappable,
        },
        with: { "wasi:io": wasmtime_wasi::p2::bindings::io },
    });
}
use bindings::wasi::clocks::monotonic_clock;

/// See the module.
pub struct Clock;

/// What a store holds.
#[derive(Debug)]
pub struct Watch {
    source: Source,
    /// What it read last.
    seen: Option<Reading>,
}

/// Which of the task's clocks a store reads.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// The real one.
    Real,
    /// The one that says nothing of the world.
    Powerless,
}

/// A component waits.
#[derive(Debug, Serialize)]
struct Sleep {
    milliseconds: u64,
}

impl Effect for Sleep {
    type Grant = Granted;
    const ACTION: &'static str = "clock.sleep";
    const DURABILITY: Durability = Durability::Inside;

    fn resource(&self) -> Resource {
        Resource::new("Clock", "monotonic")
    }

    fn context(&self) -> Vec<(&'static str, Attribute)> {
        vec![("milliseconds", Attribute::count(self.milliseconds))]
    }

    fn covered(&self, _grant: &Granted) -> bool {
        true
    }

    fn entry(&self, _grant: &Granted) -> serde_json::Value {
        true.into()
    }
}

impl Capability for Clock {
    const NAME: &'static str = "clock";
    const SUMMARY: &'static str = "the time of day, elapsed time, waiting";
    const ENTITIES: &'static str = "entity Clock;";
    const ACTIONS: &'static [Action] =
        &[Action { name: "clock.sleep", resource: "Clock", context: "milliseconds: Long" }];
    const INTERFACES: &'static [&'static str] = &["wasi:clocks/wall-clock", "wasi:clocks/monotonic-clock"];
    const POWERLESS: bool = true;
    type Grant = Granted;
    type Request = Request;
    type State = Watch;

    fn given(_grant: &Granted) -> Vec<String> {
        vec!["time and waiting".to_owned()]
    }

    fn asked(_request: &Request) -> Vec<String> {
        vec!["time and waiting".to_owned()]
    }

    fn reason(request: &Request) -> &str {
        &request.reason
    }

    fn narrow(grant: &Granted, _request: &Request) -> Option<Granted> {
        Some(*grant)
    }

    fn find(grant: &Granted, _action: &str, resource: &str) -> Option<Target> {
        Target::of(&Sleep { milliseconds: 0 }, grant)?.named(resource)
    }

    fn beyond(_grant: &Granted, needed: Option<&Granted>) -> Vec<String> {
        // That it is read leaves no record.
        if needed.is_some() { Vec::new() } else { vec!["waiting (whether it is read is not recorded)".to_owned()] }
    }

    fn powerless(_setting: &Setting<'_>) -> Option<Watch> {
        Some(Watch { source: Source::Powerless, seen: Some(Reading::POWERLESS) })
    }

    async fn open(_guard: Guard<'_, Granted>, _setting: &Setting<'_>) -> Result<Watch, OpenError> {
        Ok(Watch { source: Source::Real, seen: None })
    }

    fn link(linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
        wall_clock::add_to_linker::<_, Lens<Self>>(linker, TaskState::scope::<Self>)?;
        monotonic_clock::add_to_linker::<_, Lens<Self>>(linker, TaskState::scope::<Self>)
    }
}

/// The steps in which guests are shown time, in nanoseconds: too coarse to time what the machine does.
const RESOLUTION: u64 = 1_000_000;

impl Scope<'_, Clock> {
    /// The time, which is recorded where it is not what the store has seen before.
    fn reading(&mut self) -> wasmtime::Result<Reading> {
        let clock = self.guard.clock();
        let now = match self.host.source {
            Source::Real => clock.real(),
            Source::Powerless => clock.powerless(),
        };
        let seen = self.host.seen;
        let told = self.guard.exception("clock.now", || now, |now| Some(*now) == seen, || seen.unwrap_or(now));
        let reading = told.map_err(wasmtime::Error::new)?;
        match self.host.source {
            Source::Real => clock.is_past(reading),
            Source::Powerless => clock.pass_powerless(reading.monotonic),
        }
        self.host.seen = Some(reading);
        Ok(reading)
    }

    fn nanoseconds(&mut self) -> wasmtime::Result<u64> {
        let now = u64::try_from(self.reading()?.monotonic.as_nanos()).unwrap_or(u64::MAX);
        Ok(now - now % RESOLUTION)
    }

    async fn wait(&mut self, nanoseconds: u64) -> wasmtime::Result<Handle<DynPollable>> {
        let wait = Duration::from_nanos(nanoseconds);
        let clock = Arc::clone(self.guard.clock());
        let timer = match self.host.source {
            Source::Powerless => {
                let until = clock.powerless().monotonic.saturating_add(wait);
                Timer { clock, until: Until::Powerless(until), over: false }
            }
            Source::Real => {
                let milliseconds = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                let sleep = self.guard.answer(Sleep { milliseconds }, async |permit| {
                    permit.redeem();
                    Ok::<_, Trap>(())
                });
                sleep.await.map_err(|Trap(denied)| wasmtime::Error::new(denied))?;
                let until = tokio::time::Instant::now().checked_add(wait);
                Timer { clock, until: Until::Real(until), over: false }
            }
        };
        let timer = self.table.push(timer)?;
        subscribe(self.table, timer)
    }
}

/// A refused wait ends the guest: the interface has no place for an error.
#[derive(Serialize, Deserialize)]
struct Trap(Denied);

impl From<Denied> for Trap {
    fn from(denied: Denied) -> Self {
        Self(denied)
    }
}

impl Failure for Trap {}

struct Timer {
    clock: Arc<crate::task::Clock>,
    until: Until,
    /// It was waited for: it moves the clock once.
    over: bool,
}

enum Until {
    /// None is later than can be told: for ever.
    Real(Option<tokio::time::Instant>),
    Powerless(Duration),
}

#[async_trait]
impl Pollable for Timer {
    async fn ready(&mut self) {
        match self.until {
            Until::Real(Some(until)) => {
                tokio::time::sleep_until(until).await;
                if !std::mem::replace(&mut self.over, true) {
                    self.clock.tick();
                }
            }
            Until::Real(None) => std::future::pending().await,
            Until::Powerless(until) => {
                self.clock.pass_powerless(until);
                tokio::task::yield_now().await;
            }
        }
    }
}

impl monotonic_clock::Host for Scope<'_, Clock> {
    fn now(&mut self) -> wasmtime::Result<u64> {
        self.nanoseconds()
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(RESOLUTION)
    }

    async fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Handle<DynPollable>> {
        let now = self.nanoseconds()?;
        self.wait(when.saturating_sub(now)).await
    }

    async fn subscribe_duration(&mut self, when: u64) -> wasmtime::Result<Handle<DynPollable>> {
        self.wait(when).await
    }
}

impl wall_clock::Host for Scope<'_, Clock> {
    fn now(&mut self) -> wasmtime::Result<Datetime> {
        let wall = self.reading()?.wall;
        let nanoseconds = wall.subsec_nanos();
        Ok(Datetime { seconds: wall.as_secs(), nanoseconds: nanoseconds - nanoseconds % 1_000_000 })
    }

    fn resolution(&mut self) -> wasmtime::Result<Datetime> {
        Ok(Datetime { seconds: 0, nanoseconds: 1_000_000 })
    }
}
