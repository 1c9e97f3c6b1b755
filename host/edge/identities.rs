//! The home's signing keys, and the tokens that they sign.
//!
//! Two keys are published at any time, beside those that signed until lately: the one that signs, and the one that will. So
//! whoever keeps a copy of the published keys has the next one before it is used. Rotation lets the second sign and makes
//! another.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, JwkSet};
use rusqlite::{Connection, OptionalExtension as _};
use zeroize::Zeroizing;

use super::database::{Database, DatabaseError, Rows};
use super::ledger::{append, by_operator};
use super::sealing::{SealError, Sealed, Sealing};
use crate::capability::http::Ticket;
use crate::capability::identity::{Minter, Token};
use crate::capability::secrets::{Answer, Lent, Unlent};
use crate::gate::Permit;
use crate::identity::{self, Claims, Disbelief, KeyPair, Setting, Subject, UnusableKey, Use};
use crate::secret::Secret;

/// How long a key that does not sign any more is published: twice the longest life of what it signed, for clocks that
/// differ.
const AFTERGLOW: Duration = Duration::from_secs(600);

/// Why there is no key, or no token.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The key.
    #[error(transparent)]
    Key(#[from] UnusableKey),
    /// It could not be sealed or opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The task's name is too long.
    #[error("the task's name is too long for a SPIFFE id")]
    Name,
    /// The task is at its end.
    #[error("the task has no time left")]
    Over,
}

impl From<DatabaseError> for IdentityError {
    fn from(error: DatabaseError) -> Self {
        SealError::from(error).into()
    }
}

impl From<rusqlite::Error> for IdentityError {
    fn from(error: rusqlite::Error) -> Self {
        DatabaseError::from(error).into()
    }
}

/// The keys of one home.
#[derive(Clone)]
pub struct Identities {
    database: Arc<Database>,
    sealing: Arc<Sealing>,
    setting: Arc<Setting>,
}

/// A row, as it stands.
struct Row {
    kid: String,
    sealed: Sealed,
}

fn purpose(kid: &str) -> String {
    format!("signing-key/{kid}")
}

fn now() -> i64 {
    i64::try_from(crate::config::wall_clock().as_millis()).unwrap_or(i64::MAX)
}

fn afterglow() -> i64 {
    i64::try_from(AFTERGLOW.as_millis()).unwrap_or(i64::MAX)
}

/// Makes keys until there are two that have not retired.
fn replenish(rows: &Rows<'_>, sealing: &Sealing, by: &str) -> Result<(), IdentityError> {
    let count = "SELECT count(*) FROM signing_key WHERE retired IS NULL";
    let there: i64 = rows.query_row(count, [], |row| row.get(0))?;
    let last: i64 = rows.query_row("SELECT coalesce(max(made), 0) FROM signing_key", [], |row| row.get(0))?;
    for number in there..2 {
        let key = KeyPair::generate()?;
        let sealed = sealing.seal(rows, &purpose(key.kid()), key.private())?;
        let (x, y) = key.point();
        let public = serde_json::to_string(&identity::jwk(key.kid(), x, y, Use::Signatures)).unwrap_or_default();
        // The order in which they sign is that in which they were made, whatever the clock says.
        let made = now().max(last.saturating_add(1)).saturating_add(number);
        let insert = "INSERT INTO signing_key (kid, public, data_key, sealed, made) VALUES (?1, ?2, ?3, ?4, ?5)";
        rows.execute(insert, (key.kid(), public, sealed.data_key, sealed.bytes, made))?;
        append(rows, &by_operator("identity.key", &format!("Key::\"{}\"", key.kid()), by))?;
    }
    Ok(())
}

/// The key that signs.
fn signing(rows: &Connection) -> Result<Option<Row>, IdentityError> {
    let first = "SELECT kid, data_key, sealed FROM signing_key WHERE retired IS NULL ORDER BY made, kid LIMIT 1";
    let row = rows.query_row(first, [], |row| {
        Ok(Row { kid: row.get(0)?, sealed: Sealed { data_key: row.get(1)?, bytes: row.get(2)? } })
    });
    Ok(row.optional()?)
}

impl Identities {
    /// Those of a database, as the configuration has them.
    pub fn new(database: Arc<Database>, sealing: Arc<Sealing>, setting: Setting) -> Self {
        Self { database, sealing, setting: Arc::new(setting) }
    }

    /// What the configuration says.
    pub fn setting(&self) -> &Setting {
        &self.setting
    }

