//! What a whole task may spend: one budget that the agent and every tool that it calls share.
//!
//! Fuel is not counted here while it burns: wasmtime does that, and a caller's remaining fuel is lent to the tool that it
//! calls. Everything else that a task shares is reserved before an effect happens, all of its costs or none, and a
//! reservation that is dropped gives back what it took.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Instant;
use crate::grant::Limits;
use crate::task::Usage;

/// A limit that the whole task shares. When it is spent, the task ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Limit {
    /// `fuel`: wasmtime fuel.
    Fuel,
    /// `wall-time`: milliseconds.
    WallTime,
    /// `tool-calls`: dispatched calls.
    ToolCalls,
    /// `effects`: effects that were asked for.
    Effects,
    /// `output`: bytes of the task's result.
    Output,
    /// `log`: bytes of log lines.
    Log,
}

impl Limit {
    /// Its key in `[limits]` of a grant manifest.
    pub fn key(self) -> &'static str {
        match self {
            Self::Fuel => "fuel",
            Self::WallTime => "wall-time",
            Self::ToolCalls => "tool-calls",
            Self::Effects => "effects",
            Self::Output => "output",
            Self::Log => "log",
        }
    }

    /// What its numbers count.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Fuel => "units of fuel",
            Self::WallTime => "ms",
            Self::ToolCalls => "calls",
            Self::Effects => "effects",
            Self::Output | Self::Log => "bytes",
        }
    }
}

/// A limit was spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("the limit `{}` is spent: {used} of {allowed} {}", .limit.key(), .limit.unit())]
pub struct Exhausted {
    /// Which one.
    pub limit: Limit,
    /// What the task used, or asked for.
    pub used: u64,
    /// What its grant allows.
    pub allowed: u64,
}

/// What one effect takes from the budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Calls of tools.
    pub tool_calls: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    effects: u64,
    refusals: u64,
    tool_calls: u64,
    output: u64,
    log: u64,
    memory_peak: u64,
    approvals: u64,
    requests: u64,
    sent: u64,
    received: u64,
    /// Time spent waiting for a person, but for the wait that is under way.
    waited: Duration,
    /// Since when a person is waited for.
    waiting: Option<Instant>,
    /// How many of the task's effects wait for one.
    waiters: u64,
    /// What was used when the last recorded answer was given, until the task goes on from there.
    recalled: Option<Usage>,
    /// How long the task ran before it was resumed, and how long it took to come there again.
    before: Duration,
    waited_before: Duration,
    recalling: Duration,
}

impl Spent {
    fn waited(&self) -> Duration {
        self.waited + self.waiting.map(Instant::elapsed).unwrap_or_default()
    }
}

/// The budget of a task and all its calls.
#[derive(Debug)]
pub struct Budget {
    limits: Limits,
    spent: Mutex<Spent>,
    /// When the task began to run.
    begun: OnceLock<Instant>,
    /// The limit that was found spent where nothing could end the task at once.
    overdrawn: OnceLock<Exhausted>,
}

