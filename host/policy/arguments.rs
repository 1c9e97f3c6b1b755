//! Arguments of tools' functions, as rules see them: WIT types and values to Cedar's.
//!
//! | WIT | Cedar | |
//! |---|---|---|
//! | `bool` | `Bool` | |
//! | `s8`…`s64`, `u8`…`u64` | `Long` | a `u64` above 2^63 - 1 cannot be put to rules: the call is denied |
//! | `string`, `char` | `String` | |
//! | `enum` | `String` | the case's name |
//! | `flags` | `Set<String>` | the names that are set |
//! | `record` | record | names as in WIT: `context.args["max-results"]` |
//! | `tuple` | record | with `"0"`, `"1"`… |
//! | `option<T>` | optional `T` | `context.args has reason`; `option<option<T>>`: optional `{ "some"?: T }` |
//! | `variant` | `{ "case": String, … }` | and one optional attribute for each case with a payload; a case called `case` has its payload in `"case.value"` |
//! | `result` | as a `variant` | of `ok` and `err` |
//! | `variant`, `result` without any payload | `String` | the case's name |
//! | `list<T>` | what `T` is, with a set at each leaf | `list<string>` is `Set<String>`, a list of records a record of sets |
//! | `map<K, V>` | as a list of records | with `key` and `value` |
//! | `f32`, `f64` | left out | policies have no fractions |
//! | `list<u8>` | left out | bytes; their number is seen |
//!
//! Cedar has no loops, and of a set one can ask what it contains and no more: nothing can be asked of a set of records that
//! have optional attributes. So a list is turned by its side: `context.args.lines.account` is the set of all accounts in
//! the list `lines`, and `["A", "B"].containsAll(context.args.lines.account)` bounds them all. What is lost is which values
//! stood together, in what order, how often, and where an `option` was none.
//!
//! So that lists can be bounded all the same, three attributes are added, with a dot, which no name in WIT has. Each list
//! and map has its number of items, `"lines.length"`, unless it is in another list. Each set of integers has its
//! `"amount.least"` and `"amount.greatest"`, which are not there if it is empty.

use wasmtime::component::{Type, Val};

use super::value::{Attribute, ValueError};

/// How many places the arguments of one function may have that rules can see, as far as they are written out.
const PLACES_LIMIT: usize = 1_024;

/// A place that rules cannot see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Omission {
    /// Where it is: `args.filter.weights[]`.
    pub(crate) path: String,
    /// Why: `a float: policies have no fractions`.
    pub(crate) reason: &'static str,
}

/// The Cedar type of a function's arguments.
#[derive(Clone, Debug)]
pub(crate) struct RecordType {
    /// It in the syntax of Cedar's schemas: `{ "amount": Long, "reason"?: String }`.
    pub(crate) text: String,
    /// What rules cannot see.
    pub(crate) omitted: Vec<Omission>,
    parameters: Vec<(String, Shape)>,
}

/// What is left of a type of WIT.
#[derive(Clone, Debug)]
enum Shape {
    Bool,
    Long,
    /// A string, or the name of a case.
    String,
    Flags,
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
struct Case {
    name: String,
    /// The name of the attribute that holds the payload.
    attribute: String,
    payload: Option<Shape>,
}

/// The Cedar record type of a function's arguments, and what had to be left out.
pub(crate) fn record_type<'a>(parameters: impl Iterator<Item = (&'a str, &'a Type)>) -> RecordType {
    let mut reader = Reader { left: PLACES_LIMIT, omitted: Vec::new() };
    let parameters: Vec<_> =
        parameters.map(|(name, ty)| (name.to_owned(), reader.parameter(&format!("args.{name}"), ty))).collect();
    RecordType { text: record_text(&parameters, false), omitted: reader.omitted, parameters }
}

/// The arguments of one call, in exactly the type that [`record_type`] says. Who calls often keeps the [`RecordType`].
pub(crate) fn attribute<'a>(arguments: impl Iterator<Item = (&'a str, &'a Val, &'a Type)>) -> Attribute {
    let (types, values): (Vec<_>, Vec<_>) = arguments.map(|(name, value, ty)| ((name, ty), value)).unzip();
    record_type(types.into_iter()).attribute(values)
}

