//! Laws of values and schemas, over random types.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::subsequence;
use serde_json::Value;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Type, Val};
use wasmtime::{Config, Engine};

use super::docs::{Documents, Note};
use super::value::{from_json, to_json};
use super::{json, schema};

/// An engine that knows all types.
pub(crate) fn engine() -> Engine {
    let mut config = Config::new();
    config.wasm_component_model_map(true).wasm_component_model_fixed_length_lists(true);
    Engine::new(&config).unwrap()
}

/// Compiles a component from text.
#[expect(clippy::disallowed_methods, reason = "a test's component is its own text")]
pub(crate) fn compile(engine: &Engine, text: &str) -> (Component, Vec<u8>) {
    let wasm = wat::parse_str(text).unwrap();
    (Component::from_binary(engine, &wasm).unwrap(), wasm)
}

/// The type that `definitions` and an expression describe in the text format.
pub(crate) fn type_of(definitions: &str, expression: &str) -> Type {
    let engine = engine();
    let text = format!("(component {definitions} (import \"take\" (func (param \"value\" {expression}))))");
    let (component, _) = compile(&engine, &text);
    let imported = component.component_type().get_import(&engine, "take").unwrap().ty;
    let ComponentItem::ComponentFunc(function) = imported else { panic!("{text}") };
    function.params().next().unwrap().1
}

const LEAVES: [&str; 13] =
    ["bool", "s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64", "f32", "f64", "char", "string"];
/// Those of them that may be keys.
const KEYS: [&str; 11] = ["bool", "s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64", "char", "string"];

