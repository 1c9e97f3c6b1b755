//! `ambit policy rejudge`: what other grants and rules would have said to what tasks did.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use super::again::{Sentence, Word};
use super::cases::Cases;
use super::{Paint, refused};
use crate::bundle::open_folder;
use crate::capability;
use crate::cli::history::{Past, Selection, bundle_folder};
use crate::cli::load::Loaded;
use crate::cli::{Context, Failure, Format, answered, output};
use crate::grant::{GRANT_FILE, Manifest};
use crate::policy::judged::Judged;

#[derive(clap::Args)]
#[command(
    after_help = "Exit codes: 0 every decision would be the same, 1 some would not, 2 a manifest or a rule is wrong, or \
    nothing is kept of a task, 3 the bundle would be refused."
)]
pub(in crate::cli) struct Arguments {
    /// The folder with the other grants.toml and *.cedar rules
    #[arg(long, value_name = "DIR")]
    policy: PathBuf,
    /// The bundle's folder [default: the one that the tasks ran, or that the folder's cases name]
    #[arg(long, value_name = "DIR")]
    bundle: Option<PathBuf>,
    #[command(flatten)]
    selection: Selection,
}

/// What would have been said to all tasks.
#[derive(Serialize)]
struct Results {
    tasks: Vec<Task>,
    summary: Summary,
}

/// Numbers of effects.
#[derive(Default, Serialize)]
struct Summary {
    effects: usize,
    /// Those about which it would be decided otherwise.
    changed: usize,
    /// Those that come after the first of their task of which something else comes.
    unreached: usize,
    /// Those that were refused on grounds that are not judged.
    not_judged: usize,
}

/// What would have been said to one task.
#[derive(Serialize)]
struct Task {
    task: String,
    version: String,
    started: u64,
    /// Whether it ran another bundle than the one that was looked at.
    other_bundle: bool,
    effects: usize,
    changes: Vec<Change>,
    /// The first effect of which something else would come: what comes after it is no longer reached as such.
    ends: Option<u64>,
    unreached: usize,
    not_judged: usize,
}

/// A decision that would be another one.
#[derive(Serialize)]
struct Change {
    effect: u64,
    /// The task or child task.
    task: String,
    component: String,
    action: String,
    resource: String,
    was: Sentence,
    now: Sentence,
    /// Whether the task would still come to it as it did.
    reached: bool,
}

pub(super) fn rejudge(context: &Context, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let policy = arguments.policy.as_path();
    let manifest = Manifest::open(&open_folder(policy)?, Path::new(GRANT_FILE), policy, &capability::vocabulary())?;
    let host = context.host()?;
    let pasts = arguments.selection.of_bundle(&host, manifest.bundle.get_ref().as_str())?;
    let named = || Cases::read(policy).ok()?.into_iter().find_map(|file| file.bundle);
    let folder = bundle_folder(&host, arguments.bundle.as_ref(), &pasts, named)?;
    let loaded = Loaded::open(host.loader(), &folder, policy)?;
    if let Err(refusal) = &loaded.plan {
        return refused(context, refusal);
    }
    let tasks: Vec<Task> = pasts.iter().map(|past| task(past, &loaded)).collect();
    let sum = |of: fn(&Task) -> usize| tasks.iter().map(of).sum();
    let summary = Summary {
        effects: sum(|task| task.effects),
        changed: sum(|task| task.changes.len()),
        unreached: sum(|task| task.unreached),
        not_judged: sum(|task| task.not_judged),
    };
    let code = ExitCode::from(u8::from(summary.changed > 0));
    let results = Results { tasks, summary };
    let told = if context.format == Format::Json { output::json(&results) } else { show(&results, &loaded) };
    answered(told, code)
}

fn task(Past { listed, judged }: &Past, loaded: &Loaded) -> Task {
    let mut task = Task {
        task: listed.task.clone(),
        version: listed.version.clone(),
        started: listed.started,
        other_bundle: listed.digest != loaded.bundle.digest.to_string(),
        effects: judged.len(),
        changes: Vec::new(),
        ends: None,
        unreached: 0,
        not_judged: 0,
    };
    for effect in judged {
        let (was, now) = (Sentence::past(effect), Sentence::now(effect, loaded));
        let reached = task.ends.is_none();
        task.unreached += usize::from(!reached);
        task.not_judged += usize::from(was.decision == Word::Refused);
        if let Some(flips) = now.differs(&was) {
            task.ends = task.ends.or(flips.then_some(effect.effect));
            task.changes.push(change(effect, was, now, reached));
        }
    }
    task
}