impl RecordType {
    /// The arguments of one call, in the order of the parameters.
    pub(crate) fn attribute<'a>(&self, arguments: impl IntoIterator<Item = &'a Val>) -> Attribute {
        let arguments: Vec<_> = arguments.into_iter().collect();
        if arguments.len() != self.parameters.len() {
            return Attribute::Inexpressible(misfit());
        }
        let mut fields = Vec::new();
        for ((name, shape), value) in self.parameters.iter().zip(arguments) {
            if let Err(error) = one(name, shape, value, false, &mut fields) {
                return Attribute::Inexpressible(error);
            }
        }
        Attribute::Record(fields)
    }
}

/// Reads types.
struct Reader {
    /// How many places there may still be.
    left: usize,
    omitted: Vec<Omission>,
}

impl Reader {
    /// The shape of a parameter. One that has too many places is left out as a whole.
    fn parameter(&mut self, path: &str, ty: &Type) -> Shape {
        let (left, known) = (self.left, self.omitted.len());
        self.shape(path, ty).unwrap_or_else(|| {
            self.left = left;
            self.omitted.truncate(known);
            self.omit(path, "too large to describe")
        })
    }

    fn omit(&mut self, path: &str, reason: &'static str) -> Shape {
        self.omitted.push(Omission { path: path.to_owned(), reason });
        Shape::Omitted
    }

    /// The shape of a type, unless there are too many places.
    fn shape(&mut self, path: &str, ty: &Type) -> Option<Shape> {
        self.left = self.left.checked_sub(1)?;
        Some(match ty {
            Type::Bool => Shape::Bool,
            Type::S8 | Type::U8 | Type::S16 | Type::U16 | Type::S32 | Type::U32 | Type::S64 | Type::U64 => Shape::Long,
            Type::Char | Type::String | Type::Enum(_) => Shape::String,
            Type::Flags(_) => Shape::Flags,
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
            Type::Option(option) => Shape::Option(Box::new(self.shape(path, &option.ty())?)),
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
        Some((name.to_owned(), self.shape(&format!("{path}.{name}"), ty)?))
    }

    fn list(&mut self, path: &str, item: &Type) -> Option<Shape> {
        let item = if *item == Type::U8 {
            self.omit(path, "bytes: policies have no type for them")
        } else {
            self.shape(&format!("{path}[]"), item)?
        };
        Some(Shape::List(Box::new(item)))
    }

    fn cases<'a>(&mut self, path: &str, cases: impl Iterator<Item = (&'a str, Option<Type>)>) -> Option<Shape> {
        let mut read = Vec::new();
        for (name, ty) in cases {
            self.left = self.left.checked_sub(1)?;
            let attribute = if name == "case" { "case.value" } else { name };
            let payload = ty
                .map(|ty| self.shape(&format!("{path}.{attribute}"), &ty))
                .map_or(Some(None), |shape| shape.map(Some))?;
            read.push(Case { name: name.to_owned(), attribute: attribute.to_owned(), payload });
        }
        let is_plain = read.iter().all(|case| case.payload.is_none());
        Some(if is_plain { Shape::String } else { Shape::Variant(read) })
    }
}

/// A record type. `many`: it is in a list.
fn record_text(fields: &[(String, Shape)], many: bool) -> String {
    let mut declared = Vec::new();
    for (name, shape) in fields {
        declare(name, shape, false, many, &mut declared);
    }
    braced(&declared)
}

fn braced(declared: &[String]) -> String {
    if declared.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", declared.join(", ")) }
}

/// Adds the declarations of the attributes that stand for one place. Names are of letters, digits, hyphens and dots: quoted,
/// they need no escapes.
fn declare(name: &str, shape: &Shape, optional: bool, many: bool, declared: &mut Vec<String>) {
    let mark = if optional { "?" } else { "" };
    let set = |leaf: &str| if many { format!("Set<{leaf}>") } else { leaf.to_owned() };
    let ty = match shape {
        Shape::Omitted => return,
        Shape::Bool => set("Bool"),
        Shape::Long => {
            if many {
                declared.extend(["least", "greatest"].map(|bound| format!("\"{name}.{bound}\"?: Long")));
            }
            set("Long")
        }
        Shape::String => set("String"),
        Shape::Flags => "Set<String>".to_owned(),
        Shape::Record(fields) => record_text(fields, many),
        Shape::Variant(cases) => {
            let mut fields = vec![format!("\"case\": {}", set("String"))];
            for case in cases {
                if let Some(payload) = &case.payload {
                    declare(&case.attribute, payload, !many, many, &mut fields);
                }
            }
            braced(&fields)
        }
        Shape::Option(inner) if many || !optional => return declare(name, inner, optional || !many, many, declared),
        Shape::Option(inner) => {
            let mut fields = Vec::new();
            declare("some", inner, true, false, &mut fields);
            braced(&fields)
        }
        Shape::List(item) => {
            declare_length(name, mark, many, declared);
            return declare(name, item, optional, true, declared);
        }
        Shape::Map(key, value) => {
            declare_length(name, mark, many, declared);
            let mut fields = Vec::new();
            declare("key", key, false, true, &mut fields);
            declare("value", value, false, true, &mut fields);
            braced(&fields)
        }
    };
    declared.push(format!("\"{name}\"{mark}: {ty}"));
}

