//! What is measured, in which order, and what it is divided by.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use indicatif::ProgressBar;
use serde_json::json;
use wasmtime::component::Component;

use super::bare::Bare;
use super::house::{House, RUNNABLE};
use super::report::{Ratios, Results};
use super::series::{Measure, Sample, Series, Taken, Unmeasured, interleaved};
use super::subject::{self, Subject};
use super::{Arguments, Failure, kernels, memory, others, work};
use crate::bundle::Digest;
use crate::config::{Home, Instant};
use crate::engine::{Engine, Room};

/// What the memory of waiting tasks is called in the results.
const MEMORY: &str = "waiting_task_extra_bytes";
const NOT_ASKED: &str = "it was not asked for (`--only`)";
/// Operations of one sample.
const TASKS: u32 = 2_000;
const CALLS: u32 = 10_000;
const ASKS: u32 = 20_000;
/// Sizes of the kernels: tens of milliseconds each.
const KIBIBYTES: u32 = 4 << 10;
const DOCUMENTS: u32 = 10;
const NUMBERS: u32 = 2_000_000;
/// Rounds with as many tasks at once as were asked for, at most.
const CROWDED: u32 = 5;
/// Tasks that wait while memory is measured.
const WAITING: u32 = 2_000;

/// The sides that are compared.
struct Sides {
    house: Arc<House>,
    /// The subject, the agent and the yardstick, on ambit's own engine.
    bare: Result<Bare, String>,
    agent: Component,
    yardstick: Component,
    wasm: Vec<u8>,
}

pub(super) fn run(
    folder: &Path,
    subject: &Subject,
    arguments: &Arguments,
    progress: &ProgressBar,
) -> Result<Results, Failure> {
    let Arguments { rounds, tasks, only, .. } = arguments;
    let (rounds, tasks) = (*rounds, *tasks);
    let is_asked_for = |name: &str| only.is_empty() || only.iter().any(|asked| asked == name);
    progress.set_message("compiling");
    let is_ours = subject.is_ours;
    let house = Arc::new(House::open(&folder.join("house"), subject, tasks + 64)?);
    let failed = |error: crate::engine::EngineError| Failure::Host(miette::miette!("{error}"));
    let engine = &house.host.loader().engine;
    let component = engine.component(&subject.wasm, &Digest::of(&subject.wasm)).map_err(failed)?;
    let wasm = subject::yardstick()?;
    let yardstick = engine.component(&wasm, &Digest::of(&wasm)).map_err(failed)?;
    let waiter = subject::agent()?;
    let agent = engine.component(&waiter, &Digest::of(&waiter)).map_err(failed)?;
    let allocation = engine.allocation().map_err(failed)?.to_string();
    let bare = Bare::of(&component, &subject.wasm, &subject.function, &subject.input);
    // A component that does not work is no news about its cost.
    house.tasks(1, || house.function()).map_err(|why| {
        let help = "`ambit call FILE FUNCTION JSON` shows what is wrong with it";
        super::Mistake::failure(format!("the component cannot be measured: {why}"), help)
    })?;
    let sides = Sides { house, bare, agent, yardstick, wasm };
    progress.set_message("memory of tasks that wait");
    let waiting =
        if is_asked_for(MEMORY) { memory::of_both(folder, WAITING.min(tasks)) } else { Err(NOT_ASKED.to_owned()) };
    let mut measures = inner(&sides, subject);
    if is_ours {
        measures.extend(computing(&sides));
        measures.extend(others::measures(folder));
    }
    measures.extend(others::starts(folder));
    measures.extend(loading(folder, &sides));
    let mut crowds = crowds(&sides, tasks);
    let known: Vec<&str> = measures.iter().chain(&crowds).map(|measure| measure.name).chain([MEMORY]).collect();
    if let Some(unknown) = only.iter().find(|asked| !known.contains(&asked.as_str())) {
        let message = format!("nothing is measured that is called `{}`", crate::audit::escaped(unknown));
        return Err(super::Mistake::failure(message, format!("`--only` takes: {}", known.join(", "))));
    }
    measures.retain(|measure| is_asked_for(measure.name));
    crowds.retain(|measure| is_asked_for(measure.name));
    let crowded = u64::from(rounds.min(CROWDED) + 1) * crowds.len() as u64;
    progress.set_length(u64::from(rounds + 1) * measures.len() as u64 + crowded);
    let step = |what: &str| {
        progress.set_message(what.to_owned());
        progress.inc(1);
    };
    let (mut series, mut unmeasured) = interleaved(measures, rounds, step);
    let (more, less) = interleaved(crowds, rounds.min(CROWDED), step);
    series.extend(more);
    unmeasured.extend(less);
    let waiting = waiting.map_err(|why| {
        let what = "memory of tasks that wait".to_owned();
        unmeasured.push(Unmeasured { name: MEMORY, what, why });
    });
    let waiting = waiting.ok();
    let ratios = Ratios::of(&series, waiting);
    Ok(Results::new(subject, rounds, allocation, ratios, waiting, series, unmeasured))
}

