//! Rules as Cedar takes them, and how they are asked.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use cedar_policy::{
    Authorizer, Context, Decision as Verdict, Entities, Entity, EntityTypeName, EntityUid, PolicyId, Request, Schema,
};

use super::arguments::RecordType;
use super::known::{self, Known};
use super::rules::{Approvable, Rule};
use super::slices::Slices;
use super::{Arguments, Ask, Attribute, Decision, Name, Question, ValueError, subject, surroundings};

/// Bytes of stack that one decision may use.
pub(super) const STACK: usize = 512 << 10;

/// Bytes of stack that reading a schema and a rule may use.
pub(super) const READING: usize = 2 << 20;

/// The rules for one bundle, with the schema that they were validated with.
#[derive(Debug)]
pub(super) struct Compiled {
    slices: Slices,
    /// The types of the tools' arguments, by `<tool>.<function>`.
    arguments: Arc<HashMap<String, RecordType>>,
    /// What rules say of approvals, by name.
    approvable: HashMap<PolicyId, Approvable>,
    schema: Schema,
    kinds: HashMap<String, EntityTypeName>,
    authorizer: Authorizer,
    known: Known,
}

impl Compiled {
    pub(super) fn new(schema: Schema, arguments: Arc<HashMap<String, RecordType>>, rules: Vec<Rule>) -> Self {
        let approvable = rules.iter().filter_map(|rule| Some((rule.policy.id().clone(), rule.approvable.clone()?)));
        let approvable = approvable.collect();
        let rules: Vec<_> = rules.into_iter().map(|rule| rule.policy).collect();
        let slices = Slices::of(&schema, &rules);
        let kinds = schema.entity_types().map(|kind| (kind.basename().to_owned(), kind.clone())).collect();
        Self { slices, arguments, approvable, schema, kinds, authorizer: Authorizer::new(), known: Known::default() }
    }

    /// The same without slices: every decision looks at all rules.
    #[cfg(test)]
    pub(super) fn unsliced(self) -> Self {
        Self { slices: self.slices.unsliced(), ..self }
    }

    /// See [`Policy::judge`](super::Policy::judge).
    pub(super) fn judge(&self, question: &Question<'_>) -> Decision {
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

    /// See [`Policy::decide`](super::Policy::decide).
    pub(super) fn decide(&self, question: &Question<'_>, approvals: &BTreeSet<String>) -> Decision {
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
        let target = self.uid(&resource.kind, &resource.name)?;
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
            context.push((Name::Borrowed("args"), attribute));
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
        let rules = rules.into();
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
            let user = Attribute::Entity("User".into(), person.name.clone());
            attributes.push((Name::Borrowed("user"), user));
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

fn unknown(question: &Question<'_>) -> String {
    format!("the schema has no action `{}` on {}", question.action, question.resource)
}

type Expressions = Vec<(String, cedar_policy::RestrictedExpression)>;

fn expressions(
    attributes: impl IntoIterator<Item = (Name, Attribute)>,
) -> Result<Expressions, Box<dyn std::error::Error>> {
    attributes.into_iter().map(|(name, value)| Ok((name.into_owned(), value.expression()?))).collect()
}
