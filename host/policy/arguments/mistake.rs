//! Mistakes about arguments that Cedar's validation lets pass.
//!
//! It finds names that do not exist where they are used, but takes `context.args has reasn` for a question whose answer is
//! no, and what hangs on it for void; and to it, names of cases are strings like any other. Either would turn a `forbid`
//! into a rule that forbids nothing.

use serde_json::Value;

use super::RecordType;
use super::declared::Declaration;
use crate::manifest::{quoted, suggestion};

/// A name in a rule that none of the functions has that the rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// The name, as the rule has it: `reasn`.
    pub(crate) name: String,
    /// What is wrong with it.
    pub(crate) message: String,
    /// What could have been meant.
    pub(crate) help: Option<String>,
}

/// The first mistake of a rule, in the JSON that Cedar makes of it. `functions` are those that it is about.
pub(crate) fn mistake(rule: &Value, functions: &[&RecordType]) -> Option<Mistake> {
    let mut open = vec![rule];
    while let Some(part) = open.pop() {
        match part {
            // The last of them comes first from a stack.
            Value::Array(parts) => open.extend(parts.iter().rev()),
            Value::Object(parts) => {
                let found = parts.iter().find_map(|(operator, operands)| operation(operator, operands, functions));
                if found.is_some() {
                    return found;
                }
                open.extend(parts.values().rev());
            }
            _ => {}
        }
    }
    None
}

fn operation(operator: &str, operands: &Value, functions: &[&RecordType]) -> Option<Mistake> {
    let left = operands.get("left")?;
    match operator {
        "has" => {
            let mut path = path(left)?;
            match operands.get("attr")? {
                Value::String(name) => path.push(name),
                names => path.extend(names.as_array()?.iter().filter_map(Value::as_str)),
            }
            unknown_attribute(path.strip_prefix(&["args"])?, functions)
        }
        "==" | "!=" | "contains" | "containsAll" | "containsAny" => {
            let right = operands.get("right")?;
            let compared =
                |side, other| unknown_name(path(side)?.strip_prefix(&["args"])?, &literals(other), functions);
            compared(left, right).or_else(|| compared(right, left))
        }
        _ => None,
    }
}

/// The steps from the context to an attribute: `args`, `filter` and `max` of `context.args.filter.max`.
fn path(expression: &Value) -> Option<Vec<&str>> {
    let (mut at, mut steps) = (expression, Vec::new());
    while let Some(access) = at.get(".") {
        steps.push(access.get("attr")?.as_str()?);
        at = access.get("left")?;
    }
    steps.reverse();
    (at.get("Var")? == "context").then_some(steps)
}

/// A string, or the strings of a set.
fn literals(expression: &Value) -> Vec<&str> {
    match expression.get("Set").and_then(Value::as_array) {
        Some(items) => items.iter().filter_map(literal).collect(),
        None => literal(expression).into_iter().collect(),
    }
}

fn literal(expression: &Value) -> Option<&str> {
    expression.get("Value")?.as_str()
}

fn unknown_attribute(path: &[&str], functions: &[&RecordType]) -> Option<Mistake> {
    let known = |steps: usize| functions.iter().filter_map(move |function| function.declared.find(&path[..steps]));
    // Where there are no functions there is nothing to know.
    let steps = (0..=path.len()).find(|steps| known(*steps).next().is_none())?.checked_sub(1)?;
    let mut names: Vec<_> = known(steps).flat_map(Declaration::attributes).map(|known| known.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let name = path[steps];
    Some(Mistake {
        name: name.to_owned(),
        message: format!("{} has no {} in any call that the rule is about", written(&path[..steps]), quoted(name)),
        help: suggestion(name, names, "there are"),
    })
}

fn unknown_name(path: &[&str], literals: &[&str], functions: &[&RecordType]) -> Option<Mistake> {
    let mut names = Vec::new();
    for declared in functions.iter().filter_map(|function| function.declared.find(path)) {
        let Declaration::Leaf { names: Some(known), .. } = declared else { return None };
        names.extend(known.iter().map(String::as_str));
    }
    names.sort_unstable();
    names.dedup();
    let name = literals.iter().find(|literal| !names.is_empty() && !names.contains(literal))?;
    Some(Mistake {
        name: (*name).to_owned(),
        message: format!("{} is not {} in any call that the rule is about", written(path), quoted(name)),
        help: suggestion(name, names, "it can be"),
    })
}

/// A path in the words of rules.
fn written(path: &[&str]) -> String {
    let mut text = "context.args".to_owned();
    for step in path {
        let is_word =
            step.bytes().all(|byte| byte.is_ascii_alphanumeric()) && !step.starts_with(|c: char| c.is_ascii_digit());
        let step = if is_word { format!(".{step}") } else { format!("[\"{step}\"]") };
        text.push_str(&step);
    }
    quoted(&text)
}
