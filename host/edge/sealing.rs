//! Seals what must not be read: under a data key, which a key from elsewhere wraps (envelope encryption, NIST SP 800-57
//! part 1, section 6.2).
//!
//! What is sealed is AES-256-GCM (NIST SP 800-38D) with 96 random bits in front, and names what it is for in its associated
//! data, so that no row stands in for another. Data keys lie in the database, wrapped; what wraps them never does.

pub(crate) mod keys;
mod pkcs11;

use std::sync::{Arc, Mutex, PoisonError};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use rusqlite::{Connection, OptionalExtension as _};
use zeroize::Zeroizing;

use super::database::{DatabaseError, Rows};
use crate::config::Home;
use crate::settings::secret::KeySetting;

pub(crate) use self::keys::{KeyError, Wrapping};

/// The bytes of a key.
const KEY: usize = 32;

/// Bytes that are sealed, and the data key that opens them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sealed {
    /// The row of the data key.
    pub(crate) data_key: i64,
    /// Nonce, ciphertext and tag.
    pub(crate) bytes: Vec<u8>,
}

/// Why nothing could be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The key that wraps data keys.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A data key is wrapped by something else than the configuration names.
    #[error(
        "secrets are sealed under a key of `{found}`, and the configuration names `{configured}`: write the former into \
         `before` of `[secret-store]`, and `ambit secret rotate` changes to the latter"
    )]
    Provider {
        /// What wrapped it.
        found: String,
        /// What is configured.
        configured: String,
    },
    /// It was changed, or stands where it does not belong, or the key is another.
    #[error("what is sealed there cannot be opened: it was changed, or sealed under another key")]
    Damaged,
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<rusqlite::Error> for SealError {
    fn from(error: rusqlite::Error) -> Self {
        DatabaseError::from(error).into()
    }
}

/// A data key, open.
type DataKey = Arc<(i64, Zeroizing<[u8; KEY]>)>;

/// Seals and opens. Nothing is read or made before it is used.
pub struct Sealing {
    provider: Box<dyn Wrapping>,
    /// What wrapped the data keys before, while that is being changed.
    before: Option<Box<dyn Wrapping>>,
    open: Mutex<Vec<DataKey>>,
}

impl Sealing {
    /// With the key that the configuration names.
    pub fn new(home: &Arc<Home>, setting: &KeySetting, before: Option<&KeySetting>) -> Self {
        let before = before.map(|setting| keys::provider(home, setting));
        Self { provider: keys::provider(home, setting), before, open: Mutex::default() }
    }

    /// Seals bytes, in a transaction that writes. `purpose` is what they are for: `secret/NAME/VERSION`.
    pub(crate) fn seal(&self, rows: &Rows<'_>, purpose: &str, plain: &[u8]) -> Result<Sealed, SealError> {
        let newest = "SELECT id FROM data_key ORDER BY id DESC LIMIT 1";
        let id: Option<i64> = rows.query_row(newest, [], |row| row.get(0)).optional()?;
        let key = match id {
            Some(id) => self.data_key(rows, id)?,
            None => self.new_data_key(rows)?,
        };
        Ok(Sealed { data_key: key.0, bytes: seal(&key.1, purpose, plain) })
    }

    /// Opens what was sealed for that purpose.
    pub(crate) fn open(
        &self,
        rows: &Connection,
        purpose: &str,
        sealed: &Sealed,
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let key = self.data_key(rows, sealed.data_key)?;
        open(&key.1, purpose, &sealed.bytes).ok_or(SealError::Damaged)
    }

    /// Seals everything anew, under a new data key, which the configured key wraps. Gives how many rows that were.
    pub(crate) fn rotate(&self, rows: &Rows<'_>) -> Result<usize, SealError> {
        let mut opened = Vec::new();
        for (table, name, purpose) in [
            ("secret", "name", "'secret/' || name || '/' || version"),
            ("signing_key", "kid", "'signing-key/' || kid"),
            ("checkpoint_key", "origin", "'checkpoint-key/' || origin"),
            ("sealed_answer", "name", "'answer/' || name"),
        ] {
            let mut select = rows.prepare(&format!("SELECT {name}, {purpose}, data_key, sealed FROM {table}"))?;
            let found = select.query_map([], |row| {
                let sealed = Sealed { data_key: row.get(2)?, bytes: row.get(3)? };
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, sealed))
            })?;
            for row in found {
                let (key, purpose, sealed) = row?;
                opened.push((table, name, key, self.open(rows, &purpose, &sealed)?, purpose));
            }
        }
        let fresh = self.new_data_key(rows)?;
        for (table, name, key, plain, purpose) in &opened {
            let update = format!("UPDATE {table} SET data_key = ?1, sealed = ?2 WHERE {name} = ?3");
            rows.execute(&update, (fresh.0, seal(&fresh.1, purpose, plain), key))?;
        }
        rows.execute("DELETE FROM data_key WHERE id <> ?1", [fresh.0])?;
        self.opened().retain(|key| key.0 == fresh.0);
        Ok(opened.len())
    }

    /// Takes away the key from before, which nothing is sealed under any more.
    pub(crate) fn retire(&self) -> Result<(), SealError> {
        match &self.before {
            Some(before) if before.name() != self.provider.name() => Ok(before.retire()?),
            _ => Ok(()),
        }
    }

    fn new_data_key(&self, rows: &Rows<'_>) -> Result<DataKey, SealError> {
        let mut key = Zeroizing::new([0; KEY]);
        random(&mut *key)?;
        let wrapped = self.provider.wrap(&*key)?;
        let made = i64::try_from(crate::config::wall_clock().as_millis()).unwrap_or(i64::MAX);
        let insert = "INSERT INTO data_key (provider, wrapped, made) VALUES (?1, ?2, ?3)";
        rows.execute(insert, (self.provider.name(), wrapped, made))?;
        // It is not remembered: the transaction may fail, and another key get its number.
        Ok(Arc::new((rows.last_insert_rowid(), key)))
    }

    fn data_key(&self, rows: &Connection, id: i64) -> Result<DataKey, SealError> {
        let select = "SELECT provider, wrapped FROM data_key WHERE id = ?1";
        let found = rows.query_row(select, [id], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?)));
        let (found, wrapped) = found?;
        if let Some(key) = self.opened().iter().find(|key| key.0 == id) {
            return Ok(Arc::clone(key));
        }
        let provider = std::iter::once(&self.provider).chain(&self.before).find(|provider| provider.name() == found);
        let configured = || SealError::Provider { found: found.clone(), configured: self.provider.name() };
        let plain = provider.ok_or_else(configured)?.unwrap(&wrapped)?;
        let key: [u8; KEY] = plain.as_slice().try_into().map_err(|_| SealError::Damaged)?;
        let key = Arc::new((id, Zeroizing::new(key)));
        self.opened().push(Arc::clone(&key));
        Ok(key)
    }

    fn opened(&self) -> std::sync::MutexGuard<'_, Vec<DataKey>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fills bytes with random ones.
