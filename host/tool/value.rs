//! JSON to component values and back, without loss.
//!
//! | WIT | JSON |
//! |---|---|
//! | `bool`, `string` | boolean, string |
//! | `s8`…`u32` | integer; `5.0` is refused |
//! | `s64`, `u64` | integer, or the same in decimal as a string; written as a string beyond ±(2^53 - 1), which is where readers that know only floats (RFC 8259, section 6) lose digits |
//! | `f32`, `f64` | number, or `"NaN"`, `"Infinity"`, `"-Infinity"` |
//! | `char` | string of one character |
//! | `list<u8>` | base64 (RFC 4648, section 4, padded); an array of numbers is read as well |
//! | other `list`s, `tuple` | array |
//! | `map` | object if its keys are strings, else an array of `[key, value]` |
//! | `record` | object; a field of type `option` may be left out |
//! | `variant` | `"case"`, or `{"case": payload}` |
//! | `enum`, `flags` | string, array of strings |
//! | `option` | `null` or the value; `option<option<…>>`: `null` or `{"some": value}`, so that `some(none)` is not lost |
//! | `result` | `{"ok": value}` or `{"err": value}`, with `null` where there is no payload |
//!
//! Recursion follows the type, and the validator of WebAssembly nests types at most 100 deep.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value};
use wasmtime::component::types::Case;
use wasmtime::component::{Type, Val};

pub use super::misfit::ValueError;
use super::misfit::{Fault, foreign, found, mismatch, not_plain, place, unknown};
use super::{json, text};

/// The largest integer up to which a 64-bit float holds every integer: 2^53 - 1.
pub(crate) const SAFE_INTEGER: u64 = (1 << 53) - 1;

/// Reads a JSON value as a component value of the given type.
///
/// # Errors
///
/// [`ValueError`] names the place (`$.filter.limit`), what is expected there, and what was found.
pub fn from_json(ty: &Type, value: &Value) -> Result<Val, ValueError> {
    let mismatch = || ValueError::from(mismatch(ty, value));
    Ok(match (ty, value) {
        (Type::Bool, Value::Bool(truth)) => Val::Bool(*truth),
        (Type::S8, _) => Val::S8(integer(ty, value)?),
        (Type::U8, _) => Val::U8(integer(ty, value)?),
        (Type::S16, _) => Val::S16(integer(ty, value)?),
        (Type::U16, _) => Val::U16(integer(ty, value)?),
        (Type::S32, _) => Val::S32(integer(ty, value)?),
        (Type::U32, _) => Val::U32(integer(ty, value)?),
        (Type::S64, _) => Val::S64(integer(ty, value)?),
        (Type::U64, _) => Val::U64(integer(ty, value)?),
        (Type::Float32, _) => Val::Float32(single(value).ok_or_else(mismatch)?),
        (Type::Float64, _) => Val::Float64(double(value).ok_or_else(mismatch)?),
        (Type::Char, Value::String(text)) => Val::Char(only_char(text).ok_or_else(mismatch)?),
        (Type::String, Value::String(text)) => Val::String(text.clone()),
        (Type::List(list), Value::String(text)) if list.ty() == Type::U8 => {
            let bytes = STANDARD.decode(text).map_err(|_| mismatch())?;
            Val::List(bytes.into_iter().map(Val::U8).collect())
        }
        (Type::List(list), Value::Array(items)) => Val::List(read_items(&list.ty(), items)?),
        (Type::FixedLengthList(list), Value::Array(items)) if items.len() as u64 == u64::from(list.len()) => {
            Val::FixedLengthList(read_items(&list.ty(), items)?)
        }
        (Type::Map(map), _) => Val::Map(read_map(&map.key(), &map.value(), value).ok_or_else(mismatch)??),
        (Type::Record(record), Value::Object(entries)) => {
            let fields: Vec<_> = record.fields().map(|field| (field.name, field.ty)).collect();
            let values = read_fields("field", fields.iter().map(|(name, ty)| (*name, ty)), entries)?;
            Val::Record(fields.iter().map(|(name, _)| (*name).to_owned()).zip(values).collect())
        }
        (Type::Tuple(tuple), Value::Array(items)) if items.len() == tuple.types().len() => {
            let read = |(index, (ty, item)): (usize, (Type, &Value))| from_json(&ty, item).map_err(|e| e.item(index));
            Val::Tuple(tuple.types().zip(items).enumerate().map(read).collect::<Result<_, _>>()?)
        }
        (Type::Variant(variant), _) => {
            let (name, payload) = one_case(value).ok_or_else(mismatch)?;
            read_case(variant.cases(), name, payload)?
        }
        (Type::Enum(cases), Value::String(name)) => {
            if !cases.names().any(|known| known == name) {
                return Err(unknown("case", name, cases.names()).into());
            }
            Val::Enum(name.clone())
        }
        (Type::Flags(flags), Value::Array(given)) => Val::Flags(read_flags(flags.names().collect(), given)?),
        (Type::Option(_), Value::Null) => Val::Option(None),
        (Type::Option(option), _) if is_nullable(&option.ty()) => {
            let Some(("some", Some(inner))) = one_case(value) else { return Err(mismatch()) };
            Val::Option(Some(Box::new(from_json(&option.ty(), inner).map_err(|e| e.field("some"))?)))
        }
        (Type::Option(option), _) => Val::Option(Some(Box::new(from_json(&option.ty(), value)?))),
        (Type::Result(result), _) => match one_case(value).ok_or_else(mismatch)? {
            ("ok", Some(payload)) => Val::Result(Ok(read_payload("ok", result.ok(), payload)?)),
            ("err", Some(payload)) => Val::Result(Err(read_payload("err", result.err(), payload)?)),
            _ => return Err(mismatch()),
        },
        _ => match not_plain(ty) {
            Some(kind) => return Err(Fault::NotPlain { kind }.into()),
            None => return Err(mismatch()),
        },
    })
}

