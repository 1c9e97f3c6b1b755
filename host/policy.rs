//! Decisions: Cedar rules, asked before every effect.
//!
//! | module | job |
//! | --- | --- |
//! | [`schema`] | what rules can speak of: entities, actions, and the tools' arguments as their WIT types them |
//! | [`arguments`] | types and values of components, as Cedar's |
//! | `value` | attributes |
//! | [`rules`] | reads, names and validates the rules of a folder |
//! | [`in_force`] | the rules while a task runs |
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

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use cedar_policy::{
    Authorizer, Context, Decision as Verdict, Entities, Entity, EntityTypeName, EntityUid, PolicyId, Request, Schema,
};

pub use self::value::{Attribute, ValueError};

use serde::{Deserialize, Serialize};
use wasmtime::component::Val;

use self::arguments::RecordType;
use self::known::Known;
use self::rules::{Approvable, Rule, Written};
use self::slices::Slices;
use crate::bundle::Digest;
use crate::label::Labels;
use crate::task::Usage;

/// Bytes of stack that one decision may use.
const STACK: usize = 512 << 10;

/// Who asks: a task, as policies see it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Principal {
    /// The task's name.
    pub task: String,
    /// The bundle's name.
    pub bundle: String,
    /// `agent`, or the tool's name.
    pub component: String,
    /// The component's digest, `sha256:…`.
    pub digest: String,
    /// 0 for the agent, 1 for a tool that it calls…
    pub depth: u64,
    /// On whose behalf it acts, if on anybody's.
    pub user: Option<Person>,
}

/// A person, as the host's configuration knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// Their name.
    pub name: String,
    /// The groups that they are in.
    pub groups: BTreeSet<String>,
}

/// What an effect acts on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The Cedar entity type: `Tool`.
    pub kind: &'static str,
    /// Its name: `search.query`.
    pub name: String,
    /// What rules can ask of it.
    pub attributes: Vec<(&'static str, Attribute)>,
    /// What it is in, and what that is in, from the nearest.
    pub within: Vec<(&'static str, String)>,
}

impl Resource {
    /// A resource without attributes.
    pub fn new(kind: &'static str, name: impl Into<String>) -> Self {
        Self { kind, name: name.into(), attributes: Vec::new(), within: Vec::new() }
    }

    /// Adds an attribute.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: Attribute) -> Self {
        self.attributes.push((name, value));
        self
    }
}

impl Resource {
    /// Puts it into entities of a kind, of which each is in the next.
    #[must_use]
    pub fn within<'a>(mut self, kind: &'static str, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.within.extend(names.into_iter().map(|name| (kind, name.to_owned())));
        self
    }
}

impl std::fmt::Display for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = crate::audit::escaped(&self.name).replace('\\', "\\\\").replace('"', "\\\"");
        write!(f, "{}::\"{name}\"", self.kind)
    }
}

/// What else a decision can depend on: how the task stands when it asks.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Standing {
    /// The labels that it carries.
    pub labels: Labels,
    /// What the whole task used so far. Fuel is not known before it ends.
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
    pub context: &'a [(&'static str, Attribute)],
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

/// What came of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A rule permits it and none forbids it.
    Allow {
        /// The rules that permit.
        rules: Vec<String>,
    },
    /// It must not happen.
    Deny {
        /// The rules that forbid; none when no rule permits.
        rules: Vec<String>,
        /// Why the question itself could not be answered: that is a denial as well.
        error: Option<String>,
    },
    /// It must not happen, unless people approve.
    NeedsApproval {
        /// The rules that forbid it until then.
        rules: Vec<String>,
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
        Self::Deny { rules: Vec::new(), error: Some(error.to_string()) }
    }
}

/// The rules for one bundle, validated.
#[derive(Debug)]
pub struct Policy {
    slices: Slices,
    /// The types of the tools' arguments, by `<tool>.<function>`.
    arguments: HashMap<String, RecordType>,
    /// Where rules stand, by name.
    written: BTreeMap<String, Written>,
    /// What rules say of approvals, by name.
    approvable: HashMap<PolicyId, Approvable>,
    schema: Schema,
    kinds: HashMap<String, EntityTypeName>,
    authorizer: Authorizer,
    digest: Digest,
    built_in: bool,
    known: Known,
}

impl Policy {
    fn new(
        schema: Schema,
        arguments: HashMap<String, RecordType>,
        rules: Vec<Rule>,
        digest: Digest,
        built_in: bool,
    ) -> Self {
        let approvable = rules.iter().filter_map(|rule| Some((rule.policy.id().clone(), rule.approvable.clone()?)));
        let approvable = approvable.collect();
        let written = rules.iter().map(|rule| (rule.policy.id().to_string(), rule.written.clone())).collect();
        let rules: Vec<_> = rules.into_iter().map(|rule| rule.policy).collect();
        let slices = Slices::of(&schema, &rules);
        let kinds = schema.entity_types().map(|kind| (kind.basename().to_owned(), kind.clone())).collect();
        Self {
            slices,
            arguments,
            written,
            approvable,
            schema,
            kinds,
            authorizer: Authorizer::new(),
            digest,
            built_in,
            known: Known::default(),
        }
    }

