//! Reads the rules of a policy folder: names each, checks what it says of approvals, and validates it strictly.
//!
//! | annotation | says |
//! | --- | --- |
//! | `@id("large-refund")` | the rule's name in refusals and records |
//! | `@description("…")` | what it is for |
//! | `@approval("finance")` | on a `forbid`: somebody of this group can lift it |
//! | `@ttl("15m")` | how long an approval holds, from the answer |
//! | `@deadline("1h")` | how long to wait for an answer |

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cap_std::fs::Dir;
use cedar_policy::{
    ActionConstraint, Effect, EntityUid, PolicyId, PolicySet, Schema, ValidationMode, ValidationWarning, Validator,
};
use miette::Diagnostic;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::arguments::{RecordType, mistake};
use super::compiled::Compiled;
use super::schema::{CALLS, SchemaText, Terms};
use super::{Ask, Policy, Rules};
use crate::bundle::Digest;
use crate::manifest::{HumanDuration, ManifestError, Source, suggestion};

/// The rule that stands where an operator wrote none.
const BUILT_IN: &str = "@id(\"built-in\")\npermit (principal, action, resource);\n";
/// Its name.
const BUILT_IN_NAME: &str = "built-in";
/// Where it is said to stand.
const BUILT_IN_FILE: &str = "built-in policy";

/// The largest policy file, in bytes.
const FILE_LIMIT: u64 = 1 << 20;

/// What a rule may be annotated with.
const ANNOTATIONS: [&str; 5] = ["id", "description", "approval", "ttl", "deadline"];

/// How long an approval holds when the rule does not say.
const TTL: HumanDuration = HumanDuration::from_millis(15 * 60 * 1000);

/// How long is waited for one when the rule does not say.
const DEADLINE: HumanDuration = HumanDuration::from_millis(60 * 60 * 1000);

/// What to do about two rules of one name.
const UNIQUE: &str = "give each rule an `@id` of its own";

/// A rule under its name.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) policy: cedar_policy::Policy,
    pub(super) written: Written,
    pub(super) approvable: Option<Approvable>,
}

/// Where a rule stands, from its first annotation to its semicolon.
#[derive(Clone, Debug)]
pub struct Written {
    source: Source,
    span: Range<usize>,
}

impl Written {
    /// The rule's text.
    pub fn text(&self) -> &str {
        self.source.text().get(self.span.clone()).unwrap_or_default()
    }

    /// The file that it stands in, as its user knows it.
    pub fn path(&self) -> &Path {
        self.source.path()
    }

    /// The number of its first line, from 1.
    pub fn line(&self) -> usize {
        self.source.line(self.span.start)
    }

    /// Its file and line: `policies/desk/rules.cedar:9`.
    pub fn place(&self) -> String {
        self.source.place(self.span.start)
    }

    /// Where a text stands in the rule; the rule's beginning when it is nowhere.
    fn span_of(&self, text: &str) -> Range<usize> {
        let start = self.span.start;
        self.text().find(text).map_or(start..start + 1, |at| start + at..start + at + text.len())
    }

    /// Something wrong with a part of the rule.
    fn error(&self, part: &str, message: &str, help: impl Into<Option<String>>) -> ManifestError {
        ManifestError::at(&self.source, self.span_of(part), message, help)
    }
}

/// That a person can lift a rule.
#[derive(Clone, Debug)]
pub(super) struct Approvable {
    group: String,
    ttl: Duration,
    deadline: Duration,
}

impl Approvable {
    pub(super) fn ask(&self) -> Ask {
        Ask { groups: BTreeSet::from([self.group.clone()]), ttl: self.ttl, deadline: self.deadline }
    }
}

/// The rules of a folder as text, in the order of the files' names.
#[derive(Clone, Debug)]
pub struct RuleFiles {
    sources: Vec<Source>,
    digest: Digest,
}

impl RuleFiles {
    /// Reads all `*.cedar` files of a folder.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn read(dir: &Dir, path: &Path) -> Result<Self, ManifestError> {
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
        Ok(Self::of(sources.collect::<Result<Vec<_>, _>>()?))
    }

    /// No rules: the built-in policy stands in for them.
    pub fn none() -> Self {
        Self::of(Vec::new())
    }

    pub(super) fn of(sources: Vec<Source>) -> Self {
        let built_in = [Source::new(BUILT_IN_FILE, BUILT_IN)];
        let mut hash = Sha256::new();
        for source in if sources.is_empty() { built_in.as_slice() } else { sources.as_slice() } {
            hash.update((source.text().len() as u64).to_be_bytes());
            hash.update(source.text());
        }
        Self { sources, digest: Digest::from(<[u8; 32]>::from(hash.finalize())) }
    }

    /// The digest of the text of all rules.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