fn declare_length(name: &str, mark: &str, many: bool, declared: &mut Vec<String>) {
    if !many {
        declared.push(format!("\"{name}.length\"{mark}: Long"));
    }
}

/// Adds the attributes that stand for one place with one value.
fn one(
    name: &str,
    shape: &Shape,
    value: &Val,
    optional: bool,
    fields: &mut Vec<(String, Attribute)>,
) -> Result<(), ValueError> {
    let attribute = match shape {
        Shape::Omitted => return Ok(()),
        Shape::Bool | Shape::Long | Shape::String => leaf(shape, value)?,
        Shape::Flags => Attribute::strings(flags(value)?.iter().cloned()),
        Shape::Record(members) => {
            let mut inner = Vec::new();
            for (at, (name, shape)) in members.iter().enumerate() {
                one(name, shape, member(value, at, name)?, false, &mut inner)?;
            }
            Attribute::Record(inner)
        }
        Shape::Variant(cases) => {
            let (given, payload) = case(value)?;
            let mut inner = vec![("case".to_owned(), Attribute::String(given.to_owned()))];
            let declared = cases.iter().find(|case| case.name == given).ok_or_else(misfit)?;
            if let Some(shape) = &declared.payload {
                one(&declared.attribute, shape, payload.ok_or_else(misfit)?, true, &mut inner)?;
            }
            Attribute::Record(inner)
        }
        Shape::Option(inner) => match (option(value)?, optional) {
            (None, false) => return Ok(()),
            (Some(value), false) => return one(name, inner, value, true, fields),
            (given, true) => {
                let mut some = Vec::new();
                given.map_or(Ok(()), |value| one("some", inner, value, true, &mut some))?;
                Attribute::Record(some)
            }
        },
        Shape::List(item) => {
            let items = items(value)?;
            fields.push(length(name, items.len()));
            return many(name, item, &items.iter().collect::<Vec<_>>(), fields);
        }
        Shape::Map(..) => {
            fields.push(length(name, entries(value)?.len()));
            return many(name, shape, &[value], fields);
        }
    };
    fields.push((name.to_owned(), attribute));
    Ok(())
}

/// Adds the attributes that stand for one place in the items of a list, with all its values.
fn many(name: &str, shape: &Shape, values: &[&Val], fields: &mut Vec<(String, Attribute)>) -> Result<(), ValueError> {
    let mut inner = Vec::new();
    match shape {
        Shape::Omitted => return Ok(()),
        Shape::Bool | Shape::Long | Shape::String => {
            let leaves = values.iter().map(|value| leaf(shape, value)).collect::<Result<Vec<_>, _>>()?;
            bounds(name, &leaves, fields);
            fields.push((name.to_owned(), Attribute::Set(leaves)));
            return Ok(());
        }
        Shape::Flags => {
            let names = values.iter().map(|value| flags(value)).collect::<Result<Vec<_>, _>>()?;
            fields.push((name.to_owned(), Attribute::strings(names.into_iter().flatten().cloned())));
            return Ok(());
        }
        Shape::Option(some) => {
            let given = values.iter().map(|value| option(value)).collect::<Result<Vec<_>, _>>()?;
            return many(name, some, &given.into_iter().flatten().collect::<Vec<_>>(), fields);
        }
        Shape::List(item) => {
            let lists = values.iter().map(|value| items(value)).collect::<Result<Vec<_>, _>>()?;
            return many(name, item, &lists.into_iter().flatten().collect::<Vec<_>>(), fields);
        }
        Shape::Map(key, value) => {
            let maps = values.iter().map(|value| entries(value)).collect::<Result<Vec<_>, _>>()?;
            let (keys, values): (Vec<_>, Vec<_>) = maps.into_iter().flatten().map(|(key, value)| (key, value)).unzip();
            many("key", key, &keys, &mut inner)?;
            many("value", value, &values, &mut inner)?;
        }
        Shape::Record(members) => {
            for (at, (name, shape)) in members.iter().enumerate() {
                let column = values.iter().map(|value| member(value, at, name)).collect::<Result<Vec<_>, _>>()?;
                many(name, shape, &column, &mut inner)?;
            }
        }
        Shape::Variant(cases) => {
            let given = values.iter().map(|value| case(value)).collect::<Result<Vec<_>, _>>()?;
            inner.push(("case".to_owned(), Attribute::strings(given.iter().map(|(name, _)| *name))));
            for case in cases {
                if let Some(shape) = &case.payload {
                    let payloads = given.iter().filter(|(name, _)| *name == case.name);
                    let payloads = payloads.map(|(_, payload)| payload.ok_or_else(misfit));
                    many(&case.attribute, shape, &payloads.collect::<Result<Vec<_>, _>>()?, &mut inner)?;
                }
            }
        }
    }
    fields.push((name.to_owned(), Attribute::Record(inner)));
    Ok(())
}

