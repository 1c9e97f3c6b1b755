//! State in the database: values by bundle, namespace and key.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _};

use super::database::{Database, DatabaseError, Rows};
use super::journal;
use super::ledger::{AuditLog, append, number};
use crate::audit::AuditError;
use crate::capability::state::{Answer, Change, Labelled, Namespace, PAGE, Query, Read, StateError, Store, Write};
use crate::gate::Permit;
use crate::label::Labels;

/// The values of one home, beside its log.
pub struct Values(pub Arc<Database>, pub AuditLog);

impl From<AuditError> for StateError {
    fn from(error: AuditError) -> Self {
        Self::Unavailable(Box::new(error))
    }
}

impl From<DatabaseError> for StateError {
    fn from(error: DatabaseError) -> Self {
        Self::Unavailable(Box::new(error))
    }
}

impl From<rusqlite::Error> for StateError {
    fn from(error: rusqlite::Error) -> Self {
        DatabaseError::from(error).into()
    }
}

/// Labels as they are stored.
fn labels(stored: &str) -> Result<Labels, StateError> {
    serde_json::from_str(stored).map_err(|error| StateError::Unavailable(Box::new(error)))
}

impl Values {
    fn one(&self, read: &Read, key: &str) -> Result<Labelled<Option<Vec<u8>>>, StateError> {
        let place = (&read.namespace.bundle, &read.namespace.name, key);
        let connection = self.0.read();
        let mut select = connection
            .prepare_cached("SELECT value, labels FROM state WHERE bundle = ?1 AND namespace = ?2 AND key = ?3")?;
        let found = select.query_row(place, |row| Ok((row.get(0)?, row.get::<_, String>(1)?))).optional()?;
        // That it is missing may be somebody's doing.
        let Some((value, stored)) = found else {
            return Ok(Labelled { value: None, labels: of_namespace(&connection, &read.namespace)? });
        };
        Ok(Labelled { value: Some(value), labels: labels(&stored)? })
    }

    fn page(&self, read: &Read, from: u64) -> Result<Labelled<Vec<String>>, StateError> {
        let connection = self.0.read();
        let mut select = connection.prepare_cached(
            "SELECT key FROM state WHERE bundle = ?1 AND namespace = ?2 ORDER BY key LIMIT ?3 OFFSET ?4",
        )?;
        // An offset past the largest is past the end.
        let from = i64::try_from(from).unwrap_or(i64::MAX);
        let page = (&read.namespace.bundle, &read.namespace.name, number(PAGE), from);
        let value = select.query_map(page, |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(Labelled { value, labels: of_namespace(&connection, &read.namespace)? })
    }
}

impl Store for Values {
    fn value(&self, permit: Permit<Read>) -> Answer<Labelled<Option<Vec<u8>>>> {
        let read = permit.redeem();
        let value = if let Query::Value(key) = &read.what { self.one(&read, key) } else { Ok(Labelled::default()) };
        Box::pin(async { value })
    }

    fn keys(&self, permit: Permit<Read>) -> Answer<Labelled<Vec<String>>> {
        let read = permit.redeem();
        let keys = if let Query::Keys(from) = read.what { self.page(&read, from) } else { Ok(Labelled::default()) };
        Box::pin(async { keys })
    }

    fn change(&self, permit: Permit<Write>) -> Answer<Labelled<u64>> {
        let (write, intent, pen) = permit.redeem_shared();
        let changed = self.1.within(move |transaction| {
            if let Some(intent) = &intent {
                append(transaction, intent)?;
            }
            // What the guest asked wrongly is recorded as asked; what the database could not do is not recorded as done.
            let result = match change(transaction, write) {
                Err(error @ StateError::Unavailable(_)) => return Err(error),
                result => result,
            };
            if let Some((task, row)) = pen.and_then(|pen| pen.row(&result)) {
                journal::insert(transaction, &task, &row)?;
            }
            Ok(result)
        });
        Box::pin(async { changed.await? })
    }
}

fn change(transaction: &Rows<'_>, write: Write) -> Result<Labelled<u64>, StateError> {
    let Write { namespace, quota, labels: carried, key, change } = write;
    let place = (&namespace.bundle, &namespace.name, &key);
    let before = of_namespace(transaction, &namespace)?;
    mark(transaction, &namespace, &before.and(&carried))?;
    let (value, result) = match change {
        Change::Delete => {
            let delete = "DELETE FROM state WHERE bundle = ?1 AND namespace = ?2 AND key = ?3";
            transaction.prepare_cached(delete)?.execute(place)?;
            return Ok(Labelled::default());
        }
        Change::Set(value) => (value, Labelled { value: 0, labels: Labels::default() }),
        Change::Increment(delta) => {
            let select = "SELECT value, labels FROM state WHERE bundle = ?1 AND namespace = ?2 AND key = ?3";
            let stored: Option<(Vec<u8>, String)> = transaction
                .prepare_cached(select)?
                .query_row(place, |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let before = match &stored {
                Some((_, stored)) => labels(stored)?,
                None => before.clone(),
            };
            let sum = incremented(stored.as_ref().map(|(value, _)| value.as_slice()), delta)
                .ok_or_else(|| StateError::NotANumber { labels: before.clone() })?;
            (sum.to_string().into_bytes(), Labelled { value: sum, labels: before })
        }
    };
    let would = held_without(transaction, &namespace, &key)? + (key.len() + value.len()) as u64;
    if would > quota {
        return Err(StateError::Quota { would, quota, labels: before });
    }
    let kept = serde_json::to_string(&carried.and(&result.labels))
        .map_err(|error| StateError::Unavailable(Box::new(error)))?;
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO state (bundle, namespace, key, value, labels) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute((&namespace.bundle, &namespace.name, &key, value, kept))?;
    Ok(result)
}

/// The sum, unless what is stored is no number, or it is too large.
fn incremented(stored: Option<&[u8]>, delta: u64) -> Option<u64> {
    let number: u64 = match stored {
        None => 0,
        Some(text) => std::str::from_utf8(text).ok()?.parse().ok()?,
    };
    number.checked_add(delta)
}

/// The labels of all who ever changed something in a namespace.
fn of_namespace(connection: &Connection, namespace: &Namespace) -> Result<Labels, StateError> {
    let stored: Option<String> = connection
        .prepare_cached("SELECT labels FROM namespace WHERE bundle = ?1 AND name = ?2")?
        .query_row((&namespace.bundle, &namespace.name), |row| row.get(0))
        .optional()?;
    stored.map_or(Ok(Labels::default()), |stored| labels(&stored))
}

/// Notes them.
fn mark(transaction: &Rows<'_>, namespace: &Namespace, labels: &Labels) -> Result<(), StateError> {
    if !labels.is_empty() {
        let labels = serde_json::to_string(labels).map_err(|error| StateError::Unavailable(Box::new(error)))?;
        transaction
            .prepare_cached("INSERT OR REPLACE INTO namespace (bundle, name, labels) VALUES (?1, ?2, ?3)")?
            .execute((&namespace.bundle, &namespace.name, labels))?;
    }
    Ok(())
}

/// Bytes of keys and values in a namespace, but for one key.
fn held_without(transaction: &Rows<'_>, namespace: &Namespace, key: &str) -> Result<u64, StateError> {
    let held: i64 = transaction
        .prepare_cached(
            "SELECT coalesce(sum(length(CAST(key AS BLOB)) + length(value)), 0)
             FROM state WHERE bundle = ?1 AND namespace = ?2 AND key <> ?3",
        )?
        .query_row((&namespace.bundle, &namespace.name, key), |row| row.get(0))?;
    Ok(held.cast_unsigned())
}