impl Policy {
    /// The rules of these files, or the built-in policy, which permits whatever the grant covers.
    ///
    /// # Errors
    /// When a file is no Cedar, or a rule does not fit the schema that the terms make: with its place.
    pub fn of(files: &RuleFiles, terms: &Terms<'_>) -> Result<Self, ManifestError> {
        let SchemaText { text, arguments, .. } = terms.schema();
        let arguments = Arc::new(arguments);
        if files.sources.is_empty() {
            let source = Source::new(BUILT_IN_FILE, BUILT_IN);
            let written =
                BTreeMap::from([(BUILT_IN_NAME.to_owned(), Written { source, span: 0..BUILT_IN.trim_end().len() })]);
            let rules = Rules::BuiltIn { schema: text, compiled: OnceLock::new() };
            return Ok(Self { rules, arguments, written, digest: files.digest });
        }
        let schema_source = Source::new("policy schema", text.as_str());
        let (schema, _) = Schema::from_cedarschema_str(&text).map_err(|error| at(&schema_source, &error))?;
        let validator = Validator::new(schema.clone());
        let reader = Reader { validator, actions: terms.action_names(), terms, arguments: &arguments };
        let mut rules: Vec<Rule> = Vec::new();
        let mut seen: BTreeMap<PolicyId, String> = BTreeMap::new();
        for source in &files.sources {
            for (policy, written) in named(source)? {
                let id = policy.id().clone();
                if let Some(first) = seen.insert(id.clone(), written.place()) {
                    let message = format!("two rules are named `{id}`: the other is at {first}");
                    return Err(written.error("@id", &message, UNIQUE.to_owned()));
                }
                rules.extend(reader.read(policy, written)?);
            }
        }
        let written = rules.iter().map(|rule| (rule.policy.id().to_string(), rule.written.clone())).collect();
        let rules = Rules::Written(Box::new(Compiled::new(schema, Arc::clone(&arguments), rules)));
        Ok(Self { rules, arguments, written, digest: files.digest })
    }
}

/// The rule that stands where the operator wrote none, under a schema.
pub(super) fn built_in(schema: &str, arguments: &Arc<HashMap<String, RecordType>>) -> Result<Compiled, String> {
    let (schema, _) = Schema::from_cedarschema_str(schema).map_err(|error| error.to_string())?;
    let rules = named(&Source::new(BUILT_IN_FILE, BUILT_IN)).map_err(|error| error.to_string())?;
    let rules = rules.into_iter().map(|(policy, written)| Rule { policy, written, approvable: None }).collect();
    Ok(Compiled::new(schema, Arc::clone(arguments), rules))
}

/// Checks rules against what they can speak of.
struct Reader<'a> {
    validator: Validator,
    actions: BTreeSet<String>,
    terms: &'a Terms<'a>,
    arguments: &'a HashMap<String, RecordType>,
}