fn random(bytes: &mut [u8]) -> Result<(), KeyError> {
    SystemRandom::new().fill(bytes).map_err(|_| KeyError("the operating system gave no random numbers".to_owned()))
}

#[expect(clippy::expect_used, reason = "INVARIANT: a key of AES-256 has 32 bytes")]
fn cipher(key: &[u8; KEY]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("a key"))
}

/// Nonce, ciphertext and tag.
#[expect(clippy::expect_used, reason = "INVARIANT: there is entropy, and what is sealed is shorter than 2^36 bytes")]
fn seal(key: &[u8; KEY], purpose: &str, plain: &[u8]) -> Vec<u8> {
    let mut nonce = [0; NONCE_LEN];
    random(&mut nonce).expect("entropy");
    let mut bytes = plain.to_vec();
    let nonce_used = Nonce::assume_unique_for_key(nonce);
    cipher(key).seal_in_place_append_tag(nonce_used, Aad::from(purpose.as_bytes()), &mut bytes).expect("it fits");
    [nonce.as_slice(), &bytes].concat()
}

fn open(key: &[u8; KEY], purpose: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, bytes) = sealed.split_at_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut bytes = Zeroizing::new(bytes.to_vec());
    let length = cipher(key).open_in_place(nonce, Aad::from(purpose.as_bytes()), &mut bytes).ok()?.len();
    bytes.truncate(length);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::database::Database;

    fn home() -> (tempfile::TempDir, Arc<Home>, Arc<Database>) {
        let folder = tempfile::tempdir().unwrap();
        let home = Arc::new(Home::open(Some(folder.path())).unwrap());
        let database = Database::open(&home).unwrap();
        (folder, home, database)
    }

    fn sealing(home: &Arc<Home>) -> Arc<Sealing> {
        Arc::new(Sealing::new(home, &KeySetting::File, None))
    }

    fn write<T: Send + 'static>(
        database: &Database,
        work: impl FnOnce(&Rows<'_>) -> Result<T, SealError> + Send + 'static,
    ) -> Result<T, SealError> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(database.write(work))
    }

    #[test]
    fn what_is_sealed_opens_for_its_purpose_and_no_other() {
        let (_folder, home, database) = home();
        let (own, again) = (sealing(&home), sealing(&home));
        let sealed = write(&database, move |rows| own.seal(rows, "secret/a/1", b"hunter22")).unwrap();
        assert!(!sealed.bytes.windows(8).any(|bytes| bytes == b"hunter22"));
        let rows = database.read();
        assert_eq!(&**again.open(&rows, "secret/a/1", &sealed).unwrap(), b"hunter22");
        assert!(matches!(again.open(&rows, "secret/a/2", &sealed), Err(SealError::Damaged)));
        for place in [0, 15, sealed.bytes.len() - 1] {
            let mut changed = sealed.clone();
            changed.bytes[place] ^= 1;
            assert!(matches!(again.open(&rows, "secret/a/1", &changed), Err(SealError::Damaged)), "{place}");
        }
        let short = Sealed { bytes: vec![1; 5], ..sealed };
        assert!(matches!(again.open(&rows, "secret/a/1", &short), Err(SealError::Damaged)));
    }

    #[test]
    fn another_key_opens_nothing() {
        let (folder, home, database) = home();
        let own = sealing(&home);
        let sealed = write(&database, move |rows| own.seal(rows, "secret/a/1", b"hunter22")).unwrap();
        #[expect(clippy::disallowed_methods, reason = "the test changes the key")]
        std::fs::write(folder.path().join("key"), [7; 32]).unwrap();
        assert!(sealing(&home).open(&database.read(), "secret/a/1", &sealed).is_err());
    }

    #[test]
    fn the_first_data_key_is_one_also_for_two_who_seal_at_once() {
        let (_folder, home, database) = home();
        let (one, other) = (sealing(&home), sealing(&home));
        let first = write(&database, move |rows| one.seal(rows, "secret/a/1", b"hunter22")).unwrap();
        let second = write(&database, move |rows| other.seal(rows, "secret/b/1", b"hunter22")).unwrap();
        assert_eq!(first.data_key, second.data_key);
    }
}
