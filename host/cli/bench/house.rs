//! Ambit's side: a home of its own, with a bundle of two components, and jobs that stand on them.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::Notify;

use super::super::recipe::{Recipe, What};
use super::super::{Failure, this_program};
use super::series::{Sample, Taken};
use super::subject::{self, Subject};
use super::waiting::{Slow, Waiting};
use crate::approval::Mode;
use crate::capability::stdio::Log;
use crate::config::Instant;
use crate::front::crew::{Capacity, Crew};
use crate::front::{Audience, Host, Job, Tried, Work};
use crate::gate::Observer;
use crate::policy::Resource;
use crate::task::Status;

const BUNDLE: &str = r#"name = "bench"
version = "0.1.0"
description = "What `ambit bench` measures"

[agent]
component = "agent.wasm"

[agent.requests]
tools = { names = ["subject"], reason = "calls it" }
state = { reason = "waits for it" }

[tools.subject]
component = "subject.wasm"
"#;

const GRANTS: &str = r#"bundle = "bench"

[limits]
wall-time  = "600s"
fuel       = 1000000000000
effects    = 1000000
tool-calls = 1000000

[agent]
tools = ["subject"]
state = { namespace = "bench" }

[tools.subject]
"#;

/// Tasks that can all run at once.
pub(super) const RUNNABLE: usize = 1_000;

/// A home with what is measured in it.
pub(super) struct House {
    pub(super) host: Arc<Host>,
    /// A job of the agent, and one of the function alone.
    agent: Job,
    function: Job,
}

impl House {
    /// Makes a home in a folder that is not there yet, with room for so many stores.
    pub(super) fn open(folder: &Path, subject: &Subject, stores: u32) -> Result<Self, Failure> {
        let (bundle, policy) = (folder.join("bundle"), folder.join("policy"));
        let agent = subject::agent()?;
        for (path, content) in [
            (bundle.join("bundle.toml"), BUNDLE.as_bytes()),
            (bundle.join("agent.wasm"), &agent),
            (bundle.join("subject.wasm"), &subject.wasm),
            (policy.join("grants.toml"), GRANTS.as_bytes()),
        ] {
            super::write(&path, content)?;
        }
        let host = Host::with_room(Some(&folder.join("home")), &this_program()?, stores)?;
        let host = Arc::new(host);
        let job = |what| Recipe { what, user: None, keep: None }.job((host.loader(), &host.people), Mode::Deny, None);
        let function = What::Function {
            component: bundle.join("subject.wasm"),
            function: subject.function.clone(),
            arguments: subject.input.clone(),
            grant: Some(policy.join("grants.toml")),
        };
        let function = job(function)?;
        let agent = job(What::Bundle { bundle, policy, input: "\"\"".to_owned() })?;
        Ok(Self { host, agent, function })
    }

    /// The function alone.
    pub(super) fn function(&self) -> Job {
        self.function.another(self.function.work.clone(), serde_json::Value::Null)
    }

    /// Another function alone.
    pub(super) fn other(&self, function: &str, arguments: String) -> Job {
        let Work::Function { tool, .. } = &self.function.work else { return self.function() };
        let (tool, function) = (Arc::clone(tool), function.to_owned());
        self.function.another(Work::Function { tool, function, arguments }, serde_json::Value::Null)
    }

    /// The agent, on this input.
    pub(super) fn agent(&self, input: &serde_json::Value) -> Job {
        let Work::Agent { bundle, .. } = &self.agent.work else { return self.function() };
        let work = Work::Agent { bundle: Arc::clone(bundle), input: input.to_string() };
        self.agent.another(work, serde_json::Value::Null)
    }

    /// Runs a job so often, one after another, on this thread.
    pub(super) fn tasks(&self, times: u32, job: impl Fn() -> Job) -> Taken {
        let runtime = super::super::runtime().map_err(|_| "there is no runtime".to_owned())?;
        let audience = nobody();
        let begun = Instant::now();
        runtime.block_on(async {
            for _ in 0..times {
                succeeded(self.host.trial(job(), &audience, None).await)?;
            }
            Ok(Sample { operations: times, took: begun.elapsed() })
        })
    }

