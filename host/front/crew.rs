//! Many tasks at once, in one process: a worker for each core, with a runtime of its own, and a queue that they share.
//!
//! A task stays on the worker that took it, and is a future there: it is never moved to another thread, and one that waits holds its store
//! and no thread. Guests that compute yield by their fuel, so that others on their worker come to their turn; and a worker that is
//! busy takes less from the queue, so that others take more. What comes when the queue is full is refused, at once and in
//! words; nothing is dropped.

use std::collections::VecDeque;
use std::future::Future;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::{Notify, oneshot};
use tokio::task::LocalSet;

use super::Host;

/// Pieces of work that a worker takes in one turn, at most.
const TURN: usize = 16;

/// How many tasks there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Workers: one for each core, as a rule.
    pub workers: NonZeroUsize,
    /// Tasks that live at once, those that wait for an effect among them.
    pub live: usize,
    /// Tasks that wait for others to end.
    pub queued: usize,
}

impl Capacity {
    /// A worker for each core of the machine, and so many tasks at once.
    pub fn of_machine(live: usize, queued: usize) -> Self {
        let workers = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self { workers, live, queued }
    }
}

/// There is no room for another task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{live} tasks live and {queued} wait for their turn, and that is as many as there may be: try again later")]
pub struct Overloaded {
    /// Tasks that live.
    pub live: usize,
    /// Tasks that wait for their turn.
    pub queued: usize,
}

/// What comes of work that was handed in; an error when the worker broke down over it.
pub type Coming<T> = oneshot::Receiver<T>;

type Running = Pin<Box<dyn Future<Output = ()>>>;
type Work = Box<dyn FnOnce(Arc<Host>) -> Running + Send>;

struct Queue {
    waiting: VecDeque<Work>,
    live: usize,
    closed: bool,
}

struct Shared {
    host: Arc<Host>,
    capacity: Capacity,
    queue: Mutex<Queue>,
    /// There is work, or room for it, or an end.
    changed: Notify,
    /// Nothing lives any more.
    idle: Condvar,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next work, once there is some and room for it; none at the end. Where much waits, several pieces are taken in one
    /// turn, so that a guest which computes has its turn less often than they.
    async fn next(&self) -> Option<Vec<Work>> {
        loop {
            let changed = self.changed.notified();
            {
                let mut queue = self.queue();
                let room = self.capacity.live.saturating_sub(queue.live).min(queue.waiting.len());
                if room > 0 {
                    let share = queue.waiting.len() / self.capacity.workers;
                    let taken: Vec<_> = queue.waiting.drain(..share.clamp(1, TURN).min(room)).collect();
                    queue.live += taken.len();
                    if !queue.waiting.is_empty() && queue.live < self.capacity.live {
                        self.changed.notify_one();
                    }
                    return Some(taken);
                }
                if queue.closed && queue.waiting.is_empty() {
                    self.changed.notify_waiters();
                    return None;
                }
            }
            changed.await;
        }
    }
}

/// A task that lives, until this is dropped.
struct Alive(Arc<Shared>);

impl Drop for Alive {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.live -= 1;
        if queue.live == 0 && queue.waiting.is_empty() {
            self.0.idle.notify_all();
        }
        drop(queue);
        self.0.changed.notify_one();
    }
}

/// The workers of a host.
pub struct Crew {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

impl Crew {
    /// Workers for a host.
    ///
    /// # Errors
    /// When the machine gives no thread or no runtime.
    pub fn new(host: Arc<Host>, capacity: Capacity) -> std::io::Result<Self> {
        let queue = Queue { waiting: VecDeque::new(), live: 0, closed: false };
        let (changed, idle) = (Notify::new(), Condvar::new());
        let shared = Arc::new(Shared { host, capacity, queue: Mutex::new(queue), changed, idle });
        let worker = |number| {
            let shared = Arc::clone(&shared);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let thread = std::thread::Builder::new().name(format!("ambit-worker-{number}"));
            thread.spawn(move || {
                LocalSet::new().block_on(&runtime, work(shared));
                // A look-up of a name that hangs is not waited for.
                runtime.shutdown_background();
            })
        };
        let workers = (0..capacity.workers.get()).map(worker).collect::<std::io::Result<_>>()?;
        Ok(Self { shared, workers })
    }

    /// Hands in work, which is begun when there is room for it.
    ///
    /// # Errors
    /// When the queue is full: then it is not begun.
    pub fn hand_in<T: Send + 'static, F: Future<Output = T> + 'static>(
        &self,
        work: impl FnOnce(Arc<Host>) -> F + Send + 'static,
    ) -> Result<Coming<T>, Overloaded> {
        let (told, coming) = oneshot::channel();
        let work: Work = Box::new(move |host| {
            Box::pin(async move {
                // Nobody may wait for it.
                let _ = told.send(work(host).await);
            })
        });
        let mut queue = self.shared.queue();
        let Capacity { live, queued, .. } = self.shared.capacity;
        if queue.live + queue.waiting.len() >= live.saturating_add(queued) {
            return Err(Overloaded { live: queue.live, queued: queue.waiting.len() });
        }
        queue.waiting.push_back(work);
        drop(queue);
        self.shared.changed.notify_one();
        Ok(coming)
    }

