//! A task: one run of an agent on one input; its names, its clock, its seed and how it ended.
//!
//! A tool call is a child task. It shares the identifier of the task and appends its number to the path
//! (`01K…/2/1` is the first call that the second call made), so that the audit log reads as a tree.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use ulid::Ulid;

/// The name of a task or of a child task: a ULID, and behind it the path of the call, if it is one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TaskId(Arc<str>);

impl TaskId {
    /// The name of a new task: a ULID, so that names sort by time.
    pub fn generate() -> Self {
        Self::of(Ulid::generate())
    }

    /// A task that was named before: none when the text is no name of one.
    pub fn named(text: &str) -> Option<Self> {
        Ulid::from_string(text).ok().map(Self::of)
    }

    fn of(root: Ulid) -> Self {
        Self(Arc::from(&*root.array_to_str(&mut [0; ulid::ULID_LEN])))
    }

    /// The name, shared.
    pub fn name(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }

    /// The name of the `number`th call that this task makes.
    #[must_use]
    pub fn child(&self, number: u32) -> Self {
        Self([&self.0, "/", &number.to_string()].concat().into())
    }

    /// The numbers of the calls that lead here: empty for the agent, `2/1` for the first call of the second.
    pub fn path(&self) -> &str {
        self.0.get(ulid::ULID_LEN + 1..).unwrap_or_default()
    }

    /// How many calls lie between the agent and this task; 0 is the agent itself.
    pub fn depth(&self) -> usize {
        self.0.matches('/').count()
    }

    /// The task that this one belongs to: the name without the path.
    pub fn root(&self) -> &str {
        self.0.get(..ulid::ULID_LEN).unwrap_or_default()
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It gave a result. It may have met refusals on the way.
    Succeeded,
    /// It said that it could not do its task.
    Failed,
    /// It was refused before it ran, or a refusal had no place in an interface.
    Refused,
    /// A limit that the whole task shares was spent.
    Exhausted,
    /// It broke down: a trap, a panic, an exit.
    Trapped,
    /// The operator stopped it.
    Cancelled,
    /// It waits for a person, and is put away meanwhile.
    Suspended,
    /// Its end was not recorded: it runs still, or its host broke down.
    Unknown,
}

impl Status {
    /// The word that is shown and stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Exhausted => "exhausted",
            Self::Trapped => "trapped",
            Self::Cancelled => "cancelled",
            Self::Suspended => "suspended",
            Self::Unknown => "unknown",
        }
    }
}

/// What a task and all its calls consumed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Units of wasmtime fuel, about one for each instruction and byte of a bulk operation.
    pub fuel: u64,
    /// The largest linear memory that one store held, in bytes.
    pub memory_peak_bytes: u64,
    /// Milliseconds from start to end, without those spent waiting for a person.
    pub wall_ms: u64,
    /// Milliseconds spent waiting for a person.
    pub waited_ms: u64,
    /// Calls of tools that were dispatched.
    pub tool_calls: u64,
    /// Effects that were asked for, refused ones as well.
    pub effects: u64,
    /// Effects that were refused.
    pub refusals: u64,
    /// How often a person was asked for an approval.
    pub approvals: u64,
    /// Requests that were sent to hosts.
    pub requests: u64,
    /// Bytes that they carried there: methods, paths, queries, headers and bodies.
    pub sent_bytes: u64,
    /// Bytes that came back: headers, and bodies as they are decoded.
    pub received_bytes: u64,
}

/// What a task's randomness grows from: 32 bytes.
///
/// A component draws from the seed of its own task, which is derived from the parent's and the path, so that a call's
/// randomness does not depend on how much its caller drew.
#[derive(Clone, PartialEq, Eq)]
pub struct Seed([u8; 32]);

impl Seed {
    /// The seed that stands in for no seed: the same bundle with the same input draws the same numbers.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new_with_prefix(b"ambit.seed.v1");
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }

    /// The seed of a task, derived from this one.
    #[must_use]
    pub fn derive(&self, task: &TaskId, purpose: &str) -> Self {
        let numbers = task.path().split('/').filter_map(|number| number.parse::<u32>().ok());
        let path: Vec<u8> = numbers.flat_map(u32::to_be_bytes).collect();
        Self::of(&[&self.0, &path, purpose.as_bytes()])
    }

    /// The bytes, for a generator.
    pub fn bytes(&self) -> [u8; 32] {
        self.0
    }
}

impl From<[u8; 32]> for Seed {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(…)")
    }
}

