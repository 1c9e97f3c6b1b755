//! Decisions: Cedar rules, asked before every effect.
//!
//! The principal is the task, with the component and the bundle as its parents; the action is the effect; the resource is
//! what it acts on; the context holds its arguments. The schema is put together from the capabilities' own fragments, and
//! every rule is validated against it strictly when it is loaded: Cedar skips a rule that errors, so a `forbid` with a
//! misspelt attribute would silently permit. For the same reason any evaluation error, and any request that does not fit
//! the schema, is a denial.
//!
//! A `forbid` that bears `@approval("group")` asks for a person. Until approvals exist it denies, and says so.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::str::FromStr;

use cap_std::fs::Dir;
use cedar_policy::{
    Authorizer, Context, Decision as Verdict, Effect, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicyId,
    PolicySet, Request, RestrictedExpression, Schema, ValidationMode, Validator,
};
use miette::Diagnostic;
use sha2::{Digest as _, Sha256};

use crate::bundle::Digest;
use crate::manifest::{ManifestError, Source};

/// The rule that stands where an operator wrote none.
const BUILT_IN: &str = "@id(\"built-in\")\npermit (principal, action, resource);\n";

/// What every fragment of the schema builds upon.
const BASE_SCHEMA: &str = "
    entity Bundle;
    entity Component in [Bundle];
    entity Task in [Component] { bundle: String, component: String, digest: String, depth: Long };
";

/// Bytes of stack that one decision may use.
const STACK: usize = 512 << 10;

/// The largest policy file, in bytes.
const FILE_LIMIT: u64 = 1 << 20;

/// A typed attribute of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// A Cedar `Long`. Larger numbers are given as `i64::MAX`.
    Long(u64),
    /// A Cedar `String`.
    String(String),
    /// A Cedar `Bool`.
    Bool(bool),
}

impl Attribute {
    fn expression(&self) -> RestrictedExpression {
        match self {
            Self::Long(value) => RestrictedExpression::new_long(i64::try_from(*value).unwrap_or(i64::MAX)),
            Self::String(value) => RestrictedExpression::new_string(value.clone()),
            Self::Bool(value) => RestrictedExpression::new_bool(*value),
        }
    }
}

/// Who asks: a task, as policies see it.
#[derive(Clone, Debug)]
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
}

impl Resource {
    /// A resource without attributes.
    pub fn new(kind: &'static str, name: impl Into<String>) -> Self {
        Self { kind, name: name.into(), attributes: Vec::new() }
    }

    /// Adds an attribute.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: Attribute) -> Self {
        self.attributes.push((name, value));
        self
    }
}

impl std::fmt::Display for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = crate::audit::escaped(&self.name).replace('\\', "\\\\").replace('"', "\\\"");
        write!(f, "{}::\"{name}\"", self.kind)
    }
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
        /// The groups whose approval would be needed, when every rule that forbids asks for one.
        approvals: Vec<String>,
        /// Why the question itself could not be answered: that is a denial as well.
        error: Option<String>,
    },
}

impl Decision {
    fn error(error: impl std::fmt::Display) -> Self {
        Self::Deny { rules: Vec::new(), approvals: Vec::new(), error: Some(error.to_string()) }
    }
}

/// The rules for one bundle, validated.
#[derive(Debug)]
pub struct Policy {
    rules: PolicySet,
    schema: Schema,
    authorizer: Authorizer,
    digest: Digest,
    built_in: bool,
}

impl Policy {
    /// The policy that permits whatever the grant covers. `fragments` are the capabilities' parts of the schema.
    ///
    /// # Errors
    /// When the fragments are no schema, which is a bug in a capability.
    pub fn built_in(fragments: &[&str]) -> Result<Self, ManifestError> {
        Self::of(&[Source::new("built-in policy", BUILT_IN)], fragments, true)
    }

