//! What authors wrote about their functions and types in WIT.
//!
//! A linked component has lost its WIT comments. They are kept beside it in custom sections named `package-docs`, whose
//! data is `wit_parser::PackageMetadata::encode` of one WIT package: a version byte, and JSON. Such a section does not name
//! its package. It is taken to be about the package of which the component exports (or else imports) the most interfaces
//! that it describes. There may be several, each about another package; `wasi` packages are not described.
//!
//! The JSON is read here and not with `PackageMetadata::inject`, which gives up at the first interface that the component
//! does not have, and a component rarely has all of a package. Names of types are in the component, so they are taken from
//! it with `wit_parser::decoding`.
//!
//! All of this is an author's text, so it is data: a section that is malformed, too long or of another version counts as
//! absent, and every text is cleaned and bounded.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Deserialize;
use wit_parser::decoding::{DecodedWasm, decode};
use wit_parser::{
    InterfaceId, PackageMetadata, Resolve, Type, TypeDef, TypeDefKind, TypeOwner, WorldId, WorldItem, WorldKey,
};

use super::text;

/// The longest text about a function, in bytes.
const FUNCTION_LIMIT: usize = 4_096;
/// The longest text about a type, a field or a case, in bytes.
const PART_LIMIT: usize = 1_024;
/// The most that is read of all sections together, in bytes.
const SECTIONS_LIMIT: usize = 1 << 20;
/// The format of a section that is read (`PACKAGE_DOCS_SECTION_VERSION` in wit-parser).
const VERSION: u8 = 1;

/// What is known about a component beyond its types.
#[derive(Default)]
pub(crate) struct Documents {
    sections: Vec<(Option<String>, Section)>,
    decoded: Option<(Resolve, WorldId)>,
}

