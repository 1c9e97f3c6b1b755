//! `ambit policy`: what rules can speak of, whether they decide as their authors expect, and why they decide as they do.
//!
//! | module | job |
//! | --- | --- |
//! | `supposed` | a request that nobody made, and what the host would say to it |
//! | `cases` | reads the cases that are kept beside the rules |
//! | `test` | `ambit policy test` |
//! | `explain` | `ambit policy explain` |
//! | `again` | what was decided, decided again |
//! | `rejudge` | `ambit policy rejudge` |

mod again;
mod cases;
mod explain;
mod rejudge;
mod supposed;
mod test;

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use serde::Serialize;

pub(super) use self::rejudge::counted;
pub(super) use self::supposed::time;

use super::load::{borrowed, functions, requested_and_granted};
use super::{Context, Failure, Format, output};
use crate::capability;
use crate::policy::schema::SchemaText;
use crate::runtime::plan::{LoadRefusal, Plan};

#[derive(clap::Subcommand)]
#[command(defer = true)]
pub(super) enum Verb {
    /// Print the Cedar schema of a bundle: everything that its rules can name, with the arguments of its tools
    Schema {
        /// The bundle's folder
        bundle: PathBuf,
        /// The folder with grants.toml: the tools that it grants are in the schema
        #[arg(long, value_name = "DIR")]
        policy: PathBuf,
    },
    /// Decide the cases kept beside the rules (cases.toml, *.cases.toml), and compare with what they expect
    Test(test::Arguments),
    /// Say which grant and which rules decide one request, without running anything
    Explain(Box<explain::Arguments>),
    /// Judge what tasks did by other grants and rules, without running anything, and say which decisions would change
    Rejudge(rejudge::Arguments),
}

pub(super) fn policy(context: &Context, verb: &Verb) -> Result<ExitCode, Failure> {
    match verb {
        Verb::Schema { bundle, policy } => schema(context, bundle, policy),
        Verb::Test(arguments) => test::test(context, arguments),
        Verb::Explain(arguments) => explain::explain(context, arguments),
        Verb::Rejudge(arguments) => rejudge::rejudge(context, arguments),
    }
}

/// What rules cannot see of a tool's arguments.
#[derive(Serialize)]
struct Omitted<'a> {
    function: &'a str,
    path: &'a str,
    reason: &'a str,
}

/// The rules are not read for it: it is what one looks at when they are wrong.
fn schema(context: &Context, bundle: &Path, policy: &Path) -> Result<ExitCode, Failure> {
    let (bundle, manifest) = requested_and_granted(bundle, policy)?;
    let host = context.host()?;
    let plan = Plan::of_bundle(host.loader(), &bundle, &manifest).map(Arc::new);
    if let Err(refusal) = &plan {
        return refused(context, refusal);
    }
    let functions = functions(&plan);
    let SchemaText { text, omitted, .. } = capability::terms(borrowed(&functions)).schema();
    let omitted: Vec<Omitted<'_>> = omitted
        .iter()
        .map(|(function, omission)| Omitted { function, path: &omission.path, reason: omission.reason })
        .collect();
    if context.format == Format::Json {
        output::json(&serde_json::json!({ "schema": text, "omitted": omitted }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "// What the rules of `{}` can speak of, under {}.", bundle.name, manifest.source.path().display())?;
    write!(out, "{text}")?;
    if !omitted.is_empty() {
        writeln!(out, "\n// What rules cannot see:")?;
    }
    for Omitted { function, path, reason } in omitted {
        writeln!(out, "//   {} {}: {reason}", output::printable(function), output::printable(path))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A bundle that would not run: what its tools take is not known, so nothing can be said of rules about them.
fn refused(context: &Context, refusal: &LoadRefusal) -> Result<ExitCode, Failure> {
    if context.format == Format::Json {
        let LoadRefusal { component, code, message, help } = refusal;
        let refused = serde_json::json!({ "component": component, "code": code, "message": message, "help": help });
        output::json(&serde_json::json!({ "refused": refused }))?;
    } else {
        let mut stderr = std::io::stderr().lock();
        writeln!(stderr, "error: the bundle would be refused: {}\n help: {}", refusal.message, refusal.help)?;
    }
    Ok(ExitCode::from(3))
}

/// Colours, where somebody looks at them.
#[derive(Clone, Copy)]
struct Paint(bool);

impl Paint {
    #[expect(clippy::disallowed_methods, reason = "the command line looks at its own terminal")]
    fn of_stdout() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self(std::io::stdout().is_terminal() && !unwanted)
    }

    /// Green.
    fn good(self, text: &str) -> String {
        self.coloured(text, 32)
    }

    /// Red.
    fn bad(self, text: &str) -> String {
        self.coloured(text, 31)
    }

    /// Yellow.
    fn open(self, text: &str) -> String {
        self.coloured(text, 33)
    }

    fn coloured(self, text: &str, colour: u8) -> String {
        if self.0 { format!("\u{1b}[{colour}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}
