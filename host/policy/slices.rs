//! Which rules can apply to what: found once, when they are loaded, so that a decision looks at no others.
//!
//! A rule's scope says what it is about. For each action, and within it for each resource that some scope names with `==`,
//! the rules that can apply are kept together; conditions are left to Cedar. What a decision costs then depends on the
//! rules about its action and resource, and not on how many there are about others.

use std::collections::{BTreeSet, HashMap, HashSet};

use cedar_policy::{ActionConstraint, Entities, EntityUid, Policy, PolicySet, ResourceConstraint, Schema};

use serde_json::Value;

use super::schema::{CALLS, function};

/// All rules, by what they can apply to.
#[derive(Debug)]
pub(super) struct Slices {
    /// By the action's name.
    actions: HashMap<String, OfAction>,
    /// About calls of one function of a tool, by the function's name.
    functions: HashMap<String, OfAction>,
}

/// The rules about one action.
#[derive(Debug)]
struct OfAction {
    action: EntityUid,
    groups: HashSet<EntityUid>,
    /// About resources that no scope names.
    others: PolicySet,
    /// About those that one names, by name.
    named: HashMap<String, PolicySet>,
    /// Whether any of them looks at arguments of a tool.
    looks: bool,
    /// Whether none of them looks at what is another thing each time.
    steady: bool,
    /// The parts of the context that any of them looks at, where none looks at it as a whole.
    parts: BTreeSet<String>,
}

/// What one decision needs.
pub(super) struct Slice<'a> {
    /// The action, as the schema has it.
    pub(super) action: &'a EntityUid,
    /// The groups that it is in.
    pub(super) groups: &'a HashSet<EntityUid>,
    /// The rules that can apply.
    pub(super) rules: &'a PolicySet,
    /// Whether any of them looks at arguments of a tool.
    pub(super) looks: bool,
    /// If none of them looks at what is another thing each time (the time, what the task has used, which task it is): the
    /// parts of the context that they do look at.
    pub(super) steady: Option<&'a BTreeSet<String>>,
}

impl Slices {
    pub(super) fn of(schema: &Schema, rules: &[Policy]) -> Self {
        // The schema was made here, and Cedar has read it: its actions can be told.
        let hierarchy = schema.action_entities().unwrap_or_else(|_| Entities::empty());
        let rules: Vec<Known<'_>> = rules.iter().map(Known::of).collect();
        let actions = schema.actions().map(|action| {
            let above = hierarchy.ancestors(action).into_iter().flatten().cloned().collect();
            let applicable: Vec<_> = rules.iter().filter(|known| is_about(known.rule, action, &above)).collect();
            (name(action), OfAction::of(action.clone(), above, &applicable))
        });
        let (mut functions, mut others) = (HashMap::new(), HashMap::new());
        for (action, of) in actions {
            match function(&action) {
                Some(function) => functions.insert(function.to_owned(), of),
                None => others.insert(action, of),
            };
        }
        Self { actions: others, functions }
    }

    /// The same without slices: every decision looks at all rules.
    #[cfg(test)]
    pub(super) fn unsliced(&self) -> Self {
        let known = self.actions.values().chain(self.functions.values());
        let sets = known.flat_map(|of| of.named.values().chain([&of.others]));
        let all: HashMap<_, _> =
            sets.flat_map(PolicySet::policies).map(|rule| (rule.id().clone(), rule.clone())).collect();
        let whole = |(name, of): (&String, &OfAction)| {
            let others = PolicySet::from_policies(all.values().cloned()).unwrap();
            let whole = OfAction {
                action: of.action.clone(),
                groups: of.groups.clone(),
                others,
                named: HashMap::new(),
                looks: of.looks,
                steady: of.steady,
                parts: of.parts.clone(),
            };
            (name.clone(), whole)
        };
        Self {
            actions: self.actions.iter().map(whole).collect(),
            functions: self.functions.iter().map(whole).collect(),
        }
    }

    /// The rules that can apply to an action on a resource; none when the schema does not know the action.
    pub(super) fn find(&self, action: &str, resource: &str) -> Option<Slice<'_>> {
        let of_function = (action == CALLS).then(|| self.functions.get(resource)).flatten();
        let found = of_function.or_else(|| self.actions.get(action))?;
        let rules = found.named.get(resource).unwrap_or(&found.others);
        let steady = found.steady.then_some(&found.parts);
        Some(Slice { action: &found.action, groups: &found.groups, rules, looks: found.looks, steady })
    }
}

impl OfAction {
    fn of(action: EntityUid, groups: HashSet<EntityUid>, rules: &[&Known<'_>]) -> Self {
        let names: BTreeSet<&str> = rules.iter().filter_map(|known| known.named.as_deref()).collect();
        let with = |resource: Option<&str>| {
            let applies = rules.iter().filter(|known| known.named.is_none() || known.named.as_deref() == resource);
            // Names are unique: that was seen to when the rules were read.
            PolicySet::from_policies(applies.map(|known| known.rule.clone())).unwrap_or_default()
        };
        let named = names.into_iter().map(|name| (name.to_owned(), with(Some(name)))).collect();
        let looks = rules.iter().any(|known| known.looks);
        let steady = rules.iter().all(|known| known.steady);
        let parts = rules.iter().flat_map(|known| known.parts.iter().cloned()).collect();
        Self { action, groups, others: with(None), named, looks, steady, parts }
    }
}

/// A rule, with what its text says of it. Cedar reads the text each time that it is asked for it in JSON, so that is done once.
struct Known<'a> {
    rule: &'a Policy,
    /// The resource that its scope names.
    named: Option<String>,
    /// As [`OfAction`] has it, of this rule alone. One that only quotes a word is taken for one that looks.
    looks: bool,
    steady: bool,
    parts: BTreeSet<String>,
}

