//! Reads a manifest with positions, so that whatever is wrong with it is shown where it stands.
//!
//! | type | is |
//! | --- | --- |
//! | [`Source`] | one text file, under the name its user gave it |
//! | [`ManifestError`] | one thing wrong, with file, line, caret and remedy |
//! | [`Section`] | how the value of one grant key is read; all of them are the vocabulary of a manifest |
//! | [`Sections`] | the values that were read, looked up by key and type |
//!
//! `bundle.toml` and `grants.toml` are read by this module's `Fields`, and the values in them by `serde`. Manifests
//! name capabilities only by their keys: what a key means is handed in, so that this module stands below them all.
//! Errors of `serde` and of the TOML parser are put into the words of the manifest: no type names, and known keys in
//! the help.

mod quantity;
mod wording;

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt as _};
use miette::{Diagnostic, MietteError, SourceCode, SourceSpan, SpanContents};
use serde::de::{DeserializeOwned, IntoDeserializer as _};
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

pub use quantity::{ByteSize, GuestPath, HumanDuration};
pub use wording::{harmless, quoted, reject};
pub(crate) use wording::{suggestion, valid_name};

/// Longest manifest that is read, in bytes. A manifest is written by hand; a larger file is a mistake.
const LONGEST_MANIFEST: u64 = 1 << 20;

/// A text file as diagnostics show it. Cheap to clone.
#[derive(Clone)]
pub struct Source(Arc<File>);

struct File {
    path: PathBuf,
    text: String,
    /// `text` with what a terminal would obey made harmless, byte for byte as long, so that spans fit both.
    shown: String,
}

impl Source {
    /// A text under the path its user knows it by.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Source {
        let text = text.into();
        let shown = harmless(&text);
        Source(Arc::new(File { path: path.into(), text, shown }))
    }

    /// Reads a text file that a folder holds; `shown_as` is how diagnostics name it.
    ///
    /// # Errors
    ///
    /// When the file is missing, lies outside of the folder, is longer than 1 MiB, or is not UTF-8.
    pub fn read(folder: &Dir, file: &Path, shown_as: &Path) -> Result<Source, ManifestError> {
        let bytes = read_file(folder, file, LONGEST_MANIFEST).map_err(|error| {
            let help = match &error {
                ReadError::Missing => format!("create it, or name another folder than {}", in_folder(shown_as)),
                _ => "a manifest is a TOML file of at most 1 MiB".to_owned(),
            };
            ManifestError::of_file(shown_as, &error.to_string(), help)
        })?;
        String::from_utf8(bytes).map(|text| Source::new(shown_as, text)).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            let source = Source::new(shown_as, String::from_utf8_lossy(error.as_bytes()));
            ManifestError::at(&source, at..at + 1, "this is not UTF-8", "save the file as UTF-8".to_owned())
        })
    }

    /// The path its user knows the file by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// The text, exactly as it was read.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0.text
    }
}

impl Source {
    /// The number of the line on which a byte of the text stands, from 1.
    pub(crate) fn line(&self, at: usize) -> usize {
        1 + self.text().bytes().take(at).filter(|byte| *byte == b'\n').count()
    }

    /// `policies/desk/grants.toml:9`: a place as people are told it.
    pub(crate) fn place(&self, at: usize) -> String {
        format!("{}:{}", harmless(&self.path().to_string_lossy()), self.line(at))
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Source").field(&self.0.path).finish()
    }
}

impl SourceCode for Source {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let contents = self.0.shown.read_span(span, before, after)?;
        let name = harmless(&self.0.path.to_string_lossy());
        Ok(Box::new(miette::MietteSpanContents::new_named(
            name,
            contents.data(),
            *contents.span(),
            contents.line(),
            contents.column(),
            contents.line_count(),
        )))
    }
}

fn in_folder(path: &Path) -> String {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => quoted(&parent.to_string_lossy()),
        _ => "`.`".to_owned(),
    }
}

