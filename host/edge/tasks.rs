//! The list of tasks in the database: what ran, of what, how it ended and what it consumed.

use std::sync::Arc;

use rusqlite::{OptionalExtension as _, Row};
use serde::Serialize;

use super::approvals::withdraw_all;
use super::database::{Answer, Database, DatabaseError};
use super::journal;
use super::ledger::{AuditLog, number};
use crate::audit::AuditError;
use crate::task::{Seed, Seeds, Status};

/// The tasks of one home.
#[derive(Clone)]
pub struct TaskList(Arc<Database>);

/// A task as it is listed.
#[derive(Clone, Debug, Serialize)]
pub struct Listed {
    /// Its name.
    pub task: String,
    /// The bundle's name.
    pub bundle: String,
    /// The bundle's version.
    pub version: String,
    /// The bundle's digest.
    pub digest: String,
    /// How it ended.
    pub status: String,
    /// Milliseconds since the Unix epoch.
    pub started: u64,
    /// Milliseconds since the Unix epoch, once its end was recorded.
    pub ended: Option<u64>,
    /// The digest of its input.
    pub input: String,
    /// What it consumed, once its end was recorded.
    pub usage: Option<serde_json::Value>,
    /// Why it did not succeed.
    pub error: Option<serde_json::Value>,
    /// Its first and last audit records.
    pub audit: Option<(u64, u64)>,
}

/// What is known of a task when it starts.
#[derive(Debug)]
pub struct Started {
    /// Its name.
    pub task: Arc<str>,
    /// The bundle's name.
    pub bundle: Arc<str>,
    /// The bundle's version.
    pub version: Arc<str>,
    /// The bundle's digest.
    pub digest: Arc<str>,
    /// The digest of its input.
    pub input: String,
    /// What its randomness grows from.
    pub seeds: Seeds,
    /// The key under which its arguments are digested.
    pub key: [u8; 32],
    /// How the operator started it, for its journal.
    pub recipe: serde_json::Value,
}

/// What is known of a task when it has ended.
#[derive(Debug)]
pub struct Ended {
    /// Its name.
    pub task: Arc<str>,
    /// How it ended.
    pub status: Status,
    /// What it consumed, as JSON.
    pub usage: serde_json::Value,
    /// Why it did not succeed, as JSON.
    pub error: Option<serde_json::Value>,
    /// What it came to, as JSON, for its journal.
    pub told: serde_json::Value,
    /// Whether it ever asked people for something.
    pub asked: bool,
}

/// Why it is not noted how a task ended.
#[derive(Debug, thiserror::Error)]
pub enum EndError {
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// Its end is not in the log.
    #[error(transparent)]
    Audit(#[from] AuditError),
}

impl From<rusqlite::Error> for EndError {
    fn from(error: rusqlite::Error) -> Self {
        DatabaseError::from(error).into()
    }
}

const COLUMNS: &str =
    "id, bundle, version, digest, status, started, ended, input, usage, error, audit_first, audit_last";

impl TaskList {
    /// The list that a database holds.
    pub fn new(database: Arc<Database>) -> Self {
        Self(database)
    }

    /// Lists a task that starts: now, whether what this gives is awaited or not.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn start(&self, task: Started) -> Answer<(), DatabaseError> {
        self.0.write(move |transaction| {
            let insert = "INSERT INTO task (id, bundle, version, digest, status, started, input, seed, entropy)
                          VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
            transaction.prepare_cached(insert)?.execute((
                &task.task,
                &task.bundle,
                &task.version,
                &task.digest,
                Status::Unknown.as_str(),
                now(),
                &task.input,
                task.seeds.fixed.bytes(),
                task.seeds.granted.bytes(),
            ))?;
            let insert = "INSERT INTO task_key (task, key) VALUES (?1, ?2)";
            transaction.prepare_cached(insert)?.execute((&task.task, task.key))?;
            journal::begin(transaction, &task.task, &task.recipe)
        })
    }

    /// What a task's randomness grows from, and the key under which its arguments are digested; none when that was deleted.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn grown_from(&self, task: &str) -> Result<Option<(Seeds, [u8; 32])>, DatabaseError> {
        let connection = self.0.read();
        let mut select = connection.prepare_cached(
            "SELECT seed, entropy, key FROM task JOIN task_key ON task_key.task = task.id WHERE id = ?1",
        )?;
        let found = select.query_row([task], |row| {
            let seed = |index| row.get::<_, [u8; 32]>(index).map(Seed::from);
            Ok((Seeds { fixed: seed(0)?, granted: seed(1)? }, row.get(2)?))
        });
        Ok(found.optional()?)
    }

    /// Notes how a task ended, behind the record of that, which has to be in `log`: it asks for nothing any more, its
    /// journal says what it came to, and it is listed with the first and the last of its records. Gives these.
    ///
    /// # Errors
    /// When the database or the log could not be written.
    pub fn end(&self, log: &AuditLog, task: Ended) -> Answer<(u64, u64), EndError> {
        log.within(move |rows| {
            if task.asked {
                withdraw_all(rows, &task.task)?;
            }
            journal::end(rows, &task.task, &task.told)?;
            let own = "SELECT min(seq), max(seq) FROM audit WHERE task = ?1";
            let audit: (i64, i64) =
                rows.prepare_cached(own)?.query_row([&task.task], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let update =
                "UPDATE task SET status = ?2, ended = ?3, usage = ?4, error = ?5, audit_first = ?6, audit_last = ?7
                          WHERE id = ?1";
            rows.prepare_cached(update)?.execute((
                &task.task,
                task.status.as_str(),
                now(),
                task.usage.to_string(),
                task.error.as_ref().map(ToString::to_string),
                audit.0,
                audit.1,
            ))?;
            Ok((audit.0.cast_unsigned(), audit.1.cast_unsigned()))
        })
    }

    /// The newest tasks, the newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn newest(&self, limit: u64) -> Result<Vec<Listed>, DatabaseError> {
        let connection = self.0.read();
        let mut select = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM task ORDER BY id DESC LIMIT ?1"))?;
        let rows = select.query_map([number(limit)], listed)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The task whose name starts so, if just one does.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn find(&self, name: &str) -> Result<Option<Listed>, DatabaseError> {
        let connection = self.0.read();
        let mut select = connection.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM task WHERE substr(id, 1, length(?1)) = ?1 AND
             (SELECT count(*) FROM task WHERE substr(id, 1, length(?1)) = ?1) = 1"
        ))?;
        Ok(select.query_row([name.to_ascii_uppercase()], listed).optional()?)
    }
}

fn listed(row: &Row<'_>) -> rusqlite::Result<Listed> {
    let json = |index| -> rusqlite::Result<Option<serde_json::Value>> {
        Ok(row.get::<_, Option<String>>(index)?.and_then(|text| serde_json::from_str(&text).ok()))
    };
    let unsigned =
        |index| -> rusqlite::Result<Option<u64>> { Ok(row.get::<_, Option<i64>>(index)?.map(i64::cast_unsigned)) };
    Ok(Listed {
        task: row.get(0)?,
        bundle: row.get(1)?,
        version: row.get(2)?,
        digest: row.get(3)?,
        status: row.get(4)?,
        started: unsigned(5)?.unwrap_or_default(),
        ended: unsigned(6)?,
        input: row.get(7)?,
        usage: json(8)?,
        error: json(9)?,
        audit: unsigned(10)?.zip(unsigned(11)?),
    })
}

fn now() -> i64 {
    i64::try_from(crate::config::wall_clock().as_millis()).unwrap_or(i64::MAX)
}
