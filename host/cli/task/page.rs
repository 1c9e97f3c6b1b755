//! A task as one page: everything is in it, nothing is loaded, and nothing in it runs.
//!
//! The policy of the page allows its one style sheet, by hash, and nothing else. Whatever comes from a record is escaped twice:
//! what nobody sees, as `\u{…}`, and what means something in HTML.

mod track;

use std::fmt::{self, Display, Write as _};
use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::super::audit::time;
use super::super::output::{bytes, count};
use super::scale::Scale;
use super::show::Shown;
use super::words::{approval, decision, lapse, outcome, sign};
use crate::audit::story::{State, Step, Story};
use crate::tool::text::is_invisible;

const STYLE: &str = include_str!("page.css");

/// A text of somebody else's, to stand in an element or an attribute.
struct Text<T>(T);

impl<T: Display> Display for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.to_string().chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                ' ' => f.write_char(' ')?,
                odd if odd.is_control() || matches!(odd, '\u{2028}' | '\u{2029}') || is_invisible(odd) => {
                    write!(f, "{}", odd.escape_unicode())?;
                }
                plain => f.write_char(plain)?,
            }
        }
        Ok(())
    }
}

/// Writes the page.
pub(super) fn page(out: &mut impl Write, shown: &Shown) -> io::Result<()> {
    let hash = STANDARD.encode(Sha256::digest(STYLE));
    let task = Text(&shown.listed.task);
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{hash}'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <title>Task {task}: {} of {}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n",
        Text(&shown.listed.status),
        Text(&shown.listed.bundle),
    )?;
    head(out, shown)?;
    consumed(out, shown)?;
    timeline(out, shown)?;
    let (first, last) = shown.span();
    writeln!(
        out,
        "<footer><p>Made by ambit {} of the records {first} to {last} of its audit log. Times are those of the machine’s \
         clock.</p></footer>\n</body>\n</html>",
        Text(crate::VERSION),
    )
}

/// How a status looks.
fn state_of(status: &str) -> State {
    match status {
        "succeeded" => State::Done,
        "suspended" => State::Waiting,
        "unknown" => State::Unknown,
        "refused" => State::Refused,
        _ => State::Failed,
    }
}

fn head(out: &mut impl Write, shown: &Shown) -> io::Result<()> {
    let Shown { listed, labels, story, .. } = shown;
    let state = state_of(&listed.status);
    let (bundle, version) = (Text(&listed.bundle), Text(&listed.version));
    writeln!(out, "<header>\n<h1>{bundle} {version}</h1>")?;
    let (status, lasted) = (Text(&listed.status), lapse(story.lasted_ms));
    writeln!(out, "<p class=\"status {}\">{} {status} after {lasted}</p>", state.as_str(), sign(state))?;
    if let Some(error) = &listed.error {
        writeln!(out, "<p class=\"said\">{}</p>", Text(error["message"].as_str().unwrap_or_default()))?;
    }
    writeln!(out, "<dl>")?;
    field(out, "task", &listed.task)?;
    field(out, "started", time(listed.started))?;
    let resumed: Vec<String> = story.resumed_ms.iter().map(|at| format!("after {}", lapse(*at))).collect();
    field(out, "resumed", resumed.join(", "))?;
    let said = |name: &str| story.ground.get(name).and_then(Value::as_str).unwrap_or_default();
    field(out, "on behalf of", said("user"))?;
    field(out, "bundle", &listed.digest)?;
    field(out, "grants", said("grant"))?;
    let policy = story.ground.get("policy").and_then(|policy| policy.get("digest")).and_then(Value::as_str);
    field(out, "rules", policy.unwrap_or_default())?;
    field(out, "input", &listed.input)?;
    for origin in labels {
        field(out, &format!("label {}", origin.label), origin.told())?;
    }
    writeln!(out, "</dl>\n</header>")
}

/// A line of a list, unless it says nothing.
fn field(out: &mut impl Write, name: &str, value: impl Display) -> io::Result<()> {
    let value = value.to_string();
    if value.is_empty() { Ok(()) } else { writeln!(out, "<dt>{}</dt><dd>{}</dd>", Text(name), Text(value)) }
}

fn consumed(out: &mut impl Write, shown: &Shown) -> io::Result<()> {
    let Some(Value::Object(usage)) = &shown.listed.usage else { return Ok(()) };
    writeln!(out, "<section>\n<h2>Consumed</h2>\n<ul class=\"counts\">")?;
    for (name, value) in usage {
        let told = match value.as_u64() {
            Some(number) if name.ends_with("_bytes") => bytes(number),
            Some(number) if name.ends_with("_ms") => lapse(number),
            Some(number) => count(number),
            None => value.to_string(),
        };
        let name = name.trim_end_matches("_bytes").trim_end_matches("_ms").replace('_', " ");
        writeln!(out, "<li><b>{}</b><span>{}</span></li>", Text(told), Text(name))?;
    }
    writeln!(out, "</ul>\n</section>")
}

