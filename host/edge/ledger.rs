//! The audit log in the database: appends with the chain's head read in the same transaction, and reads for the operator.

mod proof;
mod standing;
mod verdict;

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, Row};

pub use self::verdict::Verdict;

use self::standing::{Standing, Turn};
use super::checkpoints::Checkpoints;
use super::database::{Answer, Database, DatabaseError, Known, Rows, whole};
use crate::audit::tail::Tail;
use crate::audit::{AuditError, Entry, Flaw, Hash, Head, Kind, Ledger, Lost, Record, Ticket};

/// Records that are read at once.
const PAGE: u64 = 1_000;

/// The log of one home.
#[derive(Clone)]
pub struct AuditLog {
    database: Arc<Database>,
    standing: Standing,
    checkpoints: Option<Checkpoints>,
}

/// Where the records of a task are; zeros when it has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
    /// The number of the last effect that was asked for.
    pub effects: u64,
}

impl AuditLog {
    /// The log that a database holds, without checkpoints.
    pub fn new(database: Arc<Database>) -> Self {
        Self { database, standing: Standing::default(), checkpoints: None }
    }

    /// With checkpoints that are made as it grows.
    #[must_use]
    pub fn signed(self, checkpoints: Checkpoints) -> Self {
        Self { checkpoints: Some(checkpoints), ..self }
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
        page(&self.database.read(), task, after, limit)
    }
}