    /// Reads all `*.cedar` files of a folder, in the order of their names. A folder without any has the built-in policy.
    ///
    /// # Errors
    /// When a file cannot be read, is no Cedar, or does not fit the schema: with its place.
    pub fn load(dir: &Dir, path: &Path, fragments: &[&str]) -> Result<Self, ManifestError> {
        let mut sources = Vec::new();
        let unreadable = |name: &Path, error: &dyn std::fmt::Display| {
            ManifestError::of_file(
                &path.join(name),
                &format!("cannot read the policy: {error}"),
                "make it a readable text file".to_owned(),
            )
        };
        for entry in dir.entries().map_err(|error| unreadable(Path::new("."), &error))? {
            let name = entry.map_err(|error| unreadable(Path::new("."), &error))?.file_name();
            if Path::new(&name).extension().is_some_and(|extension| extension == "cedar") {
                sources.push(name);
            }
        }
        sources.sort();
        let sources = sources.iter().map(|name| {
            let name = Path::new(name);
            let length = dir.metadata(name).map_err(|error| unreadable(name, &error))?.len();
            if length > FILE_LIMIT {
                return Err(unreadable(name, &format!("it has {length} bytes, more than {FILE_LIMIT}")));
            }
            let text = dir.read_to_string(name).map_err(|error| unreadable(name, &error))?;
            Ok(Source::new(path.join(name).display().to_string(), text))
        });
        let sources = sources.collect::<Result<Vec<_>, _>>()?;
        if sources.is_empty() { Self::built_in(fragments) } else { Self::of(&sources, fragments, false) }
    }

    fn of(sources: &[Source], fragments: &[&str], built_in: bool) -> Result<Self, ManifestError> {
        let text = format!("namespace Ambit {{\n{BASE_SCHEMA}\n{}\n}}", fragments.join("\n"));
        let schema_source = Source::new("policy schema", text.as_str());
        let (schema, _) = Schema::from_cedarschema_str(&text).map_err(|error| at(&schema_source, &error))?;
        let validator = Validator::new(schema.clone());
        let mut rules = PolicySet::new();
        let mut hash = Sha256::new();
        let mut seen: BTreeMap<PolicyId, String> = BTreeMap::new();
        for source in sources {
            hash.update((source.text().len() as u64).to_be_bytes());
            hash.update(source.text());
            for policy in named(source)?.policies() {
                let id = policy.id();
                if let Some(first) = seen.insert(id.clone(), source.path().display().to_string()) {
                    let message = format!("two rules are named `{id}`: the other is in {first}");
                    return Err(whole(source, &message, UNIQUE));
                }
                let alone = PolicySet::from_policies([policy.clone()])
                    .map_err(|error| whole(source, &error.to_string(), UNIQUE))?;
                let result = validator.validate(&alone, ValidationMode::Strict);
                // Cedar gives one error for each action that a rule can be about, in no order.
                if let Some(error) = result.validation_errors().min_by_key(ToString::to_string) {
                    return Err(at(source, error));
                }
                rules.add(policy.clone()).map_err(|error| whole(source, &error.to_string(), UNIQUE))?;
            }
        }
        let digest = Digest::from(<[u8; 32]>::from(hash.finalize()));
        Ok(Self { rules, schema, authorizer: Authorizer::new(), digest, built_in })
    }

    /// The digest of the text of all rules.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Whether this is the policy that stands where the operator wrote none.
    pub fn is_built_in(&self) -> bool {
        self.built_in
    }

