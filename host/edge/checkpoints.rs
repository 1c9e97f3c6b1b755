//! Makes checkpoints of the audit log, in the transactions that write it, and keeps the key that signs them.
//!
//! One is made when enough records have come since the last, or enough time has passed. What this process wrote, or has
//! checked, is signed as it was then; records are read, from the last checkpoint's tree on, where not all of them were
//! seen, or where the operator asks. A key that cannot be had holds up nothing: the log goes on, and the next attempt is
//! made when as much time has passed again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ring::rand::{SecureRandom as _, SystemRandom};
use rusqlite::{Connection, OptionalExtension as _};
use zeroize::Zeroizing;

use super::database::{DatabaseError, Rows, whole};
use super::ledger::{append, by_operator, each, number, tail};
use super::sealing::{KeyError, SealError, Sealed, Sealing};
use crate::audit::checkpoint::Checkpoint;
use crate::audit::note::{KeyName, NoteError, SigningKey, VerifierKey};
use crate::audit::tail::Tail;
use crate::audit::tree::Frontier;
use crate::audit::{Flaw, Hash, Verifier};
use crate::settings::audit::AuditSetting;

/// Records that one checkpoint speaks of beyond the one before it, at most.
const STEP: u64 = 20_000;

/// Why there is no checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The key cannot be had.
    #[error("the key that signs checkpoints cannot be had: {0}")]
    Key(#[from] SealError),
    /// What is stored as a key is none.
    #[error("the stored key that signs checkpoints is damaged")]
    Damaged,
    /// The log does not hold, so nothing is signed.
    #[error("no checkpoint is signed of a log that does not hold: {0}")]
    Flaw(#[from] Flaw),
    /// There is nothing to make one of, or no such record.
    #[error("the log has {records} records")]
    Short {
        /// How many there are.
        records: u64,
    },
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<rusqlite::Error> for CheckpointError {
    fn from(error: rusqlite::Error) -> Self {
        DatabaseError::from(error).into()
    }
}

/// What makes checkpoints of one home's log.
#[derive(Clone)]
pub struct Checkpoints(Arc<Maker>);

struct Maker {
    sealing: Arc<Sealing>,
    setting: AuditSetting,
    known: Mutex<Known>,
}

/// What is remembered between records.
#[derive(Default)]
struct Known {
    /// The last record of the last checkpoint: its number, and when it was. Before there is one, the first record's time.
    last: Option<(u64, u64)>,
    /// When none could be made.
    failed: Option<u64>,
    /// The key, once it was opened.
    key: Option<Arc<SigningKey>>,
}

/// A checkpoint as it is stored.
pub(super) struct Stored {
    pub(super) size: u64,
    pub(super) frontier: Vec<u8>,
    pub(super) note: String,
}

impl Stored {
    /// The checkpoint and its tree, if the parts of the row belong together and the key signed it.
    pub(super) fn open(&self, key: &VerifierKey) -> Result<(Checkpoint, Frontier), Flaw> {
        let size = self.size;
        let flaw = |reason: NoteError| Flaw::Unbelieved { size, reason };
        let checkpoint: Checkpoint = self.note.parse().map_err(flaw)?;
        checkpoint.verify(key).map_err(flaw)?;
        let tree = Frontier::from_bytes(size, &self.frontier);
        let tree = tree.ok_or(Flaw::Stored { size, what: "its tree is that of another size" })?;
        match () {
            () if checkpoint.size != size => Err(Flaw::Stored { size, what: "it speaks of another number of records" }),
            () if tree.root() != checkpoint.root => Err(Flaw::Stored { size, what: "its tree has another root" }),
            () => Ok((checkpoint, tree)),
        }
    }

    /// The name of the log that it says it is of.
    pub(super) fn origin(&self) -> Option<KeyName> {
        self.note.lines().next()?.parse().ok()
    }
}

/// The first stored checkpoint of more than `after` records, or the last one at all.
pub(super) fn stored(rows: &Connection, after: Option<u64>) -> Result<Option<Stored>, DatabaseError> {
    let read = |row: &rusqlite::Row<'_>| {
        // What is no text any more is no note either, and not the database's failure.
        let note = String::from_utf8_lossy(row.get_ref(2)?.as_bytes()?).into_owned();
        Ok(Stored { size: row.get::<_, i64>(0)?.cast_unsigned(), frontier: row.get(1)?, note })
    };
    let found = match after {
        Some(after) => rows
            .prepare_cached("SELECT size, frontier, note FROM checkpoint WHERE size > ?1 ORDER BY size LIMIT 1")?
            .query_row([number(after)], read),
        None => rows
            .prepare_cached("SELECT size, frontier, note FROM checkpoint ORDER BY size DESC LIMIT 1")?
            .query_row([], read),
    };
    Ok(found.optional()?)
}

/// The size of a stored checkpoint that cannot be one of any log, if there is such a row.
pub(super) fn of_nothing(rows: &Connection) -> Result<Option<u64>, DatabaseError> {
    let mut select = rows.prepare_cached("SELECT size FROM checkpoint WHERE size <= 0 LIMIT 1")?;
    Ok(select.query_row([], |row| row.get::<_, i64>(0)).optional()?.map(i64::cast_unsigned))
}

/// The public key of a log's name, or of the one that came first.
pub(super) fn public(rows: &Connection, origin: Option<&KeyName>) -> Result<Option<VerifierKey>, CheckpointError> {
    let select =
        "SELECT origin, public FROM checkpoint_key WHERE ?1 IS NULL OR origin = ?1 ORDER BY made, origin LIMIT 1";
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?));
    let found = rows.prepare_cached(select)?.query_row([origin.map(KeyName::as_str)], read).optional()?;
    let Some((origin, public)) = found else { return Ok(None) };
    let (Ok(origin), Ok(public)) = (origin.parse(), public.try_into()) else { return Err(CheckpointError::Damaged) };
    Ok(Some(VerifierKey::new(origin, public)))
}

