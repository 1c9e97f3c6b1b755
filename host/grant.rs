//! Reads what an operator allows one bundle: the grant manifest, `grants.toml`.
//!
//! ```toml
//! bundle = "support-desk"
//!
//! [limits]
//! fuel = 5_000_000_000
//! memory = "64MiB"
//!
//! [agent]
//! tools = ["orders"]
//!
//! [tools.orders]
//! digest = "sha256:…"       # another component is refused
//! labels = ["confidential"] # whatever it gives carries this
//!
//! [output]
//! accepts = ["confidential"]
//! ```
//!
//! `[agent]` and each `[tools.…]` hold grant keys, which are read with the vocabulary; a key that is not there grants
//! nothing. A manifest is read alone, then checked against the bundle it is for.

mod limits;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use cap_std::fs::Dir;
use toml::Spanned;
use toml::de::DeValue;
use toml_edit::{DocumentMut, Item, Table, TableLike, Value};

use crate::bundle::{Bundle, ComponentName, ComponentSource, Digest, Name, tool_name};
use crate::label::Labels;
use crate::manifest::{Fields, ManifestError, Sections, Source, Vocabulary};

pub use limits::Limits;

/// The grant manifest's file in a folder of policies.
pub const GRANT_FILE: &str = "grants.toml";

/// What an operator allows one bundle.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The bundle it is for.
    pub bundle: Spanned<Name>,
    /// What one task may use.
    pub limits: Limits,
    /// The labels that a task's result may carry.
    pub output: Labels,
    /// What the agent may do.
    pub agent: ComponentGrant,
    /// What the tools may do. A tool without a section may do nothing of its own.
    pub tools: BTreeMap<Name, ComponentGrant>,
    /// Digest of the file.
    pub digest: Digest,
    /// The folder of the file: relative host paths in it are relative to this.
    pub base: PathBuf,
    /// The text of the file, for diagnostics.
    pub source: Source,
}

/// What one component may do.
#[derive(Debug, Clone, Default)]
pub struct ComponentGrant {
    /// Where its section stands. Empty if there is none.
    pub span: Range<usize>,
    /// The one component that the grant is for, if it is pinned.
    pub digest: Option<Spanned<Digest>>,
    /// What whatever it gives is labelled with.
    pub labels: Labels,
    /// The grants, by key.
    pub sections: Sections,
}

impl Manifest {
    /// Reads a manifest from a folder. `shown_as` is how diagnostics name the folder, and what relative paths are
    /// relative to.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it.
    pub fn open(
        folder: &Dir,
        file: &Path,
        shown_as: &Path,
        vocabulary: Vocabulary<'_>,
    ) -> Result<Manifest, ManifestError> {
        Manifest::of(Source::read(folder, file, &shown_as.join(file))?, vocabulary)
    }

    /// Reads a manifest from its text. Relative paths in it are relative to the folder of `path`.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it.
    pub fn parse(text: &str, path: &Path, vocabulary: Vocabulary<'_>) -> Result<Manifest, ManifestError> {
        Manifest::of(Source::new(path, text), vocabulary)
    }

    fn of(source: Source, vocabulary: Vocabulary<'_>) -> Result<Manifest, ManifestError> {
        let base = match source.path().parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let mut fields = Fields::of_document(&source, &["bundle", "limits", "output", "agent", "tools"])?;
        let bundle = fields.read::<Name>("bundle")?;
        let bundle = bundle
            .ok_or_else(|| fields.missing("bundle", "say which bundle this is for, as `bundle = \"researcher\"`"))?;
        let limits = fields.take("limits").map(|(_, value)| Limits::read(&source, value)).transpose()?;
        let output = fields.take("output").map(|(_, value)| accepted(&source, value)).transpose()?;
        let reader = GrantReader { source: &source, base: &base, vocabulary };
        let agent = fields.take("agent").map(|(key, value)| reader.read(key, value)).transpose()?;
        let mut tools = BTreeMap::new();
        if let Some((_, table)) = fields.take("tools") {
            for (key, value) in Fields::of_any(&source, table)?.into_entries() {
                tools.insert(tool_name(&source, &key)?, reader.read(key.span(), value)?);
            }
        }
        Ok(Manifest {
            bundle,
            limits: limits.unwrap_or_default(),
            output: output.unwrap_or_default(),
            agent: agent.unwrap_or_default(),
            tools,
            digest: Digest::of(source.text().as_bytes()),
            base,
            source,
        })
    }

    /// What a component may do, if the manifest has a section for it.
    #[must_use]
    pub fn component(&self, name: &ComponentName) -> Option<&ComponentGrant> {
        match name {
            ComponentName::Agent => Some(&self.agent),
            ComponentName::Tool(name) => self.tools.get(name),
        }
    }

    /// Checks that this manifest is for a bundle, and that every tool it names is one of the bundle's.
    ///
    /// # Errors
    ///
    /// The first name that does not fit.
    pub fn check(&self, bundle: &Bundle) -> Result<(), ManifestError> {
        if *self.bundle.get_ref() != bundle.name {
            let message = format!("this manifest is for `{}`, and the bundle is `{}`", self.bundle, bundle.name);
            let help = format!("write `bundle = \"{}\"` if these grants are meant for it", bundle.name);
            return Err(ManifestError::at(&self.source, self.bundle.span(), &message, help));
        }
        for (name, grant) in &self.tools {
            bundle.require_tool(&self.source, name.as_str(), grant.span.clone())?;
        }
        for grant in std::iter::once(&self.agent).chain(self.tools.values()) {
            for name in grant.sections.tools(|section, grant| section.tools_in_grant(grant)) {
                bundle.require_tool(&self.source, name.get_ref(), name.span())?;
            }
        }
        Ok(())
    }

