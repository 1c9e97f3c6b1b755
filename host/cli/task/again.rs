//! Lets tasks go on that broke off or were put away, and tells tasks again.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};

use super::super::ask::Questions;
use super::super::recipe::Recipe;
use super::super::run::{Approvals, carry_out, stopped};
use super::super::{Context, Failure, Format, Mistake, answered, code_of, output, runtime};
use crate::approval::Mode;
use crate::config::Instant;
use crate::front::crew::{Capacity, Crew};
use crate::front::{AgainError, Host, Report, Told, Unknown};

/// How often is looked whether anything has changed, and how often for deadlines that have passed.
const LOOK: Duration = Duration::from_millis(250);
const DEADLINES: Duration = Duration::from_secs(5);
/// Tasks that run at once, and stores that they may have together: a task's own, and those of its calls.
const MOST_AT_ONCE: usize = 64;
const STORES: u32 = 1024;

#[derive(clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own on the command line")]
pub(in super::super) struct Resume {
    /// The task's name, or enough of its beginning
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    task: Option<String>,
    /// Every task that can go on: those whose process broke down, and those whose approval was answered
    #[arg(long)]
    all: bool,
    /// Stay, and let tasks go on as their approvals are answered, until this is stopped
    #[arg(long, requires = "all")]
    watch: bool,
    /// Do again what may have happened already: of which the log has the intent and no outcome
    #[arg(long, conflicts_with = "fail_unknown")]
    retry_unknown: bool,
    /// Tell the task that it was refused what may have happened already
    #[arg(long)]
    fail_unknown: bool,
    /// What to do where a rule asks for a person's approval [default: ask on a terminal, else suspend]
    #[arg(long, value_enum, value_name = "HOW")]
    approvals: Option<Approvals>,
}

impl Resume {
    fn unknown(&self) -> Unknown {
        match (self.retry_unknown, self.fail_unknown) {
            (true, _) => Unknown::Retry,
            (_, true) => Unknown::Fail,
            _ => Unknown::Ask,
        }
    }
}

impl From<AgainError> for Failure {
    fn from(error: AgainError) -> Self {
        match error {
            AgainError::Front(error) => error.into(),
            AgainError::Database(error) => error.into(),
            error => Self::Usage(error.into()),
        }
    }
}

pub(super) fn resume(context: &Context, arguments: &Resume) -> Result<ExitCode, Failure> {
    let Some(task) = &arguments.task else { return resume_all(context, arguments) };
    let (host, unknown) = (context.host()?, arguments.unknown());
    let approvals = Approvals::on_this_terminal(arguments.approvals, Approvals::Suspend)?;
    let broken = host.broken(task, unknown)?;
    let job = Recipe::kept(broken.recipe().clone())?.job((host.loader(), &host.people), approvals.mode(), None)?;
    let go_on = async |audience, stopped| Ok(host.resume(broken, job, audience, stopped).await?);
    carry_out(context, &host, approvals, go_on)
}

/// Goes on with all that can, a few at once, and again with what can by then if the operator wants to watch.
fn resume_all(context: &Context, arguments: &Resume) -> Result<ExitCode, Failure> {
    let approvals = arguments.approvals.unwrap_or(Approvals::Suspend);
    if approvals == Approvals::Ask {
        return Err(Mistake::failure("several tasks cannot ask at one terminal", "leave `--approvals` out"));
    }
    let (unknown, watch, format) = (arguments.unknown(), arguments.watch, context.format);
    let host = Arc::new(Host::with_room(context.home.as_deref(), &super::super::this_program()?, STORES)?);
    let crew = Crew::new(Arc::clone(&host), Capacity::of_machine(MOST_AT_ONCE, MOST_AT_ONCE))?;
    let runtime = runtime()?;
    let worst = runtime.block_on(async {
        let (mut running, mut taken, mut worst) = (JoinSet::new(), BTreeSet::new(), 0);
        let mut stopped = std::pin::pin!(stopped());
        let (mut seen, mut looked) = (None, Instant::now());
        loop {
            let version = Some(host.journal.version()?);
            if seen != version || looked.elapsed() > DEADLINES {
                (seen, looked) = (version, Instant::now());
                for task in host.journal.ready()? {
                    if running.len() == MOST_AT_ONCE {
                        seen = None;
                        break;
                    }
                    if taken.insert(task.clone()) {
                        let coming = crew.hand_in(move |host| one(host, task, unknown, approvals, format));
                        running.spawn(coming.map_err(|full| Failure::Host(miette::miette!("{full}")))?);
                    }
                }
            }
            if running.is_empty() && !watch {
                break;
            }
            tokio::select! {
                () = &mut stopped => break,
                Some(ended) = running.join_next() => match broken_down(ended)? {
                    // Another process has it.
                    (_, Ok(None)) => {}
                    (task, Ok(Some(report))) => {
                        worst = worst.max(shown(&report, format)?);
                        // It may have been put away again.
                        taken.remove(&task);
                    }
                    (task, Err(failure)) => worst = worst.max(complain(&task, failure)?),
                },
                () = tokio::time::sleep(LOOK), if watch => {}
            }
        }
        Ok::<_, Failure>(worst)
    });
    runtime.shutdown_background();
    // What the operator stopped goes on another time.
    if crew.live() + crew.queued() > 0 {
        crew.abandon();
    }
    Ok(ExitCode::from(worst?))
}

