//! Values that manifests write as text: sizes, durations, and paths inside a guest.
//!
//! | type | is written |
//! | --- | --- |
//! | [`ByteSize`] | `"64MiB"`, `"10kB"`, `512` |
//! | [`HumanDuration`] | `"60s"`, `"1h30m"`, `"500ms"` |
//! | [`GuestPath`] | `"/documents"` |
//!
//! Each is written in one way: what is printed is what is read again.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::wording::{quoted, reject};

/// Units of sizes and the bytes in each, the largest first (IEC 80000-13 for powers of two, SI for powers of ten).
const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

/// Units of durations and the milliseconds in each, in the order in which they are written.
const TIME_UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

const SIZE_HELP: &str = "write a size as `\"64MiB\"`, `\"512KiB\"` or `\"10kB\"`, or a plain number of bytes";
const TIME_HELP: &str = "write a duration as `\"500ms\"`, `\"60s\"`, `\"15m\"` or `\"1h30m\"`";
const PATH_HELP: &str = "write an absolute path of the guest, as `\"/documents\"`";

/// Longest path inside a guest, in bytes (`PATH_MAX` of Linux).
const LONGEST_PATH: usize = 4096;

/// Why a text is not a quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not the shape of a size.
    #[error("{0} is not a size")]
    NotASize(String),
    /// More bytes than 64 bits count.
    #[error("{0} is too large for a size")]
    SizeTooLarge(String),
    /// Not the shape of a duration.
    #[error("{0} is not a duration")]
    NotADuration(String),
    /// More milliseconds than 64 bits count.
    #[error("{0} is too long for a duration")]
    DurationTooLong(String),
    /// Not an absolute, normal path.
    #[error("{path} is no path for a guest: {reason}")]
    NotAGuestPath {
        /// The path, in backticks.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl QuantityError {
    /// What to write instead.
    #[must_use]
    pub fn help(&self) -> &'static str {
        match self {
            QuantityError::NotASize(_) | QuantityError::SizeTooLarge(_) => SIZE_HELP,
            QuantityError::NotADuration(_) | QuantityError::DurationTooLong(_) => TIME_HELP,
            QuantityError::NotAGuestPath { .. } => PATH_HELP,
        }
    }
}

/// A number of bytes: a plain number, or digits with a unit.
///
/// ```
/// # use ambit::manifest::ByteSize;
/// let size: ByteSize = "64MiB".parse()?;
/// assert_eq!(size.bytes(), 64 * 1024 * 1024);
/// assert_eq!(size.to_string(), "64MiB");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

impl ByteSize {
    /// So many bytes.
    #[must_use]
    pub const fn new(bytes: u64) -> ByteSize {
        ByteSize(bytes)
    }

    /// The number of bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ByteSize {
    /// The largest unit that needs no fraction.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Between units that both fit (1000KiB is 1024kB), the shorter number is the one a person would write.
        let fitting = SIZE_UNITS.iter().filter(|(_, bytes)| self.0.is_multiple_of(*bytes) && self.0 >= *bytes);
        let (unit, bytes) = fitting.min_by_key(|(_, bytes)| self.0 / bytes).unwrap_or(&("B", 1));
        write!(formatter, "{}{unit}", self.0 / bytes)
    }
}

impl FromStr for ByteSize {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<ByteSize, QuantityError> {
        let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit = match unit.trim_start_matches(' ') {
            "" if unit.is_empty() => 1,
            name => SIZE_UNITS.iter().find(|(unit, _)| *unit == name).map_or(0, |(_, bytes)| *bytes),
        };
        if number.is_empty() || unit == 0 {
            return Err(QuantityError::NotASize(quoted(text)));
        }
        let number: Option<u64> = number.parse().ok();
        number
            .and_then(|number| number.checked_mul(unit))
            .map(ByteSize)
            .ok_or_else(|| QuantityError::SizeTooLarge(quoted(text)))
    }
}

/// A duration in whole milliseconds: numbers with units, from days down to milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HumanDuration(u64);

impl HumanDuration {
    /// So many milliseconds.
    #[must_use]
    pub const fn from_millis(milliseconds: u64) -> HumanDuration {
        HumanDuration(milliseconds)
    }

    /// The duration.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return formatter.write_str("0s");
        }
        let mut rest = self.0;
        for (unit, milliseconds) in TIME_UNITS {
            if rest >= milliseconds {
                write!(formatter, "{}{unit}", rest / milliseconds)?;
                rest %= milliseconds;
            }
        }
        Ok(())
    }
}

impl FromStr for HumanDuration {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<HumanDuration, QuantityError> {
        let not_a_duration = || QuantityError::NotADuration(quoted(text));
        let too_long = || QuantityError::DurationTooLong(quoted(text));
        let mut rest = text;
        let mut units = TIME_UNITS.iter();
        let mut total: u64 = 0;
        while !rest.is_empty() {
            let digits = rest.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(not_a_duration)?;
            let (number, after) = rest.split_at(digits);
            let letters = after.find(|letter: char| !letter.is_ascii_alphabetic()).unwrap_or(after.len());
            let (name, after) = after.split_at(letters);
            // Searching on in the same iterator refuses units that repeat or stand in the wrong order.
            let (_, milliseconds) = units.find(|(unit, _)| *unit == name).ok_or_else(not_a_duration)?;
            if number.is_empty() {
                return Err(not_a_duration());
            }
            let number: u64 = number.parse().map_err(|_| too_long())?;
            total = number.checked_mul(*milliseconds).and_then(|part| total.checked_add(part)).ok_or_else(too_long)?;
            rest = after;
        }
        if text.is_empty() { Err(not_a_duration()) } else { Ok(HumanDuration(total)) }
    }
}

/// An absolute path inside a guest, in its one normal form: `/`, then names between single `/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GuestPath(Box<str>);

impl GuestPath {
    /// The path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `other` is this path or lies below it.
    #[must_use]
    pub fn covers(&self, other: &GuestPath) -> bool {
        other.0.strip_prefix(&*self.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl fmt::Display for GuestPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for GuestPath {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<GuestPath, QuantityError> {
        let reason = match text.strip_prefix('/') {
            None => Some("it does not begin with `/`"),
            Some("") => Some("it names no folder"),
            Some(_) if text.len() > LONGEST_PATH => Some("it is longer than 4096 bytes"),
            Some(_) if text.contains('\\') => Some("it has a backslash"),
            Some(_) if text.chars().any(char::is_control) => Some("it has a control character"),
            Some(names) => names.split('/').find_map(|name| match name {
                "" => Some("it has an empty name"),
                "." | ".." => Some("it has `.` or `..`"),
                _ => None,
            }),
        };
        match reason {
            Some(reason) => Err(QuantityError::NotAGuestPath { path: quoted(text), reason }),
            None => Ok(GuestPath(text.into())),
        }
    }
}

/// Reads a value from the text of a string or a number, so that both are refused in the same words.
struct Written<T> {
    expected: &'static str,
    parse: fn(&str) -> Result<T, QuantityError>,
}

impl<T> Visitor<'_> for Written<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.expected)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).map_err(|error| reject(&error.to_string(), error.help()))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
        deserializer.deserialize_any(Written { expected: "a size, as `\"64MiB\"`", parse: str::parse })
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<HumanDuration, D::Error> {
        deserializer.deserialize_any(Written { expected: "a duration, as `\"60s\"`", parse: str::parse })
    }
}

impl<'de> Deserialize<'de> for GuestPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<GuestPath, D::Error> {
        deserializer
            .deserialize_str(Written { expected: "a path of the guest, as `\"/documents\"`", parse: str::parse })
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for GuestPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