/// One thing that is wrong with a manifest, a bundle, or what they name: what, where, and what to do about it.
///
/// Text from files is shown in it, and files come from authors that nobody has to trust: control characters and marks
/// that reorder text are replaced.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("{message}")]
pub struct ManifestError {
    message: Box<str>,
    #[source_code]
    source_code: Option<Source>,
    #[label]
    span: Option<SourceSpan>,
    #[help]
    help: Option<Box<str>>,
}

impl ManifestError {
    /// What is wrong at `span`, in bytes of the source's text.
    ///
    /// `message` is lowercase, without a full stop, with what the user wrote in backticks; `help` says what to write.
    pub fn at(source: &Source, span: Range<usize>, message: &str, help: impl Into<Option<String>>) -> ManifestError {
        let text = source.text();
        let start = span.start.min(text.len());
        let first_line = text.as_bytes()[start..].iter().take_while(|byte| **byte != b'\n' && **byte != b'\r').count();
        ManifestError {
            message: harmless(message).into(),
            source_code: Some(source.clone()),
            // A table's span may cover all its lines; the first of them is where a reader looks.
            span: Some((start, first_line.min(span.end.saturating_sub(start))).into()),
            help: help.into().map(|help| harmless(&help).into()),
        }
    }

    /// What is wrong with a file as a whole: it is missing, or cannot be read.
    pub fn of_file(path: &Path, message: &str, help: impl Into<Option<String>>) -> ManifestError {
        ManifestError {
            message: harmless(&format!("{}: {message}", quoted(&path.to_string_lossy()))).into(),
            source_code: None,
            span: None,
            help: help.into().map(|help| harmless(&help).into()),
        }
    }

    /// Puts an error of `serde` or of the TOML parser into a manifest's words. It is shown at `fallback` if it does not
    /// say where it is.
    #[must_use]
    pub fn of_toml(source: &Source, fallback: Range<usize>, error: &toml::de::Error) -> ManifestError {
        let span = error.span().unwrap_or(fallback);
        let (message, help) = wording::explain(error.message(), source.text().get(span.clone()).unwrap_or_default());
        ManifestError::at(source, span, &message, help)
    }

    /// The remedy, if there is one.
    #[must_use]
    pub fn help_text(&self) -> Option<&str> {
        self.help.as_deref()
    }
}

/// How the value of one grant key is read. Bundles and manifests are read with a vocabulary of these.
pub trait Section: Send + Sync {
    /// The key, as manifests write it.
    fn key(&self) -> &'static str;

