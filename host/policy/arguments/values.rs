//! Values of WIT as attributes.

use wasmtime::component::Val;

use super::shape::Shape;
use crate::policy::value::{Attribute, ValueError};

/// Adds the attributes that stand for one place with one value.
pub(super) fn one(
    name: &str,
    shape: &Shape,
    value: &Val,
    optional: bool,
    fields: &mut Vec<(String, Attribute)>,
) -> Result<(), ValueError> {
    let attribute = match shape {
        Shape::Omitted => return Ok(()),
        Shape::Bool | Shape::Long | Shape::String | Shape::Name(_) => leaf(shape, value)?,
        Shape::Flags(_) => Attribute::strings(flags(value)?.iter().cloned()),
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
        Shape::Bool | Shape::Long | Shape::String | Shape::Name(_) => {
            let leaves = values.iter().map(|value| leaf(shape, value)).collect::<Result<Vec<_>, _>>()?;
            bounds(name, &leaves, fields);
            fields.push((name.to_owned(), Attribute::Set(leaves)));
            return Ok(());
        }
        Shape::Flags(_) => {
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
        (Shape::String, Val::String(text)) | (Shape::Name(_), Val::Enum(text) | Val::Variant(text, None)) => {
            Attribute::String(text.clone())
        }
        (Shape::String, Val::Char(character)) => Attribute::String(character.to_string()),
        (Shape::Name(_), Val::Result(Ok(None) | Err(None))) => Attribute::String(case(value)?.0.to_owned()),
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

pub(super) fn misfit() -> ValueError {
    ValueError::Other("the arguments are not of the types that the function declares".to_owned())
}
