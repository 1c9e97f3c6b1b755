//! The journal in the database: how tasks were started, and what they were answered, so that they can go on or be told
//! again. It holds payloads, and may be deleted.
//!
//! What is kept stands in the same queue as the records of the log, so that an intent which is on the disk tells that
//! everything is there that was answered before it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::{Connection, OptionalExtension as _};
use sha2::{Digest as _, Sha256};

use super::database::{Database, DatabaseError, Put, Rows, put};
use super::ledger::AuditLog;
use super::sealing::{SealError, Sealed, Sealing};
use crate::recorder::{Batch, Keeper, Place, Row};

/// Longer answers are kept apart, each once.
const LONG: usize = 1024;

const ANSWER: Put = put!("answer VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)");

/// Why nothing more is kept of a task.
const UNWRITTEN: &str = "the journal could not be written";

/// The journals of a home's tasks.
#[derive(Clone)]
pub struct Journal {
    database: Arc<Database>,
    log: AuditLog,
    sealing: Arc<Sealing>,
}

/// The journal of one task.
#[derive(Clone, Debug)]
pub struct Told {
    /// How the operator started it.
    pub recipe: serde_json::Value,
    /// Why it cannot be told again, if it cannot.
    pub closed: Option<String>,
    /// What it changed for good, so that it must not be run again.
    pub lasting: Option<String>,
    /// What it came to, once it has ended.
    pub ended: Option<serde_json::Value>,
    /// What it was answered.
    pub rows: Vec<Row>,
}

impl Journal {
    /// The journals that a database holds, in one queue with its log.
    pub fn new(database: Arc<Database>, log: AuditLog, sealing: Arc<Sealing>) -> Self {
        Self { database, log, sealing }
    }

    /// Where the answers of a task are kept.
    pub fn keeper(&self, task: &str) -> Arc<dyn Keeper> {
        let (log, sealing) = (self.log.clone(), Arc::clone(&self.sealing));
        Arc::new(Pages { log, sealing, task: task.into(), failed: Arc::default() })
    }

