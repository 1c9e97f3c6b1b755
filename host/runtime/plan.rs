//! What a task will run: components, linked with exactly what the grant gives of what the bundle requests.
//!
//! Everything that can be refused before a guest runs is refused here, with the component's name, what it asks for, and
//! the line that would allow it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wasmtime::component::types::{ComponentItem, Type};
use wasmtime::component::{Component, ComponentExportIndex, InstancePre};

use super::imports::{Importer, Shape};
use crate::bundle::{Bundle, ComponentSource, Digest};
use crate::capability::tools::{Grant as ToolsGrant, Tools};
use crate::capability::{Capability as _, REGISTRY, TaskState};
use crate::engine::Engine;
use crate::grant::Manifest;
use crate::label::Labels;
use crate::manifest::Sections;
use crate::tool::{Function, Functions};

/// A component, ready to be instantiated.
pub struct Unit {
    /// `agent`, or the tool's name.
    pub name: Arc<str>,
    /// The component's digest, `sha256:…`.
    pub digest: Arc<str>,
    /// What it may do.
    pub grants: Arc<Sections>,
    /// What whatever it gives is labelled with.
    pub labels: Labels,
    /// It, linked.
    pub pre: InstancePre<TaskState>,
    /// Its `run`, if it is an agent.
    pub run: Option<ComponentExportIndex>,
    /// Its functions, if it is a tool.
    pub functions: Vec<Arc<Function>>,
}

/// The components of a task.
pub struct Plan {
    /// The bundle's name.
    pub bundle: Arc<str>,
    /// The bundle's version.
    pub version: String,
    /// The bundle's digest.
    pub digest: Digest,
    /// The agent, or the one tool that is tried alone.
    pub root: Unit,
    /// The tools that the grant lets be reached, by name.
    pub tools: BTreeMap<String, Unit>,
}

/// Why a task was refused before it ran.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct LoadRefusal {
    /// `agent`, or the tool's name.
    pub component: String,
    /// A stable word: `import-not-granted`, `import-mismatch`, `ambiguous-import`, `unknown-import`, `digest-mismatch`,
    /// `not-an-agent`, `not-a-tool`, `not-compiled`, `tool-cycle`.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

impl Plan {
    /// The functions of the tools that can be reached, with their tools' names.
    pub fn functions(&self) -> Vec<(String, Arc<Function>)> {
        let of = |(name, unit): (&String, &Unit)| {
            let functions = unit.functions.iter().map(|function| (name.clone(), Arc::clone(function)));
            functions.collect::<Vec<_>>()
        };
        self.tools.iter().flat_map(of).collect()
    }

    /// What each component that can be reached marks with labels, by its name.
    pub fn marks(&self) -> BTreeMap<&str, &Labels> {
        let marks = std::iter::once(&self.root).chain(self.tools.values()).map(|unit| (&*unit.name, &unit.labels));
        marks.filter(|(_, labels)| !labels.is_empty()).collect()
    }

    /// Links a bundle's agent and the tools that it can reach, under a grant manifest.
    ///
    /// # Errors
    /// What was refused first.
    pub fn of_bundle(loader: &Loader, bundle: &Bundle, manifest: &Manifest) -> Result<Self, LoadRefusal> {
        let load = |source: &ComponentSource, role| {
            check_pin(source, manifest)?;
            Part::load(&loader.engine, source, Effective::of(source, manifest), role)
        };
        let agent = load(&bundle.agent, Role::Agent)?;
        let mut parts: BTreeMap<String, Part> = BTreeMap::new();
        let mut wanted = named(&agent.grants);
        while let Some(name) = wanted.pop() {
            if parts.contains_key(&name) {
                continue;
            }
            // The manifest was checked against the bundle: the name is one of its tools.
            let Some(source) = bundle.tools.get(name.as_str()) else { continue };
            let part = load(source, Role::Tool)?;
            wanted.extend(named(&part.grants));
            parts.insert(name, part);
        }
        refuse_cycles(&parts)?;
        let origin = Origin::Bundle { bundle, manifest };
        let root = agent.linked(loader, &parts, origin)?;
        let link = |(name, part): (&String, &Part)| Ok((name.clone(), part.linked(loader, &parts, origin)?));
        let tools = parts.iter().map(link).collect::<Result<_, LoadRefusal>>()?;
        let (name, version) = (bundle.name.to_string().into(), bundle.version.clone());
        Ok(Self { bundle: name, version, digest: bundle.digest, root, tools })
    }