/// Writes a component value of the given type as JSON.
///
/// # Errors
///
/// The value holds a resource, stream, future or error context, or is not of that type.
pub fn to_json(value: &Val, ty: &Type) -> Result<Value, ValueError> {
    Ok(match (value, ty) {
        (Val::Bool(truth), Type::Bool) => Value::Bool(*truth),
        (Val::S8(number), Type::S8) => (*number).into(),
        (Val::U8(number), Type::U8) => (*number).into(),
        (Val::S16(number), Type::S16) => (*number).into(),
        (Val::U16(number), Type::U16) => (*number).into(),
        (Val::S32(number), Type::S32) => (*number).into(),
        (Val::U32(number), Type::U32) => (*number).into(),
        (Val::S64(number), Type::S64) => wide(number.unsigned_abs(), *number),
        (Val::U64(number), Type::U64) => wide(*number, *number),
        (Val::Float32(number), Type::Float32) => float(widened(*number)),
        (Val::Float64(number), Type::Float64) => float(*number),
        (Val::Char(character), Type::Char) => Value::String(character.to_string()),
        (Val::String(text), Type::String) => Value::String(text.clone()),
        (Val::List(items), Type::List(list)) if list.ty() == Type::U8 => {
            let byte = |item: &Val| if let Val::U8(byte) = item { Some(*byte) } else { None };
            let bytes: Option<Vec<u8>> = items.iter().map(byte).collect();
            STANDARD.encode(bytes.ok_or_else(|| foreign(ty))?).into()
        }
        (Val::List(items), Type::List(list)) => write_items(items, &list.ty())?,
        (Val::FixedLengthList(items), Type::FixedLengthList(list)) => write_items(items, &list.ty())?,
        (Val::Map(entries), Type::Map(map)) => write_map(entries, &map.key(), &map.value())?,
        (Val::Record(fields), Type::Record(record)) if fields.len() == record.fields().len() => {
            let mut written = Map::new();
            for ((name, value), field) in fields.iter().zip(record.fields()) {
                written.insert(name.clone(), to_json(value, &field.ty).map_err(|e| e.field(name))?);
            }
            Value::Object(written)
        }
        (Val::Tuple(items), Type::Tuple(tuple)) if items.len() == tuple.types().len() => {
            let write = |(index, (item, ty)): (usize, (&Val, Type))| to_json(item, &ty).map_err(|e| e.item(index));
            Value::Array(items.iter().zip(tuple.types()).enumerate().map(write).collect::<Result<_, _>>()?)
        }
        (Val::Variant(name, payload), Type::Variant(variant)) => {
            let case = variant.cases().find(|case| case.name == name).ok_or_else(|| foreign(ty))?;
            match (payload, case.ty) {
                (None, None) => Value::String(name.clone()),
                (Some(payload), Some(ty)) => tagged(name, to_json(payload, &ty).map_err(|e| e.field(name))?),
                _ => return Err(foreign(ty)),
            }
        }
        (Val::Enum(name), Type::Enum(_)) => Value::String(name.clone()),
        (Val::Flags(names), Type::Flags(_)) => names.iter().map(String::as_str).collect(),
        (Val::Option(None), Type::Option(_)) => Value::Null,
        (Val::Option(Some(inner)), Type::Option(option)) if is_nullable(&option.ty()) => {
            tagged("some", to_json(inner, &option.ty()).map_err(|e| e.field("some"))?)
        }
        (Val::Option(Some(inner)), Type::Option(option)) => to_json(inner, &option.ty())?,
        (Val::Result(Ok(payload)), Type::Result(result)) => {
            tagged("ok", write_payload(payload.as_deref(), result.ok().as_ref()).map_err(|e| e.field("ok"))?)
        }
        (Val::Result(Err(payload)), Type::Result(result)) => {
            tagged("err", write_payload(payload.as_deref(), result.err().as_ref()).map_err(|e| e.field("err"))?)
        }
        _ => return Err(foreign(ty)),
    })
}