    /// Reads `[… key]` of a grant manifest. Relative host paths in it are relative to `base`, the manifest's folder.
    ///
    /// # Errors
    ///
    /// When the value does not fit; best with a span, which [`read`] takes care of.
    fn grant(&self, value: Spanned<DeValue<'_>>, base: &Path) -> Result<Box<dyn Any + Send + Sync>, toml::de::Error>;

    /// Reads `requests.key` of a bundle.
    ///
    /// # Errors
    ///
    /// As [`Section::grant`].
    fn request(&self, value: Spanned<DeValue<'_>>) -> Result<Box<dyn Any + Send + Sync>, toml::de::Error>;

    /// What is wrong between the value of this key and those of the others, and what to do about it.
    fn conflict(&self, _grants: &Sections) -> Option<(String, &'static str)> {
        None
    }

    /// The tools that a grant of this key names, to be looked up in the bundle.
    fn tools_in_grant(&self, _grant: &dyn Any) -> Vec<Spanned<String>> {
        Vec::new()
    }

    /// The tools that a request of this key names, to be looked up in the bundle.
    fn tools_in_request(&self, _request: &dyn Any) -> Vec<Spanned<String>> {
        Vec::new()
    }
}

/// All keys that a component's section of a manifest may have, besides the manifest's own.
pub type Vocabulary<'a> = &'a [&'static dyn Section];

/// Reads a value with `serde`, so that its errors say where they are.
///
/// # Errors
///
/// When the value does not fit the type.
pub fn read<T: DeserializeOwned>(value: Spanned<DeValue<'_>>) -> Result<T, toml::de::Error> {
    T::deserialize(value.into_deserializer())
}

/// The values of a component's keys, each read by its [`Section`].
#[derive(Clone, Default)]
pub struct Sections(BTreeMap<&'static str, Entry>);

#[derive(Clone)]
struct Entry {
    section: &'static dyn Section,
    span: Range<usize>,
    value: Arc<dyn Any + Send + Sync>,
}

impl Sections {
    /// One key and its value, as if it had been read.
    #[cfg(test)]
    pub(crate) fn single(section: &'static dyn Section, value: Arc<dyn Any + Send + Sync>) -> Sections {
        Sections([(section.key(), Entry { section, span: 0..0, value })].into())
    }

    /// The value of a key, if it is there and of this type.
    #[must_use]
    pub fn get<T: Any>(&self, key: &str) -> Option<&T> {
        self.0.get(key)?.value.downcast_ref()
    }

    /// Where the key stands in its file.
    #[must_use]
    pub fn span(&self, key: &str) -> Option<Range<usize>> {
        self.0.get(key).map(|entry| entry.span.clone())
    }

    /// The keys that are there, sorted, and where they stand.
    pub fn keys(&self) -> impl Iterator<Item = (&'static str, Range<usize>)> + '_ {
        self.0.iter().map(|(key, entry)| (*key, entry.span.clone()))
    }

    /// Whether the key is there.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// These keys with other values; those for which there is none are left out.
    #[must_use]
    pub fn narrowed(&self, value: impl Fn(&'static str) -> Option<Arc<dyn Any + Send + Sync>>) -> Sections {
        let narrowed = self.0.iter().filter_map(|(key, entry)| {
            let value = value(key)?;
            Some((*key, Entry { value, ..entry.clone() }))
        });
        Sections(narrowed.collect())
    }

    /// What is wrong between the values: where, what, and what to do about it.
    pub(crate) fn conflict(&self) -> Option<(Range<usize>, String, &'static str)> {
        self.0.values().find_map(|entry| {
            let (message, help) = entry.section.conflict(self)?;
            Some((entry.span.clone(), message, help))
        })
    }

    /// Names of tools in the values, in the order of the file.
    pub(crate) fn tools(&self, names: fn(&dyn Section, &dyn Any) -> Vec<Spanned<String>>) -> Vec<Spanned<String>> {
        let mut tools: Vec<_> = self.0.values().flat_map(|entry| names(entry.section, &*entry.value)).collect();
        tools.sort_by_key(|name| name.span().start);
        tools
    }
}

impl fmt::Debug for Sections {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

/// A table of a manifest, whose fields are taken out one by one. Unknown keys were refused when it was made.
pub(crate) struct Fields<'t> {
    source: &'t Source,
    span: Range<usize>,
    table: DeTable<'t>,
}

impl<'t> Fields<'t> {
    /// The whole document.
    pub(crate) fn of_document(source: &'t Source, known: &[&str]) -> Result<Fields<'t>, ManifestError> {
        let table = DeTable::parse(source.text())
            .map_err(|error| ManifestError::of_toml(source, 0..source.text().len(), &error))?;
        Fields { source, span: 0..1, table: table.into_inner() }.checked(known)
    }

    /// A value that has to be a table with no other keys than `known`.
    pub(crate) fn of(
        source: &'t Source,
        value: Spanned<DeValue<'t>>,
        known: &[&str],
    ) -> Result<Fields<'t>, ManifestError> {
        Fields::of_any(source, value)?.checked(known)
    }

    /// A value that has to be a table, whose keys are names.
    pub(crate) fn of_any(source: &'t Source, value: Spanned<DeValue<'t>>) -> Result<Fields<'t>, ManifestError> {
        let span = value.span();
        match value.into_inner() {
            DeValue::Table(table) => Ok(Fields { source, span, table }),
            other => {
                let message = format!("expected a table, found {}", wording::kind(other.type_str()));
                Err(ManifestError::at(source, span, &message, None))
            }
        }
    }

    fn checked(self, known: &[&str]) -> Result<Fields<'t>, ManifestError> {
        let unknown = self.table.keys().filter(|key| !known.contains(&key.get_ref().as_ref()));
        match unknown.min_by_key(|key| key.span().start) {
            None => Ok(self),
            Some(key) => {
                let message = format!("unknown key {}", quoted(key.get_ref()));
                let help = suggestion(key.get_ref(), known.iter().copied(), "known keys are");
                Err(ManifestError::at(self.source, key.span(), &message, help))
            }
        }
    }

    /// Takes a field out: where its key stands, and its value.
    pub(crate) fn take(&mut self, key: &str) -> Option<(Range<usize>, Spanned<DeValue<'t>>)> {
        self.table.remove_entry(key).map(|(key, value)| (key.span(), value))
    }

    /// Takes a field out and reads it.
    pub(crate) fn read<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<Spanned<T>>, ManifestError> {
        let Some((_, value)) = self.take(key) else {
            return Ok(None);
        };
        let span = value.span();
        let read = read(value).map_err(|error| ManifestError::of_toml(self.source, span.clone(), &error))?;
        Ok(Some(Spanned::new(span, read)))
    }

    /// An error that says which key is missing from this table, and what to write.
    pub(crate) fn missing(&self, key: &str, help: &str) -> ManifestError {
        ManifestError::at(self.source, self.span.clone(), &format!("missing key `{key}`"), help.to_owned())
    }

    /// What is left, in the order of the file.
    pub(crate) fn into_entries(self) -> Vec<(Spanned<DeString<'t>>, Spanned<DeValue<'t>>)> {
        let mut entries: Vec<_> = self.table.into_iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        entries
    }

    /// Reads what is left with the vocabulary.
    pub(crate) fn into_sections(
        self,
        vocabulary: Vocabulary<'_>,
        read: impl Fn(&dyn Section, Spanned<DeValue<'t>>) -> Result<Box<dyn Any + Send + Sync>, toml::de::Error>,
    ) -> Result<Sections, ManifestError> {
        let source = self.source;
        let mut sections = BTreeMap::new();
        for (key, value) in self.into_entries() {
            let Some(section) = vocabulary.iter().copied().find(|section| section.key() == key.get_ref()) else {
                continue;
            };
            let span = value.span();
            let value = read(section, value).map_err(|error| ManifestError::of_toml(source, span, &error))?.into();
            sections.insert(section.key(), Entry { section, span: key.span(), value });
        }
        Ok(Sections(sections))
    }
}

/// Why a file of a folder could not be read.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum ReadError {
    /// It is not there.
    #[error("there is no such file")]
    #[diagnostic(help("look at the path, or build what writes the file"))]
    Missing,
    /// Its path, or a link on the way, leads out of the folder.
    #[error("the path leads out of its folder")]
    #[diagnostic(help("put the file itself into the folder: links that lead out of it are not followed"))]
    Escapes,
    /// It is a folder, a pipe, a device or a socket.
    #[error("this is not a regular file")]
    NotAFile,
    /// It is longer than what is read.
    #[error("the file is longer than {0}")]
    TooLong(ByteSize),
    /// The operating system says otherwise.
    #[error("the file cannot be read: {0}")]
    Unreadable(#[source] io::Error),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> ReadError {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ReadError::Missing,
            // cap-std makes this error itself, so it carries no number of the operating system.
            io::ErrorKind::PermissionDenied if error.raw_os_error().is_none() => ReadError::Escapes,
            _ => ReadError::Unreadable(error),
        }
    }
}

/// Reads a regular file of at most `longest` bytes that the folder holds.
///
/// # Errors
///
/// When it is missing, leads out of the folder, is no regular file, or is longer.
pub fn read_file(folder: &Dir, path: &Path, longest: u64) -> Result<Vec<u8>, ReadError> {
    let mut options = OpenOptions::new();
    // SECURITY: opening a pipe waits for its other end, and an author could put one in the place of a component.
    options.read(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    let file = folder.open_with(path, &options)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(ReadError::NotAFile);
    }
    // With room to see that nothing follows.
    let expected = usize::try_from(metadata.len().min(longest)).unwrap_or(0) + 1;
    let mut bytes = Vec::with_capacity(expected);
    file.take(longest + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > longest {
        return Err(ReadError::TooLong(ByteSize::new(longest)));
    }
    Ok(bytes)
}

#[cfg(test)]
pub(crate) mod tests;
