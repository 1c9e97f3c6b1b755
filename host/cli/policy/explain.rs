//! `ambit policy explain`: which grant and which rules decide one request.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::cases::{Case, Cases};
use super::supposed::{Subject, Supposed, TIME_HELP, Unfit, Used, Verdict, Word, time};
use super::{Paint, refused};
use crate::bundle::ComponentName;
use crate::capability::Capability as _;
use crate::capability::tools::{Call, Grant as ToolsGrant, Tools};
use crate::cli::load::Loaded;
use crate::cli::{Context, Failure, Format, Mistake, answered, output};
use crate::front::Host;
use crate::gate::Effect as _;
use crate::label::{Label, Labels};
use crate::manifest::{HumanDuration, Sections};
use crate::people::is_name;
use crate::policy::{Ask, Decision};
use crate::runtime::plan::Effective;

#[derive(clap::Args)]
#[command(
    after_help = "Exit codes: 0 the decision is shown, whatever it is, 2 the request, a manifest or a rule is wrong, \
    3 the bundle would be refused."
)]
pub(in crate::cli) struct Arguments {
    /// The bundle's folder
    bundle: PathBuf,
    /// The folder with grants.toml and the *.cedar rules
    #[arg(long, value_name = "DIR")]
    policy: PathBuf,
    /// Explain a case of the policy folder
    #[arg(long, value_name = "NAME", conflicts_with_all = ["Request", "Standing"])]
    case: Option<String>,
    #[command(flatten)]
    request: Request,
    #[command(flatten)]
    standing: Standing,
}

// What would be done.
// No documentation: `clap` would take that for what the verb is about.
#[derive(clap::Args)]
#[group(required = false, multiple = true)]
struct Request {
    /// The function that would be called, as `billing.refund`: short for --action tools.call --resource NAME
    #[arg(long, value_name = "TOOL.FUNCTION", conflicts_with_all = ["action", "resource"])]
    tool: Option<String>,
    /// The arguments of the call: a JSON object
    #[arg(long, value_name = "JSON")]
    args: Option<String>,
    /// The action, as `state.write`
    #[arg(long, value_name = "ACTION", requires = "resource")]
    action: Option<String>,
    /// The name of what it acts on, as `notes`
    #[arg(long, value_name = "NAME", requires = "action")]
    resource: Option<String>,
    /// The context of an action other than tools.call: a JSON object
    #[arg(long, value_name = "JSON")]
    context: Option<String>,
}

// Who would do it, and when.
// No documentation: `clap` would take that for what the verb is about.
#[derive(clap::Args)]
#[group(required = false, multiple = true)]
struct Standing {
    /// Who asks: agent, or a tool's name [default: agent]
    #[arg(long, value_name = "NAME")]
    component: Option<String>,
    /// A label that the task carries; can be given several times
    #[arg(long = "label", value_name = "LABEL")]
    labels: Vec<Label>,
    /// On whose behalf the task acts
    #[arg(long = "as", value_name = "USER")]
    user: Option<String>,
    /// A group that the user is in; can be given several times [default: those of the host's configuration]
    #[arg(long = "group", value_name = "GROUP", requires = "user")]
    groups: Vec<String>,
    /// A group that has approved; can be given several times
    #[arg(long = "approved", value_name = "GROUP")]
    approved: Vec<String>,
    /// What the task used so far: {"tool-calls": 3}, and effects, refusals, approvals, milliseconds
    #[arg(long, value_name = "JSON")]
    usage: Option<String>,
    /// When, as 2026-11-23T10:00:00Z [default: now]
    #[arg(long, value_name = "TIME")]
    now: Option<String>,
}

/// The answer.
#[derive(Serialize)]
struct Explanation {
    action: String,
    resource: String,
    component: String,
    decision: Word,
    /// Why, where no rule says it.
    why: Option<String>,
    grant: Entry,
    rules: Vec<Rule>,
    ask: Option<Asked>,
    /// The decision point that would have to allow it as well.
    point: Option<String>,
}

