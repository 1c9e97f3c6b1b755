//! What is found in components, and what is said about what is not fit.

use serde_json::json;
use wasmtime::Store;
use wasmtime::component::{Linker, Val};
use wit_parser::{PackageMetadata, Resolve};

use super::laws::{compile, engine, type_of};
use super::value::{from_json, to_json};
use super::*;

/// A package as an author writes it.
const WIT: &str = r"
package acme:search@1.0.0;

/// Words and where they are.
interface index {
    /// How near a word must be.
    enum nearness {
        /// To the letter.
        exact,
        fuzzy,
    }

    /// What to look for.
    record filter {
        /// At most this many.
        limit: u32,
        near: option<nearness>,
    }

    /// Why nothing was found.
    variant problem {
        /// Nobody knows.
        unknown,
        /// The word that was too short.
        short(string),
    }

    /// Finds passages.
    ///
    /// The best one comes first.
    query: func(text: string, filter: filter) -> result<list<string>, problem>;

    twice: func(number: s64) -> s64;
}

interface unused {
    /// Is not in the component.
    nothing: func();
}

world tool {
    export index;
    /// Says nothing.
    export ping: func();
}
";

/// The component that a toolchain makes of it, but for the code.
const SEARCH: &str = r#"(component
    (core module $m
        (memory (export "memory") 1)
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
        (func (export "query") (param i32 i32 i32 i32 i32) (result i32) unreachable)
        (func (export "twice") (param i64) (result i64) (i64.mul (local.get 0) (i64.const 2)))
        (func (export "ping")))
    (core instance $i (instantiate $m))
    (alias core export $i "memory" (core memory $memory))
    (alias core export $i "realloc" (core func $realloc))
    (type $nearness (enum "exact" "fuzzy"))
    (type $filter (record (field "limit" u32) (field "near" (option $nearness))))
    (type $problem (variant (case "unknown") (case "short" string)))
    (type $query (func (param "text" string) (param "filter" $filter) (result (result (list string) (error $problem)))))
    (type $twice (func (param "number" s64) (result s64)))
    (func $query (type $query)
        (canon lift (core func $i "query") (memory $memory) (realloc $realloc)))
    (func $twice (type $twice) (canon lift (core func $i "twice")))
    (func $ping (canon lift (core func $i "ping")))
    (component $shim
        (type $nearness (enum "exact" "fuzzy"))
        (import "nearness" (type $n (eq $nearness)))
        (type $filter (record (field "limit" u32) (field "near" (option $n))))
        (import "filter" (type $f (eq $filter)))
        (type $problem (variant (case "unknown") (case "short" string)))
        (import "problem" (type $p (eq $problem)))
        (import "query" (func $query
            (param "text" string) (param "filter" $f) (result (result (list string) (error $p)))))
        (import "twice" (func $twice (param "number" s64) (result s64)))
        (export $ne "nearness" (type $nearness))
        (type $filter-out (record (field "limit" u32) (field "near" (option $ne))))
        (export $fe "filter" (type $filter-out))
        (export $pe "problem" (type $problem))
        (export "query" (func $query) (func
            (param "text" string) (param "filter" $fe) (result (result (list string) (error $pe)))))
        (export "twice" (func $twice)))
    (instance $index (instantiate $shim
        (with "nearness" (type $nearness)) (with "filter" (type $filter)) (with "problem" (type $problem))
        (with "query" (func $query)) (with "twice" (func $twice))))
    (export "acme:search/index@1.0.0" (instance $index))
    (export "ping" (func $ping)))"#;