/// The texts and bytes in a value, as they are.
pub fn texts(value: &Val) -> Vec<Cow<'_, [u8]>> {
    match value {
        Val::String(text) => vec![text.as_bytes().into()],
        Val::List(values) => {
            let byte = |value: &Val| if let Val::U8(byte) = value { Some(*byte) } else { None };
            let letter = |value: &Val| if let Val::Char(letter) = value { Some(*letter) } else { None };
            if let Some(bytes) = values.iter().map(byte).collect::<Option<Vec<u8>>>() {
                vec![bytes.into()]
            } else if let Some(text) = values.iter().map(letter).collect::<Option<String>>() {
                vec![text.into_bytes().into()]
            } else {
                values.iter().flat_map(texts).collect()
            }
        }
        Val::Tuple(values) => values.iter().flat_map(texts).collect(),
        Val::Map(entries) => {
            entries.iter().flat_map(|(key, value)| texts(key).into_iter().chain(texts(value))).collect()
        }
        Val::Record(fields) => fields.iter().flat_map(|(_, value)| texts(value)).collect(),
        Val::Variant(_, payload) | Val::Option(payload) | Val::Result(Ok(payload) | Err(payload)) => {
            payload.iter().flat_map(|value| texts(value)).collect()
        }
        _ => Vec::new(),
    }
}

/// Reads an object that has exactly the given fields; those of type `option` may be left out.
pub(crate) fn read_fields<'a>(
    kind: &'static str,
    fields: impl Iterator<Item = (&'a str, &'a Type)> + Clone,
    entries: &Map<String, Value>,
) -> Result<Vec<Val>, ValueError> {
    // There are few fields, and no more keys than that are looked for: the first that is none of them ends it.
    let known = || fields.clone().map(|(name, _)| name);
    if let Some(name) = entries.keys().find(|name| !known().any(|known| known == name.as_str())) {
        return Err(unknown(kind, name, known().collect::<BTreeSet<_>>().into_iter()).into());
    }
    let read = |(name, ty): (&str, &Type)| match entries.get(name) {
        Some(value) => from_json(ty, value).map_err(|error| error.field(name)),
        None if is_nullable(ty) => Ok(Val::Option(None)),
        None => Err(Fault::Missing { kind, name: name.to_owned() }.into()),
    };
    fields.map(read).collect()
}

/// Writes the payload of a result: `null` where there is none.
pub(crate) fn write_payload(payload: Option<&Val>, ty: Option<&Type>) -> Result<Value, ValueError> {
    match (payload, ty) {
        (None, None) => Ok(Value::Null),
        (Some(payload), Some(ty)) => to_json(payload, ty),
        (_, ty) => Err(ty.map_or(Fault::NotPlain { kind: "value of another type" }.into(), foreign)),
    }
}

