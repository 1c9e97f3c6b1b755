//! The home's secrets: sealed in its database, or where the configuration says that they are.

mod environment;
mod exchange;
pub(super) mod file;
mod stored;
mod vault;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::database::{Database, DatabaseError};
use super::identities::Identities;
use super::sealing::{SealError, Sealing};
use crate::capability::http::Lease;
use crate::capability::secrets::{Answer, Broker, Lent, Reveal, Unlent};
use crate::gate::{Approval, Notes, Permit};
use crate::identity::Subject;
use crate::secret::{Secret, SecretName, UnfitSecret};
use crate::settings::secret::SourceSetting;

pub use self::stored::{Listed, Stored};

/// Why a secret could not be read, set or removed. It says nothing of a value.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// There is none of that name.
    #[error("there is no secret `{0}`: `ambit secret set {0}` sets it")]
    Missing(SecretName),
    /// It comes from elsewhere.
    #[error("the secret `{name}` comes from {place}, and not from the home: `[secrets.{name}]` says so")]
    Elsewhere {
        /// Its name.
        name: SecretName,
        /// Where from.
        place: String,
    },
    /// What is there is no secret.
    #[error("the value of `{name}` is no secret: {why}")]
    Unfit {
        /// Its name.
        name: SecretName,
        /// Why not.
        why: UnfitSecret,
    },
    /// Where it comes from does not give it.
    #[error("the secret `{name}` is not to be had from {place}: {why}")]
    Unavailable {
        /// Its name.
        name: SecretName,
        /// Where from.
        place: String,
        /// Why not.
        why: String,
    },
    /// Sealing.
    #[error(transparent)]
    Seal(#[from] SealError),
}

impl From<DatabaseError> for SecretError {
    fn from(error: DatabaseError) -> Self {
        SealError::from(error).into()
    }
}

impl From<rusqlite::Error> for SecretError {
    fn from(error: rusqlite::Error) -> Self {
        DatabaseError::from(error).into()
    }
}

/// A secret that was found.
pub(crate) struct Found {
    pub(crate) value: Secret,
    /// Which of its values it is, where that can be told.
    pub(crate) version: Option<String>,
    /// How long it is given for, if the source says so.
    pub(crate) lasts: Option<Duration>,
    /// What was given for it.
    pub(crate) beside: Option<Secret>,
}

/// Who asks for a value.
#[derive(Default)]
pub(crate) struct Asked {
    /// The task, where it is for requests of a task.
    pub(crate) subject: Option<Subject>,
    /// For how long they may ask, where people were asked about it.
    pub(crate) approved: Option<Duration>,
    /// What the record will say beside how it went.
    pub(crate) notes: Notes,
}

type Reading = Pin<Box<dyn Future<Output = Result<Found, SecretError>> + Send>>;

/// Where a value comes from.
pub(crate) trait Source: Send + Sync {
    /// In words.
    fn place(&self) -> String;
    /// Reads it.
    fn read(&self, name: &SecretName, asked: Asked) -> Reading;
    /// Whether each task has one of its own.
    fn is_of_a_task(&self) -> bool {
        false
    }
    /// Which value there is now, without reading it: none where that cannot be told.
    ///
    /// # Errors
    /// When there is no value any more.
    fn version(&self, name: &SecretName) -> Result<Option<String>, SecretError>;
}

/// All secrets of a home.
#[derive(Clone)]
pub struct Secrets {
    stored: Stored,
    elsewhere: Arc<BTreeMap<SecretName, Box<dyn Source>>>,
}

impl Secrets {
    /// Those of a database, and those that the configuration names.
    pub fn new(
        database: Arc<Database>,
        sealing: Arc<Sealing>,
        identities: &Identities,
        elsewhere: BTreeMap<SecretName, SourceSetting>,
    ) -> Self {
        let stored = Stored::new(database, sealing);
        let source = |setting| -> Box<dyn Source> {
            match setting {
                SourceSetting::Environment(name) => Box::new(environment::Variable(name)),
                SourceSetting::File(path) => Box::new(file::File(path)),
                SourceSetting::Vault(setting) => Box::new(vault::Vault::new(*setting)),
                SourceSetting::Exchange(setting) => {
                    Box::new(exchange::Exchange::new(*setting, identities.clone(), stored.clone()))
                }
            }
        };
        let elsewhere = elsewhere.into_iter().map(|(name, setting)| (name, source(setting))).collect();
        Self { stored, elsewhere: Arc::new(elsewhere) }
    }

    /// Those that lie sealed in the home.
    pub fn stored(&self) -> &Stored {
        &self.stored
    }

    /// Where each of the others comes from.
    pub fn elsewhere(&self) -> impl Iterator<Item = (&SecretName, String)> {
        self.elsewhere.iter().map(|(name, source)| (name, source.place()))
    }

    /// Sets a secret of the home.
    ///
    /// # Errors
    /// When the configuration says that it comes from elsewhere, or it cannot be sealed.
    pub async fn set(&self, name: SecretName, value: Secret, by: String) -> Result<u64, SecretError> {
        if let Some(source) = self.elsewhere.get(&name) {
            return Err(SecretError::Elsewhere { place: source.place(), name });
        }
        self.stored.set(name, value, by).await
    }

    fn source(&self, name: &SecretName) -> &dyn Source {
        self.elsewhere.get(name).map_or(&self.stored as &dyn Source, AsRef::as_ref)
    }

    fn lent(&self, name: &SecretName, asked: Asked) -> Answer {
        let reading = self.source(name).read(name, asked);
        Box::pin(async move {
            let Found { value, version, lasts, beside } = reading.await.map_err(|error| Unlent(error.to_string()))?;
            Ok(Lent { value, version, lasts, beside })
        })
    }
}

impl Broker for Secrets {
    fn lend(&self, permit: Permit<Lease>) -> Answer {
        let (notes, approved) = (permit.notes(), permit.approval().map(Approval::left));
        let Lease { secret, subject, .. } = permit.redeem();
        self.lent(&secret, Asked { subject, approved, notes })
    }

    fn reveal(&self, permit: Permit<Reveal>) -> Answer {
        match permit.redeem().name.parse() {
            Ok(name) => self.lent(&name, Asked::default()),
            Err(why) => Box::pin(async { Err(Unlent(why)) }),
        }
    }

    fn is_of_a_task(&self, name: &SecretName) -> bool {
        self.source(name).is_of_a_task()
    }

    fn version(&self, name: &SecretName) -> Result<Option<String>, Unlent> {
        self.source(name).version(name).map_err(|error| Unlent(error.to_string()))
    }
}
