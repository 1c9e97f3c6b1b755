//! State in the database: values by bundle, namespace and key.

use std::sync::Arc;

use rusqlite::{OptionalExtension as _, Transaction};

use super::database::{Database, DatabaseError};
use super::ledger::{append, number};
use crate::capability::state::{Answer, Change, Namespace, PAGE, Query, Read, StateError, Store, Write};
use crate::gate::Permit;

/// The values of one home.
pub struct Values(pub Arc<Database>);

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

impl Store for Values {
    fn value(&self, permit: Permit<Read>) -> Answer<Option<Vec<u8>>> {
        let Read { namespace, what } = permit.redeem();
        let Query::Value(key) = what else { return Box::pin(async { Ok(None) }) };
        let value = self.0.read().query_row(
            "SELECT value FROM state WHERE bundle = ?1 AND namespace = ?2 AND key = ?3",
            (&namespace.bundle, &namespace.name, key),
            |row| row.get(0),
        );
        let value = value.optional().map_err(StateError::from);
        Box::pin(async { value })
    }

    fn keys(&self, permit: Permit<Read>) -> Answer<Vec<String>> {
        let Read { namespace, what } = permit.redeem();
        let Query::Keys(from) = what else { return Box::pin(async { Ok(Vec::new()) }) };
        let keys = || -> rusqlite::Result<Vec<String>> {
            let connection = self.0.read();
            let mut statement = connection.prepare_cached(
                "SELECT key FROM state WHERE bundle = ?1 AND namespace = ?2 ORDER BY key LIMIT ?3 OFFSET ?4",
            )?;
            // An offset past the largest is past the end.
            let from = i64::try_from(from).unwrap_or(i64::MAX);
            statement.query_map((&namespace.bundle, &namespace.name, number(PAGE), from), |row| row.get(0))?.collect()
        };
        let keys = keys().map_err(StateError::from);
        Box::pin(async { keys })
    }

    fn change(&self, permit: Permit<Write>) -> Answer<u64> {
        let (write, intent) = permit.redeem_shared();
        let changed = self.0.write(move |transaction| {
            if let Some(intent) = &intent {
                append(transaction, intent)?;
            }
            // What the guest asked wrongly is recorded as asked; what the database could not do is not recorded as done.
            match change(transaction, write) {
                Err(error @ StateError::Unavailable(_)) => Err(error),
                result => Ok(result),
            }
        });
        Box::pin(async { changed.await? })
    }
}

fn change(transaction: &Transaction<'_>, write: Write) -> Result<u64, StateError> {
    let Write { namespace, quota, key, change } = write;
    let place = (&namespace.bundle, &namespace.name, &key);
    let (value, result) = match change {
        Change::Delete => {
            let delete = "DELETE FROM state WHERE bundle = ?1 AND namespace = ?2 AND key = ?3";
            transaction.prepare_cached(delete)?.execute(place)?;
            return Ok(0);
        }
        Change::Set(value) => (value, 0),
        Change::Increment(delta) => {
            let select = "SELECT value FROM state WHERE bundle = ?1 AND namespace = ?2 AND key = ?3";
            let stored: Option<Vec<u8>> =
                transaction.prepare_cached(select)?.query_row(place, |row| row.get(0)).optional()?;
            let sum = incremented(stored.as_deref(), delta)?;
            (sum.to_string().into_bytes(), sum)
        }
    };
    let would = held_without(transaction, &namespace, &key)? + (key.len() + value.len()) as u64;
    if would > quota {
        return Err(StateError::Quota { would, quota });
    }
    transaction
        .prepare_cached("INSERT OR REPLACE INTO state (bundle, namespace, key, value) VALUES (?1, ?2, ?3, ?4)")?
        .execute((&namespace.bundle, &namespace.name, &key, value))?;
    Ok(result)
}

fn incremented(stored: Option<&[u8]>, delta: u64) -> Result<u64, StateError> {
    let number: u64 = match stored {
        None => 0,
        Some(text) => {
            std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(StateError::NotANumber)?
        }
    };
    number.checked_add(delta).ok_or(StateError::NotANumber)
}

/// Bytes of keys and values in a namespace, but for one key.
fn held_without(transaction: &Transaction<'_>, namespace: &Namespace, key: &str) -> Result<u64, StateError> {
    let held: i64 = transaction
        .prepare_cached(
            "SELECT coalesce(sum(length(CAST(key AS BLOB)) + length(value)), 0)
             FROM state WHERE bundle = ?1 AND namespace = ?2 AND key <> ?3",
        )?
        .query_row((&namespace.bundle, &namespace.name, key), |row| row.get(0))?;
    Ok(held.cast_unsigned())
}