    /// Waits for nothing that was handed in: it goes no further once this process has ended.
    pub fn abandon(mut self) {
        self.workers.clear();
    }

    /// Tasks that live now.
    pub fn live(&self) -> usize {
        self.shared.queue().live
    }

    /// Tasks that wait for their turn.
    pub fn queued(&self) -> usize {
        self.shared.queue().waiting.len()
    }

    /// Waits, on this thread, until nothing lives and nothing is queued.
    pub fn until_idle(&self) {
        let mut queue = self.shared.queue();
        while queue.live > 0 || !queue.waiting.is_empty() {
            queue = self.shared.idle.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Crew {
    /// Lets what was handed in come to its end.
    fn drop(&mut self) {
        self.shared.queue().closed = true;
        self.shared.changed.notify_waiters();
        self.shared.changed.notify_one();
        for worker in self.workers.drain(..) {
            // One that broke down has told whoever waited for it.
            let _ = worker.join();
        }
    }
}

/// A worker: takes work as long as there is some, and carries it out beside the rest that it took.
async fn work(shared: Arc<Shared>) {
    let mut tasks = tokio::task::JoinSet::new();
    while let Some(taken) = shared.next().await {
        for work in taken {
            let alive = Alive(Arc::clone(&shared));
            let running = work(Arc::clone(&shared.host));
            tasks.spawn_local(async move {
                let _alive = alive;
                running.await;
            });
        }
        // What has ended is let go of; what it came to was told.
        while tasks.try_join_next().is_some() {}
        // Others come first: whoever is less busy takes what is next.
        tokio::task::yield_now().await;
    }
    while tasks.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    fn crew(workers: usize, live: usize, queued: usize) -> (Crew, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let host = Arc::new(Host::open(Some(folder.path()), Path::new("ambit")).unwrap());
        let workers = NonZeroUsize::new(workers).unwrap();
        (Crew::new(host, Capacity { workers, live, queued }).unwrap(), folder)
    }

    #[test]
    fn no_more_live_than_may_and_what_has_no_room_is_refused() {
        let (crew, _folder) = crew(2, 3, 4);
        let (go, live, most) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let hand_in = || {
            let (go, live, most) = (Arc::clone(&go), Arc::clone(&live), Arc::clone(&most));
            crew.hand_in(move |_| async move {
                most.fetch_max(live.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                go.notified().await;
                live.fetch_sub(1, Ordering::SeqCst);
                // The next one may go.
                go.notify_one();
            })
        };
        let taken: Vec<_> = std::iter::repeat_with(hand_in).take(7).map(Result::unwrap).collect();
        assert_eq!(hand_in().unwrap_err().to_string().split(": ").last(), Some("try again later"));
        go.notify_one();
        for one in taken {
            one.blocking_recv().unwrap();
        }
        crew.until_idle();
        assert_eq!((crew.live(), crew.queued()), (0, 0));
        assert!((1..=3).contains(&most.load(Ordering::SeqCst)));
        assert!(hand_in().is_ok(), "there is room again");
    }

    #[test]
    fn one_that_computes_lets_others_come_to_their_turn() {
        let (crew, _folder) = crew(1, 200, 0);
        let stop = Arc::new(AtomicBool::new(false));
        let burning = Arc::clone(&stop);
        let burner = crew.hand_in(move |_| async move {
            // As a guest does that burns fuel.
            while !burning.load(Ordering::SeqCst) {
                tokio::task::yield_now().await;
            }
        });
        let others: Vec<_> = (0..100).map(|number| crew.hand_in(move |_| async move { number }).unwrap()).collect();
        let told: Vec<usize> = others.into_iter().map(|one| one.blocking_recv().unwrap()).collect();
        assert_eq!(told, (0..100).collect::<Vec<_>>());
        // What was told of is over in a moment.
        while crew.live() > 1 {
            std::thread::yield_now();
        }
        stop.store(true, Ordering::SeqCst);
        burner.unwrap().blocking_recv().unwrap();
    }

    #[test]
    fn one_that_breaks_down_takes_no_other_with_it() {
        let (crew, _folder) = crew(1, 10, 0);
        let broken = crew.hand_in(|_| async { panic!("for the test") }).unwrap();
        assert!(broken.blocking_recv().is_err());
        assert_eq!(crew.hand_in(|_| async { 7 }).unwrap().blocking_recv(), Ok(7));
        crew.until_idle();
        // What was handed in comes to its end before the crew does.
        let last = crew.hand_in(|_| async { 8 }).unwrap();
        drop(crew);
        assert_eq!(last.blocking_recv(), Ok(8));
    }
}
