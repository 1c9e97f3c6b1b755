//! Attributes of a request, as Cedar types them.

use std::borrow::Cow;
use std::str::FromStr as _;

use serde::{Deserialize, Serialize};

use cedar_policy::{EntityId, EntityTypeName, EntityUid, RestrictedExpression};

/// Why a value cannot be put to a policy. The request that holds it is denied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum ValueError {
    /// Cedar's integers have 64 bits and a sign.
    #[error("`{0}` is an integer that policies cannot express: they reach from -2^63 to 2^63 - 1")]
    TooLarge(u64),
    /// A value that does not have the type that its schema says.
    #[error("{0}")]
    Other(String),
}

/// A typed attribute of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attribute {
    /// A Cedar `Long`.
    Long(i64),
    /// A Cedar `String`.
    String(String),
    /// A Cedar `Bool`.
    Bool(bool),
    /// A Cedar `Set`: order and repetitions are lost.
    Set(Vec<Attribute>),
    /// A Cedar record. Optional attributes that are not there are left out.
    Record(Vec<(String, Attribute)>),
    /// A Cedar `datetime`: milliseconds since the Unix epoch.
    Time(i64),
    /// An entity: its type in the namespace `Ambit`, and its name.
    Entity(Cow<'static, str>, String),
    /// A value that Cedar cannot hold. It makes the request a denial.
    Inexpressible(ValueError),
}

impl Attribute {
    /// A `Long` that counts something. Larger numbers than Cedar's are given as its largest.
    pub fn count(value: u64) -> Self {
        Self::Long(i64::try_from(value).unwrap_or(i64::MAX))
    }

    /// A set of strings.
    pub fn strings<T: Into<String>>(values: impl IntoIterator<Item = T>) -> Self {
        Self::Set(values.into_iter().map(|value| Self::String(value.into())).collect())
    }

    /// It, as Cedar takes it.
    pub(super) fn expression(self) -> Result<RestrictedExpression, Box<dyn std::error::Error>> {
        Ok(match self {
            Self::Long(value) => RestrictedExpression::new_long(value),
            Self::String(value) => RestrictedExpression::new_string(value),
            Self::Bool(value) => RestrictedExpression::new_bool(value),
            Self::Set(values) => {
                let values = values.into_iter().map(Self::expression).collect::<Result<Vec<_>, _>>()?;
                RestrictedExpression::new_set(values)
            }
            Self::Record(fields) => {
                let fields = fields.into_iter().map(|(name, value)| Ok((name, value.expression()?)));
                RestrictedExpression::new_record(fields.collect::<Result<Vec<_>, Box<dyn std::error::Error>>>()?)?
            }
            Self::Time(milliseconds) => {
                // The one way to make a datetime: Cedar takes it in the words of RFC 3339.
                RestrictedExpression::new_datetime(rfc3339(milliseconds).ok_or("a time that cannot be told")?)
            }
            Self::Entity(kind, name) => RestrictedExpression::new_entity_uid(entity(&kind, &name)?),
            Self::Inexpressible(error) => return Err(error.into()),
        })
    }
}

/// A time in milliseconds since the Unix epoch, in the words of RFC 3339.
pub(super) fn rfc3339(milliseconds: i64) -> Option<String> {
    let time = chrono::DateTime::from_timestamp_millis(milliseconds)?;
    Some(time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
}

/// The name of an entity in the namespace `Ambit`.
pub(super) fn entity(kind: &str, name: &str) -> Result<EntityUid, Box<dyn std::error::Error>> {
    let kind = EntityTypeName::from_str(&format!("Ambit::{kind}"))?;
    Ok(EntityUid::from_type_name_and_id(kind, EntityId::new(name)))
}
