//! Whether a function that one component imports is one that another exports.
//!
//! wasmtime compares nothing when a host function takes any values, so it is done here, before anything runs: same
//! parameters, same result, in the order and under the names in which WIT has them. Names of types do not count.

use std::fmt::{self, Display};

use thiserror::Error;
use wasmtime::component::Type;

use super::{DEPTH_LIMIT, SIZE_LIMIT, misfit, text};

/// How many names of a type a message repeats.
const SHOWN: usize = 8;

/// What is left of the work that comparing one component's imports may take. Types can share parts, so a small component
/// can describe types that are astronomically large.
#[derive(Debug)]
pub struct Allowance(pub(super) usize);

impl Default for Allowance {
    fn default() -> Self {
        Self(SIZE_LIMIT)
    }
}

/// How an imported function differs from the exported one.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Difference {
    /// Other parameters, or in another order.
    #[error("the parameters: {importer} imports {imported}, {exporter} exports {exported}")]
    Parameters {
        /// Who imports.
        importer: String,
        /// What it imports.
        imported: String,
        /// Who exports.
        exporter: String,
        /// What that exports.
        exported: String,
    },
    /// Another type.
    #[error("{place}: {importer} imports {imported}, {exporter} exports {exported}")]
    Type {
        /// Where, in the words of WIT.
        place: Place,
        /// Who imports.
        importer: String,
        /// What it imports.
        imported: String,
        /// Who exports.
        exporter: String,
        /// What that exports.
        exported: String,
    },
    /// There is more to compare than is compared.
    #[error("its types are too large to be compared")]
    TooLarge,
}

/// A place in a function's type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// None for the result.
    parameter: Option<String>,
    /// The way from there: `.lines[].text`.
    path: String,
}

impl Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.parameter {
            Some(parameter) => write!(out, "parameter `{}{}`", text::quoted(parameter), self.path),
            None => write!(out, "`result{}`", self.path),
        }
    }
}

/// One side of a comparison: a function, as a component has it.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// The component's name.
    pub component: &'a str,
    /// The names and types of the parameters.
    pub parameters: &'a [(String, Type)],
    /// The type of the result.
    pub result: Option<&'a Type>,
}

/// Compares a function that one component imports with one that another exports.
///
/// # Errors
///
/// The first difference, in the order of WIT.
#[expect(clippy::result_large_err, reason = "made once, where a component is refused")]
pub fn compare(own: Side<'_>, theirs: Side<'_>, allowance: &mut Allowance) -> Result<(), Difference> {
    let (importer, exporter) = (format!("`{}`", own.component), format!("`{}`", theirs.component));
    let names = |side: &Side<'_>| side.parameters.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let (imported, exported) = (names(&own), names(&theirs));
    if imported != exported {
        let listed = |names: &[String]| listed("none", names.iter().map(String::as_str));
        let (imported, exported) = (listed(&imported), listed(&exported));
        return Err(Difference::Parameters { importer, imported, exporter, exported });
    }
    let found = |parameter: Option<&str>, found: Found| match found {
        Found::TooLarge => Difference::TooLarge,
        Found::Types { path, imported, exported } => {
            let place = Place { parameter: parameter.map(ToOwned::to_owned), path };
            Difference::Type { place, importer: importer.clone(), imported, exporter: exporter.clone(), exported }
        }
    };
    for ((name, own), (_, theirs)) in own.parameters.iter().zip(theirs.parameters) {
        same(own, theirs, DEPTH_LIMIT, allowance).map_err(|error| found(Some(name), error))?;
    }
    optional(own.result, theirs.result, DEPTH_LIMIT, allowance).map_err(|error| found(None, error))
}

/// A difference, as its path grows from the inside to the outside.
enum Found {
    TooLarge,
    Types { path: String, imported: String, exported: String },
}

impl Found {
    fn types(imported: &Type, exported: &Type) -> Self {
        Self::Types { path: String::new(), imported: described(imported), exported: described(exported) }
    }

    fn within(mut self, step: &str) -> Self {
        if let Self::Types { path, .. } = &mut self {
            path.insert_str(0, step);
        }
        self
    }
}

fn optional(own: Option<&Type>, theirs: Option<&Type>, depth: usize, left: &mut Allowance) -> Result<(), Found> {
    let nothing = || "nothing".to_owned();
    match (own, theirs) {
        (None, None) => Ok(()),
        (Some(own), Some(theirs)) => same(own, theirs, depth, left),
        (own, theirs) => Err(Found::Types {
            path: String::new(),
            imported: own.map_or_else(nothing, described),
            exported: theirs.map_or_else(nothing, described),
        }),
    }
}