    /// Checks that a component is the one that is pinned, if one is.
    ///
    /// # Errors
    ///
    /// When it is another.
    pub fn check_pin(&self, component: &ComponentSource) -> Result<(), ManifestError> {
        match self.component(&component.name).and_then(|grant| grant.digest.as_ref()) {
            Some(pin) if *pin.get_ref() != component.digest => {
                let message = format!("the component of `{}` is not the one that is pinned here", component.name);
                let help = format!(
                    "it is `{}`; look at what has changed, then pin it with `ambit check --pin`",
                    component.digest
                );
                Err(ManifestError::at(&self.source, pin.span(), &message, help))
            }
            _ => Ok(()),
        }
    }

    /// The manifest's text with these digests in it, and otherwise as its author laid it out.
    ///
    /// Sections are added where they are missing. Doing it twice changes nothing more.
    ///
    /// # Errors
    ///
    /// When a section has a form that cannot be added to.
    pub fn pin(&self, pins: &BTreeMap<ComponentName, Digest>) -> Result<String, ManifestError> {
        let refuse = |message: &str| ManifestError::at(&self.source, 0..1, message, None);
        let mut document: DocumentMut = self.source.text().parse().map_err(|error: toml_edit::TomlError| {
            ManifestError::at(&self.source, error.span().unwrap_or(0..1), error.message(), None)
        })?;
        for (name, digest) in pins {
            let section = match name {
                ComponentName::Agent => section(document.as_table_mut(), "agent"),
                ComponentName::Tool(tool) => {
                    let tools = document.entry("tools").or_insert_with(|| {
                        let mut table = Table::new();
                        table.set_implicit(true);
                        Item::Table(table)
                    });
                    tools.as_table_like_mut().and_then(|tools| section(tools, tool.as_str()))
                }
            };
            let section = section.ok_or_else(|| refuse(&format!("the section of `{name}` is not a table")))?;
            set_digest(section, &digest.to_string());
        }
        let pinned = document.to_string();
        // The writer ends lines with `\n` alone.
        let line_end = if self.source.text().contains("\r\n") { "\r\n" } else { "\n" };
        Ok(pinned.replace("\r\n", "\n").replace('\n', line_end))
    }
}

/// A table's sub-table, added if it is missing: inside of an inline table as another one.
fn section<'t>(table: &'t mut dyn TableLike, key: &str) -> Option<&'t mut dyn TableLike> {
    if !table.contains_key(key) {
        append(table, key, toml_edit::table());
    }
    table.get_mut(key)?.as_table_like_mut()
}

fn set_digest(section: &mut dyn TableLike, digest: &str) {
    match section.get_mut("digest").and_then(Item::as_value_mut) {
        Some(value) if value.as_str() == Some(digest) => {}
        Some(value) => {
            let decor = value.decor().clone();
            *value = Value::from(digest);
            *value.decor_mut() = decor;
        }
        None => {
            append(section, "digest", toml_edit::value(digest));
        }
    }
}

/// Adds what is not there yet.
fn append(table: &mut dyn TableLike, key: &str, item: Item) {
    // The blank before the closing brace of an inline table belongs to its last value, which is the last no more.
    if let Some(last) = table.iter_mut().last().and_then(|(_, item)| item.as_value_mut())
        && last.decor().suffix().and_then(|suffix| suffix.as_str()) == Some(" ")
    {
        last.decor_mut().set_suffix("");
    }
    table.insert(key, item);
}

/// `[output]`: the labels that it accepts.
fn accepted(source: &Source, value: Spanned<DeValue<'_>>) -> Result<Labels, ManifestError> {
    let mut fields = Fields::of(source, value, &["accepts"])?;
    Ok(fields.read::<Labels>("accepts")?.map(Spanned::into_inner).unwrap_or_default())
}

/// Reads the components' sections of a manifest.
struct GrantReader<'m> {
    source: &'m Source,
    base: &'m Path,
    vocabulary: Vocabulary<'m>,
}

impl<'m> GrantReader<'m> {
    fn read(&self, key: Range<usize>, value: Spanned<DeValue<'m>>) -> Result<ComponentGrant, ManifestError> {
        let mut known = vec!["digest", "labels"];
        known.extend(self.vocabulary.iter().map(|section| section.key()));
        let mut fields = Fields::of(self.source, value, &known)?;
        let digest = fields.read::<Digest>("digest")?;
        let labels = fields.read::<Labels>("labels")?.map(Spanned::into_inner).unwrap_or_default();
        let sections = fields.into_sections(self.vocabulary, |section, value| section.grant(value, self.base))?;
        if let Some((span, message, help)) = sections.conflict() {
            return Err(ManifestError::at(self.source, span, &message, help.to_owned()));
        }
        Ok(ComponentGrant { span: key, digest, labels, sections })
    }
}

#[cfg(test)]
mod tests;