/// Whether `null` is a value of the type.
pub(crate) fn is_nullable(ty: &Type) -> bool {
    matches!(ty, Type::Option(_))
}

fn integer<T: TryFrom<i128>>(ty: &Type, value: &Value) -> Result<T, Fault> {
    let number = match value {
        Value::Number(number) => number.as_u64().map(i128::from).or_else(|| number.as_i64().map(i128::from)),
        Value::String(text) if matches!(ty, Type::S64 | Type::U64) => {
            // Only the one usual way to write a number: no plus sign, no leading zeros.
            text.parse::<i128>().ok().filter(|number| number.to_string() == *text)
        }
        _ => None,
    };
    number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| mismatch(ty, value))
}

fn double(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

/// The nearest `f32`, unless the number is beyond them all.
fn single(value: &Value) -> Option<f32> {
    let double = double(value)?;
    let single = narrowed(double);
    (single.is_infinite() == double.is_infinite()).then_some(single)
}

#[expect(clippy::cast_possible_truncation, reason = "the nearest `f32` is what is wanted")]
fn narrowed(number: f64) -> f32 {
    number as f32
}

/// The float that is written in the fewest digits and still reads back as `number`.
fn widened(number: f32) -> f64 {
    let shortest = number.to_string().parse().unwrap_or(f64::from(number));
    // Reading rounds twice, to `f64` and to `f32`, which could in theory miss by one.
    if narrowed(shortest).to_bits() == number.to_bits() { shortest } else { f64::from(number) }
}

fn float(number: f64) -> Value {
    match Number::from_f64(number) {
        Some(finite) => Value::Number(finite),
        None if number.is_nan() => "NaN".into(),
        None if number > 0.0 => "Infinity".into(),
        None => "-Infinity".into(),
    }
}

fn wide(magnitude: u64, number: impl Into<Value> + Display) -> Value {
    if magnitude > SAFE_INTEGER { Value::String(number.to_string()) } else { number.into() }
}

fn only_char(text: &str) -> Option<char> {
    let mut characters = text.chars();
    characters.next().filter(|_| characters.next().is_none())
}

fn tagged(name: &str, value: Value) -> Value {
    Value::Object(Map::from_iter([(name.to_owned(), value)]))
}

/// A case without payload, or with.
fn one_case(value: &Value) -> Option<(&str, Option<&Value>)> {
    match value {
        Value::String(name) => Some((name, None)),
        Value::Object(entries) if entries.len() == 1 => {
            entries.iter().next().map(|(name, payload)| (name.as_str(), Some(payload)))
        }
        _ => None,
    }
}

fn read_items(ty: &Type, items: &[Value]) -> Result<Vec<Val>, ValueError> {
    items.iter().enumerate().map(|(index, item)| from_json(ty, item).map_err(|e| e.item(index))).collect()
}

fn write_items(items: &[Val], ty: &Type) -> Result<Value, ValueError> {
    let write = |(index, item)| to_json(item, ty).map_err(|e| e.item(index));
    items.iter().enumerate().map(write).collect::<Result<_, _>>().map(Value::Array)
}

/// `None` if the value has not the shape of a map. A map has no order, so its entries are brought into one.
fn read_map(key: &Type, ty: &Type, value: &Value) -> Option<Result<Vec<(Val, Val)>, ValueError>> {
    let mut entries = BTreeMap::new();
    let read = match value {
        Value::Object(given) if *key == Type::String => given.iter().try_for_each(|(name, value)| {
            let value = from_json(ty, value).map_err(|error| error.within(place(name)))?;
            entries.insert(name.clone(), (Val::String(name.clone()), value));
            Ok(())
        }),
        Value::Array(given) if *key != Type::String => given.iter().enumerate().try_for_each(|(index, pair)| {
            let (name, value) = read_pair(key, ty, pair).map_err(|error| error.item(index))?;
            // A key may be given in two ways, as `5` and as `"5"`: its own JSON is the one to compare.
            let written = json::canonical(&to_json(&name, key)?);
            let repeated = Fault::Repeated { kind: "key", name: text::quoted(&written) };
            match entries.insert(written, (name, value)) {
                Some(_) => Err(ValueError::from(repeated).item(index)),
                None => Ok(()),
            }
        }),
        _ => return None,
    };
    Some(read.map(|()| entries.into_values().collect()))
}

fn read_pair(key: &Type, ty: &Type, pair: &Value) -> Result<(Val, Val), ValueError> {
    let Some([name, value]) = pair.as_array().map(Vec::as_slice) else {
        return Err(Fault::Mismatch { expected: "a pair of key and value".to_owned(), found: found(pair) }.into());
    };
    let name = from_json(key, name).map_err(|error| error.item(0))?;
    Ok((name, from_json(ty, value).map_err(|error| error.item(1))?))
}

/// Of entries with the same key the last one counts, which is what they mean in a component.
fn write_map(entries: &[(Val, Val)], key: &Type, ty: &Type) -> Result<Value, ValueError> {
    let mut written = BTreeMap::new();
    for (name, value) in entries {
        let name = to_json(name, key)?;
        let spelt =
            name.as_str().filter(|_| *key == Type::String).map_or_else(|| json::canonical(&name), str::to_owned);
        let value = to_json(value, ty).map_err(|error| error.within(place(&spelt)))?;
        written.insert(spelt, (name, value));
    }
    if *key == Type::String {
        return Ok(Value::Object(written.into_iter().map(|(spelt, (_, value))| (spelt, value)).collect()));
    }
    Ok(written.into_values().map(|(name, value)| Value::Array(vec![name, value])).collect())
}

fn read_case<'a>(
    mut cases: impl ExactSizeIterator<Item = Case<'a>>,
    name: &str,
    payload: Option<&Value>,
) -> Result<Val, ValueError> {
    let mut names = Vec::with_capacity(cases.len());
    let case = cases.find(|case| {
        names.push(case.name);
        case.name == name
    });
    let case = case.ok_or_else(|| unknown("case", name, names.into_iter()))?;
    match (case.ty, payload) {
        (None, None) => Ok(Val::Variant(name.to_owned(), None)),
        (Some(ty), Some(payload)) => {
            let payload = from_json(&ty, payload).map_err(|error| error.field(name))?;
            Ok(Val::Variant(name.to_owned(), Some(Box::new(payload))))
        }
        (None, Some(_)) => {
            let found = format!("a payload for `{}`, which has none", text::quoted(name));
            Err(Fault::Mismatch { expected: "the case's name as a string".to_owned(), found }.into())
        }
        (Some(_), None) => {
            let found = format!("`{}` without its payload", text::quoted(name));
            Err(Fault::Mismatch { expected: "an object of the case and its payload".to_owned(), found }.into())
        }
    }
}