/// A type, as the text format describes it.
#[derive(Clone, Debug)]
enum Shape {
    Leaf(&'static str),
    /// The word that makes a type without a name, and its parts; what follows them.
    Plain(&'static str, Vec<Shape>, String),
    Record(Vec<Shape>),
    Variant(Vec<Option<Shape>>),
    Result(Option<Box<Shape>>, Option<Box<Shape>>),
    Names(&'static str, usize),
}

fn shapes() -> impl Strategy<Value = Shape> {
    let names = prop_oneof![Just("enum"), Just("flags")];
    let leaf = prop_oneof![
        4 => prop::sample::select(&LEAVES[..]).prop_map(Shape::Leaf),
        1 => (names, 1_usize..32).prop_map(|(word, count)| Shape::Names(word, count)),
    ];
    leaf.prop_recursive(4, 16, 3, |inner| {
        let one = inner.clone().prop_map(|shape| vec![shape]);
        let some = prop::collection::vec(inner.clone(), 1..4);
        let payload = prop::option::of(inner.clone());
        let key = prop::sample::select(&KEYS[..]).prop_map(Shape::Leaf);
        prop_oneof![
            one.clone().prop_map(|parts| Shape::Plain("list", parts, String::new())),
            one.clone().prop_map(|parts| Shape::Plain("option", parts, String::new())),
            (one, 1_usize..4).prop_map(|(parts, length)| Shape::Plain("list", parts, length.to_string())),
            some.clone().prop_map(|parts| Shape::Plain("tuple", parts, String::new())),
            (key, inner).prop_map(|(key, value)| Shape::Plain("map", vec![key, value], String::new())),
            some.prop_map(Shape::Record),
            prop::collection::vec(payload.clone(), 1..4).prop_map(Shape::Variant),
            (payload.clone(), payload).prop_map(|(ok, err)| Shape::Result(ok.map(Box::new), err.map(Box::new))),
        ]
    })
}

impl Shape {
    /// Writes definitions to `out`, and returns what names the type after them.
    fn define(&self, out: &mut Vec<String>) -> String {
        let (is_named, body) = match self {
            Self::Leaf(name) => return (*name).to_owned(),
            Self::Plain(word, parts, rest) => {
                let parts: Vec<_> = parts.iter().map(|part| part.define(out)).collect();
                (false, format!("({word} {} {rest})", parts.join(" ")))
            }
            Self::Record(fields) => {
                let field = |(index, ty): (usize, &Self)| format!("(field \"f{index}\" {})", ty.define(out));
                (true, format!("(record {})", fields.iter().enumerate().map(field).collect::<String>()))
            }
            Self::Variant(cases) => {
                let case = |(index, ty): (usize, &Option<Self>)| {
                    format!("(case \"c{index}\" {})", ty.as_ref().map(|ty| ty.define(out)).unwrap_or_default())
                };
                (true, format!("(variant {})", cases.iter().enumerate().map(case).collect::<String>()))
            }
            Self::Result(ok, err) => {
                let ok = ok.as_ref().map(|ty| ty.define(out)).unwrap_or_default();
                let err = err.as_ref().map(|ty| format!("(error {})", ty.define(out))).unwrap_or_default();
                (false, format!("(result {ok} {err})"))
            }
            Self::Names(word, count) => {
                let names: Vec<_> = (0..*count).map(|index| format!("\"n{index}\"")).collect();
                (true, format!("({word} {})", names.join(" ")))
            }
        };
        let index = out.len();
        let import = format!("(import \"t{index}\" (type $t{index} (eq $d{index})))");
        out.push(format!("(type $d{index} {body}) {}", if is_named { import.as_str() } else { "" }));
        format!("${}{index}", if is_named { "t" } else { "d" })
    }

    fn compile(&self) -> Type {
        let mut definitions = Vec::new();
        let expression = self.define(&mut definitions);
        type_of(&definitions.join("\n"), &expression)
    }
}

/// Values of a type.
fn values(ty: &Type) -> BoxedStrategy<Val> {
    let boxed = |ty: Option<Type>| match ty {
        Some(ty) => values(&ty).prop_map(|value| Some(Box::new(value))).boxed(),
        None => Just(None).boxed(),
    };
    let many = |ty: &Type| prop::collection::vec(values(ty), 0..4);
    match ty {
        Type::Bool => any::<bool>().prop_map(Val::Bool).boxed(),
        Type::S8 => any::<i8>().prop_map(Val::S8).boxed(),
        Type::U8 => any::<u8>().prop_map(Val::U8).boxed(),
        Type::S16 => any::<i16>().prop_map(Val::S16).boxed(),
        Type::U16 => any::<u16>().prop_map(Val::U16).boxed(),
        Type::S32 => any::<i32>().prop_map(Val::S32).boxed(),
        Type::U32 => any::<u32>().prop_map(Val::U32).boxed(),
        Type::S64 => prop_oneof![any::<i64>(), -9_i64..9].prop_map(Val::S64).boxed(),
        Type::U64 => prop_oneof![any::<u64>(), 0_u64..9].prop_map(Val::U64).boxed(),
        Type::Float32 => any::<u32>().prop_map(|bits| Val::Float32(f32::from_bits(bits))).boxed(),
        Type::Float64 => any::<u64>().prop_map(|bits| Val::Float64(f64::from_bits(bits))).boxed(),
        Type::Char => any::<char>().prop_map(Val::Char).boxed(),
        Type::String => any::<String>().prop_map(Val::String).boxed(),
        Type::List(list) => many(&list.ty()).prop_map(Val::List).boxed(),
        Type::FixedLengthList(list) => {
            prop::collection::vec(values(&list.ty()), list.len() as usize).prop_map(Val::FixedLengthList).boxed()
        }
        Type::Map(map) => {
            let key = map.key();
            let entries = prop::collection::vec((values(&key), values(&map.value())), 0..4);
            let spell = move |name: &Val| match name {
                Val::String(text) => text.clone(),
                _ => json::canonical(&to_json(name, &key).unwrap()),
            };
            let ordered = move |entries: Vec<(Val, Val)>| {
                let ordered: BTreeMap<_, _> = entries.into_iter().map(|entry| (spell(&entry.0), entry)).collect();
                Val::Map(ordered.into_values().collect())
            };
            entries.prop_map(ordered).boxed()
        }
        Type::Record(record) => {
            let fields: Vec<_> =
                record.fields().map(|field| (Just(field.name.to_owned()), values(&field.ty)).boxed()).collect();
            fields.prop_map(Val::Record).boxed()
        }
        Type::Tuple(tuple) => tuple.types().map(|ty| values(&ty)).collect::<Vec<_>>().prop_map(Val::Tuple).boxed(),
        Type::Variant(variant) => {
            let cases: Vec<_> =
                variant.cases().map(|case| (Just(case.name.to_owned()), boxed(case.ty)).boxed()).collect();
            proptest::strategy::Union::new(cases).prop_map(|(name, payload)| Val::Variant(name, payload)).boxed()
        }
        Type::Enum(cases) => {
            let names: Vec<_> = cases.names().map(str::to_owned).collect();
            prop::sample::select(names).prop_map(Val::Enum).boxed()
        }
        Type::Flags(flags) => {
            let names: Vec<_> = flags.names().map(str::to_owned).collect();
            let count = names.len();
            subsequence(names, 0..=count).prop_map(Val::Flags).boxed()
        }
        Type::Option(option) => {
            prop_oneof![Just(Val::Option(None)), boxed(Some(option.ty())).prop_map(Val::Option)].boxed()
        }
        Type::Result(result) => prop_oneof![
            boxed(result.ok()).prop_map(|payload| Val::Result(Ok(payload))),
            boxed(result.err()).prop_map(|payload| Val::Result(Err(payload))),
        ]
        .boxed(),
        other => panic!("{other:?} is no plain value"),
    }
}

/// Whether a value satisfies a schema, as far as the keywords go that we use; any other is an error of the test.
fn satisfies(value: &Value, schema: &Value) -> bool {
    let Some(keywords) = schema.as_object() else { return schema.as_bool().unwrap() };
    let list = |schemas: &Value| schemas.as_array().unwrap().clone();
    keywords.iter().all(|(keyword, want)| match keyword.as_str() {
        "title" | "description" => want.is_string(),
        "contentEncoding" => want == "base64",
        "type" => match want {
            Value::Array(any) => any.iter().any(|want| is_type(value, want.as_str().unwrap())),
            one => is_type(value, one.as_str().unwrap()),
        },
        "const" => value == want,
        "enum" => list(want).contains(value),
        "anyOf" => list(want).iter().any(|schema| satisfies(value, schema)),
        "oneOf" => list(want).iter().filter(|schema| satisfies(value, schema)).count() == 1,
        "properties" => value.as_object().is_none_or(|entries| {
            entries.iter().all(|(name, value)| want.get(name).is_none_or(|schema| satisfies(value, schema)))
        }),
        "required" => value
            .as_object()
            .is_none_or(|entries| list(want).iter().all(|name| entries.contains_key(name.as_str().unwrap()))),
        "additionalProperties" => value.as_object().is_none_or(|entries| {
            let is_declared = |name| keywords.get("properties").is_some_and(|declared| declared.get(name).is_some());
            entries.iter().all(|(name, value)| is_declared(name) || satisfies(value, want))
        }),
        "prefixItems" => {
            value.as_array().is_none_or(|items| items.iter().zip(list(want)).all(|(i, s)| satisfies(i, &s)))
        }
        "items" => value.as_array().is_none_or(|items| {
            let prefix = keywords.get("prefixItems").map_or(0, |prefix| list(prefix).len());
            items.iter().skip(prefix).all(|item| satisfies(item, want))
        }),
        "minItems" => value.as_array().is_none_or(|items| items.len() as u64 >= want.as_u64().unwrap()),
        "maxItems" => value.as_array().is_none_or(|items| items.len() as u64 <= want.as_u64().unwrap()),
        "minLength" => value.as_str().is_none_or(|text| text.chars().count() as u64 >= want.as_u64().unwrap()),
        "maxLength" => value.as_str().is_none_or(|text| text.chars().count() as u64 <= want.as_u64().unwrap()),
        "uniqueItems" => {
            value.as_array().is_none_or(|items| (1..items.len()).all(|end| !items[..end].contains(&items[end])))
        }
        "minimum" => whole(value).is_none_or(|number| number >= whole(want).unwrap()),
        "maximum" => whole(value).is_none_or(|number| number <= whole(want).unwrap()),
        "pattern" => value.as_str().is_none_or(|text| {
            let digits = if want.as_str().unwrap().contains("-?") { text.trim_start_matches('-') } else { text };
            digits == "0" || (!digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit()))
        }),
        other => panic!("`{other}` is not known here"),
    })
}

fn whole(value: &Value) -> Option<i128> {
    value.as_u64().map(i128::from).or_else(|| value.as_i64().map(i128::from))
}

fn is_type(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => whole(value).is_some(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("`{other}` is no type"),
    }
}

/// A type and a value of it.
pub(crate) fn typed() -> impl Strategy<Value = (Type, Val)> {
    shapes().prop_map(|shape| shape.compile()).prop_flat_map(|ty| {
        let values = values(&ty);
        (Just(ty), values)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_on_the_way_through_json((ty, value) in typed()) {
        let written = to_json(&value, &ty).unwrap();
        prop_assert_eq!(&from_json(&ty, &written).unwrap(), &value);
        for text in [written.to_string(), json::canonical(&written)] {
            prop_assert_eq!(&from_json(&ty, &json::parse(&text).unwrap()).unwrap(), &value, "{}", text);
        }
    }

    #[test]
    fn equal_values_are_equal_bytes_and_others_are_not((ty, value) in typed(), seed in any::<u64>()) {
        let bytes = |value: &Val| json::canonical(&to_json(value, &ty).unwrap());
        let mut runner = proptest::test_runner::TestRunner::new_with_rng(
            ProptestConfig::default(),
            proptest::test_runner::TestRng::from_seed(
                proptest::test_runner::RngAlgorithm::ChaCha,
                &[seed.to_le_bytes(); 4].concat(),
            ),
        );
        let other = values(&ty).new_tree(&mut runner).unwrap().current();
        prop_assert_eq!(bytes(&value) == bytes(&other), value == other);
    }

    #[test]
    fn what_is_written_satisfies_the_schema((ty, value) in typed()) {
        let schema = schema::of(&ty, Note::default());
        let written = to_json(&value, &ty).unwrap();
        prop_assert!(satisfies(&written, &schema), "{} against {}", written, schema);
    }

    #[test]
    fn sections_are_sought_in_any_bytes(tail in prop::collection::vec(prop_oneof![0_u8..6, any::<u8>()], 0..64)) {
        let section = b"\x00\x0e\x0cpackage-docs\x01{}";
        Documents::of(&[b"\0asm\x0d\0\x01\0", tail.as_slice(), section].concat(), &[], &[]);
    }

    #[test]
    fn any_json_is_read_whole_or_refused(shape in shapes(), given in json::tests::values()) {
        let ty = shape.compile();
        if let Ok(value) = from_json(&ty, &given) {
            prop_assert_eq!(from_json(&ty, &to_json(&value, &ty).unwrap()).unwrap(), value);
        }
    }
}
