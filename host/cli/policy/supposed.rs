//! A request that nobody made, and what the host would say to it: the same grants, clearances and rules are asked as the
//! gate asks. Nothing runs, nothing is recorded, nobody is asked.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::bundle::{Bundle, ComponentName, ComponentSource};
use crate::capability::tools::{Call, Tools};
use crate::capability::{Capability as _, REGISTRY, Registered, Target};
use crate::cli::load::Loaded;
use crate::gate::{Effect as _, cleared};
use crate::label::Labels;
use crate::manifest::suggestion;
use crate::policy::schema::Action;
use crate::policy::{self, Arguments, Attribute, Decision, Person, Principal, Question, Standing};
use crate::runtime::plan::{Effective, Plan};
use crate::task::Usage;

/// The request.
#[derive(Clone, Debug)]
pub(super) struct Supposed {
    /// Who asks: `agent`, or a tool's name.
    pub(super) component: String,
    /// `<grant key>.<verb>`.
    pub(super) action: String,
    /// The name of what it acts on.
    pub(super) resource: String,
    /// The arguments of a call of a tool, as JSON.
    pub(super) arguments: Option<String>,
    /// The context of any other action.
    pub(super) context: Map<String, Value>,
    /// What the task carries.
    pub(super) labels: Labels,
    /// On whose behalf it acts.
    pub(super) user: Option<Person>,
    /// What it used so far.
    pub(super) usage: Used,
    /// Since the Unix epoch.
    pub(super) now: Duration,
    /// The groups that have approved; none when nobody was asked yet.
    pub(super) approvals: Option<BTreeSet<String>>,
}

/// What a task used, as rules see it.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(super) struct Used {
    tool_calls: u64,
    effects: u64,
    refusals: u64,
    approvals: u64,
    requests: u64,
    sent_bytes: u64,
    received_bytes: u64,
    milliseconds: u64,
}

impl From<Used> for Usage {
    fn from(used: Used) -> Self {
        let Used { tool_calls, effects, refusals, approvals, .. } = used;
        let Used { requests, sent_bytes, received_bytes, milliseconds: wall_ms, .. } = used;
        let used = Self { wall_ms, tool_calls, effects, refusals, approvals, ..Self::default() };
        Self { requests, sent_bytes, received_bytes, ..used }
    }
}

/// A request that makes no sense for the bundle.
#[derive(Debug)]
pub(super) struct Unfit {
    /// The part that does not: `component`, `action`, `resource`, `args`, `context`.
    pub(super) part: &'static str,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

fn unfit(part: &'static str, message: String, help: impl Into<Option<String>>) -> Unfit {
    Unfit { part, message, help: help.into() }
}

/// The kinds of answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Word {
    Allow,
    Deny,
    NeedsApproval,
    NotGranted,
}

impl Word {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::NeedsApproval => "needs-approval",
            Self::NotGranted => "not-granted",
        }
    }
}

/// What the host would say.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The grant does not cover it.
    NotGranted(String),
    /// The task carries labels that may not go there: the rules are not asked.
    NotCleared(String),
    /// The rules were asked.
    Decided(Decision),
}

impl Verdict {
    pub(super) fn word(&self) -> Word {
        match self {
            Self::NotGranted(_) => Word::NotGranted,
            Self::NotCleared(_) | Self::Decided(Decision::Deny { .. }) => Word::Deny,
            Self::Decided(Decision::Allow { .. }) => Word::Allow,
            Self::Decided(Decision::NeedsApproval { .. }) => Word::NeedsApproval,
        }
    }

    /// The rules that determined it.
    pub(super) fn rules(&self) -> &[String] {
        match self {
            Self::NotGranted(_) | Self::NotCleared(_) => &[],
            Self::Decided(
                Decision::Allow { rules } | Decision::Deny { rules, .. } | Decision::NeedsApproval { rules, .. },
            ) => rules,
        }
    }

    /// The groups that would be asked.
    pub(super) fn groups(&self) -> BTreeSet<String> {
        match self {
            Self::Decided(Decision::NeedsApproval { ask, .. }) => ask.groups.clone(),
            _ => BTreeSet::new(),
        }
    }