    /// May `principal` do `action` to `resource`?
    pub fn decide(
        &self,
        principal: &Principal,
        action: &str,
        resource: &Resource,
        context: &[(&'static str, Attribute)],
    ) -> Decision {
        // Cedar refuses to recurse when it finds little stack left, and it measures that of the thread: on the stacks of
        // wasmtime's fibers, from which guests ask, it always finds none. So it is given one of its own.
        let answer = || self.answer(principal, action, resource, context).unwrap_or_else(Decision::error);
        stacker::grow(STACK, answer)
    }

    fn answer(
        &self,
        principal: &Principal,
        action: &str,
        resource: &Resource,
        context: &[(&'static str, Attribute)],
    ) -> Result<Decision, Box<dyn std::error::Error>> {
        let task = uid("Task", &principal.task)?;
        let action = uid("Action", action)?;
        let target = uid(resource.kind, &resource.name)?;
        let entities = Entities::from_entities(entities(principal, &task, resource, &target)?, Some(&self.schema))?;
        let context =
            Context::from_pairs(context.iter().map(|(name, value)| ((*name).to_owned(), value.expression())))?;
        let request = Request::new(task, action, target, context, Some(&self.schema))?;
        let response = self.authorizer.is_authorized(&request, &self.rules, &entities);
        if let Some(error) = response.diagnostics().errors().next() {
            return Ok(Decision::error(error));
        }
        let mut reasons: Vec<&PolicyId> = response.diagnostics().reason().collect();
        reasons.sort();
        let rules = reasons.iter().map(ToString::to_string).collect();
        Ok(match response.decision() {
            Verdict::Allow => Decision::Allow { rules },
            Verdict::Deny => Decision::Deny { rules, approvals: self.approvals(&reasons), error: None },
        })
    }

    /// The groups that could lift a denial: those of all rules that forbid, if each names one.
    fn approvals(&self, reasons: &[&PolicyId]) -> Vec<String> {
        let groups: Option<Vec<String>> = reasons
            .iter()
            .filter_map(|id| self.rules.policy(id))
            .filter(|policy| policy.effect() == Effect::Forbid)
            .map(|policy| policy.annotation("approval").map(ToOwned::to_owned))
            .collect();
        groups.unwrap_or_default()
    }
}

/// The rules of a file, each under the name that its `@id` gives, else `<file>#<number>`.
fn named(source: &Source) -> Result<PolicySet, ManifestError> {
    let parsed = PolicySet::from_str(source.text()).map_err(|error| at(source, &error))?;
    if let Some(template) = parsed.templates().next() {
        let message = format!("`{}` is a template: `?principal` and `?resource` have no values here", template.id());
        return Err(whole(source, &message, "write the rule without placeholders"));
    }
    let file = source.path().file_name().unwrap_or_default().to_string_lossy();
    let mut rules = PolicySet::new();
    for policy in parsed.policies() {
        let number = policy.id().to_string();
        let name = match policy.annotation("id") {
            Some(name) => name.to_owned(),
            None => format!("{file}#{}", number.trim_start_matches("policy")),
        };
        let named = policy.new_id(PolicyId::new(&name));
        rules.add(named).map_err(|_| whole(source, &format!("two rules are named `{name}`"), UNIQUE))?;
    }
    Ok(rules)
}

/// What to do about two rules of one name.
const UNIQUE: &str = "give each rule an `@id` of its own";

/// Something wrong with a whole file.
fn whole(source: &Source, message: &str, help: &str) -> ManifestError {
    ManifestError::at(source, 0..1, message, help.to_owned())
}

/// A diagnostic of Cedar's at its place in a file of ours.
fn at(source: &Source, error: &dyn Diagnostic) -> ManifestError {
    let message = error.to_string();
    let help = error.help().map(|help| help.to_string());
    let span =
        error.labels().and_then(|mut labels| labels.next()).map(|label| label.offset()..label.offset() + label.len());
    match span {
        Some(span) => ManifestError::at(source, span, &message, help),
        None => ManifestError::at(source, 0..1, &message, help),
    }
}

fn uid(kind: &str, name: &str) -> Result<EntityUid, Box<dyn std::error::Error>> {
    let kind = EntityTypeName::from_str(&format!("Ambit::{kind}"))?;
    Ok(EntityUid::from_type_name_and_id(kind, EntityId::new(name)))
}

fn entities(
    principal: &Principal,
    task: &EntityUid,
    resource: &Resource,
    target: &EntityUid,
) -> Result<Vec<Entity>, Box<dyn std::error::Error>> {
    let bundle = uid("Bundle", &principal.bundle)?;
    let component = uid("Component", &format!("{}/{}", principal.bundle, principal.component))?;
    let attributes = HashMap::from([
        ("bundle".to_owned(), RestrictedExpression::new_string(principal.bundle.clone())),
        ("component".to_owned(), RestrictedExpression::new_string(principal.component.clone())),
        ("digest".to_owned(), RestrictedExpression::new_string(principal.digest.clone())),
        ("depth".to_owned(), Attribute::Long(principal.depth).expression()),
    ]);
    let of_target = resource.attributes.iter().map(|(name, value)| ((*name).to_owned(), value.expression())).collect();
    Ok(vec![
        Entity::new(task.clone(), attributes, HashSet::from([component.clone()]))?,
        Entity::new_no_attrs(component, HashSet::from([bundle.clone()])),
        Entity::new_no_attrs(bundle, HashSet::new()),
        Entity::new(target.clone(), of_target, HashSet::new())?,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAGMENT: &str = "
        entity Tool { component: String };
        action \"tools.call\" appliesTo { principal: [Task], resource: [Tool], context: { function: String, size: Long } };
    ";

    fn policy(text: &str) -> Result<Policy, ManifestError> {
        Policy::of(&[Source::new("rules.cedar", text)], &[FRAGMENT], false)
    }

    fn decide(policy: &Policy, size: u64) -> Decision {
        let principal = Principal {
            task: "01K".into(),
            bundle: "desk".into(),
            component: "agent".into(),
            digest: "sha256:00".into(),
            depth: 0,
        };
        let resource = Resource::new("Tool", "billing.refund").with("component", Attribute::String("billing".into()));
        let context = [("function", Attribute::String("refund".into())), ("size", Attribute::Long(size))];
        policy.decide(&principal, "tools.call", &resource, &context)
    }

    #[test]
    fn the_built_in_policy_permits_and_says_its_name() {
        let policy = Policy::built_in(&[FRAGMENT]).unwrap();
        assert_eq!(decide(&policy, 1), Decision::Allow { rules: vec!["built-in".into()] });
    }

    #[test]
    fn rules_see_arguments_and_give_their_names() {
        let policy = policy(
            "@id(\"all\") permit (principal, action, resource);
             @id(\"small\") forbid (principal, action == Ambit::Action::\"tools.call\", resource) when { context.size > 9 };",
        )
        .unwrap();
        assert_eq!(decide(&policy, 9), Decision::Allow { rules: vec!["all".into()] });
        assert_eq!(decide(&policy, 10), Decision::Deny { rules: vec!["small".into()], approvals: vec![], error: None });
    }

    #[test]
    fn no_rule_is_a_denial_and_so_is_an_error() {
        let none = policy("permit (principal, action, resource) when { context.size > 100 };").unwrap();
        assert_eq!(decide(&none, 1), Decision::Deny { rules: vec![], approvals: vec![], error: None });
        let overflow = policy(
            "permit (principal, action, resource);
             forbid (principal, action == Ambit::Action::\"tools.call\", resource) when { context.size + 1 > 2 };",
        )
        .unwrap();
        assert!(matches!(decide(&overflow, u64::MAX), Decision::Deny { error: Some(_), .. }));
    }

    #[test]
    fn a_request_that_does_not_fit_the_schema_is_a_denial() {
        let policy = Policy::built_in(&[FRAGMENT]).unwrap();
        let principal =
            Principal { task: "t".into(), bundle: "b".into(), component: "c".into(), digest: "d".into(), depth: 0 };
        let resource = Resource::new("Tool", "x").with("component", Attribute::String("x".into()));
        for (action, resource, context) in [
            ("tools.call", &resource, vec![]),
            ("tools.nosuch", &resource, vec![]),
            ("tools.call", &Resource::new("Nosuch", "x"), vec![]),
            ("tools.call", &resource, vec![("function", Attribute::Bool(true)), ("size", Attribute::Long(1))]),
        ] {
            let decision = policy.decide(&principal, action, resource, &context);
            assert!(matches!(decision, Decision::Deny { error: Some(_), .. }), "{decision:?}");
        }
    }

    #[test]
    fn a_forbid_that_a_person_can_lift_names_the_group() {
        let policy = policy(
            "permit (principal, action, resource);
             @id(\"big\") @approval(\"finance\") forbid (principal, action, resource);",
        )
        .unwrap();
        let Decision::Deny { approvals, .. } = decide(&policy, 1) else { panic!("allowed") };
        assert_eq!(approvals, ["finance"]);
    }

    #[test]
    fn mistakes_are_found_at_load_with_their_place() {
        for (text, what) in [
            ("permit (principal, action, resource) when { context.sise > 1 };", "sise"),
            ("forbid (principal, action == Ambit::Action::\"tools.cal\", resource);", "tools.cal"),
            ("permit (principal, action, resource", ""),
            ("permit (principal == ?principal, action, resource);", "template"),
            (
                "@id(\"a\") permit (principal, action, resource); @id(\"a\") forbid (principal, action, resource);",
                "two rules",
            ),
        ] {
            let error = policy(text).unwrap_err();
            let shown = format!("{:?}", miette::Report::new(error));
            assert!(shown.contains("rules.cedar") && shown.contains(what), "{shown}");
        }
    }
}
