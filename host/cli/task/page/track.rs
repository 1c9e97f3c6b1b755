//! The drawn side of a page: an axis, and for each step a line with what it did when.
//!
//! Places are in hundredths of the width, so that what is drawn is as wide as there is room for, and hatches keep their shape.

use std::fmt::{self, Display};
use std::io::{self, Write};

use super::super::scale::{Scale, WHOLE};
use super::super::words::{approval, lapse};
use super::{Text, brief};
use crate::audit::story::{State, Step, Story};

/// A place or a length, of [`WHOLE`].
struct Percent(u64);

impl Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}%", self.0 / 1000, self.0 % 1000)
    }
}

/// What the lines are drawn with.
pub(super) fn shapes(out: &mut impl Write, scale: &Scale) -> io::Result<()> {
    write!(
        out,
        "<svg class=\"off\" aria-hidden=\"true\"><defs>\
         <pattern id=\"wait\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
         <line class=\"hatch-wait\" x1=\"1\" y1=\"0\" x2=\"1\" y2=\"6\"/></pattern>\
         <pattern id=\"bad\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\">\
         <path class=\"hatch-bad\" d=\"M0,0L5,5M5,0L0,5\"/></pattern><g id=\"grid\">"
    )?;
    for mark in scale.marks() {
        let at = Percent(scale.at(mark));
        write!(out, "<line class=\"grid\" x1=\"{at}\" x2=\"{at}\" y1=\"-6\" y2=\"24\"/>")?;
    }
    writeln!(out, "</g></defs></svg>")
}

pub(super) fn legend(out: &mut impl Write, scale: &Scale) -> io::Result<()> {
    let drawn = [
        ("<rect class=\"run\" width=\"100%\" y=\"2\" height=\"10\"/>", "execution"),
        ("<rect class=\"wait\" width=\"100%\" y=\"2\" height=\"10\"/>", "waits for people"),
        ("<rect class=\"bad\" width=\"100%\" y=\"2\" height=\"10\"/>", "✗ failed"),
        ("<circle class=\"ring\" cx=\"50%\" cy=\"7\" r=\"5\"/>", "⊘ refused"),
        ("<path class=\"answer\" d=\"M17,1L23,7L17,13L11,7Z\"/>", "a person’s answer"),
        ("<rect class=\"open\" width=\"100%\" y=\"2\" height=\"10\"/>", "? not known how far it came"),
    ];
    writeln!(out, "<ul class=\"legend\">")?;
    for (shape, means) in drawn {
        writeln!(out, "<li><svg aria-hidden=\"true\">{shape}</svg>{means}</li>")?;
    }
    if scale.is_shortened {
        writeln!(out, "<li>Waits are drawn shorter than they were.</li>")?;
    }
    writeln!(out, "</ul>")
}

pub(super) fn axis(out: &mut impl Write, scale: &Scale) -> io::Result<()> {
    write!(out, "<svg class=\"track\">")?;
    for mark in scale.marks() {
        let place = scale.at(mark);
        let anchor = match place {
            0 => "start",
            WHOLE => "end",
            _ => "middle",
        };
        write!(out, "<text x=\"{}\" y=\"14\" text-anchor=\"{anchor}\">{}</text>", Percent(place), lapse(mark))?;
    }
    writeln!(out, "</svg>")
}

/// The line of a step.
pub(super) fn track(out: &mut impl Write, story: &Story, scale: &Scale, step: &Step) -> io::Result<()> {
    write!(
        out,
        "<svg class=\"track\" role=\"img\" aria-label=\"{}, from {} on\"><use href=\"#grid\"/>",
        Text(brief(step)),
        lapse(step.begin_ms),
    )?;
    if let Some((from, until)) = step.waited() {
        let until = if step.state == State::Waiting { story.lasted_ms } else { until };
        bar(out, scale, "wait", from, until)?;
    }
    let decided = step.decided_ms.unwrap_or(step.begin_ms);
    match step.state {
        State::Waiting => {}
        State::Unknown => bar(out, scale, "open", decided, step.end_ms.unwrap_or(story.lasted_ms))?,
        State::Done => bar(out, scale, "run", decided, step.end_ms.unwrap_or(decided))?,
        State::Failed | State::Refused => {
            let end = step.end_ms.unwrap_or(decided);
            let class = if step.state == State::Failed { "bad" } else { "run" };
            if end > decided || step.state == State::Failed {
                bar(out, scale, class, decided, end)?;
            }
            let at = Percent(scale.at(end));
            if step.state == State::Failed {
                let cross = "<path class=\"cross\" d=\"M-4,5L4,13M4,5L-4,13\"/>";
                write!(out, "<svg class=\"track\" x=\"{at}\">{cross}</svg>")?;
            } else {
                let ring = "<circle class=\"ring\" cy=\"9\" r=\"5\"/><path class=\"cross\" d=\"M-3,12L3,6\"/>";
                write!(out, "<svg class=\"track\" x=\"{at}\">{ring}</svg>")?;
            }
        }
    }
    for asked in &step.approvals {
        for answer in &asked.answers {
            let (at, told) = (Percent(scale.at(answer.at_ms)), approval(asked));
            let diamond = "<path class=\"answer\" d=\"M0,3L6,9L0,15L-6,9Z\"/>";
            write!(out, "<svg class=\"track\" x=\"{at}\"><title>{}</title>{diamond}</svg>", Text(told))?;
        }
    }
    writeln!(out, "</svg>")
}

/// A stretch of time, with a beginning that can be seen however short it is.
fn bar(out: &mut impl Write, scale: &Scale, class: &str, from: u64, until: u64) -> io::Result<()> {
    let (start, end) = (scale.at(from), scale.at(until));
    let (x, width) = (Percent(start), Percent(end.saturating_sub(start)));
    write!(out, "<rect class=\"{class}\" x=\"{x}\" y=\"4\" width=\"{width}\" height=\"10\"/>")?;
    // Where there is no room to its right, it stands to its left.
    let shift = if start + WHOLE / 100 > WHOLE { "-3" } else { "0" };
    write!(
        out,
        "<svg class=\"track\" x=\"{x}\"><rect class=\"{class}\" x=\"{shift}\" y=\"4\" width=\"3\" height=\"10\"/></svg>"
    )
}
