//! What `config.toml` says of secrets: what they are sealed under, and where those come from that the home does not hold.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use url::Url;

use crate::address::Reach;
use crate::manifest::HumanDuration;
use crate::policy::point::some_time;
use crate::secret::SecretName;

/// Where the key comes from that wraps the data keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeySetting {
    /// `"file"`: a file in the home folder.
    #[default]
    File,
    /// `{ systemd = "ambit-key" }`: a credential that systemd hands to the service.
    Systemd(String),
    /// `{ pkcs11 = { … } }`: a key in a PKCS #11 token.
    Pkcs11(Pkcs11Setting),
}

/// A key in a token: `{ module = "…/libsofthsm2.so", token = "ambit", key = "ambit-kek", pin = { file = "pin" } }`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pkcs11Setting {
    /// The library that speaks with the token; relative to the home folder.
    pub module: PathBuf,
    /// The label of the token.
    pub token: String,
    /// The label of the key: an AES key of 256 bits that may encrypt and decrypt.
    pub key: String,
    /// Where the user's PIN is.
    pub pin: PinSetting,
}

/// `[secret-store]` of `config.toml`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreSetting {
    /// The key that wraps the data keys.
    #[serde(default)]
    pub key: KeySetting,
    /// The key that wrapped them before: named while `ambit secret rotate` changes from one to the other.
    pub before: Option<KeySetting>,
}

/// `[secrets.NAME]` of `config.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretSetting {
    /// Where its value comes from.
    pub source: SourceSetting,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceSetting {
    /// A variable of ambit's environment.
    Environment(String),
    /// A file.
    File(PathBuf),
    /// A field of a secret in a KV engine of Vault's.
    Vault(Box<VaultSetting>),
    /// A token that a service gives for one of the task's own.
    #[serde(deserialize_with = "guarded")]
    Exchange(Box<ExchangeSetting>),
}

impl SourceSetting {
    /// Makes relative paths absolute: they are relative to `base`.
    pub fn locate(&mut self, base: &Path) {
        let paths = match self {
            Self::Environment(_) => Vec::new(),
            Self::File(path) => vec![path],
            Self::Exchange(setting) => setting.ca.iter_mut().collect(),
            Self::Vault(setting) => {
                let VaultSetting { auth, ca, .. } = &mut **setting;
                let auth = match auth {
                    VaultAuth::TokenFile(path) => Some(path),
                    VaultAuth::TokenEnvironment(_) => None,
                    VaultAuth::Approle(role) => Some(&mut role.secret_id_file),
                };
                auth.into_iter().chain(ca).collect()
            }
        };
        for path in paths {
            *path = base.join(&*path);
        }
    }
}

/// A token that a service gives for one of the task's own (RFC 8693).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ExchangeSetting {
    /// Where tokens are exchanged: `https://sts.example.net/token`.
    pub endpoint: Endpoint,
    /// For whom the task's own token is; the endpoint, if nothing is said.
    #[serde(default, deserialize_with = "said")]
    subject_audience: Option<String>,
    /// For which service the other token is, by name.
    #[serde(default, deserialize_with = "said")]
    pub audience: Option<String>,
    /// For which service it is, by address.
    #[serde(default, deserialize_with = "address")]
    pub resource: Option<String>,
    /// What it is for, in words that are separated by spaces.
    #[serde(default, deserialize_with = "said")]
    pub scope: Option<String>,
    /// What kind of token is asked for.
    #[serde(default, deserialize_with = "said")]
    pub requested_token_type: Option<String>,
    /// As which client ambit asks, where the endpoint wants to know.
    pub client: Option<ClientSetting>,
    /// Where connections may go; anywhere, if nothing is said, and nowhere but here without TLS.
    pub addresses: Option<Reach>,
    /// The roots that its certificate has to lead to, in PEM, instead of Mozilla's.
    pub ca: Option<PathBuf>,
    /// How long it may take.
    #[serde(default = "default_timeout", deserialize_with = "some_time")]
    pub timeout: HumanDuration,
}

impl ExchangeSetting {
    /// For whom the task's own token is.
    pub fn subject_audience(&self) -> String {
        self.subject_audience.clone().unwrap_or_else(|| self.endpoint.to_string())
    }
}

/// What is left out is not sent; what is there says something.
fn said<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.trim().is_empty() { Err(D::Error::custom("this says nothing: leave it out")) } else { Ok(Some(text)) }
}

/// An absolute URI without a fragment (RFC 8693, section 2.1).
fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if Url::parse(&text).is_ok_and(|url| url.fragment().is_none()) {
        Ok(Some(text))
    } else {
        let shown = text.escape_debug();
        Err(D::Error::custom(format!(
            "`{shown}` is no address of a service: write it as `https://billing.example.net`"
        )))
    }
}

/// The name of a client.
fn named<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    if name.is_empty() { Err(D::Error::custom("a client has a name")) } else { Ok(name) }
}