impl Reader<'_> {
    /// The rule; none when it is about tools that are not known here.
    fn read(&self, policy: cedar_policy::Policy, written: Written) -> Result<Option<Rule>, ManifestError> {
        if !self.knows_action(&written, &policy)? {
            return Ok(None);
        }
        let policy = self.without_unknown_tools(policy, &written)?;
        let approvable = approvable(&written, &policy)?;
        let alone = PolicySet::from_policies([policy.clone()]);
        let alone = alone.map_err(|error| written.error("@id", &error.to_string(), UNIQUE.to_owned()))?;
        let result = self.validator.validate(&alone, ValidationMode::Strict);
        // Cedar gives one error for each action that a rule can be about, in no order.
        if let Some(error) = result.validation_errors().min_by_key(ToString::to_string) {
            return Err(at(&written.source, error));
        }
        if let Some(mistake) = policy.to_json().ok().and_then(|json| mistake(&json, &self.functions(&policy))) {
            return Err(written.error(&mistake.name, &mistake.message, mistake.help));
        }
        // Where there are no tools, a rule about all of them says nothing, and that is right.
        let impossible =
            result.validation_warnings().any(|warning| matches!(warning, ValidationWarning::ImpossiblePolicy(_)));
        if impossible && !self.arguments.is_empty() {
            let message = format!("the rule `{}` can never apply: its conditions exclude each other", policy.id());
            return Err(written.error(policy.id().as_ref(), &message, None));
        }
        Ok(Some(Rule { policy, written, approvable }))
    }

    /// The arguments of the functions that a rule's scope lets it be about.
    fn functions(&self, policy: &cedar_policy::Policy) -> Vec<&RecordType> {
        let is_about = |called: &str| {
            let about = |action: &EntityUid| {
                let name: &str = action.id().as_ref();
                name == CALLS || name.strip_prefix(CALLS).and_then(|rest| rest.strip_prefix(':')) == Some(called)
            };
            match policy.action_constraint() {
                ActionConstraint::Any => true,
                ActionConstraint::Eq(action) => about(&action),
                ActionConstraint::In(actions) => actions.iter().any(about),
            }
        };
        self.arguments.iter().filter(|(called, _)| is_about(called)).map(|(_, arguments)| arguments).collect()
    }

    /// Whether the actions that a rule's scope names exist, and something can ever be asked about them.
    fn knows_action(&self, written: &Written, policy: &cedar_policy::Policy) -> Result<bool, ManifestError> {
        let (named, exactly) = match policy.action_constraint() {
            ActionConstraint::Any => return Ok(true),
            ActionConstraint::Eq(action) => (vec![action], true),
            ActionConstraint::In(actions) => (actions, false),
        };
        if named.iter().all(|action| self.is_of_unknown_tool(action)) {
            return Ok(false);
        }
        for action in named.iter().filter(|action| !self.is_of_unknown_tool(action)) {
            let name: &str = action.id().as_ref();
            let quoted = format!("{name:?}");
            if exactly && name == CALLS && self.terms.functions.is_some() {
                let message = format!("`{CALLS}` is the group of all tools' functions: nothing is ever equal to it");
                let help = format!("write `action in {action}`, or name one function: `action == {}`", self.example());
                return Err(written.error(&quoted, &message, help));
            }
            if !self.actions.contains(name) {
                let message = format!("there is no action `{name}`");
                let help = suggestion(name, self.actions.iter().map(String::as_str), "the actions are");
                return Err(written.error(&quoted, &message, help));
            }
        }
        Ok(true)
    }

    /// Whether an action is of a tool's function, where it is not known which tools there are.
    fn is_of_unknown_tool(&self, action: &EntityUid) -> bool {
        let name: &str = action.id().as_ref();
        self.terms.functions.is_none() && name.strip_prefix(CALLS).is_some_and(|rest| rest.starts_with(':'))
    }

    /// The rule as far as it is about other actions: those it still has to hold for.
    fn without_unknown_tools(
        &self,
        policy: cedar_policy::Policy,
        written: &Written,
    ) -> Result<cedar_policy::Policy, ManifestError> {
        let ActionConstraint::In(named) = policy.action_constraint() else { return Ok(policy) };
        if !named.iter().any(|action| self.is_of_unknown_tool(action)) {
            return Ok(policy);
        }
        let mut known = Vec::new();
        for action in named.iter().filter(|action| !self.is_of_unknown_tool(action)) {
            known.push(action.to_json_value().map_err(|error| written.error("action", &error.to_string(), None))?);
        }
        let mut json = policy.to_json().map_err(|error| written.error("action", &error.to_string(), None))?;
        json["action"] = json!({ "op": "in", "entities": known });
        cedar_policy::Policy::from_json(Some(policy.id().clone()), json)
            .map_err(|error| written.error("action", &error.to_string(), None))
    }

    /// One function's action, for a message.
    fn example(&self) -> String {
        let first = self.actions.iter().find(|name| name.contains(':'));
        format!("Ambit::Action::\"{}\"", first.map_or("tools.call:search.query", String::as_str))
    }
}