/// The two seeds of a task; the same where the operator chose one.
#[derive(Clone, Debug)]
pub struct Seeds {
    /// For components without the `random` capability: of the bundle and the input.
    pub fixed: Seed,
    /// For components with it: entropy.
    pub granted: Seed,
}

/// A point in time as a guest sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// Since the Unix epoch.
    pub wall: Duration,
    /// Since the task began.
    pub monotonic: Duration,
}

impl Reading {
    /// What the powerless clock says when a task begins.
    pub const POWERLESS: Self = Self { wall: POWERLESS_EPOCH, monotonic: Duration::ZERO };
}

/// The two clocks of a task. Both move only at effects, so that a replay can give the same readings.
///
/// - the *real* one, which components with the `clock` capability read, jumps to the present at each effect;
/// - the *powerless* one, which all others read, starts at [`POWERLESS_EPOCH`] and moves by [`POWERLESS_TICK`] at each
///   effect, and to the end of a wait when a guest waits. It says nothing about the time of day or the speed of the
///   machine.
#[derive(Debug)]
pub struct Clock {
    readings: Mutex<Readings>,
    started: crate::config::Instant,
}

#[derive(Clone, Copy, Debug)]
struct Readings {
    real: Reading,
    powerless: Duration,
    /// How long the task had run before this process took it up.
    before: Duration,
}

/// Where the powerless clock starts: 2000-01-01T00:00:00Z, in seconds since the Unix epoch.
pub const POWERLESS_EPOCH: Duration = Duration::from_secs(946_684_800);
/// How far an effect moves the powerless clock.
pub const POWERLESS_TICK: Duration = Duration::from_millis(1);

impl Clock {
    /// Starts both clocks.
    pub fn start() -> Self {
        let started = crate::config::Instant::now();
        let real = Reading { wall: crate::config::wall_clock(), monotonic: Duration::ZERO };
        Self { readings: Mutex::new(Readings { real, powerless: Duration::ZERO, before: Duration::ZERO }), started }
    }

    /// An effect happened: both clocks move.
    pub fn tick(&self) {
        let (wall, elapsed) = (crate::config::wall_clock(), self.started.elapsed());
        let mut readings = self.lock();
        readings.real = Reading { wall, monotonic: readings.before.saturating_add(elapsed) };
        readings.powerless = readings.powerless.saturating_add(POWERLESS_TICK);
    }

    /// What a component with the `clock` capability reads.
    pub fn real(&self) -> Reading {
        self.lock().real
    }

    /// What a component without it reads.
    pub fn powerless(&self) -> Reading {
        let monotonic = self.lock().powerless;
        Reading { wall: POWERLESS_EPOCH.saturating_add(monotonic), monotonic }
    }

    /// A guest waited on the powerless clock: it is that late now.
    pub fn pass_powerless(&self, until: Duration) {
        let mut readings = self.lock();
        readings.powerless = readings.powerless.max(until);
    }

    /// A guest has read this time, perhaps in a process before this one: it is that late at least.
    pub fn is_past(&self, reading: Reading) {
        let elapsed = self.started.elapsed();
        let mut readings = self.lock();
        if readings.real.monotonic < reading.monotonic {
            readings.real = reading;
            readings.before = reading.monotonic.saturating_sub(elapsed);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Readings> {
        self.readings.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_named_after_its_caller() {
        let task = TaskId::generate();
        assert_eq!(task.child(2).child(1).to_string(), format!("{task}/2/1"));
        assert_eq!(task.child(2).child(1).depth(), 2);
        assert_eq!(task.child(2).root(), task.to_string());
    }

    #[test]
    fn seeds_depend_on_every_part_and_on_where_parts_end() {
        assert_ne!(Seed::of(&[b"ab", b"c"]), Seed::of(&[b"a", b"bc"]));
        let (task, seed) = (TaskId::generate(), Seed::of(&[b"x"]));
        assert_ne!(seed.derive(&task, "random"), seed.derive(&task.child(1), "random"));
        assert_eq!(seed.derive(&task, "random"), seed.derive(&TaskId::generate(), "random"));
    }

    #[test]
    fn the_powerless_clock_moves_at_effects_and_waits_only() {
        let clock = Clock::start();
        let before = clock.powerless();
        assert_eq!(clock.powerless(), before);
        clock.tick();
        assert_eq!(clock.powerless().monotonic, before.monotonic + POWERLESS_TICK);
        clock.pass_powerless(Duration::from_secs(9));
        assert_eq!(clock.powerless().wall, POWERLESS_EPOCH + Duration::from_secs(9));
        clock.pass_powerless(Duration::from_secs(3));
        assert_eq!(clock.powerless().monotonic, Duration::from_secs(9));
    }
}
