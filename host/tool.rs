//! What a tool is: the functions that a component exports, as names, JSON schemas, and JSON values.
//!
//! | module | job |
//! |---|---|
//! | [`json`] | strict JSON texts, and their canonical form |
//! | [`value`] | JSON values to component values and back |
//! | `misfit` | what is said about values that do not fit |
//! | `schema` | component types to JSON Schema |
//! | [`shape`] | whether what one component imports is what another exports |
//! | `docs` | what authors wrote in WIT |
//! | [`text`] | such text made fit to be shown |
//!
//! Whatever functions a component exports are its tools, at its root or in an interface, and each is known by its own name
//! alone: `query` of `acme:search/index@1.0.0` is `query`. Not tools are
//!
//! - interfaces of `wasi` packages (`wasi:cli/run`): they are for the host to call;
//! - the start-up functions that language toolchains leave behind (`LEFTOVERS` below), known by their place, name and all
//!   of their parameters' names, so that no author's function is taken for one by chance;
//! - functions that take or give anything but plain values, which are refused by name.
//!
//! Nothing here knows of grants or of the gate.

mod docs;
pub mod json;
mod misfit;
mod schema;
pub mod shape;
pub mod text;
pub mod value;

#[cfg(test)]
pub(crate) mod laws;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use serde_json::{Map, Value};
use thiserror::Error;
use wasmtime::Engine;
use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{Component, ComponentExportIndex, Type, Val};

use self::docs::Documents;
use self::json::JsonError;
use self::value::ValueError;

/// How deeply types may be nested. Their schemas are nested at most four times as deep.
const DEPTH_LIMIT: usize = 24;
/// How large the types of all functions together may be when each is written out where it is used: 16 for each type, and
/// the length of each name. Types can share parts, so a small component can describe types that are astronomically large.
const SIZE_LIMIT: usize = 1 << 18;
/// How many functions a component may export.
const FUNCTIONS_LIMIT: usize = 1_024;

/// What toolchains export for their own use: the exported instance, or the root; the function; its parameters.
///
/// componentize-py 0.25 and componentize-qjs 0.4 call these while they build a component, and leave them there.
const LEFTOVERS: [(Option<&str>, &str, &[&str]); 2] = [
    (Some("exports"), "init", &["app-name", "symbols", "stub-wasi"]),
    (None, "init", &["shim", "script", "entry-path", "disable-gc"]),
];

/// A function of a tool.
#[derive(Clone, Debug)]
pub struct Function {
    name: String,
    interface: Option<String>,
    description: String,
    parameters: Vec<(String, Type)>,
    result: Option<Type>,
    parameters_schema: Value,
    result_schema: Value,
    export: ComponentExportIndex,
}

/// How a call ended that did not trap.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The function's result; the `ok` payload of a `result`; `null` when there is none.
    Ok(Value),
    /// The `err` payload of a `result`, `null` when it has none.
    Err(Value),
}

/// Why arguments do not fit a function.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ArgumentError {
    /// They are not JSON.
    #[error("the arguments are not JSON: {0}")]
    Json(#[source] JsonError),
    /// They are no object.
    #[error("the arguments are not a JSON object with one property for each parameter")]
    NoObject,
    /// They are not of the function's types.
    #[error(transparent)]
    Value(ValueError),
}

/// Why a component, or one of its functions, cannot be a tool.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ToolError {
    /// Two exports have a function of the same name.
    #[error("`{}` is exported twice: by {first} and by {second}", text::quoted(.function))]
    Collision {
        /// The function's name.
        function: String,
        /// The export that holds one of them.
        first: Place,
        /// The export that holds the other.
        second: Place,
    },
    /// A function that cannot be called with JSON, in a store of its own.
    #[error("`{}` of {export} cannot be a tool: {holder} {obstacle}", text::quoted(.function))]
    Unsupported {
        /// The function's name.
        function: String,
        /// The export that holds it.
        export: Place,
        /// The part of the function that is at fault.
        holder: Holder,
        /// What is wrong with it.
        obstacle: Obstacle,
    },
    /// There are more functions than anybody could choose from.
    #[error("it exports {0} functions; a tool has at most {FUNCTIONS_LIMIT}")]
    TooMany(usize),
}

/// Why an imported function is not the one that a tool exports.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Unmatched {
    /// No tool could export it.
    #[error("{holder} {obstacle}")]
    Unsupported {
        /// The part of the function that is at fault.
        holder: Holder,
        /// What is wrong with it.
        obstacle: Obstacle,
    },
    /// Its types are others.
    #[error(transparent)]
    Different(#[from] shape::Difference),
}