/// Compares two types. Not `==`: that would neither say where they differ nor stop.
fn same(own: &Type, theirs: &Type, depth: usize, left: &mut Allowance) -> Result<(), Found> {
    let depth = depth.checked_sub(1).ok_or(Found::TooLarge)?;
    left.0 = left.0.checked_sub(16).ok_or(Found::TooLarge)?;
    let differ = || Err(Found::types(own, theirs));
    let mut inner =
        |own: &Type, theirs: &Type, step: &str| same(own, theirs, depth, left).map_err(|found| found.within(step));
    match (own, theirs) {
        (Type::List(own), Type::List(theirs)) => inner(&own.ty(), &theirs.ty(), "[]"),
        (Type::FixedLengthList(own), Type::FixedLengthList(theirs)) if own.len() == theirs.len() => {
            inner(&own.ty(), &theirs.ty(), "[]")
        }
        (Type::Map(own), Type::Map(theirs)) => {
            inner(&own.key(), &theirs.key(), ".key")?;
            inner(&own.value(), &theirs.value(), ".value")
        }
        (Type::Option(own), Type::Option(theirs)) => inner(&own.ty(), &theirs.ty(), ".some"),
        (Type::Tuple(own), Type::Tuple(theirs)) if own.types().len() == theirs.types().len() => {
            let mut pairs = own.types().zip(theirs.types()).enumerate();
            pairs.try_for_each(|(at, (own, theirs))| inner(&own, &theirs, &format!(".{at}")))
        }
        (Type::Record(a), Type::Record(b)) => {
            if !same_names(a.fields().map(|field| field.name), b.fields().map(|field| field.name), left)? {
                return differ();
            }
            a.fields().zip(b.fields()).try_for_each(|(own, theirs)| {
                same(&own.ty, &theirs.ty, depth, left).map_err(|found| found.within(&step(own.name)))
            })
        }
        (Type::Variant(a), Type::Variant(b)) => {
            if !same_names(a.cases().map(|case| case.name), b.cases().map(|case| case.name), left)? {
                return differ();
            }
            a.cases().zip(b.cases()).try_for_each(|(own, theirs)| {
                let payloads = optional(own.ty.as_ref(), theirs.ty.as_ref(), depth, left);
                payloads.map_err(|found| found.within(&step(own.name)))
            })
        }
        (Type::Enum(a), Type::Enum(b)) => {
            if same_names(a.names(), b.names(), left)? {
                Ok(())
            } else {
                differ()
            }
        }
        (Type::Flags(a), Type::Flags(b)) => {
            if same_names(a.names(), b.names(), left)? {
                Ok(())
            } else {
                differ()
            }
        }
        (Type::Result(a), Type::Result(b)) => {
            optional(a.ok().as_ref(), b.ok().as_ref(), depth, left).map_err(|found| found.within(".ok"))?;
            optional(a.err().as_ref(), b.err().as_ref(), depth, left).map_err(|found| found.within(".err"))
        }
        // What is left has no parts; its kind is all there is to it.
        _ if is_leaf(own) && kind(own) == kind(theirs) => Ok(()),
        _ => differ(),
    }
}

fn same_names<'t>(
    own: impl ExactSizeIterator<Item = &'t str>,
    mut theirs: impl ExactSizeIterator<Item = &'t str>,
    left: &mut Allowance,
) -> Result<bool, Found> {
    if own.len() != theirs.len() {
        return Ok(false);
    }
    for name in own {
        left.0 = left.0.checked_sub(name.len()).ok_or(Found::TooLarge)?;
        if theirs.next() != Some(name) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn step(name: &str) -> String {
    format!(".{}", text::quoted(name))
}

/// A type as a message shows it, without what it is made of but for names.
fn described(ty: &Type) -> String {
    let names = match ty {
        Type::Record(record) => listed("no fields", record.fields().map(|field| field.name)),
        Type::Variant(variant) => listed("no cases", variant.cases().map(|case| case.name)),
        Type::Enum(cases) => listed("no cases", cases.names()),
        Type::Flags(flags) => listed("no names", flags.names()),
        Type::List(list) => return format!("list<{}>", kind(&list.ty())),
        Type::Option(option) => return format!("option<{}>", kind(&option.ty())),
        Type::FixedLengthList(list) => return format!("list<{}, {}>", kind(&list.ty()), list.len()),
        Type::Tuple(tuple) => return format!("a tuple of {}", tuple.types().len()),
        _ => return kind(ty).to_owned(),
    };
    format!("{} of {names}", kind(ty))
}

fn listed<'t>(none: &str, names: impl ExactSizeIterator<Item = &'t str>) -> String {
    let more = if names.len() > SHOWN { ", …" } else { "" };
    let shown: Vec<_> = names.take(SHOWN).map(|name| format!("`{}`", text::quoted(name))).collect();
    if shown.is_empty() { none.to_owned() } else { format!("{}{more}", shown.join(", ")) }
}

/// Whether a type is plain, and made of no others.
fn is_leaf(ty: &Type) -> bool {
    matches!(
        ty,
        Type::Bool
            | Type::S8
            | Type::U8
            | Type::S16
            | Type::U16
            | Type::S32
            | Type::U32
            | Type::S64
            | Type::U64
            | Type::Float32
            | Type::Float64
            | Type::Char
            | Type::String
    )
}

/// What WIT calls a type.
fn kind(ty: &Type) -> &'static str {
    match ty {
        Type::Bool => "bool",
        Type::S8 => "s8",
        Type::U8 => "u8",
        Type::S16 => "s16",
        Type::U16 => "u16",
        Type::S32 => "s32",
        Type::U32 => "u32",
        Type::S64 => "s64",
        Type::U64 => "u64",
        Type::Float32 => "f32",
        Type::Float64 => "f64",
        Type::Char => "char",
        Type::String => "string",
        Type::List(_) | Type::FixedLengthList(_) => "list",
        Type::Map(_) => "map",
        Type::Record(_) => "record",
        Type::Tuple(_) => "tuple",
        Type::Variant(_) => "variant",
        Type::Enum(_) => "enum",
        Type::Option(_) => "option",
        Type::Result(_) => "result",
        Type::Flags(_) => "flags",
        Type::Own(_) | Type::Borrow(_) | Type::Future(_) | Type::Stream(_) | Type::ErrorContext => {
            misfit::not_plain(ty).unwrap_or("nothing plain")
        }
    }
}

#[cfg(test)]
mod tests;