    /// The journal of a task, if it has one.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn of(&self, task: &str) -> Result<Option<Told>, DatabaseError> {
        let connection = self.database.read();
        let json = |text: String| serde_json::from_str(&text).unwrap_or_default();
        let mut select =
            connection.prepare_cached("SELECT recipe, closed, lasting, ended FROM journal WHERE task = ?1")?;
        let found = select.query_row([task], |row| {
            let (recipe, ended) = (json(row.get(0)?), row.get::<_, Option<String>>(3)?.map(json));
            Ok(Told { recipe, closed: row.get(1)?, lasting: row.get(2)?, ended, rows: Vec::new() })
        });
        let Some(told) = found.optional()? else { return Ok(None) };
        let mut select = connection.prepare_cached(
            "SELECT path, import, part, what, answer.digest, coalesce(answer, bytes), secret
             FROM answer LEFT JOIN blob ON blob.digest = answer.blob WHERE task = ?1 ORDER BY path, import, part",
        )?;
        let rows = select.query_map([task], |row| {
            let path = row.get::<_, String>(0)?.into();
            let place = Place { path, import: row.get::<_, i64>(1)?.cast_unsigned(), part: row.get(2)? };
            Ok(Row {
                place,
                what: row.get::<_, String>(3)?.into(),
                digest: row.get(4)?,
                answer: row.get(5)?,
                secret: row.get(6)?,
            })
        })?;
        let mut rows: Vec<Row> = rows.collect::<Result<_, _>>()?;
        for row in rows.iter_mut().filter(|row| row.secret) {
            row.answer = Some(self.opened(&connection, task, row)?);
        }
        Ok(Some(Told { rows, ..told }))
    }

    /// An answer that was sealed; nothing, which is no answer to anything, where it cannot be opened any more.
    fn opened(&self, rows: &Connection, task: &str, row: &Row) -> Result<Vec<u8>, DatabaseError> {
        let name = sealed_name(task, row);
        let mut select = rows.prepare_cached("SELECT data_key, sealed FROM sealed_answer WHERE name = ?1")?;
        let sealed = select.query_row([&name], |row| Ok(Sealed { data_key: row.get(0)?, bytes: row.get(1)? }));
        let Some(sealed) = sealed.optional()? else { return Ok(Vec::new()) };
        Ok(self.sealing.open(rows, &format!("answer/{name}"), &sealed).map(|plain| plain.to_vec()).unwrap_or_default())
    }

    /// A task is put away until an approval is answered.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn put_away(&self, task: &str, approval: &str) -> Result<(), DatabaseError> {
        let (task, approval) = (task.to_owned(), approval.to_owned());
        let put = self.database.write(move |rows| -> Result<(), DatabaseError> {
            rows.prepare_cached("UPDATE journal SET waits = ?2 WHERE task = ?1")?.execute((&task, approval))?;
            rows.prepare_cached("UPDATE task SET status = 'suspended' WHERE id = ?1")?.execute([&task])?;
            Ok(())
        });
        put.await
    }

    /// A task that was put away, or whose host broke down, is taken up again.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn take_up(&self, task: &str) -> Result<(), DatabaseError> {
        let task = task.to_owned();
        let taken = self.database.write(move |rows| -> Result<(), DatabaseError> {
            rows.prepare_cached("UPDATE journal SET waits = NULL WHERE task = ?1")?.execute([&task])?;
            rows.prepare_cached("UPDATE task SET status = 'unknown' WHERE id = ?1")?.execute([&task])?;
            Ok(())
        });
        taken.await
    }

    /// Deletes the journal of a task, with the key that links its arguments to their digests. Its records stay.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn forget(&self, task: &str) -> Result<(), DatabaseError> {
        let task = task.to_owned();
        let forgotten = self.database.write_scrubbing(move |rows| -> Result<(), DatabaseError> {
            drop_answers(rows, &task, None)?;
            for delete in ["judged", "journal", "task_key"] {
                rows.execute(&format!("DELETE FROM {delete} WHERE task = ?1"), [&task])?;
            }
            Ok(())
        });
        forgotten.await
    }

    /// The tasks that can go on: those whose hosts broke down, or which were put away and whose approval was answered or
    /// can be no more.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn ready(&self) -> Result<Vec<String>, DatabaseError> {
        let now = i64::try_from(crate::config::wall_clock().as_millis()).unwrap_or(i64::MAX);
        let connection = self.database.read();
        let mut select = connection.prepare_cached(
            "SELECT id FROM task WHERE status = 'unknown' AND EXISTS (SELECT 1 FROM journal WHERE task = id)
             UNION SELECT task.id FROM task JOIN journal ON journal.task = task.id
             LEFT JOIN approval ON approval.id = journal.waits
             WHERE status = 'suspended' AND (approval.id IS NULL OR approval.state <> 'open' OR approval.deadline <= ?1 OR approval.boot <> ?2)
             ORDER BY 1",
        )?;
        let tasks = select.query_map((now, crate::config::boot()), |row| row.get(0))?;
        Ok(tasks.collect::<Result<_, _>>()?)
    }

    /// A number that changes when anything in the database does.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn version(&self) -> Result<i64, DatabaseError> {
        Ok(self.database.read().query_row("PRAGMA data_version", [], |row| row.get(0))?)
    }
}

/// Keeps the answers of one task.
struct Pages {
    log: AuditLog,
    sealing: Arc<Sealing>,
    task: Arc<str>,
    failed: Arc<AtomicBool>,
}

impl Keeper for Pages {
    fn keep(&self, mut batch: Batch) {
        if self.failed.load(Ordering::Acquire) {
            batch = Batch { closed: Some(UNWRITTEN), ..Batch::default() };
        }
        let (task, failed, sealing) = (Arc::clone(&self.task), Arc::clone(&self.failed), Arc::clone(&self.sealing));
        self.log.beside(
            move |rows| write(rows, &sealing, &task, &batch),
            move |is_written| {
                if !is_written {
                    failed.store(true, Ordering::Release);
                }
            },
        );
    }
}

/// Begins the journal of a task with how it was started.
pub(super) fn begin(rows: &Rows<'_>, task: &str, recipe: &serde_json::Value) -> Result<(), DatabaseError> {
    let insert = "INSERT INTO journal (task, recipe) VALUES (?1, ?2)";
    Ok(rows.prepare_cached(insert)?.execute((task, recipe.to_string())).map(drop)?)
}

