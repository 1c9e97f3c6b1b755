//! What was decided, decided again: the same grants, clearances and rules are asked as the gate asks, about what was
//! recorded. Nothing runs, nobody is asked.
//!
//! What depends on more than grants, rules and labels is not judged: quotas, what leads out of a mount, the decision point,
//! what a task was lent.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::capability::tools::Call;
use crate::capability::{self, Again};
use crate::cli::load::Loaded;
use crate::gate::{Effect as _, cleared};
use crate::policy::judged::{Ground, Judged};
use crate::policy::schema::Action;
use crate::policy::{self, Arguments, Attribute, Decision, Question, RuleNames};
use crate::runtime::plan::Effective;

/// What an effect comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Word {
    Allowed,
    /// People let it be.
    Approved,
    NeedsApproval,
    Denied,
    NotGranted,
    Exhausted,
    /// Something else refused it: it is not judged again.
    Refused,
}

impl Word {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Approved => "approved",
            Self::NeedsApproval => "needs approval",
            Self::Denied => "denied",
            Self::NotGranted => "not granted",
            Self::Exhausted => "exhausted",
            Self::Refused => "refused",
        }
    }
}

/// How an effect was decided, or would be.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Sentence {
    pub(super) decision: Word,
    /// The rules that determine it.
    pub(super) rules: RuleNames,
    /// Who has to approve it, or did.
    pub(super) groups: BTreeSet<String>,
    /// Why, where no rule says it.
    pub(super) why: Option<String>,
}

impl Sentence {
    fn new(decision: Word, why: impl Into<Option<String>>) -> Self {
        Self { decision, rules: RuleNames::default(), groups: BTreeSet::new(), why: why.into() }
    }

    /// What was decided.
    pub(super) fn past(judged: &Judged) -> Self {
        let ruling = &judged.ruling;
        let (decision, why) = match (ruling.ground, ruling.is_allowed()) {
            (_, true) if !ruling.groups.is_empty() => (Word::Approved, None),
            (_, true) => (Word::Allowed, None),
            (Ground::Limit, false) if ruling.why.as_deref().is_some_and(is_judged) => (Word::Exhausted, None),
            (Ground::Grant, false) => (Word::NotGranted, Some("the grant did not cover it")),
            (Ground::Clearance, false) => (Word::Denied, Some("the task carried what may not go there")),
            (Ground::Rules, false) if ruling.rules.is_empty() => (Word::Denied, Some("no rule permitted it")),
            (Ground::Rules, false) => (Word::Denied, None),
            (Ground::People, false) => (Word::NeedsApproval, Some("and nobody gave it")),
            (Ground::Limit, false) => (Word::Refused, Some("a limit was spent")),
            (Ground::Loan, false) => (Word::Refused, Some("it held what the task was lent")),
            (Ground::Point, false) => (Word::Refused, Some("the decision point did not allow it")),
            (Ground::Capability, false) => (Word::Refused, Some("the capability itself refused it")),
            (Ground::Host, false) => (Word::Refused, Some("it could not be recorded")),
        };
        let why = ruling.why.clone().or(why.map(ToOwned::to_owned));
        Self { decision, rules: Arc::clone(&ruling.rules), groups: ruling.groups.clone(), why }
    }

    /// What would be decided under these grants and rules.
    pub(super) fn now(judged: &Judged, loaded: &Loaded) -> Self {
        let (limits, usage) = (&loaded.manifest.limits, &judged.standing.usage);
        if judged.effect.max(usage.effects) > limits.effects {
            return Self::new(Word::Exhausted, spent("effects", limits.effects));
        }
        if Duration::from_millis(usage.wall_ms) > limits.wall_time {
            return Self::new(Word::Exhausted, "wall-time".to_owned());
        }
        let is_call = judged.action == Call::ACTION;
        if is_call && judged.number("depth").is_some_and(|depth| depth > limits.tool_depth) {
            return Self::new(Word::NotGranted, format!("`tool-depth` is {}", limits.tool_depth));
        }
        let sentence = Self::by_grant_and_rules(judged, loaded);
        let goes_on = matches!(sentence.decision, Word::Allowed | Word::NeedsApproval);
        if is_call && goes_on && usage.tool_calls >= limits.tool_calls {
            return Self::new(Word::Exhausted, spent("tool-calls", limits.tool_calls));
        }
        sentence
    }

    fn by_grant_and_rules(judged: &Judged, loaded: &Loaded) -> Self {
        let mut components = loaded.bundle.components();
        let Some(component) = components.find(|part| part.name.to_string() == *judged.principal.component) else {
            return Self::new(Word::NotGranted, "the bundle has no such component".to_owned());
        };
        let grants = Effective::of(component, &loaded.manifest).sections;
        let Some(Again { target, context }) = capability::again(&grants, judged) else {
            return Self::new(Word::NotGranted, "the grant does not cover it".to_owned());
        };
        if let Some(accepted) = &target.accepts
            && let Err(why) = cleared(&judged.standing.labels, accepted)
        {
            return Self::new(Word::Denied, why);
        }
        let Some(action) = action(&judged.action) else {
            return Self::new(Word::Denied, "there is no such action any more".to_owned());
        };
        let context = policy::context(context.unwrap_or_else(|| kept(&action, judged)));
        let arguments = judged.arguments.as_ref().map_or(Arguments::Lost, Arguments::Told);
        let question = Question {
            principal: &judged.principal,
            standing: &judged.standing,
            action: action.name,
            resource: &target.resource,
            context: &context,
            arguments: (judged.action == Call::ACTION).then_some(arguments),
        };
        match loaded.policy.judge(&question) {
            Decision::Allow { rules } => Self { rules, ..Self::new(Word::Allowed, None) },
            Decision::Deny { rules, error } => {
                let why = error.or_else(|| rules.is_empty().then(|| "no rule permits it".to_owned()));
                Self { rules, ..Self::new(Word::Denied, why) }
            }
            Decision::NeedsApproval { rules, ask } => {
                Self { rules, groups: ask.groups, ..Self::new(Word::NeedsApproval, None) }
            }
        }
    }

    /// Whether it is another decision than that; if so, whether something else comes of it.
    pub(super) fn differs(&self, past: &Self) -> Option<bool> {
        use Word::{Allowed, Approved, Denied, NeedsApproval, NotGranted, Refused};
        match (past.decision, self.decision) {
            (Refused, _) => None,
            (Approved | NeedsApproval, NeedsApproval) if past.groups == self.groups => None,
            // Who said yes, and is asked with nobody else, says yes.
            (Approved, NeedsApproval) => Some(!self.groups.is_subset(&past.groups)),
            (before, now) if before == now && now != NeedsApproval => None,
            (Approved, Allowed) | (Denied | NotGranted | NeedsApproval, Denied | NotGranted) => Some(false),
            _ => Some(true),
        }
    }
}

/// Whether a limit is one of those that are judged.
fn is_judged(limit: &str) -> bool {
    matches!(limit, "effects" | "wall-time" | "tool-calls")
}

fn spent(limit: &str, allowed: u64) -> String {
    format!("`{limit}` is {allowed}")
}

fn action(name: &str) -> Option<Action> {
    capability::terms(None).action(name).copied()
}

/// The context that was kept, as the schema has it now.
fn kept(action: &Action, judged: &Judged) -> Vec<(&'static str, Attribute)> {
    action.attributes().filter_map(|(name, ..)| Some((name, judged.context(name)?.clone()))).collect()
}