/// The part of the grant manifest that covers the request, or what would have to be there.
#[derive(Serialize)]
struct Entry {
    covers: bool,
    /// `[agent]`.
    section: String,
    key: &'static str,
    /// Its file and line, if it is there.
    place: Option<String>,
    /// Its first line.
    text: Option<String>,
    /// What to write.
    help: Option<String>,
}

/// A rule that determined the decision.
#[derive(Serialize)]
struct Rule {
    name: String,
    place: String,
    text: String,
}

#[derive(Serialize)]
struct Asked {
    groups: BTreeSet<String>,
    /// How long they are waited for, in milliseconds.
    deadline: u64,
    /// How long an approval holds, in milliseconds.
    ttl: u64,
}

impl From<&Ask> for Asked {
    fn from(ask: &Ask) -> Self {
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self { groups: ask.groups.clone(), deadline: milliseconds(ask.deadline), ttl: milliseconds(ask.ttl) }
    }
}

pub(super) fn explain(context: &Context, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let host = context.host()?;
    let case = arguments.case.as_ref().map(|name| find(arguments, name)).transpose()?;
    let supposed = match &case {
        Some(case) => case.supposed.clone(),
        None => arguments.supposed(&host)?,
    };
    let unfit = |error| match &case {
        Some(case) => Failure::from(case.unfit(error)),
        None => arguments.request.mistaken(error),
    };
    let loaded = Loaded::open(host.loader(), &arguments.bundle, &arguments.policy)?;
    let plan = match &loaded.plan {
        Ok(plan) => plan,
        Err(refusal) => return refused(context, refusal),
    };
    let verdict = supposed.judge(&loaded, plan).map_err(unfit)?;
    let subject = supposed.subject(&loaded.bundle).map_err(unfit)?;
    let rules = verdict.rules().iter().filter_map(|name| Some((name, loaded.policy.rules().get(name)?)));
    let rules =
        rules.map(|(name, rule)| Rule { name: name.clone(), place: rule.place(), text: rule.text().to_owned() });
    let is_open = matches!(verdict.word(), Word::Allow | Word::NeedsApproval);
    let explanation = Explanation {
        point: host.decision_point().filter(|_| is_open),
        action: supposed.action.clone(),
        resource: supposed.resource.clone(),
        component: supposed.component.clone(),
        decision: verdict.word(),
        why: verdict.why(),
        grant: entry(&supposed, &subject, &loaded),
        rules: rules.collect(),
        ask: if let Verdict::Decided(Decision::NeedsApproval { ask, .. }) = &verdict { Some(ask.into()) } else { None },
    };
    let told = match context.format {
        Format::Json => output::json(&explanation),
        Format::Human => show(&explanation, &supposed, loaded.bundle.name.as_str()),
    };
    answered(told, ExitCode::SUCCESS)
}

/// The case of that name.
fn find(arguments: &Arguments, name: &str) -> Result<Case, Failure> {
    let cases: Vec<Case> = Cases::read(&arguments.policy)?.into_iter().flat_map(|file| file.cases).collect();
    if let Some(case) = cases.iter().find(|case| case.name == name) {
        return Ok(case.clone());
    }
    let names: Vec<String> = cases.iter().map(|case| format!("`{}`", output::printable(&case.name))).collect();
    let message = format!("there is no case `{}`", output::printable(name));
    Err(Mistake::failure(message, format!("the cases are {}", names.join(", "))))
}

impl Request {
    /// What makes no sense about it, in the words of the command line.
    fn mistaken(&self, Unfit { part, message, help }: Unfit) -> Failure {
        let option = if part == "resource" && self.tool.is_some() { "tool" } else { part };
        let message = format!("`--{option}` does not fit: {}", output::printable(&message));
        Mistake::failure(message, help.unwrap_or_else(|| "`ambit policy schema` shows what fits".to_owned()))
    }
}