    /// Links one tool alone, with what it is granted.
    ///
    /// # Errors
    /// What was refused first.
    pub fn of_tool(
        loader: &Loader,
        tool: &ComponentSource,
        grants: Effective,
        name: String,
    ) -> Result<Self, LoadRefusal> {
        let part = Part::load(&loader.engine, tool, grants, Role::Tool)?;
        let root = part.linked(loader, &BTreeMap::new(), Origin::Alone(&name))?;
        Ok(Self { bundle: name.into(), version: String::new(), digest: tool.digest, root, tools: BTreeMap::new() })
    }
}

/// What a component may do.
#[derive(Clone, Debug, Default)]
pub struct Effective {
    /// What is granted of what is requested.
    pub sections: Sections,
    /// What whatever it gives is labelled with: that is the operator's to say alone.
    pub labels: Labels,
}

impl Effective {
    /// What a component may do under a manifest.
    pub fn of(source: &ComponentSource, manifest: &Manifest) -> Self {
        let Some(granted) = manifest.component(&source.name) else { return Self::default() };
        let sections = granted.sections.narrowed(|key| {
            let row = REGISTRY.iter().find(|row| row.key() == key)?;
            row.narrow(&granted.sections, &source.requests)
        });
        Self { sections, labels: granted.labels.clone() }
    }
}

/// Whether a component must export `run` or functions.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Agent,
    Tool,
}

fn named(grants: &Sections) -> Vec<String> {
    let grant = grants.get::<ToolsGrant>(Tools::NAME);
    grant.map(|grant| grant.names().map(ToOwned::to_owned).collect()).unwrap_or_default()
}

fn check_pin(source: &ComponentSource, manifest: &Manifest) -> Result<(), LoadRefusal> {
    manifest.check_pin(source).map_err(|error| LoadRefusal {
        component: source.name.to_string(),
        code: "digest-mismatch",
        message: error.to_string(),
        help: error.help_text().unwrap_or_default().to_owned(),
    })
}

/// Where a component comes from.
#[derive(Clone, Copy)]
pub(super) enum Origin<'a> {
    /// A bundle, under a manifest.
    Bundle {
        /// The bundle.
        bundle: &'a Bundle,
        /// What it is granted.
        manifest: &'a Manifest,
    },
    /// No bundle: what the tool is called as one.
    Alone(&'a str),
}

impl Origin<'_> {
    /// The bundle's name.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Bundle { bundle, .. } => bundle.name.as_str(),
            Self::Alone(name) => name,
        }
    }
}

/// A component that was loaded, and is not linked yet: tools have to be known before what imports them is linked.
pub(super) struct Part {
    source: ComponentSource,
    component: Component,
    grants: Arc<Sections>,
    labels: Labels,
    run: Option<ComponentExportIndex>,
    /// Its functions, if it is a tool.
    pub(super) functions: Vec<Arc<Function>>,
}

impl Part {
    fn load(engine: &Engine, source: &ComponentSource, effective: Effective, role: Role) -> Result<Self, LoadRefusal> {
        let Effective { sections: grants, labels } = effective;
        let name = source.name.to_string();
        let refuse = |code, message: String, help: &str| LoadRefusal {
            component: name.clone(),
            code,
            message,
            help: help.to_owned(),
        };
        let component = engine.component(&source.wasm, &source.digest).map_err(|error| {
            let help = "rebuild it; `ambit inspect` shows whether it is a component that can be read";
            refuse("not-compiled", format!("the component of `{name}` cannot be used: {error}"), help)
        })?;
        let (run, functions) = match role {
            Role::Agent => {
                let run = exported_run(&component).ok_or_else(|| {
                    let message =
                        format!("the component of `{name}` does not export `run` as world `ambit:agent/agent` has it");
                    refuse("not-an-agent", message, "build the agent for the world `agent` of `ambit:agent@0.1.0`")
                })?;
                (Some(run), Vec::new())
            }
            Role::Tool => {
                let functions = Functions::of(&component, component.engine(), &source.wasm).map_err(|error| {
                    let message = format!("the component of `{name}` cannot be a tool: {error}");
                    let help = "a tool's functions take and give plain values, each under a name of its own";
                    refuse("not-a-tool", message, help)
                })?;
                (None, functions.into_iter().map(Arc::new).collect())
            }
        };
        Ok(Self { source: source.clone(), component, grants: Arc::new(grants), labels, run, functions })
    }

