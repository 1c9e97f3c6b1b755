//! What a task may use before it is ended: the `[limits]` of a grant manifest.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;
use toml::de::DeValue;

use crate::manifest::{ByteSize, HumanDuration, ManifestError, Source, read};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// What one task may use. Those marked *shared* are one budget for the agent and all tools below it; the others hold
/// for each store or each call.
///
/// The defaults let a component of any language start and do a day's ordinary work, and no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Shared: units of fuel, about one for each instruction. At least 1; default 10,000,000,000.
    pub fuel: u64,
    /// Bytes of linear memory of one store. 64 KiB to 4 GiB; default 128 MiB.
    pub memory: u64,
    /// Shared: time from start to end, without the time spent waiting for a person. 1 ms to 24 h; default 60 s.
    pub wall_time: Duration,
    /// Shared: calls of tools. Default 100.
    pub tool_calls: u64,
    /// How deep tools may call tools. At most 64; default 4.
    pub tool_depth: u64,
    /// Shared: effects that are asked for, refused ones as well. Default 10,000.
    pub effects: u64,
    /// Shared: how often a person may be asked for an approval. Default 8; more is a refusal.
    pub approvals: u64,
    /// How often people may be asked for approvals by all tasks of this bundle within an hour. Default 60; more is a
    /// refusal.
    pub approvals_per_hour: u64,
    /// Bytes of the task's output. At most 1 GiB; default 1 MiB.
    pub output: u64,
    /// Shared: bytes of log lines. At most 1 GiB; default 256 KiB.
    pub log: u64,
    /// Bytes that one call of the host may carry. 4 KiB to 1 GiB; default 8 MiB.
    pub host_call: u64,
    /// Live resource handles of one store. 16 to 1,000,000; default 1,000.
    pub handles: u64,
    /// Core instances of one store; a component has about five. 1 to 10,000; default 64.
    pub instances: u64,
    /// Bytes of answers that are kept so that the task can go on or be told again. A task that is answered more goes on,
    /// but not after its host broke down. At most 1 GiB; default 64 MiB.
    pub journal: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            fuel: 10_000_000_000,
            memory: 128 * MIB,
            wall_time: Duration::from_mins(1),
            tool_calls: 100,
            tool_depth: 4,
            effects: 10_000,
            approvals: 8,
            approvals_per_hour: 60,
            output: MIB,
            log: 256 * KIB,
            host_call: 8 * MIB,
            handles: 1_000,
            instances: 64,
            journal: 64 * MIB,
        }
    }
}

/// The section as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    fuel: Option<Spanned<u64>>,
    memory: Option<Spanned<ByteSize>>,
    wall_time: Option<Spanned<HumanDuration>>,
    tool_calls: Option<Spanned<u64>>,
    tool_depth: Option<Spanned<u64>>,
    effects: Option<Spanned<u64>>,
    approvals: Option<Spanned<u64>>,
    approvals_per_hour: Option<Spanned<u64>>,
    output: Option<Spanned<ByteSize>>,
    log: Option<Spanned<ByteSize>>,
    host_call: Option<Spanned<ByteSize>>,
    handles: Option<Spanned<u64>>,
    instances: Option<Spanned<u64>>,
    journal: Option<Spanned<ByteSize>>,
}

impl Limits {
    /// Reads `[limits]`; what is not written has its default.
    pub(super) fn read(source: &Source, value: Spanned<DeValue<'_>>) -> Result<Limits, ManifestError> {
        let span = value.span();
        let written: Written = read(value).map_err(|error| ManifestError::of_toml(source, span, &error))?;
        let default = Limits::default();
        let check = Check { source };
        Ok(Limits {
            fuel: check.count("fuel", written.fuel, default.fuel, 1..=u64::MAX)?,
            memory: check.size("memory", written.memory, default.memory, 64 * KIB..=4 * GIB)?,
            wall_time: check.time("wall-time", written.wall_time, default.wall_time)?,
            tool_calls: check.count("tool-calls", written.tool_calls, default.tool_calls, 0..=u64::MAX)?,
            tool_depth: check.count("tool-depth", written.tool_depth, default.tool_depth, 0..=64)?,
            effects: check.count("effects", written.effects, default.effects, 0..=u64::MAX)?,
            approvals: check.count("approvals", written.approvals, default.approvals, 0..=u64::MAX)?,
            approvals_per_hour: check.count(
                "approvals-per-hour",
                written.approvals_per_hour,
                default.approvals_per_hour,
                0..=u64::MAX,
            )?,
            output: check.size("output", written.output, default.output, 0..=GIB)?,
            log: check.size("log", written.log, default.log, 0..=GIB)?,
            host_call: check.size("host-call", written.host_call, default.host_call, 4 * KIB..=GIB)?,
            handles: check.count("handles", written.handles, default.handles, 16..=1_000_000)?,
            instances: check.count("instances", written.instances, default.instances, 1..=10_000)?,
            journal: check.size("journal", written.journal, default.journal, 0..=GIB)?,
        })
    }
}

/// Shortest and longest wall time.
const WALL_TIME: RangeInclusive<HumanDuration> = HumanDuration::from_millis(1)..=HumanDuration::from_millis(86_400_000);

struct Check<'s> {
    source: &'s Source,
}

impl Check<'_> {
    fn count(
        &self,
        key: &str,
        value: Option<Spanned<u64>>,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> Result<u64, ManifestError> {
        self.within(key, value, &range).map(|value| value.unwrap_or(default))
    }

    fn size(
        &self,
        key: &str,
        value: Option<Spanned<ByteSize>>,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> Result<u64, ManifestError> {
        let range = ByteSize::new(*range.start())..=ByteSize::new(*range.end());
        self.within(key, value, &range).map(|value| value.map_or(default, ByteSize::bytes))
    }

    fn time(
        &self,
        key: &str,
        value: Option<Spanned<HumanDuration>>,
        default: Duration,
    ) -> Result<Duration, ManifestError> {
        self.within(key, value, &WALL_TIME).map(|value| value.map_or(default, HumanDuration::duration))
    }

    fn within<T>(
        &self,
        key: &str,
        value: Option<Spanned<T>>,
        range: &RangeInclusive<T>,
    ) -> Result<Option<T>, ManifestError>
    where
        T: PartialOrd + std::fmt::Display,
    {
        let Some(value) = value else { return Ok(None) };
        let span = value.span();
        let value = value.into_inner();
        let (excess, most, bound) = match (value < *range.start(), value > *range.end()) {
            (true, _) => ("small", "least", range.start()),
            (_, true) => ("large", "most", range.end()),
            _ => return Ok(Some(value)),
        };
        let message = format!("`{key}` is too {excess}: `{value}`");
        Err(ManifestError::at(self.source, span, &message, format!("write at {most} `{bound}`")))
    }
}
