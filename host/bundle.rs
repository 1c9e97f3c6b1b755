//! Opens what an author ships: `bundle.toml` and the components it names, each with its digest.
//!
//! ```toml
//! name = "researcher"
//! version = "0.1.0"
//! description = "answers questions from a folder of documents"   # may be left out
//!
//! [agent]
//! component = "researcher.wasm"
//! requests.tools = { names = ["search"], reason = "it finds passages with it" }
//!
//! [tools.search]
//! component = "search.wasm"
//! ```
//!
//! A bundle only requests; what it may do stands in the operator's manifest ([`grant`](crate::grant)). It is not
//! trusted: every file is read through the bundle's folder and bounded, and nothing in it is run here.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use data_encoding::HEXLOWER;
use miette::Diagnostic;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use toml::Spanned;
use toml::de::DeValue;

use crate::manifest::{
    Fields, ManifestError, ReadError, Sections, Source, Vocabulary, harmless, quoted, read_file, reject, suggestion,
    valid_name,
};

/// The file that makes a folder a bundle.
pub const BUNDLE_FILE: &str = "bundle.toml";

/// Longest component that is loaded, in bytes.
pub const LONGEST_COMPONENT: u64 = 128 << 20;

/// The most that all components of a bundle have together, in bytes.
pub const LARGEST_BUNDLE: u64 = 512 << 20;

/// How a component begins: magic, version 13, layer 1 (Component Model, `Binary.md`, "Component Definitions").
const COMPONENT_PREAMBLE: &[u8] = b"\0asm\x0d\0\x01\0";

/// How a core module begins: magic, version 1 (WebAssembly Core Specification, section 5.5.17).
const MODULE_PREAMBLE: &[u8] = b"\0asm\x01\0\0\0";

/// A SHA-256 digest, written `sha256:` and 64 lowercase hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// A text that is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a digest")]
pub struct DigestError(String);

impl Digest {
    /// The digest of some bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(Sha256::digest(bytes).into())
    }

    /// The digest itself.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Digest {
        Digest(bytes)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("sha256:")?;
        fmt::Display::fmt(&HEXLOWER.encode_display(&self.0), formatter)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Digest, DigestError> {
        let error = || DigestError(quoted(text));
        let digits = text.strip_prefix("sha256:").ok_or_else(error)?.as_bytes();
        let mut bytes = [0; 32];
        if digits.len() != 64 {
            return Err(error());
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let value = |digit: u8| match digit {
                b'0'..=b'9' => Some(digit - b'0'),
                b'a'..=b'f' => Some(digit - b'a' + 10),
                _ => None,
            };
            *byte = value(pair[0]).zip(value(pair[1])).map(|(high, low)| high << 4 | low).ok_or_else(error)?;
        }
        Ok(Digest(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        let text = String::deserialize(deserializer)?;
        let help = "write `sha256:` and 64 hexadecimal digits, in small letters; `ambit check --pin` fills it in";
        text.parse().map_err(|error: DigestError| reject(&error.to_string(), help))
    }
}

/// The name of a bundle or a tool: small letters, digits and `-`, a letter first, at most 64.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Name(Box<str>);

/// A text that is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a name")]
pub struct NameError(String);

impl NameError {
    /// What a name is.
    pub const HELP: &'static str =
        "a name has small letters, digits and `-`, begins with a letter, and is at most 64 long";
}

impl Name {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Name, NameError> {
        if valid_name(text) { Ok(Name(text.into())) } else { Err(NameError(quoted(text))) }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Name, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|error: NameError| reject(&error.to_string(), NameError::HELP))
    }
}

/// Which component of a bundle: its agent, or a tool by name. Written `agent`, or as the tool is called.
///
/// No tool is called `agent`, so the written form is unambiguous.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ComponentName {
    /// The agent.
    Agent,
    /// One of the tools.
    Tool(Name),
}

impl fmt::Display for ComponentName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ComponentName::Agent => formatter.write_str("agent"),
            ComponentName::Tool(name) => name.fmt(formatter),
        }
    }
}