/// Keeps what a task came to.
pub(super) fn end(rows: &Rows<'_>, task: &str, told: &serde_json::Value) -> rusqlite::Result<()> {
    let update = "UPDATE journal SET ended = ?2, waits = NULL WHERE task = ?1";
    rows.prepare_cached(update)?.execute((task, told.to_string())).map(drop)
}

fn write(rows: &Rows<'_>, sealing: &Sealing, task: &str, batch: &Batch) -> Result<(), DatabaseError> {
    let mut closed = batch.closed;
    for row in &batch.rows {
        insert(rows, task, row)?;
        if row.secret && seal(rows, sealing, task, row).is_err() {
            closed = closed.or(Some("a secret that it was shown could not be sealed"));
        }
    }
    batch.over.iter().try_for_each(|path| drop_answers(rows, task, Some(path)))?;
    if let Some(what) = batch.lasting {
        rows.prepare_cached("UPDATE journal SET lasting = ?2 WHERE task = ?1")?.execute((task, what))?;
    }
    if let Some(why) = closed {
        let update = "UPDATE journal SET closed = ?2 WHERE task = ?1 AND closed IS NULL";
        rows.prepare_cached(update)?.execute((task, why))?;
    }
    Ok(())
}

/// Keeps one answer, in place of what was kept there.
pub(super) fn insert(rows: &Rows<'_>, task: &str, row: &Row) -> Result<(), DatabaseError> {
    let Row { place, what, digest, answer, secret } = row;
    let plain = answer.as_deref().filter(|_| !secret);
    let (mut short, mut blob) = (plain, None);
    if let Some(long) = plain.filter(|answer| answer.len() > LONG) {
        let name: [u8; 32] = Sha256::digest(long).into();
        rows.prepare_cached("INSERT OR IGNORE INTO blob (digest, bytes) VALUES (?1, ?2)")?.execute((name, long))?;
        (short, blob) = (None, Some(name));
    }
    let import = place.import.cast_signed();
    let row = (task, &*place.path, import, place.part, &**what, digest, short, blob, secret);
    Ok(rows.put(ANSWER, row)?)
}

fn seal(rows: &Rows<'_>, sealing: &Sealing, task: &str, row: &Row) -> Result<(), SealError> {
    let (name, plain) = (sealed_name(task, row), row.answer.as_deref().unwrap_or_default());
    let Sealed { data_key, bytes } = sealing.seal(rows, &format!("answer/{name}"), plain)?;
    rows.prepare_cached("INSERT OR REPLACE INTO sealed_answer VALUES (?1, ?2, ?3)")?
        .execute((name, data_key, bytes))?;
    Ok(())
}

/// What a sealed answer is called: as its place.
fn sealed_name(task: &str, Row { place, .. }: &Row) -> String {
    format!("{task} {} {} {}", place.path, place.import, place.part)
}

/// Deletes the answers of a task, or those below a path, with what was kept for them alone.
fn drop_answers(rows: &Rows<'_>, task: &str, path: Option<&str>) -> Result<(), DatabaseError> {
    const BELOW: &str =
        "task = ?1 AND (?2 IS NULL OR path = ?2 OR substr(path, 1, length(?2) + 1) IN (?2 || '/', ?2 || '!'))";
    let blobs: BTreeSet<[u8; 32]> = rows
        .prepare_cached(&format!("SELECT blob FROM answer WHERE {BELOW} AND blob IS NOT NULL"))?
        .query_map((task, path), |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let sealed = "SELECT task || ' ' || path || ' ' || import || ' ' || part FROM answer";
    rows.prepare_cached(&format!("DELETE FROM sealed_answer WHERE name IN ({sealed} WHERE {BELOW} AND secret)"))?
        .execute((task, path))?;
    rows.prepare_cached(&format!("DELETE FROM answer WHERE {BELOW}"))?.execute((task, path))?;
    let mut delete = rows
        .prepare_cached("DELETE FROM blob WHERE digest = ?1 AND NOT EXISTS (SELECT 1 FROM answer WHERE blob = ?1)")?;
    blobs.iter().try_for_each(|blob| delete.execute([blob]).map(drop).map_err(DatabaseError::from))
}