impl Budget {
    /// A fresh budget.
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, spent: Mutex::default(), begun: OnceLock::new(), overdrawn: OnceLock::new() })
    }

    /// The limits that it was made of.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The task begins to run: its wall time counts from here, or from the first time that this was said.
    pub fn begin(&self) {
        self.begun.get_or_init(Instant::now);
    }

    /// How long it has run, without the time spent waiting for a person.
    fn run_time(&self) -> Duration {
        let spent = *self.lock();
        spent.before + self.elapsed().saturating_sub(spent.recalling + spent.waited())
    }

    fn elapsed(&self) -> Duration {
        self.begun.get().map(|begun| begun.elapsed()).unwrap_or_default()
    }

    /// How much longer it may run, without the time spent waiting for a person.
    pub fn time_left(&self) -> Duration {
        self.limits.wall_time.saturating_sub(self.run_time())
    }

    /// Whether the task's time is not over. A timer stops guests that compute or wait; host functions that work without
    /// waiting ask here, because a guest that only calls them would never come to the timer.
    ///
    /// # Errors
    /// When it is over.
    pub fn in_time(&self) -> Result<(), Exhausted> {
        if self.time_left().is_zero() { Err(self.out_of_time()) } else { Ok(()) }
    }

    /// A limit was found spent by something that runs beside the guest: the task ends as soon as it can.
    pub fn overdraw(&self, exhausted: Exhausted) {
        self.overdrawn.get_or_init(|| exhausted);
    }

    /// Whether no limit was found spent by something that ran beside the guest.
    ///
    /// # Errors
    /// Which one was.
    pub fn overdrawn(&self) -> Result<(), Exhausted> {
        self.overdrawn.get().map_or(Ok(()), |exhausted| Err(*exhausted))
    }

    /// The task's time is over.
    pub fn out_of_time(&self) -> Exhausted {
        let (used, allowed) = (milliseconds(self.run_time()), milliseconds(self.limits.wall_time));
        Exhausted { limit: Limit::WallTime, used, allowed }
    }

    /// A person is waited for, until what this gives is dropped: that time does not count.
    #[must_use]
    pub fn wait_for_person(self: &Arc<Self>) -> Waiting {
        let mut spent = self.lock();
        spent.waiters += 1;
        spent.waiting.get_or_insert_with(Instant::now);
        drop(spent);
        Waiting(Arc::clone(self))
    }

    /// Counts one question to a person, unless the task has asked as often as it may.
    pub fn ask(&self) -> bool {
        let mut spent = self.lock();
        let may = spent.approvals < self.limits.approvals;
        spent.approvals += u64::from(may);
        may
    }

    /// Counts one effect that is asked for, whatever will become of it.
    ///
    /// # Errors
    /// When the task has asked for as many as it may, or its time is over.
    pub fn attempt(&self) -> Result<(), Exhausted> {
        self.in_time()?;
        let spent = &mut *self.lock();
        take(Limit::Effects, &mut spent.effects, 1, self.limits.effects)
    }

    /// Counts one refusal.
    pub fn refused(&self) {
        self.lock().refusals += 1;
    }

    /// Takes all of a cost, or nothing. What was taken is given back unless [`Reservation::keep`] is called.
    ///
    /// # Errors
    /// When some limit has not enough left.
    pub fn reserve(self: &Arc<Self>, cost: Cost) -> Result<Reservation, Exhausted> {
        take(Limit::ToolCalls, &mut self.lock().tool_calls, cost.tool_calls, self.limits.tool_calls)?;
        Ok(Reservation { budget: Arc::clone(self), cost })
    }

    /// Counts bytes of log lines.
    ///
    /// # Errors
    /// When the task has written as many as it may.
    pub fn log(&self, bytes: u64) -> Result<(), Exhausted> {
        take(Limit::Log, &mut self.lock().log, bytes, self.limits.log)
    }

    /// Counts bytes of the task's result.
    ///
    /// # Errors
    /// When it is longer than it may be.
    pub fn output(&self, bytes: u64) -> Result<(), Exhausted> {
        take(Limit::Output, &mut self.lock().output, bytes, self.limits.output)
    }

    /// Counts requests to hosts, and bytes to and from them; what they may be is for the capability to say.
    pub fn exchanged(&self, requests: u64, sent: u64, received: u64) {
        let mut spent = self.lock();
        spent.requests += requests;
        spent.sent += sent;
        spent.received += received;
    }

    /// Notes the size of a linear memory, in bytes.
    pub fn memory(&self, bytes: u64) {
        let mut spent = self.lock();
        spent.memory_peak = spent.memory_peak.max(bytes);
    }

    /// What has been consumed so far, but for fuel.
    pub fn usage(&self) -> Usage {
        let spent = self.lock();
        Usage {
            memory_peak_bytes: spent.memory_peak,
            tool_calls: spent.tool_calls,
            effects: spent.effects,
            refusals: spent.refusals,
            approvals: spent.approvals,
            requests: spent.requests,
            sent_bytes: spent.sent,
            received_bytes: spent.received,
            waited_ms: milliseconds(spent.waited_before + spent.waited()),
            wall_ms: milliseconds(spent.before + self.elapsed().saturating_sub(spent.recalling + spent.waited())),
            ..Usage::default()
        }
    }

    /// A recorded answer was given: this is what had been used when it was over.
    pub fn recall(&self, usage: Usage) {
        self.lock().recalled = Some(usage);
    }

    /// The task goes on after recorded answers: with what it had used, and never with a fresh budget.
    pub fn go_on(&self) {
        let elapsed = self.elapsed();
        let mut spent = self.lock();
        let Some(usage) = spent.recalled.take() else { return };
        (spent.effects, spent.refusals, spent.tool_calls) = (usage.effects, usage.refusals, usage.tool_calls);
        (spent.approvals, spent.requests) = (usage.approvals, usage.requests);
        (spent.sent, spent.received) = (usage.sent_bytes, usage.received_bytes);
        spent.memory_peak = spent.memory_peak.max(usage.memory_peak_bytes);
        spent.before = Duration::from_millis(usage.wall_ms);
        spent.waited_before = Duration::from_millis(usage.waited_ms);
        (spent.recalling, spent.waited) = (elapsed, Duration::ZERO);
    }

    fn lock(&self) -> MutexGuard<'_, Spent> {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A person is being waited for.