/// Without TLS, an endpoint stays on this machine.
fn guarded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Box<ExchangeSetting>, D::Error> {
    let setting = Box::<ExchangeSetting>::deserialize(deserializer)?;
    let leaves = setting.addresses.as_ref().is_some_and(|reach| !reach.stays_here());
    if leaves && setting.endpoint.url().scheme() == "http" {
        return Err(D::Error::custom("tokens are readable on the way to these `addresses` without TLS: write `https`"));
    }
    Ok(setting)
}

/// A client of a token endpoint (RFC 6749, section 2.3.1).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientSetting {
    /// Its name there.
    #[serde(deserialize_with = "named")]
    pub id: String,
    /// The secret of the home that it proves itself with.
    pub secret: SecretName,
}

/// The address of a token endpoint: `https`, or `http` on this machine, which what is sent does not leave then.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Endpoint(String, Url);

impl Endpoint {
    /// As a URL.
    pub fn url(&self) -> &Url {
        &self.1
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Endpoint {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        // What is no address is not shown: it may hold a password.
        let odd = || "that is no token endpoint: write it as `https://sts.example.net/token`".to_owned();
        // A URL is read without such characters, and shown with them.
        let url = Url::parse(&text).ok().filter(|_| text.chars().all(|c| c.is_ascii_graphic())).ok_or_else(odd)?;
        let here = super::is_here(&url);
        let is_plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        match url.scheme() {
            "https" if is_plain => Ok(Self(text, url)),
            "http" if is_plain && here => Ok(Self(text, url)),
            "http" if is_plain => Err("tokens are readable on the way without TLS: write it with `https`".to_owned()),
            _ => Err(odd()),
        }
    }
}

/// A field of a secret in a KV engine of Vault's.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct VaultSetting {
    /// Where Vault is: `https://vault.example.net:8200`.
    pub address: VaultAddress,
    /// Where the engine is mounted.
    #[serde(default = "default_mount", deserialize_with = "segments")]
    pub mount: String,
    /// The secret's path there.
    #[serde(deserialize_with = "segments")]
    pub path: String,
    /// The field of it.
    pub field: String,
    /// The version of the engine: 1 or 2.
    #[serde(default)]
    pub kv: KvVersion,
    /// How ambit proves who it is.
    pub auth: VaultAuth,
    /// The roots that Vault's certificate has to lead to, in PEM, instead of Mozilla's.
    pub ca: Option<PathBuf>,
    /// How long it may take, from the login to the end of the last answer.
    #[serde(default = "default_timeout", deserialize_with = "some_time")]
    pub timeout: HumanDuration,
}

fn default_mount() -> String {
    "secret".to_owned()
}

fn default_timeout() -> HumanDuration {
    HumanDuration::from_millis(10_000)
}

/// A path whose segments all say something: one that leads up would be dropped on its way, and another secret be read.
fn segments<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let path = String::deserialize(deserializer)?;
    if path.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        let shown = path.escape_debug();
        return Err(D::Error::custom(format!("`{shown}` is no path in Vault: write it as `teams/billing`")));
    }
    Ok(path)
}

/// The address of a Vault: `http` or `https`, a host and a port, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct VaultAddress(Url);

impl VaultAddress {
    /// As a URL.
    pub fn url(&self) -> &Url {
        &self.0
    }
}

impl fmt::Display for VaultAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl TryFrom<String> for VaultAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        // What is no address is not shown: it may hold a password.
        let odd = || "that is no address of Vault: write it as `https://vault.example.net:8200`".to_owned();
        let url = Url::parse(&text).map_err(|_| odd())?;
        let is_plain = url.username().is_empty() && url.password().is_none() && url.path() == "/";
        let ends = url.query().is_none() && url.fragment().is_none();
        if matches!(url.scheme(), "http" | "https") && url.has_host() && is_plain && ends {
            Ok(Self(url))
        } else {
            Err(odd())
        }
    }
}

/// The version of a KV engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u8")]
pub enum KvVersion {
    /// Values alone.
    One,
    /// Values with versions.
    #[default]
    Two,
}

impl TryFrom<u8> for KvVersion {
    type Error = &'static str;

    fn try_from(version: u8) -> Result<Self, &'static str> {
        match version {
            1 => Ok(Self::One),
            2 => Ok(Self::Two),
            _ => Err("KV engines have version 1 or 2"),
        }
    }
}

/// How ambit proves to Vault who it is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VaultAuth {
    /// By a token in a file.
    TokenFile(PathBuf),
    /// By a token in a variable of the environment.
    TokenEnvironment(String),
    /// As an application.
    Approle(AppRole),
}

/// An application that Vault knows.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AppRole {
    /// Its role.
    pub role_id: String,
    /// The file with its secret.
    pub secret_id_file: PathBuf,
    /// Where the method is mounted.
    #[serde(default = "default_approle", deserialize_with = "segments")]
    pub mount: String,
}

fn default_approle() -> String {
    "approle".to_owned()
}

/// Where a PIN is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PinSetting {
    /// In a file; relative to the home folder.
    File(PathBuf),
    /// In a variable of the environment.
    Environment(String),
}
