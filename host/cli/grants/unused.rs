//! `ambit grants unused`: what is granted, and no recorded task used.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use super::needed;
use crate::bundle::{ComponentName, open_folder};
use crate::capability::{self, REGISTRY};
use crate::cli::history::Selection;
use crate::cli::policy::counted;
use crate::cli::{Context, Failure, Format, answered, output};
use crate::grant::{ComponentGrant, GRANT_FILE, Manifest};
use crate::manifest::Sections;

#[derive(clap::Args)]
pub(in crate::cli) struct Arguments {
    /// The folder with grants.toml
    #[arg(long, value_name = "DIR")]
    policy: PathBuf,
    #[command(flatten)]
    selection: Selection,
}

/// What nobody used.
#[derive(Serialize)]
struct Results {
    bundle: String,
    /// How many tasks were looked at.
    tasks: usize,
    unused: Vec<Unused>,
}

/// Something that is granted, and was not used.
#[derive(Serialize)]
struct Unused {
    /// `agent`, or the tool's name; nothing for the whole bundle.
    component: String,
    /// The grant key.
    key: String,
    /// Its file and line.
    place: String,
    /// What: `call billing`.
    what: String,
}

pub(super) fn unused(context: &Context, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let policy = arguments.policy.as_path();
    let manifest = Manifest::open(&open_folder(policy)?, Path::new(GRANT_FILE), policy, &capability::vocabulary())?;
    let host = context.host()?;
    let bundle = manifest.bundle.get_ref().to_string();
    let (needed, tasks) = needed(&host, &arguments.selection, &bundle)?;
    let agent = (ComponentName::Agent, &manifest.agent);
    let tools = manifest.tools.iter().map(|(name, grant)| (ComponentName::Tool(name.clone()), grant));
    let parts = std::iter::once(agent).chain(tools);
    let mut unused: Vec<Unused> =
        parts.flat_map(|(name, grant)| of_component(&manifest, &name, grant, &needed)).collect();
    unused.extend(manifest.output.without(&needed.output).iter().map(|label| Unused {
        component: String::new(),
        key: "output".to_owned(),
        place: manifest.source.path().display().to_string(),
        what: format!("results that carry {label}"),
    }));
    let results = Results { bundle, tasks, unused };
    let told = if context.format == Format::Json { output::json(&results) } else { show(&results) };
    answered(told, ExitCode::SUCCESS)
}

fn of_component(manifest: &Manifest, name: &ComponentName, grant: &ComponentGrant, needed: &Manifest) -> Vec<Unused> {
    let none = Sections::default();
    let needed = needed.component(name).map_or(&none, |grant| &grant.sections);
    let of_row = |row: &&dyn capability::Registered| {
        let at = grant.sections.span(row.key()).map_or(grant.span.start, |span| span.start);
        let unused = |what: String| Unused {
            component: name.to_string(),
            key: row.key().to_owned(),
            place: manifest.source.place(at),
            what,
        };
        row.beyond(&grant.sections, needed).into_iter().map(unused).collect::<Vec<_>>()
    };
    REGISTRY.iter().flat_map(of_row).collect()
}

fn show(Results { bundle, tasks, unused }: &Results) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    for Unused { component, key, place, what } in unused {
        let of = if component.is_empty() { String::new() } else { format!(" of {component}") };
        writeln!(out, "{key}{of}: {}  ({place})", output::printable(what))?;
    }
    let tasks = counted(*tasks, "task");
    match unused.len() {
        0 => writeln!(out, "{tasks} of `{bundle}`: everything that is granted was used")?,
        count => writeln!(out, "\n{tasks} of `{bundle}`: {} not used", counted(count, "grant"))?,
    }
    Ok(())
}
