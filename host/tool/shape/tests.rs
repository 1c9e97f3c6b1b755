//! Two components each, one that imports a function and one that exports it.

use std::fmt::Write as _;

use wasmtime::component::Type;
use wasmtime::component::types::ComponentItem;

use super::super::laws::{compile, engine};
use super::{Allowance, Difference, Side, compare};

/// A function's parameters and result.
type Signature = (Vec<(String, Type)>, Option<Type>);

/// The function of a type in the text format, as a component by itself has it.
fn function(definitions: &str, ty: &str) -> Signature {
    let engine = engine();
    let (component, _) = compile(&engine, &format!("(component {definitions} (import \"take\" (func {ty})))"));
    let ComponentItem::ComponentFunc(function) = component.component_type().get_import(&engine, "take").unwrap().ty
    else {
        panic!("no function: {ty}")
    };
    (function.params().map(|(name, ty)| (name.to_owned(), ty)).collect(), function.results().next())
}

#[expect(clippy::result_large_err, reason = "as what is tested")]
fn compared(own: &Signature, theirs: &Signature, allowance: &mut Allowance) -> Result<(), Difference> {
    let own = Side { component: "agent", parameters: &own.0, result: own.1.as_ref() };
    let theirs = Side { component: "billing", parameters: &theirs.0, result: theirs.1.as_ref() };
    compare(own, theirs, allowance)
}

/// What is said of two types of a function.
fn said(own: &str, theirs: &str) -> String {
    let compared = compared(&function("", own), &function("", theirs), &mut Allowance::default());
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
            let (a, b) = (function(&named(own), take), function(&named(theirs), take));
            let compared = compared(&a, &b, &mut Allowance::default());
            assert_eq!(compared.is_ok(), own == theirs, "{own} and {theirs}: {compared:?}");
        }
    }
}

#[test]
fn a_difference_says_where_it_is() {
    assert_eq!(
        said("(param \"amount\" u32)", "(param \"amount\" s64)"),
        "parameter `amount`: `agent` imports u32, `billing` exports s64"
    );
    assert_eq!(
        said("(param \"amount\" u32)", "(param \"cents\" u32)"),
        "the parameters: `agent` imports `amount`, `billing` exports `cents`"
    );
    assert_eq!(said("", "(param \"a\" u32)"), "the parameters: `agent` imports none, `billing` exports `a`");
    assert_eq!(said("(result u8)", ""), "`result`: `agent` imports u8, `billing` exports nothing");
    assert_eq!(
        said("(param \"p\" (list (option (tuple u8 u8))))", "(param \"p\" (list (option (tuple u8 char))))"),
        "parameter `p[].some.1`: `agent` imports u8, `billing` exports char"
    );
    assert_eq!(
        said("(result (result (list u8) (error string)))", "(result (result (list u8)))"),
        "`result.err`: `agent` imports string, `billing` exports nothing"
    );
    let lines = |text: &str| {
        format!(
            "(type $l' (record (field \"text\" {text}))) (import \"line\" (type $l (eq $l')))
             (type $r' (record (field \"lines\" (list $l)))) (import \"reply\" (type $r (eq $r')))"
        )
    };
    let ty = "(result (result $r))";
    let (own, theirs) = (function(&lines("(list u8)"), ty), function(&lines("string"), ty));
    let compared = compared(&own, &theirs, &mut Allowance::default());
    assert_eq!(
        compared.unwrap_err().to_string(),
        "`result.ok.lines[].text`: `agent` imports list<u8>, `billing` exports string"
    );
}

#[test]
fn comparing_ends() {
    let three = function("", "(param \"p\" (tuple u8 u8 u8))");
    let mut left = Allowance(16 * 4);
    assert_eq!(compared(&three, &three, &mut left), Ok(()));
    assert_eq!(compared(&three, &three, &mut left), Err(Difference::TooLarge));

    // Each is twice the one before: written out, the last has 65,536 parts.
    let mut doubling = "(type $t0 (tuple u8 u8))".to_owned();
    for level in 1..16 {
        let half = format!("$t{}", level - 1);
        write!(doubling, "(type $t{level} (tuple {half} {half}))").unwrap();
    }
    let large = function(&doubling, "(param \"p\" $t15)");
    assert_eq!(compared(&large, &large, &mut Allowance::default()), Err(Difference::TooLarge));
    let said = compared(&large, &three, &mut Allowance::default()).unwrap_err();
    assert_eq!(said.to_string(), "parameter `p`: `agent` imports a tuple of 2, `billing` exports a tuple of 3");
}
