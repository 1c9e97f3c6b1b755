//! Secrets in the host's memory: what they are called, and values that are overwritten when they are dropped.

use std::fmt;
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
