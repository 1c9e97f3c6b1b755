//! What rules can speak of: the schema of one bundle's policy.
//!
//! It is put together from the capabilities' own entities and actions and from the WIT of the tools that are granted: each
//! of their functions is an action `tools.call:<tool>.<function>` in the group `tools.call`, whose context has the
//! arguments with their types.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;

use super::arguments::{self, Omission, RecordType};
use crate::tool::Function;

/// The namespace of everything that rules can name.
pub const NAMESPACE: &str = "Ambit";

/// What every schema has: the principal, and whom it belongs to.
const BASE: &str = "\
  entity Bundle;
  entity Component in [Bundle];
  entity Group;
  entity User in [Group];
  type Usage = {
    toolCalls: Long, effects: Long, refusals: Long, approvals: Long, requests: Long, sentBytes: Long, receivedBytes: Long,
    milliseconds: Long
  };
  entity Task in [Component] {
    bundle: String, component: String, digest: String, depth: Long, labels: Set<String>, usage: Usage, user?: User
  };
";

/// What every context has beside an action's own.
const CONTEXT: &str = "now: datetime, weekday: String, approvals: Set<String>";

/// One action of a capability.
#[derive(Clone, Copy, Debug)]
pub struct Action {
    /// `<grant key>.<verb>`.
    pub name: &'static str,
    /// The type of entity that it acts on.
    pub resource: &'static str,
    /// The attributes of its context, in Cedar's schema syntax: `operation: String, path: String`.
    pub context: &'static str,
}

impl Action {
    /// The attributes of its own in its context: name, type, and whether it has to be there.
    pub fn attributes(&self) -> impl Iterator<Item = (&'static str, &'static str, bool)> + use<> {
        self.context.split(',').filter_map(|attribute| attribute.split_once(':')).map(|(name, ty)| {
            let name = name.trim();
            let required = name.strip_suffix('?');
            (required.unwrap_or(name), ty.trim(), required.is_none())
        })
    }
}

/// What a bundle's rules can speak of.
#[derive(Clone, Debug, Default)]
pub struct Terms<'a> {
    /// The capabilities' entities, in Cedar's schema syntax.
    pub entities: Vec<&'static str>,
    /// The capabilities' actions.
    pub actions: Vec<Action>,
    /// The functions of the granted tools with their tools' names; none when it is not known which tools there are.
    pub functions: Option<Vec<(&'a str, &'a Function)>>,
}

/// A schema as text.
#[derive(Clone, Debug)]
pub struct SchemaText {
    /// In Cedar's schema syntax.
    pub text: String,
    /// What of the tools' arguments rules cannot see: function and place.
    pub omitted: Vec<(String, Omission)>,
    /// The types of the tools' arguments, by `<tool>.<function>`.
    pub(super) arguments: HashMap<String, RecordType>,
}

/// The action that stands for one function of a tool.
pub(super) fn member(action: &str, resource: &str) -> String {
    format!("{action}:{resource}")
}

/// The function of a tool that an action is the call of; none where it is another one.
pub(super) fn function(action: &str) -> Option<&str> {
    action.strip_prefix(CALLS)?.strip_prefix(':')
}

/// The action whose members are the tools' functions.
pub(super) const CALLS: &str = "tools.call";

impl Terms<'_> {
    /// The schema.
    pub fn schema(&self) -> SchemaText {
        let mut text = format!("namespace {NAMESPACE} {{\n{BASE}");
        let mut omitted = Vec::new();
        let mut typed = HashMap::new();
        for entities in &self.entities {
            let _ = writeln!(text, "  {entities}");
        }
        for Action { name, resource, context } in &self.actions {
            match (&self.functions, *name) {
                (Some(functions), CALLS) => {
                    let _ = writeln!(text, "  action \"{CALLS}\";");
                    for (tool, function) in functions {
                        let called = format!("{tool}.{}", function.name());
                        let parameters = function.parameters().iter().map(|(name, ty)| (name.as_str(), ty));
                        let arguments = arguments::record_type(parameters);
                        let context = format!("{context}, args: {}", arguments.text);
                        applies(&mut text, &member(CALLS, &called), Some(CALLS), resource, &context);
                        omitted.extend(arguments.omitted.iter().cloned().map(|omission| (called.clone(), omission)));
                        typed.insert(called, arguments);
                    }
                }
                _ => applies(&mut text, name, None, resource, context),
            }
        }
        text.push_str("}\n");
        SchemaText { text, omitted, arguments: typed }
    }

    /// One of the capabilities' actions.
    pub fn action(&self, name: &str) -> Option<&Action> {
        self.actions.iter().find(|action| action.name == name)
    }

    /// The names of all actions, groups among them.
    pub(super) fn action_names(&self) -> BTreeSet<String> {
        let of_tools = self.functions.iter().flatten();
        let of_tools = of_tools.map(|(tool, function)| member(CALLS, &format!("{tool}.{}", function.name())));
        self.actions.iter().map(|action| action.name.to_owned()).chain(of_tools).collect()
    }
}

fn applies(text: &mut String, name: &str, group: Option<&str>, resource: &str, context: &str) {
    let group = group.map(|group| format!(" in [\"{group}\"]")).unwrap_or_default();
    let own = if context.is_empty() { String::new() } else { format!(", {context}") };
    let _ = writeln!(
        text,
        "  action \"{name}\"{group} appliesTo {{\n    principal: [Task], resource: [{resource}],\n    \
         context: {{ {CONTEXT}{own} }}\n  }};"
    );
}
