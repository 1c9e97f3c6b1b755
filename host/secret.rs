//! Secrets in the host's memory: what they are called, and values that are overwritten when they are dropped.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The shortest value of a secret, in bytes: a shorter one would be found everywhere by chance.
pub const SHORTEST: usize = 8;
/// The longest value of a secret, in bytes.
pub const LONGEST: usize = 16 << 10;
/// The longest name of a secret, in bytes.
const LONGEST_NAME: usize = 64;

/// What a secret is called: `billing-token`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct SecretName(String);

impl SecretName {
    /// As a text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SecretName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.');
        let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if begins && text.len() <= LONGEST_NAME && text.bytes().all(fits) {
            Ok(Self(text))
        } else {
            let shown: String = text.chars().take(LONGEST_NAME).collect();
            Err(format!(
                "`{}` is no name of a secret: write it in a-z, 0-9, `-`, `_` and `.`, as `billing-token`",
                shown.escape_debug()
            ))
        }
    }
}

impl FromStr for SecretName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.to_owned().try_into()
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The value of a secret. It is overwritten when it is dropped, and says nothing of itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

/// Why bytes are no value of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnfitSecret {
    /// There is too little of it.
    #[error(
        "it has {0} bytes, and a secret has at least {SHORTEST}: a shorter one would be found everywhere by chance"
    )]
    Short(usize),
    /// There is too much of it.
    #[error("it has {0} bytes, and a secret has at most {LONGEST}")]
    Long(usize),
}

impl Secret {
    /// A value of that many bytes.
    ///
    /// # Errors
    /// When it is too short or too long to be guarded.
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Result<Self, UnfitSecret> {
        match bytes.len() {
            length if length < SHORTEST => Err(UnfitSecret::Short(length)),
            length if length > LONGEST => Err(UnfitSecret::Long(length)),
            _ => Ok(Self(bytes)),
        }
    }

    /// The bytes themselves. Whoever copies them sees to it that the copy is overwritten as well.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

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
    /// The library that speaks with the token.
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
    Vault(VaultSetting),
}

impl SourceSetting {
    /// Makes relative paths absolute: they are relative to `base`.
    pub fn locate(&mut self, base: &Path) {
        let paths = match self {
            Self::Environment(_) => Vec::new(),
            Self::File(path) => vec![path],
            Self::Vault(VaultSetting { auth, ca, .. }) => {
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

/// A field of a secret in a KV engine of Vault's.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct VaultSetting {
    /// Where Vault is: `https://vault.example.net:8200`.
    pub address: String,
    /// Where the engine is mounted.
    #[serde(default = "default_mount")]
    pub mount: String,
    /// The secret's path there.
    pub path: String,
    /// The field of it.
    pub field: String,
    /// The version of the engine: 1 or 2.
    #[serde(default)]
    pub kv: KvVersion,
    /// How ambit proves who it is.
    pub auth: VaultAuth,
    /// The roots that Vault's certificate has to lead to, in PEM, instead of the machine's.
    pub ca: Option<PathBuf>,
}

fn default_mount() -> String {
    "secret".to_owned()
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
    #[serde(default = "default_approle")]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for name in ["billing-token", "0", "a.b_c-d"] {
            assert!(name.parse::<SecretName>().is_ok(), "{name}");
        }
        for name in ["", "-a", ".a", "A", "a b", "a/b", "ä", &"a".repeat(65)] {
            assert!(name.parse::<SecretName>().is_err(), "{name}");
        }
    }

    #[test]
    fn a_value_has_bounds_and_says_nothing_of_itself() {
        let secret = |length| Secret::new(Zeroizing::new(vec![b'x'; length]));
        assert_eq!(secret(7).unwrap_err(), UnfitSecret::Short(7));
        assert_eq!(secret(LONGEST + 1).unwrap_err(), UnfitSecret::Long(LONGEST + 1));
        assert_eq!(format!("{:?}", secret(8).unwrap()), "Secret(…)");
    }
}