fn last_record(rows: &Connection) -> Result<u64, DatabaseError> {
    let last: Option<i64> = rows.prepare_cached("SELECT max(seq) FROM audit")?.query_row([], |row| row.get(0))?;
    Ok(last.unwrap_or_default().cast_unsigned())
}

/// The tree over all records, where this process has written or checked them all; else over those that the newest checkpoint
/// speaks of, by that name and with that tree, and up to [`STEP`] more, which are checked.
fn tree(rows: &Rows<'_>, newest: Option<(KeyName, Frontier)>) -> Result<Frontier, CheckpointError> {
    let tail = tail(rows)?;
    // A log that is shorter than what a checkpoint speaks of is not begun anew.
    let is_new = |tree: &&Frontier| newest.as_ref().is_none_or(|(_, before)| tree.size() > before.size());
    if let Some(tree) = tail.tree().filter(is_new).cloned() {
        rows.now_known(tail);
        return Ok(tree);
    }
    let mut verifier = match newest {
        None => Verifier::default(),
        Some((origin, tree)) => {
            let (select, expected) = ("SELECT hash FROM audit WHERE seq = ?1", tree.size());
            let hash = rows.prepare_cached(select)?.query_row([number(expected)], |row| row.get(0)).optional()?;
            let cut = || Flaw::Shorter { last: 0, origin, expected };
            Verifier::after(tree, Hash(hash.ok_or_else(cut)?))
        }
    };
    let from = verifier.head().seq;
    each(rows, from, from.saturating_add(STEP), |record| verifier.check(&record).map(drop))??;
    let tree = verifier.tree().clone();
    let is_all = verifier.head() == tail.head();
    rows.now_known(if is_all { Tail::checked(tail.head().hash, tree.clone()) } else { tail });
    Ok(tree)
}

fn purpose(origin: &KeyName) -> String {
    format!("checkpoint-key/{origin}")
}

fn random<const BYTES: usize>() -> Result<Zeroizing<[u8; BYTES]>, SealError> {
    let mut bytes = Zeroizing::new([0; BYTES]);
    let none = |_| SealError::Key(KeyError("the operating system gave no random numbers".to_owned()));
    SystemRandom::new().fill(&mut *bytes).map_err(none)?;
    Ok(bytes)
}

impl Checkpoints {
    /// As the configuration has them, with a key that is sealed.
    pub fn new(sealing: Arc<Sealing>, setting: AuditSetting) -> Self {
        Self(Arc::new(Maker { sealing, setting, known: Mutex::default() }))
    }

    /// The log's name, if the configuration gives it one.
    pub(super) fn origin(&self) -> Option<&KeyName> {
        self.0.setting.origin.as_ref()
    }

    /// After how many records one is made.
    pub(super) fn records(&self) -> u64 {
        self.0.setting.records.get()
    }

    /// After how many milliseconds one is made, if there are fewer.
    pub(super) fn milliseconds(&self) -> u64 {
        u64::try_from(self.0.setting.time.duration().as_millis()).unwrap_or(u64::MAX)
    }

    /// Makes one if it is time, after a record was appended in this transaction. That there is none holds up nothing.
    pub(super) fn after(&self, rows: &Rows<'_>, seq: u64, at: u64) {
        let made = match self.is_time(rows, seq, at) {
            Ok(false) => return,
            Ok(true) => whole(rows, |rows| self.make(rows).map(drop)),
            Err(error) => Err(error.into()),
        };
        if made.is_err() {
            self.known().failed = Some(at);
        }
    }

    fn is_time(&self, rows: &Connection, seq: u64, at: u64) -> Result<bool, DatabaseError> {
        let setting = &self.0.setting;
        let most = self.milliseconds();
        let due =
            |(last, then): (u64, u64)| seq.saturating_sub(last) >= setting.records.get() || at.abs_diff(then) >= most;
        let mut known = self.known();
        if known.failed.is_some_and(|failed| at.abs_diff(failed) < most) {
            return Ok(false);
        }
        if let Some(last) = known.last
            && !due(last)
        {
            return Ok(false);
        }
        // Another process may have made one meanwhile.
        let select = "SELECT coalesce((SELECT max(size) FROM checkpoint), 0)";
        let size: i64 = rows.prepare_cached(select)?.query_row([], |row| row.get(0))?;
        let select = "SELECT at FROM audit WHERE seq = max(?1, 1)";
        let then: Option<i64> = rows.prepare_cached(select)?.query_row([size], |row| row.get(0)).optional()?;
        let last = (size.cast_unsigned(), then.map_or(at, i64::cast_unsigned));
        known.last = Some(last);
        Ok(due(last))
    }

