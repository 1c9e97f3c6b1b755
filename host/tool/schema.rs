//! JSON Schema (draft 2020-12) of component types: what a model is told about a tool.
//!
//! A schema describes exactly what [`value`](super::value) writes. That module also reads a few other forms, which are
//! left out here: one way to say a thing is enough for who writes JSON.

use serde_json::{Map, Value, json};
use wasmtime::component::Type;

use super::docs::Note;
use super::misfit::limits;
use super::value::is_nullable;

/// The schema of a type, with what its author wrote about it.
pub(crate) fn of(ty: &Type, note: Note<'_>) -> Value {
    let mut schema = bare(ty, note);
    if let Some(entries) = schema.as_object_mut() {
        if let Some(title) = note.title() {
            entries.insert("title".to_owned(), title.into());
        }
        if let Some(description) = note.description() {
            entries.insert("description".to_owned(), description.into());
        }
    }
    schema
}

/// The schema of an object with exactly these properties; those of type `option` may be left out.
pub(crate) fn object<'a>(fields: impl Iterator<Item = (&'a str, Type, Note<'a>, Option<String>)>) -> Value {
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for (name, ty, note, description) in fields {
        if !is_nullable(&ty) {
            required.push(name);
        }
        properties.insert(name.to_owned(), described(of(&ty, note), description));
    }
    let mut schema = json!({ "type": "object", "properties": properties });
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    schema["additionalProperties"] = false.into();
    schema
}

/// The schema of the payload of a result, or of the result of a function.
pub(crate) fn payload(ty: Option<&Type>, note: Note<'_>) -> Value {
    ty.map_or_else(|| json!({ "type": "null" }), |ty| of(ty, note))
}

fn bare(ty: &Type, note: Note<'_>) -> Value {
    match ty {
        Type::Bool => json!({ "type": "boolean" }),
        Type::S8 | Type::U8 | Type::S16 | Type::U16 | Type::S32 | Type::U32 | Type::S64 | Type::U64 => integer(ty),
        Type::Float32 | Type::Float64 => {
            json!({ "anyOf": [{ "type": "number" }, { "enum": ["NaN", "Infinity", "-Infinity"] }] })
        }
        Type::Char => json!({ "type": "string", "minLength": 1, "maxLength": 1 }),
        Type::String => json!({ "type": "string" }),
        Type::List(list) if list.ty() == Type::U8 => json!({ "type": "string", "contentEncoding": "base64" }),
        Type::List(list) => json!({ "type": "array", "items": of(&list.ty(), note.element()) }),
        Type::FixedLengthList(list) => {
            let items = of(&list.ty(), note.element());
            json!({ "type": "array", "items": items, "minItems": list.len(), "maxItems": list.len() })
        }
        Type::Map(map) if map.key() == Type::String => {
            json!({ "type": "object", "additionalProperties": of(&map.value(), note.element()) })
        }
        Type::Map(map) => {
            let pair = [of(&map.key(), note.key()), of(&map.value(), note.element())];
            json!({ "type": "array", "items": fixed(&pair) })
        }
        Type::Record(record) => {
            let field = |name, ty| (name, ty, note.member(name), note.about(name));
            object(record.fields().map(|declared| field(declared.name, declared.ty)))
        }
        Type::Tuple(tuple) => {
            fixed(&tuple.types().enumerate().map(|(at, ty)| of(&ty, note.place(at))).collect::<Vec<_>>())
        }
        Type::Variant(variant) => {
            let cases = variant.cases().map(|case| {
                let schema = match case.ty {
                    Some(ty) => tagged(case.name, of(&ty, note.member(case.name))),
                    None => json!({ "const": case.name }),
                };
                described(schema, note.about(case.name))
            });
            json!({ "oneOf": cases.collect::<Vec<_>>() })
        }
        Type::Enum(cases) => choice(&cases.names().collect::<Vec<_>>(), note),
        Type::Flags(flags) => {
            json!({ "type": "array", "items": choice(&flags.names().collect::<Vec<_>>(), note), "uniqueItems": true })
        }
        Type::Option(option) => {
            let inner = of(&option.ty(), note.element());
            let some = if is_nullable(&option.ty()) { tagged("some", inner) } else { inner };
            json!({ "anyOf": [some, { "type": "null" }] })
        }
        Type::Result(result) => {
            let ok = payload(result.ok().as_ref(), note.ok());
            let err = payload(result.err().as_ref(), note.err());
            json!({ "oneOf": [tagged("ok", ok), tagged("err", err)] })
        }
        // Nothing fits: functions with such types are no tools, so this is never shown.
        Type::Own(_) | Type::Borrow(_) | Type::Future(_) | Type::Stream(_) | Type::ErrorContext => Value::Bool(false),
    }
}

fn integer(ty: &Type) -> Value {
    let (least, greatest) = limits(ty).unwrap_or_default();
    let mut schema = json!({ "type": "integer", "minimum": least, "maximum": greatest });
    if matches!(ty, Type::S64 | Type::U64) {
        schema["type"] = json!(["integer", "string"]);
        let sign = if least < 0 { "-?" } else { "" };
        schema["pattern"] = format!("^(0|{sign}[1-9][0-9]*)$").into();
    }
    schema
}

/// One of some names. With a schema for each when there is something to say about them.
fn choice(names: &[&str], note: Note<'_>) -> Value {
    if names.iter().all(|name| note.about(name).is_none()) {
        return json!({ "type": "string", "enum": names });
    }
    let case = |name: &&str| described(json!({ "const": name }), note.about(name));
    json!({ "type": "string", "oneOf": names.iter().map(case).collect::<Vec<_>>() })
}

/// An array with one schema for each place.
fn fixed(places: &[Value]) -> Value {
    let count = places.len();
    json!({ "type": "array", "prefixItems": places, "items": false, "minItems": count, "maxItems": count })
}

/// An object of one property.
fn tagged(name: &str, value: Value) -> Value {
    let properties = Map::from_iter([(name.to_owned(), value)]);
    json!({ "type": "object", "properties": properties, "required": [name], "additionalProperties": false })
}

/// What is said about a place counts more than what is said about its type.
fn described(mut schema: Value, description: Option<String>) -> Value {
    if let (Some(entries), Some(description)) = (schema.as_object_mut(), description) {
        entries.insert("description".to_owned(), description.into());
    }
    schema
}
