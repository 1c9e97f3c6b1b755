//! State that answers when it is let go of: what tasks wait for that wait.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

use crate::capability::state::{Answer, Labelled, Read, StateError, Store, Write};
use crate::gate::Permit;
use crate::label::Labels;

/// See the module.
#[derive(Default)]
pub(super) struct Waiting(Arc<Held>);

#[derive(Default)]
struct Held {
    count: AtomicUsize,
    free: AtomicBool,
    wakers: Mutex<Vec<Waker>>,
}

impl Held {
    fn wakers(&self) -> std::sync::MutexGuard<'_, Vec<Waker>> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until everything is let go of.
    async fn wait(&self) {
        let mut counted = false;
        std::future::poll_fn(|context| {
            let mut wakers = self.wakers();
            if self.free.load(Ordering::Acquire) {
                return Poll::Ready(());
            }
            wakers.push(context.waker().clone());
            if !std::mem::replace(&mut counted, true) {
                self.count.fetch_add(1, Ordering::AcqRel);
            }
            Poll::Pending
        })
        .await;
    }
}

impl Waiting {
    /// How many have come to wait.
    pub(super) fn count(&self) -> usize {
        self.0.count.load(Ordering::Acquire)
    }

    /// Lets all of them go on.
    pub(super) fn let_go(&self) {
        let mut wakers = self.0.wakers();
        self.0.free.store(true, Ordering::Release);
        wakers.drain(..).for_each(Waker::wake);
    }

    /// Waits with the others.
    pub(super) async fn wait(self: Arc<Self>) {
        self.0.wait().await;
    }
}

impl Store for Waiting {
    fn value(&self, permit: Permit<Read>) -> Answer<Labelled<Option<Vec<u8>>>> {
        let held = Arc::clone(&self.0);
        Box::pin(async move {
            permit.redeem();
            held.wait().await;
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
