//! Types and values of arguments, put before Cedar itself.

use std::fmt::Write as _;

use std::str::FromStr as _;

use cedar_policy::{
    Authorizer, Context, Decision, Entities, EntityUid, PolicySet, Request, Schema, ValidationMode, Validator,
};
use miette::Diagnostic as _;
use proptest::prelude::*;

use super::*;
use crate::policy::value::ValueError;
use crate::tool::laws::{type_of, typed};

fn described<'a>(parameters: impl IntoIterator<Item = &'a (&'a str, Type)>) -> RecordType {
    record_type(parameters.into_iter().map(|(name, ty)| (*name, ty)))
}

/// The text of the type of one parameter, and the omissions as `path: reason`.
fn text(definitions: &str, expression: &str) -> (String, Vec<String>) {
    let RecordType { text, omitted, .. } = described(&[("a", type_of(definitions, expression))]);
    (text, omitted.iter().map(|omission| format!("{}: {}", omission.path, omission.reason)).collect())
}

fn schema(args: &RecordType) -> Schema {
    let text = format!(
        "entity Task; entity Tool;
         action \"call\" appliesTo {{ principal: [Task], resource: [Tool], context: {{ args: {} }} }};",
        args.text
    );
    Schema::from_cedarschema_str(&text).unwrap_or_else(|error| panic!("{error:?}: {text}")).0
}

fn uid(text: &str) -> EntityUid {
    EntityUid::from_str(text).unwrap()
}

/// The request that a call makes, checked against the schema.
fn request(args: &RecordType, attribute: Attribute, schema: &Schema) -> Request {
    let context = Context::from_pairs([("args".to_owned(), attribute.expression().unwrap())]).unwrap();
    let (task, action, tool) = (uid("Task::\"t\""), uid("Action::\"call\""), uid("Tool::\"t\""));
    Request::new(task, action, tool, context, Some(schema)).unwrap_or_else(|error| panic!("{error}: {}", args.text))
}

/// What strict validation says of a condition: nothing, or the error and its help.
fn mistake_to_cedar(args: &RecordType, condition: &str) -> Option<(String, Option<String>)> {
    let rules = PolicySet::from_str(&format!("permit (principal, action, resource) when {{ {condition} }};")).unwrap();
    let result = Validator::new(schema(args)).validate(&rules, ValidationMode::Strict);
    let error = result.validation_errors().next()?;
    Some((error.to_string(), error.help().map(|help| help.to_string())))
}

/// Whether a condition holds for a call. The condition has to be valid, strictly.
fn holds(args: &RecordType, values: &[Val], condition: &str) -> bool {
    assert_eq!(mistake_to_cedar(args, condition), None, "{condition} against {}", args.text);
    let rules = PolicySet::from_str(&format!("permit (principal, action, resource) when {{ {condition} }};")).unwrap();
    let request = request(args, args.attribute(values), &schema(args));
    let response = Authorizer::new().is_authorized(&request, &rules, &Entities::empty());
    assert_eq!(response.diagnostics().errors().count(), 0, "{condition}");
    response.decision() == Decision::Allow
}

const LINE: &str = r#"
    (type $c (enum "EUR" "USD")) (import "currency" (type $currency (eq $c)))
    (type $d (option string))
    (type $e (record (field "account" string) (field "max-amount" u32) (field "currency" $currency) (field "note" $d)))
    (import "line" (type $line (eq $e)))
"#;

fn line(account: &str, amount: u32, note: Option<&str>) -> Val {
    let note = note.map(|note| Box::new(Val::String(note.to_owned())));
    Val::Record(vec![
        ("account".to_owned(), Val::String(account.to_owned())),
        ("max-amount".to_owned(), Val::U32(amount)),
        ("currency".to_owned(), Val::Enum("EUR".to_owned())),
        ("note".to_owned(), Val::Option(note)),
    ])
}

