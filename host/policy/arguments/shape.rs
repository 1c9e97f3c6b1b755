//! Types of WIT, read for rules.

use std::sync::Arc;

use wasmtime::component::Type;

use super::Omission;

/// How many places the arguments of one function may have, as far as they are written out: types can share parts.
const PLACES_LIMIT: usize = 1_024;

/// All names that there can be at a place.
pub(super) type Names = Arc<[String]>;

/// What is left of a type of WIT.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    Bool,
    Long,
    String,
    /// One of some names: of an enum, or of cases without payloads.
    Name(Names),
    Flags(Names),
    /// A record or a tuple.
    Record(Vec<(String, Shape)>),
    Variant(Vec<Case>),
    Option(Box<Shape>),
    List(Box<Shape>),
    Map(Box<Shape>, Box<Shape>),
    /// Rules do not see it.
    Omitted,
}

#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) name: String,
    /// The name of the attribute that holds the payload.
    pub(super) attribute: String,
    pub(super) payload: Option<Shape>,
}

/// Reads types.
pub(super) struct Reader {
    /// How many places there may still be.
    left: usize,
    pub(super) omitted: Vec<Omission>,
}

impl Reader {
    pub(super) fn new() -> Self {
        Self { left: PLACES_LIMIT, omitted: Vec::new() }
    }

    /// The shape of a parameter. One that has too many places is left out as a whole.
    pub(super) fn parameter(&mut self, path: &str, ty: &Type) -> Shape {
        let (left, known) = (self.left, self.omitted.len());
        self.shape(path, ty, false).unwrap_or_else(|| {
            self.left = left;
            self.omitted.truncate(known);
            self.omit(path, "too large to describe")
        })
    }

    fn omit(&mut self, path: &str, reason: &'static str) -> Shape {
        self.omitted.push(Omission { path: path.to_owned(), reason });
        Shape::Omitted
    }

    /// The shape of a type, unless there are too many places. An option at a place that need not be there already is a
    /// record of its own, unless it is in a list.
    fn shape(&mut self, path: &str, ty: &Type, optional: bool) -> Option<Shape> {
        self.left = self.left.checked_sub(1)?;
        Some(match ty {
            Type::Bool => Shape::Bool,
            Type::S8 | Type::U8 | Type::S16 | Type::U16 | Type::S32 | Type::U32 | Type::S64 | Type::U64 => Shape::Long,
            Type::Char | Type::String => Shape::String,
            Type::Enum(cases) => Shape::Name(cases.names().map(str::to_owned).collect()),
            Type::Flags(flags) => Shape::Flags(flags.names().map(str::to_owned).collect()),
            Type::Float32 | Type::Float64 => self.omit(path, "a float: policies have no fractions"),
            Type::Record(record) => Shape::Record(
                record.fields().map(|field| self.member(path, field.name, &field.ty)).collect::<Option<_>>()?,
            ),
            Type::Tuple(tuple) => Shape::Record(
                tuple
                    .types()
                    .enumerate()
                    .map(|(at, ty)| self.member(path, &at.to_string(), &ty))
                    .collect::<Option<_>>()?,
            ),
            Type::Variant(variant) => self.cases(path, variant.cases().map(|case| (case.name, case.ty)))?,
            Type::Result(result) => self.cases(path, [("ok", result.ok()), ("err", result.err())].into_iter())?,
            Type::Option(option) if optional && !path.contains("[]") => {
                Shape::Option(Box::new(self.shape(&format!("{path}.some"), &option.ty(), true)?))
            }
            Type::Option(option) => Shape::Option(Box::new(self.shape(path, &option.ty(), true)?)),
            Type::List(list) => self.list(path, &list.ty())?,
            Type::FixedLengthList(list) => self.list(path, &list.ty())?,
            Type::Map(map) => {
                let (_, key) = self.member(&format!("{path}[]"), "key", &map.key())?;
                let (_, value) = self.member(&format!("{path}[]"), "value", &map.value())?;
                Shape::Map(Box::new(key), Box::new(value))
            }
            Type::Own(_) | Type::Borrow(_) | Type::Future(_) | Type::Stream(_) | Type::ErrorContext => {
                self.omit(path, "no plain value")
            }
        })
    }

    fn member(&mut self, path: &str, name: &str, ty: &Type) -> Option<(String, Shape)> {
        Some((name.to_owned(), self.shape(&format!("{path}.{name}"), ty, false)?))
    }

    fn list(&mut self, path: &str, item: &Type) -> Option<Shape> {
        let item = if *item == Type::U8 {
            self.omit(path, "bytes: policies have no type for them")
        } else {
            self.shape(&format!("{path}[]"), item, false)?
        };
        Some(Shape::List(Box::new(item)))
    }

    fn cases<'a>(&mut self, path: &str, cases: impl Iterator<Item = (&'a str, Option<Type>)>) -> Option<Shape> {
        let mut read = Vec::new();
        for (name, ty) in cases {
            self.left = self.left.checked_sub(1)?;
            let attribute = if name == "case" { "case.value" } else { name };
            let payload = match ty {
                Some(ty) => Some(self.shape(&format!("{path}.{attribute}"), &ty, true)?),
                None => None,
            };
            read.push(Case { name: name.to_owned(), attribute: attribute.to_owned(), payload });
        }
        let is_plain = read.iter().all(|case| case.payload.is_none());
        Some(if is_plain { Shape::Name(names(&read)) } else { Shape::Variant(read) })
    }
}

/// The names of some cases.
pub(super) fn names(cases: &[Case]) -> Names {
    cases.iter().map(|case| case.name.clone()).collect()
}