/// Why a file is not taken as a component.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum ComponentError {
    /// The file cannot be read.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Unreadable(#[from] ReadError),
    /// It is WebAssembly, but without interfaces.
    #[error("this is a core module, not a component")]
    #[diagnostic(help("build it for `wasm32-wasip2`, or make a component of it with `wasm-tools component new`"))]
    CoreModule,
    /// It is something else.
    #[error("this is not a WebAssembly component")]
    #[diagnostic(help("a component is the binary file that a build for `wasm32-wasip2` writes"))]
    NotAComponent,
}

/// Reads a component of at most 128 MiB that a folder holds. Only its first bytes are looked at.
///
/// # Errors
///
/// When it cannot be read, or does not begin as a component does.
pub fn read_component(folder: &Dir, path: &Path) -> Result<Arc<[u8]>, ComponentError> {
    let bytes = read_file(folder, path, LONGEST_COMPONENT)?;
    if bytes.starts_with(COMPONENT_PREAMBLE) {
        Ok(bytes.into())
    } else if bytes.starts_with(MODULE_PREAMBLE) {
        Err(ComponentError::CoreModule)
    } else {
        Err(ComponentError::NotAComponent)
    }
}

/// Opens the folder of a bundle or of policies.
///
/// # Errors
///
/// When there is no such folder, or it cannot be opened.
#[expect(clippy::disallowed_methods, reason = "the user named this folder; every file in it is reached through it")]
pub fn open_folder(path: &Path) -> Result<Dir, ManifestError> {
    Dir::open_ambient_dir(path, ambient_authority()).map_err(|error| {
        let message = match error.kind() {
            io::ErrorKind::NotFound => "there is no such folder".to_owned(),
            io::ErrorKind::NotADirectory => "this is not a folder".to_owned(),
            _ => format!("the folder cannot be opened: {error}"),
        };
        ManifestError::of_file(path, &message, "name the folder that holds the bundle, or its policies".to_owned())
    })
}

/// A bundle whose manifest was read and whose components were loaded.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// Its name.
    pub name: Name,
    /// Its version (Semantic Versioning 2.0.0).
    pub version: String,
    /// What it is for, in its author's words. Empty if the author gave none.
    pub description: String,
    /// Digest of the manifest and of all components with their names.
    pub digest: Digest,
    /// The component that is run.
    pub agent: ComponentSource,
    /// The components that may be called.
    pub tools: BTreeMap<Name, ComponentSource>,
    /// The text of `bundle.toml`, for diagnostics.
    pub source: Source,
}

/// A component of a bundle, not compiled yet.
#[derive(Clone)]
pub struct ComponentSource {
    /// Which one it is.
    pub name: ComponentName,
    /// Where its file lies in the bundle's folder.
    pub path: PathBuf,
    /// Where `bundle.toml` names that file.
    pub span: Range<usize>,
    /// The component, in the binary format.
    pub wasm: Arc<[u8]>,
    /// Digest of `wasm`.
    pub digest: Digest,
    /// What its author asks for.
    pub requests: Sections,
}

impl ComponentSource {
    /// A component outside of any bundle, as a tool named after its file: `Word_count.wasm` is `word-count`.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or is no component.
    pub fn alone(folder: &Dir, file: &Path) -> Result<ComponentSource, ComponentError> {
        let wasm = read_component(folder, file)?;
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
        let name: String = stem.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(60).collect();
        let name: Name = name.parse().unwrap_or_else(|_| Name(format!("tool-{name}").into()));
        Ok(ComponentSource {
            name: ComponentName::Tool(name),
            path: file.to_owned(),
            span: 0..0,
            digest: Digest::of(&wasm),
            wasm,
            requests: Sections::default(),
        })
    }
}

impl fmt::Debug for ComponentSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ComponentSource { name, path, digest, requests, .. } = self;
        let mut debug = formatter.debug_struct("ComponentSource");
        debug.field("name", name).field("path", path).field("digest", digest).field("requests", requests);
        debug.finish_non_exhaustive()
    }
}