/// Where in a component's exports a function stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// By itself.
    Root,
    /// In the exported interface of this name.
    Interface(String),
}

impl Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => out.write_str("the component itself"),
            Self::Interface(name) => write!(out, "`{}`", text::quoted(name)),
        }
    }
}

/// A part of a function.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Holder {
    /// The function as such.
    #[error("it")]
    Function,
    /// The parameter of this name.
    #[error("its parameter `{}`", text::quoted(.0))]
    Parameter(String),
    /// What it returns.
    #[error("its result")]
    Result,
}

/// What keeps a function from being a tool.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Obstacle {
    /// A type that lives in one store: a resource, stream, future or error context.
    #[error("holds a {0}, which does not outlive a call")]
    NotPlain(&'static str),
    /// It is a method, constructor or static function of a resource.
    #[error("belongs to a resource, which does not outlive a call")]
    OfResource,
    /// It is declared `async`.
    #[error("is asynchronous")]
    Asynchronous,
    /// Types that are nested too deeply, or too large when written out.
    #[error("has types that are too large to describe")]
    TooLarge,
    /// Its name is none that WIT allows.
    #[error("has a name that is not of letters, digits and hyphens")]
    Name,
    /// wasmtime does not know the export by this name.
    #[error("cannot be looked up")]
    Lost,
}

/// Finds a component's functions.
#[derive(Clone, Copy, Debug)]
pub struct Functions;

/// All that [`Functions::list`] found.
#[derive(Clone, Debug, Default)]
pub struct Listed {
    /// The functions that can be called, ordered by name.
    pub usable: Vec<Function>,
    /// Why each of the others cannot, ordered by name.
    pub refused: Vec<ToolError>,
}

impl Functions {
    /// The functions of a tool, ordered by name. `wasm` is what `component` was compiled from: its comments are read
    /// from there.
    ///
    /// # Errors
    ///
    /// The first reason of [`Functions::list`] to refuse anything: a tool is taken whole or not at all.
    pub fn of(component: &Component, engine: &Engine, wasm: &[u8]) -> Result<Vec<Function>, ToolError> {
        let listed = Self::list(component, engine, wasm);
        match listed.refused.into_iter().next() {
            Some(refused) => Err(refused),
            None => Ok(listed.usable),
        }
    }

    /// The functions that can be called, and why the others cannot.
    #[must_use]
    pub fn list(component: &Component, engine: &Engine, wasm: &[u8]) -> Listed {
        let found = exported(component, engine);
        let count = found.values().map(Vec::len).sum();
        if count > FUNCTIONS_LIMIT {
            return Listed { usable: Vec::new(), refused: vec![ToolError::TooMany(count)] };
        }
        let exports = component.component_type();
        let exports: Vec<_> = exports.exports(engine).map(|(name, _)| name.to_owned()).collect();
        let documents = Documents::of(wasm, &exports, &imports(component, engine));
        let mut listed = Listed::default();
        let mut budget = SIZE_LIMIT;
        for (name, mut places) in found {
            if let [(first, _), (second, _), ..] = places.as_slice() {
                let (first, second) = (first.clone(), second.clone());
                listed.refused.push(ToolError::Collision { function: name, first, second });
            } else if let Some((export, ty)) = places.pop() {
                match function(component, &documents, name, export, &ty, &mut budget) {
                    Ok(function) => listed.usable.push(function),
                    Err(refused) => listed.refused.push(refused),
                }
            }
        }
        listed
    }
}

/// The names of what a component imports, in its own order: interfaces, and functions by themselves.
#[must_use]
pub fn imports(component: &Component, engine: &Engine) -> Vec<String> {
    component.component_type().imports(engine).map(|(name, _)| name.to_owned()).collect()
}

/// Whether a function that a component imports is one that a tool exports.
///
/// # Errors
///
/// What keeps it from being any tool's, or the first difference.
#[expect(clippy::result_large_err, reason = "made once, where a component is refused")]
pub fn match_import(
    (importer, imported): (&str, &ComponentFunc),
    (exporter, exported): (&str, &Function),
    allowance: &mut shape::Allowance,
) -> Result<(), Unmatched> {
    let parameters: Vec<_> = imported.params().map(|(name, ty)| (name.to_owned(), ty)).collect();
    let result = imported.results().next();
    fitness(&exported.name, imported, &parameters, result.as_ref(), &mut allowance.0)
        .map_err(|(holder, obstacle)| Unmatched::Unsupported { holder, obstacle })?;
    let own = shape::Side { component: importer, parameters: &parameters, result: result.as_ref() };
    let theirs =
        shape::Side { component: exporter, parameters: &exported.parameters, result: exported.result.as_ref() };
    Ok(shape::compare(own, theirs, allowance)?)
}

