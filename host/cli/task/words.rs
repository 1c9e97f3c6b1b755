//! What a task did, in words: for the tree and for the page.

use crate::audit::story::{Answer, Approval, State, Step};

/// `12 ms`, `1.25 s`, `3 min 05 s`, `2 h 07 min`
pub(super) fn lapse(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0 => format!("{milliseconds} ms"),
        1..60 => format!("{seconds}.{:02} s", milliseconds % 1000 / 10),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// A sign beside the word, so that nobody has to see colours.
pub(super) fn sign(state: State) -> &'static str {
    match state {
        State::Done => "✓",
        State::Failed => "✗",
        State::Refused => "⊘",
        State::Waiting => "…",
        State::Unknown => "?",
    }
}

/// What was decided: `allowed by billing-service`, `⊘ refused (denied) by ask: jo denied it`.
pub(super) fn decision(step: &Step) -> String {
    let by = if step.rules.is_empty() { String::new() } else { format!(" by {}", step.rules.join(", ")) };
    let why = step.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    match step.decision.as_deref() {
        Some("allowed") => format!("allowed{by}"),
        Some(code) => format!("{} refused ({code}){by}{why}", sign(State::Refused)),
        // Only the question is known yet.
        None => String::new(),
    }
}

/// What came of it once it was allowed: `done in 4 ms`, `✗ failed in 4 ms: refused connection`.
pub(super) fn outcome(step: &Step) -> Option<String> {
    if step.decision.as_deref() != Some("allowed") {
        return None;
    }
    let took = step.took().map(lapse).unwrap_or_default();
    let why = step.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    let code = step.outcome.as_deref().unwrap_or_default();
    Some(match step.state {
        State::Done => match step.notes.get("status") {
            Some(status) => format!("done in {took} (status {status})"),
            None => format!("done in {took}"),
        },
        State::Failed => format!("{} failed in {took}{why}", sign(step.state)),
        State::Refused => format!("{} refused ({code}) after {took}{why}", sign(step.state)),
        State::Unknown if code.is_empty() => format!("{} unknown: it has no outcome", sign(step.state)),
        State::Unknown | State::Waiting => {
            format!("{} {code} after {took}: how far it came is not known", sign(step.state))
        }
    })
}

/// What people were asked and said: `asked finance, approved by maria after 2.50 s`.
pub(super) fn approval(asked: &Approval) -> String {
    let groups = if asked.groups.is_empty() { "people".to_owned() } else { asked.groups.join(", ") };
    let answers: Vec<String> = asked.answers.iter().map(|answer| self::answer(asked, answer)).collect();
    if answers.is_empty() {
        format!("asked {groups}, {} no answer yet", sign(State::Waiting))
    } else {
        format!("asked {groups}, {}", answers.join(", "))
    }
}

fn answer(asked: &Approval, Answer { code, by, groups, at_ms }: &Answer) -> String {
    let after = lapse(at_ms.saturating_sub(asked.asked_ms));
    let by = by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    // Of one group, it is clear for whom.
    let groups = if asked.groups.len() > 1 { format!(" for {}", groups.join(", ")) } else { String::new() };
    match code.as_str() {
        "refused" => format!("an answer{by} was not taken"),
        "unanswered" => format!("nobody answered within {after}"),
        code => format!("{code}{by}{groups} after {after}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lapse_is_as_exact_as_it_is_of_use() {
        let told = [0, 999, 1000, 59_999, 60_000, 185_000, 3_599_999, 3_600_000, 90_061_000].map(lapse);
        let words = [
            "0 ms",
            "999 ms",
            "1.00 s",
            "59.99 s",
            "1 min 00 s",
            "3 min 05 s",
            "59 min 59 s",
            "1 h 00 min",
            "25 h 01 min",
        ];
        assert_eq!(told, words);
    }
}