impl Bundle {
    /// Reads `bundle.toml` of a folder and loads its components. `shown_as` is how diagnostics name the folder.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with the manifest, or with a component that it names.
    pub fn open(folder: &Dir, shown_as: &Path, vocabulary: Vocabulary<'_>) -> Result<Bundle, ManifestError> {
        let source = Source::read(folder, Path::new(BUNDLE_FILE), &shown_as.join(BUNDLE_FILE))?;
        let mut fields = Fields::of_document(&source, &["name", "version", "description", "agent", "tools"])?;
        let name = fields.read::<Name>("name")?;
        let name =
            name.ok_or_else(|| fields.missing("name", "name the bundle, as `name = \"researcher\"`"))?.into_inner();
        let version = fields.read::<Version>("version")?;
        let version = version.ok_or_else(|| fields.missing("version", "add `version = \"0.1.0\"`"))?.into_inner().0;
        let description =
            fields.read::<String>("description")?.map(|text| harmless(text.get_ref())).unwrap_or_default();

        let reader = ComponentReader { source: &source, folder, vocabulary };
        let (_, agent) = fields
            .take("agent")
            .ok_or_else(|| fields.missing("agent", "add `[agent]` with `component = \"….wasm\"`"))?;
        let agent = reader.read(ComponentName::Agent, agent)?;
        let mut held = agent.wasm.len() as u64;
        let mut tools = BTreeMap::new();
        if let Some((_, table)) = fields.take("tools") {
            for (key, value) in Fields::of_any(&source, table)?.into_entries() {
                let name = tool_name(&source, &key)?;
                let tool = reader.read(ComponentName::Tool(name.clone()), value)?;
                held += tool.wasm.len() as u64;
                if held > LARGEST_BUNDLE {
                    let message = format!("the components have more than {} MiB together", LARGEST_BUNDLE >> 20);
                    let help = "ship fewer tools in one bundle, or smaller ones".to_owned();
                    return Err(ManifestError::at(&source, tool.span, &message, help));
                }
                tools.insert(name, tool);
            }
        }
        let digest = digest_of(&source, &agent, &tools);
        let bundle = Bundle { name, version, description, digest, agent, tools, source };
        bundle.components().try_for_each(|component| {
            let names = component.requests.tools(|section, request| section.tools_in_request(request));
            names.iter().try_for_each(|name| bundle.require_tool(&bundle.source, name.get_ref(), name.span()))
        })?;
        Ok(bundle)
    }

    /// The agent, then the tools by name.
    pub fn components(&self) -> impl Iterator<Item = &ComponentSource> {
        std::iter::once(&self.agent).chain(self.tools.values())
    }

    /// A component by name.
    #[must_use]
    pub fn component(&self, name: &ComponentName) -> Option<&ComponentSource> {
        match name {
            ComponentName::Agent => Some(&self.agent),
            ComponentName::Tool(name) => self.tools.get(name),
        }
    }

    /// Refuses a name at `span` of `source` that is no tool of this bundle.
    pub(crate) fn require_tool(&self, source: &Source, name: &str, span: Range<usize>) -> Result<(), ManifestError> {
        if self.tools.contains_key(name) {
            return Ok(());
        }
        let known = self.tools.keys().map(Name::as_str);
        let help = suggestion(name, known, &format!("the tools of `{}` are", self.name))
            .unwrap_or_else(|| format!("the bundle `{}` has no tools", self.name));
        Err(ManifestError::at(source, span, &format!("unknown tool {}", quoted(name)), help))
    }
}

/// Reads the key of a `[tools.…]` section.
pub(crate) fn tool_name(source: &Source, key: &Spanned<toml::de::DeString<'_>>) -> Result<Name, ManifestError> {
    let refuse = |message: &str, help: &str| Err(ManifestError::at(source, key.span(), message, help.to_owned()));
    match key.get_ref().parse::<Name>() {
        Ok(name) if name.as_str() == "agent" => refuse("a tool cannot be called `agent`", "give the tool another name"),
        Ok(name) => Ok(name),
        Err(error) => refuse(&error.to_string(), NameError::HELP),
    }
}