#[derive(Debug)]
pub struct Waiting(Arc<Budget>);

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut spent = self.0.lock();
        spent.waiters -= 1;
        if spent.waiters == 0 {
            spent.waited = spent.waited();
            spent.waiting = None;
        }
    }
}

fn take(limit: Limit, counter: &mut u64, amount: u64, allowed: u64) -> Result<(), Exhausted> {
    let used = counter.saturating_add(amount);
    if used > allowed {
        return Err(Exhausted { limit, used, allowed });
    }
    *counter = used;
    Ok(())
}

/// What an effect has taken from a budget. Dropped, it gives it back.
#[derive(Debug)]
#[must_use = "a reservation that is dropped gives back what it took"]
pub struct Reservation {
    budget: Arc<Budget>,
    cost: Cost,
}

impl Reservation {
    /// The effect goes on: what was taken stays taken.
    pub fn keep(mut self) {
        self.cost = Cost::default();
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.lock().tool_calls -= self.cost.tool_calls;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn budget(tool_calls: u64) -> Arc<Budget> {
        Budget::new(Limits { tool_calls, ..Limits::default() })
    }

    #[test]
    fn a_dropped_reservation_gives_back() {
        let budget = budget(1);
        drop(budget.reserve(Cost { tool_calls: 1 }).unwrap());
        budget.reserve(Cost { tool_calls: 1 }).unwrap().keep();
        let spent = budget.reserve(Cost { tool_calls: 1 }).unwrap_err();
        assert_eq!(spent, Exhausted { limit: Limit::ToolCalls, used: 2, allowed: 1 });
        assert_eq!(spent.to_string(), "the limit `tool-calls` is spent: 2 of 1 calls");
    }

    #[test]
    fn the_clock_stands_still_until_nobody_is_waited_for_any_more() {
        let budget = budget(1);
        let (one, other) = (budget.wait_for_person(), budget.wait_for_person());
        drop(one);
        assert!(budget.lock().waiting.is_some());
        drop(other);
        assert!(budget.lock().waiting.is_none());
    }

    proptest! {
        /// Whatever several threads keep and drop, what is kept is what is counted, and never more than is allowed.
        #[test]
        fn budgets_are_conserved_under_concurrency(
            allowed in 0_u64..40,
            plans in proptest::collection::vec(proptest::collection::vec((0_u64..5, any::<bool>()), 0..20), 1..4),
        ) {
            let budget = budget(allowed);
            let kept: u64 = std::thread::scope(|scope| {
                let threads: Vec<_> = plans
                    .iter()
                    .map(|plan| {
                        let budget = Arc::clone(&budget);
                        scope.spawn(move || {
                            let mut kept = 0;
                            for (tool_calls, keep) in plan {
                                if let Ok(reservation) = budget.reserve(Cost { tool_calls: *tool_calls })
                                    && *keep
                                {
                                    kept += tool_calls;
                                    reservation.keep();
                                }
                            }
                            kept
                        })
                    })
                    .collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).sum()
            });
            prop_assert_eq!(budget.usage().tool_calls, kept);
            prop_assert!(kept <= allowed);
        }
    }
}
