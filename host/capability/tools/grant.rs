//! The grant of `tools`: which tools may be called, and which of them answers which import.
//!
//! ```toml
//! tools = ["search", { name = "billing", imports = ["acme:billing/refunds@1.0.0"] }]
//! ```
//!
//! A tool that is named by a text alone answers every import that it exports, as far as no other granted tool does.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

/// The tools that a component may call.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Vec<Entry>")]
pub struct Grant {
    entries: Vec<Entry>,
    /// Tools that were granted and not asked for. What they were to answer, nobody else does.
    withheld: Vec<Entry>,
}

impl From<Vec<Entry>> for Grant {
    fn from(entries: Vec<Entry>) -> Self {
        Self { entries, withheld: Vec::new() }
    }
}

/// One tool of a grant.
#[derive(Clone, Debug)]
struct Entry {
    /// The tool's name in the bundle.
    name: Spanned<String>,
    /// The imports that it answers, whoever else could: names of interfaces.
    imports: Vec<String>,
}

impl Grant {
    /// The tools' names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.get_ref().as_str())
    }

    /// The tools' names, with their places.
    pub(super) fn places(&self) -> impl Iterator<Item = &Spanned<String>> {
        self.entries.iter().map(|entry| &entry.name)
    }

    /// What the operator chose: a tool, and an import that it answers.
    pub fn choices(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries
            .iter()
            .chain(&self.withheld)
            .flat_map(|entry| entry.imports.iter().map(|import| (entry.name.get_ref().as_str(), import.as_str())))
    }

    /// The line of a manifest that grants a tool besides what is granted already.
    pub fn line_with(given: Option<&Self>, tool: &str) -> String {
        let quoted = |text: &str| format!("\"{text}\"");
        let given = given.into_iter().flat_map(|grant| &grant.entries).map(|entry| {
            let name = quoted(entry.name.get_ref());
            let imports: Vec<_> = entry.imports.iter().map(|import| quoted(import)).collect();
            if imports.is_empty() { name } else { format!("{{ name = {name}, imports = [{}] }}", imports.join(", ")) }
        });
        format!("tools = [{}]", given.chain([quoted(tool)]).collect::<Vec<_>>().join(", "))
    }

    /// The grant of one tool, as a manifest writes it.
    pub(super) fn entry(&self, tool: &str) -> serde_json::Value {
        match self.entries.iter().find(|entry| entry.name.get_ref() == tool) {
            Some(entry) if !entry.imports.is_empty() => serde_json::json!([{ "name": tool, "imports": entry.imports }]),
            _ => serde_json::json!([tool]),
        }
    }

    /// Only the tools that these names name; none when nothing is left.
    pub(super) fn only(&self, asked: impl Fn(&str) -> bool) -> Option<Self> {
        let (entries, withheld): (Vec<_>, Vec<_>) =
            self.entries.iter().cloned().partition(|entry| asked(entry.name.get_ref()));
        (!entries.is_empty()).then_some(Self { entries, withheld })
    }
}

/// An entry as a manifest writes it.
enum Written {
    Name(String),
    Table(Table),
}

/// `{ name = "billing", imports = ["acme:billing/refunds@1.0.0"] }`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    name: Spanned<String>,
    #[serde(default)]
    imports: Vec<String>,
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Spanned::<Written>::deserialize(deserializer)?;
        let span = written.span();
        Ok(match written.into_inner() {
            Written::Name(name) => Self { name: Spanned::new(span, name), imports: Vec::new() },
            Written::Table(Table { name, imports }) => Self { name, imports },
        })
    }
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Either)
    }
}

/// Reads a text or a table.
struct Either;

impl<'de> Visitor<'de> for Either {
    type Value = Written;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the name of a tool, or a table of `name` and `imports`")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Written, E> {
        Ok(Written::Name(name.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Written, A::Error> {
        Table::deserialize(MapAccessDeserializer::new(map)).map(Written::Table)
    }
}