#[test]
fn each_type_of_wit_has_its_place() {
    for (definitions, expression, want) in [
        ("", "bool", r#"{ "a": Bool }"#),
        ("", "u64", r#"{ "a": Long }"#),
        ("", "char", r#"{ "a": String }"#),
        (LINE, "$currency", r#"{ "a": String }"#),
        (LINE, "$line", r#"{ "a": { "account": String, "max-amount": Long, "currency": String, "note"?: String } }"#),
        (r#"(type $d (flags "r" "w")) (import "f" (type $f (eq $d)))"#, "$f", r#"{ "a": Set<String> }"#),
        ("", "(tuple bool string)", r#"{ "a": { "0": Bool, "1": String } }"#),
        ("", "(option s8)", r#"{ "a"?: Long }"#),
        ("(type $o (option s8))", "(option $o)", r#"{ "a"?: { "some"?: Long } }"#),
        ("", "(list string)", r#"{ "a.length": Long, "a": Set<String> }"#),
        ("(type $l (list string))", "(option $l)", r#"{ "a.length"?: Long, "a"?: Set<String> }"#),
        ("(type $o (option string))", "(list $o)", r#"{ "a.length": Long, "a": Set<String> }"#),
        ("", "(list u16)", r#"{ "a.length": Long, "a.least"?: Long, "a.greatest"?: Long, "a": Set<Long> }"#),
        ("", "(map string bool)", r#"{ "a.length": Long, "a": { "key": Set<String>, "value": Set<Bool> } }"#),
        ("", "(result u8 (error string))", r#"{ "a": { "case": String, "ok"?: Long, "err"?: String } }"#),
        ("", "(result)", r#"{ "a": String }"#),
        (
            r#"(type $d (variant (case "card" u32) (case "cash") (case "case" bool))) (import "v" (type $v (eq $d)))"#,
            "$v",
            r#"{ "a": { "case": String, "card"?: Long, "case.value"?: Bool } }"#,
        ),
    ] {
        assert_eq!(text(definitions, expression), (want.to_owned(), vec![]));
    }
    assert_eq!(described(&[]).text, "{}");
}

#[test]
fn what_is_left_out_is_said() {
    let float = |path: &str| format!("{path}: a float: policies have no fractions");
    let bytes = |path: &str| format!("{path}: bytes: policies have no type for them");
    for (expression, want, omitted) in [
        ("f64", "{}", float("args.a")),
        ("(list f32)", r#"{ "a.length": Long }"#, float("args.a[]")),
        ("(list u8)", r#"{ "a.length": Long }"#, bytes("args.a")),
        ("(tuple f32)", r#"{ "a": {} }"#, float("args.a.0")),
        (
            "(map u8 f32)",
            r#"{ "a.length": Long, "a": { "key.least"?: Long, "key.greatest"?: Long, "key": Set<Long> } }"#,
            float("args.a[].value"),
        ),
        ("(result f32)", r#"{ "a": { "case": String } }"#, float("args.a.ok")),
    ] {
        assert_eq!(text("", expression), (want.to_owned(), vec![omitted]));
        schema(&described(&[("a", type_of("", expression))]));
    }
}

#[test]
fn types_that_share_parts_are_bounded() {
    let mut definitions = "(type $t0 (tuple u8 f32))".to_owned();
    for level in 1..=12 {
        let half = format!("$t{}", level - 1);
        write!(definitions, "(type $t{level} (tuple {half} {half}))").unwrap();
    }
    let (large, small) = (type_of(&definitions, "$t12"), type_of("", "string"));
    let args = described(&[("before", small.clone()), ("large", large), ("after", small)]);
    assert_eq!(args.text, r#"{ "before": String, "after": String }"#);
    assert_eq!(args.omitted, [Omission { path: "args.large".to_owned(), reason: "too large to describe" }]);
}

#[test]
fn the_deepest_types_are_decided_on_the_stack_of_a_decision() {
    let mut definitions = "(type $t0 (option u8))".to_owned();
    let mut value = Val::Option(Some(Box::new(Val::U8(7))));
    for level in 1..23 {
        write!(definitions, "(type $t{level} (option $t{}))", level - 1).unwrap();
        value = Val::Option(Some(Box::new(value)));
    }
    let args = described(&[("a", type_of(&definitions, "$t22"))]);
    let schema = schema(&args);
    stacker::grow(crate::policy::compiled::STACK, || request(&args, args.attribute([&value]), &schema));
}

#[test]
fn rules_bound_single_values() {
    let args = described(&[("line", type_of(LINE, "$line")), ("reason", type_of("", "(option string)"))]);
    let values = [line("A", 9, None), Val::Option(Some(Box::new(Val::String("a broken lamp".to_owned()))))];
    for (condition, want) in [
        (r#"context.args.line["max-amount"] <= 9"#, true),
        (r#"context.args.line["max-amount"] < 9"#, false),
        (r#"context.args.line.currency == "EUR""#, true),
        (r#"context.args has reason && context.args.reason like "*lamp*""#, true),
        ("context.args.line has note", false),
    ] {
        assert_eq!(holds(&args, &values, condition), want, "{condition}");
    }
}

#[test]
fn rules_bound_lists() {
    let args = described(&[("lines", type_of(LINE, "(list $line)"))]);
    let some = [Val::List(vec![line("A", 9, None), line("B", 20, Some("gift")), line("A", 9, None)])];
    let none = [Val::List(vec![])];
    for (condition, of_some, of_none) in [
        (r#"["A", "B"].containsAll(context.args.lines.account)"#, true, true),
        (r#"["A"].containsAll(context.args.lines.account)"#, false, true),
        (r#"context.args.lines.note.contains("gift")"#, true, false),
        (r#"context.args["lines.length"] == 3"#, true, false),
        (
            r#"context.args.lines has "max-amount.greatest" && context.args.lines["max-amount.greatest"] == 20"#,
            true,
            false,
        ),
        (r#"context.args.lines has "max-amount.least" && context.args.lines["max-amount.least"] == 9"#, true, false),
        ("context.args.lines.account.isEmpty()", false, true),
    ] {
        assert_eq!(holds(&args, &some, condition), of_some, "{condition}");
        assert_eq!(holds(&args, &none, condition), of_none, "{condition}");
    }
}

#[test]
fn rules_tell_cases_apart() {
    let definitions = r#"(type $d (variant (case "card" u32) (case "cash") (case "case" bool)))
        (import "v" (type $v (eq $d)))"#;
    let args = described(&[("pay", type_of(definitions, "$v"))]);
    let variant = |name: &str, payload: Option<Val>| [Val::Variant(name.to_owned(), payload.map(Box::new))];
    assert!(holds(&args, &variant("cash", None), r#"context.args.pay.case == "cash" && !(context.args.pay has card)"#));
    let card = variant("card", Some(Val::U32(4)));
    assert!(holds(&args, &card, "context.args.pay has card && context.args.pay.card == 4"));
    let odd = variant("case", Some(Val::Bool(true)));
    assert!(holds(&args, &odd, r#"context.args.pay has "case.value" && context.args.pay["case.value"]"#));
}

#[test]
fn names_that_are_words_of_cedar_are_names() {
    const WORDS: [&str; 24] = [
        "if",
        "then",
        "else",
        "in",
        "is",
        "like",
        "has",
        "true",
        "false",
        "permit",
        "forbid",
        "when",
        "unless",
        "principal",
        "action",
        "resource",
        "context",
        "type",
        "entity",
        "namespace",
        "Set",
        "Long",
        "case",
        "some",
    ];
    let args = described(&WORDS.map(|word| (word, Type::Bool)));
    let values = WORDS.map(|_| Val::Bool(true));
    for word in WORDS {
        assert!(holds(&args, &values, &format!("context.args[\"{word}\"]")));
    }
}

#[test]
fn cedar_finds_misspelt_names_and_says_what_was_meant() {
    let args = described(&[("line", type_of(LINE, "$line")), ("lines", type_of(LINE, "(list $line)"))]);
    for (condition, found, meant) in [
        ("context.args.lin.account == \"A\"", "`args.lin`", "did you mean `line`?"),
        ("context.args.line.acount == \"A\"", "`args.line.acount`", "did you mean `account`?"),
        ("context.args.line[\"max-amuont\"] < 3", "`args.line[\"max-amuont\"]`", "did you mean `max-amount`?"),
        ("context.args[\"lines.lenght\"] < 3", "`args[\"lines.lenght\"]`", "did you mean `lines.length`?"),
        ("context.args.line.note == \"A\"", "`args.line.note`", "context.args.line has note"),
        ("context.args.line.account == 3", "the types Long and String are not compatible", "operands"),
    ] {
        let (error, help) = mistake_to_cedar(&args, condition).unwrap();
        assert!(error.contains(found) && help.as_ref().is_some_and(|help| help.contains(meant)), "{error}: {help:?}");
    }
}

#[test]
fn misspelt_names_that_cedar_lets_pass_are_found() {
    let definitions = r#"(type $d (variant (case "card" u32) (case "cash"))) (import "v" (type $v (eq $d)))
        (type $f (flags "fast" "dry-run")) (import "f" (type $g (eq $f)))"#;
    let (pay, how) = (type_of(definitions, "$v"), type_of(definitions, "$g"));
    let refund = described(&[("line", type_of(LINE, "$line")), ("pay", pay), ("how", how), ("reason", Type::String)]);
    let query = described(&[("lines", type_of(LINE, "(list $line)")), ("pay", Type::String)]);
    let found = |condition: &str, functions: &[&RecordType]| {
        if let [function] = functions {
            assert_eq!(mistake_to_cedar(function, condition), None, "{condition}");
        }
        let rule = format!("forbid (principal, action, resource) when {{ {condition} }};");
        mistake(&cedar_policy::Policy::from_str(&rule).unwrap().to_json().unwrap(), functions)
    };
    for (condition, name, message) in [
        ("context.args has reasn && context.args.reasn == \"\"", "reasn", "`context.args` has no `reasn` in any"),
        ("true || context.args.line has nota", "nota", "`context.args.line` has no `nota` in any"),
        ("context has args.lin.note", "lin", "`context.args` has no `lin` in any"),
        ("!(context.args.line.currency == \"EURR\")", "EURR", "`context.args.line.currency` is not `EURR` in any"),
        ("\"eur\" != context.args.line.currency", "eur", "`context.args.line.currency` is not `eur` in any"),
        ("[\"EUR\", \"U\"].contains(context.args.line.currency)", "U", "`context.args.line.currency` is not `U`"),
        ("context.args.pay.case == \"crad\"", "crad", "`context.args.pay.case` is not `crad` in any"),
        ("context.args.how.containsAny([\"fast\", \"dry\"])", "dry", "`context.args.how` is not `dry` in any"),
    ] {
        let mistake = found(condition, &[&refund]).expect(condition);
        assert_eq!(mistake.name, name);
        assert!(mistake.message.starts_with(message), "{}", mistake.message);
    }
    let help = found("context.args has reasn", &[&refund, &query]).unwrap().help;
    let all = "did you mean `reason`? there are `how`, `line`, `lines`, `lines.length`, `pay`, `reason`";
    assert_eq!(help.as_deref(), Some(all));
    for condition in [
        "context.args has reason",
        "context.args has lines",
        "context.args.line has note",
        "context has args",
        "context has bytes",
        "principal has reasn",
        "context.args.line.currency == \"EUR\"",
        "context.args.line.account == \"EURR\"",
        "context.args.pay == \"anything\"",
        "context.args.nosuch == \"anything\"",
    ] {
        assert_eq!(found(condition, &[&refund, &query]), None, "{condition}");
    }
    assert_eq!(found("context.args has nosuch", &[]), None);
}

#[test]
fn what_cedar_cannot_hold_is_said() {
    let args = described(&[("a", Type::U64)]);
    let most = u64::try_from(i64::MAX).unwrap();
    assert!(holds(&args, &[Val::U64(most)], "context.args.a == 9223372036854775807"));
    let too_large = |value| Attribute::Inexpressible(ValueError::TooLarge(value));
    assert_eq!(args.attribute(&[Val::U64(most + 1)]), too_large(most + 1));
    let list = described(&[("a", type_of("", "(list u64)"))]);
    assert_eq!(list.attribute(&[Val::List(vec![Val::U64(1), Val::U64(u64::MAX)])]), too_large(u64::MAX));
}

/// Whether a value holds an integer that Cedar cannot.
fn is_too_large(value: &Val) -> bool {
    match value {
        Val::U64(value) => i64::try_from(*value).is_err(),
        Val::List(items) | Val::FixedLengthList(items) | Val::Tuple(items) => items.iter().any(is_too_large),
        Val::Record(fields) => fields.iter().any(|(_, value)| is_too_large(value)),
        Val::Map(entries) => entries.iter().any(|(key, value)| is_too_large(key) || is_too_large(value)),
        Val::Variant(_, Some(value)) | Val::Option(Some(value)) | Val::Result(Ok(Some(value)) | Err(Some(value))) => {
            is_too_large(value)
        }
        _ => false,
    }
}

/// What rules see at a path.
fn seen<'a>(attribute: &'a Attribute, path: &str) -> Option<&'a Attribute> {
    path.split('.').skip(1).try_fold(attribute, |at, step| {
        let Attribute::Record(fields) = at else { return None };
        fields.iter().find(|(name, _)| name == step.trim_end_matches("[]")).map(|(_, value)| value)
    })
}

fn has_omissions(ty: &Type) -> bool {
    let is = |ty: Option<Type>| ty.is_some_and(|ty| has_omissions(&ty));
    match ty {
        Type::Float32 | Type::Float64 => true,
        Type::List(list) => list.ty() == Type::U8 || has_omissions(&list.ty()),
        Type::FixedLengthList(list) => list.ty() == Type::U8 || has_omissions(&list.ty()),
        Type::Map(map) => has_omissions(&map.value()),
        Type::Record(record) => record.fields().any(|field| has_omissions(&field.ty)),
        Type::Tuple(tuple) => tuple.types().any(|ty| has_omissions(&ty)),
        Type::Variant(variant) => variant.cases().any(|case| is(case.ty)),
        Type::Option(option) => has_omissions(&option.ty()),
        Type::Result(result) => is(result.ok()) || is(result.err()),
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn values_have_the_type_that_is_described(arguments in prop::collection::vec(typed(), 0..4)) {
        let names = ["first", "second", "third"];
        let arguments: Vec<_> = names.into_iter().zip(&arguments).map(|(name, (ty, value))| (name, value, ty)).collect();
        let args = record_type(arguments.iter().map(|(name, _, ty)| (*name, *ty)));
        let attribute = args.attribute(arguments.iter().map(|(_, value, _)| *value));
        let schema = schema(&args);
        prop_assert_eq!(args.omitted.is_empty(), !arguments.iter().any(|(_, _, ty)| has_omissions(ty)));
        if arguments.iter().any(|(_, value, _)| is_too_large(value)) {
            prop_assert!(matches!(attribute, Attribute::Inexpressible(ValueError::TooLarge(_))));
        } else {
            for omission in &args.omitted {
                let seen = seen(&attribute, &omission.path);
                let is_nothing = |seen: &Attribute| *seen == Attribute::Record(vec![]);
                prop_assert!(seen.is_none_or(is_nothing), "{}: {:?}", omission.path, seen);
            }
            request(&args, attribute, &schema);
        }
    }

    #[test]
    fn values_of_other_types_are_no_arguments((ty, _) in typed(), (other, value) in typed()) {
        let args = record_type([("a", &ty)].into_iter());
        match args.attribute([&value]) {
            Attribute::Inexpressible(_) => prop_assert!(ty != other || is_too_large(&value)),
            attribute => { request(&args, attribute, &schema(&args)); }
        }
    }
}