impl AuditLog {
    /// Where the records of a task are, and of its calls.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn span(&self, task: &str) -> Result<Span, DatabaseError> {
        let connection = self.database.read();
        let mut select = connection.prepare_cached(
            "SELECT min(seq), max(seq), max(effect) FROM audit WHERE task = ?1 OR (task > ?1 || '/' AND task < ?1 || '0')",
        )?;
        let span = select.query_row([task], |row| {
            let number =
                |index| row.get::<_, Option<i64>>(index).map(|number| number.unwrap_or_default().cast_unsigned());
            Ok(Span { first: number(0)?, last: number(1)?, effects: number(2)? })
        });
        Ok(span?)
    }

    /// The last intent of a crossing of a store's border that has no outcome, or that of an effect which was abandoned.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn unsettled(&self, task: &str, import: u64) -> Result<Option<Record>, DatabaseError> {
        let connection = self.database.read();
        let mut select = connection.prepare_cached(
            "SELECT seq, kind, at, task, component, effect, import, action, resource, arguments, code, rules, detail, text, hash
             FROM audit AS intent WHERE task = ?1 AND import = ?2 AND kind = 'intent' AND NOT EXISTS
             (SELECT 1 FROM audit WHERE task = ?1 AND effect = intent.effect AND kind = 'outcome' AND code <> 'abandoned')
             ORDER BY seq DESC LIMIT 1",
        )?;
        let found = select.query_row((task, number(import)), |row| Ok(record(row))).optional()?;
        Ok(found.and_then(Result::ok))
    }

    /// Writes something whose own transaction has its record, unless a record that was queued before it could not be
    /// written.
    pub(super) fn within<T: Send + 'static, E: From<DatabaseError> + From<AuditError> + Send + 'static>(
        &self,
        work: impl FnOnce(&Rows<'_>) -> Result<T, E> + Send + 'static,
    ) -> Answer<T, E> {
        let turn = self.standing.turn(0);
        self.database.write(move |rows| {
            turn.admitted()?;
            work(rows)
        })
    }

    /// Writes something that stands with the records: if it fails, what was queued behind it fails with it.
    pub(super) fn beside(
        &self,
        work: impl FnOnce(&Rows<'_>) -> Result<(), DatabaseError> + Send + 'static,
        note: impl FnOnce(bool) + Send + 'static,
    ) {
        let write = move |turn: &mut Turn, rows: &Rows<'_>| whole(rows, |rows| turn.write(rows, work));
        self.database.note(self.standing.turn(1), write, move |turn, result| {
            // Whoever finds the log whole again finds what was noted.
            note(result.is_ok());
            turn.settle(&result);
        });
    }
}

impl Ledger for AuditLog {
    fn mend(&self) -> Option<Ticket> {
        if self.standing.is_whole() {
            return None;
        }
        let write = |turn: &mut Turn, rows: &Rows<'_>| whole(rows, |rows| turn.write(rows, |_| Ok(Head::EMPTY)));
        Some(self.database.write_one(self.standing.turn(0), write, Turn::settle))
    }

    fn append(&self, entry: Entry) -> Result<Ticket, AuditError> {
        let (own, work) = self.appending(entry);
        Ok(self.database.write_one(own, work, |(turn, _), result| turn.settle(result)))
    }

    fn put(&self, entry: Entry) {
        let (own, work) = self.appending(entry);
        self.database.note(own, work, |(turn, _), result| turn.settle(&result));
    }

    fn note(&self, entry: Entry, lost: &Lost) {
        let lost = lost.clone();
        let (own, work) = self.appending(entry);
        self.database.note(own, work, move |(turn, entry), result| {
            // Whoever finds the log whole again finds what was noted.
            if result.is_err() {
                lost.put(entry);
            }
            turn.settle(&result);
        });
    }
}

impl AuditLog {
    /// What appends a record, and what has to be told what came of it, with the record.
    fn appending(
        &self,
        entry: Entry,
    ) -> (Appended, impl FnOnce(&mut Appended, &Rows<'_>) -> Result<Head, AuditError> + use<>) {
        let checkpoints = self.checkpoints.clone();
        let append = move |(turn, entry): &mut Appended, rows: &Rows<'_>| {
            turn.write(rows, |rows| {
                let head = append(rows, entry)?;
                if let Some(checkpoints) = checkpoints {
                    checkpoints.after(rows, head.seq, entry.at);
                }
                Ok(head)
            })
        };
        ((self.standing.turn(1), entry), append)
    }
}

/// A record that is appended.
type Appended = (Turn, Entry);

impl From<DatabaseError> for AuditError {
    fn from(error: DatabaseError) -> Self {
        Self(error.to_string())
    }
}

/// The record of what the operator did.
pub(crate) fn by_operator(action: &str, resource: &str, by: &str) -> Entry {
    Entry {
        kind: Kind::Operator,
        at: u64::try_from(crate::config::wall_clock().as_millis()).unwrap_or(u64::MAX),
        task: Arc::default(),
        component: Arc::default(),
        effect: 0,
        import: 0,
        action: action.to_owned().into(),
        resource: resource.into(),
        arguments: Arc::default(),
        code: "done".into(),
        rules: Arc::default(),
        detail: crate::gate::detail("by", by),
        text: String::new(),
    }
}

/// The end of the log, in a transaction. It is no longer known there until [`Rows::now_known`] is told.
pub(super) fn tail(rows: &Rows<'_>) -> Result<Tail, DatabaseError> {
    let before = match rows.take_known() {
        Known::Now(tail) => return Ok(tail),
        Known::Before(tail) => Some(tail),
        Known::Nothing => None,
    };
    let head = rows
        .prepare_cached("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")?
        .query_row([], |row| Ok(Head { seq: row.get::<_, i64>(0)?.cast_unsigned(), hash: Hash(row.get(1)?) }))
        .optional()?
        .unwrap_or(Head::EMPTY);
    // Whoever else wrote meanwhile left another head.
    Ok(before.filter(|tail| tail.head() == head).unwrap_or_else(|| Tail::at(head)))
}

/// Appends a record to the chain, inside a transaction, and gives its number and its place in the chain.
pub(crate) fn append(rows: &Rows<'_>, entry: &Entry) -> Result<Head, DatabaseError> {
    let entry = &*entry.fitted();
    let tail = tail(rows)?.after(entry);
    let next = tail.head();
    let rules = serde_json::to_string(&entry.rules).map_err(|error| DatabaseError::Commit(error.to_string()))?;
    rows.prepare_cached("INSERT INTO audit VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)")?
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
    rows.now_known(tail);
    Ok(next)
}

/// A page of records, in order.
fn page(
    rows: &Connection,
    task: Option<&str>,
    after: u64,
    limit: u64,
) -> Result<Vec<Result<Record, Flaw>>, DatabaseError> {
    let mut statement = rows.prepare_cached(
        "SELECT seq, kind, at, task, component, effect, import, action, resource, arguments, code, rules, detail, text, hash
         FROM audit WHERE seq > ?1 AND (?2 IS NULL OR task = ?2 OR (task > ?2 || '/' AND task < ?2 || '0')) ORDER BY seq LIMIT ?3",
    )?;
    let found = statement.query_map((number(after), task, number(limit)), |row| Ok(record(row)))?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Goes through all records after `after` and up to `last`, page by page, until one is not as it should be.
pub(super) fn each(
    rows: &Connection,
    after: u64,
    last: u64,
    mut work: impl FnMut(Record) -> Result<(), Flaw>,
) -> Result<Result<(), Flaw>, DatabaseError> {
    let mut after = after;
    while after < last {
        let page = page(rows, None, after, PAGE.min(last - after))?;
        if page.is_empty() {
            break;
        }
        for record in page {
            let seq = record.as_ref().map_or(after, |record| record.seq);
            if let Err(flaw) = record.and_then(&mut work) {
                return Ok(Err(flaw));
            }
            after = seq;
        }
    }
    Ok(Ok(()))
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
            action: row.get::<_, String>(7)?.into(),
            resource: row.get(8)?,
            arguments: row.get(9)?,
            code: row.get::<_, String>(10)?.into(),
            rules: rules(&row.get::<_, String>(11)?)?.into(),
            detail: row.get(12)?,
            text: row.get(13)?,
        };
        Ok(Record { seq, entry, hash: Hash(row.get(14)?) })
    };
    read().map_err(|error| Flaw::Unreadable { seq, reason: error.to_string() })
}

/// Names as they are stored, and in no other spelling.
fn rules(stored: &str) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let rules: Vec<String> = serde_json::from_str(stored)?;
    let written = serde_json::Value::from(rules.clone()).to_string();
    if written == stored { Ok(rules) } else { Err("the rules are not written as they should be".into()) }
}

/// SQLite's integers are signed; the bits are kept.
pub(crate) fn number(value: u64) -> i64 {
    value.cast_signed()
}

#[cfg(test)]
mod tests;
