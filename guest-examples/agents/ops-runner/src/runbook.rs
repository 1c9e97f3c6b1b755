//! The steps in a text.

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Enters a text in the logbook.
    Note(String),
    /// Looks at a service.
    Check(String),
    /// Restarts a service.
    Restart(String),
}

/// The most steps of a runbook.
pub const MOST: usize = 50;

/// Reads a runbook.
///
/// # Errors
///
/// A step that is none, with the number of its line; or too many of them.
pub fn read(text: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let Some(step) = line.strip_prefix("- ") else { continue };
        let (verb, rest) = step.split_once(' ').unwrap_or((step, ""));
        let rest = rest.trim().to_owned();
        steps.push(match verb {
            _ if rest.is_empty() => return Err(format!("line {number}: `{step}` says too little")),
            "note" => Step::Note(rest),
            "check" => Step::Check(rest),
            "restart" => Step::Restart(rest),
            other => return Err(format!("line {number}: `{other}` is no step; write `note`, `check` or `restart`")),
        });
    }
    match steps.len() {
        0 => Err("it has no step: write lines as `- check web`".to_owned()),
        1..=MOST => Ok(steps),
        many => Err(format!("it has {many} steps, more than {MOST}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_lines_with_a_dash() {
        let steps = read("# Restart\n\n- note begins\n- check web\n  - not one\n- restart web\n").unwrap();
        let web = || "web".to_owned();
        assert_eq!(steps, [Step::Note("begins".to_owned()), Step::Check(web()), Step::Restart(web())]);
    }

    #[test]
    fn what_is_no_step_is_said_to_be_none() {
        assert!(read("- check").unwrap_err().starts_with("line 1"));
        assert!(read("\n- remove web").unwrap_err().starts_with("line 2"));
        assert!(read("nothing").is_err());
        assert!(read(&"- note x\n".repeat(MOST + 1)).is_err());
    }
}