fn read_payload(name: &str, ty: Option<Type>, payload: &Value) -> Result<Option<Box<Val>>, ValueError> {
    match ty {
        Some(ty) => Ok(Some(Box::new(from_json(&ty, payload).map_err(|error| error.field(name))?))),
        None if payload.is_null() => Ok(None),
        None => {
            let mismatch =
                Fault::Mismatch { expected: "null, for there is no payload".to_owned(), found: found(payload) };
            Err(ValueError::from(mismatch).field(name))
        }
    }
}

/// Flags in the order of their declaration, whatever the order in which they are given.
fn read_flags(known: Vec<&str>, given: &[Value]) -> Result<Vec<String>, ValueError> {
    let mut set = BTreeSet::new();
    for (index, flag) in given.iter().enumerate() {
        let checked = match flag.as_str() {
            None => Err(Fault::Mismatch { expected: "the name of a flag".to_owned(), found: found(flag) }),
            Some(name) if !known.contains(&name) => Err(unknown("flag", name, known.iter().copied())),
            Some(name) if !set.insert(name) => Err(Fault::Repeated { kind: "flag", name: text::quoted(name) }),
            Some(_) => Ok(()),
        };
        checked.map_err(|fault| ValueError::from(fault).item(index))?;
    }
    Ok(known.into_iter().filter(|name| set.contains(name)).map(str::to_owned).collect())
}