impl Arguments {
    fn supposed(&self, host: &Host) -> Result<Supposed, Failure> {
        let Self { request, standing, .. } = self;
        let (action, resource) = match (&request.tool, &request.action, &request.resource) {
            (Some(tool), _, _) => (Call::ACTION.to_owned(), tool.clone()),
            (None, Some(action), Some(resource)) => (action.clone(), resource.clone()),
            _ => {
                return Err(Mistake::failure(
                    "it is not said what would be done",
                    "give `--tool billing.refund --args JSON`, or `--action`, `--resource` and `--context`, or `--case`",
                ));
            }
        };
        let names = standing.user.iter().chain(&standing.groups).chain(&standing.approved);
        if let Some(name) = names.into_iter().find(|name| !is_name(name)) {
            let message = format!("`{}` cannot name a person or a group", crate::audit::escaped(name));
            return Err(Mistake::failure(message, "give a name that can be seen, as `--as maria`"));
        }
        let user = standing.user.as_ref().map(|name| {
            let mut person = host.people.named(name);
            if !standing.groups.is_empty() {
                person.groups = standing.groups.iter().cloned().collect();
            }
            person
        });
        let now = match &standing.now {
            None => crate::config::wall_clock(),
            Some(text) => time(text).ok_or_else(|| {
                Mistake::failure(format!("`{}` is no point in time", output::printable(text)), TIME_HELP)
            })?,
        };
        Ok(Supposed {
            component: standing.component.clone().unwrap_or_else(|| "agent".to_owned()),
            action,
            resource,
            arguments: request.args.clone(),
            context: json(request.context.as_deref(), "--context")?.unwrap_or_default(),
            labels: standing.labels.iter().cloned().collect::<Labels>(),
            user,
            usage: json::<Used>(standing.usage.as_deref(), "--usage")?.unwrap_or_default(),
            now,
            approvals: (!standing.approved.is_empty()).then(|| standing.approved.iter().cloned().collect()),
        })
    }
}

/// An option's value as JSON.
fn json<T: DeserializeOwned>(text: Option<&str>, option: &str) -> Result<Option<T>, Failure> {
    let Some(text) = text else { return Ok(None) };
    let wrong = |error: &dyn std::fmt::Display| {
        let help = format!("write a JSON object, as `{option} '{{\"key\": \"value\"}}'`");
        Mistake::failure(format!("`{option}` cannot be read: {error}"), help)
    };
    let value = crate::tool::json::parse(text).map_err(|error| wrong(&error))?;
    serde_json::from_value(value).map(Some).map_err(|error| wrong(&error))
}

/// The part of the grant manifest that the request is about.
fn entry(supposed: &Supposed, subject: &Subject<'_>, loaded: &Loaded) -> Entry {
    let Subject { component, row, .. } = subject;
    let (source, key) = (&loaded.manifest.source, row.key());
    let none = Sections::default();
    let granted = loaded.manifest.component(&component.name).map_or(&none, |grant| &grant.sections);
    let effective = Effective::of(component, &loaded.manifest).sections;
    let section = match &component.name {
        ComponentName::Agent => "[agent]".to_owned(),
        ComponentName::Tool(tool) => format!("[tools.{tool}]"),
    };
    let at = granted.span(key).map(|span| span.start);
    let line = |at: usize| {
        let line = source.text().lines().nth(source.line(at) - 1).unwrap_or_default().trim();
        if line.ends_with(['[', '{', ',']) { format!("{line} …") } else { line.to_owned() }
    };
    let covers = |sections: &Sections| row.find(sections, &supposed.action, &supposed.resource).is_some();
    let help = if covers(&effective) {
        None
    } else if covers(granted) {
        let todo = format!("its author has to, in `requests.{key}` of bundle.toml");
        Some(format!("the grant lists it, and the bundle does not request it for `{}`: {todo}", component.name))
    } else if key == Tools::NAME {
        let tool = supposed.resource.split('.').next().unwrap_or_default();
        Some(format!("write `{}` in {section}", ToolsGrant::line_with(granted.get::<ToolsGrant>(key), tool)))
    } else if at.is_some() {
        Some(format!("`{key}` of {section} gives {}", row.given(&effective).join(", ")))
    } else {
        Some(format!("add `{key}` to {section}; it is for {}", row.summary()))
    };
    Entry { covers: help.is_none(), section, key, place: at.map(|at| source.place(at)), text: at.map(line), help }
}

