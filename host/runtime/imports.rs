//! What a component's imports are linked against: capabilities, what is powerless, and the tools that it may call.
//!
//! | import | is answered by |
//! | --- | --- |
//! | an interface of a capability, or a powerless one | the host, and nobody else |
//! | any other of `wasi:` or `ambit:` | nobody |
//! | an interface of a package that holds types alone | nobody has to: there is nothing in it to call |
//! | any other interface of a package | the granted tool that exports it, if its types are the same |
//! | whatever else | nobody |
//!
//! Names fit as the component model links them: versions are the same, or compatible by Semantic Versioning. Two tools that
//! could answer are one too many, unless the grant says which of them does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wasmtime::component::types::{ComponentFunc, ComponentInstance, ComponentItem};
use wasmtime::component::{Component, InstancePre, Linker};

use super::plan::{LoadRefusal, Origin, Part};
use crate::bundle::{ComponentName, ComponentSource, Digest};
use crate::capability::tools::{Grant, Request, Tools, typed};
use crate::capability::{Capability as _, REGISTRY, Registered, TaskState, powerless};
use crate::manifest::Sections;
use crate::tool::shape::Allowance;
use crate::tool::text::quoted;
use crate::tool::{Function, match_import};

/// Packages whose interfaces have one meaning, whatever a tool exports.
const RESERVED: [&str; 2] = ["wasi:", "ambit:"];

/// The capability that an interface belongs to.
pub fn capability_of(interface: &str) -> Option<&'static dyn Registered> {
    REGISTRY.iter().copied().find(|row| row.interfaces().contains(&interface))
}

/// An import's name without its version: `wasi:io/streams@0.2.6` is `wasi:io/streams`.
pub fn without_version(import: &str) -> &str {
    import.split_once('@').map_or(import, |(name, _)| name)
}

/// Whether an import can be answered by a tool: it is an interface of a package that is neither WASI's nor ambit's.
pub fn is_of_tools(import: &str) -> bool {
    let package = import.split_once('/').is_some_and(|(package, _)| package.contains(':'));
    let interface = without_version(import);
    package
        && !RESERVED.iter().any(|reserved| import.starts_with(reserved))
        && !powerless::INTERFACES.contains(&interface)
        && capability_of(interface).is_none()
}

/// Whether an imported interface holds types alone, so that nobody has to answer it.
pub fn holds_types_alone(instance: &ComponentInstance, engine: &wasmtime::Engine) -> bool {
    let mut items = instance.exports(engine).map(|(_, item)| item.ty).peekable();
    items.peek().is_some() && items.all(|item| matches!(item, ComponentItem::Type(_)))
}

/// Whether two names of interfaces fit, as the component model links them.
fn fit(one: &str, other: &str) -> bool {
    one == other || track(one).is_some_and(|track_of_one| track(other) == Some(track_of_one))
}

/// The part of a name that all compatible versions share: up to the first number of the version that is not zero. There is
/// none for `0.0.x` and for pre-releases, which are compatible with themselves alone.
fn track(name: &str) -> Option<(&str, u64, u64)> {
    match version(name)? {
        (0, 0, _) => None,
        (0, minor, _) => Some((without_version(name), 0, minor)),
        (major, ..) => Some((without_version(name), major, 0)),
    }
}

fn version(name: &str) -> Option<(u64, u64, u64)> {
    let (_, version) = name.split_once('@')?;
    let version = version.split_once('+').map_or(version, |(version, _)| version);
    let mut numbers = version.split('.').map(str::parse);
    match (numbers.next(), numbers.next(), numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch)), None) => Some((major, minor, patch)),
        _ => None,
    }
}

/// A linker with what is granted, what is powerless, and nothing else.
fn granted(engine: &wasmtime::Engine, grants: &Sections) -> wasmtime::Result<Linker<TaskState>> {
    let mut linker = Linker::new(engine);
    powerless::link(&mut linker)?;
    for row in REGISTRY {
        if is_present(*row, grants) {
            row.link(&mut linker)?;
        }
    }
    Ok(linker)
}

fn is_present(row: &dyn Registered, grants: &Sections) -> bool {
    row.is_powerless() || grants.has(row.key())
}

/// A component whose imports are compared with its grant.
pub(super) struct Importer<'a> {
    pub(super) source: &'a ComponentSource,
    pub(super) component: &'a Component,
    /// What it may do.
    pub(super) grants: &'a Sections,
    /// The tools that were loaded; those that it is not granted are none of its own.
    pub(super) tools: &'a BTreeMap<String, Part>,
    pub(super) origin: Origin<'a>,
}

