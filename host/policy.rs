//! Decisions: Cedar rules, asked before every effect.
//!
//! | module | job |
//! | --- | --- |
//! | [`schema`] | what rules can speak of: entities, actions, and the tools' arguments as their WIT types them |
//! | [`arguments`] | types and values of components, as Cedar's |
//! | `value` | attributes |
//! | [`rules`] | reads, names and validates the rules of a folder |
//! | [`in_force`] | the rules while a task runs |
//! | `compiled` | rules as Cedar takes them, and how they are asked |
//! | [`judged`] | decisions, as they are kept to be made again |
//! | [`point`] | a decision point beside them |
//! | `known` | decisions that come out the same each time |
//! | `slices` | which rules can apply to what, found once |
//!
//! The principal is the task, with the component and the bundle as its parents; the action is the effect; the resource is
//! what it acts on; the context holds its arguments. Every rule is validated strictly when it is loaded: Cedar skips a
//! rule that errors, so a `forbid` with a misspelt attribute would silently permit. For the same reason any evaluation
//! error, and any request that does not fit the schema, is a denial.
//!
//! A `forbid` that bears `@approval("group")` asks for a person. Whether a person would help is found by the same engine:
//! when only such rules forbid, it is asked again as if their groups had approved.

pub mod arguments;
mod compiled;
pub mod in_force;
pub mod judged;
mod known;
pub mod point;
pub mod rules;
pub mod schema;
mod slices;
mod value;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub use self::value::{Attribute, ValueError};

use serde::{Deserialize, Serialize};
use wasmtime::component::Val;

use self::arguments::RecordType;
use self::compiled::Compiled;
use self::rules::Written;
use crate::bundle::Digest;
use crate::label::Labels;
use crate::task::Usage;

/// Who asks: a task, as policies see it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Principal {
    /// The task's name.
    pub task: Arc<str>,
    /// The bundle's name.
    pub bundle: Arc<str>,
    /// `agent`, or the tool's name.
    pub component: Arc<str>,
    /// The component's digest, `sha256:…`.
    pub digest: Arc<str>,
    /// 0 for the agent, 1 for a tool that it calls…
    pub depth: u64,
    /// On whose behalf it acts, if on anybody's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Arc<Person>>,
}

/// A person, as the host's configuration knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// Their name.
    pub name: String,
    /// The groups that they are in.
    pub groups: BTreeSet<String>,
}

/// A name that the host has given, or that was kept of it.
pub type Name = Cow<'static, str>;

/// What an effect acts on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// The Cedar entity type: `Tool`.
    pub kind: Name,
    /// Its name: `search.query`.
    pub name: String,
    /// What rules can ask of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<(Name, Attribute)>,
    /// What it is in, and what that is in, from the nearest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub within: Vec<(Name, String)>,
}

impl Resource {
    /// A resource without attributes.
    pub fn new(kind: &'static str, name: impl Into<String>) -> Self {
        Self { kind: Name::Borrowed(kind), name: name.into(), attributes: Vec::new(), within: Vec::new() }
    }

    /// Adds an attribute.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: Attribute) -> Self {
        self.attributes.push((Name::Borrowed(name), value));
        self
    }
}

impl Resource {
    /// Puts it into entities of a kind, of which each is in the next.
    #[must_use]
    pub fn within<'a>(mut self, kind: &'static str, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.within.extend(names.into_iter().map(|name| (Name::Borrowed(kind), name.to_owned())));
        self
    }
}

/// Bytes of names that are written whole.
const SHORT: usize = 256;

impl Resource {
    /// It, as rules and records name it: `Tool::"search.query"`.
    pub fn full_name(&self) -> String {
        // Most names are written as they are.
        let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'\\' | b'"');
        let name = if self.name.len() <= SHORT && self.name.bytes().all(is_plain) {
            Cow::Borrowed(&*self.name)
        } else {
            Cow::Owned(crate::audit::escaped(&self.name).replace('\\', "\\\\").replace('"', "\\\""))
        };
        [&*self.kind, "::\"", &name, "\""].concat()
    }
}

impl std::fmt::Display for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.full_name())
    }
}

/// What else a decision can depend on: how the task stands when it asks.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Standing {
    /// The labels that it carries.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// What the whole task used so far. Fuel is not known before it ends.
    #[serde(serialize_with = "judged::sparse")]
    pub usage: Usage,
    /// Since the Unix epoch.
    pub now: Duration,
}

/// What is asked: may this task do this, now?
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// Who asks.
    pub principal: &'a Principal,
    /// How it stands.
    pub standing: &'a Standing,
    /// `<grant key>.<verb>`.
    pub action: &'a str,
    /// What it acts on.
    pub resource: &'a Resource,
    /// What its schema gives it beside.
    pub context: &'a [(Name, Attribute)],
    /// The arguments of a call of a tool.
    pub arguments: Option<Arguments<'a>>,
}

/// The arguments of a call of a tool.
#[derive(Clone, Copy, Debug)]
pub enum Arguments<'a> {
    /// In the order of the parameters.
    Values(&'a [Val]),
    /// As rules saw them, or would have.
    Told(&'a Attribute),
    /// Nobody kept them.
    Lost,
}

/// Names of rules, in order. They are the same for many decisions.
pub type RuleNames = Arc<[String]>;

/// What came of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A rule permits it and none forbids it.
    Allow {
        /// The rules that permit.
        rules: RuleNames,
    },
    /// It must not happen.
    Deny {
        /// The rules that forbid; none when no rule permits.
        rules: RuleNames,
        /// Why the question itself could not be answered: that is a denial as well.
        error: Option<String>,
    },
    /// It must not happen, unless people approve.
    NeedsApproval {
        /// The rules that forbid it until then.
        rules: RuleNames,
        /// Who has to approve, and for how long that holds.
        ask: Ask,
    },
}

