//! What was measured, as it is told: ratios first.

use std::io::Write as _;

use serde::Serialize;

use super::super::Failure;
use super::series::{Series, Unmeasured};
use super::subject::Subject;
use super::suite::median;
use crate::bundle::Digest;

/// What is compared. None where one of the two could not be measured.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Ratios {
    /// A whole task, over bare wasmtime doing the same on the same engine.
    pub(super) task_over_wasmtime: Option<f64>,
    /// A call of a tool by an agent, over a bare store, instance and call of the same component.
    pub(super) tool_call_over_wasmtime: Option<f64>,
    /// A whole task, over starting a static native program that does the same.
    pub(super) task_over_process: Option<f64>,
    /// A whole task, over the same program in bubblewrap.
    pub(super) task_over_bubblewrap: Option<f64>,
    /// `ambit run` of a cached bundle, over `wasmtime run` of a precompiled component.
    pub(super) start_over_wasmtime_run: Option<f64>,
    /// Bytes that a waiting task holds beyond a waiting instance of bare wasmtime.
    pub(super) waiting_task_extra_bytes: Option<f64>,
    /// A task among as many as were asked for, over one among a hundred.
    pub(super) task_at_10000_over_100: Option<f64>,
    /// Tasks per second on two workers, over those on one.
    pub(super) two_cores_over_one: Option<f64>,
    /// A guest that computes with fuel, over one without.
    pub(super) fuel_sha256: Option<f64>,
    /// The same for JSON.
    pub(super) fuel_json: Option<f64>,
    /// The same for a tight loop.
    pub(super) fuel_sieve: Option<f64>,
    /// How long a task of many takes beside one that burns fuel without pause, over without that.
    pub(super) latency_beside_burner: Option<f64>,
    /// A whole task with its start and end on the disk, a hundred at a time, over bare wasmtime.
    pub(super) recorded_task_over_wasmtime: Option<f64>,
}

impl Ratios {
    pub(super) fn of(series: &[Series], waiting: Option<(u64, u64)>) -> Self {
        let over = |one: &str, other: &str| Some(median(series, one)? / median(series, other)?);
        #[expect(clippy::cast_precision_loss, reason = "bytes of one task")]
        let extra = waiting.map(|(ours, theirs)| ours as f64 - theirs as f64);
        Self {
            task_over_wasmtime: over("task", "wasmtime_task"),
            tool_call_over_wasmtime: over("tool_call", "wasmtime_task"),
            task_over_process: over("task", "process"),
            task_over_bubblewrap: over("task", "bubblewrap"),
            start_over_wasmtime_run: over("ambit_run", "wasmtime_run"),
            waiting_task_extra_bytes: extra,
            task_at_10000_over_100: over("task_among_many", "task_among_100"),
            two_cores_over_one: over("tasks_on_one", "tasks_on_two"),
            fuel_sha256: over("sha256_fuel", "sha256_no_fuel"),
            fuel_json: over("json_fuel", "json_no_fuel"),
            fuel_sieve: over("sieve_fuel", "sieve_no_fuel"),
            latency_beside_burner: over("latency_beside_burner", "latency"),
            recorded_task_over_wasmtime: over("task_recorded", "wasmtime_task"),
        }
    }

    /// Each with what it means.
    fn told(&self) -> [(&'static str, Option<f64>); 13] {
        [
            ("a task over bare wasmtime", self.task_over_wasmtime),
            ("a task over bare wasmtime, its start and end on the disk", self.recorded_task_over_wasmtime),
            ("a call of a tool over bare wasmtime", self.tool_call_over_wasmtime),
            ("a task over a process", self.task_over_process),
            ("a task over bubblewrap", self.task_over_bubblewrap),
            ("`ambit run` over `wasmtime run`", self.start_over_wasmtime_run),
            ("a waiting task beyond bare wasmtime, bytes", self.waiting_task_extra_bytes),
            ("a task among many over one among 100", self.task_at_10000_over_100),
            ("a task's latency beside one that burns fuel", self.latency_beside_burner),
            ("tasks per second, two workers over one", self.two_cores_over_one),
            ("fuel on SHA-256", self.fuel_sha256),
            ("fuel on JSON", self.fuel_json),
            ("fuel on a tight loop", self.fuel_sieve),
        ]
    }
}

/// Everything that came of a run.
#[derive(Debug, Serialize)]
pub(super) struct Results {
    ambit: &'static str,
    component: String,
    function: String,
    rounds: u32,
    cores: usize,
    /// How stores got their memory.
    memory: String,
    pub(super) ratios: Ratios,
    /// Bytes that a waiting task holds, and a waiting instance of bare wasmtime.
    waiting_task_bytes: Option<u64>,
    waiting_wasmtime_bytes: Option<u64>,
    pub(super) measured: Vec<Series>,
    unmeasured: Vec<Unmeasured>,
}

impl Results {
    pub(super) fn new(
        subject: &Subject,
        rounds: u32,
        memory: String,
        ratios: Ratios,
        waiting: Option<(u64, u64)>,
        measured: Vec<Series>,
        unmeasured: Vec<Unmeasured>,
    ) -> Self {
        Self {
            ambit: crate::VERSION,
            component: Digest::of(&subject.wasm).to_string(),
            function: subject.function.clone(),
            rounds,
            cores: super::workers(),
            memory,
            ratios,
            waiting_task_bytes: waiting.map(|(ours, _)| ours),
            waiting_wasmtime_bytes: waiting.map(|(_, theirs)| theirs),
            measured,
            unmeasured,
        }
    }
}

/// `12.3 µs`, from seconds.
pub(super) fn time(seconds: f64) -> String {
    match seconds {
        s if s < 1e-6 => format!("{:.0} ns", s * 1e9),
        s if s < 1e-4 => format!("{:.1} µs", s * 1e6),
        s if s < 1e-3 => format!("{:.0} µs", s * 1e6),
        s if s < 1e-1 => format!("{:.1} ms", s * 1e3),
        s => format!("{:.0} ms", s * 1e3),
    }
}

fn ratio(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

pub(super) fn show(results: &Results) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{:<58} {:>9}", "ratios (medians of one run)", "")?;
    for (what, value) in results.ratios.told() {
        writeln!(out, "  {what:<56} {:>9}", value.map_or_else(|| "-".to_owned(), ratio))?;
    }
    writeln!(out, "\n{:<58} {:>9}  {:>9} – quartiles", "times", "median", "")?;
    for Series { what, median, quartiles, .. } in &results.measured {
        writeln!(out, "  {what:<56} {:>9}  {:>9} – {}", time(*median), time(quartiles.0), time(quartiles.1))?;
    }
    if let Some((ours, theirs)) = results.waiting_task_bytes.zip(results.waiting_wasmtime_bytes) {
        writeln!(out, "\nmemory of a task that waits: {:.1} KiB; of bare wasmtime: {:.1} KiB", kib(ours), kib(theirs))?;
    }
    for Unmeasured { what, why, .. } in &results.unmeasured {
        writeln!(out, "not measured: {what}: {why}")?;
    }
    writeln!(
        out,
        "\n{} rounds, {} cores, ambit {}; memory from {}",
        results.rounds, results.cores, results.ambit, results.memory
    )?;
    if cfg!(debug_assertions) {
        writeln!(std::io::stderr(), "this is a debug build: its ratios say nothing; measure a release build")?;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "bytes of one task")]
fn kib(bytes: u64) -> f64 {
    bytes as f64 / 1024.0
}