    /// Why, where no rule says it.
    pub(super) fn why(&self) -> Option<String> {
        match self {
            Self::NotGranted(why) | Self::NotCleared(why) => Some(why.clone()),
            Self::Decided(Decision::Deny { error: Some(error), .. }) => Some(error.clone()),
            Self::Decided(Decision::Deny { rules, error: None }) if rules.is_empty() => {
                Some("no rule permits it".to_owned())
            }
            Self::Decided(_) => None,
        }
    }
}

/// Whom and what a request is about.
pub(super) struct Subject<'a> {
    /// Who asks.
    pub(super) component: &'a ComponentSource,
    /// The capability whose grant covers it.
    pub(super) row: &'static dyn Registered,
    action: &'static Action,
}

impl Supposed {
    /// Looks up who asks for what.
    pub(super) fn subject<'a>(&self, bundle: &'a Bundle) -> Result<Subject<'a>, Unfit> {
        let component = bundle.components().find(|component| component.name.to_string() == self.component);
        let component = component.ok_or_else(|| {
            let names: Vec<String> = bundle.components().map(|component| component.name.to_string()).collect();
            let help = suggestion(&self.component, names.iter().map(String::as_str), "the components are");
            unfit("component", format!("`{}` has no component `{}`", bundle.name, self.component), help)
        })?;
        let all = || REGISTRY.iter().flat_map(|row| row.actions().iter().map(move |action| (*row, action)));
        let (row, action) = all().find(|(_, action)| action.name == self.action).ok_or_else(|| {
            let help = suggestion(&self.action, all().map(|(_, action)| action.name), "the actions are");
            unfit("action", format!("there is no action `{}`", self.action), help)
        })?;
        // Another capability's grant can be the one that covers it.
        let row = REGISTRY.iter().copied().find(|row| row.covers().contains(&action.name)).unwrap_or(row);
        Ok(Subject { component, row, action })
    }

    /// Asks the grant, then the clearance, then the rules.
    pub(super) fn judge(&self, loaded: &Loaded, plan: &Plan) -> Result<Verdict, Unfit> {
        let Subject { component, row, action } = self.subject(&loaded.bundle)?;
        let principal = self.principal(loaded, component);
        let grants = Effective::of(component, &loaded.manifest).sections;
        let target = row.find(&grants, action.name, &self.resource);
        let call = if action.name == Call::ACTION { self.call(loaded, plan, principal.depth + 1)? } else { None };
        let context = match &call {
            Some(call) => call.context(),
            None => self.context(action, target.is_some())?,
        };
        let context = policy::context(context);
        let Some(Target { resource, accepts }) = target else {
            return Ok(Verdict::NotGranted("the grant does not cover it".to_owned()));
        };
        let deepest = loaded.manifest.limits.tool_depth;
        if call.as_ref().is_some_and(|call| call.depth > deepest) {
            return Ok(Verdict::NotGranted(format!("the call would be deeper than `tool-depth`, which is {deepest}")));
        }
        if let Some(accepted) = accepts
            && let Err(why) = cleared(&self.labels, &accepted)
        {
            return Ok(Verdict::NotCleared(why));
        }
        let standing = Standing { labels: self.labels.clone(), usage: self.usage.into(), now: self.now };
        let question = Question {
            principal: &principal,
            standing: &standing,
            action: action.name,
            resource: &resource,
            context: &context,
            arguments: call.as_ref().and_then(|call| call.arguments()).map(Arguments::Values),
        };
        Ok(Verdict::Decided(match &self.approvals {
            None => loaded.policy.judge(&question),
            Some(groups) => loaded.policy.decide(&question, groups),
        }))
    }

    fn principal(&self, loaded: &Loaded, component: &ComponentSource) -> Principal {
        Principal {
            task: "supposed".into(),
            bundle: loaded.bundle.name.to_string().into(),
            component: self.component.as_str().into(),
            digest: component.digest.to_string().into(),
            depth: u64::from(component.name != ComponentName::Agent),
            user: self.user.clone().map(Arc::new),
        }
    }

    /// The call of a tool; none when no component that runs may call the tool, so that its functions are not known.
    fn call(&self, loaded: &Loaded, plan: &Plan, depth: u64) -> Result<Option<Call>, Unfit> {
        let wrong = |message, help: Option<String>| Err(unfit("resource", message, help));
        if !self.context.is_empty() {
            let message = "the context of a call is made from its arguments".to_owned();
            return Err(unfit("context", message, "give the arguments, as `args`".to_owned()));
        }
        let Some((tool, name)) = self.resource.split_once('.') else {
            let help = "name a function of a tool, as `billing.refund`".to_owned();
            return wrong(format!("`{}` is no function of a tool", self.resource), Some(help));
        };
        if !loaded.bundle.tools.contains_key(tool) {
            let help = suggestion(tool, loaded.bundle.tools.keys().map(crate::bundle::Name::as_str), "the tools are");
            return wrong(format!("`{}` has no tool `{tool}`", loaded.bundle.name), help);
        }
        let Some(unit) = plan.tools.get(tool) else { return Ok(None) };
        let Some(function) = unit.functions.iter().find(|function| function.name() == name) else {
            let help = suggestion(name, unit.functions.iter().map(|function| function.name()), "its functions are");
            return wrong(format!("the tool `{tool}` has no function `{name}`"), help);
        };
        let arguments = function.arguments(self.arguments.as_deref().unwrap_or("{}")).map_err(|error| {
            let parameters: Vec<String> = function.parameters().iter().map(|(name, _)| format!("`{name}`")).collect();
            let takes = if parameters.is_empty() { "nothing".to_owned() } else { parameters.join(", ") };
            unfit("args", error.to_string(), format!("`{}` takes {takes}", self.resource))
        });
        let (values, canonical) = arguments?;
        Ok(Some(Call::of(tool, function, values, canonical, depth)))
    }

    /// The context of any other action, as its schema types it. What the grant does not cover may leave it out.
    fn context(&self, action: &Action, complete: bool) -> Result<Vec<(&'static str, Attribute)>, Unfit> {
        let wrong = |message, help| Err(unfit("context", message, help));
        if self.arguments.is_some() && action.name != Call::ACTION {
            let message = format!("`{}` has no arguments", action.name);
            let help = format!("arguments are for `{}`; other actions have a `context`", Tools::ACTIONS[0].name);
            return Err(unfit("args", message, help));
        }
        let known: Vec<_> = action.attributes().filter(|_| action.name != Call::ACTION).collect();
        if let Some(unknown) = self.context.keys().find(|key| known.iter().all(|(name, ..)| name != key)) {
            let help = suggestion(unknown, known.iter().map(|(name, ..)| *name), "its context has");
            return wrong(format!("the context of `{}` has no `{unknown}`", action.name), help);
        }
        let mut context = Vec::new();
        for (name, ty, required) in known {
            match self.context.get(name).map(|value| (value, typed(ty, value))) {
                Some((_, Some(attribute))) => context.push((name, attribute)),
                Some((value, None)) => return wrong(format!("`{name}` is a {ty}, and not {value}"), None),
                None if required && complete => {
                    let help = format!("its context is {{ {} }}", action.context);
                    return wrong(format!("the context of `{}` needs `{name}`", action.name), Some(help));
                }
                None => {}
            }
        }
        Ok(context)
    }
}