/// Adds the least and the greatest of some integers.
fn bounds(name: &str, leaves: &[Attribute], fields: &mut Vec<(String, Attribute)>) {
    let integers =
        || leaves.iter().filter_map(|leaf| if let Attribute::Long(value) = leaf { Some(*value) } else { None });
    for (bound, value) in [("least", integers().min()), ("greatest", integers().max())] {
        fields.extend(value.map(|value| (format!("{name}.{bound}"), Attribute::Long(value))));
    }
}

fn length(name: &str, count: usize) -> (String, Attribute) {
    (format!("{name}.length"), Attribute::count(count as u64))
}

fn leaf(shape: &Shape, value: &Val) -> Result<Attribute, ValueError> {
    Ok(match (shape, value) {
        (Shape::Bool, Val::Bool(value)) => Attribute::Bool(*value),
        (Shape::Long, value) => Attribute::Long(integer(value)?),
        (Shape::String, Val::String(text) | Val::Enum(text) | Val::Variant(text, None)) => {
            Attribute::String(text.clone())
        }
        (Shape::String, Val::Char(character)) => Attribute::String(character.to_string()),
        (Shape::String, Val::Result(_)) => Attribute::String(case(value)?.0.to_owned()),
        _ => return Err(misfit()),
    })
}

fn integer(value: &Val) -> Result<i64, ValueError> {
    Ok(match *value {
        Val::S8(value) => value.into(),
        Val::U8(value) => value.into(),
        Val::S16(value) => value.into(),
        Val::U16(value) => value.into(),
        Val::S32(value) => value.into(),
        Val::U32(value) => value.into(),
        Val::S64(value) => value,
        Val::U64(value) => i64::try_from(value).map_err(|_| ValueError::TooLarge(value))?,
        _ => return Err(misfit()),
    })
}

fn flags(value: &Val) -> Result<&[String], ValueError> {
    if let Val::Flags(names) = value { Ok(names) } else { Err(misfit()) }
}

fn option(value: &Val) -> Result<Option<&Val>, ValueError> {
    if let Val::Option(given) = value { Ok(given.as_deref()) } else { Err(misfit()) }
}

fn items(value: &Val) -> Result<&[Val], ValueError> {
    if let Val::List(items) | Val::FixedLengthList(items) = value { Ok(items) } else { Err(misfit()) }
}

fn entries(value: &Val) -> Result<&[(Val, Val)], ValueError> {
    if let Val::Map(entries) = value { Ok(entries) } else { Err(misfit()) }
}

/// The member of a record, or of a tuple, at its place and with its name.
fn member<'a>(value: &'a Val, at: usize, name: &str) -> Result<&'a Val, ValueError> {
    let found = match value {
        Val::Record(fields) => fields.get(at).filter(|(given, _)| given == name).map(|(_, value)| value),
        Val::Tuple(values) => values.get(at),
        _ => None,
    };
    found.ok_or_else(misfit)
}

/// The case of a variant or a result, and its payload.
fn case(value: &Val) -> Result<(&str, Option<&Val>), ValueError> {
    match value {
        Val::Variant(name, payload) => Ok((name, payload.as_deref())),
        Val::Result(Ok(payload)) => Ok(("ok", payload.as_deref())),
        Val::Result(Err(payload)) => Ok(("err", payload.as_deref())),
        _ => Err(misfit()),
    }
}

fn misfit() -> ValueError {
    ValueError::Other("the arguments are not of the types that the function declares".to_owned())
}

#[cfg(test)]
mod tests;