/// Every part is preceded by its length, so that no two bundles have the same bytes (64 bits, big-endian).
fn digest_of(source: &Source, agent: &ComponentSource, tools: &BTreeMap<Name, ComponentSource>) -> Digest {
    let mut hasher = Sha256::new();
    let mut add = |part: &[u8]| {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    };
    add(source.text().as_bytes());
    for component in std::iter::once(agent).chain(tools.values()) {
        add(component.name.to_string().as_bytes());
        add(component.digest.as_bytes());
    }
    Digest(hasher.finalize().into())
}

/// Reads the components' sections of a bundle.
struct ComponentReader<'b> {
    source: &'b Source,
    folder: &'b Dir,
    vocabulary: Vocabulary<'b>,
}

impl<'b> ComponentReader<'b> {
    fn read(&self, name: ComponentName, value: Spanned<DeValue<'b>>) -> Result<ComponentSource, ManifestError> {
        let mut fields = Fields::of(self.source, value, &["component", "requests"])?;
        let path = fields.read::<String>("component")?;
        let path = path.ok_or_else(|| fields.missing("component", "name the file, as `component = \"….wasm\"`"))?;
        let wasm = self.load(&path)?;
        let requests = match fields.take("requests") {
            None => Sections::default(),
            Some((_, requests)) => {
                let keys: Vec<&str> = self.vocabulary.iter().map(|section| section.key()).collect();
                Fields::of(self.source, requests, &keys)?
                    .into_sections(self.vocabulary, |section, value| section.request(value))?
            }
        };
        let digest = Digest::of(&wasm);
        Ok(ComponentSource { name, span: path.span(), path: path.into_inner().into(), wasm, digest, requests })
    }

    fn load(&self, path: &Spanned<String>) -> Result<Arc<[u8]>, ManifestError> {
        let text = path.get_ref();
        let refuse = |message: &str, help: Option<String>| {
            ManifestError::at(self.source, path.span(), &format!("component {}: {message}", quoted(text)), help)
        };
        // Only `names/between/slashes`: whatever else a path can say would leave the folder, or name a file twice.
        let plain = |name: &str| !matches!(name, "" | "." | "..") && !name.contains(['\\', ':', '\0']);
        if !text.split('/').all(plain) {
            let help = "write a path inside of the bundle's folder, as `search.wasm` or `tools/search.wasm`";
            return Err(refuse("the path leads out of its folder", Some(help.to_owned())));
        }
        read_component(self.folder, Path::new(text)).map_err(|error| {
            let help = error.help().map(|help| help.to_string());
            refuse(&error.to_string(), help)
        })
    }
}

/// A version: three numbers, then perhaps `-` and `+` with identifiers (Semantic Versioning 2.0.0, section 2, 9, 10).
struct Version(String);

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Version, D::Error> {
        let text = String::deserialize(deserializer)?;
        if is_version(&text) {
            Ok(Version(text))
        } else {
            Err(reject(&format!("{} is not a version", quoted(&text)), "write it as `\"0.1.0\"` or `\"1.0.0-beta.2\"`"))
        }
    }
}

fn is_version(text: &str) -> bool {
    let identifiers = |part: &str| {
        let letters = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        part.split('.').all(|identifier| !identifier.is_empty() && identifier.bytes().all(letters))
    };
    let number = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) && (part == "0" || !part.starts_with('0'))
    };
    let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
    let (numbers, pre_release) = text.split_once('-').map_or((text, None), |(text, part)| (text, Some(part)));
    let numbers: Vec<&str> = numbers.split('.').collect();
    text.len() <= 64
        && numbers.len() == 3
        && numbers.into_iter().all(number)
        && pre_release.is_none_or(identifiers)
        && build.is_none_or(|build| build.len() <= 64 && identifiers(build))
}

#[cfg(test)]
mod tests;
