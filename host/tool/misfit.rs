//! What does not fit: the place, what is expected there, and what was found.

use std::fmt::Display;

use serde_json::Value;
use thiserror::Error;
use wasmtime::component::Type;

use super::text;

/// Why a value does not fit a type, and where.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("`${path}`: {fault}")]
pub struct ValueError {
    path: String,
    fault: Fault,
}

#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum Fault {
    #[error("expected {expected}, found {found}")]
    Mismatch { expected: String, found: String },
    #[error("the {kind} `{name}` is missing")]
    Missing { kind: &'static str, name: String },
    #[error("there is no {kind} `{name}`; {advice}")]
    Unknown { kind: &'static str, name: String, advice: String },
    #[error("the {kind} `{name}` is repeated")]
    Repeated { kind: &'static str, name: String },
    #[error("a {kind} cannot be written as JSON")]
    NotPlain { kind: &'static str },
}

impl From<Fault> for ValueError {
    fn from(fault: Fault) -> Self {
        Self { path: String::new(), fault }
    }
}

impl ValueError {
    /// The same error, seen from the value that holds this one.
    pub(crate) fn within(mut self, step: impl Display) -> Self {
        self.path.insert_str(0, &step.to_string());
        self
    }

    pub(crate) fn field(self, name: &str) -> Self {
        self.within(format_args!(".{}", text::quoted(name)))
    }

    pub(crate) fn item(self, index: usize) -> Self {
        self.within(format_args!("[{index}]"))
    }
}

/// A step in a path that is no plain name.
pub(crate) fn place(key: &str) -> String {
    format!("[{}]", Value::from(text::quoted(key)))
}

/// What the type is called if it is no plain value.
pub(crate) fn not_plain(ty: &Type) -> Option<&'static str> {
    match ty {
        Type::Own(_) | Type::Borrow(_) => Some("resource"),
        Type::Future(_) => Some("future"),
        Type::Stream(_) => Some("stream"),
        Type::ErrorContext => Some("error context"),
        _ => None,
    }
}

/// The least and the greatest value of an integer type.
pub(crate) fn limits(ty: &Type) -> Option<(i64, u64)> {
    Some(match ty {
        Type::S8 => (i8::MIN.into(), 0x7f),
        Type::U8 => (0, u8::MAX.into()),
        Type::S16 => (i16::MIN.into(), 0x7fff),
        Type::U16 => (0, u16::MAX.into()),
        Type::S32 => (i32::MIN.into(), 0x7fff_ffff),
        Type::U32 => (0, u32::MAX.into()),
        Type::S64 => (i64::MIN, i64::MAX.unsigned_abs()),
        Type::U64 => (0, u64::MAX),
        _ => return None,
    })
}

/// A value of the guest's does not have its type: wasmtime never gives such a one.
pub(crate) fn foreign(ty: &Type) -> ValueError {
    match not_plain(ty) {
        Some(kind) => Fault::NotPlain { kind }.into(),
        None => {
            Fault::Mismatch { expected: expected(ty), found: "a component value of another type".to_owned() }.into()
        }
    }
}

pub(crate) fn mismatch(ty: &Type, value: &Value) -> Fault {
    Fault::Mismatch { expected: expected(ty), found: found(value) }
}

fn expected(ty: &Type) -> String {
    if let Some((least, greatest)) = limits(ty) {
        return format!("an integer from {least} to {greatest}");
    }
    let expected = match ty {
        Type::Bool => "a boolean",
        Type::Float32 => "a number that fits 32 bits, `NaN`, `Infinity` or `-Infinity`",
        Type::Float64 => "a number, `NaN`, `Infinity` or `-Infinity`",
        Type::Char => "a string of one character",
        Type::String | Type::Enum(_) => "a string",
        Type::List(list) if list.ty() == Type::U8 => "bytes as base64 with padding",
        Type::List(_) => "an array",
        Type::FixedLengthList(list) => return format!("an array of {}", list.len()),
        Type::Tuple(tuple) => return format!("an array of {}", tuple.types().len()),
        Type::Map(map) if map.key() == Type::String => "an object",
        Type::Map(_) => "an array of `[key, value]`",
        Type::Record(_) => "an object",
        Type::Variant(_) => "the name of a case, or an object of a case and its payload",
        Type::Option(_) => "null, or an object of `some` and a value",
        Type::Result(_) => "an object of either `ok` or `err`",
        Type::Flags(_) => "an array of flags",
        _ => "a plain value",
    };
    expected.to_owned()
}

pub(crate) fn found(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(truth) => format!("`{truth}`"),
        Value::Number(number) => format!("the number `{number}`"),
        Value::String(string) => format!("the string `{}`", text::quoted(string)),
        Value::Array(items) => format!("an array of {}", items.len()),
        Value::Object(_) => "an object".to_owned(),
    }
}

pub(crate) fn unknown<'a>(kind: &'static str, name: &str, known: impl Iterator<Item = &'a str>) -> Fault {
    let known: Vec<_> = known.collect();
    let distance = |candidate: &str| edits(name, candidate);
    let nearest = known.iter().map(|known| (distance(known), *known)).min();
    let advice = match nearest {
        None => "there is none at all".to_owned(),
        Some((distance, nearest)) if distance.saturating_mul(2) < nearest.len() => format!("did you mean `{nearest}`"),
        Some(_) => {
            let shown: Vec<_> = known.iter().take(8).map(|known| format!("`{known}`")).collect();
            let more = if known.len() > shown.len() { ", …" } else { "" };
            format!("known: {}{more}", shown.join(", "))
        }
    };
    Fault::Unknown { kind, name: text::quoted(name), advice }
}

/// How many letters must be added, dropped or changed to make one name of the other (Levenshtein). Long names are never
/// near: the product of their lengths would be work that a stranger chooses.
fn edits(left: &str, right: &str) -> usize {
    const LONG: usize = 64;
    if left.len() > LONG || right.len() > LONG {
        return usize::MAX;
    }
    let right: Vec<char> = right.to_ascii_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, from) in left.to_ascii_lowercase().chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], index + 1);
        for (column, to) in right.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}