/// A function that a component imports, and what a tool has for it.
pub(super) struct Linked {
    /// The interface.
    import: String,
    tool: String,
    /// The tool's digest.
    digest: Digest,
    function: Arc<Function>,
    ty: ComponentFunc,
}

/// What decides how a component is linked: two that have the same are linked the same.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shape {
    component: [u8; 32],
    /// The capabilities whose interfaces are there.
    keys: Vec<&'static str>,
    /// Interface, function, and the tool that answers it, with its digest.
    answered: Vec<(String, String, String, [u8; 32])>,
}

impl Importer<'_> {
    /// What the component imports of tools, and who answers it.
    ///
    /// # Errors
    /// What it imports that nobody answers.
    pub(super) fn answered(&self) -> Result<Vec<Linked>, LoadRefusal> {
        self.check_choices()?;
        let (mut answered, mut allowance) = (Vec::new(), Allowance::default());
        let engine = self.component.engine();
        for (import, item) in self.component.component_type().imports(engine) {
            let interface = without_version(import);
            let is_given = powerless::INTERFACES.contains(&interface)
                || capability_of(interface).is_some_and(|row| is_present(row, self.grants));
            if is_given {
                continue;
            }
            let ComponentItem::ComponentInstance(instance) = item.ty else { return Err(self.not_granted(import)) };
            if !is_of_tools(import) {
                return Err(self.not_granted(import));
            }
            if holds_types_alone(&instance, engine) {
                continue;
            }
            let answering = self.answering(import)?.ok_or_else(|| self.not_granted(import))?;
            for (name, item) in instance.exports(engine) {
                answered.extend(self.answer(import, &answering, (name, item.ty), &mut allowance)?);
            }
        }
        Ok(answered)
    }

    /// What the component's linking depends on.
    pub(super) fn shape(&self, answered: &[Linked]) -> Shape {
        let keys = REGISTRY.iter().filter(|row| is_present(**row, self.grants)).map(|row| row.key());
        let answered = answered.iter().map(|Linked { import, tool, digest, function, .. }| {
            (import.clone(), function.name().to_owned(), tool.clone(), *digest.as_bytes())
        });
        Shape { component: *self.source.digest.as_bytes(), keys: keys.collect(), answered: answered.collect() }
    }

    /// Links the component with everything that it imports.
    pub(super) fn link(&self, answered: Vec<Linked>) -> Result<InstancePre<TaskState>, LoadRefusal> {
        let unlinked = |error: wasmtime::Error| {
            let message = format!("the imports of `{}` cannot be linked: {error}", self.source.name);
            self.refuse("not-compiled", message, "this is a bug of ambit's".to_owned())
        };
        let mut linker = granted(self.component.engine(), self.grants).map_err(unlinked)?;
        for Linked { import, tool, function, ty, .. } in answered {
            let mut instance = linker.instance(&import).map_err(unlinked)?;
            typed::link(&mut instance, &tool, &function, &ty).map_err(|error| {
                let message = format!("`{}`: {error}", quoted(&import));
                self.refuse("import-mismatch", message, self.fitting(&tool))
            })?;
        }
        linker.instantiate_pre(self.component).map_err(|error| {
            let message = format!("`{}` imports something of another version or type: {error:#}", self.source.name);
            let help = "build it against the WIT that ambit ships; `ambit inspect` lists what it imports".to_owned();
            self.refuse("import-mismatch", message, help)
        })
    }

    fn fitting(&self, tool: &str) -> String {
        format!("build the component of `{}` against the WIT of `{tool}`, or grant a tool that fits", self.source.name)
    }

    /// What a tool has for one item of an imported interface; nothing for a type.
    fn answer(
        &self,
        interface: &str,
        answering: &Answering<'_>,
        (name, item): (&str, ComponentItem),
        allowance: &mut Allowance,
    ) -> Result<Option<Linked>, LoadRefusal> {
        let (own, tool) = (&self.source.name, answering.tool);
        let (import, shown) = (quoted(interface), quoted(name));
        let mismatch = |message: String| self.refuse("import-mismatch", message, self.fitting(tool));
        let ty: ComponentFunc = match item {
            ComponentItem::Type(_) => return Ok(None),
            ComponentItem::ComponentFunc(ty) => ty,
            ComponentItem::Resource(_) => {
                let why = "which does not outlive a call of a tool";
                return Err(mismatch(format!("`{own}` imports `{import}` with the resource `{shown}`, {why}")));
            }
            _ => return Err(mismatch(format!("`{own}` imports `{import}` with `{shown}`, which is no function"))),
        };
        let function = answering.functions().find(|function| function.name() == name).ok_or_else(|| {
            mismatch(format!("`{own}` imports `{shown}` of `{import}`, and `{tool}` exports no function of that name"))
        })?;
        match_import((&own.to_string(), &ty), (tool, function), allowance).map_err(|unmatched| {
            mismatch(format!(
                "`{own}` imports `{shown}` of `{import}` in another shape than `{tool}` exports it: {unmatched}"
            ))
        })?;
        let (import, tool, digest) = (interface.to_owned(), tool.to_owned(), answering.part.digest());
        Ok(Some(Linked { import, tool, digest, function: Arc::clone(function), ty }))
    }

    /// The granted tool that answers an import.
    fn answering(&self, import: &str) -> Result<Option<Answering<'_>>, LoadRefusal> {
        let Some(grant) = self.grants.get::<Grant>(Tools::NAME) else { return Ok(None) };
        let chosen = grant.choices().find(|(_, choice)| fit(choice, import)).map(|(tool, _)| tool);
        let names = grant.names().filter(|name| chosen.is_none_or(|chosen| chosen == *name));
        let mut able: Vec<Answering<'_>> =
            names.filter_map(|name| Answering::of(name, self.tools.get(name)?, import)).collect();
        able.dedup_by_key(|answering| answering.tool);
        if let [first, second, ..] = able.as_slice() {
            let (own, first, second) = (&self.source.name, first.tool, second.tool);
            let message = format!("`{own}` imports `{}`, which `{first}` and `{second}` both export", quoted(import));
            let help = format!(
                "say which of them answers it: in `tools` of {} write `{{ name = \"{first}\", imports = [\"{}\"] }}`",
                self.section(),
                quoted(import)
            );
            return Err(self.refuse("ambiguous-import", message, help));
        }
        Ok(able.pop())
    }

    /// Whether the grant's choices are of tools that can answer what they are chosen for, one for each import.
    fn check_choices(&self) -> Result<(), LoadRefusal> {
        let Some(grant) = self.grants.get::<Grant>(Tools::NAME) else { return Ok(()) };
        for (tool, import) in grant.choices() {
            let says = format!("the grant of `{}` says that `{tool}` answers `{}`", self.source.name, quoted(import));
            if !is_of_tools(import) {
                let help = "name an interface of the tool's own package, as `acme:billing/refunds@1.0.0`".to_owned();
                return Err(self.refuse("unknown-import", format!("{says}, which no tool can"), help));
            }
            let Some(part) = self.tools.get(tool) else { continue };
            if Answering::of(tool, part, import).is_none() {
                let exported: BTreeSet<_> = part.functions.iter().filter_map(|function| function.interface()).collect();
                let exported: Vec<_> = exported.into_iter().map(|name| format!("`{}`", quoted(name))).collect();
                let help = format!("what `{tool}` exports: {}", exported.join(", "));
                return Err(self.refuse("unknown-import", format!("{says}, which it does not export"), help));
            }
            if let Some((other, _)) = grant.choices().find(|(other, also)| *other != tool && fit(also, import)) {
                let help = format!("take it from `imports` of one of them, in `tools` of {}", self.section());
                return Err(self.refuse("ambiguous-import", format!("{says}, and that `{other}` does"), help));
            }
        }
        Ok(())
    }

    fn not_granted(&self, import: &str) -> LoadRefusal {
        let (name, bundle, section) = (&self.source.name, self.origin.name(), self.section());
        let help = match capability_of(without_version(import)) {
            Some(row) if self.source.requests.has(row.key()) => {
                format!(
                    "to allow it, add `{}` to {section} in the grants of `{bundle}`; it is for {}",
                    row.key(),
                    row.summary()
                )
            }
            Some(row) => format!(
                "the bundle does not request `{}` for it: its author has to, and the operator to grant it in {section}",
                row.key()
            ),
            None => self.exported_by_another(import).unwrap_or_else(|| {
                "no grant key gives this interface: ambit does not offer it to any component".to_owned()
            }),
        };
        let message = format!("`{name}` imports `{}`, which is not granted", quoted(import));
        self.refuse("import-not-granted", message, help)
    }

    /// What to do if a tool of the bundle exports what is not granted.
    fn exported_by_another(&self, import: &str) -> Option<String> {
        let Origin::Bundle { bundle, manifest } = self.origin else { return None };
        let others = bundle.tools.iter().filter(|(name, _)| self.source.name != ComponentName::Tool((*name).clone()));
        let exports =
            |wasm: &[u8]| crate::tool::exported_interfaces(wasm).iter().any(|interface| fit(interface, import));
        let (tool, _) = others.filter(|_| is_of_tools(import)).find(|(_, tool)| exports(&tool.wasm))?;
        let (name, tool) = (&self.source.name, tool.as_str());
        let given = manifest.component(name).and_then(|grant| grant.sections.get::<Grant>(Tools::NAME));
        let line = Grant::line_with(given, tool);
        let todo = format!("write `{line}` in {} in the grants of `{}`", self.section(), bundle.name);
        let requested = self.source.requests.get::<Request>(Tools::NAME);
        Some(if requested.is_some_and(|request| request.asks_for(tool)) {
            format!("the tool `{tool}` exports it; to allow calls of it, {todo}")
        } else {
            format!(
                "the tool `{tool}` exports it, but the bundle does not request it for `{name}`: its author has to, and the operator to {todo}"
            )
        })
    }

    /// Where the grant of this component stands.
    fn section(&self) -> String {
        match &self.source.name {
            ComponentName::Agent => "[agent]".to_owned(),
            ComponentName::Tool(tool) => format!("[tools.{tool}]"),
        }
    }

    fn refuse(&self, code: &'static str, message: String, help: String) -> LoadRefusal {
        LoadRefusal { component: self.source.name.to_string(), code, message, help }
    }
}