    /// The component's digest.
    pub(super) fn digest(&self) -> Digest {
        self.source.digest
    }

    /// Links it with what it is granted, of which tools are some.
    fn linked(&self, loader: &Loader, tools: &BTreeMap<String, Part>, origin: Origin<'_>) -> Result<Unit, LoadRefusal> {
        let Self { source, component, grants, labels, run, functions } = self;
        let importer = Importer { source, component, grants, tools, origin };
        // What it imports is compared with its grant each time; only what comes of that is kept.
        let answered = importer.answered()?;
        let pre = loader.linked(importer.shape(&answered), || importer.link(answered))?;
        let (grants, labels, functions) = (Arc::clone(grants), labels.clone(), functions.clone());
        let (name, digest) = (source.name.to_string().into(), source.digest.to_string().into());
        Ok(Unit { name, digest, grants, labels, pre, run: *run, functions })
    }
}

/// Makes components ready to run, and keeps what is the same for many tasks: compiled components by their digest, and linked
/// ones by how they are linked.
pub struct Loader {
    /// Compiles them.
    pub engine: Engine,
    linked: Mutex<BTreeMap<Shape, InstancePre<TaskState>>>,
}

impl Loader {
    /// With an engine.
    pub fn new(engine: Engine) -> Self {
        Self { engine, linked: Mutex::default() }
    }

    fn linked(
        &self,
        shape: Shape,
        link: impl FnOnce() -> Result<InstancePre<TaskState>, LoadRefusal>,
    ) -> Result<InstancePre<TaskState>, LoadRefusal> {
        if let Some(pre) = self.kept().get(&shape) {
            return Ok(pre.clone());
        }
        let pre = link()?;
        self.kept().insert(shape, pre.clone());
        Ok(pre)
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<Shape, InstancePre<TaskState>>> {
        self.linked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The export `run: func(input: string) -> result<string, record { code: string, message: string }>`.
fn exported_run(component: &Component) -> Option<ComponentExportIndex> {
    let ty = component.component_type();
    let export = ty.get_export(component.engine(), "run")?;
    let ComponentItem::ComponentFunc(run) = export.ty else { return None };
    let takes: Vec<Type> = run.params().map(|(_, ty)| ty).collect();
    let gives: Vec<Type> = run.results().collect();
    let ([Type::String], [Type::Result(result)]) = (takes.as_slice(), gives.as_slice()) else { return None };
    let Some(Type::Record(failure)) = result.err() else { return None };
    let fields: Vec<(String, bool)> =
        failure.fields().map(|field| (field.name.to_owned(), matches!(field.ty, Type::String))).collect();
    let expected = [("code".to_owned(), true), ("message".to_owned(), true)];
    (matches!(result.ok(), Some(Type::String)) && fields == expected)
        .then(|| component.get_export_index(None, "run"))?
}

/// Whether a component is an agent: it exports `run` as the world `agent` has it.
pub fn is_agent(component: &Component) -> bool {
    exported_run(component).is_some()
}

/// Refuses tools that can call themselves by way of others.
fn refuse_cycles(tools: &BTreeMap<String, Part>) -> Result<(), LoadRefusal> {
    fn visit<'a>(name: &'a str, tools: &'a BTreeMap<String, Part>, above: &mut Vec<&'a str>) -> Option<String> {
        if let Some(at) = above.iter().position(|seen| *seen == name) {
            return Some(above[at..].iter().chain([&name]).copied().collect::<Vec<_>>().join(" → "));
        }
        above.push(name);
        let grant = tools.get(name).and_then(|part| part.grants.get::<ToolsGrant>(Tools::NAME));
        let cycle = grant.and_then(|grant| grant.names().find_map(|next| visit(next, tools, above)));
        above.pop();
        cycle
    }
    match tools.keys().find_map(|name| visit(name, tools, &mut Vec::new()).map(|cycle| (name, cycle))) {
        None => Ok(()),
        Some((name, cycle)) => Err(LoadRefusal {
            component: name.clone(),
            code: "tool-cycle",
            message: format!("tools are granted in a circle: {cycle}"),
            help: "take one of these tools out of another one's `tools`".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests;
