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

#[cfg(test)]
mod tests {
    use super::super::{Entry, Head, Kind};
    use super::*;

    /// Records of all kinds, as they are exported.
    fn log() -> Vec<u8> {
        let mut head = Head::EMPTY;
        let mut log = Vec::new();
        for (at, kind) in Kind::ALL.into_iter().enumerate() {
            let entry = Entry {
                kind,
                at: 1_795_392_000_000 + at as u64,
                task: "01K/2".into(),
                component: "agent".into(),
                effect: 1,
                import: 1,
                action: "tools.call".into(),
                resource: "Tool::\"a.b\"".into(),
                arguments: "00".into(),
                code: "allowed".into(),
                rules: ["one", "zwei ü"].map(str::to_owned).into(),
                detail: "{\"why\":\"x\"}".into(),
                text: "\u{1b}“\\".into(),
            };
            head = head.after(&entry);
            serde_json::to_writer(&mut log, &Record { seq: head.seq, entry, hash: head.hash }).unwrap();
            log.push(b'\n');
        }
        log
    }

    fn verify(log: &[u8]) -> Result<u64, ExportError> {
        let mut verifier = Verifier::default();
        check(&mut &*log, &mut verifier)?;
        Ok(verifier.end()?.seq)
    }

    #[test]
    fn every_changed_byte_of_an_exported_log_is_found() {
        let log = log();
        assert_eq!(verify(&log).unwrap(), 8);
        for at in 0..log.len() {
            for bit in [0, 3, 5, 7] {
                let mut changed = log.clone();
                changed[at] ^= 1 << bit;
                assert!(verify(&changed).is_err(), "bit {bit} of byte {at}");
            }
            let mut longer = log.clone();
            longer.insert(at, b' ');
            assert!(verify(&longer).is_err(), "a space at {at}");
            let mut shorter = log.clone();
            shorter.remove(at);
            assert!(verify(&shorter).is_err(), "without byte {at}");
        }
    }

    #[test]
    fn lines_that_are_missing_or_moved_are_named() {
        let log = String::from_utf8(log()).unwrap();
        let lines: Vec<&str> = log.split_inclusive('\n').collect();
        for at in 0..lines.len() - 1 {
            let mut fewer = lines.clone();
            fewer.remove(at);
            let mut moved = lines.clone();
            moved.swap(at, at + 1);
            let seq = at as u64 + 1;
            for changed in [fewer, moved] {
                let error = verify(changed.concat().as_bytes()).unwrap_err();
                assert_eq!(error.to_string(), format!("record {seq} is missing: after it comes {}", seq + 1));
            }
        }
        assert!(verify(&b"x".repeat(1 << 20)).is_err());
    }
}