/// A tool that exports an interface which fits an import.
struct Answering<'a> {
    tool: &'a str,
    part: &'a Part,
    interface: &'a str,
}

impl<'a> Answering<'a> {
    /// The interface of a tool that fits an import: the very one, or else the newest.
    fn of(tool: &'a str, part: &'a Part, import: &str) -> Option<Self> {
        let interfaces = part.functions.iter().filter_map(|function| function.interface());
        let fitting = interfaces.filter(|interface| fit(interface, import));
        let interface = fitting.max_by_key(|interface| (*interface == import, version(interface)))?;
        Some(Self { tool, part, interface })
    }

    fn functions(&self) -> impl Iterator<Item = &'a Arc<Function>> {
        let interface = self.interface;
        self.part.functions.iter().filter(move |function| function.interface() == Some(interface))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_as_the_component_model_links_them() {
        for (one, other, expected) in [
            ("a:b/c", "a:b/c", true),
            ("a:b/c@1.0.0", "a:b/c@1.0.0", true),
            ("a:b/c@1.0.0", "a:b/c@1.4.2", true),
            ("a:b/c@1.0.0", "a:b/c@1.0.0+build", true),
            ("a:b/c@0.2.0", "a:b/c@0.2.9", true),
            ("a:b/c@1.0.0", "a:b/c@2.0.0", false),
            ("a:b/c@0.2.0", "a:b/c@0.3.0", false),
            ("a:b/c@0.0.1", "a:b/c@0.0.2", false),
            ("a:b/c@0.0.1", "a:b/c@0.0.1", true),
            ("a:b/c@1.0.0", "a:b/c@1.0.0-rc.1", false),
            ("a:b/c@1.0.0-rc.1", "a:b/c@1.0.0-rc.1", true),
            ("a:b/c@1.0.0", "a:b/c", false),
            ("a:b/c@1.0.0", "a:b/d@1.0.0", false),
        ] {
            assert_eq!(fit(one, other), expected, "{one} and {other}");
            assert_eq!(fit(other, one), expected, "{other} and {one}");
        }
    }

    #[test]
    fn interfaces_of_the_host_are_not_of_tools() {
        for import in
            ["wasi:io/poll@0.2.0", "wasi:other/thing", "ambit:agent/tools@0.1.0", "ambit:agent/new", "launch", "a/b"]
        {
            assert!(!is_of_tools(import), "{import}");
        }
        assert!(is_of_tools("acme:billing/refunds@1.0.0") && is_of_tools("wasimodo:a/b"));
    }
}