    /// Runs a job so often, all at once on one worker, with their names in the list, their journals and all of their records
    /// on the disk.
    pub(super) fn recorded(self: &Arc<Self>, times: u32, job: impl Fn(&Self) -> Job + Clone + Send + 'static) -> Taken {
        let crew = self.crew(1, times as usize)?;
        let begun = Instant::now();
        let hand_in = |_| {
            let (house, job) = (Arc::clone(self), job.clone());
            crew.hand_in(move |host| async move {
                let report = host.run(job(&house), nobody(), std::future::pending()).await;
                let report = report.map_err(|error| error.to_string())?;
                let why = report.error.map_or_else(|| "it did not succeed".to_owned(), |error| error.message);
                if report.status == Status::Succeeded { Ok(()) } else { Err(why) }
            })
        };
        let coming: Result<Vec<_>, _> = (0..times).map(hand_in).collect();
        for one in coming.map_err(|error| error.to_string())? {
            one.blocking_recv().map_err(|error| error.to_string())??;
        }
        Ok(Sample { operations: times, took: begun.elapsed() })
    }

    /// Workers of this host.
    pub(super) fn crew(&self, workers: usize, live: usize) -> Result<Crew, String> {
        let workers = NonZeroUsize::new(workers).unwrap_or(NonZeroUsize::MIN);
        let capacity = Capacity { workers, live, queued: live };
        Crew::new(Arc::clone(&self.host), capacity).map_err(|error| error.to_string())
    }

    /// So many tasks on each of so many workers.
    pub(super) fn on_workers(self: &Arc<Self>, workers: usize, times: u32) -> Taken {
        let crew = self.crew(workers, workers)?;
        let begun = Instant::now();
        let hand_in = |_| {
            let house = Arc::clone(self);
            crew.hand_in(move |host| async move {
                let audience = nobody();
                for _ in 0..times {
                    succeeded(host.trial(house.function(), &audience, None).await)?;
                }
                Ok::<_, String>(())
            })
        };
        let coming: Result<Vec<_>, _> = (0..workers).map(hand_in).collect();
        for one in coming.map_err(|error| error.to_string())? {
            one.blocking_recv().map_err(|error| error.to_string())??;
        }
        let workers = u32::try_from(workers).unwrap_or(u32::MAX);
        Ok(Sample { operations: times * workers, took: begun.elapsed() })
    }

    /// Tasks that could all run at once, on all workers, and perhaps one that burns fuel without pause: the median of how long
    /// it took from when one was handed in until it had ended.
    pub(super) fn runnable(self: &Arc<Self>, tasks: usize, with_burner: bool) -> Result<Duration, String> {
        let crew = self.crew(super::workers(), tasks + 1)?;
        let (stop, burning) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let burner = with_burner.then(|| {
            let (house, stop, burning) = (Arc::clone(self), Arc::clone(&stop), Arc::clone(&burning));
            crew.hand_in(move |host| async move {
                let audience = nobody();
                let burn = host.trial(house.agent(&serde_json::json!({ "burn": u32::MAX })), &audience, None);
                let mut burn = std::pin::pin!(burn);
                // It has begun once it has yielded.
                let first = std::future::poll_fn(|context| Poll::Ready(burn.as_mut().poll(context))).await;
                burning.notify_one();
                let ended = match first {
                    Poll::Ready(ended) => ended,
                    Poll::Pending => tokio::select! {
                        ended = burn => ended,
                        () = stop.notified() => return Ok(()),
                    },
                };
                Err::<(), _>(format!("what was to burn fuel ended before the others: {}", ended.status.as_str()))
            })
        });
        if with_burner {
            let runtime = super::super::runtime().map_err(|_| "there is no runtime".to_owned())?;
            runtime.block_on(burning.notified());
        }
        let mut latencies = self.run_all(&crew, tasks)?;
        stop.notify_one();
        if let Some(burner) = burner {
            burner.map_err(|error| error.to_string())?.blocking_recv().map_err(|error| error.to_string())??;
        }
        latencies.sort_unstable();
        latencies.get(tasks / 2).copied().ok_or_else(|| "no task ran".to_owned())
    }

