//! Reads what a task stands on: a bundle, the grants and rules of a policy folder, and the components, linked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Failure;
use crate::bundle::{Bundle, Digest, open_folder};
use crate::capability;
use crate::grant::{GRANT_FILE, Manifest};
use crate::manifest::ManifestError;
use crate::policy::Policy;
use crate::policy::in_force::{Again, InForce};
use crate::policy::rules::RuleFiles;
use crate::runtime::plan::{LoadRefusal, Loader, Plan};
use crate::tool::Function;

/// The functions that rules can speak of, with their tools' names; none when it is not known which there are.
pub(super) type Functions = Option<Vec<(String, Arc<Function>)>>;

/// A bundle with its grants and rules, each checked.
pub(super) struct Loaded {
    pub(super) bundle: Bundle,
    pub(super) manifest: Manifest,
    pub(super) plan: Result<Arc<Plan>, LoadRefusal>,
    pub(super) policy: Policy,
}

impl Loaded {
    pub(super) fn open(loader: &Loader, bundle: &Path, policy: &Path) -> Result<Self, Failure> {
        let (bundle, manifest) = requested_and_granted(bundle, policy)?;
        loader.engine.expect_depth(manifest.limits.tool_depth);
        let plan = Plan::of_bundle(loader, &bundle, &manifest).map(Arc::new);
        let policy = rules(policy, &functions(&plan))?;
        Ok(Self { bundle, manifest, plan, policy })
    }

    /// The rules, to be read again from this folder while the task runs.
    pub(super) fn in_force(manifest: &Manifest, policy: Policy, folder: &Path, functions: Functions) -> InForce {
        let folder = folder.to_owned();
        let again: Again = Arc::new(move |known| {
            let read = || -> Result<(Digest, Option<Policy>), ManifestError> {
                let dir = open_folder(&folder)?;
                let manifest = Manifest::open(&dir, Path::new(GRANT_FILE), &folder, &capability::vocabulary())?;
                Ok((manifest.digest, other_rules(&dir, &folder, &functions, known)?))
            };
            read().map_err(|error| error.to_string())
        });
        InForce::new(manifest.digest, policy, Some(again))
    }

    /// The folders that decide what the task is and may do.
    pub(super) fn folders(bundle: &Bundle, manifest: &Manifest) -> Arc<[PathBuf]> {
        bundle.source.path().parent().map(Path::to_owned).into_iter().chain([manifest.base.clone()]).collect()
    }
}

/// A bundle, and the grants for it.
pub(super) fn requested_and_granted(bundle: &Path, policy: &Path) -> Result<(Bundle, Manifest), ManifestError> {
    let vocabulary = capability::vocabulary();
    let bundle = Bundle::open(&open_folder(bundle)?, bundle, &vocabulary)?;
    let manifest = Manifest::open(&open_folder(policy)?, Path::new(GRANT_FILE), policy, &vocabulary)?;
    manifest.check(&bundle)?;
    Ok((bundle, manifest))
}

/// The functions that a plan's rules can speak of.
pub(super) fn functions(plan: &Result<Arc<Plan>, LoadRefusal>) -> Functions {
    plan.as_ref().ok().map(|plan| plan.functions())
}

/// The rules of a folder.
pub(super) fn rules(folder: &Path, functions: &Functions) -> Result<Policy, ManifestError> {
    Policy::of(&RuleFiles::read(&open_folder(folder)?, folder)?, &capability::terms(borrowed(functions)))
}

/// The rules of a folder, if they have another digest than this.
pub(super) fn other_rules(
    dir: &cap_std::fs::Dir,
    folder: &Path,
    functions: &Functions,
    known: Option<Digest>,
) -> Result<Option<Policy>, ManifestError> {
    let files = RuleFiles::read(dir, folder)?;
    if known == Some(files.digest()) {
        return Ok(None);
    }
    Policy::of(&files, &capability::terms(borrowed(functions))).map(Some)
}

/// The functions, as the schema takes them.
pub(super) fn borrowed(functions: &Functions) -> Option<Vec<(&str, &Function)>> {
    let functions = functions.as_ref()?;
    Some(functions.iter().map(|(tool, function)| (tool.as_str(), function.as_ref())).collect())
}
