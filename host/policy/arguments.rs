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
//!
//! | module | job |
//! |---|---|
//! | `shape` | what is left of a type of WIT |
//! | `declared` | its type in Cedar |
//! | `values` | its values, in that type |
//! | `mistake` | names in rules that Cedar does not check |

mod declared;
mod mistake;
mod shape;
#[cfg(test)]
mod tests;
mod values;

use wasmtime::component::{Type, Val};

use self::declared::Declaration;
pub(crate) use self::mistake::mistake;
use self::shape::{Reader, Shape};
use self::values::{misfit, one};
use super::value::Attribute;

/// A place that rules cannot see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Omission {
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
    declared: Declaration,
}

/// The Cedar record type of a function's arguments, and what had to be left out.
pub(crate) fn record_type<'a>(parameters: impl Iterator<Item = (&'a str, &'a Type)>) -> RecordType {
    let mut reader = Reader::new();
    let parameters: Vec<_> =
        parameters.map(|(name, ty)| (name.to_owned(), reader.parameter(&format!("args.{name}"), ty))).collect();
    let declared = Declaration::of(&parameters);
    RecordType { text: declared.to_string(), omitted: reader.omitted, parameters, declared }
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