/// A value of a type of Cedar's.
fn typed(ty: &str, value: &Value) -> Option<Attribute> {
    match (ty, value) {
        ("String", Value::String(text)) => Some(Attribute::String(text.clone())),
        ("Long", Value::Number(number)) => number.as_i64().map(Attribute::Long),
        ("Bool", Value::Bool(truth)) => Some(Attribute::Bool(*truth)),
        _ => None,
    }
}

/// A point in time as RFC 3339 writes it, since the Unix epoch.
pub(in crate::cli) fn time(text: &str) -> Option<Duration> {
    let time = chrono::DateTime::parse_from_rfc3339(text).ok()?;
    u64::try_from(time.timestamp_millis()).ok().map(Duration::from_millis)
}

/// What to write for a point in time.
pub(super) const TIME_HELP: &str = "write it as RFC 3339 does, as `2026-11-23T10:00:00Z`";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_context_can_be_written_down() {
        let text = |ty: &str| match ty {
            "String" => Value::from("x"),
            "Long" => Value::from(1),
            _ => Value::from(true),
        };
        for action in crate::capability::terms(None).actions {
            for (name, ty, _) in action.attributes() {
                assert!(typed(ty, &text(ty)).is_some(), "`{name}` of `{}` is a {ty}", action.name);
            }
        }
    }

    #[test]
    fn times_are_those_of_rfc_3339() {
        assert_eq!(time("1970-01-02T01:00:00+01:00"), Some(Duration::from_hours(24)));
        assert_eq!(time("1969-12-31T23:59:59Z"), None);
        assert_eq!(time("2026-11-23"), None);
    }
}
