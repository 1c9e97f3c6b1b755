//! `ambit check`: what a bundle requests beside what it is granted.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use super::load::Loaded;
use super::{Context, Failure, Format, output};
use crate::bundle::{ComponentSource, open_folder};
use crate::capability::{Compared, REGISTRY, Registered, Standing};
use crate::grant::{GRANT_FILE, Manifest};
use crate::label::Labels;
use crate::manifest::Sections;
use crate::runtime::plan::LoadRefusal;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The bundle's folder
    bundle: PathBuf,
    /// The folder with grants.toml and the *.cedar rules
    #[arg(long, value_name = "DIR")]
    policy: PathBuf,
    /// Write the components' digests into grants.toml, so that other components are refused
    #[arg(long)]
    pin: bool,
}

/// What was found.
#[derive(Serialize)]
struct Findings {
    bundle: String,
    policy: &'static str,
    powers: Vec<Power>,
    pins: Vec<Pin>,
    /// The labels that a task's result may carry.
    /// Places that are written to for good.
    lasting: BTreeSet<String>,
    output: Labels,
    refused: Option<Refused>,
}

/// One power of one component.
#[derive(Serialize)]
struct Power {
    component: String,
    key: &'static str,
    power: String,
    /// `granted`, `refused` (requested, not granted) or `unused` (granted, not requested).
    standing: &'static str,
    reason: String,
}

#[derive(Serialize)]
struct Pin {
    component: String,
    digest: String,
    pinned: bool,
    /// What whatever it gives is labelled with.
    labels: Labels,
}

/// Why the bundle would not run.
#[derive(Serialize)]
struct Refused {
    code: &'static str,
    message: String,
    help: String,
}

impl From<LoadRefusal> for Refused {
    fn from(refusal: LoadRefusal) -> Self {
        Self { code: refusal.code, message: refusal.message, help: refusal.help }
    }
}

pub(super) fn check(context: &Context, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let host = context.host()?;
    let mut loaded = Loaded::open(host.loader(), &arguments.bundle, &arguments.policy)?;
    if arguments.pin {
        pin(&loaded, &arguments.policy)?;
        loaded = Loaded::open(host.loader(), &arguments.bundle, &arguments.policy)?;
    }
    let Loaded { bundle, manifest, plan, policy } = &loaded;
    let refused = plan.as_ref().err().cloned().map(Refused::from);
    let findings = Findings {
        bundle: format!("{} {}", bundle.name, bundle.version),
        policy: if policy.is_built_in() { "built-in: permits what the grant covers" } else { "rules" },
        powers: bundle.components().flat_map(|component| powers(component, manifest)).collect(),
        pins: bundle.components().map(|component| standing_of_pin(component, manifest)).collect(),
        output: manifest.output.clone(),
        lasting: bundle.components().flat_map(|component| lasting(component, manifest)).collect(),
        refused,
    };
    let told = if context.format == Format::Json { output::json(&findings) } else { show(&findings) };
    super::answered(told, ExitCode::from(if findings.refused.is_some() { 3 } else { 0 }))
}

fn powers(component: &ComponentSource, manifest: &Manifest) -> Vec<Power> {
    let none = Sections::default();
    let granted = manifest.component(&component.name).map_or(&none, |grant| &grant.sections);
    REGISTRY.iter().flat_map(|row| compared(*row, component, granted)).collect()
}

/// What a component can change that stays, and is not its task's own.
fn lasting(component: &ComponentSource, manifest: &Manifest) -> BTreeSet<String> {
    let granted = manifest.component(&component.name).map(|grant| &grant.sections);
    granted.into_iter().flat_map(|granted| REGISTRY.iter().flat_map(move |row| row.lasting(granted))).collect()
}

/// One capability's powers, requested and granted.
fn compared(row: &dyn Registered, component: &ComponentSource, granted: &Sections) -> Vec<Power> {
    let power = |(power, standing): Compared| Power {
        component: component.name.to_string(),
        key: row.key(),
        power,
        standing: match standing {
            Standing::Granted => "granted",
            Standing::Refused => "refused",
            Standing::Unused => "unused",
        },
        reason: if standing == Standing::Unused { String::new() } else { row.reason(&component.requests).to_owned() },
    };
    row.compared(granted, &component.requests).into_iter().map(power).collect()
}

fn standing_of_pin(component: &ComponentSource, manifest: &Manifest) -> Pin {
    let grant = manifest.component(&component.name);
    Pin {
        component: component.name.to_string(),
        digest: component.digest.to_string(),
        pinned: grant.is_some_and(|grant| grant.digest.is_some()),
        labels: grant.map(|grant| grant.labels.clone()).unwrap_or_default(),
    }
}

/// Writes the digests of all components into the grant manifest.
fn pin(loaded: &Loaded, folder: &Path) -> Result<(), Failure> {
    let digests: BTreeMap<_, _> =
        loaded.bundle.components().map(|component| (component.name.clone(), component.digest)).collect();
    let text = loaded.manifest.pin(&digests)?;
    let path = folder.join(GRANT_FILE);
    let unwritable = |error: std::io::Error| {
        super::Mistake::failure(format!("cannot write `{}`: {error}", path.display()), "make the file writable")
    };
    let folder = open_folder(folder)?;
    // Written beside it and renamed: the manifest is never half there.
    let part = format!("{GRANT_FILE}.part");
    folder.write(&part, text).and_then(|()| folder.rename(&part, &folder, GRANT_FILE)).map_err(unwritable)?;
    writeln!(std::io::stderr(), "pinned {} components in {}", digests.len(), path.display())?;
    Ok(())
}

fn show(findings: &Findings) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "bundle  {}", findings.bundle)?;
    writeln!(out, "policy  {}", findings.policy)?;
    for pin in &findings.pins {
        writeln!(out, "\n{}  {}{}", pin.component, pin.digest, if pin.pinned { " (pinned)" } else { "" })?;
        if !pin.labels.is_empty() {
            writeln!(out, "  what it gives is labelled {}", pin.labels)?;
        }
        let mut any = false;
        for power in findings.powers.iter().filter(|power| power.component == pin.component) {
            any = true;
            let because = if power.reason.is_empty() {
                String::new()
            } else {
                format!("  — {}", output::printable(&power.reason))
            };
            let standing = match power.standing {
                "granted" => "granted",
                "refused" => "requested, not granted",
                _ => "granted, not requested: unused",
            };
            writeln!(out, "  {:<10} {:<24} {standing}{because}", power.key, output::printable(&power.power))?;
        }
        if !any {
            writeln!(out, "  nothing is requested and nothing granted")?;
        }
    }
    if !findings.output.is_empty() {
        writeln!(out, "\nthe result may carry {}", findings.output)?;
    }
    for place in &findings.lasting {
        writeln!(out, "\na task that has written to {place} does not go on after that when its process breaks down")?;
    }
    match &findings.refused {
        None => writeln!(out, "\nit would run")?,
        Some(refused) => {
            writeln!(out, "\nit would be refused: {}\n  help: {}", refused.message, refused.help)?;
        }
    }
    Ok(())
}
