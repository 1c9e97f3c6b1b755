//! An entry: a line in the report of the task, and one more in the count of its runbook, `entries/<runbook>`.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use kept::State;

/// The longest text, in bytes.
pub const LONGEST: usize = 1_000;

/// Why an entry was not made.
#[derive(Debug, PartialEq, Eq)]
pub enum Error {
    /// That is no runbook's name.
    BadRunbook,
    /// The text is empty, or longer than [`LONGEST`].
    BadText,
    /// The report or the count cannot be written.
    Unwritten(String),
}

/// Adds a line to a report, and counts it.
///
/// # Errors
///
/// See [`Error`].
pub fn enter(report: &Path, state: &impl State, runbook: &str, text: &str) -> Result<u64, Error> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !(1..=64).contains(&runbook.len()) || !runbook.bytes().all(fits) {
        return Err(Error::BadRunbook);
    }
    let line = text.replace(['\r', '\n'], " ");
    if line.trim().is_empty() || line.len() > LONGEST {
        return Err(Error::BadText);
    }
    let open = OpenOptions::new().create(true).append(true).open(report);
    let written = open.and_then(|mut report| writeln!(report, "- {line}"));
    written.map_err(|error| Error::Unwritten(format!("the report: {error}")))?;
    state.increment(&format!("entries/{runbook}"), 1).map_err(|error| Error::Unwritten(format!("the count: {error}")))
}

#[cfg(test)]
mod tests {
    use kept::Memory;

    use super::*;

    #[test]
    fn entries_are_lines_and_are_counted() {
        let folder = std::env::temp_dir().join(format!("logbook-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (report, state) = (folder.join("report.md"), Memory::default());
        assert_eq!(enter(&report, &state, "restart-web", "one\nline"), Ok(1));
        assert_eq!(enter(&report, &state, "restart-web", "two"), Ok(2));
        assert_eq!(enter(&report, &state, "other", "three"), Ok(1));
        assert_eq!(enter(&report, &state, "../x", "no"), Err(Error::BadRunbook));
        assert_eq!(enter(&report, &state, "other", " "), Err(Error::BadText));
        assert_eq!(std::fs::read_to_string(&report).unwrap(), "- one line\n- two\n- three\n");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
