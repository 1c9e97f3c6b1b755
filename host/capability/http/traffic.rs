//! What a task has exchanged with each host, over all its stores.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::budget::Budget;
use crate::manifest::ByteSize;

/// `{ requests = 100, sent = "1MiB", received = "10MiB" }`: what a task may exchange with one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Allowance {
    /// Requests, each hop of a redirect among them.
    pub requests: u64,
    /// Bytes of paths, queries, headers and bodies.
    pub sent: ByteSize,
    /// Bytes of headers and of bodies, decoded.
    pub received: ByteSize,
}

impl Default for Allowance {
    /// 1,000 requests, 10 MiB there and 100 MiB back.
    fn default() -> Self {
        Self { requests: 1000, sent: ByteSize::new(10 << 20), received: ByteSize::new(100 << 20) }
    }
}

/// What was exchanged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Requests.
    pub requests: u64,
    /// Bytes there.
    pub sent: u64,
    /// Bytes back.
    pub received: u64,
}

/// An allowance has not enough left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} of the budget for this host: it would be {would} of {allowed}")]
pub struct Spent {
    what: Counted,
    would: u64,
    allowed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    Requests,
    Sent,
    Received,
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Requests => "`requests`",
            Self::Sent => "`sent` bytes",
            Self::Received => "`received` bytes",
        })
    }
}

/// What one task has exchanged, by host.
#[derive(Debug, Default)]
pub struct Traffic(Mutex<BTreeMap<String, Amount>>);

impl Traffic {
    /// Whether more would fit.
    ///
    /// # Errors
    /// What would not.
    fn fits(&self, host: &str, more: Amount, allowed: &Allowance) -> Result<(), Spent> {
        sum(self.lock().get(host).copied().unwrap_or_default(), more, allowed).map(drop)
    }

    /// Adds to it, all or nothing.
    ///
    /// # Errors
    /// What does not fit.
    fn take(&self, host: &str, more: Amount, allowed: &Allowance) -> Result<(), Spent> {
        let mut hosts = self.lock();
        let before = hosts.get(host).copied().unwrap_or_default();
        let after = sum(before, more, allowed)?;
        hosts.insert(host.to_owned(), after);
        Ok(())
    }

    /// What was exchanged with each host.
    pub(super) fn now(&self) -> Vec<(String, Amount)> {
        self.lock().iter().map(|(host, amount)| (host.clone(), *amount)).collect()
    }

    /// So much had been exchanged, in a process before this one: it is no less.
    pub(super) fn stood_at(&self, then: &[(String, Amount)]) {
        let mut hosts = self.lock();
        for (host, amount) in then {
            let now = hosts.entry(host.clone()).or_default();
            now.requests = now.requests.max(amount.requests);
            now.sent = now.sent.max(amount.sent);
            now.received = now.received.max(amount.received);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Amount>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a task exchanges with one host, under one allowance.
#[derive(Clone)]
pub struct Account {
    traffic: Arc<Traffic>,
    budget: Arc<Budget>,
    host: String,
    allowed: Allowance,
}

impl Account {
    /// With a host.
    pub fn with(host: &str, allowed: Allowance, traffic: &Arc<Traffic>, budget: &Arc<Budget>) -> Self {
        Self { traffic: Arc::clone(traffic), budget: Arc::clone(budget), host: host.to_owned(), allowed }
    }

    /// Whether more would fit.
    ///
    /// # Errors
    /// What would not.
    pub fn fits(&self, more: Amount) -> Result<(), Spent> {
        self.traffic.fits(&self.host, more, &self.allowed)
    }

    /// Adds to it, all or nothing.
    ///
    /// # Errors
    /// What does not fit.
    pub fn take(&self, more: Amount) -> Result<(), Spent> {
        self.traffic.take(&self.host, more, &self.allowed)?;
        self.budget.exchanged(more.requests, more.sent, more.received);
        Ok(())
    }
}

fn sum(before: Amount, more: Amount, allowed: &Allowance) -> Result<Amount, Spent> {
    let add = |what, before: u64, more: u64, allowed| {
        let would = before.saturating_add(more);
        if more > 0 && would > allowed { Err(Spent { what, would, allowed }) } else { Ok(would) }
    };
    Ok(Amount {
        requests: add(Counted::Requests, before.requests, more.requests, allowed.requests)?,
        sent: add(Counted::Sent, before.sent, more.sent, allowed.sent.bytes())?,
        received: add(Counted::Received, before.received, more.received, allowed.received.bytes())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_is_for_one_host_and_all_that_is_exchanged_with_it() {
        let traffic = Traffic::default();
        let allowed = Allowance { requests: 2, sent: ByteSize::new(10), received: ByteSize::new(100) };
        let request = |sent| Amount { requests: 1, sent, received: 0 };
        traffic.take("a", request(6), &allowed).unwrap();
        assert!(traffic.fits("a", request(5), &allowed).is_err());
        let spent = traffic.take("a", request(5), &allowed).unwrap_err();
        assert_eq!(spent.to_string(), "`sent` bytes of the budget for this host: it would be 11 of 10");
        // Nothing of what did not fit was taken.
        traffic.take("a", request(4), &allowed).unwrap();
        assert!(traffic.take("a", request(0), &allowed).is_err());
        traffic.take("a", Amount { received: 100, ..Amount::default() }, &allowed).unwrap();
        assert!(traffic.take("a", Amount { received: 1, ..Amount::default() }, &allowed).is_err());
        traffic.take("b", request(10), &allowed).unwrap();
    }
}