/// The rules of a file in its order, each under the name that its `@id` gives, else `<file>#<number>`.
fn named(source: &Source) -> Result<Vec<(cedar_policy::Policy, Written)>, ManifestError> {
    let parsed = PolicySet::from_str(source.text()).map_err(|error| at(source, &error))?;
    if let Some(template) = parsed.templates().next() {
        let message = format!("`{}` is a template: `?principal` and `?resource` have no values here", template.id());
        return Err(whole(source, &message, "write the rule without placeholders"));
    }
    let file = source.path().file_name().unwrap_or_default().to_string_lossy();
    let mut rules = Vec::new();
    let mut end = 0;
    // Cedar numbers the rules of a text in their order, and keeps each as it was written.
    let in_order = (0..).map_while(|number| parsed.policy(&PolicyId::new(format!("policy{number}"))));
    for (number, policy) in in_order.enumerate() {
        let name = policy.annotation("id").map_or_else(|| format!("{file}#{number}"), ToOwned::to_owned);
        let start = end + blank(&source.text()[end..]);
        end = start + policy.to_string().len();
        let written = Written { source: source.clone(), span: start..end };
        rules.push((policy.new_id(PolicyId::new(&name)), written));
    }
    if rules.len() != parsed.policies().count() {
        return Err(whole(source, "not all of its rules can be told apart", "split the file"));
    }
    Ok(rules)
}

/// The length of the blanks and comments that a text begins with.
fn blank(text: &str) -> usize {
    let mut rest = text.trim_start();
    while rest.starts_with("//") {
        rest = rest.find(['\n', '\r']).map_or("", |end| rest[end..].trim_start());
    }
    text.len() - rest.len()
}

/// What a rule's annotations say of approvals.
fn approvable(written: &Written, policy: &cedar_policy::Policy) -> Result<Option<Approvable>, ManifestError> {
    let error = |key: &str, message: &str, help: &str| written.error(&format!("@{key}"), message, help.to_owned());
    let wrong = |key: &str, message: &str, help: &str| Err(error(key, message, help));
    let annotations: BTreeMap<&str, &str> = policy.annotations().collect();
    if let Some(key) = annotations.keys().find(|key| !ANNOTATIONS.contains(key)) {
        let help = suggestion(key, ANNOTATIONS, "known annotations are").unwrap_or_default();
        return wrong(key, &format!("unknown annotation `@{key}`"), &help);
    }
    let duration = |key: &str, default: HumanDuration| -> Result<Duration, ManifestError> {
        let Some(text) = annotations.get(key) else { return Ok(default.duration()) };
        let duration = text.parse::<HumanDuration>();
        let duration = duration.map_err(|why| error(key, &why.to_string(), "write a duration, as `15m` or `1h30m`"))?;
        if duration == HumanDuration::from_millis(0) {
            return Err(error(key, &format!("`@{key}` is no time at all"), "write a duration, as `15m`"));
        }
        Ok(duration.duration())
    };
    let Some(group) = annotations.get("approval") else {
        return match ["ttl", "deadline"].iter().find(|key| annotations.contains_key(*key)) {
            Some(key) => {
                let message = format!("`@{key}` says something of an approval, and the rule asks for none");
                wrong(key, &message, "add `@approval(\"group\")`, or take it out")
            }
            None => Ok(None),
        };
    };
    if policy.effect() != Effect::Forbid {
        let help = "write the rule as a `forbid … unless { context.approvals.contains(\"group\") }`";
        return wrong("approval", "only a `forbid` can ask for an approval", help);
    }
    if group.trim().is_empty() {
        return wrong("approval", "`@approval` names no group", "name who has to approve, as `@approval(\"finance\")`");
    }
    if !policy.to_json().is_ok_and(|json| lifts(&json, group)) {
        let message = format!("no approval of `{group}` would lift this rule");
        let help = format!("add `unless {{ context.approvals.contains(\"{group}\") }}`");
        return wrong("approval", &message, &help);
    }
    let (ttl, deadline) = (duration("ttl", TTL)?, duration("deadline", DEADLINE)?);
    Ok(Some(Approvable { group: (*group).to_owned(), ttl, deadline }))
}

/// Whether a rule asks somewhere `context.approvals.contains("group")`.
fn lifts(rule: &Value, group: &str) -> bool {
    let question = json!({ "contains": {
        "left": { ".": { "left": { "Var": "context" }, "attr": "approvals" } }, "right": { "Value": group }
    } });
    *rule == question
        || match rule {
            Value::Array(parts) => parts.iter().any(|part| lifts(part, group)),
            Value::Object(parts) => parts.values().any(|part| lifts(part, group)),
            _ => false,
        }
}

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
