//! `ambit inspect`: what a component exports as tools, what it imports, and the grant keys that it would need.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use wasmtime::component::types::ComponentItem;

use super::call::component;
use super::{Context, Failure, Format, Mistake, output};
use crate::capability::tools::Tools;
use crate::capability::{Capability as _, powerless};
use crate::runtime::imports::{capability_of, holds_types_alone, is_of_tools, without_version};
use crate::tool::{Function, Functions};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The component's file
    file: PathBuf,
}

#[derive(Serialize)]
struct Inspected {
    digest: String,
    agent: bool,
    functions: Vec<Shown>,
    /// Exports that cannot be tools, and why.
    unusable: Vec<String>,
    imports: Vec<Import>,
    /// The grant keys without which it would be refused.
    needs: Vec<&'static str>,
    /// The grant keys without which it runs, but powerless.
    may_use: Vec<&'static str>,
}

#[derive(Serialize)]
struct Shown {
    name: String,
    description: String,
    parameters: serde_json::Value,
    returns: serde_json::Value,
}

#[derive(Serialize)]
struct Import {
    name: String,
    /// `always there`, `granted by KEY`, `powerless unless granted by KEY`, `answered by a tool …`, `types alone …`, or
    /// `not offered …`.
    standing: String,
}

pub(super) fn inspect(context: &Context, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let source = component(&arguments.file)?;
    let host = context.host()?;
    let unusable = |error: &dyn std::fmt::Display| {
        Mistake::failure(
            format!("`{}` cannot be read as a component: {error}", arguments.file.display()),
            "build it for `wasm32-wasip2`",
        )
    };
    let compiled = host.loader().engine.component(&source.wasm, &source.digest).map_err(|error| unusable(&error))?;
    let engine = compiled.engine();
    let listed = Functions::list(&compiled, engine, &source.wasm);
    let (mut needs, mut may_use) = (Vec::new(), Vec::new());
    let ty = compiled.component_type();
    let imports = ty.imports(engine).map(|(name, item)| {
        let interface = without_version(name);
        let standing = match (capability_of(interface), item.ty) {
            _ if powerless::INTERFACES.contains(&interface) => "always there".to_owned(),
            (Some(row), _) if row.is_powerless() => {
                may_use.push(row.key());
                format!("powerless unless granted by `{}`", row.key())
            }
            (Some(row), _) => {
                needs.push(row.key());
                format!("granted by `{}`", row.key())
            }
            (None, ComponentItem::ComponentInstance(instance)) if is_of_tools(name) => {
                if holds_types_alone(&instance, engine) {
                    "types alone: nothing to grant".to_owned()
                } else {
                    needs.push(Tools::NAME);
                    format!("answered by a tool that exports it, granted by `{}`", Tools::NAME)
                }
            }
            _ => "not offered: it would be refused".to_owned(),
        };
        Import { name: name.to_owned(), standing }
    });
    let imports = imports.collect();
    for keys in [&mut needs, &mut may_use] {
        keys.sort_unstable();
        keys.dedup();
    }
    let inspected = Inspected {
        digest: source.digest.to_string(),
        agent: crate::runtime::plan::is_agent(&compiled),
        functions: listed.usable.iter().map(shown).collect(),
        unusable: listed.refused.iter().map(ToString::to_string).collect(),
        imports,
        needs,
        may_use,
    };
    if context.format == Format::Json {
        output::json(&inspected)?;
    } else {
        show(&inspected)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(function: &Function) -> Shown {
    Shown {
        name: function.name().to_owned(),
        description: function.description().to_owned(),
        parameters: function.parameters_schema().clone(),
        returns: function.result_schema().clone(),
    }
}

fn show(inspected: &Inspected) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "digest   {}", inspected.digest)?;
    writeln!(out, "kind     {}", if inspected.agent { "an agent: it exports `run`" } else { "a tool" })?;
    if !inspected.agent {
        for function in &inspected.functions {
            writeln!(out, "\nfunction {}", output::printable(&function.name))?;
            for line in function.description.lines() {
                writeln!(out, "  {}", output::printable(line))?;
            }
            writeln!(out, "  parameters  {}", output::printable(&function.parameters.to_string()))?;
            writeln!(out, "  returns     {}", output::printable(&function.returns.to_string()))?;
        }
        for refused in &inspected.unusable {
            writeln!(out, "\nunusable {}", output::printable(refused))?;
        }
    }
    writeln!(out, "\nimports")?;
    for import in &inspected.imports {
        writeln!(out, "  {:<44} {}", output::printable(&import.name), import.standing)?;
    }
    let list = |keys: &[&str]| if keys.is_empty() { "none".to_owned() } else { keys.join(", ") };
    writeln!(out, "\ngrant keys that it needs    {}", list(&inspected.needs))?;
    writeln!(out, "grant keys that it may use  {}", list(&inspected.may_use))?;
    Ok(())
}
