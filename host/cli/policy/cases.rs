//! Reads the cases of a policy folder: requests that nobody made, and what is expected of the rules.
//!
//! ```toml
//! bundle = "../../guest-examples/bundles/support-desk"
//!
//! [[case]]
//! name     = "a large refund needs finance"
//! action   = "tools.call"
//! resource = "billing.refund"
//! args     = { order = "A-1001", amount = 25_000, currency = "eur" }
//! decision = "needs-approval"
//! rules    = ["large-refund"]
//! groups   = ["finance"]
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::supposed::{Supposed, TIME_HELP, Unfit, Used, Word, time};
use crate::bundle::open_folder;
use crate::label::Labels;
use crate::manifest::{Fields, ManifestError, Source};
use crate::people::is_name;
use crate::policy::Person;

/// How files of cases are named, or end behind a dot.
const FILE: &str = "cases.toml";

/// When a case is decided that does not say: on Thursday, 1 January 2026, at noon (UTC).
const NOW: Duration = Duration::from_secs(1_767_268_800);

/// What a case can say.
const KEYS: [&str; 15] = [
    "name",
    "component",
    "action",
    "resource",
    "args",
    "context",
    "labels",
    "as",
    "usage",
    "now",
    "approvals",
    "decision",
    "rules",
    "groups",
    "description",
];

/// One file.
#[derive(Debug)]
pub(super) struct Cases {
    pub(super) source: Source,
    /// The folder of the bundle that the cases are about.
    pub(super) bundle: Option<PathBuf>,
    pub(super) cases: Vec<Case>,
}

/// One case.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) supposed: Supposed,
    pub(super) expected: Expected,
    /// Where the keys stand.
    places: BTreeMap<&'static str, Range<usize>>,
    /// Where it stands.
    span: Range<usize>,
    source: Source,
}

/// What a case expects. What it does not say can be anything.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    pub(super) decision: Word,
    /// The rules that determine the decision: these and no others.
    pub(super) rules: Option<BTreeSet<String>>,
    /// Whom it would ask: these and no others.
    pub(super) groups: Option<BTreeSet<String>>,
}

impl Cases {
    /// All cases of a folder, in the order of the files' names.
    ///
    /// # Errors
    /// The first thing that is wrong with them; or that there are none.
    pub(super) fn read(folder: &Path) -> Result<Vec<Self>, ManifestError> {
        let dir = open_folder(folder)?;
        let unreadable = |error: std::io::Error| ManifestError::of_file(folder, &error.to_string(), None);
        let mut names = Vec::new();
        for entry in dir.entries().map_err(unreadable)? {
            let name = entry.map_err(unreadable)?.file_name();
            let text = name.to_string_lossy();
            if text == FILE || text.ends_with(&format!(".{FILE}")) {
                names.push(name);
            }
        }
        names.sort();
        if names.is_empty() {
            let help =
                format!("write them into {FILE}, beside grants.toml: `[[case]]` with a request and a `decision`");
            return Err(ManifestError::of_file(folder, "there are no cases in this folder", help));
        }
        let read = names.iter().map(|name| Self::of(&Source::read(&dir, Path::new(name), &folder.join(name))?));
        let files = read.collect::<Result<Vec<_>, _>>()?;
        let mut seen: BTreeMap<&str, String> = BTreeMap::new();
        for case in files.iter().flat_map(|file| &file.cases) {
            if let Some(first) = seen.insert(&case.name, case.place()) {
                let message = format!("two cases are named `{}`: the other is at {first}", case.name);
                return Err(case.wrong("name", &message, "give each case a name of its own".to_owned()));
            }
        }
        Ok(files)
    }

    fn of(source: &Source) -> Result<Self, ManifestError> {
        let mut fields = Fields::of_document(source, &["bundle", "case"])?;
        let bundle = fields.read::<PathBuf>("bundle")?.map(|bundle| {
            let folder = source.path().parent().unwrap_or(Path::new(""));
            folder.join(bundle.into_inner())
        });
        let Some((span, list)) = fields.take("case") else {
            return Err(fields.missing("case", "add `[[case]]`, with a request and the `decision` that is expected"));
        };
        let DeValue::Array(list) = list.into_inner() else {
            return Err(ManifestError::at(source, span, "`case` is no list", "write `[[case]]`".to_owned()));
        };
        let cases = list.into_iter().map(|case| Case::of(source, case)).collect::<Result<_, _>>()?;
        Ok(Self { source: source.clone(), bundle, cases })
    }
}

