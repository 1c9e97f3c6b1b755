//! Whether the stored log holds: its chain, its own checkpoints, and those that were kept elsewhere.

use rusqlite::OptionalExtension as _;

use super::super::checkpoints::{self, CheckpointError, Stored};
use super::{AuditLog, number, page};
use crate::audit::checkpoint::Checkpoint;
use crate::audit::note::VerifierKey;
use crate::audit::{Flaw, Hash, Head, Verifier};

/// Records that are read at once.
const PAGE: u64 = 10_000;

/// What a log is that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Its last record.
    pub head: Head,
    /// The root of the tree over all records.
    pub root: Hash,
    /// How many stored checkpoints were verified.
    pub checkpoints: u64,
    /// How many of them are of names that no given key is of: they were verified with the home's own.
    pub by_home: u64,
    /// How many records the last of them speaks of.
    pub covered: u64,
    /// Why checkpoints cannot be signed at present, if records have gone without one for long.
    pub unsigned: Option<String>,
}

/// The stored checkpoints that hold.
#[derive(Default)]
struct Counted {
    checkpoints: u64,
    by_home: u64,
    /// Of how many records the last one speaks.
    covered: u64,
}

impl AuditLog {
    /// Checks the whole log, beside checkpoints that were kept elsewhere. With `keys`, those are believed by these keys
    /// alone; without any, by the home's own. Stored checkpoints of other names are verified with the home's own, and
    /// counted apart.
    ///
    /// # Errors
    /// When the database cannot be read. What is wrong with the log is the inner error.
    pub fn verify(
        &self,
        kept: Vec<Checkpoint>,
        keys: &[VerifierKey],
    ) -> Result<Result<Verdict, Flaw>, CheckpointError> {
        // Asked first: what is written while the chain is read only makes it longer.
        let newest = "SELECT id, audit_last FROM task WHERE audit_last NOT NULL ORDER BY audit_last DESC LIMIT 1";
        let newest = self
            .database
            .read()
            .query_row(newest, [], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?.cast_unsigned())))
            .optional()?;
        if let Some(flaw) = kept.iter().find_map(|checkpoint| self.believed(checkpoint, keys).transpose()) {
            return flaw.map(Err);
        }
        let mut verifier = Verifier::against(kept);
        let checked = self.check(&mut verifier, keys)?;
        let Counted { checkpoints, by_home, covered } = match checked {
            Ok(checked) => checked,
            Err(flaw) => return Ok(Err(flaw)),
        };
        let head = match verifier.end() {
            Ok(head) => head,
            Err(flaw) => return Ok(Err(flaw)),
        };
        if let Some((task, expected)) = newest.filter(|(_, expected)| *expected > head.seq) {
            return Ok(Err(Flaw::Truncated { last: head.seq, task, expected }));
        }
        let unsigned = self.unsigned(covered, head.seq)?;
        Ok(Ok(Verdict { head, root: verifier.tree().root(), checkpoints, by_home, covered, unsigned }))
    }

    /// Why a checkpoint that was kept elsewhere is not believed, if it is not.
    fn believed(&self, checkpoint: &Checkpoint, keys: &[VerifierKey]) -> Result<Option<Flaw>, CheckpointError> {
        let origin = &checkpoint.origin;
        let key = match keys {
            [] => checkpoints::public(&self.database.read(), Some(origin))?,
            keys => keys.iter().find(|key| key.name() == origin).cloned(),
        };
        let Some(key) = key else { return Ok(Some(Flaw::Stranger { origin: origin.clone() })) };
        let size = checkpoint.size;
        Ok(checkpoint.verify(&key).err().map(|reason| Flaw::Unbelieved { size, reason }))
    }

    /// Goes through all records, and through all stored checkpoints beside them.
    fn check(&self, verifier: &mut Verifier, keys: &[VerifierKey]) -> Result<Result<Counted, Flaw>, CheckpointError> {
        let mut counted = Counted::default();
        if let Some(size) = checkpoints::of_nothing(&self.database.read())? {
            return Ok(Err(Flaw::Stored { size, what: "it speaks of no number of records that there can be" }));
        }
        let next = |after| checkpoints::stored(&self.database.read(), after);
        let mut stored = next(Some(0))?;
        loop {
            let page = page(&self.database.read(), None, verifier.head().seq, PAGE)?;
            if page.is_empty() {
                break;
            }
            for record in page {
                if let Err(flaw) = record.and_then(|record| verifier.check(&record)) {
                    return Ok(Err(flaw));
                }
                let seq = verifier.head().seq;
                while let Some(there) = stored.take_if(|stored| stored.size <= seq) {
                    match self.check_stored(&there, verifier, keys)? {
                        Ok(by_home) => counted.by_home += u64::from(by_home),
                        Err(flaw) => return Ok(Err(flaw)),
                    }
                    (counted.checkpoints, counted.covered) = (counted.checkpoints + 1, there.size);
                    stored = next(Some(there.size))?;
                }
            }
        }
        // One that was made meanwhile speaks of records that came meanwhile.
        let longer = stored.filter(|stored| stored.size > verifier.head().seq);
        let Some(longer) = longer else { return Ok(Ok(counted)) };
        if super::page(&self.database.read(), None, verifier.head().seq, 1)?.is_empty() {
            let origin = longer.origin();
            let odd = Flaw::Stored { size: longer.size, what: "it names no log" };
            let last = verifier.head().seq;
            return Ok(Err(origin.map_or(odd, |origin| Flaw::Shorter { last, origin, expected: longer.size })));
        }
        Ok(Ok(counted))
    }

    /// Whether a stored checkpoint that holds was verified with the home's key, though others were given.
    fn check_stored(
        &self,
        stored: &Stored,
        verifier: &Verifier,
        keys: &[VerifierKey],
    ) -> Result<Result<bool, Flaw>, CheckpointError> {
        let size = stored.size;
        let Some(origin) = stored.origin() else { return Ok(Err(Flaw::Stored { size, what: "it names no log" })) };
        let given = keys.iter().find(|key| *key.name() == origin).cloned();
        let by_home = given.is_none() && !keys.is_empty();
        let key = match given {
            None => checkpoints::public(&self.database.read(), Some(&origin))?,
            given => given,
        };
        let Some(key) = key else { return Ok(Err(Flaw::Stranger { origin })) };
        let holds = stored.open(&key).and_then(|(checkpoint, _)| verifier.compare(&checkpoint));
        Ok(holds.map(|()| by_home))
    }

    /// Why the records since the last checkpoint have none, if they should have one by now.
    fn unsigned(&self, covered: u64, last: u64) -> Result<Option<String>, CheckpointError> {
        let Some(checkpoints) = &self.checkpoints else { return Ok(None) };
        let rows = self.database.read();
        let time = |seq: u64| -> Result<u64, CheckpointError> {
            let select = "SELECT at FROM audit WHERE seq = max(?1, 1)";
            let at: Option<i64> = rows.prepare_cached(select)?.query_row([number(seq)], |row| row.get(0)).optional()?;
            Ok(at.unwrap_or_default().cast_unsigned())
        };
        let passed = time(last)?.abs_diff(time(covered)?);
        if last == covered || (last - covered < checkpoints.records() && passed < checkpoints.milliseconds()) {
            return Ok(None);
        }
        Ok(Some(match checkpoints.opened(&rows) {
            Err(error) => error.to_string(),
            Ok(_) => "none was made in time; `ambit audit checkpoint` makes one".to_owned(),
        }))
    }

    /// The hash of a record.
    ///
    /// # Errors
    /// When the database cannot be read or has no such record.
    pub fn hash(&self, seq: u64) -> Result<Hash, super::DatabaseError> {
        let hash =
            self.database.read().query_row("SELECT hash FROM audit WHERE seq = ?1", [number(seq)], |row| row.get(0))?;
        Ok(Hash(hash))
    }
}
