//! The audit log in the database: appends with the chain's head read in the same transaction, and reads for the operator.

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{OptionalExtension as _, Row, Transaction};

use super::database::{Database, DatabaseError};
use crate::audit::{AuditError, Entry, Flaw, Hash, Head, Kind, Ledger, Record, Ticket, Verifier};

/// The log of one home.
#[derive(Clone)]
pub struct AuditLog {
    database: Arc<Database>,
    broken: Broken,
}

impl AuditLog {
    /// The log that a database holds.
    pub fn new(database: Arc<Database>) -> Self {
        Self { database, broken: Broken::default() }
    }

    /// Up to `limit` records after `after`, of one task and its calls or of all, in order.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn records(
        &self,
        task: Option<&str>,
        after: u64,
        limit: u64,
    ) -> Result<Vec<Result<Record, Flaw>>, DatabaseError> {
        let connection = self.database.read();
        let mut statement = connection.prepare_cached(
            "SELECT seq, kind, at, task, component, effect, import, action, resource, arguments, code, rules, detail, text, hash
             FROM audit WHERE seq > ?1 AND (?2 IS NULL OR task = ?2 OR task LIKE ?2 || '/%') ORDER BY seq LIMIT ?3",
        )?;
        let rows = statement.query_map((number(after), task, number(limit)), |row| Ok(record(row)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Checks the whole chain.
    ///
    /// # Errors
    /// When the database cannot be read. What is wrong with the log is the inner error.
    pub fn verify(&self) -> Result<Result<Head, Flaw>, DatabaseError> {
        // Asked first: what ends while the chain is read only makes it longer.
        let newest = "SELECT id, audit_last FROM task WHERE audit_last NOT NULL ORDER BY audit_last DESC LIMIT 1";
        let newest = self
            .database
            .read()
            .query_row(newest, [], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?.cast_unsigned())))
            .optional()?;
        let mut verifier = Verifier::default();
        loop {
            let page = self.records(None, verifier.head().seq, 10_000)?;
            if page.is_empty() {
                break;
            }
            for record in page {
                if let Err(flaw) = record.and_then(|record| verifier.check(&record)) {
                    return Ok(Err(flaw));
                }
            }
        }
        let head = verifier.head();
        Ok(match newest {
            Some((task, expected)) if expected > head.seq => Err(Flaw::Truncated { last: head.seq, task, expected }),
            _ => Ok(head),
        })
    }

    /// The hash of a record.
    ///
    /// # Errors
    /// When the database cannot be read or has no such record.
    pub fn hash(&self, seq: u64) -> Result<Hash, DatabaseError> {
        let hash =
            self.database.read().query_row("SELECT hash FROM audit WHERE seq = ?1", [number(seq)], |row| row.get(0))?;
        Ok(Hash(hash))
    }
}

impl Ledger for AuditLog {
    fn health(&self) -> Result<(), AuditError> {
        self.broken.get().map_or(Ok(()), Err)
    }

    fn append(&self, entry: Entry) -> Result<Ticket, AuditError> {
        self.health()?;
        let (before, after) = (self.broken.clone(), self.broken.clone());
        // The writer does one piece of work after another: what comes after a record that was not written is not written.
        let write = move |transaction: &Transaction<'_>| match before.get() {
            Some(error) => Err(error),
            None => append(transaction, &entry).map_err(|error| before.set(&error)),
        };
        let written = self.database.write_noting(write, move |error: &AuditError| drop(after.set(error)));
        Ok(Box::pin(written))
    }
}

impl From<DatabaseError> for AuditError {
    fn from(error: DatabaseError) -> Self {
        Self(error.to_string())
    }
}

/// Why the log is broken, once it is. Nothing is appended any more.
#[derive(Clone, Default)]
struct Broken(Arc<Mutex<Option<AuditError>>>);

impl Broken {
    fn get(&self) -> Option<AuditError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes the first reason, and gives it.
    fn set(&self, error: &impl ToString) -> AuditError {
        let mut reason = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reason.get_or_insert_with(|| AuditError(error.to_string())).clone()
    }
}

/// The record of what the operator did.
pub(crate) fn by_operator(action: &str, resource: &str, by: &str) -> Entry {
    Entry {
        kind: Kind::Operator,
        at: u64::try_from(crate::config::wall_clock().as_millis()).unwrap_or(u64::MAX),
        task: String::new(),
        component: String::new(),
        effect: 0,
        import: 0,
        action: action.to_owned(),
        resource: resource.to_owned(),
        arguments: String::new(),
        code: "done".to_owned(),
        rules: Vec::new(),
        detail: crate::gate::detail("by", by),
        text: String::new(),
    }
}

/// Appends a record to the chain, inside a transaction, and gives its number.
pub(crate) fn append(transaction: &Transaction<'_>, entry: &Entry) -> Result<u64, DatabaseError> {
    let head = transaction
        .prepare_cached("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")?
        .query_row([], |row| Ok(Head { seq: row.get::<_, i64>(0)?.cast_unsigned(), hash: Hash(row.get(1)?) }))
        .optional()?
        .unwrap_or(Head::EMPTY);
    let next = head.after(entry);
    let rules = serde_json::Value::from(entry.rules.clone()).to_string();
    transaction
        .prepare_cached("INSERT INTO audit VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)")?
        .execute((
            number(next.seq),
            entry.kind.as_str(),
            number(entry.at),
            &entry.task,
            &entry.component,
            number(entry.effect),
            number(entry.import),
            &entry.action,
            &entry.resource,
            &entry.arguments,
            &entry.code,
            rules,
            &entry.detail,
            &entry.text,
            next.hash.0,
        ))?;
    Ok(next.seq)
}

/// A stored record, or why it is none.
fn record(row: &Row<'_>) -> Result<Record, Flaw> {
    let seq = row.get::<_, i64>(0).unwrap_or_default().cast_unsigned();
    let read = || -> Result<Record, Box<dyn std::error::Error>> {
        let kind: String = row.get(1)?;
        let kind = Kind::ALL.into_iter().find(|known| known.as_str() == kind).ok_or("an unknown kind of record")?;
        let entry = Entry {
            kind,
            at: row.get::<_, i64>(2)?.cast_unsigned(),
            task: row.get(3)?,
            component: row.get(4)?,
            effect: row.get::<_, i64>(5)?.cast_unsigned(),
            import: row.get::<_, i64>(6)?.cast_unsigned(),
            action: row.get(7)?,
            resource: row.get(8)?,
            arguments: row.get(9)?,
            code: row.get(10)?,
            rules: serde_json::from_str(&row.get::<_, String>(11)?)?,
            detail: row.get(12)?,
            text: row.get(13)?,
        };
        Ok(Record { seq, entry, hash: Hash(row.get(14)?) })
    };
    read().map_err(|error| Flaw::Unreadable { seq, reason: error.to_string() })
}

/// SQLite's integers are signed; the bits are kept.
pub(crate) fn number(value: u64) -> i64 {
    value.cast_signed()
}