    /// The public keys, as others read them; they are made if there are none.
    ///
    /// # Errors
    /// When they cannot be read or made.
    pub async fn published(&self, purpose: Use) -> Result<JwkSet, IdentityError> {
        self.ensure().await?;
        let since = now().saturating_sub(afterglow());
        let rows = self.database.read();
        let mut select = rows
            .prepare("SELECT public FROM signing_key WHERE retired IS NULL OR retired > ?1 ORDER BY made DESC, kid")?;
        let found = select.query_map([since], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
        let keys = found.iter().filter_map(|text| serde_json::from_str::<Jwk>(text).ok());
        let keys = keys.filter_map(|key| match (&key.common.key_id, &key.algorithm) {
            (Some(kid), AlgorithmParameters::EllipticCurve(point)) => {
                Some(identity::jwk(kid, &point.x, &point.y, purpose))
            }
            _ => None,
        });
        Ok(JwkSet { keys: keys.collect() })
    }

    /// Lets the next key sign, and makes another to follow it. Gives the name of the one that signs.
    ///
    /// # Errors
    /// When no key can be made.
    pub async fn rotate(&self, by: String) -> Result<String, IdentityError> {
        self.ensure().await?;
        let sealing = Arc::clone(&self.sealing);
        let rotated = self.database.write_scrubbing(move |rows| {
            let past = now().saturating_sub(afterglow());
            rows.execute("DELETE FROM signing_key WHERE retired <= ?1", [past])?;
            if let Some(before) = signing(rows)? {
                rows.execute("UPDATE signing_key SET retired = ?1 WHERE kid = ?2", (now(), &before.kid))?;
                append(rows, &by_operator("identity.rotate", &format!("Key::\"{}\"", before.kid), &by))?;
            }
            replenish(rows, &sealing, &by)?;
            signing(rows)?.map(|row| row.kid).ok_or(IdentityError::Key(UnusableKey))
        });
        rotated.await
    }

    /// What a token says, if it is believed: one of this home's keys signed it for that audience, it is in time, and its
    /// task has not ended.
    ///
    /// # Errors
    /// When the keys cannot be read. Why it is not believed is the inner error.
    pub async fn verify(&self, token: &str, audience: &str) -> Result<Result<Claims, Disbelief>, IdentityError> {
        let keys = self.published(Use::Signatures).await?;
        let claims = match identity::verify(token, &keys, &self.setting, audience) {
            Ok(claims) => claims,
            Err(disbelief) => return Ok(Err(disbelief)),
        };
        let root = claims.task.split('/').next().unwrap_or_default();
        let runs = "SELECT ended IS NULL FROM task WHERE id = ?1";
        let runs: Option<bool> = self.database.read().query_row(runs, [root], |row| row.get(0)).optional()?;
        Ok(if runs == Some(true) { Ok(claims) } else { Err(Disbelief("its task has ended".to_owned())) })
    }

    async fn ensure(&self) -> Result<(), IdentityError> {
        if signing(&self.database.read())?.is_some() {
            return Ok(());
        }
        let sealing = Arc::clone(&self.sealing);
        self.database.write(move |rows| replenish(rows, &sealing, "ambit")).await
    }

    /// A token of a task's identity for an audience, for so many seconds at most.
    pub(crate) async fn mint(
        &self,
        subject: Option<Subject>,
        audience: String,
        seconds: u64,
    ) -> Result<Lent, IdentityError> {
        self.ensure().await?;
        let subject = subject.ok_or(IdentityError::Name)?;
        let now = crate::config::wall_clock();
        let claims = subject.claims(&self.setting, &audience, Duration::from_secs(seconds), now);
        let claims = claims.ok_or(IdentityError::Name)?;
        let lasts = Duration::from_secs(claims.exp - claims.iat);
        if lasts.is_zero() {
            return Err(IdentityError::Over);
        }
        let key = {
            let rows = self.database.read();
            let Row { kid, sealed } = signing(&rows)?.ok_or(UnusableKey)?;
            KeyPair::read(self.sealing.open(&rows, &purpose(&kid), &sealed)?)?
        };
        let token = Zeroizing::new(identity::sign(&key, &claims)?.into_bytes());
        let value = Secret::new(token).map_err(|_| UnusableKey)?;
        Ok(Lent { value, version: None, lasts: Some(lasts), beside: None })
    }

    fn minted(&self, subject: Option<Subject>, audience: String, seconds: u64) -> Answer {
        let identities = self.clone();
        Box::pin(
            async move { identities.mint(subject, audience, seconds).await.map_err(|error| Unlent(error.to_string())) },
        )
    }
}

/// A token is not good for longer than it was approved, in seconds.
fn most<E>(permit: &Permit<E>) -> u64 {
    permit.approval().map_or(u64::MAX, |approval| approval.left().as_secs())
}

impl Minter for Identities {
    fn id(&self, subject: &Subject) -> Option<String> {
        subject.id(&self.setting.trust_domain)
    }

    fn token(&self, permit: Permit<Token>) -> Answer {
        let most = most(&permit);
        let Token { audience, seconds, subject } = permit.redeem();
        self.minted(subject, audience, seconds.min(most))
    }

    fn attach(&self, permit: Permit<Ticket>) -> Answer {
        let most = most(&permit);
        let Ticket { audience, seconds, subject, .. } = permit.redeem();
        self.minted(subject, audience, seconds.min(most))
    }
}