/// The part of `PackageMetadata` that is of use.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Section {
    worlds: BTreeMap<String, World>,
    interfaces: BTreeMap<String, Interface>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct World {
    interfaces: BTreeMap<String, Interface>,
    interface_exports: BTreeMap<String, Interface>,
    types: BTreeMap<String, Definition>,
    funcs: BTreeMap<String, Function>,
    func_exports: BTreeMap<String, Function>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Interface {
    funcs: BTreeMap<String, Function>,
    types: BTreeMap<String, Definition>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Function {
    docs: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Definition {
    docs: Option<String>,
    /// Of fields, cases or flags.
    items: BTreeMap<String, String>,
}

impl Documents {
    /// Reads what stands in a component whose exports and imports have the given names.
    pub(crate) fn of(wasm: &[u8], exports: &[String], imports: &[String]) -> Self {
        let customs = customs(wasm);
        let mut budget = SECTIONS_LIMIT;
        let mut sections = Vec::new();
        for custom in customs.iter().filter(|custom| custom.outermost) {
            let data = &wasm[custom.data.clone()];
            let Some(left) = budget.checked_sub(data.len()) else { continue };
            budget = left;
            let Some((&VERSION, json)) = data.split_first() else { continue };
            if let Ok(section) = serde_json::from_slice::<Section>(json)
                && !(section.worlds.is_empty() && section.interfaces.is_empty())
            {
                sections.push((section.package(exports, imports), section));
            }
        }
        if sections.is_empty() {
            return Self::default();
        }
        Self { sections, decoded: decoded(wasm, &customs) }
    }

    /// What its author wrote about a function: an empty string if there is nothing.
    pub(crate) fn about(&self, interface: Option<&str>, function: &str) -> String {
        let found = match interface.map(Name::of) {
            None => {
                self.worlds(|world| [&world.func_exports, &world.funcs].into_iter().find_map(|all| all.get(function)))
            }
            Some(name) => self.interface(name).and_then(|interface| interface.funcs.get(function)),
        };
        let docs = found.and_then(|function| function.docs.as_deref());
        text::clean(docs.unwrap_or_default(), FUNCTION_LIMIT).trim().to_owned()
    }

    /// The types of a function's parameters, in order, and of its result.
    pub(crate) fn signature(&self, interface: Option<&str>, function: &str) -> (Vec<Note<'_>>, Note<'_>) {
        let declared = self.decoded.as_ref().and_then(|(resolve, world)| {
            let mut exports = resolve.worlds[*world].exports.iter();
            match interface {
                None => exports.find_map(|(_, item)| match item {
                    WorldItem::Function(declared) if declared.name == function => Some(declared),
                    _ => None,
                }),
                Some(interface) => exports.find_map(|(key, item)| match item {
                    WorldItem::Interface { id, .. } if resolve.name_world_key(key) == interface => {
                        resolve.interfaces[*id].functions.get(function)
                    }
                    _ => None,
                }),
            }
        });
        let note = |ty: Type| Note { documents: Some(self), ty: Some(ty) };
        match declared {
            None => (Vec::new(), Note::default()),
            Some(declared) => (
                declared.params.iter().map(|parameter| note(parameter.ty)).collect(),
                declared.result.map(note).unwrap_or_default(),
            ),
        }
    }

    fn interface(&self, name: Name<'_>) -> Option<&Interface> {
        match name {
            Name::Inline(name) => self.worlds(|world| {
                [&world.interface_exports, &world.interfaces].into_iter().find_map(|all| all.get(name))
            }),
            Name::Of { package, interface } => {
                let about = self.sections.iter().filter(|(about, _)| about.as_deref() == Some(package.as_str()));
                about.into_iter().find_map(|(_, section)| section.interfaces.get(interface))
            }
        }
    }

    /// What the first world (by section, then by name) says that says anything: which of them the component was built for
    /// is not kept.
    fn worlds<'a, T>(&'a self, find: impl Fn(&'a World) -> Option<T>) -> Option<T> {
        self.sections.iter().flat_map(|(_, section)| section.worlds.values()).find_map(find)
    }

    fn definition(&self, defined: &TypeDef) -> Option<&Definition> {
        let name = defined.name.as_deref()?;
        match defined.owner {
            TypeOwner::World(_) => self.worlds(|world| world.types.get(name)),
            TypeOwner::Interface(id) => {
                let (resolve, world) = self.decoded.as_ref()?;
                let spelt = spelling(resolve, *world, id)?;
                self.interface(Name::of(&spelt))?.types.get(name)
            }
            TypeOwner::None => None,
        }
    }
}

impl Section {
    /// The package that this is about, `namespace:name@version`.
    fn package(&self, exports: &[String], imports: &[String]) -> Option<String> {
        let mut scores: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        let names = exports.iter().map(|name| (name, true)).chain(imports.iter().map(|name| (name, false)));
        for (name, exported) in names {
            let Name::Of { package, interface } = Name::of(name) else { continue };
            if !package.starts_with("wasi:") && self.interfaces.contains_key(interface) {
                let (all, own) = scores.entry(package).or_default();
                *all += 1;
                *own += usize::from(exported);
            }
        }
        let best =
            scores.into_iter().max_by_key(|(package, (all, own))| (*own, *all, std::cmp::Reverse(package.clone())));
        best.map(|(package, _)| package)
    }
}

/// The name of an exported or imported interface.
enum Name<'a> {
    /// `namespace:name/interface@version`; the package is `namespace:name@version`.
    Of { package: String, interface: &'a str },
    /// An interface that a world declares in place.
    Inline(&'a str),
}

impl<'a> Name<'a> {
    fn of(name: &'a str) -> Self {
        let Some((package, interface)) = name.split_once('/') else { return Self::Inline(name) };
        match interface.split_once('@') {
            Some((interface, version)) => Self::Of { package: format!("{package}@{version}"), interface },
            None => Self::Of { package: package.to_owned(), interface },
        }
    }
}

/// How the component's names spell an interface of the decoded world.
fn spelling(resolve: &Resolve, world: WorldId, id: InterfaceId) -> Option<String> {
    let interface = &resolve.interfaces[id];
    if interface.name.is_some() && interface.package.is_some() {
        return resolve.id_of(id);
    }
    let world = &resolve.worlds[world];
    world.exports.iter().chain(&world.imports).find_map(|(key, item)| match (key, item) {
        (WorldKey::Name(name), WorldItem::Interface { id: named, .. }) if *named == id => Some(name.clone()),
        _ => None,
    })
}

/// A type of a component as its author declared it, or nothing when that is not known.
#[derive(Clone, Copy, Default)]
pub(crate) struct Note<'a> {
    documents: Option<&'a Documents>,
    ty: Option<Type>,
}

impl<'a> Note<'a> {
    /// The type's definition and all those that it is another name of, the nearest first.
    fn chain(self) -> impl Iterator<Item = &'a TypeDef> {
        let resolve = self.documents.and_then(|documents| documents.decoded.as_ref()).map(|(resolve, _)| resolve);
        let define = move |ty: Type| match ty {
            Type::Id(id) => resolve.map(|resolve| &resolve.types[id]),
            _ => None,
        };
        std::iter::successors(self.ty.and_then(define), move |defined| match defined.kind {
            TypeDefKind::Type(ty) => define(ty),
            _ => None,
        })
    }

    fn kind(self) -> Option<&'a TypeDefKind> {
        self.chain().last().map(|defined| &defined.kind)
    }

    fn to(self, ty: Option<Type>) -> Self {
        Self { ty, ..self }
    }

    /// The type's name.
    pub(crate) fn title(self) -> Option<&'a str> {
        self.chain().find_map(|defined| defined.name.as_deref())
    }

    /// What is written about the type.
    pub(crate) fn description(self) -> Option<String> {
        let documents = self.documents?;
        self.chain().find_map(|defined| documents.definition(defined)?.docs.as_deref()).and_then(part)
    }

    /// What is written about one of the type's fields, cases or flags.
    pub(crate) fn about(self, name: &str) -> Option<String> {
        let documents = self.documents?;
        self.chain().find_map(|defined| documents.definition(defined)?.items.get(name)).and_then(|text| part(text))
    }

    /// The type of a field, or of the payload of a case.
    pub(crate) fn member(self, name: &str) -> Self {
        self.to(match self.kind() {
            Some(TypeDefKind::Record(record)) => {
                record.fields.iter().find(|field| field.name == name).map(|field| field.ty)
            }
            Some(TypeDefKind::Variant(variant)) => {
                variant.cases.iter().find(|case| case.name == name).and_then(|case| case.ty)
            }
            _ => None,
        })
    }

    /// The type of the items of a list, of the values of a map, or of what an option may hold.
    pub(crate) fn element(self) -> Self {
        self.to(match self.kind() {
            Some(
                TypeDefKind::List(ty)
                | TypeDefKind::FixedLengthList(ty, _)
                | TypeDefKind::Map(_, ty)
                | TypeDefKind::Option(ty),
            ) => Some(*ty),
            _ => None,
        })
    }

    /// The type of the keys of a map.
    pub(crate) fn key(self) -> Self {
        self.to(if let Some(TypeDefKind::Map(key, _)) = self.kind() { Some(*key) } else { None })
    }

    /// The type of one place of a tuple.
    pub(crate) fn place(self, index: usize) -> Self {
        self.to(if let Some(TypeDefKind::Tuple(tuple)) = self.kind() { tuple.types.get(index).copied() } else { None })
    }

    /// The type that a result holds when all went well.
    pub(crate) fn ok(self) -> Self {
        self.to(if let Some(TypeDefKind::Result(result)) = self.kind() { result.ok } else { None })
    }

    /// The type that a result holds otherwise.
    pub(crate) fn err(self) -> Self {
        self.to(if let Some(TypeDefKind::Result(result)) = self.kind() { result.err } else { None })
    }
}

