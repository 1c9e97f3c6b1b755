//! How a task is started: what the operator wrote, kept so that the task can go on or be told again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::load::{self, Loaded};
use super::{Failure, Mistake, call};
use crate::approval::Mode;
use crate::edge::keep::Destination;
use crate::front::{Job, Work};
use crate::people::People;
use crate::runtime::plan::Loader;
use crate::task::Seed;

/// What is run, under what, for whom.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Recipe {
    pub(super) what: What,
    /// On whose behalf.
    pub(super) user: Option<String>,
    /// Where the workspace is copied to.
    pub(super) keep: Option<PathBuf>,
}

/// What is run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum What {
    /// A bundle's agent.
    Bundle {
        bundle: PathBuf,
        /// The folder of grants and rules.
        policy: PathBuf,
        /// JSON.
        input: String,
    },
    /// A function of a tool.
    Function {
        component: PathBuf,
        function: String,
        /// JSON.
        arguments: String,
        grant: Option<PathBuf>,
    },
}

impl Recipe {
    /// With paths that mean the same in any folder.
    pub(super) fn anywhere(self) -> Self {
        let what = match self.what {
            What::Bundle { bundle, policy, input } => {
                What::Bundle { bundle: whole(bundle), policy: whole(policy), input }
            }
            What::Function { component, function, arguments, grant } => {
                What::Function { component: whole(component), function, arguments, grant: grant.map(whole) }
            }
        };
        Self { what, keep: self.keep.map(new_or_there), ..self }
    }

    /// A recipe that was kept.
    pub(super) fn kept(value: serde_json::Value) -> Result<Self, Failure> {
        serde_json::from_value(value).map_err(|error| {
            Mistake::failure(
                format!("how the task was started cannot be read: {error}"),
                "it was started by another version of ambit; run it anew",
            )
        })
    }

    /// Without a folder that is written to at the end.
    pub(super) fn without_keep(self) -> Self {
        Self { keep: None, ..self }
    }

    /// The job.
    pub(super) fn job(
        self,
        (loader, people): (&Loader, &People),
        approvals: Mode,
        seed: Option<Seed>,
    ) -> Result<Job, Failure> {
        let recipe = serde_json::to_value(self.clone().anywhere()).unwrap_or_default();
        let keep = self.keep.as_deref().map(opened).transpose()?;
        let user = self.user.map(|name| Arc::new(people.named(&name)));
        match self.what {
            What::Bundle { bundle: folder, policy: rules, input } => {
                let Loaded { bundle, manifest, plan, policy } = Loaded::open(loader, &folder, &rules)?;
                let folders = Loaded::folders(&bundle, &manifest);
                let work = Work::Agent { bundle: Arc::new(bundle), input };
                Ok(Job {
                    name: work.name(),
                    folders,
                    limits: manifest.limits.clone(),
                    output: manifest.output.clone(),
                    policy: (if policy.is_built_in() { "built-in" } else { "rules" }, policy.digest()),
                    rules: Loaded::in_force(&manifest, policy, &rules, load::functions(&plan)),
                    plan,
                    user,
                    approvals,
                    seed,
                    keep,
                    recipe,
                    work,
                })
            }
            What::Function { component, function, arguments, grant } => {
                let base = call::job(loader, &component, grant.as_deref(), function, arguments)?;
                Ok(Job { user, approvals, seed, keep, recipe, ..base })
            }
        }
    }
}

/// The folder that a workspace is kept in, opened before anything runs.
fn opened(folder: &Path) -> Result<Destination, Failure> {
    Destination::open(folder).map_err(|error| {
        Mistake::failure(
            error.to_string(),
            "give `--keep` a folder that is empty, or a new one in a folder that is there",
        )
    })
}

fn whole(path: PathBuf) -> PathBuf {
    crate::config::canonical(&path).unwrap_or(path)
}

/// The path of a folder that may have to be made yet.
fn new_or_there(path: PathBuf) -> PathBuf {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match (crate::config::canonical(parent), path.file_name()) {
        (Some(parent), Some(name)) => parent.join(name),
        _ => whole(path),
    }
}