fn change(judged: &Judged, was: Sentence, now: Sentence, reached: bool) -> Change {
    let told = judged.told.as_ref().filter(|_| judged.resource.name.is_empty());
    Change {
        effect: judged.effect,
        task: judged.principal.task.to_string(),
        component: judged.principal.component.to_string(),
        action: judged.action.to_string(),
        resource: told.cloned().unwrap_or_else(|| judged.resource.to_string()),
        was,
        now,
        reached,
    }
}

fn show(Results { tasks, summary }: &Results, loaded: &Loaded) -> Result<(), Failure> {
    let paint = Paint::of_stdout();
    let mut out = std::io::stdout().lock();
    for task in tasks.iter().filter(|task| !task.changes.is_empty()) {
        let (started, version) = (crate::cli::audit::time(task.started), output::printable(&task.version));
        writeln!(out, "task {}  {started}  {} {version}", task.task, loaded.bundle.name)?;
        if task.other_bundle {
            writeln!(out, "  it ran other components than those that were looked at")?;
        }
        for change in &task.changes {
            let Change { effect, component, action, resource, was, now, reached, .. } = change;
            let mark = if *reached { "" } else { "  (no longer reached as such)" };
            writeln!(out, "  {effect}  {action} {} by {component}{mark}", output::printable(resource))?;
            writeln!(out, "     was  {}", sentence(was, paint, None))?;
            writeln!(out, "     now  {}", sentence(now, paint, Some(loaded)))?;
        }
        if let Some(end) = task.ends.filter(|_| task.unreached > 0) {
            let after = counted(task.unreached, "effect");
            writeln!(out, "  after effect {end}, {after} no longer reached as such")?;
        }
    }
    if summary.changed > 0 {
        writeln!(out)?;
    }
    let changes = match summary.changed {
        0 => paint.good("every decision would be the same"),
        1 => paint.bad("1 decision would change"),
        changed => paint.bad(&format!("{changed} decisions would change")),
    };
    let changing = tasks.iter().filter(|task| !task.changes.is_empty()).count();
    let of = if changing > 0 { format!(", in {}", counted(changing, "task")) } else { String::new() };
    writeln!(out, "{}, {}: {changes}{of}", counted(tasks.len(), "task"), counted(summary.effects, "effect"))?;
    if summary.unreached > 0 {
        writeln!(out, "{} no longer reached as such", counted(summary.unreached, "effect"))?;
    }
    if summary.not_judged > 0 {
        let refusals = counted(summary.not_judged, "refusal");
        writeln!(
            out,
            "not judged: {refusals} that grants and rules have no say in (quotas, loans, the decision point)"
        )?;
    }
    Ok(())
}

/// A decision with its reasons, on one line.
fn sentence(sentence: &Sentence, paint: Paint, loaded: Option<&Loaded>) -> String {
    let Sentence { decision, rules, groups, why } = sentence;
    let word = match decision {
        Word::Allowed | Word::Approved => paint.good(decision.as_str()),
        Word::NeedsApproval => paint.open(decision.as_str()),
        _ => paint.bad(decision.as_str()),
    };
    let (people, by) = match decision {
        Word::Approved => (format!(" by {}", listed(groups)), "; by"),
        Word::NeedsApproval => (format!(" of {}", listed(groups)), "; by"),
        _ => (String::new(), " by"),
    };
    let place = |name: &String| loaded.and_then(|loaded| Some(loaded.policy.rules().get(name)?.place()));
    let rule = |name: &String| {
        let place = place(name).map(|place| format!(" ({place})")).unwrap_or_default();
        format!("`{}`{place}", output::printable(name))
    };
    let rules = rules.iter().map(rule).collect::<Vec<_>>().join(", ");
    let rules = if rules.is_empty() { rules } else { format!("{by} {rules}") };
    let why = why.as_ref().map(|why| format!(": {}", output::printable(why))).unwrap_or_default();
    format!("{word}{people}{rules}{why}")
}

fn listed(groups: &BTreeSet<String>) -> String {
    groups.iter().map(|group| output::printable(group)).collect::<Vec<_>>().join(" and ")
}

/// `1 task`, `2 tasks`.
pub(in crate::cli) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