/// A component whose functions do nothing: `exports` stands at its end.
fn idle(exports: &str) -> String {
    format!(
        "(component (core module $m (func (export \"f\")) (func (export \"g\") (param i32))) (core instance $i (instantiate $m))
            (func $f (canon lift (core func $i \"f\"))) {exports})"
    )
}

fn listed(text: &str) -> Listed {
    let engine = engine();
    let (component, wasm) = compile(&engine, text);
    Functions::list(&component, &engine, &wasm)
}

fn names(listed: &Listed) -> Vec<&str> {
    listed.usable.iter().map(Function::name).collect()
}

fn refusals(listed: &Listed) -> String {
    listed.refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// The binary with a section at its end, as `xtask` adds it.
fn with_section(wasm: &[u8], data: &[u8]) -> Vec<u8> {
    let leb128 = |mut number: usize| {
        let mut bytes = Vec::new();
        while number > 0x7f {
            bytes.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
            number >>= 7;
        }
        bytes.push(u8::try_from(number).unwrap());
        bytes
    };
    let name = PackageMetadata::SECTION_NAME.as_bytes();
    let content = [&leb128(name.len()), name, data].concat();
    [wasm, &[0], &leb128(content.len()), &content].concat()
}

fn section(wit: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("test.wit", wit).unwrap();
    PackageMetadata::extract(&resolve, package).encode().unwrap()
}

fn documented(sections: &[Vec<u8>]) -> Vec<Function> {
    let engine = engine();
    let (component, wasm) = compile(&engine, SEARCH);
    let wasm = sections.iter().fold(wasm, |wasm, section| with_section(&wasm, section));
    Functions::of(&component, &engine, &wasm).unwrap()
}

fn find<'a>(functions: &'a [Function], name: &str) -> &'a Function {
    functions.iter().find(|function| function.name() == name).unwrap()
}

#[test]
fn comments_become_descriptions() {
    let functions = documented(&[section(WIT)]);
    assert_eq!(functions.iter().map(Function::name).collect::<Vec<_>>(), ["ping", "query", "twice"]);
    assert_eq!(find(&functions, "ping").description(), "Says nothing.");
    assert_eq!(find(&functions, "ping").interface(), None);
    assert_eq!(find(&functions, "twice").description(), "");
    let query = find(&functions, "query");
    assert_eq!(query.description(), "Finds passages.\n\nThe best one comes first.");
    assert_eq!(query.interface(), Some("acme:search/index@1.0.0"));
    insta::assert_snapshot!(serde_json::to_string_pretty(query.parameters_schema()).unwrap(), @r#"
    {
      "type": "object",
      "properties": {
        "text": {
          "type": "string"
        },
        "filter": {
          "type": "object",
          "properties": {
            "limit": {
              "type": "integer",
              "minimum": 0,
              "maximum": 4294967295,
              "description": "At most this many."
            },
            "near": {
              "anyOf": [
                {
                  "type": "string",
                  "oneOf": [
                    {
                      "const": "exact",
                      "description": "To the letter."
                    },
                    {
                      "const": "fuzzy"
                    }
                  ],
                  "title": "nearness",
                  "description": "How near a word must be."
                },
                {
                  "type": "null"
                }
              ]
            }
          },
          "required": [
            "limit"
          ],
          "additionalProperties": false,
          "title": "filter",
          "description": "What to look for."
        }
      },
      "required": [
        "text",
        "filter"
      ],
      "additionalProperties": false
    }
    "#);
    assert_eq!(*query.result_schema(), json!({ "type": "array", "items": { "type": "string" } }));
    assert_eq!(*find(&functions, "ping").result_schema(), json!({ "type": "null" }));
}

#[test]
fn without_comments_the_schema_is_the_type() {
    let functions = documented(&[]);
    let query = find(&functions, "query");
    assert_eq!(query.description(), "");
    assert!(!query.parameters_schema().to_string().contains("description"));
}

#[test]
fn sections_that_are_wrong_are_as_if_absent() {
    let bare = documented(&[]);
    let same = |sections: &[Vec<u8>]| {
        let functions = documented(sections);
        functions.iter().zip(&bare).all(|(one, other)| {
            one.description() == other.description() && one.parameters_schema() == other.parameters_schema()
        })
    };
    let good = section(WIT);
    assert!(!same(std::slice::from_ref(&good)));
    for wrong in [&b""[..], b"\x01", b"\x01{", b"\x01[]", b"\x01{\"worlds\":5}", b"\x01\xff", b"\x02{}"] {
        assert!(same(&[wrong.to_vec()]), "{wrong:?}");
        assert!(!same(&[wrong.to_vec(), good.clone()]), "{wrong:?}");
    }
    let mut large = good.clone();
    large.resize((1 << 20) + 1, b' ');
    assert!(same(&[large]));
    let other_package = section(&WIT.replace("index", "other"));
    let ping_only = documented(&[other_package]);
    assert_eq!(find(&ping_only, "query").description(), "");
}

#[test]
fn texts_of_authors_are_cleaned_and_bounded() {
    // The parser of WIT refuses such text, but an author need not use it.
    let metadata = String::from_utf8(section(WIT)).unwrap();
    let hostile = format!("Finds\\u200b \\u001b[2J\\u2068{}", "x".repeat(5_000));
    let forged = metadata.replace("Finds passages.", &hostile).replace("To the letter.", &hostile);
    let functions = documented(&[forged.into_bytes()]);
    let query = find(&functions, "query");
    let description = query.description();
    assert!(description.starts_with("Finds xxx") && description.len() <= 4_096, "{description}");
    let of_case = query.parameters_schema().pointer("/properties/filter/properties/near/anyOf/0/oneOf/0/description");
    let of_case = of_case.unwrap().as_str().unwrap();
    assert!(of_case.starts_with("Finds xxx") && of_case.len() <= 1_024, "{of_case}");
}

#[test]
fn several_packages_may_be_described() {
    let engine = engine();
    let (component, wasm) = compile(
        &engine,
        &idle(
            r#"(instance $a (export "go" (func $f))) (export "acme:a/x@1.0.0" (instance $a))
               (instance $b (export "stay" (func $f))) (export "acme:b/y" (instance $b))"#,
        ),
    );
    let a = section("package acme:a@1.0.0; interface x { /// Goes.\n go: func(); }");
    let b = section("package acme:b; interface y { /// Stays.\n stay: func(); }");
    for [first, second] in [[&a, &b], [&b, &a]] {
        let wasm = with_section(&with_section(&wasm, first), second);
        let functions = Functions::of(&component, &engine, &wasm).unwrap();
        assert_eq!(functions.iter().map(Function::description).collect::<Vec<_>>(), ["Goes.", "Stays."]);
    }
}

#[test]
fn sections_of_inner_parts_do_not_count() {
    let engine = engine();
    let inner = with_section(&wat::parse_str("(component)").unwrap(), b"\x01not even JSON");
    let (component, wasm) = compile(&engine, SEARCH);
    assert!(inner.len() < 128);
    let wasm = [wasm, vec![4, u8::try_from(inner.len()).unwrap()], inner].concat();
    let wasm = with_section(&wasm, &section(WIT));
    let functions = Functions::of(&component, &engine, &wasm).unwrap();
    assert!(find(&functions, "query").parameters_schema().to_string().contains("To the letter."));
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a store for one call of a test")]
async fn a_function_is_called_by_its_index() {
    let engine = engine();
    let (component, wasm) = compile(&engine, SEARCH);
    let functions = Functions::of(&component, &engine, &wasm).unwrap();
    let twice = find(&functions, "twice");
    let mut store = Store::new(&engine, ());
    let instance = Linker::new(&engine).instantiate_async(&mut store, &component).await.unwrap();
    let callee = instance.get_func(&mut store, twice.export()).unwrap();
    let (arguments, canonical) = twice.arguments(r#"{ "number": "4503599627370496" }"#).unwrap();
    assert_eq!(canonical, r#"{"number":4503599627370496}"#);
    let mut results = vec![Val::Bool(false)];
    callee.call_async(&mut store, &arguments, &mut results).await.unwrap();
    assert_eq!(twice.outcome(&results).unwrap(), Outcome::Ok(json!("9007199254740992")));
}

#[test]
fn a_result_is_told_apart() {
    let functions = documented(&[]);
    let query = find(&functions, "query");
    let short = Val::Variant("short".to_owned(), Some(Box::new(Val::String("x".to_owned()))));
    let outcome = |payload| query.outcome(&[Val::Result(payload)]).unwrap();
    assert_eq!(outcome(Err(Some(Box::new(short)))), Outcome::Err(json!({ "short": "x" })));
    assert_eq!(outcome(Ok(Some(Box::new(Val::List(Vec::new()))))), Outcome::Ok(json!([])));
    assert_eq!(find(&functions, "ping").outcome(&[]).unwrap(), Outcome::Ok(Value::Null));
    assert!(query.outcome(&[Val::Bool(true)]).is_err());
    assert!(query.outcome(&[]).is_err());
}

#[test]
fn the_same_arguments_are_the_same_text() {
    let functions = documented(&[]);
    let canonical = |text: &str| find(&functions, "query").arguments(text).unwrap().1;
    let one = canonical(r#"{"text":"a","filter":{"limit":5}}"#);
    assert_eq!(one, r#"{"filter":{"limit":5,"near":null},"text":"a"}"#);
    assert_eq!(canonical(r#"{ "filter": { "near": null, "limit": 5 }, "text": "\u0061" }"#), one);
}

#[test]
fn errors_in_arguments_name_the_place() {
    let functions = documented(&[]);
    let query = find(&functions, "query");
    let errors = [
        "[]",
        "{",
        r#"{"text":"a","text":"b"}"#,
        r#"{"text":"a"}"#,
        r#"{"text":5,"filter":{"limit":1}}"#,
        r#"{"text":"a","filter":{"limit":5.0}}"#,
        r#"{"text":"a","filter":{"limit":-1}}"#,
        r#"{"text":"a","filter":{"limit":4294967296}}"#,
        r#"{"text":"a","filter":{"limt":1}}"#,
        r#"{"text":"a","filter":{"limit":1,"near":"exactly"}}"#,
        r#"{"text":"a","filter":{"limit":1,"near":"something else"}}"#,
        r#"{"text":"a","filter":{"limit":1},"query":null}"#,
        r#"{"text":"a","filter":null}"#,
    ];
    let errors = errors.map(|text| format!("{text} -> {}", query.arguments(text).unwrap_err())).join("\n");
    insta::assert_snapshot!(errors, @r#"
    [] -> the arguments are not a JSON object with one property for each parameter
    { -> the arguments are not JSON: the text ends too early at line 1, column 2
    {"text":"a","text":"b"} -> the arguments are not JSON: the key `text` is repeated at line 1, column 13
    {"text":"a"} -> `$`: the parameter `filter` is missing
    {"text":5,"filter":{"limit":1}} -> `$.text`: expected a string, found the number `5`
    {"text":"a","filter":{"limit":5.0}} -> `$.filter.limit`: expected an integer from 0 to 4294967295, found the number `5.0`
    {"text":"a","filter":{"limit":-1}} -> `$.filter.limit`: expected an integer from 0 to 4294967295, found the number `-1`
    {"text":"a","filter":{"limit":4294967296}} -> `$.filter.limit`: expected an integer from 0 to 4294967295, found the number `4294967296`
    {"text":"a","filter":{"limt":1}} -> `$.filter`: there is no field `limt`; did you mean `limit`
    {"text":"a","filter":{"limit":1,"near":"exactly"}} -> `$.filter.near`: there is no case `exactly`; did you mean `exact`
    {"text":"a","filter":{"limit":1,"near":"something else"}} -> `$.filter.near`: there is no case `something else`; known: `exact`, `fuzzy`
    {"text":"a","filter":{"limit":1},"query":null} -> `$`: there is no parameter `query`; known: `filter`, `text`
    {"text":"a","filter":null} -> `$.filter`: expected an object, found null
    "#);
}

#[test]
fn each_type_says_what_it_expects() {
    let cases = [
        ("(type $t (list u8))", "$t", json!("YQ")),
        ("(type $t (list u8))", "$t", json!([1, 256])),
        ("(type $t (list u8 2))", "$t", json!([1])),
        ("", "u64", json!("007")),
        ("", "u64", json!("+7")),
        ("", "u64", json!("18446744073709551616")),
        ("", "s64", json!(1.5)),
        ("", "u32", json!("7")),
        ("", "f32", json!(1e39)),
        ("", "f64", json!("nan")),
        ("", "char", json!("ab")),
        ("", "char", json!("")),
        ("(type $t (map u64 bool))", "$t", json!([[5, true], ["5", false]])),
        ("(type $t (map u64 bool))", "$t", json!({ "5": true })),
        ("(type $t (map string u8))", "$t", json!({ "a b": 256 })),
        ("(type $t (tuple u8 u8))", "$t", json!([1])),
        (
            "(type $v (variant (case \"a\") (case \"b\" u8))) (import \"v\" (type $t (eq $v)))",
            "$t",
            json!({ "a": null }),
        ),
        ("(type $v (variant (case \"a\") (case \"b\" u8))) (import \"v\" (type $t (eq $v)))", "$t", json!("b")),
        ("(type $v (variant (case \"a\") (case \"b\" u8))) (import \"v\" (type $t (eq $v)))", "$t", json!({ "b": -1 })),
        ("(type $v (flags \"a\" \"b\")) (import \"v\" (type $t (eq $v)))", "$t", json!(["a", "a"])),
        ("(type $v (flags \"a\" \"b\")) (import \"v\" (type $t (eq $v)))", "$t", json!(["c"])),
        ("(type $o (option u8)) (type $t (option $o))", "$t", json!(5)),
        ("(type $t (result u8))", "$t", json!({ "err": 1 })),
        ("(type $t (result u8))", "$t", json!({ "ok": 1, "err": null })),
    ];
    let told = cases.map(|(definitions, name, value)| {
        format!("{name} of {definitions}: {}", from_json(&type_of(definitions, name), &value).unwrap_err())
    });
    insta::assert_snapshot!(told.join("\n"), @r#"
    $t of (type $t (list u8)): `$`: expected bytes as base64 with padding, found the string `YQ`
    $t of (type $t (list u8)): `$[1]`: expected an integer from 0 to 255, found the number `256`
    $t of (type $t (list u8 2)): `$`: expected an array of 2, found an array of 1
    u64 of : `$`: expected an integer from 0 to 18446744073709551615, found the string `007`
    u64 of : `$`: expected an integer from 0 to 18446744073709551615, found the string `+7`
    u64 of : `$`: expected an integer from 0 to 18446744073709551615, found the string `18446744073709551616`
    s64 of : `$`: expected an integer from -9223372036854775808 to 9223372036854775807, found the number `1.5`
    u32 of : `$`: expected an integer from 0 to 4294967295, found the string `7`
    f32 of : `$`: expected a number that fits 32 bits, `NaN`, `Infinity` or `-Infinity`, found the number `1e+39`
    f64 of : `$`: expected a number, `NaN`, `Infinity` or `-Infinity`, found the string `nan`
    char of : `$`: expected a string of one character, found the string `ab`
    char of : `$`: expected a string of one character, found the string ``
    $t of (type $t (map u64 bool)): `$[1]`: the key `5` is repeated
    $t of (type $t (map u64 bool)): `$`: expected an array of `[key, value]`, found an object
    $t of (type $t (map string u8)): `$["a b"]`: expected an integer from 0 to 255, found the number `256`
    $t of (type $t (tuple u8 u8)): `$`: expected an array of 2, found an array of 1
    $t of (type $v (variant (case "a") (case "b" u8))) (import "v" (type $t (eq $v))): `$`: expected the case's name as a string, found a payload for `a`, which has none
    $t of (type $v (variant (case "a") (case "b" u8))) (import "v" (type $t (eq $v))): `$`: expected an object of the case and its payload, found `b` without its payload
    $t of (type $v (variant (case "a") (case "b" u8))) (import "v" (type $t (eq $v))): `$.b`: expected an integer from 0 to 255, found the number `-1`
    $t of (type $v (flags "a" "b")) (import "v" (type $t (eq $v))): `$[1]`: the flag `a` is repeated
    $t of (type $v (flags "a" "b")) (import "v" (type $t (eq $v))): `$[0]`: there is no flag `c`; known: `a`, `b`
    $t of (type $o (option u8)) (type $t (option $o)): `$`: expected null, or an object of `some` and a value, found the number `5`
    $t of (type $t (result u8)): `$.err`: expected null, for there is no payload, found the number `1`
    $t of (type $t (result u8)): `$`: expected an object of either `ok` or `err`, found an object
    "#);
}

#[test]
fn known_values_have_known_texts() {
    let text =
        |definitions: &str, name: &str, value: Val| to_json(&value, &type_of(definitions, name)).unwrap().to_string();
    assert_eq!(text("", "f32", Val::Float32(0.1)), "0.1");
    assert_eq!(text("", "f32", Val::Float32(16_777_216.0)), "16777216.0");
    assert_eq!(text("", "f32", Val::Float32(f32::NAN)), "\"NaN\"");
    assert_eq!(text("", "f64", Val::Float64(-0.0)), "-0.0");
    assert_eq!(text("", "f64", Val::Float64(f64::NEG_INFINITY)), "\"-Infinity\"");
    assert_eq!(text("", "u64", Val::U64(9_007_199_254_740_991)), "9007199254740991");
    assert_eq!(text("", "u64", Val::U64(9_007_199_254_740_992)), "\"9007199254740992\"");
    assert_eq!(text("", "s64", Val::S64(i64::MIN)), "\"-9223372036854775808\"");
    assert_eq!(text("(type $t (list u8))", "$t", Val::List(vec![Val::U8(0), Val::U8(255)])), "\"AP8=\"");
    let options = "(type $o (option u8)) (type $t (option $o))";
    assert_eq!(text(options, "$t", Val::Option(Some(Box::new(Val::Option(None))))), "{\"some\":null}");
    let entry = |value| (Val::String("k".to_owned()), Val::U8(value));
    assert_eq!(text("(type $t (map string u8))", "$t", Val::Map(vec![entry(1), entry(2)])), "{\"k\":2}");
    assert_eq!(text("(type $t (result))", "$t", Val::Result(Err(None))), "{\"err\":null}");
}

#[test]
fn names_that_collide_are_refused() {
    let text = idle(
        r#"(instance $a (export "go" (func $f))) (export "acme:a/x" (instance $a)) (export "acme:b/x@1.0.0" (instance $a))
           (export "go" (func $f)) (export "stay" (func $f))"#,
    );
    let listed = listed(&text);
    assert_eq!(names(&listed), ["stay"]);
    assert_eq!(refusals(&listed), "`go` is exported twice: by the component itself and by `acme:a/x`");
    let engine = engine();
    let (component, wasm) = compile(&engine, &text);
    assert!(matches!(Functions::of(&component, &engine, &wasm), Err(ToolError::Collision { .. })));
}

#[test]
fn wasi_and_the_leftovers_of_toolchains_are_no_tools() {
    let text = r#"(component
        (core module $m
            (memory (export "memory") 1)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
            (func (export "run") (result i32) i32.const 0)
            (func (export "py") (param i32 i32 i32 i32))
            (func (export "js") (param i32 i32 i32 i32 i32 i32 i32 i32)))
        (core instance $i (instantiate $m))
        (alias core export $i "memory" (core memory $memory))
        (alias core export $i "realloc" (core func $realloc))
        (func $run (result (result)) (canon lift (core func $i "run")))
        (func $py (param "app-name" string) (param "symbols" u8) (param "stub-wasi" bool)
            (canon lift (core func $i "py") (memory $memory) (realloc $realloc)))
        (func $js (param "shim" string) (param "script" string) (param "entry-path" (option string)) (param "disable-gc" bool)
            (canon lift (core func $i "js") (memory $memory) (realloc $realloc)))
        (instance $wasi (export "run" (func $run))) (export "wasi:cli/run@0.2.6" (instance $wasi))
        (instance $exports (export "init" (func $py))) (export "exports" (instance $exports))
        (instance $own (export "start" (func $run))) (export "acme:own/life" (instance $own))
        EXTRA)"#;
    let with = |extra: &str| listed(&text.replace("EXTRA", extra));
    let skipped = with(r#"(export "init" (func $js))"#);
    assert_eq!((names(&skipped), refusals(&skipped)), (vec!["start"], String::new()));
    // An author's own `init` is not mistaken for one.
    assert_eq!(names(&with(r#"(export "init" (func $run))"#)), ["init", "start"]);
    assert_eq!(names(&with(r#"(export "init" (func $py))"#)), ["init", "start"]);
}

#[test]
fn resources_are_refused_by_name() {
    let listed = listed(
        r#"(component
            (core module $m (func (export "one") (param i32)) (func (export "make") (result i32) i32.const 0)
                (memory (export "memory") 1)
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
                (func (export "many") (param i32 i32)))
            (core instance $i (instantiate $m))
            (alias core export $i "memory" (core memory $memory))
            (alias core export $i "realloc" (core func $realloc))
            (type $r' (resource (rep i32)))
            (type $own' (own $r')) (type $borrow' (borrow $r')) (type $list' (list (own $r')))
            (func $new (result $own') (canon lift (core func $i "make")))
            (func $method (param "self" $borrow') (canon lift (core func $i "one")))
            (func $take (param "handle" $own') (canon lift (core func $i "one")))
            (func $many (param "handles" $list')
                (canon lift (core func $i "many") (memory $memory) (realloc $realloc)))
            (func $plain (param "count" u32) (canon lift (core func $i "one")))
            (component $shim
                (import "r" (type $r (sub resource)))
                (import "new" (func $new (result (own $r))))
                (import "method" (func $method (param "self" (borrow $r))))
                (import "take" (func $take (param "handle" (own $r))))
                (import "many" (func $many (param "handles" (list (own $r)))))
                (import "plain" (func $plain (param "count" u32)))
                (export $e "r" (type $r))
                (export "[constructor]r" (func $new) (func (result (own $e))))
                (export "[method]r.go" (func $method) (func (param "self" (borrow $e))))
                (export "take" (func $take) (func (param "handle" (own $e))))
                (export "give" (func $new) (func (result (own $e))))
                (export "many" (func $many) (func (param "handles" (list (own $e)))))
                (export "plain" (func $plain)))
            (instance $x (instantiate $shim (with "r" (type $r')) (with "new" (func $new)) (with "method" (func $method))
                (with "take" (func $take)) (with "many" (func $many)) (with "plain" (func $plain))))
            (export "acme:own/files" (instance $x)))"#,
    );
    assert_eq!(names(&listed), ["plain"]);
    insta::assert_snapshot!(refusals(&listed), @r"
    `[constructor]r` of `acme:own/files` cannot be a tool: it belongs to a resource, which does not outlive a call
    `[method]r.go` of `acme:own/files` cannot be a tool: it belongs to a resource, which does not outlive a call
    `give` of `acme:own/files` cannot be a tool: its result holds a resource, which does not outlive a call
    `many` of `acme:own/files` cannot be a tool: its parameter `handles` holds a resource, which does not outlive a call
    `take` of `acme:own/files` cannot be a tool: its parameter `handle` holds a resource, which does not outlive a call
    ");
}

#[test]
fn types_too_large_to_write_out_are_refused() {
    // Each tuple holds the one before twice: thirty of them are a thousand million parts.
    let mut definitions = "(type $t0 (tuple u8 u8))".to_owned();
    for index in 1..18 {
        let before = (index - 1).to_string();
        definitions.extend(["(type $t", &index.to_string(), " (tuple $t", &before, " $t", &before, "))"]);
    }
    let ty = type_of(&definitions, "$t17");
    assert_eq!(plain(&ty, "", DEPTH_LIMIT, &mut { SIZE_LIMIT }), Err(Obstacle::TooLarge));
    let ty = type_of(&definitions, "$t9");
    assert_eq!(plain(&ty, "", DEPTH_LIMIT, &mut { SIZE_LIMIT }), Ok(()));
    let mut definitions = "(type $t0 (list u8))".to_owned();
    for index in 1..DEPTH_LIMIT {
        definitions.extend(["(type $t", &index.to_string(), " (list $t", &(index - 1).to_string(), "))"]);
    }
    let deepest = type_of(&definitions, &format!("$t{}", DEPTH_LIMIT - 2));
    assert_eq!(plain(&deepest, "", DEPTH_LIMIT, &mut { SIZE_LIMIT }), Ok(()));
    let deeper = type_of(&definitions, &format!("$t{}", DEPTH_LIMIT - 1));
    assert_eq!(plain(&deeper, "", DEPTH_LIMIT, &mut { SIZE_LIMIT }), Err(Obstacle::TooLarge));
}

#[test]
fn too_many_functions_are_refused() {
    let exports: Vec<_> = (0..=FUNCTIONS_LIMIT).map(|index| format!("(export \"f{index}\" (func $f))")).collect();
    let listed = listed(&idle(&exports.join(" ")));
    assert_eq!(
        (listed.usable.len(), refusals(&listed).as_str()),
        (0, "it exports 1025 functions; a tool has at most 1024")
    );
}

#[test]
fn imports_are_named_in_their_order() {
    let engine = engine();
    let (component, _) = compile(
        &engine,
        r#"(component (import "wasi:cli/environment@0.2.6" (instance)) (import "a" (func)) (import "acme:x/y" (instance)))"#,
    );
    assert_eq!(imports(&component, &engine), ["wasi:cli/environment@0.2.6", "a", "acme:x/y"]);
}