/// What a task came to, unless its worker broke down over it.
fn broken_down<T>(ended: Result<Result<T, impl std::error::Error>, JoinError>) -> Result<T, Failure> {
    let ended = ended.map_err(|error| Failure::Host(miette::miette!("{error}")))?;
    ended.map_err(|_| Failure::Host(miette::miette!("a worker broke down over a task; what it had done is recorded")))
}

async fn one(
    host: Arc<Host>,
    task: String,
    unknown: Unknown,
    approvals: Approvals,
    format: Format,
) -> (String, Result<Option<Report>, Failure>) {
    let audience = output::Screen::audience(format, Questions::of(&host, approvals));
    let resumed = async {
        let broken = match host.broken(&task, unknown) {
            Err(AgainError::Running(_)) => return Ok(None),
            broken => broken?,
        };
        let job = Recipe::kept(broken.recipe().clone())?.job((host.loader(), &host.people), approvals.mode(), None)?;
        Ok(Some(host.resume(broken, job, audience, std::future::pending()).await?))
    };
    let report = resumed.await;
    (task, report)
}

/// Shows one of several reports: JSON stands on a line of its own.
fn shown(report: &Report, format: Format) -> Result<u8, Failure> {
    if format == Format::Json {
        let text = serde_json::to_string(report).map_err(|error| Failure::Host(miette::miette!("{error}")))?;
        writeln!(std::io::stdout(), "{text}")?;
    } else {
        output::report(format, report)?;
    }
    Ok(code_of(report))
}

/// Says why a task does not go on; the others do.
fn complain(task: &str, failure: Failure) -> Result<u8, Failure> {
    match failure {
        Failure::ReaderGone => Err(Failure::ReaderGone),
        Failure::Usage(report) | Failure::Host(report) => {
            writeln!(std::io::stderr(), "{task} does not go on:")?;
            output::complain(&report);
            Ok(2)
        }
    }
}

pub(super) fn replay(context: &Context, task: &str) -> Result<ExitCode, Failure> {
    let host = context.host()?;
    let (listed, recipe) = host.recipe(task)?;
    let job = Recipe::kept(recipe)?.without_keep().job((host.loader(), &host.people), Mode::Deny, None)?;
    let audience = output::Screen::audience(context.format, Questions::of(&host, Approvals::Deny));
    let runtime = runtime()?;
    let told = runtime.block_on(host.replay(&listed, job, audience));
    runtime.shutdown_background();
    let told = told?;
    let code = if told.diverged.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    answered(show(context.format, &told), code)
}

fn show(format: Format, told: &Told) -> Result<(), Failure> {
    if format == Format::Json {
        return output::json(told);
    }
    output::report(format, &told.report)?;
    let mut stderr = std::io::stderr().lock();
    match &told.diverged {
        Some(how) => writeln!(stderr, "replayed, and it diverges: {how}")?,
        None if told.ends_early => writeln!(stderr, "replayed as far as it was recorded; nothing was done")?,
        None => writeln!(stderr, "replayed to the same end; nothing was done")?,
    }
    Ok(())
}

pub(super) fn forget(context: &Context, task: &str) -> Result<ExitCode, Failure> {
    let host = context.host()?;
    let (listed, _) = host.recipe(task)?;
    runtime()?.block_on(host.forget(&listed.task))?;
    writeln!(std::io::stderr(), "the journal of {} is deleted; its records stay", listed.task)?;
    Ok(ExitCode::SUCCESS)
}
