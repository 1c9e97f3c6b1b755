//! Who asks: one store of a task.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::label::{Carried, Labels};
use crate::policy::{Person, Principal};
use crate::task::TaskId;

/// One store of a task: who asks.
#[derive(Debug)]
pub struct Actor {
    /// The task or child task.
    pub task: TaskId,
    /// The calls that lead to it: empty for the agent.
    pub path: Arc<str>,
    /// How policies see it.
    pub principal: Principal,
    /// The labels of what it touched.
    pub labels: Carried,
    /// The secrets that were revealed to it.
    shown: Mutex<BTreeSet<String>>,
}

impl Actor {
    /// A component of a bundle, in a task, on somebody's behalf.
    pub fn new(
        task: TaskId,
        bundle: impl Into<Arc<str>>,
        component: impl Into<Arc<str>>,
        digest: impl Into<Arc<str>>,
        user: Option<Arc<Person>>,
    ) -> Self {
        let principal = Principal {
            task: task.name(),
            bundle: bundle.into(),
            component: component.into(),
            digest: digest.into(),
            depth: task.depth() as u64,
            user,
        };
        let path = task.path().into();
        Self { task, path, principal, labels: Carried::default(), shown: Mutex::default() }
    }

    /// What a guest said, fit for the log: nothing once it carries labels, for the log may be shown to anyone.
    pub fn told(&self, text: &str) -> String {
        if self.labels.now().is_empty() { crate::audit::escaped(text) } else { String::new() }
    }

    /// A secret was revealed to it.
    pub fn show(&self, name: &str) {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
    }

    /// Whether a secret was revealed to it.
    pub fn was_shown(&self, name: &str) -> bool {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).contains(name)
    }

    /// The same, with labels that it begins with.
    #[must_use]
    pub fn carrying(self, labels: Labels) -> Self {
        Self { labels: Carried::new(labels), ..self }
    }
}
