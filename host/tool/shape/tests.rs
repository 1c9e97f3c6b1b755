//! Two components each, one that imports a function and one that exports it.

use wasmtime::component::types::{ComponentFunc, ComponentItem};

use super::super::laws::{compile, engine};
use super::super::{Function, Functions};
use super::{Allowance, Difference, compare};

/// A component that imports a function and exports it again: both sides of a comparison are of this form.
fn passing(definitions: &str, ty: &str) -> String {
    format!("(component {definitions} (import \"take\" (func $f {ty})) (export \"take-it\" (func $f)))")
}

fn imported(definitions: &str, ty: &str) -> ComponentFunc {
    let engine = engine();
    let (component, _) = compile(&engine, &passing(definitions, ty));
    let ComponentItem::ComponentFunc(function) = component.component_type().get_import(&engine, "take").unwrap().ty
    else {
        panic!("no function: {ty}")
    };
    function
}

fn exported(definitions: &str, ty: &str) -> Function {
    let engine = engine();
    let (component, wasm) = compile(&engine, &passing(definitions, ty));
    Functions::of(&component, &engine, &wasm).unwrap().pop().unwrap()
}

/// What is said of two types of a function.
fn said(own: &str, theirs: &str) -> String {
    let compared = compare(("agent", &imported("", own)), ("tool", &exported("", theirs)), &mut Allowance::default());
    compared.err().map(|difference| difference.to_string()).unwrap_or_default()
}

#[test]
fn every_kind_of_type_is_itself_and_no_other() {
    let types = [
        "bool",
        "s8",
        "u8",
        "s16",
        "u16",
        "s32",
        "u32",
        "s64",
        "u64",
        "f32",
        "f64",
        "char",
        "string",
        "(list u8)",
        "(list string)",
        "(list u8 4)",
        "(list u8 5)",
        "(map string u8)",
        "(map u8 u8)",
        "(map string u16)",
        "(tuple u8)",
        "(tuple u8 u8)",
        "(option u8)",
        "(option (option u8))",
        "(result)",
        "(result u8)",
        "(result (error u8))",
        "(result u8 (error u8))",
    ];
    for own in types {
        for theirs in types {
            let difference = said(&format!("(param \"p\" {own})"), &format!("(param \"p\" {theirs})"));
            assert_eq!(difference.is_empty(), own == theirs, "{own} and {theirs}: {difference}");
        }
    }
}

/// The same, for types that have names.
#[test]
fn names_and_their_order_count() {
    let types = [
        "(record (field \"a\" u8) (field \"b\" u8))",
        "(record (field \"b\" u8) (field \"a\" u8))",
        "(record (field \"a\" u8))",
        "(record (field \"a\" u8) (field \"b\" u16))",
        "(variant (case \"a\") (case \"b\" u8))",
        "(variant (case \"a\") (case \"b\"))",
        "(variant (case \"a\") (case \"b\" s8))",
        "(variant (case \"b\" u8) (case \"a\"))",
        "(enum \"a\" \"b\")",
        "(enum \"b\" \"a\")",
        "(enum \"a\")",
        "(flags \"a\" \"b\")",
        "(flags \"a\")",
    ];
    let named = |ty: &str| format!("(type $t' {ty}) (import \"t\" (type $t (eq $t')))");
    for own in types {
        for theirs in types {
            let take = "(param \"p\" $t)";
            let (a, b) = (imported(&named(own), take), exported(&named(theirs), take));
            let compared = compare(("agent", &a), ("tool", &b), &mut Allowance::default());
            assert_eq!(compared.is_ok(), own == theirs, "{own} and {theirs}: {compared:?}");
        }
    }
}

#[test]
fn a_difference_says_where_it_is() {
    assert_eq!(
        said("(param \"amount\" u32)", "(param \"amount\" s64)"),
        "parameter `amount`: `agent` imports u32, `tool` exports s64"
    );
    assert_eq!(
        said("(param \"amount\" u32)", "(param \"cents\" u32)"),
        "the parameters: `agent` imports `amount`, `tool` exports `cents`"
    );
    assert_eq!(said("", "(param \"a\" u32)"), "the parameters: `agent` imports none, `tool` exports `a`");
    assert_eq!(said("(result u8)", ""), "`result`: `agent` imports u8, `tool` exports nothing");
    assert_eq!(
        said("(param \"p\" (list (option (tuple u8 u8))))", "(param \"p\" (list (option (tuple u8 char))))"),
        "parameter `p[].some.1`: `agent` imports u8, `tool` exports char"
    );
    assert_eq!(
        said("(result (result (list u8) (error string)))", "(result (result (list u8)))"),
        "`result.err`: `agent` imports string, `tool` exports nothing"
    );
    let lines = |text: &str| {
        format!(
            "(type $l' (record (field \"text\" {text}))) (import \"line\" (type $l (eq $l')))
             (type $r' (record (field \"lines\" (list $l)))) (import \"reply\" (type $r (eq $r')))"
        )
    };
    let ty = "(result (result $r))";
    let compared = compare(
        ("agent", &imported(&lines("(list u8)"), ty)),
        ("billing", &exported(&lines("string"), ty)),
        &mut Allowance::default(),
    );
    assert_eq!(
        compared.unwrap_err().to_string(),
        "`result.ok.lines[].text`: `agent` imports list<u8>, `billing` exports string"
    );
}

#[test]
fn comparing_ends() {
    let ty = "(param \"p\" (tuple u8 u8 u8))";
    let (own, theirs) = (imported("", ty), exported("", ty));
    let mut left = Allowance(16 * 4);
    assert_eq!(compare(("agent", &own), ("tool", &theirs), &mut left), Ok(()));
    assert_eq!(compare(("agent", &own), ("tool", &theirs), &mut left), Err(Difference::TooLarge));

    // Twice the one below, and so on: written out, it has 2^60 parts. No tool can export it, and no import is walked.
    let mut doubling = "(type $t0 (tuple u8 u8))".to_owned();
    for level in 1..60 {
        doubling.push_str(&format!("(type $t{level} (tuple $t{} $t{}))", level - 1, level - 1));
    }
    let own = imported(&doubling, "(param \"p\" $t59)");
    let said = compare(("agent", &own), ("tool", &theirs), &mut Allowance::default()).unwrap_err();
    assert_eq!(said.to_string(), "parameter `p`: `agent` imports a tuple of 2, `tool` exports a tuple of 3");
}
