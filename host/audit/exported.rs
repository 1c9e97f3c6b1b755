//! Reads an exported log back: JSON Lines, each line exactly as it was written.

use std::io::BufRead;

use super::note::VerifierKey;
use super::{Flaw, Record, Verifier};

/// The bytes of a line, at most: a record's canonical bytes with every one of them escaped.
const LONGEST: u64 = 512 << 10;

/// Why an exported log could not be checked to its end.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Read(#[from] std::io::Error),
    /// It does not hold.
    #[error(transparent)]
    Flaw(#[from] Flaw),
}

/// Checks an exported log from its first record to its last.
///
/// # Errors
/// When it cannot be read, or does not hold.
pub fn check(log: &mut dyn BufRead, verifier: &mut Verifier) -> Result<(), ExportError> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = std::io::Read::take(&mut *log, LONGEST).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(());
        }
        let seq = verifier.head().seq + 1;
        let record = record(&line).map_err(|reason| Flaw::Unreadable { seq, reason })?;
        verifier.check(&record)?;
    }
}

/// The record that a line is.
fn record(line: &[u8]) -> Result<Record, String> {
    let Some(line) = line.strip_suffix(b"\n") else { return Err("its line has no end, or is too long".to_owned()) };
    let record: Record = serde_json::from_slice(line).map_err(|error| format!("its line is no record: {error}"))?;
    match serde_json::to_vec(&record) {
        Ok(written) if written == line => Ok(record),
        _ => Err("its line is not written as it should be".to_owned()),
    }
}

/// Whether checkpoints were signed by these keys.
///
/// # Errors
/// When one was not.
pub fn believed(kept: &[super::checkpoint::Checkpoint], keys: &[VerifierKey]) -> Result<(), Flaw> {
    kept.iter().try_for_each(|checkpoint| {
        let origin = &checkpoint.origin;
        let key = keys.iter().find(|key| key.name() == origin);
        let key = key.ok_or_else(|| Flaw::Stranger { origin: origin.clone() })?;
        checkpoint.verify(key).map_err(|reason| Flaw::Unbelieved { size: checkpoint.size, reason })
    })
}
