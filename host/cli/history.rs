//! What recorded tasks did: the decisions that are kept of them.

use std::path::PathBuf;
use std::time::Duration;

use super::{Failure, Mistake, output};
use crate::edge::judgements::JudgementError;
use crate::edge::tasks::Listed;
use crate::front::Host;
use crate::manifest::HumanDuration;
use crate::policy::judged::Judged;

// Which tasks.
// No documentation: `clap` would take that for what the verb is about.
#[derive(clap::Args)]
pub(super) struct Selection {
    /// A task's name, or enough of its beginning; can be given several times [default: all of the bundle]
    #[arg(long = "task", value_name = "ID")]
    pub(super) tasks: Vec<String>,
    /// Only tasks that did something since then: 2026-11-23T10:00:00Z, or 24h for as long ago
    #[arg(long, value_name = "TIME", conflicts_with = "tasks")]
    since: Option<String>,
}

/// A task, and what was decided for it.
pub(super) struct Past {
    pub(super) listed: Listed,
    pub(super) judged: Vec<Judged>,
}

impl From<JudgementError> for Failure {
    fn from(error: JudgementError) -> Self {
        Self::Host(error.into())
    }
}

impl Selection {
    /// The tasks of a bundle, the oldest first.
    pub(super) fn of_bundle(&self, host: &Host, bundle: &str) -> Result<Vec<Past>, Failure> {
        let pasts = if self.tasks.is_empty() {
            let since = self.since.as_deref().map(moment).transpose()?.unwrap_or_default();
            let since = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
            let tasks = host.judgements.tasks(bundle, since)?;
            tasks.iter().map(|task| past(host, task)).collect::<Result<Vec<_>, _>>()?
        } else {
            Self::named(host, &self.tasks)?
        };
        if let Some(other) = pasts.iter().find(|past| past.listed.bundle != bundle) {
            let Listed { task, bundle: of, .. } = &other.listed;
            let message =
                format!("the task {task} is of `{}`, and the grants are for `{bundle}`", output::printable(of));
            return Err(Mistake::failure(message, "give the policy folder of its bundle, or other tasks"));
        }
        if pasts.is_empty() {
            let message =
                format!("no decisions of `{bundle}` are kept{}", self.since.as_ref().map_or("", |_| " since then"));
            return Err(Mistake::failure(
                message,
                "`ambit task list` shows what ran; a decision is kept with its task's journal",
            ));
        }
        Ok(pasts)
    }

    /// The tasks that are named, the oldest first.
    pub(super) fn named(host: &Host, tasks: &[String]) -> Result<Vec<Past>, Failure> {
        let mut pasts = tasks.iter().map(|task| past(host, task)).collect::<Result<Vec<_>, _>>()?;
        pasts.sort_by(|a, b| a.listed.task.cmp(&b.listed.task));
        pasts.dedup_by(|a, b| a.listed.task == b.listed.task);
        Ok(pasts)
    }
}

fn past(host: &Host, name: &str) -> Result<Past, Failure> {
    let Some(listed) = host.tasks.find(name)? else {
        let message = format!("no task, or more than one, is called `{}`", crate::audit::escaped(name));
        return Err(Mistake::failure(message, "`ambit task list` shows the names"));
    };
    let judged = host.judgements.of(&listed.task)?;
    if judged.is_empty() && !host.judgements.has_journal(&listed.task)? {
        let message = format!("no decisions of the task {} are kept", listed.task);
        return Err(Mistake::failure(message, "its journal was deleted, or it ran before decisions were kept"));
    }
    Ok(Past { listed, judged })
}

/// The folder of the bundle that tasks ran: what the operator says; else what their journals say, or the cases.
pub(super) fn bundle_folder(
    host: &Host,
    given: Option<&PathBuf>,
    pasts: &[Past],
    cases: impl FnOnce() -> Option<PathBuf>,
) -> Result<PathBuf, Failure> {
    if let Some(given) = given {
        return Ok(given.clone());
    }
    let tasks: Vec<String> = pasts.iter().map(|past| past.listed.task.clone()).collect();
    let mut folders = host.judgements.folders(&tasks)?;
    let only = folders.pop_first().filter(|_| folders.is_empty()).map(PathBuf::from);
    only.or_else(cases).ok_or_else(|| {
        let message = "it is not known where the bundle is, whose tools the rules speak of";
        Mistake::failure(message, "give its folder, as `--bundle DIR`")
    })
}

/// A point in time, since the Unix epoch.
fn moment(text: &str) -> Result<Duration, Failure> {
    let ago = text.parse::<HumanDuration>().ok().map(|ago| crate::config::wall_clock().saturating_sub(ago.duration()));
    ago.or_else(|| super::policy::time(text)).ok_or_else(|| {
        let message = format!("`{}` is no point in time", output::printable(text));
        Mistake::failure(message, "write it as `2026-11-23T10:00:00Z`, or as `24h` for as long ago")
    })
}