    /// The digest of the text of all rules.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Whether this is the policy that stands where the operator wrote none.
    pub fn is_built_in(&self) -> bool {
        self.built_in
    }

    /// The rules' names, and where each stands.
    pub fn rules(&self) -> &BTreeMap<String, Written> {
        &self.written
    }

    /// The arguments of a call, as rules would see them; none where it is not known which types they have.
    pub fn told(&self, function: &str, values: &[Val]) -> Option<Attribute> {
        Some(self.arguments.get(function)?.attribute(values))
    }

    /// What do the rules say to this, without anybody's approval?
    ///
    /// When only rules forbid that a person can lift, the groups that they name are collected, and it is decided again as
    /// if these had approved: only if that is yes would it help to ask them.
    pub fn judge(&self, question: &Question<'_>) -> Decision {
        let first = match self.decide(question, &BTreeSet::new()) {
            Decision::Deny { rules, error: None } if !rules.is_empty() => rules,
            decision => return decision,
        };
        let denial = |rules| Decision::Deny { rules, error: None };
        let Some(mut ask) = self.ask(&first) else { return denial(first) };
        loop {
            match self.decide(question, &ask.groups) {
                Decision::Allow { .. } => return Decision::NeedsApproval { rules: first, ask },
                Decision::Deny { rules, error: None } => match self.ask(&rules) {
                    // Every turn adds a group, and rules name finitely many.
                    Some(more) if !more.groups.is_subset(&ask.groups) => ask = ask.and(more),
                    _ => return denial(first),
                },
                error => return error,
            }
        }
    }

    /// What do the rules say to this, now that these groups have approved it?
    pub fn decide(&self, question: &Question<'_>, approvals: &BTreeSet<String>) -> Decision {
        let slice = self.slices.find(question.action, &question.resource.name);
        let parts = slice.filter(|slice| approvals.is_empty() && !slice.looks).and_then(|slice| slice.steady);
        let Some(asked) = parts.and_then(|parts| known::asked(question, parts)) else {
            return self.ask_rules(question, approvals);
        };
        if let Some(decision) = self.known.find(&asked) {
            debug_assert_eq!(decision, self.ask_rules(question, approvals), "what is kept is what the rules say");
            return decision;
        }
        let decision = self.ask_rules(question, approvals);
        if !matches!(decision, Decision::Deny { error: Some(_), .. }) {
            self.known.keep(asked, &decision);
        }
        decision
    }

    fn ask_rules(&self, question: &Question<'_>, approvals: &BTreeSet<String>) -> Decision {
        // Cedar refuses to recurse when it finds little stack left, and it measures that of the thread: on the stacks of
        // wasmtime's fibers, from which guests ask, it always finds none. So it is given one of its own.
        // Where the machine has no memory for that, `stacker` panics: then nothing is decided, and nothing happens.
        let decide = || stacker::grow(STACK, || self.answer(question, approvals).unwrap_or_else(Decision::error));
        let decided = std::panic::catch_unwind(std::panic::AssertUnwindSafe(decide));
        decided.unwrap_or_else(|_| Decision::error("the rules could not be asked: see what was printed"))
    }

    fn answer(
        &self,
        question: &Question<'_>,
        approvals: &BTreeSet<String>,
    ) -> Result<Decision, Box<dyn std::error::Error>> {
        let Question { principal, standing, resource, .. } = question;
        let task = self.uid("Task", &principal.task)?;
        let target = self.uid(resource.kind, &resource.name)?;
        let slice = self.slices.find(question.action, &resource.name).ok_or_else(|| unknown(question))?;
        let mut context = surroundings(standing, approvals);
        context.extend_from_slice(question.context);
        // Arguments that no rule looks at are not put to them: not all can be, and nothing would come of it.
        let arguments = question.arguments.and_then(|given| Some((self.arguments.get(&resource.name)?, given)));
        let is_whole = arguments.is_none() || slice.looks;
        if let Some((types, given)) = arguments.filter(|_| slice.looks) {
            let attribute = match given {
                Arguments::Values(values) => types.attribute(values),
                Arguments::Told(attribute) => attribute.clone(),
                Arguments::Lost => {
                    Attribute::Inexpressible(ValueError::Other("its arguments were not kept".to_owned()))
                }
            };
            context.push(("args", attribute));
        }
        let context = Context::from_pairs(expressions(context)?)?;
        let mut entities = self.principal(question, &task)?;
        let attributes = expressions(resource.attributes.iter().cloned())?.into_iter().collect();
        let above = resource.within.iter().map(|(kind, name)| self.uid(kind, name)).collect::<Result<Vec<_>, _>>()?;
        let parent = |number: usize| above.get(number).cloned().into_iter().collect::<HashSet<_>>();
        entities.push(Entity::new(target.clone(), attributes, parent(0))?);
        let above = above.iter().enumerate().map(|(number, uid)| Entity::new_no_attrs(uid.clone(), parent(number + 1)));
        entities.extend(above);
        if cfg!(debug_assertions) {
            // What is put to the rules has the types that they were validated with.
            Entities::from_entities(entities.clone(), Some(&self.schema))?;
        }
        entities.push(Entity::new_no_attrs(slice.action.clone(), slice.groups.clone()));
        let entities = Entities::from_entities(entities, None)?;
        let schema = is_whole.then_some(&self.schema);
        let request = Request::new(task, slice.action.clone(), target, context, schema)?;
        let response = self.authorizer.is_authorized(&request, slice.rules, &entities);
        if let Some(error) = response.diagnostics().errors().next() {
            return Ok(Decision::error(error));
        }
        let mut rules: Vec<String> = response.diagnostics().reason().map(ToString::to_string).collect();
        rules.sort();
        Ok(match response.decision() {
            Verdict::Allow => Decision::Allow { rules },
            Verdict::Deny => Decision::Deny { rules, error: None },
        })
    }

