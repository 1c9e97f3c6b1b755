//! Runs named steps one after the other, shows each command before it runs, and says at the end how long each took.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::failure::Failure;

/// The steps done so far. Everything said here goes to stderr; stdout is for what the commands print.
#[derive(Default)]
pub(crate) struct Steps {
    done: Vec<(String, Outcome)>,
}

enum Outcome {
    Passed(Duration),
    Failed(Duration),
    Skipped(&'static str),
}

impl Steps {
    /// Does one step. The first that fails is the last that is done.
    pub(crate) fn step<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
        eprintln!("\n=== {name}");
        let started = Instant::now();
        let result = work();
        let took = started.elapsed();
        eprintln!("    {} s", seconds(took));
        let outcome = if result.is_ok() { Outcome::Passed } else { Outcome::Failed };
        self.done.push((name.to_owned(), outcome(took)));
        result
    }

    /// Notes a step that is not done, and why.
    pub(crate) fn skip(&mut self, name: &str, why: &'static str) {
        eprintln!("\n=== {name}\n    skipped: {why}");
        self.done.push((name.to_owned(), Outcome::Skipped(why)));
    }

    /// The step that failed, if one did.
    pub(crate) fn failed(&self) -> Option<&str> {
        let failed = |(_, outcome): &&(String, Outcome)| matches!(outcome, Outcome::Failed(_));
        self.done.iter().find(failed).map(|(name, _)| name.as_str())
    }

    /// Prints every step with its time, and how many passed and failed.
    pub(crate) fn summarise(&self) {
        if self.done.is_empty() {
            return;
        }
        let (mut passed, mut failed, mut skipped) = (0, 0, 0);
        eprintln!();
        for (name, outcome) in &self.done {
            match outcome {
                Outcome::Passed(took) => {
                    passed += 1;
                    eprintln!("{:>9} s  {name}", seconds(*took));
                }
                Outcome::Failed(took) => {
                    failed += 1;
                    eprintln!("{:>9} s  {name}: FAILED", seconds(*took));
                }
                Outcome::Skipped(why) => {
                    skipped += 1;
                    eprintln!("{:>11}  {name}: skipped, {why}", "-");
                }
            }
        }
        eprintln!("steps: {passed} passed, {failed} failed, {skipped} skipped");
    }
}

/// Shows a command and runs it; whatever it prints goes through.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    expect(command, 0).map(drop)
}

/// Shows a command, runs it, and demands an exit code. What it prints on stdout goes through.
pub(crate) fn expect(command: &mut Command, code: i32) -> Result<(), Failure> {
    eprintln!("$ {}", shown(command));
    let status = command.status().map_err(start(command))?;
    demand(command, status, code)
}

/// As [`expect`], and gives back what the command printed on stdout and stderr.
pub(crate) fn capture(command: &mut Command, code: i32) -> Result<Output, Failure> {
    eprintln!("$ {}", shown(command));
    let output = command.stdin(Stdio::null()).output().map_err(start(command))?;
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    demand(command, output.status, code)?;
    Ok(output)
}

fn demand(command: &Command, status: std::process::ExitStatus, code: i32) -> Result<(), Failure> {
    match (status.code(), code) {
        (Some(got), _) if got == code => Ok(()),
        (_, 0) => Err(Failure::Ended { command: shown(command), status }),
        _ => Err(Failure::Unexpected { command: shown(command), expected: code, status }),
    }
}

fn start(command: &Command) -> impl FnOnce(std::io::Error) -> Failure {
    let program = command.get_program().to_string_lossy().into_owned();
    move |source| Failure::Start { program, source }
}

/// A command as one would type it in the project's folder: quoted, with its environment, and in its own folder when it has one.
pub(crate) fn shown(command: &Command) -> String {
    let mut words = Vec::new();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            words.push(format!("{}={}", name.to_string_lossy(), quoted(&value.to_string_lossy())));
        }
    }
    words.push(quoted(&command.get_program().to_string_lossy()));
    words.extend(command.get_args().map(|argument| quoted(&argument.to_string_lossy())));
    let line = words.join(" ");
    match command.get_current_dir().and_then(Path::file_name) {
        Some(folder) if folder == crate::workspace::GUESTS => format!("(cd {} && {line})", crate::workspace::GUESTS),
        _ => line,
    }
}

/// A word as a POSIX shell takes it.
fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./=:,@%+".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_a_shell_takes_it() {
        let mut command = Command::new("ambit");
        command.args(["run", r#"{"question": "what's this?"}"#, ""]).env("LEVEL", "a b");
        assert_eq!(shown(&command), r#"LEVEL='a b' ambit run '{"question": "what'\''s this?"}' ''"#);
    }

    #[test]
    fn an_exit_code_that_was_not_expected_is_a_failure() {
        let exits = |code: &str| Command::new("sh").arg("-c").arg(format!("exit {code}")).spawn();
        let status = |code: &str| exits(code).unwrap().wait().unwrap();
        let command = Command::new("sh");
        assert!(demand(&command, status("3"), 3).is_ok());
        assert!(matches!(demand(&command, status("0"), 3), Err(Failure::Unexpected { .. })));
        assert!(matches!(demand(&command, status("3"), 0), Err(Failure::Ended { .. })));
    }

    #[test]
    fn a_failed_step_is_named() {
        let mut steps = Steps::default();
        steps.step("good", || Ok(())).unwrap();
        steps.step("bad", || Err::<(), _>(Failure::NotCargo)).unwrap_err();
        steps.skip("later", "not now");
        assert!(matches!(steps.done[0].1, Outcome::Passed(_)));
        assert_eq!(steps.failed(), Some("bad"));
    }
}
