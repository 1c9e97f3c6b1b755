//! State that answers when it is let go of: what tasks wait for that wait.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::capability::state::{Answer, Labelled, Read, StateError, Store, Write};
use crate::gate::Permit;
use crate::label::Labels;

/// How long is waited for more to come before it is looked whether any still can.
const PATIENCE: Duration = Duration::from_millis(20);

/// See the module.
#[derive(Default)]
pub(super) struct Waiting {
    held: Mutex<Held>,
    more: Condvar,
}

#[derive(Default)]
struct Held {
    /// How many have come to wait.
    count: usize,
    is_free: bool,
    wakers: Vec<Waker>,
}

impl Waiting {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many have come to wait.
    pub(super) fn count(&self) -> usize {
        self.held().count
    }

    /// Waits, on this thread, until so many have come, or no more can.
    pub(super) fn until(&self, many: usize, can_come: impl Fn() -> bool) {
        let mut held = self.held();
        while held.count < many {
            let (waited, timeout) = self.more.wait_timeout(held, PATIENCE).unwrap_or_else(PoisonError::into_inner);
            held = waited;
            if timeout.timed_out() && !can_come() {
                return;
            }
        }
    }

    /// Lets all of them go on.
    pub(super) fn let_go(&self) {
        let mut held = self.held();
        held.is_free = true;
        held.wakers.drain(..).for_each(Waker::wake);
    }

    /// Waits with the others.
    pub(super) async fn wait(&self) {
        let mut is_counted = false;
        std::future::poll_fn(|context| {
            let mut held = self.held();
            if held.is_free {
                return Poll::Ready(());
            }
            held.wakers.push(context.waker().clone());
            if !std::mem::replace(&mut is_counted, true) {
                held.count += 1;
                self.more.notify_one();
            }
            Poll::Pending
        })
        .await;
    }
}

/// Waiting, as state.
pub(super) struct Slow(pub(super) Arc<Waiting>);

impl Store for Slow {
    fn value(&self, permit: Permit<Read>) -> Answer<Labelled<Option<Vec<u8>>>> {
        let waiting = Arc::clone(&self.0);
        Box::pin(async move {
            permit.redeem();
            waiting.wait().await;
            Ok(Labelled { value: None, labels: Labels::default() })
        })
    }

    fn keys(&self, permit: Permit<Read>) -> Answer<Labelled<Vec<String>>> {
        permit.redeem();
        Box::pin(async { Err(StateError::Key) })
    }

    fn change(&self, permit: Permit<Write>) -> Answer<Labelled<u64>> {
        permit.redeem();
        Box::pin(async { Err(StateError::Key) })
    }
}
