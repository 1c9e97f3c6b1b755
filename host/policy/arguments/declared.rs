//! Types of attributes, as a schema of Cedar's declares them.

use std::fmt::{self, Display};

use super::shape::{Names, Shape, names};

/// An attribute of a record.
#[derive(Clone, Debug)]
pub(super) struct Declared {
    pub(super) name: String,
    optional: bool,
    ty: Declaration,
}

/// A type.
#[derive(Clone, Debug)]
pub(super) enum Declaration {
    Leaf {
        /// `Long`.
        word: &'static str,
        /// Whether there is a set of them.
        set: bool,
        /// All that it can be, when it is a name.
        names: Option<Names>,
    },
    Record(Vec<Declared>),
}

impl Declaration {
    /// The type of some parameters.
    pub(super) fn of(parameters: &[(String, Shape)]) -> Self {
        record(parameters, false)
    }

    /// The type of the attribute that is reached by these steps.
    pub(super) fn find(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |at, step| Some(&at.attributes().iter().find(|known| known.name == *step)?.ty))
    }

    /// Its attributes: none unless it is a record.
    pub(super) fn attributes(&self) -> &[Declared] {
        if let Self::Record(attributes) = self { attributes } else { &[] }
    }
}

/// Names are of letters, digits, hyphens and dots: quoted, they need no escapes.
impl Display for Declaration {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leaf { word, set: true, .. } => write!(out, "Set<{word}>"),
            Self::Leaf { word, .. } => out.write_str(word),
            Self::Record(attributes) if attributes.is_empty() => out.write_str("{}"),
            Self::Record(attributes) => {
                for (at, Declared { name, optional, ty }) in attributes.iter().enumerate() {
                    let before = if at == 0 { "{ " } else { ", " };
                    write!(out, "{before}\"{name}\"{}: {ty}", if *optional { "?" } else { "" })?;
                }
                out.write_str(" }")
            }
        }
    }
}

/// A record type. `many`: it is in a list.
fn record(members: &[(String, Shape)], many: bool) -> Declaration {
    let mut attributes = Vec::new();
    for (name, shape) in members {
        declare(name, shape, false, many, &mut attributes);
    }
    Declaration::Record(attributes)
}

/// Adds the attributes that stand for one place.
fn declare(name: &str, shape: &Shape, optional: bool, many: bool, attributes: &mut Vec<Declared>) {
    let leaf = |word| Declaration::Leaf { word, set: many, names: None };
    let mut inner = Vec::new();
    let ty = match shape {
        Shape::Omitted => return,
        Shape::Bool => leaf("Bool"),
        Shape::Long => {
            if many {
                attributes.extend(["least", "greatest"].map(|bound| number(format!("{name}.{bound}"), true)));
            }
            leaf("Long")
        }
        Shape::String => leaf("String"),
        Shape::Name(names) => Declaration::Leaf { word: "String", set: many, names: Some(names.clone()) },
        Shape::Flags(names) => Declaration::Leaf { word: "String", set: true, names: Some(names.clone()) },
        Shape::Record(members) => record(members, many),
        Shape::Variant(cases) => {
            declare("case", &Shape::Name(names(cases)), false, many, &mut inner);
            for case in cases {
                if let Some(payload) = &case.payload {
                    declare(&case.attribute, payload, !many, many, &mut inner);
                }
            }
            Declaration::Record(inner)
        }
        Shape::Option(some) if many || !optional => return declare(name, some, optional || !many, many, attributes),
        Shape::Option(some) => {
            declare("some", some, true, false, &mut inner);
            Declaration::Record(inner)
        }
        Shape::List(item) => {
            attributes.extend((!many).then(|| number(format!("{name}.length"), optional)));
            return declare(name, item, optional, true, attributes);
        }
        Shape::Map(key, value) => {
            attributes.extend((!many).then(|| number(format!("{name}.length"), optional)));
            declare("key", key, false, true, &mut inner);
            declare("value", value, false, true, &mut inner);
            Declaration::Record(inner)
        }
    };
    attributes.push(Declared { name: name.to_owned(), optional, ty });
}

fn number(name: String, optional: bool) -> Declared {
    Declared { name, optional, ty: Declaration::Leaf { word: "Long", set: false, names: None } }
}