/// Whom to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The groups, each of which has to approve.
    pub groups: BTreeSet<String>,
    /// How long an approval holds.
    pub ttl: Duration,
    /// How long to wait for one.
    pub deadline: Duration,
}

impl Decision {
    fn error(error: impl std::fmt::Display) -> Self {
        Self::Deny { rules: RuleNames::default(), error: Some(error.to_string()) }
    }
}

/// The rules for one bundle, validated.
#[derive(Debug)]
pub struct Policy {
    rules: Rules,
    /// The types of the tools' arguments, by `<tool>.<function>`.
    arguments: Arc<HashMap<String, RecordType>>,
    /// Where rules stand, by name.
    written: BTreeMap<String, Written>,
    digest: Digest,
}

/// The rules, as Cedar takes them.
#[derive(Debug)]
enum Rules {
    /// The operator's.
    Written(Box<Compiled>),
    /// The one that stands where the operator wrote none, and the schema: read when it is first asked, for that takes longer
    /// than to start a task that asks nothing.
    BuiltIn { schema: String, compiled: OnceLock<Result<Box<Compiled>, String>> },
}

impl Policy {
    /// The digest of the text of all rules.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Whether this is the policy that stands where the operator wrote none.
    pub fn is_built_in(&self) -> bool {
        matches!(self.rules, Rules::BuiltIn { .. })
    }

    /// The rules' names, and where each stands.
    pub fn rules(&self) -> &BTreeMap<String, Written> {
        &self.written
    }

    /// The arguments of a call, as rules would see them; none where it is not known which types they have.
    pub fn told(&self, function: &str, values: &[Val]) -> Option<Attribute> {
        Some(self.arguments.get(function)?.attribute(values))
    }

    /// The rules, as Cedar takes them.
    fn compiled(&self) -> Result<&Compiled, String> {
        match &self.rules {
            Rules::Written(compiled) => Ok(compiled),
            Rules::BuiltIn { schema, compiled } => {
                // It may be a guest that asks, on the stack of a fiber. Where there is no memory for another one, `stacker`
                // panics: then nothing is decided.
                let read = || stacker::grow(compiled::READING, || rules::built_in(schema, &self.arguments));
                let read = || compiled.get_or_init(|| read().map(Box::new));
                let compiled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(read))
                    .map_err(|_| "the rules could not be read: see what was printed")?;
                compiled.as_deref().map_err(Clone::clone)
            }
        }
    }

    /// What do the rules say to this, without anybody's approval?
    ///
    /// When only rules forbid that a person can lift, the groups that they name are collected, and it is decided again as
    /// if these had approved: only if that is yes would it help to ask them.
    pub fn judge(&self, question: &Question<'_>) -> Decision {
        self.compiled().map_or_else(Decision::error, |rules| rules.judge(question))
    }

    /// What do the rules say to this, now that these groups have approved it?
    pub fn decide(&self, question: &Question<'_>, approvals: &BTreeSet<String>) -> Decision {
        self.compiled().map_or_else(Decision::error, |rules| rules.decide(question, approvals))
    }
}

impl Ask {
    /// All groups of both, the shorter of their times.
    fn and(mut self, other: Self) -> Self {
        self.groups.extend(other.groups);
        Self { groups: self.groups, ttl: self.ttl.min(other.ttl), deadline: self.deadline.min(other.deadline) }
    }
}

/// A context, as a decision takes it.
pub fn context(parts: Vec<(&'static str, Attribute)>) -> Vec<(Name, Attribute)> {
    self::parts(parts).collect()
}

/// The parts of a context, one by one.
pub(crate) fn parts(parts: Vec<(&'static str, Attribute)>) -> impl Iterator<Item = (Name, Attribute)> {
    parts.into_iter().map(|(name, value)| (Name::Borrowed(name), value))
}

/// What every context has.
fn surroundings(standing: &Standing, approvals: &BTreeSet<String>) -> Vec<(Name, Attribute)> {
    context(vec![
        ("now", Attribute::Time(i64::try_from(standing.now.as_millis()).unwrap_or(i64::MAX))),
        ("weekday", Attribute::String(weekday(standing.now).to_owned())),
        ("approvals", Attribute::strings(approvals)),
    ])
}

/// The attributes of a task, but for the user.
fn subject(principal: &Principal, standing: &Standing) -> Vec<(Name, Attribute)> {
    let usage = &standing.usage;
    let counted = [
        ("toolCalls", usage.tool_calls),
        ("effects", usage.effects),
        ("refusals", usage.refusals),
        ("approvals", usage.approvals),
        ("requests", usage.requests),
        ("sentBytes", usage.sent_bytes),
        ("receivedBytes", usage.received_bytes),
        ("milliseconds", usage.wall_ms),
    ];
    let usage = counted.map(|(name, value)| (name.to_owned(), Attribute::count(value)));
    context(vec![
        ("bundle", Attribute::String(principal.bundle.to_string())),
        ("component", Attribute::String(principal.component.to_string())),
        ("digest", Attribute::String(principal.digest.to_string())),
        ("depth", Attribute::count(principal.depth)),
        ("labels", Attribute::strings(standing.labels.iter().cloned())),
        ("usage", Attribute::Record(usage.into())),
    ])
}

/// The day of the week, in UTC.
fn weekday(now: Duration) -> &'static str {
    const DAYS: [&str; 7] = ["thursday", "friday", "saturday", "sunday", "monday", "tuesday", "wednesday"];
    // The epoch was a Thursday.
    let days = now.as_secs() / 86_400;
    DAYS[usize::try_from(days % 7).unwrap_or_default()]
}