fn measure<'a>(name: &'static str, what: &str, take: impl FnMut() -> Taken + 'a) -> Measure<'a> {
    Measure { name, what: what.to_owned(), every: 1, take: Box::new(take) }
}

/// What happens within the process.
fn inner<'a>(sides: &'a Sides, subject: &'a Subject) -> Vec<Measure<'a>> {
    let Sides { house, bare, .. } = sides;
    let bare = move |of: &dyn Fn(&Bare) -> Taken| bare.as_ref().map_err(Clone::clone).and_then(of);
    let call = |times: u32| {
        json!({ "call": format!("subject.{}", subject.function), "times": times,
                "arguments": serde_json::from_str::<serde_json::Value>(&subject.input).unwrap_or_default() })
    };
    let called = move |times: u32| {
        let input = call(times);
        move |house: &House| house.agent(&input)
    };
    let called = move || {
        // With all that a task leaves behind: until the last of it is on the disk.
        let (none, some) = (house.recorded(1, called(0))?, house.recorded(1, called(CALLS))?);
        Ok(Sample { operations: CALLS, took: some.took.saturating_sub(none.took) })
    };
    let cores = super::workers();
    let mut measures = vec![
        measure("wasmtime_task", "bare wasmtime: store, instantiate, call, drop", move || {
            bare(&|bare| bare.tasks(TASKS))
        }),
        measure("task", "a task: store, grants, instantiate, call, drop", || house.tasks(TASKS, || house.function())),
        measure("task_recorded", "a task, with its start and end on the disk", || {
            house.recorded(TASKS / 4, House::function)
        }),
        measure("tool_call", "a call of a tool: decision, record, store, conversion", called),
        measure("tasks_on_one", "tasks on one worker", || house.on_workers(1, TASKS)),
        measure("tasks_on_two", "tasks on two workers, at once", move || match cores {
            1 => Err("the machine has one core".to_owned()),
            _ => house.on_workers(2, TASKS),
        }),
    ];
    if subject.is_ours {
        measures.push(measure("native_function", "the same as a native function", || Ok(native())));
        measures.push(measure("host_call", "a call of the host by a guest", || asked(house)));
    }
    measures
}

fn native() -> Sample {
    let begun = Instant::now();
    for _ in 0..TASKS {
        std::hint::black_box(work::work(std::hint::black_box("the quick brown fox")));
    }
    Sample { operations: TASKS, took: begun.elapsed() }
}

/// A guest asks for the time; what the task costs without that is taken off.
fn asked(house: &House) -> Taken {
    let ask = |times: u32| move || house.other("ask", json!({ "times": times }).to_string());
    let (none, some) = (house.tasks(1, ask(0))?, house.tasks(1, ask(ASKS))?);
    Ok(Sample { operations: ASKS, took: some.took.saturating_sub(none.took) })
}

