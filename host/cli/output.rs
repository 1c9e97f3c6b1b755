//! What the operator sees: reports, log lines, the effect that is under way, diagnostics.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::ask::Questions;
use super::{Failure, Format};
use crate::capability::stdio::Log;
use crate::front::{Audience, Kept, Report};
use crate::gate::Observer;
use crate::policy::Resource;

/// Makes diagnostics plain where no terminal or no colour is wanted (`NO_COLOR` is honoured by miette).
pub(super) fn set_up_diagnostics() {
    let plain = !std::io::stderr().is_terminal();
    // Fails only when it was set up before, which is as good.
    let _ = miette::set_hook(Box::new(move |_| {
        let options = miette::MietteHandlerOpts::new().break_words(false);
        Box::new(if plain { options.unicode(false).color(false).width(120).build() } else { options.build() })
    }));
}

/// Shows a diagnostic.
pub(super) fn complain(report: &miette::Report) {
    // Nobody else can be told.
    let _ = writeln!(std::io::stderr(), "{report:?}");
}

/// Writes a value as JSON to stdout.
pub(super) fn json(value: &impl Serialize) -> Result<(), Failure> {
    json_to(&mut std::io::stdout(), value)
}

/// As [`json`], to wherever else.
pub(super) fn json_to(out: &mut impl std::io::Write, value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::Host(miette::miette!("{error}")))?;
    writeln!(out, "{text}")?;
    Ok(())
}

/// Writes a task's result to stdout and a short account to stderr, or all of it as JSON to stdout.
pub(super) fn report(format: Format, report: &Report) -> Result<(), Failure> {
    if format == Format::Json {
        return json(report);
    }
    match &report.output {
        Some(serde_json::Value::String(text)) => writeln!(std::io::stdout(), "{}", printable(text))?,
        Some(value) => {
            let text =
                serde_json::to_string_pretty(value).map_err(|error| Failure::Host(miette::miette!("{error}")))?;
            writeln!(std::io::stdout(), "{}", printable(&text))?;
        }
        None => {}
    }
    let mut stderr = std::io::BufWriter::new(std::io::stderr().lock());
    if let Some(error) = &report.error {
        writeln!(stderr, "error: {}", error.message)?;
        if let Some(help) = &error.help {
            writeln!(stderr, " help: {help}")?;
        }
    }
    if let Some(kept) = &report.kept {
        show_kept(kept, &mut stderr)?;
    }
    let usage = &report.usage;
    writeln!(
        stderr,
        "{} · {} in {} · {} fuel · {} peak · {} tool calls · {} effects · {} refusals",
        report.task,
        report.status.as_str(),
        duration(usage.wall_ms),
        count(usage.fuel),
        bytes(usage.memory_peak_bytes),
        usage.tool_calls,
        usage.effects,
        usage.refusals,
    )?;
    Ok(stderr.flush()?)
}

/// What was left behind is listed up to here.
const MOST_LEFT: usize = 50;

/// What was kept of a workspace, and what was left behind.
fn show_kept(kept: &Kept, stderr: &mut impl std::io::Write) -> std::io::Result<()> {
    let Kept { folder, copied, problem, .. } = kept;
    if let Some(problem) = problem {
        writeln!(stderr, "not kept: {problem}")?;
    } else {
        let (files, bytes) = (count(copied.files), bytes(copied.bytes));
        writeln!(stderr, "kept {files} files with {bytes} in {}", folder.display())?;
    }
    for left in copied.left.iter().take(MOST_LEFT) {
        writeln!(stderr, "left behind: {}: {}", left.path, left.why)?;
    }
    let more = copied.left.len().saturating_sub(MOST_LEFT);
    if more > 0 {
        writeln!(stderr, "left behind: {more} more")?;
    }
    Ok(())
}

/// A guest's text on a terminal: lines and tabs stay, what a terminal would obey is escaped.
pub(super) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive(['\n', '\t']) {
        let end = line.len() - usize::from(line.ends_with(['\n', '\t']));
        line[..end]
            .chars()
            .for_each(|character| out.push_str(&crate::audit::escaped(character.encode_utf8(&mut [0; 4]))));
        out.push_str(&line[end..]);
    }
    out
}

/// `1,234,567`
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1.5 MiB`
pub(super) fn bytes(number: u64) -> String {
    indicatif::BinaryBytes(number).to_string()
}

/// `1.25 s`
fn duration(milliseconds: u64) -> String {
    if milliseconds < 1000 {
        format!("{milliseconds} ms")
    } else {
        format!("{:.2} s", Duration::from_millis(milliseconds).as_secs_f64())
    }
}

/// The operator's terminal: log lines, and a line with the current effect while a task runs.
pub(super) struct Screen {
    bar: ProgressBar,
    /// Whether the line is shown, while nothing is asked.
    is_shown: bool,
    questions: Questions,
}

impl Screen {
    /// Whoever looks at this process's stderr.
    pub(super) fn audience(format: Format, questions: Questions) -> Audience {
        let is_shown = format == Format::Human && std::io::stderr().is_terminal();
        let bar = if is_shown {
            let bar = ProgressBar::new_spinner();
            bar.set_style(
                ProgressStyle::with_template("{spinner} {elapsed} {msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_spinner()),
            );
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        } else {
            ProgressBar::hidden()
        };
        let screen = Arc::new(Self { bar, is_shown, questions });
        Audience { log: Arc::clone(&screen) as _, observer: screen }
    }
}

/// To the beginning of the line, and nothing left of it (ECMA-48, section 8.3.41).
const ERASE_LINE: &str = "\r\u{1b}[2K";

impl Screen {
    fn shown(&self) -> ProgressDrawTarget {
        if self.is_shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl Log for Screen {
    fn line(&self, _task: &str, component: &str, text: &str) {
        self.bar.suspend(|| {
            // A log that nobody reads stops nothing.
            let _ = writeln!(std::io::stderr(), "[{component}] {text}");
        });
    }
}

impl Observer for Screen {
    fn effect(&self, action: &'static str, resource: &Resource) {
        if !self.bar.is_hidden() {
            self.bar.set_message(format!("{action} {resource}"));
        }
    }

    fn asked(&self, approval: &str) {
        // A line that moves would be written over the question.
        self.bar.set_draw_target(ProgressDrawTarget::hidden());
        if self.is_shown {
            let _ = write!(std::io::stderr(), "{ERASE_LINE}");
        }
        self.questions.ask(approval);
    }

    fn warned(&self, what: &str) {
        self.bar.suspend(|| {
            // A warning that nobody reads stops nothing.
            let _ = writeln!(std::io::stderr(), "warning: {what}");
        });
    }

    fn answered(&self) {
        self.questions.settle();
        self.bar.set_draw_target(self.shown());
    }
}