fn timeline(out: &mut impl Write, Shown { listed, story, .. }: &Shown) -> io::Result<()> {
    let scale = Scale::of(story);
    writeln!(out, "<section>\n<h2>What it did</h2>")?;
    track::shapes(out, &scale)?;
    track::legend(out, &scale)?;
    writeln!(out, "<div class=\"axis\" aria-hidden=\"true\"><span></span>")?;
    track::axis(out, &scale)?;
    writeln!(out, "<span></span></div>\n<ol>")?;
    start(out, story)?;
    // As deep as the step that is written; each has an item open, and a list in it if anything stands below it.
    let mut open = 0;
    for (depth, step) in story.walk() {
        close(out, &mut open, depth)?;
        item(out, story, &scale, step)?;
        if step.steps.is_empty() {
            writeln!(out, "</li>")?;
        } else {
            writeln!(out, "<ol>")?;
            open += 1;
        }
    }
    close(out, &mut open, 0)?;
    let state = state_of(&listed.status);
    writeln!(
        out,
        "<li class=\"end {}\"><span class=\"time\">+{}</span><span class=\"word\"><b>{} {}</b></span></li>\n</ol>\n</section>",
        state.as_str(),
        lapse(story.lasted_ms),
        sign(state),
        Text(&listed.status),
    )
}

/// Closes lists until only this many are open.
fn close(out: &mut impl Write, open: &mut usize, depth: usize) -> io::Result<()> {
    while *open > depth {
        writeln!(out, "</ol></li>")?;
        *open -= 1;
    }
    Ok(())
}

fn start(out: &mut impl Write, story: &Story) -> io::Result<()> {
    write!(
        out,
        "<li class=\"end\"><span class=\"time\">+0 ms</span><span class=\"what\"><b>{}</b>",
        Text(&story.component)
    )?;
    chips(out, &story.labels)?;
    writeln!(out, "</span></li>")
}

fn chips(out: &mut impl Write, labels: &[String]) -> io::Result<()> {
    labels.iter().try_for_each(|label| write!(out, "<span class=\"chip\">+{}</span>", Text(label)))
}

/// A step, up to where what stands below it begins.
fn item(out: &mut impl Write, story: &Story, scale: &Scale, step: &Step) -> io::Result<()> {
    let state = step.state;
    write!(
        out,
        "<li>\n<details><summary class=\"{}\"><span class=\"name\"><span class=\"time\">+{}</span><span class=\"what\"><b>{}</b>\
         <span class=\"mono\">{}</span>",
        state.as_str(),
        lapse(step.begin_ms),
        Text(&step.action),
        Text(&step.resource),
    )?;
    if !step.text.is_empty() {
        write!(out, " <q>{}</q>", Text(&step.text))?;
    }
    chips(out, &step.labels)?;
    writeln!(out, "</span></span>")?;
    track::track(out, story, scale, step)?;
    writeln!(out, "<span class=\"word\">{}</span></summary>", Text(brief(step)))?;
    writeln!(out, "<div class=\"more\"><dl>")?;
    details(out, step)?;
    writeln!(out, "</dl></div></details>")
}

/// What came of a step, in few words.
fn brief(step: &Step) -> String {
    let sign = sign(step.state);
    match step.state {
        State::Done => format!("{sign} done, {}", step.took().map(lapse).unwrap_or_default()),
        State::Failed => format!("{sign} failed, {}", step.took().map(lapse).unwrap_or_default()),
        State::Refused => {
            let code = step.decision.as_deref().filter(|decision| *decision != "allowed").or(step.outcome.as_deref());
            format!("{sign} refused: {}", code.unwrap_or_default())
        }
        State::Waiting => format!("{sign} waits for people"),
        State::Unknown => format!("{sign} unknown"),
    }
}

fn details(out: &mut impl Write, step: &Step) -> io::Result<()> {
    for asked in &step.approvals {
        field(out, "approval", format!("{} ({})", approval(asked), asked.id))?;
    }
    field(out, "decision", decision(step))?;
    field(out, "outcome", outcome(step).unwrap_or_default())?;
    field(out, "said", &step.said)?;
    field(out, "labels gained", step.labels.join(", "))?;
    for (name, value) in &step.notes {
        field(out, name, value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned))?;
    }
    field(out, "component", format!("{} ({})", step.component, step.task))?;
    field(out, "child task", step.child.as_deref().unwrap_or_default())?;
    if step.effect > 0 {
        field(out, "effect", step.effect)?;
    }
    let records: Vec<String> = step.records.iter().map(ToString::to_string).collect();
    field(out, "records", records.join(", "))
}

#[cfg(test)]
mod tests;
