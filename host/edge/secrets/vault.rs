//! A secret in a KV engine of Vault's, or of what speaks as Vault does (`HashiCorp` Vault HTTP API, KV version 1 and 2).
//!
//! Nothing but the configuration says where it is asked and as whom: no variable of Vault's or of proxies is looked at, no
//! redirect is followed, as the token would go along.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use rustify::clients::reqwest::Client as HttpClient;
use rustify::errors::ClientError as HttpError;
use serde_json::Value;
use vaultrs::api::EndpointMiddleware;
use vaultrs::client::{Client as _, VaultClient, VaultClientSettings};
use vaultrs::error::ClientError;
use zeroize::Zeroizing;

use super::file::File;
use super::{Asked, Found, Reading, SecretError, Source};
use crate::edge::connection::Trust;
use crate::secret::{Secret, SecretName};
use crate::settings::secret::{AppRole, KvVersion, VaultAuth, VaultSetting};

/// The longest that is told of what Vault says of a failure, in bytes.
const LONGEST_REASON: usize = 512;

/// A field of a secret there.
pub(super) struct Vault {
    setting: Arc<VaultSetting>,
    trust: Trust,
}

impl Vault {
    pub(super) fn new(setting: VaultSetting) -> Self {
        Self { setting: Arc::new(setting), trust: Trust::default() }
    }
}

impl Source for Vault {
    fn place(&self) -> String {
        format!("Vault, {}/{} at {}", self.setting.mount, self.setting.path, self.setting.address)
    }

    fn read(&self, name: &SecretName, _asked: Asked) -> Reading {
        let (setting, trust) = (Arc::clone(&self.setting), self.trust.clone());
        let (name, place) = (name.clone(), self.place());
        Box::pin(async move {
            let timeout = setting.timeout;
            let read = tokio::time::timeout(timeout.duration(), read(&setting, &trust)).await;
            let read = read.unwrap_or_else(|_| Err(format!("it did not answer within {timeout}")));
            let (value, lasts) = read.map_err(|why| SecretError::Unavailable { name: name.clone(), place, why })?;
            let value = Secret::new(value).map_err(|why| SecretError::Unfit { name, why })?;
            Ok(Found { value, version: None, lasts, beside: None })
        })
    }

    /// Asking Vault for each request would cost more than the request; a lease is minutes long.
    fn version(&self, _name: &SecretName) -> Result<Option<String>, SecretError> {
        Ok(None)
    }
}

/// The value, and how long it may be kept, if Vault says so.
async fn read(setting: &VaultSetting, trust: &Trust) -> Result<(Zeroizing<Vec<u8>>, Option<Duration>), String> {
    let client = client(setting, trust).await?;
    let VaultSetting { mount, path, field, kv, .. } = setting;
    let said = |error| said(error, &[&client.settings.token]);
    let (mut fields, seconds) = match kv {
        KvVersion::One => {
            let answer = vaultrs::kv1::get_raw(&client, mount, path).await.map_err(said)?;
            let seconds = u64::try_from(answer.lease_duration).unwrap_or_default();
            let fields = serde_json::from_value::<HashMap<String, Value>>(answer.data);
            (fields.map_err(|_| NO_ANSWER.to_owned())?, seconds)
        }
        KvVersion::Two => (vaultrs::kv2::read(&client, mount, path).await.map_err(said)?, 0),
    };
    let value = match fields.remove(field) {
        Some(Value::String(text)) => Zeroizing::new(text.into_bytes()),
        Some(_) => return Err(format!("its field `{field}` is no text")),
        None => return Err(format!("it has no field `{field}`: look at `field` and `kv` as well")),
    };
    Ok((value, (seconds > 0).then(|| Duration::from_secs(seconds))))
}

/// A client that goes where it is told and nowhere else.
async fn client_of(trust: &Trust, ca: Option<&Path>) -> Result<reqwest::Client, String> {
    let roots = trust.of(ca).await.map_err(|error| error.to_string())?;
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured((*roots).clone())
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        // One that is kept may end just when the next request goes out, and there are two at most.
        .pool_max_idle_per_host(0)
        .build();
    client.map_err(|_| "the request could not be made".to_owned())
}