/// The names of the interfaces that a component exports, read without compiling it. None of one that cannot be read.
#[must_use]
pub fn exported_interfaces(wasm: &[u8]) -> Vec<String> {
    docs::exported_interfaces(wasm)
}

/// The exported functions that could be tools, by name.
fn exported(component: &Component, engine: &Engine) -> BTreeMap<String, Vec<(Place, ComponentFunc)>> {
    let mut found: BTreeMap<String, Vec<_>> = BTreeMap::new();
    let mut add = |place: Place, name: &str, ty: ComponentFunc| {
        let instance = if let Place::Interface(instance) = &place { Some(instance.as_str()) } else { None };
        let is_leftover = |(of, function, parameters): &(Option<&str>, &str, &[&str])| {
            *of == instance && *function == name && ty.params().map(|(name, _)| name).eq(parameters.iter().copied())
        };
        if !LEFTOVERS.iter().any(is_leftover) {
            found.entry(name.to_owned()).or_default().push((place, ty));
        }
    };
    for (name, export) in component.component_type().exports(engine) {
        match export.ty {
            ComponentItem::ComponentFunc(ty) => add(Place::Root, name, ty),
            ComponentItem::ComponentInstance(instance) if !name.starts_with("wasi:") => {
                for (function, export) in instance.exports(engine) {
                    if let ComponentItem::ComponentFunc(ty) = export.ty {
                        add(Place::Interface(name.to_owned()), function, ty);
                    }
                }
            }
            _ => {}
        }
    }
    for places in found.values_mut() {
        places.sort_by(|(left, _), (right, _)| left.cmp(right));
    }
    found
}

fn function(
    component: &Component,
    documents: &Documents,
    name: String,
    export: Place,
    ty: &ComponentFunc,
    budget: &mut usize,
) -> Result<Function, ToolError> {
    let parameters: Vec<_> = ty.params().map(|(name, ty)| (name.to_owned(), ty)).collect();
    let result = ty.results().next();
    if let Err((holder, obstacle)) = fitness(&name, ty, &parameters, result.as_ref(), budget) {
        return Err(ToolError::Unsupported { function: name, export, holder, obstacle });
    }
    let instance = match &export {
        Place::Root => Ok(None),
        Place::Interface(interface) => component.get_export_index(None, interface).map(Some).ok_or(()),
    };
    let index = instance.ok().and_then(|instance| component.get_export_index(instance.as_ref(), name.as_str()));
    let Some(index) = index else {
        return Err(ToolError::Unsupported {
            function: name,
            export,
            holder: Holder::Function,
            obstacle: Obstacle::Lost,
        });
    };
    let interface = if let Place::Interface(interface) = export { Some(interface) } else { None };
    let (notes, result_note) = documents.signature(interface.as_deref(), &name);
    let note = |at: usize| notes.get(at).copied().unwrap_or_default();
    let described = parameters.iter().enumerate().map(|(at, (name, ty))| (name.as_str(), ty.clone(), note(at), None));
    Ok(Function {
        description: documents.about(interface.as_deref(), &name),
        parameters_schema: schema::object(described),
        result_schema: match &result {
            Some(Type::Result(result)) => schema::payload(result.ok().as_ref(), result_note.ok()),
            result => schema::payload(result.as_ref(), result_note),
        },
        name,
        interface,
        parameters,
        result,
        export: index,
    })
}

/// Whether a function can be a tool.
fn fitness(
    name: &str,
    ty: &ComponentFunc,
    parameters: &[(String, Type)],
    result: Option<&Type>,
    budget: &mut usize,
) -> Result<(), (Holder, Obstacle)> {
    let whole = |obstacle| Err((Holder::Function, obstacle));
    if name.starts_with("[async]") || ty.async_() {
        return whole(Obstacle::Asynchronous);
    }
    if name.starts_with('[') {
        return whole(Obstacle::OfResource);
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return whole(Obstacle::Name);
    }
    for (name, ty) in parameters {
        plain(ty, name, DEPTH_LIMIT, budget).map_err(|obstacle| (Holder::Parameter(name.clone()), obstacle))?;
    }
    result.map_or(Ok(()), |ty| plain(ty, "", DEPTH_LIMIT, budget)).map_err(|obstacle| (Holder::Result, obstacle))
}