fn show(explanation: &Explanation, supposed: &Supposed, bundle: &str) -> Result<(), Failure> {
    let Explanation { grant, rules, ask, decision, why, point, .. } = explanation;
    let paint = Paint::of_stdout();
    let mut out = std::io::stdout().lock();
    let mut line = |key: &str, text: &str| writeln!(out, "{key:<10}{text}");
    line("request", &output::printable(&format!("{} {}", supposed.action, supposed.resource)))?;
    for detail in details(supposed, bundle) {
        line("", &output::printable(&detail))?;
    }
    match (&grant.text, &grant.place) {
        (Some(text), Some(place)) => {
            let section = if text.starts_with('[') { String::new() } else { format!("{} ", grant.section) };
            line("grant", &output::printable(&format!("{section}{text}")))?;
            line("", place)?;
        }
        _ => line("grant", &format!("{} has no `{}`", grant.section, grant.key))?,
    }
    if let Some(help) = &grant.help {
        line("", &format!("does not cover it: {}", output::printable(help)))?;
    }
    for (index, rule) in rules.iter().enumerate() {
        let key = if index == 0 { "rules" } else { "" };
        line(key, &format!("{}  ({})", output::printable(&rule.name), rule.place))?;
        rule.text.lines().try_for_each(|text| line("", &format!("  {}", output::printable(text))))?;
    }
    let word = match decision {
        Word::Allow => paint.good(decision.as_str()),
        Word::NeedsApproval => paint.open(decision.as_str()),
        Word::Deny | Word::NotGranted => paint.bad(decision.as_str()),
    };
    let because = why.as_ref().map(|why| format!(": {}", output::printable(why))).unwrap_or_default();
    line("decision", &format!("{word}{because}"))?;
    if let Some(Asked { groups, deadline, ttl }) = ask {
        let groups: Vec<String> = groups.iter().map(|group| output::printable(group)).collect();
        let (deadline, ttl) = (HumanDuration::from_millis(*deadline), HumanDuration::from_millis(*ttl));
        line("", &format!("{} would be asked, for {deadline}; a yes holds for {ttl}", groups.join(" and ")))?;
    }
    if let Some(place) = point {
        line("", &format!("besides, the decision point at {} has to allow it", output::printable(place)))?;
    }
    Ok(())
}

/// What a request says beside action and resource.
fn details(supposed: &Supposed, bundle: &str) -> Vec<String> {
    let Supposed { component, arguments, context, labels, user, approvals, now, .. } = supposed;
    let list = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(", ");
    let user = user.as_ref().map_or_else(String::new, |person| match list(&person.groups) {
        groups if groups.is_empty() => format!(", on behalf of {}", person.name),
        groups => format!(", on behalf of {} ({groups})", person.name),
    });
    let with = arguments.clone().or_else(|| (!context.is_empty()).then(|| serde_json::json!(context).to_string()));
    let milliseconds = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let lines = [
        Some(format!("by {component} of {bundle}{user}")),
        with.map(|with| format!("with {with}")),
        (!labels.is_empty()).then(|| format!("carrying {labels}")),
        approvals.as_ref().map(|groups| format!("approved by {}", list(groups))),
        Some(format!("at {}", crate::cli::audit::time(milliseconds))),
    ];
    lines.into_iter().flatten().collect()
}