/// A client that has proved who it is, or bears a token that says so.
async fn client(setting: &VaultSetting, trust: &Trust) -> Result<VaultClient, String> {
    let token = match &setting.auth {
        VaultAuth::TokenFile(path) => text(path)?,
        VaultAuth::TokenEnvironment(name) => variable(name)?,
        VaultAuth::Approle(_) => Zeroizing::default(),
    };
    let http = client_of(trust, setting.ca.as_deref()).await?;
    let address = setting.address.url().clone();
    let mut client = VaultClient {
        http: HttpClient::new(address.as_str(), http),
        middle: EndpointMiddleware { token: String::new(), version: "v1".to_owned(), wrap: None, namespace: None },
        // Written out: what is left to the builder, it takes from the environment.
        settings: VaultClientSettings {
            address,
            ca_certs: Vec::new(),
            identity: None,
            timeout: None,
            token: String::new(),
            verify: true,
            version: 1,
            wrapping: false,
            namespace: None,
            proxy: None,
        },
    };
    let VaultAuth::Approle(AppRole { role_id, secret_id_file, mount }) = &setting.auth else {
        return bearing(client, &token, "ambit's token");
    };
    let secret = text(secret_id_file)?;
    let login = vaultrs::auth::approle::login(&client, mount, role_id, &secret).await;
    let login = login.map_err(|error| format!("at the login {}", said(error, &[&secret])))?;
    client = bearing(client, &Zeroizing::new(login.client_token), "the token that the login gave")?;
    Ok(client)
}

/// The client with a token that can be sent.
fn bearing(mut client: VaultClient, token: &str, what: &str) -> Result<VaultClient, String> {
    if token.is_empty() || HeaderValue::from_str(token).is_err() {
        return Err(format!("{what} can stand in no header"));
    }
    client.set_token(token);
    Ok(client)
}

fn text(path: &Path) -> Result<Zeroizing<String>, String> {
    let failed = |why: String| format!("`{}` cannot be used: {why}", path.display());
    let (mut bytes, _) = File(path.to_owned()).value().map_err(failed)?;
    if bytes.ends_with(b"\r") {
        bytes.pop();
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| failed("it is not UTF-8".to_owned()))?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn variable(name: &str) -> Result<Zeroizing<String>, String> {
    #[expect(clippy::disallowed_methods, reason = "the variable that the configuration names")]
    let value = std::env::var(name).map_err(|_| format!("the variable `{name}` is not set, or is not UTF-8"))?;
    Ok(Zeroizing::new(value))
}

/// What is said of an answer that none was expected to be.
const NO_ANSWER: &str = "what it answered is no answer to that: look at `address`, `mount` and `kv`";

/// What went wrong, in words that hold nothing that Vault sent but its own errors, and none of these secrets.
fn said(error: ClientError, secrets: &[&str]) -> String {
    match error {
        ClientError::APIError { code, errors } => {
            let mut errors = errors.join("; ");
            for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
                errors = errors.replace(secret, "****");
            }
            let mut errors = crate::audit::escaped(&errors);
            errors.truncate(errors.floor_char_boundary(LONGEST_REASON));
            match (code, errors.as_str()) {
                (404, "") => "it answered 404: nothing is there, look at `mount`, `path` and `kv`".to_owned(),
                (_, "") => format!("it answered {code}"),
                _ => format!("it answered {code}: {errors}"),
            }
        }
        ClientError::RestClientError { source } => match source {
            HttpError::ServerResponseError { code: code @ 300..400, .. } => {
                format!("it answered {code}, which leads elsewhere: write into `address` where it is itself")
            }
            HttpError::ServerResponseError { code, .. } => format!("it answered {code}"),
            HttpError::RequestError { source, .. } | HttpError::ResponseError { source } => {
                format!("it cannot be reached: {}", crate::audit::escaped(&source.root_cause().to_string()))
            }
            _ => NO_ANSWER.to_owned(),
        },
        _ => NO_ANSWER.to_owned(),
    }
}