/// Whether a type holds plain values alone, within bounds. `name` is what its holder calls it.
fn plain(ty: &Type, name: &str, depth: usize, budget: &mut usize) -> Result<(), Obstacle> {
    let depth = depth.checked_sub(1).ok_or(Obstacle::TooLarge)?;
    *budget = budget.checked_sub(16 + name.len()).ok_or(Obstacle::TooLarge)?;
    let mut part = |name: &str, ty: Type| plain(&ty, name, depth, budget);
    match ty {
        Type::List(list) => part("", list.ty()),
        Type::FixedLengthList(list) => part("", list.ty()),
        Type::Map(map) => part("", map.key()).and_then(|()| part("", map.value())),
        Type::Record(record) => record.fields().try_for_each(|field| part(field.name, field.ty)),
        Type::Tuple(tuple) => tuple.types().try_for_each(|ty| part("", ty)),
        Type::Variant(variant) => variant.cases().try_for_each(|case| part(case.name, case.ty.unwrap_or(Type::Bool))),
        Type::Enum(cases) => cases.names().try_for_each(|name| part(name, Type::Bool)),
        Type::Flags(flags) => flags.names().try_for_each(|name| part(name, Type::Bool)),
        Type::Option(option) => part("", option.ty()),
        Type::Result(result) => result.ok().into_iter().chain(result.err()).try_for_each(|ty| part("", ty)),
        _ => misfit::not_plain(ty).map_or(Ok(()), |kind| Err(Obstacle::NotPlain(kind))),
    }
}

impl Function {
    /// Its name in WIT: `query`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The exported interface that holds it, `acme:search/index@1.0.0`; none if it is exported by itself.
    #[must_use]
    pub fn interface(&self) -> Option<&str> {
        self.interface.as_deref()
    }

    /// What its author wrote about it in WIT, cleaned, at most 4,096 bytes; empty if there is nothing.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Its parameters' names and types.
    #[must_use]
    pub fn parameters(&self) -> &[(String, Type)] {
        &self.parameters
    }

    /// The type of its result.
    #[must_use]
    pub fn result(&self) -> Option<&Type> {
        self.result.as_ref()
    }

    /// The JSON Schema (draft 2020-12) of its arguments: an object with one property for each parameter.
    #[must_use]
    pub fn parameters_schema(&self) -> &Value {
        &self.parameters_schema
    }

    /// The JSON Schema of what a call gives that went well: of the `ok` payload, if it is a `result`.
    #[must_use]
    pub fn result_schema(&self) -> &Value {
        &self.result_schema
    }

    /// Where an instance of its component has it.
    #[must_use]
    pub fn export(&self) -> &ComponentExportIndex {
        &self.export
    }

    /// Reads arguments from a JSON object, and gives them as values and as canonical JSON.
    ///
    /// The canonical text is the same for all texts that mean the same arguments: it is written from the values, so it has
    /// every parameter, and each in one form.
    ///
    /// # Errors
    ///
    /// The text is not strict JSON, or does not fit the parameters; the error names the place, like `$.filter.limit`.
    pub fn arguments(&self, text: &str) -> Result<(Vec<Val>, String), ArgumentError> {
        let values = self.values(text)?;
        let canonical = self.canonical(&values).map_err(ArgumentError::Value)?;
        Ok((values, canonical))
    }

    /// As [`Self::arguments`], without the canonical text.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn values(&self, text: &str) -> Result<Vec<Val>, ArgumentError> {
        let Value::Object(entries) = json::parse(text).map_err(ArgumentError::Json)? else {
            return Err(ArgumentError::NoObject);
        };
        let parameters = self.parameters.iter().map(|(name, ty)| (name.as_str(), ty));
        value::read_fields("parameter", parameters, &entries).map_err(ArgumentError::Value)
    }

    /// Writes arguments as canonical JSON: the same text that [`Self::arguments`] gives of equal ones.
    ///
    /// # Errors
    ///
    /// The values are not of the parameters' types.
    pub fn canonical(&self, values: &[Val]) -> Result<String, ValueError> {
        let mut written = Map::new();
        for ((name, ty), value) in self.parameters.iter().zip(values) {
            written.insert(name.clone(), value::to_json(value, ty)?);
        }
        Ok(json::canonical(&Value::Object(written)))
    }

    /// Writes what a call gave as JSON.
    ///
    /// # Errors
    ///
    /// The values are not of the function's type: only if they come from another function.
    pub fn outcome(&self, results: &[Val]) -> Result<Outcome, ValueError> {
        match (self.result(), results) {
            (Some(Type::Result(ty)), [Val::Result(Ok(payload))]) => {
                value::write_payload(payload.as_deref(), ty.ok().as_ref()).map(Outcome::Ok)
            }
            (Some(Type::Result(ty)), [Val::Result(Err(payload))]) => {
                value::write_payload(payload.as_deref(), ty.err().as_ref()).map(Outcome::Err)
            }
            (ty, results) => value::write_payload(results.first(), ty).map(Outcome::Ok),
        }
    }
}
