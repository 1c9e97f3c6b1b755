//! The command line: what can be asked of ambit, and with what exit code it answers.
//!
//! | code | means |
//! | --- | --- |
//! | 0 | done |
//! | 1 | the agent failed or broke down; a check found something wrong |
//! | 2 | the command line, a manifest or a policy is wrong |
//! | 3 | refused by the grant or a policy |
//! | 4 | waits for approval |
//! | 5 | a limit was spent |
//! | 70 | ambit itself failed |
//! | 130 | stopped by the operator |
//!
//! Data goes to stdout, talk to stderr.

mod approvals;
mod ask;
mod audit;
mod bench;
mod call;
mod check;
mod grants;
mod history;
mod identity;
mod inspect;
mod load;
mod output;
mod policy;
mod recipe;
mod run;
mod secret;
mod task;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};
use miette::Diagnostic;

use crate::front::{KeepStatus, Report};
use crate::task::Status;

/// Runs AI agents that nobody has to trust: every agent and every tool is a WebAssembly component in a store of its own,
/// and everything that it does to the outside passes one gate.
#[derive(Parser)]
#[command(name = "ambit", version = crate::VERSION, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 done, 1 the agent failed, 2 usage or manifest, 3 refused by grant or policy, \
    4 waits for approval, 5 a limit was spent, 70 ambit failed, 130 stopped by the operator.")]
struct Arguments {
    /// The folder in which ambit keeps records, state and compiled components [default: the user's data folder]
    #[arg(long, global = true, value_name = "DIR", env = "AMBIT_HOME")]
    home: Option<PathBuf>,
    /// How results are written to stdout
    #[arg(long, global = true, value_enum, default_value_t = FormatArgument::Human)]
    format: FormatArgument,
    #[command(subcommand)]
    verb: Verb,
}

/// What `--format` takes. What is hidden is for single verbs, whose help names it.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormatArgument {
    /// For people
    Human,
    /// For programs: one JSON value
    Json,
    #[value(hide = true)]
    Jsonl,
    #[value(hide = true)]
    Ocsf,
    #[value(hide = true)]
    Otlp,
    #[value(hide = true)]
    Html,
}

/// How all verbs can write their results.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    /// For people.
    Human,
    /// For programs: one JSON value.
    Json,
}

#[derive(Subcommand)]
enum Verb {
    /// Run a bundle's agent on an input, under a policy folder
    Run(run::Arguments),
    /// Show what a bundle requests beside what it is granted
    Check(check::Arguments),
    /// Show what a component exports as tools, what it imports, and the grant keys that it would need
    Inspect(inspect::Arguments),
    /// Call one function of a component, alone
    Call(call::Arguments),
    /// List tasks, or show one
    #[command(subcommand)]
    Task(task::Verb),
    /// List, show and answer what tasks ask people for
    #[command(subcommand)]
    Approvals(approvals::Verb),
    /// Set, list and remove the secrets that the host attaches to requests
    #[command(subcommand)]
    Secret(secret::Verb),
    /// Print the keys that tasks' tokens are verified with, rotate them, or verify a token
    #[command(subcommand)]
    Identity(identity::Verb),
    /// Print what rules can speak of, test rules, explain one decision, or judge what tasks did again
    #[command(subcommand)]
    Policy(policy::Verb),
    /// Print the least grants that tasks needed, or list what was granted and never used
    #[command(subcommand)]
    Grants(grants::Verb),
    /// Show, verify, prove and export the audit log
    #[command(subcommand)]
    Audit(audit::Verb),
    /// Measure what isolation costs on this machine
    #[command(subcommand)]
    Bench(bench::Verb),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Compile the component on standard input to standard output
    #[command(name = crate::engine::COMPILE, hide = true)]
    Compile,
}

/// What every verb is given.
struct Context {
    home: Option<PathBuf>,
    format: Format,
}

impl Context {
    fn opening(&self) -> Result<crate::front::Opening, Failure> {
        Ok(crate::front::Opening::of_one_at_a_time(self.home.as_deref(), &this_program()?)?)
    }

    fn host(&self) -> Result<crate::front::Host, Failure> {
        Ok(crate::front::Host::open(self.home.as_deref(), &this_program()?)?)
    }
}

/// A verb that could not do its work.
enum Failure {
    /// The operator can put it right: exit code 2.
    Usage(miette::Report),
    /// Ambit or its machine failed: exit code 70.
    Host(miette::Report),
    /// Nobody reads any more: what was asked for is of no use to anybody.
    ReaderGone,
}

impl From<crate::manifest::ManifestError> for Failure {
    fn from(error: crate::manifest::ManifestError) -> Self {
        Self::Usage(error.into())
    }
}

impl From<crate::front::FrontError> for Failure {
    fn from(error: crate::front::FrontError) -> Self {
        use crate::config::ConfigError::{Home, NoHome};
        match error {
            crate::front::FrontError::Config(error @ (NoHome | Home { .. })) => Self::Usage(error.into()),
            crate::front::FrontError::People(error) => Self::Usage(error.into()),
            error => Self::Host(error.into()),
        }
    }
}