impl Case {
    fn of(source: &Source, value: Spanned<DeValue<'_>>) -> Result<Self, ManifestError> {
        let span = value.span();
        let mut table = Reader { fields: Fields::of(source, value, &KEYS)?, source, places: BTreeMap::new() };
        let name: String = table.needed("name", "say what it shows, as `name = \"large refunds need finance\"`")?;
        table.read::<String>("description")?;
        let supposed = Supposed {
            component: table.read("component")?.unwrap_or_else(|| "agent".to_owned()),
            action: table.needed("action", "say what would be done, as `action = \"tools.call\"`")?,
            resource: table.needed("resource", "say to what, as `resource = \"billing.refund\"`")?,
            arguments: table.read::<serde_json::Value>("args")?.map(|arguments| arguments.to_string()),
            context: table.read("context")?.unwrap_or_default(),
            labels: table.read::<Labels>("labels")?.unwrap_or_default(),
            user: table.person()?,
            usage: table.read::<Used>("usage")?.unwrap_or_default(),
            now: table.time()?.unwrap_or(NOW),
            approvals: table.read("approvals")?,
        };
        let expected = Expected {
            decision: table
                .needed("decision", "say what is expected: `allow`, `deny`, `needs-approval` or `not-granted`")?,
            rules: table.read("rules")?,
            groups: table.read("groups")?,
        };
        Ok(Self { name, supposed, expected, places: table.places, span, source: source.clone() })
    }

    /// Its file and line.
    pub(super) fn place(&self) -> String {
        self.source.place(self.span.start)
    }

    /// What is wrong with a key of it.
    fn wrong(&self, key: &str, message: &str, help: impl Into<Option<String>>) -> ManifestError {
        let span = self.places.get(key).unwrap_or(&self.span).clone();
        ManifestError::at(&self.source, span, message, help)
    }

    /// What makes no sense about it, where it stands.
    pub(super) fn unfit(&self, Unfit { part, message, help }: Unfit) -> ManifestError {
        self.wrong(part, &message, help)
    }
}

/// Reads the keys of a case, and keeps where their values stand.
struct Reader<'a> {
    fields: Fields<'a>,
    source: &'a Source,
    places: BTreeMap<&'static str, Range<usize>>,
}

impl Reader<'_> {
    fn read<T: serde::de::DeserializeOwned>(&mut self, key: &'static str) -> Result<Option<T>, ManifestError> {
        let Some(value) = self.fields.read::<T>(key)? else { return Ok(None) };
        self.places.insert(key, value.span());
        Ok(Some(value.into_inner()))
    }

    fn needed<T: serde::de::DeserializeOwned>(&mut self, key: &'static str, help: &str) -> Result<T, ManifestError> {
        self.read(key)?.ok_or_else(|| self.fields.missing(key, help))
    }

    /// `as = "maria"`, or `as = { name = "maria", groups = ["support"] }`.
    fn person(&mut self) -> Result<Option<Person>, ManifestError> {
        let Some((_, value)) = self.fields.take("as") else { return Ok(None) };
        let span = value.span();
        let person = if matches!(value.get_ref(), DeValue::Table(_)) {
            let mut fields = Fields::of(self.source, value, &["name", "groups"])?;
            let name = fields.read::<String>("name")?;
            let name = name.ok_or_else(|| fields.missing("name", "say who it is, as `name = \"maria\"`"))?;
            let groups = fields.read("groups")?.map(Spanned::into_inner).unwrap_or_default();
            Person { name: name.into_inner(), groups }
        } else {
            let name = crate::manifest::read::<String>(value);
            let name = name.map_err(|error| ManifestError::of_toml(self.source, span.clone(), &error))?;
            Person { name, groups: BTreeSet::new() }
        };
        match std::iter::once(&person.name).chain(&person.groups).find(|name| !is_name(name)) {
            None => Ok(Some(person)),
            Some(name) => {
                let message = format!("`{}` cannot name a person or a group", crate::audit::escaped(name));
                Err(ManifestError::at(self.source, span, &message, "give a name that can be seen".to_owned()))
            }
        }
    }

    fn time(&mut self) -> Result<Option<Duration>, ManifestError> {
        let Some(text) = self.fields.read::<String>("now")? else { return Ok(None) };
        let wrong = || ManifestError::at(self.source, text.span(), "this is no point in time", TIME_HELP.to_owned());
        time(text.get_ref()).map(Some).ok_or_else(wrong)
    }
}
