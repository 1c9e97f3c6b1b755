//! A secret in a KV engine of Vault's, or of what speaks as Vault does (`HashiCorp` Vault HTTP API, KV version 1 and 2).

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use vaultrs::client::{Client as _, VaultClient, VaultClientSettingsBuilder};
use vaultrs::error::ClientError;
use zeroize::Zeroizing;

use super::{Found, Reading, SecretError, Source};
use crate::secret::{AppRole, KvVersion, Secret, SecretName, VaultAuth, VaultSetting};

/// How long Vault may take for one answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A field of a secret there.
pub(super) struct Vault(Arc<VaultSetting>);

impl Vault {
    pub(super) fn new(setting: VaultSetting) -> Self {
        Self(Arc::new(setting))
    }
}

impl Source for Vault {
    fn place(&self) -> String {
        format!("Vault, {}/{} at {}", self.0.mount, self.0.path, self.0.address)
    }

    fn read(&self, name: &SecretName) -> Reading {
        let (setting, name, place) = (Arc::clone(&self.0), name.clone(), self.place());
        Box::pin(async move {
            let read = tokio::time::timeout(PATIENCE, read(&setting)).await;
            let read = read.unwrap_or_else(|_| Err("it did not answer in time".to_owned()));
            let (value, lasts) = read.map_err(|why| SecretError::Unavailable {
                name: name.clone(),
                place,
                why: crate::audit::escaped(&why),
            })?;
            let value = Secret::new(value).map_err(|why| SecretError::Unfit { name, why })?;
            Ok(Found { value, version: None, lasts })
        })
    }

    /// Asking Vault for each request would cost more than the request; a lease is minutes long.
    fn version(&self, _name: &SecretName) -> Result<Option<String>, SecretError> {
        Ok(None)
    }
}

/// The value, and how long it may be kept, if Vault says so.
async fn read(setting: &VaultSetting) -> Result<(Zeroizing<Vec<u8>>, Option<Duration>), String> {
    let client = client(setting).await?;
    let VaultSetting { mount, path, field, kv, .. } = setting;
    let (mut fields, seconds) = match kv {
        KvVersion::One => {
            let answer = vaultrs::kv1::get_raw(&client, mount, path).await.map_err(said)?;
            let seconds = u64::try_from(answer.lease_duration).unwrap_or_default();
            (serde_json::from_value::<HashMap<String, Value>>(answer.data).map_err(|_| no_fields())?, seconds)
        }
        KvVersion::Two => (vaultrs::kv2::read(&client, mount, path).await.map_err(said)?, 0),
    };
    let value = match fields.remove(field) {
        Some(Value::String(text)) => Zeroizing::new(text.into_bytes()),
        Some(_) => return Err(format!("its field `{field}` is no text")),
        None => return Err(format!("it has no field `{field}`")),
    };
    Ok((value, (seconds > 0).then(|| Duration::from_secs(seconds))))
}

fn no_fields() -> String {
    "it is no object with fields".to_owned()
}

async fn client(setting: &VaultSetting) -> Result<VaultClient, String> {
    // The only provider that ambit is built with; that it is set already is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let address = url::Url::parse(&setting.address).map_err(|error| format!("its address is no URL: {error}"))?;
    if !matches!(address.scheme(), "http" | "https") {
        return Err("its address is neither `https` nor `http`".to_owned());
    }
    let roots = setting.ca.iter().map(|path| path.to_string_lossy().into_owned()).collect();
    let token = match &setting.auth {
        VaultAuth::TokenFile(path) => text(path)?,
        VaultAuth::TokenEnvironment(name) => variable(name)?,
        VaultAuth::Approle(_) => Zeroizing::default(),
    };
    let settings = VaultClientSettingsBuilder::default()
        .address(address.as_str())
        .ca_certs(roots)
        .identity(None)
        .timeout(Some(PATIENCE))
        .token(token.as_str())
        .verify(true)
        .namespace(None)
        .build()
        .map_err(|error| error.to_string())?;
    let mut client = VaultClient::new(settings).map_err(said)?;
    if let VaultAuth::Approle(AppRole { role_id, secret_id_file, mount }) = &setting.auth {
        let secret = text(secret_id_file)?;
        let login = vaultrs::auth::approle::login(&client, mount, role_id, &secret).await.map_err(said)?;
        client.set_token(&login.client_token);
    }
    Ok(client)
}

fn text(path: &Path) -> Result<Zeroizing<String>, String> {
    #[expect(clippy::disallowed_methods, reason = "the file that the configuration names")]
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("`{}` cannot be read: {error}", path.display()))?;
    let text = Zeroizing::new(text);
    Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}

fn variable(name: &str) -> Result<Zeroizing<String>, String> {
    #[expect(clippy::disallowed_methods, reason = "the variable that the configuration names")]
    let value = std::env::var(name).map_err(|_| format!("the variable `{name}` is not set"))?;
    Ok(Zeroizing::new(value))
}

/// What went wrong, in words that hold nothing that Vault sent but its own errors.
fn said(error: ClientError) -> String {
    match error {
        ClientError::APIError { code, errors } => format!("it answered {code}: {}", errors.join("; ")),
        ClientError::JsonParseError { .. } => "it answered what is no answer to that".to_owned(),
        ClientError::RestClientError { .. } => "it cannot be reached, or answered what is no answer to that".to_owned(),
        _ => "the request could not be made".to_owned(),
    }
}
