//! The people that this host knows: who may answer for which groups. They stand in `config.toml` of the home folder.
//!
//! ```toml
//! [people.maria]
//! uid    = 1000              # the operating system's user who answers as maria
//! groups = ["finance"]
//! ```
//!
//! Who answers is decided by the operating system's user, and not by what somebody says. Several people may share a user;
//! then they name themselves, out of those.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use toml::Spanned;
use toml::de::DeValue;

use crate::manifest::{Fields, ManifestError, Source, read};
use crate::policy::Person;

/// The file in the home folder.
pub const CONFIG_FILE: &str = "config.toml";

/// The longest name of a person or group, in bytes.
const LONGEST_NAME: usize = 128;

/// Everybody that the configuration names.
#[derive(Clone, Debug, Default)]
pub struct People(BTreeMap<String, Entry>);

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    uid: Option<u32>,
    #[serde(default)]
    groups: BTreeSet<String>,
}

/// Why it cannot be told who answers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
pub enum WhoError {
    /// The configuration names nobody with this user.
    #[error("nobody in the host's configuration answers as the user with uid {uid}")]
    #[diagnostic(help(
        "add `[people.NAME]` with `uid = {uid}` and `groups = [\"…\"]` to {CONFIG_FILE} in the home folder"
    ))]
    Nobody {
        /// The operating system's user.
        uid: u32,
    },
    /// Several people share the user.
    #[error("several people answer as the user with uid {uid}: {names}")]
    #[diagnostic(help("say who you are with `--by NAME`"))]
    Several {
        /// The operating system's user.
        uid: u32,
        /// Their names.
        names: String,
    },
    /// The name belongs to somebody else, or to nobody.
    #[error("`{name}` does not answer as the user with uid {uid}")]
    #[diagnostic(help("this user answers as: {names}"))]
    Other {
        /// The name that was given.
        name: String,
        /// The operating system's user.
        uid: u32,
        /// Who does.
        names: String,
    },
}

impl People {
    /// Reads the table `people` of the configuration.
    ///
    /// # Errors
    /// When it is not as the module's example.
    pub(crate) fn of<'t>(source: &'t Source, table: Spanned<DeValue<'t>>) -> Result<Self, ManifestError> {
        let mut people = BTreeMap::new();
        for (key, value) in Fields::of_any(source, table)?.into_entries() {
            let (name, span) = (key.get_ref().to_string(), value.span());
            check(source, key.span(), &name)?;
            let entry: Entry = read(value).map_err(|error| ManifestError::of_toml(source, span.clone(), &error))?;
            entry.groups.iter().try_for_each(|group| check(source, span.clone(), group))?;
            people.insert(name, entry);
        }
        Ok(Self(people))
    }

    /// Somebody by name: one whom the configuration does not know is in no group.
    pub fn named(&self, name: &str) -> Person {
        let groups = self.0.get(name).map(|entry| entry.groups.clone()).unwrap_or_default();
        Person { name: name.to_owned(), groups }
    }

    /// Who answers as an operating system's user; `name` tells those apart who share one.
    ///
    /// # Errors
    /// When it cannot be told, or nobody does.
    pub fn answering(&self, uid: u32, name: Option<&str>) -> Result<Person, WhoError> {
        let all: Vec<&str> =
            self.0.iter().filter(|(_, entry)| entry.uid == Some(uid)).map(|(name, _)| name.as_str()).collect();
        match (all.as_slice(), name) {
            ([], _) => Err(WhoError::Nobody { uid }),
            (_, Some(name)) if all.contains(&name) => Ok(self.named(name)),
            (_, Some(name)) => Err(WhoError::Other { name: name.to_owned(), uid, names: all.join(", ") }),
            ([only], None) => Ok(self.named(only)),
            (_, None) => Err(WhoError::Several { uid, names: all.join(", ") }),
        }
    }
}

/// Whether a text can name a person or a group.
pub fn is_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len()) && crate::audit::escaped(name) == name && name.trim() == name
}

fn check(source: &Source, span: std::ops::Range<usize>, name: &str) -> Result<(), ManifestError> {
    if is_name(name) {
        return Ok(());
    }
    let message = format!("`{}` cannot name a person or a group", crate::audit::escaped(name));
    let help = format!("write 1 to {LONGEST_NAME} bytes that can be seen");
    Err(ManifestError::at(source, span, &message, help))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn people(text: &str) -> Result<People, ManifestError> {
        let source = Source::new("config.toml", text);
        let mut fields = Fields::of_document(&source, &["people"])?;
        fields.take("people").map_or(Ok(People::default()), |(_, table)| People::of(&source, table))
    }

    #[test]
    fn who_answers_is_the_operating_systems_to_say() {
        let people = people(
            "[people.maria]\nuid = 7\ngroups = [\"finance\"]\n[people.jo]\nuid = 8\n[people.ann]\nuid = 8\n[people.max]\n",
        )
        .unwrap();
        let maria = Person { name: "maria".into(), groups: BTreeSet::from(["finance".to_owned()]) };
        assert_eq!(people.answering(7, None), Ok(maria.clone()));
        assert_eq!(people.answering(7, Some("maria")), Ok(maria));
        assert_eq!(people.answering(9, Some("maria")), Err(WhoError::Nobody { uid: 9 }));
        assert!(matches!(people.answering(8, Some("maria")), Err(WhoError::Other { .. })));
        assert_eq!(people.answering(8, Some("jo")).unwrap().name, "jo");
        assert!(matches!(people.answering(8, None), Err(WhoError::Several { .. })));
        assert_eq!(people.named("stranger"), Person { name: "stranger".into(), groups: BTreeSet::new() });
    }

    #[test]
    fn mistakes_are_errors() {
        for text in ["[poeple]", "[people.x]\nuid = \"7\"", "[people.x]\ngroup = []", "[people.\"\"]", "people = 1"] {
            assert!(people(text).is_err(), "{text}");
        }
        assert!(people("").is_ok());
    }
}
