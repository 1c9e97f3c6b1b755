//! Tasks that are run to measure what a task costs by itself.

use std::sync::Arc;

use super::end::End;
use super::run::Ground;
use super::{Audience, Host, Job};
use crate::capability::state::Store;
use crate::recorder::{Nowhere, Recorder};
use crate::task::{Status, TaskId};

/// What a trial came to.
#[derive(Debug)]
pub struct Tried {
    /// How it ended.
    pub status: Status,
    /// What it gave.
    pub output: Option<serde_json::Value>,
    /// Why it did not succeed.
    pub error: Option<String>,
}

impl Host {
    /// Runs a job as [`Self::run`] does, but for its name in the list of tasks, its journal, and the records of its start and
    /// its end. Its effects are decided on and recorded as ever; its state is kept by `store`, if that is given.
    pub async fn trial(&self, job: Job, audience: &Audience, store: Option<Arc<dyn Store>>) -> Tried {
        let key = crate::config::unforeseen();
        let seeds = job.seeds_of_trial(&key);
        let recorder = Arc::new(Recorder::recording(Arc::new(Nowhere), job.limits.journal));
        let ground = Ground { store, ..self.ground(TaskId::generate(), seeds, key, recorder) };
        let mut course = self.course(job, ground, audience);
        let End { status, output, error } = course.take(std::future::pending()).await;
        Tried { status, output, error: error.map(|error| error.message) }
    }
}