impl<'a> Known<'a> {
    fn of(rule: &'a Policy) -> Self {
        let (named, json) = (named(rule), rule.to_json());
        let Ok(json) = json else { return Self { rule, named, looks: true, steady: false, parts: BTreeSet::new() } };
        let mut parts = BTreeSet::new();
        parts_of_context(&json, &mut parts);
        let text = json.to_string();
        let steady = !PASSING.iter().any(|word| text.contains(word)) && looks_at_parts(&json["conditions"]);
        Self { rule, named, looks: text.contains("\"args\""), steady, parts }
    }
}

/// What a rule may look at that passes. One that only quotes such a word is taken for one that looks.
const PASSING: [&str; 4] = ["\"now\"", "\"weekday\"", "\"usage\"", "::Task\""];

/// Whether an expression looks at parts of the task and of the context, and not at one of them as a whole.
fn looks_at_parts(expression: &Value) -> bool {
    let is_variable = |value: &Value| value.get("Var").is_some();
    let left = |inner: &Value| is_variable(&inner["left"]) || looks_at_parts(&inner["left"]);
    let part = |(operator, inner): (&String, &Value)| match operator.as_str() {
        "Var" => inner != "context" && inner != "principal",
        "." | "has" => left(inner),
        "is" => left(inner) && looks_at_parts(&inner["in"]),
        "in" if inner["right"].get("Value").is_some() => left(inner),
        _ => looks_at_parts(inner),
    };
    match expression {
        Value::Object(parts) => parts.iter().all(part),
        Value::Array(parts) => parts.iter().all(looks_at_parts),
        _ => true,
    }
}

/// The parts of the context that an expression looks at.
fn parts_of_context(expression: &Value, found: &mut BTreeSet<String>) {
    match expression {
        Value::Object(parts) => {
            if parts.get("left").and_then(|left| left.get("Var")).is_some_and(|variable| variable == "context")
                && let Some(part) = parts.get("attr").and_then(Value::as_str)
            {
                found.insert(part.to_owned());
            }
            parts.values().for_each(|inner| parts_of_context(inner, found));
        }
        Value::Array(parts) => parts.iter().for_each(|inner| parts_of_context(inner, found)),
        _ => {}
    }
}

/// The one resource that a rule is about, if its scope names one.
fn named(rule: &Policy) -> Option<String> {
    if let ResourceConstraint::Eq(resource) = rule.resource_constraint() { Some(name(&resource)) } else { None }
}

/// Whether a rule's scope lets it be about an action.
fn is_about(rule: &Policy, action: &EntityUid, groups: &HashSet<EntityUid>) -> bool {
    match rule.action_constraint() {
        ActionConstraint::Any => true,
        ActionConstraint::Eq(named) => named == *action,
        ActionConstraint::In(named) => named.iter().any(|named| named == action || groups.contains(named)),
    }
}

fn name(entity: &EntityUid) -> String {
    let name: &str = entity.id().as_ref();
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steady(condition: &str) -> bool {
        let text = format!("permit (principal, action, resource) when {{ {condition} }};");
        Known::of(&text.parse().unwrap()).steady
    }

    #[test]
    fn the_parts_of_the_context_that_a_rule_looks_at_are_known() {
        let condition = "(context has bytes && context.bytes < 3) || [context[\"a key\"]].contains(resource.key)";
        let text =
            format!("permit (principal, action, resource) when {{ {condition} }} unless {{ context.depth == 1 }};");
        let rule: Policy = text.parse().unwrap();
        let known = Known::of(&rule);
        assert!(known.steady && known.named.is_none() && !known.looks);
        assert_eq!(known.parts, ["a key", "bytes", "depth"].map(ToOwned::to_owned).into());
    }

    #[test]
    fn a_rule_is_steady_unless_it_looks_at_what_passes() {
        for condition in [
            "true",
            "principal.labels.contains(\"internal\")",
            "principal in Ambit::Bundle::\"desk\"",
            "principal is Ambit::Task",
            "principal has user && principal.user in Ambit::Group::\"support\"",
            "context.bytes < 100 && resource.tool == \"billing\"",
            "context.approvals.contains(\"a\")",
        ] {
            // Naming the type is enough to be taken for a rule about one task.
            assert_eq!(steady(condition), !condition.contains("Task"), "{condition}");
        }
        for condition in [
            "context.now > datetime(\"2026-01-01\")",
            "context.weekday == \"sunday\"",
            "principal.usage.effects < 10",
            "principal[\"usage\"].effects < 10",
            "principal == Ambit::Task::\"x\"",
            "resource.owner == principal",
            "principal in resource.tasks",
            "context == resource.context",
            "[principal].contains(resource.owner)",
            "if true then principal.usage.effects > 1 else false",
        ] {
            assert!(!steady(condition), "{condition}");
        }
    }
}
