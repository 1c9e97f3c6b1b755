//! Whether somebody waits for what is queued.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;
use std::time::Duration;

/// How long the writer waits for more where nobody waits for it: a few disk flushes.
const PAUSE: Duration = Duration::from_millis(1);

/// What whoever waits says to the writer.
#[derive(Debug, Default)]
pub(super) struct Haste {
    is_made: AtomicBool,
    writer: OnceLock<Thread>,
}

impl Haste {
    /// The thread that writes is this one.
    pub(super) fn on(&self, writer: Thread) {
        self.writer.get_or_init(|| writer);
    }

    /// Somebody waits for something that is queued already.
    pub(super) fn make(&self) {
        if !self.is_made.swap(true, Ordering::AcqRel)
            && let Some(writer) = self.writer.get()
        {
            writer.unpark();
        }
    }

    /// Whether somebody waits for what is queued: all that is taken from the queue after this.
    pub(super) fn is_made(&self) -> bool {
        self.is_made.swap(false, Ordering::AcqRel)
    }

    /// Waits until somebody does, for a moment. Those who queue something meanwhile need not wake the writer.
    pub(super) fn wait(&self) {
        std::thread::park_timeout(PAUSE);
        self.is_made.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn haste_is_made_once_and_ends_a_wait() {
        let haste = Arc::new(Haste::default());
        haste.make();
        assert!(haste.is_made());
        assert!(!haste.is_made());
        // A wait ends by itself; one that is made for ends it, and is forgotten with it.
        let waiting = Arc::clone(&haste);
        let writer = std::thread::spawn(move || {
            waiting.on(std::thread::current());
            waiting.make();
            waiting.wait();
            waiting.is_made()
        });
        assert!(!writer.join().unwrap());
    }
}
