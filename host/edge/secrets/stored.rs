//! Secrets that lie sealed in the home's database.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _};
use serde::Serialize;

use super::{Asked, Found, Reading, SecretError, Source};
use crate::edge::database::Database;
use crate::edge::ledger::{append, by_operator};
use crate::edge::sealing::{Sealed, Sealing};
use crate::secret::{Secret, SecretName};

/// The secrets of one home.
#[derive(Clone)]
pub struct Stored {
    database: Arc<Database>,
    sealing: Arc<Sealing>,
}

/// What may be said of a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// How often it was set.
    pub version: u64,
    /// When it was set last, in milliseconds since the Unix epoch.
    pub set_at: u64,
}

fn purpose(name: &SecretName, version: i64) -> String {
    format!("secret/{name}/{version}")
}

fn resource(name: &SecretName) -> String {
    format!("Secret::\"{name}\"")
}

impl Stored {
    /// Those that a database holds.
    pub(super) fn new(database: Arc<Database>, sealing: Arc<Sealing>) -> Self {
        Self { database, sealing }
    }

    /// Sets a secret, and gives how often it was set with that.
    pub(super) async fn set(&self, name: SecretName, value: Secret, by: String) -> Result<u64, SecretError> {
        let sealing = Arc::clone(&self.sealing);
        let set = self.database.write(move |rows| {
            // A version is not used again, also not after the secret was removed: leases compare them.
            let last = "SELECT max(v) FROM (SELECT version AS v FROM secret WHERE name = ?1
                        UNION SELECT count(*) FROM audit WHERE action = 'secret.set' AND resource = ?2)";
            let entry = by_operator("secret.set", &resource(&name), &by);
            let last: Option<i64> = rows.query_row(last, (name.as_str(), &entry.resource), |row| row.get(0))?;
            let version = last.unwrap_or_default() + 1;
            let sealed = sealing.seal(rows, &purpose(&name, version), value.expose())?;
            let insert =
                "INSERT OR REPLACE INTO secret (name, version, data_key, sealed, set_at) VALUES (?1, ?2, ?3, ?4, ?5)";
            let at = i64::try_from(entry.at).unwrap_or(i64::MAX);
            rows.execute(insert, (name.as_str(), version, sealed.data_key, sealed.bytes, at))?;
            append(rows, &entry)?;
            Ok::<_, SecretError>(version.cast_unsigned())
        });
        set.await
    }

    /// Removes a secret.
    ///
    /// # Errors
    /// When there is none of that name.
    pub async fn remove(&self, name: SecretName, by: String) -> Result<(), SecretError> {
        let removed = self.database.write_scrubbing(move |rows| {
            if rows.execute("DELETE FROM secret WHERE name = ?1", [name.as_str()])? == 0 {
                return Err(SecretError::Missing(name));
            }
            append(rows, &by_operator("secret.remove", &resource(&name), &by))?;
            Ok(())
        });
        removed.await
    }

    /// Seals everything anew under a new data key, and gives how many secrets and signing keys that were.
    ///
    /// # Errors
    /// When something cannot be opened: then nothing has changed.
    pub async fn rotate(&self, by: String) -> Result<usize, SecretError> {
        let sealing = Arc::clone(&self.sealing);
        let rotated = self.database.write_scrubbing(move |rows| {
            let count = sealing.rotate(rows)?;
            append(rows, &by_operator("secret.rotate", "", &by))?;
            Ok::<_, SecretError>(count)
        });
        let count = rotated.await?;
        self.sealing.retire()?;
        Ok(count)
    }

    /// What may be said of them, by name.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn list(&self) -> Result<Vec<Listed>, SecretError> {
        let rows = self.database.read();
        let mut select = rows.prepare("SELECT name, version, set_at FROM secret ORDER BY name")?;
        let number = |value: i64| value.cast_unsigned();
        let listed = select.query_map([], |row| {
            Ok(Listed { name: row.get(0)?, version: number(row.get(1)?), set_at: number(row.get(2)?) })
        })?;
        Ok(listed.collect::<Result<_, _>>()?)
    }

    fn row(rows: &Connection, name: &SecretName) -> Result<(i64, Sealed), SecretError> {
        let select = "SELECT version, data_key, sealed FROM secret WHERE name = ?1";
        let row = rows.query_row(select, [name.as_str()], |row| {
            Ok((row.get(0)?, Sealed { data_key: row.get(1)?, bytes: row.get(2)? }))
        });
        row.optional()?.ok_or_else(|| SecretError::Missing(name.clone()))
    }

    pub(super) fn find(&self, name: &SecretName) -> Result<Found, SecretError> {
        let reader = self.database.read();
        // In one, so that nobody seals everything anew in between.
        let rows = reader.unchecked_transaction()?;
        let (version, sealed) = Self::row(&rows, name)?;
        let value = self.sealing.open(&rows, &purpose(name, version), &sealed)?;
        let value = Secret::new(value).map_err(|why| SecretError::Unfit { name: name.clone(), why })?;
        Ok(Found { value, version: Some(version.to_string()), lasts: None, beside: None })
    }
}

impl Source for Stored {
    fn place(&self) -> String {
        "the home".to_owned()
    }

    fn read(&self, name: &SecretName, _asked: Asked) -> Reading {
        let found = self.find(name);
        Box::pin(async { found })
    }

    fn version(&self, name: &SecretName) -> Result<Option<String>, SecretError> {
        Ok(Some(Self::row(&self.database.read(), name)?.0.to_string()))
    }
}