    /// Makes one, in a transaction that writes, if there are records that no other speaks of: of no more than [`STEP`] more
    /// than the newest, so that others are not kept waiting. Gives the newest, and whether it speaks of all records. The
    /// records are read, whoever wrote them.
    ///
    /// # Errors
    /// When there are no records, the key cannot be had, or what is there does not hold.
    pub(super) fn make_of_what_is_there(&self, rows: &Rows<'_>) -> Result<(Checkpoint, bool), CheckpointError> {
        drop(rows.take_known());
        self.make(rows)
    }

    /// As [`Self::make_of_what_is_there`], but that what this process wrote or read since it began is not read again: it is
    /// signed as it was.
    fn make(&self, rows: &Rows<'_>) -> Result<(Checkpoint, bool), CheckpointError> {
        if last_record(rows)? == 0 {
            return Err(CheckpointError::Short { records: 0 });
        }
        // Making it is recorded, so that comes first.
        let key = self.key(rows)?;
        let newest = stored(rows, None)?;
        let from = match &newest {
            None => None,
            Some(newest) => {
                let origin = newest.origin();
                let signer = public(rows, origin.as_ref())?.ok_or(CheckpointError::Damaged)?;
                let (checkpoint, tree) = newest.open(&signer)?;
                if newest.size == last_record(rows)? {
                    if signer == *key.verifier() {
                        return Ok((checkpoint, true));
                    }
                    // From here on another key signs, and that is a record that the next one speaks of.
                    append(rows, &by_operator("audit.key", &format!("Key::\"{}\"", key.verifier()), "ambit"))?;
                }
                Some((checkpoint.origin, tree))
            }
        };
        let tree = tree(rows, from)?;
        let size = tree.size();
        let made = Checkpoint::sign(&key, &tree);
        rows.prepare_cached("INSERT INTO checkpoint (size, frontier, note) VALUES (?1, ?2, ?3)")?.execute((
            number(size),
            tree.to_bytes(),
            made.to_string(),
        ))?;
        // What is written here may not come about: the next record looks again.
        let mut known = self.known();
        (known.last, known.failed) = (None, None);
        Ok((made, size == last_record(rows)?))
    }

    /// The key that signs; made, and recorded, if there is none.
    pub(super) fn key(&self, rows: &Rows<'_>) -> Result<Arc<SigningKey>, CheckpointError> {
        if let Some(key) = self.opened(rows)? {
            return Ok(key);
        }
        let origin = if let Some(origin) = self.origin() {
            origin.clone()
        } else {
            let name = u64::from_be_bytes(*random()?);
            format!("ambit.local/{name:016x}").parse().map_err(|_| CheckpointError::Damaged)?
        };
        let seed = random::<32>()?;
        let sealed = self.0.sealing.seal(rows, &purpose(&origin), &*seed)?;
        let key = SigningKey::of(origin.clone(), &seed).ok_or(CheckpointError::Damaged)?;
        let made = i64::try_from(crate::config::wall_clock().as_millis()).unwrap_or(i64::MAX);
        let insert = "INSERT INTO checkpoint_key (origin, public, data_key, sealed, made) VALUES (?1, ?2, ?3, ?4, ?5)";
        rows.execute(insert, (origin.as_str(), key.verifier().public(), sealed.data_key, sealed.bytes, made))?;
        append(rows, &by_operator("audit.key", &format!("Key::\"{}\"", key.verifier()), "ambit"))?;
        // It is not remembered: the transaction may fail.
        Ok(Arc::new(key))
    }

    /// The key that signs, if there is one.
    pub(super) fn opened(&self, rows: &Connection) -> Result<Option<Arc<SigningKey>>, CheckpointError> {
        let Some(public) = public(rows, self.origin())? else { return Ok(None) };
        if let Some(key) = self.known().key.as_ref().filter(|key| *key.verifier() == public) {
            return Ok(Some(Arc::clone(key)));
        }
        let origin = public.name().clone();
        let select = "SELECT data_key, sealed FROM checkpoint_key WHERE origin = ?1";
        let sealed =
            rows.query_row(select, [origin.as_str()], |row| Ok(Sealed { data_key: row.get(0)?, bytes: row.get(1)? }))?;
        let seed = self.0.sealing.open(rows, &purpose(&origin), &sealed)?;
        let seed: [u8; 32] = seed.as_slice().try_into().map_err(|_| CheckpointError::Damaged)?;
        let key = SigningKey::of(origin, &seed).ok_or(CheckpointError::Damaged)?;
        if *key.verifier() != public {
            return Err(CheckpointError::Damaged);
        }
        let key = Arc::new(key);
        self.known().key = Some(Arc::clone(&key));
        Ok(Some(key))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
