//! `ambit call`: an author tries one function of one component, alone.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use super::recipe::{Recipe, What};
use super::{Context, Failure, Mistake, run};
use crate::approval::Mode;
use crate::bundle::{ComponentSource, open_folder};
use crate::capability;
use crate::front::{self, Job, Work};
use crate::grant::Manifest;
use crate::manifest::ManifestError;
use crate::policy::Policy;
use crate::policy::in_force::{Again, InForce};
use crate::policy::rules::RuleFiles;
use crate::runtime::plan::{Effective, Loader, Plan};
use crate::task::Seed;

/// What a component may do that is tried without a grant: be heard.
const NO_GRANT: &str = "bundle = \"call\"\n[tools.call]\nstdio = true\n";

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The component's file
    component: PathBuf,
    /// The function's name, as `ambit inspect` shows it
    function: String,
    /// The arguments: a JSON object with one property for each parameter
    #[arg(default_value = "{}")]
    arguments: String,
    /// A grant manifest: the component gets what its [tools.NAME] lists, NAME being the component's file name without
    /// `.wasm`, under the *.cedar rules beside it; without one it can do nothing but print
    #[arg(long, value_name = "FILE")]
    grant: Option<PathBuf>,
    #[command(flatten)]
    people: run::People,
    /// What all randomness grows from
    #[arg(long, value_name = "TEXT")]
    seed: Option<String>,
    #[command(flatten)]
    keep: run::Keep,
}

pub(super) fn call(context: &Context, arguments: Arguments) -> Result<ExitCode, Failure> {
    let opening = context.opening()?;
    let (user, approvals) = arguments.people.settle()?;
    let Arguments { component, function, arguments: given, grant, seed, keep, .. } = arguments;
    let recipe =
        Recipe { what: What::Function { component, function, arguments: given, grant }, user, keep: keep.keep };
    let seed = seed.map(|seed| Seed::of(&[seed.as_bytes()]));
    run::run_job(context, opening, recipe, approvals, seed)
}

/// What a call of one function stands on, for nobody, with nobody to be asked.
pub(super) fn job(
    loader: &Loader,
    file: &Path,
    grant: Option<&Path>,
    function: String,
    arguments: String,
) -> Result<Job, Failure> {
    let tool = component(file)?;
    let place = grant.map(split).transpose()?;
    let ((manifest, policy), name) = match place {
        Some((folder, file)) => (granted(folder, file)?, tool.name.to_string()),
        None => (nothing_granted()?, "call".to_owned()),
    };
    let Some(grant) = manifest.tools.get(name.as_str()) else {
        return Err(Mistake::failure(
            format!("the grant manifest has no section [tools.{name}]"),
            format!("add it, or rename the component's file to one of: {}", known(&manifest)),
        ));
    };
    if grant.digest.is_some() {
        manifest.check_pin(&tool)?;
    }
    let effective = Effective { sections: grant.sections.clone(), labels: grant.labels.clone() };
    let plan = Plan::of_tool(loader, &tool, effective, front::alone(&tool)).map(Arc::new);
    let work = Work::Function { tool: Arc::new(tool), function, arguments };
    Ok(Job {
        name: work.name(),
        plan,
        folders: place.iter().map(|(folder, _)| (*folder).to_owned()).collect(),
        limits: manifest.limits.clone(),
        output: manifest.output.clone(),
        policy: (if policy.is_built_in() { "built-in" } else { "rules" }, policy.digest()),
        rules: InForce::new(manifest.digest, policy, place.map(again)),
        user: None,
        approvals: Mode::Deny,
        seed: None,
        keep: None,
        recipe: serde_json::Value::Null,
        work,
    })
}

fn known(manifest: &Manifest) -> String {
    manifest.tools.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A grant manifest, and the rules beside it. A tool that is tried alone has no tools: rules about them cannot apply.
fn granted(folder: &Path, file: &Path) -> Result<(Manifest, Policy), ManifestError> {
    let dir = open_folder(folder)?;
    let manifest = Manifest::open(&dir, file, folder, &capability::vocabulary())?;
    Ok((manifest, Policy::of(&RuleFiles::read(&dir, folder)?, &capability::terms(None))?))
}

fn nothing_granted() -> Result<(Manifest, Policy), ManifestError> {
    let manifest = Manifest::parse(NO_GRANT, Path::new("no grant"), &capability::vocabulary())?;
    Ok((manifest, Policy::of(&RuleFiles::none(), &capability::terms(None))?))
}

/// Reads both again, when a person has been waited for.
fn again((folder, file): (&Path, &Path)) -> Again {
    let (folder, file) = (folder.to_owned(), file.to_owned());
    Arc::new(move |known| {
        let read = || -> Result<_, ManifestError> {
            let dir = open_folder(&folder)?;
            let manifest = Manifest::open(&dir, &file, &folder, &capability::vocabulary())?;
            Ok((manifest.digest, super::load::other_rules(&dir, &folder, &None, known)?))
        };
        read().map_err(|error| error.to_string())
    })
}

/// A component by its file name.
pub(super) fn component(path: &Path) -> Result<ComponentSource, Failure> {
    let (folder, file) = split(path)?;
    ComponentSource::alone(&open_folder(folder)?, file).map_err(|error| {
        let help = miette::Diagnostic::help(&error).map(|help| help.to_string()).unwrap_or_default();
        Mistake::failure(format!("`{}`: {error}", path.display()), help)
    })
}

/// A path's folder and file name.
fn split(path: &Path) -> Result<(&Path, &Path), Failure> {
    let missing = || Mistake::failure(format!("`{}` is no file", path.display()), "name a file");
    let file = path.file_name().ok_or_else(missing)?;
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((folder, Path::new(file)))
}