/// What fuel costs a guest that computes.
fn computing(sides: &Sides) -> Vec<Measure<'_>> {
    type Kernel = (&'static str, [&'static str; 3], &'static str, String, fn());
    let kernels: [Kernel; 3] = [
        (
            "SHA-256 of 4 MiB",
            ["sha256_fuel", "sha256_no_fuel", "sha256_native"],
            "hash",
            json!({ "kibibytes": KIBIBYTES }).to_string(),
            || {
                std::hint::black_box(kernels::hash(std::hint::black_box(KIBIBYTES)));
            },
        ),
        (
            "JSON, ten times there and back",
            ["json_fuel", "json_no_fuel", "json_native"],
            "parse",
            json!({ "rounds": DOCUMENTS }).to_string(),
            || {
                std::hint::black_box(kernels::parse(std::hint::black_box(DOCUMENTS)));
            },
        ),
        (
            "primes below two million",
            ["sieve_fuel", "sieve_no_fuel", "sieve_native"],
            "primes",
            json!({ "below": NUMBERS }).to_string(),
            || {
                std::hint::black_box(kernels::primes(std::hint::black_box(NUMBERS)));
            },
        ),
    ];
    let mut measures = Vec::new();
    for (what, [fuel, no_fuel, native], function, input, kernel) in kernels {
        let metered = Bare::of(&sides.yardstick, &sides.wasm, function, &input);
        let unmetered = Bare::unmetered(&sides.wasm, function, &input);
        let call = |bare: Result<Bare, String>| move || bare.as_ref().map_err(Clone::clone)?.call();
        measures.push(measure(fuel, &format!("{what}: a guest, with fuel"), call(metered)));
        measures.push(measure(no_fuel, &format!("{what}: a guest, without fuel"), call(unmetered)));
        measures.push(measure(native, &format!("{what}: native, the same source"), move || {
            let begun = Instant::now();
            kernel();
            Ok(Sample { operations: 1, took: begun.elapsed() })
        }));
    }
    measures
}

/// An engine that starts, and loads a component from its cache.
fn loading<'a>(folder: &Path, sides: &'a Sides) -> Vec<Measure<'a>> {
    let home = Home::open(Some(&folder.join("house").join("home")));
    let load = move || {
        let home = home.as_ref().map_err(ToString::to_string)?;
        let digest = Digest::of(&sides.wasm);
        let program = super::super::this_program().map_err(|_| "ambit's own program is not found".to_owned())?;
        let begun = Instant::now();
        let engine = Engine::new(home, &program, Room::OneTask).map_err(|error| error.to_string())?;
        engine.component(&sides.wasm, &digest).map_err(|error| error.to_string())?;
        Ok(Sample { operations: 1, took: begun.elapsed() })
    };
    vec![measure("load", "a new engine, and a component from its cache", load)]
}

/// Tasks that wait for an effect, a hundred at once and as many as were asked for; instances of bare wasmtime that do; and tasks
/// that can all run, beside those and beside one that burns fuel.
fn crowds(sides: &Sides, tasks: u32) -> Vec<Measure<'_>> {
    let ours = |at_once| Ok(sides.house.waiting(at_once, |_| ())?.1);
    let theirs = |at_once| {
        let begun = Instant::now();
        Bare::waiting(&sides.agent, at_once, || ())?;
        Ok(begun.elapsed())
    };
    vec![
        crowded("task_among_100", "a task that waits for an effect, 100 at once".to_owned(), 100, tasks, ours),
        crowded("task_among_many", format!("a task that waits for an effect, {tasks} at once"), tasks, tasks, ours),
        crowded("wasmtime_among_100", "the same in bare wasmtime, 100 at once".to_owned(), 100, tasks, theirs),
        crowded("wasmtime_among_many", format!("the same in bare wasmtime, {tasks} at once"), tasks, tasks, theirs),
        measure("task_beside_waiting", &format!("a task of {RUNNABLE} at once, while {tasks} wait"), move || {
            sides.house.beside_waiting(RUNNABLE, tasks as usize)
        }),
        measure("latency", &format!("from handing in one task of {RUNNABLE} until its end"), move || {
            latency(sides, false)
        }),
        measure("latency_beside_burner", "the same, beside one that burns fuel without pause", move || {
            latency(sides, true)
        }),
    ]
}

fn latency(sides: &Sides, with_burner: bool) -> Taken {
    Ok(Sample { operations: 1, took: sides.house.runnable(RUNNABLE, with_burner)? })
}

/// So many at once, in waves of as many in all.
fn crowded<'a>(
    name: &'static str,
    what: String,
    at_once: u32,
    all: u32,
    wave: impl Fn(usize) -> Result<Duration, String> + 'a,
) -> Measure<'a> {
    let take = move || {
        let waves = all / at_once;
        let took = (0..waves).try_fold(Duration::ZERO, |took, _| Ok::<_, String>(took + wave(at_once as usize)?))?;
        Ok(Sample { operations: waves * at_once, took })
    };
    Measure { name, what, every: 1, take: Box::new(take) }
}

/// The median of a series, in seconds.
pub(super) fn median(series: &[Series], name: &str) -> Option<f64> {
    series.iter().find(|one| one.name == name).map(|one| one.median)
}