fn part(docs: &str) -> Option<String> {
    let cleaned = text::clean(docs, PART_LIMIT).trim().to_owned();
    (!cleaned.is_empty()).then_some(cleaned)
}

/// The names of the interfaces that a component exports.
pub(crate) fn exported_interfaces(wasm: &[u8]) -> Vec<String> {
    let Some((resolve, world)) = decoded(wasm, &customs(wasm)) else { return Vec::new() };
    let exports = resolve.worlds[world].exports.iter();
    let interfaces = exports.filter(|(_, item)| matches!(item, WorldItem::Interface { .. }));
    interfaces.map(|(key, _)| resolve.name_world_key(key)).collect()
}

/// The component's types with their names.
fn decoded(wasm: &[u8], customs: &[Custom]) -> Option<(Resolve, WorldId)> {
    let mut copy = wasm.to_vec();
    for custom in customs {
        // The decoder insists on understanding these sections, at any depth. In the copy they have another name.
        copy[custom.name.start] = b'P';
    }
    // SECURITY: the decoder asserts what is true of components made from WIT, and this one may have been made by hand to
    // prove it wrong. Then it merely has no names.
    let decode = || match decode(&copy) {
        Ok(DecodedWasm::Component(resolve, world)) => Some((resolve, world)),
        Ok(DecodedWasm::WitPackage(..)) | Err(_) => None,
    };
    std::panic::catch_unwind(decode).ok().flatten()
}

/// A custom section named `package-docs`.
struct Custom {
    name: Range<usize>,
    data: Range<usize>,
    /// Whether it belongs to the component itself, and not to one of its parts.
    outermost: bool,
}

/// Finds the sections in a component (WebAssembly Core Specification, section 5.5; components share the encoding). Stops
/// where it cannot read on.
fn customs(wasm: &[u8]) -> Vec<Custom> {
    const HEADER: usize = 8;
    const CUSTOM: u8 = 0;
    const MODULE: u8 = 1;
    const COMPONENT: u8 = 4;
    let mut found = Vec::new();
    // Parts follow their header like sections of the whole, so they are entered by stepping over the header alone. Modules
    // hold no parts, and number their sections in another way.
    let (mut at, mut part_end, mut module_end) = (HEADER, 0, 0);
    while let Some(&kind) = wasm.get(at) {
        let Some((start, size)) = leb128(wasm, at + 1) else { break };
        let Some(end) = start.checked_add(size).filter(|end| *end <= wasm.len()) else { break };
        let outermost = at >= part_end;
        if matches!(kind, MODULE | COMPONENT) && at >= module_end {
            part_end = if outermost { end } else { part_end };
            module_end = if kind == MODULE { end } else { module_end };
            at = end.min(start + HEADER);
            continue;
        }
        if kind == CUSTOM
            && let Some((name, length)) = leb128(wasm, start)
            && wasm.get(name..end).and_then(|rest| rest.get(..length)) == Some(PackageMetadata::SECTION_NAME.as_bytes())
        {
            found.push(Custom { name: name..name + length, data: name + length..end, outermost });
        }
        at = end;
    }
    found
}

/// Reads an unsigned number of 32 bits (WebAssembly Core Specification, section 5.2.2): where it ends, and what it is.
fn leb128(bytes: &[u8], start: usize) -> Option<(usize, usize)> {
    let mut number = 0;
    for (index, byte) in bytes.get(start..)?.iter().take(5).enumerate() {
        number |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((start + index + 1, number));
        }
    }
    None
}
