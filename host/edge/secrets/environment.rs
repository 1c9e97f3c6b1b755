//! A secret in a variable of ambit's own environment.

use zeroize::Zeroizing;

use super::{Asked, Found, Reading, SecretError, Source};
use crate::secret::{Secret, SecretName};

/// The name of the variable.
pub(super) struct Variable(pub(super) String);

impl Variable {
    fn value(&self, name: &SecretName) -> Result<Zeroizing<String>, SecretError> {
        #[expect(clippy::disallowed_methods, reason = "the variable that the configuration names")]
        let value = std::env::var(&self.0);
        let why = "it is not set, or is not UTF-8".to_owned();
        value.map(Zeroizing::new).map_err(|_| SecretError::Unavailable { name: name.clone(), place: self.place(), why })
    }
}

impl Source for Variable {
    fn place(&self) -> String {
        format!("the variable `{}`", self.0)
    }

    fn read(&self, name: &SecretName, _asked: Asked) -> Reading {
        let found = self.value(name).and_then(|value| {
            let value = Secret::new(Zeroizing::new(value.as_bytes().to_vec()));
            let value = value.map_err(|why| SecretError::Unfit { name: name.clone(), why })?;
            Ok(Found { value, version: None, lasts: None, beside: None })
        });
        Box::pin(async { found })
    }

    fn version(&self, name: &SecretName) -> Result<Option<String>, SecretError> {
        self.value(name).map(|_| None)
    }
}