    /// Hands in tasks, all of them at once, and gives how long each took.
    fn run_all(self: &Arc<Self>, crew: &Crew, tasks: usize) -> Result<Vec<Duration>, String> {
        let hand_in = |_| {
            let (house, begun) = (Arc::clone(self), Instant::now());
            crew.hand_in(move |host| async move {
                succeeded(host.trial(house.function(), &nobody(), None).await)?;
                Ok::<_, String>(begun.elapsed())
            })
        };
        let coming: Result<Vec<_>, _> = (0..tasks).map(hand_in).collect();
        let coming = coming.map_err(|error| error.to_string())?.into_iter();
        coming.map(|one| one.blocking_recv().map_err(|error| error.to_string())?).collect()
    }

    /// Tasks that could all run at once, while others wait for an effect.
    pub(super) fn beside_waiting(self: &Arc<Self>, tasks: usize, waiting: usize) -> Taken {
        let ((took, ran), _) = self.waiting(waiting, |crew| {
            let begun = Instant::now();
            let ran = self.run_all(crew, tasks);
            (begun.elapsed(), ran)
        })?;
        let operations = u32::try_from(ran?.len()).unwrap_or(u32::MAX);
        Ok(Sample { operations, took })
    }

    /// So many tasks that wait for an effect all at once, and what is done while they do.
    pub(super) fn waiting<T>(
        self: &Arc<Self>,
        tasks: usize,
        meanwhile: impl FnOnce(&Crew) -> T,
    ) -> Result<(T, Duration), String> {
        let crew = self.crew(super::workers(), tasks + RUNNABLE)?;
        let waiting = Arc::new(Waiting::default());
        let begun = Instant::now();
        let hand_in = |number: usize| {
            let (house, waiting) = (Arc::clone(self), Arc::clone(&waiting));
            crew.hand_in(move |host| async move {
                let job = house.agent(&waiting_for(number));
                succeeded(host.trial(job, &nobody(), Some(Arc::new(Slow(waiting)))).await)
            })
        };
        let coming: Result<Vec<_>, _> = (0..tasks).map(hand_in).collect();
        let coming = coming.map_err(|error| error.to_string())?;
        let mut coming = coming.into_iter();
        // One that ends before it waits has failed, and says why below.
        waiting.until(tasks, || crew.live() + crew.queued() == tasks);
        let (arrived, done) = (begun.elapsed(), meanwhile(&crew));
        let begun = Instant::now();
        waiting.let_go();
        coming.try_for_each(|one| one.blocking_recv().map_err(|error| error.to_string())?)?;
        Ok((done, arrived + begun.elapsed()))
    }
}

/// What the agent is told to wait for.
pub(super) fn waiting_for(number: usize) -> serde_json::Value {
    serde_json::json!({ "wait": format!("key {number}") })
}

/// Whether a trial succeeded.
fn succeeded(tried: Tried) -> Result<(), String> {
    match tried.status {
        Status::Succeeded => Ok(()),
        status => Err(tried.error.unwrap_or_else(|| status.as_str().to_owned())),
    }
}

/// Hears nothing.
struct Nobody;

impl Log for Nobody {
    fn line(&self, _task: &str, _component: &str, _text: &str) {}
}

impl Observer for Nobody {
    fn effect(&self, _action: &'static str, _resource: &Resource) {}
}

fn nobody() -> Audience {
    Audience { log: Arc::new(Nobody), observer: Arc::new(Nobody) }
}