    /// The task, and whom it belongs to.
    fn principal(&self, question: &Question<'_>, task: &EntityUid) -> Result<Vec<Entity>, Box<dyn std::error::Error>> {
        let Question { principal, standing, .. } = question;
        let bundle = self.uid("Bundle", &principal.bundle)?;
        let component = self.uid("Component", &format!("{}/{}", principal.bundle, principal.component))?;
        let mut attributes = subject(principal, standing);
        let mut entities = Vec::with_capacity(8);
        if let Some(person) = &principal.user {
            attributes.push(("user", Attribute::Entity("User".into(), person.name.clone())));
            let groups =
                person.groups.iter().map(|group| self.uid("Group", group)).collect::<Result<HashSet<_>, _>>()?;
            entities.extend(groups.iter().map(|group| Entity::new_no_attrs(group.clone(), HashSet::new())));
            entities.push(Entity::new_no_attrs(self.uid("User", &person.name)?, groups));
        }
        let attributes = expressions(attributes)?.into_iter().collect();
        entities.push(Entity::new(task.clone(), attributes, HashSet::from([component.clone()]))?);
        entities.push(Entity::new_no_attrs(component, HashSet::from([bundle.clone()])));
        entities.push(Entity::new_no_attrs(bundle, HashSet::new()));
        Ok(entities)
    }

    /// Whom these rules ask for, if each of them asks for somebody.
    fn ask(&self, rules: &[String]) -> Option<Ask> {
        let asked = rules.iter().map(|rule| Some(self.approvable.get(&PolicyId::new(rule))?.ask()));
        asked.collect::<Option<Vec<Ask>>>()?.into_iter().reduce(Ask::and)
    }

    fn uid(&self, kind: &str, name: &str) -> Result<EntityUid, Box<dyn std::error::Error>> {
        let kind = self.kinds.get(kind).ok_or_else(|| format!("the schema has no entities of type `{kind}`"))?;
        Ok(EntityUid::from_type_name_and_id(kind.clone(), cedar_policy::EntityId::new(name)))
    }
}

impl Ask {
    /// All groups of both, the shorter of their times.
    fn and(mut self, other: Self) -> Self {
        self.groups.extend(other.groups);
        Self { groups: self.groups, ttl: self.ttl.min(other.ttl), deadline: self.deadline.min(other.deadline) }
    }
}

fn unknown(question: &Question<'_>) -> String {
    format!("the schema has no action `{}` on {}", question.action, question.resource)
}

/// What every context has.
fn surroundings(standing: &Standing, approvals: &BTreeSet<String>) -> Vec<(&'static str, Attribute)> {
    vec![
        ("now", Attribute::Time(i64::try_from(standing.now.as_millis()).unwrap_or(i64::MAX))),
        ("weekday", Attribute::String(weekday(standing.now).to_owned())),
        ("approvals", Attribute::strings(approvals)),
    ]
}

/// The attributes of a task, but for the user.
fn subject(principal: &Principal, standing: &Standing) -> Vec<(&'static str, Attribute)> {
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
    vec![
        ("bundle", Attribute::String(principal.bundle.clone())),
        ("component", Attribute::String(principal.component.clone())),
        ("digest", Attribute::String(principal.digest.clone())),
        ("depth", Attribute::count(principal.depth)),
        ("labels", Attribute::strings(standing.labels.iter().cloned())),
        ("usage", Attribute::Record(usage.into())),
    ]
}

type Expressions = Vec<(String, cedar_policy::RestrictedExpression)>;

fn expressions(
    attributes: impl IntoIterator<Item = (&'static str, Attribute)>,
) -> Result<Expressions, Box<dyn std::error::Error>> {
    attributes.into_iter().map(|(name, value)| Ok((name.to_owned(), value.expression()?))).collect()
}

/// The day of the week, in UTC.
fn weekday(now: Duration) -> &'static str {
    const DAYS: [&str; 7] = ["thursday", "friday", "saturday", "sunday", "monday", "tuesday", "wednesday"];
    // The epoch was a Thursday.
    let days = now.as_secs() / 86_400;
    DAYS[usize::try_from(days % 7).unwrap_or_default()]
}