impl From<crate::edge::database::DatabaseError> for Failure {
    fn from(error: crate::edge::database::DatabaseError) -> Self {
        Self::Host(error.into())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::ReaderGone;
        }
        Self::Host(miette::miette!("cannot write the answer: {error}"))
    }
}

/// What a verb answers when it is known what that is: a reader who has gone does not change it.
fn answered(told: Result<(), Failure>, code: ExitCode) -> Result<ExitCode, Failure> {
    match told {
        Ok(()) | Err(Failure::ReaderGone) => Ok(code),
        Err(failure) => Err(failure),
    }
}

impl Failure {
    fn usage(error: impl Diagnostic + Send + Sync + 'static) -> Self {
        Self::Usage(error.into())
    }
}

/// What runs the asynchronous parts of a verb, on this thread.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::Host(miette::miette!("cannot start: {error}")))
}

/// A mistake on the command line.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("{message}")]
struct Mistake {
    message: String,
    #[help]
    help: String,
}

impl Mistake {
    fn failure(message: impl Into<String>, help: impl Into<String>) -> Failure {
        Failure::usage(Self { message: message.into(), help: help.into() })
    }
}

/// A format that is for other verbs.
fn unwritten(help: &str) -> Failure {
    Mistake::failure("this verb does not write that format", help)
}

/// Does what the command line says.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let Arguments { home, format, verb } = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help goes to stdout and is no mistake; what cannot be printed cannot be said.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    output::set_up_diagnostics();
    let context = Context { home, format: if format == FormatArgument::Json { Format::Json } else { Format::Human } };
    let done = match verb {
        Verb::Audit(audit::Verb::Export(arguments)) => audit::export(&context, &arguments, format),
        Verb::Task(task::Verb::Show(arguments)) => task::show(&context, &arguments, format),
        _ if !matches!(format, FormatArgument::Human | FormatArgument::Json) => {
            Err(unwritten("use `--format human` or `--format json`"))
        }
        Verb::Run(arguments) => run::run(&context, arguments),
        Verb::Check(arguments) => check::check(&context, &arguments),
        Verb::Inspect(arguments) => inspect::inspect(&context, &arguments),
        Verb::Call(arguments) => call::call(&context, arguments),
        Verb::Task(verb) => task::task(&context, &verb),
        Verb::Approvals(verb) => approvals::approvals(&context, &verb),
        Verb::Secret(verb) => secret::secret(&context, verb),
        Verb::Identity(verb) => identity::identity(&context, verb),
        Verb::Policy(verb) => policy::policy(&context, &verb),
        Verb::Grants(verb) => grants::grants(&context, &verb),
        Verb::Audit(verb) => audit::audit(&context, &verb),
        Verb::Bench(verb) => bench::bench(&context, &verb),
        Verb::Completions { shell } => completions(shell),
        Verb::Compile => return compile(),
    };
    match done {
        Ok(code) => code,
        Err(Failure::Usage(report)) => {
            output::complain(&report);
            ExitCode::from(2)
        }
        Err(Failure::Host(report)) => {
            output::complain(&report);
            ExitCode::from(70)
        }
        Err(Failure::ReaderGone) => ExitCode::SUCCESS,
    }
}

fn completions(shell: clap_complete::Shell) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "ambit", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}

/// The compiler process. What it says on stderr becomes part of the error of the process that started it.
fn compile() -> ExitCode {
    match crate::engine::compile_here() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut stderr = std::io::stderr();
            let source = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
            // Nobody else can be told.
            let _ = writeln!(stderr, "{error}{source}");
            ExitCode::FAILURE
        }
    }
}

/// The file of this program, which is also the compiler.
#[expect(clippy::disallowed_methods, reason = "the command line knows its own program")]
fn this_program() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(|error| Failure::Host(miette::miette!("cannot find ambit's own program: {error}")))
}

/// The exit code that tells how a task ended.
/// The exit code of a task, also where its workspace was to be kept and was not.
fn exit_code_of(report: &Report) -> ExitCode {
    ExitCode::from(code_of(report))
}

fn code_of(report: &Report) -> u8 {
    let kept = report.kept.as_ref().map_or(KeepStatus::Kept, |kept| kept.status);
    match kept {
        KeepStatus::Refused if report.status == Status::Succeeded => exit_code(Status::Refused),
        KeepStatus::Failed if report.status == Status::Succeeded => exit_code(Status::Failed),
        _ => exit_code(report.status),
    }
}

fn exit_code(status: Status) -> u8 {
    match status {
        Status::Succeeded => 0,
        Status::Failed | Status::Trapped => 1,
        Status::Refused => 3,
        Status::Exhausted => 5,
        Status::Unknown => 70,
        Status::Suspended => 4,
        Status::Cancelled => 130,
    }
}
