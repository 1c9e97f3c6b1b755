//! Words for what is wrong: suggestions, quoting, and what `serde` and the TOML parser say, without their type names.

use serde::de::Error;

/// Between message and help in an error made by [`reject`]. Never in quoted text.
const HELP: char = '\n';

/// Longest piece of a user's text that a message repeats, in characters.
const LONGEST_QUOTE: usize = 80;

/// An error of a value that `serde` is reading, with a help that says what to write.
///
/// Both become parts of the [`ManifestError`](super::ManifestError) that is shown at the value.
#[must_use]
pub fn reject<E: Error>(message: &str, help: &str) -> E {
    E::custom(format_args!("{message}{HELP}{help}"))
}

/// What a user wrote, in backticks: on one line, harmless, and not too long.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut quoted: String =
        text.chars().take(LONGEST_QUOTE).map(|letter| if letter == '\n' { ' ' } else { letter }).collect();
    if text.chars().nth(LONGEST_QUOTE).is_some() {
        quoted.push('…');
    }
    format!("`{}`", harmless(&quoted))
}

/// The same text, byte for byte as long, without the characters that a terminal obeys or that reorder what is read.
#[must_use]
pub fn harmless(text: &str) -> String {
    let obeyed = |letter: char| {
        (letter.is_control() && !matches!(letter, '\n' | '\r' | '\t'))
            || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let replace = |letter: char| match letter.len_utf8() {
        _ if !obeyed(letter) => letter,
        1 => '?',
        2 => '¿',
        _ => char::REPLACEMENT_CHARACTER,
    };
    text.chars().map(replace).collect()
}

/// Whether a text is a name of a bundle or a tool: `[a-z][a-z0-9-]{0,63}`.
pub(crate) fn valid_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Help for a name that is not among the known ones: the nearest of them, and all.
pub(crate) fn suggestion<'k>(
    name: &str,
    known: impl IntoIterator<Item = &'k str>,
    introduction: &str,
) -> Option<String> {
    let known: Vec<&str> = known.into_iter().collect();
    let nearest = nearest(name, &known);
    let question = nearest.map(|nearest| format!("did you mean {}?", quoted(nearest)));
    let list = known.iter().map(|known| quoted(known)).collect::<Vec<_>>().join(", ");
    match (question, known.len()) {
        (question, 0) => question,
        (Some(question), 1) => Some(question),
        (Some(question), _) => Some(format!("{question} {introduction} {list}")),
        (None, _) => Some(format!("{introduction} {list}")),
    }
}

fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let (distance, nearest) = known.iter().map(|known| (distance(name, known), *known)).min()?;
    (distance <= nearest.chars().count().div_ceil(3)).then_some(nearest)
}

/// Edit distance between two words: letters inserted, removed, replaced, or swapped with their neighbour.
fn distance(left: &str, right: &str) -> usize {
    // No name is longer, and the cost is the product of the lengths.
    let left: Vec<char> = left.chars().take(64).collect();
    let right: Vec<char> = right.chars().take(64).collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for row in 1..=left.len() {
        let mut current = vec![row];
        for column in 1..=right.len() {
            let replaced = last[column - 1] + usize::from(left[row - 1] != right[column - 1]);
            let mut best = replaced.min(last[column] + 1).min(current[column - 1] + 1);
            let swapped =
                row > 1 && column > 1 && left[row - 1] == right[column - 2] && left[row - 2] == right[column - 1];
            if swapped {
                best = best.min(before_last[column - 2] + 1);
            }
            current.push(best);
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last[right.len()]
}

/// Message and help for what `serde` or the TOML parser says about `text`, the piece of the manifest it is about.
pub(super) fn explain(message: &str, text: &str) -> (String, Option<String>) {
    // What `serde` says comes first: it repeats keys and values as they are, whatever characters they hold.
    if let Some(rest) = message.strip_prefix("unknown field `") {
        return unknown(rest, "key", "known keys are");
    }
    if let Some(rest) = message.strip_prefix("unknown variant `") {
        return unknown(rest, "value", "valid values are");
    }
    if let Some(key) = message.strip_prefix("missing field ") {
        return (format!("missing key {key}"), Some(format!("add `{} = …`", key.trim_matches('`'))));
    }
    for prefix in ["invalid type: ", "invalid value: ", "invalid length "] {
        if let Some((was, expected)) = message.strip_prefix(prefix).and_then(|rest| rest.rsplit_once(", expected ")) {
            // The parser hands a date over as a table.
            let date = was == "map" && text.starts_with(|first: char| first.is_ascii_digit());
            let found = if date { kind("datetime").to_owned() } else { found(was) };
            let wanted = wanted(expected).replacen("a tuple of size", "an array of", 1);
            return (format!("expected {wanted}, found {found}"), None);
        }
    }
    match (message, message.split_once(HELP)) {
        ("duplicate key", _) => (format!("duplicate key {}", quoted(text)), Some("write each key once".to_owned())),
        ("wanted string or table", _) => ("expected a string".to_owned(), None),
        (_, Some((message, help))) => (message.to_owned(), Some(help.to_owned())),
        (_, None) => (uncapitalised(message.trim_end_matches('.')), None),
    }
}

fn unknown(rest: &str, kind: &str, introduction: &str) -> (String, Option<String>) {
    let (name, expected) =
        rest.rsplit_once("`, expected ").or_else(|| rest.rsplit_once("`, there are no ")).unwrap_or((rest, ""));
    // Names stand between backticks: every second piece.
    let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    (format!("unknown {kind} {}", quoted(name)), suggestion(name, known, introduction))
}

/// What `serde` expected, as a manifest calls it.
fn wanted(expected: &str) -> &str {
    let first = expected.split(' ').next().unwrap_or_default();
    match (first, expected) {
        ("u8", _) => "an integer from 0 to 255",
        ("u16", _) => "an integer from 0 to 65535",
        ("u32", _) => "an integer from 0 to 4294967295",
        ("u64" | "u128" | "usize", _) => "an integer, zero or more",
        ("i8" | "i16" | "i32" | "i64" | "i128" | "isize", _) => "an integer",
        ("f32" | "f64", _) => "a number",
        ("struct" | "map", _) | (_, "a map") => "a table",
        ("tuple" | "sequence", _) | (_, "a sequence") => "an array",
        ("enum" | "unit" | "newtype" | "variant" | "field" | "string", _) | (_, "a borrowed string") => "a string",
        _ => expected,
    }
}

/// What `serde` found: a kind, mostly followed by the value in quotes or backticks.
fn found(found: &str) -> String {
    let (kind_of, value) = found.split_at(found.find(['"', '`']).unwrap_or(found.len()));
    let kind_of = kind(kind_of.trim());
    match value.trim_matches(['"', '`']) {
        "" => kind_of.to_owned(),
        value => format!("{} {}", kind_of.replacen("an ", "the ", 1).replacen("a ", "the ", 1), quoted(value)),
    }
}

/// A kind of value, as a manifest calls it.
pub(super) fn kind(kind: &str) -> &str {
    match kind {
        "string" => "a string",
        "integer" => "an integer",
        "float" | "floating point" => "a fraction",
        "boolean" => "a boolean",
        "datetime" => "a date",
        "array" | "sequence" => "an array",
        "table" | "map" => "a table",
        other => other,
    }
}

fn uncapitalised(message: &str) -> String {
    let mut letters = message.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => String::new(),
    }
}
