//! What the host attaches to requests that a rule lists, and the guest never sees.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Grant, headers};
use crate::gate::{Durability, Effect};
use crate::identity::Subject;
use crate::manifest::{HumanDuration, reject};
use crate::policy::{Attribute, Resource};
use crate::secret::{Secret, SecretName};

/// How long a credential is lent for, if nothing is said, in milliseconds.
const LEASE: u64 = 5 * 60_000;
/// The longest that one may be lent for, in milliseconds: an hour.
const LONGEST_LEASE: u64 = 60 * 60_000;
/// The longest that a token may be good for, in milliseconds: it cannot be taken back.
const LONGEST_TOKEN: u64 = 5 * 60_000;

/// `credential = "billing-token"`, or a table that says more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Credential {
    /// What it is.
    pub what: What,
    /// How it is attached.
    pub manner: Manner,
    /// For how long it is lent.
    pub lease: HumanDuration,
}

/// What a credential is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// A secret of the host's.
    Secret(SecretName),
    /// A token of the task's own identity, for this audience.
    Token(String),
}

/// How a credential is attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Manner {
    /// `Authorization: Bearer …` (RFC 6750, section 2.1).
    Bearer,
    /// `Authorization: Basic …` (RFC 7617), as this user.
    Basic {
        /// The user's name.
        user: String,
    },
    /// In a header of its own.
    Header {
        /// Its name.
        #[serde(serialize_with = "as_text")]
        name: HeaderName,
        /// What stands before the value.
        prefix: String,
    },
}

fn as_text<S: serde::Serializer>(name: &HeaderName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(name.as_str())
}

/// The table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename = "credential")]
struct Written {
    secret: Option<SecretName>,
    token: Option<String>,
    user: Option<String>,
    header: Option<String>,
    prefix: Option<String>,
    lease: Option<HumanDuration>,
}

impl<'de> Deserialize<'de> for Credential {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Credential;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "the name of a secret, or a table as `{ secret = \"billing-token\", header = \"x-api-key\" }`",
                )
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Credential, E> {
                let secret = text.parse().map_err(E::custom)?;
                let lease = HumanDuration::from_millis(LEASE);
                Ok(Credential { what: What::Secret(secret), manner: Manner::Bearer, lease })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Credential, A::Error> {
                Written::deserialize(MapAccessDeserializer::new(map))?.check()
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl Written {
    fn check<E: serde::de::Error>(self) -> Result<Credential, E> {
        let (what, longest) = match (self.secret, self.token) {
            (Some(secret), None) => (What::Secret(secret), LONGEST_LEASE),
            (None, Some(audience)) if !audience.is_empty() => (What::Token(audience), LONGEST_TOKEN),
            _ => {
                let help = "write `secret = \"billing-token\"`, or `token = \"https://billing.example.net\"` for a token of the \
                            task's own identity";
                return Err(reject("a credential is either a secret or a token", help));
            }
        };
        let manner = match (self.user, self.header) {
            (None, None) => Manner::Bearer,
            (Some(user), None) if !user.contains([':', '\0']) && !user.chars().any(char::is_control) => {
                Manner::Basic { user }
            }
            (Some(_), None) => {
                return Err(E::custom("the name of a user has no colon and no control characters (RFC 7617)"));
            }
            (None, Some(header)) => {
                Manner::Header { name: own_header(&header)?, prefix: self.prefix.clone().unwrap_or_default() }
            }
            (Some(_), Some(_)) => {
                return Err(reject(
                    "a credential is attached in one way",
                    "write `user` or `header`, or neither for a bearer token",
                ));
            }
        };
        if self.prefix.as_ref().is_some_and(|prefix| HeaderValue::from_str(prefix).is_err()) {
            return Err(E::custom("this can stand in no header"));
        }
        if self.prefix.is_some() && !matches!(manner, Manner::Header { .. }) {
            return Err(reject("there is no header for the prefix", "name it, as `header = \"x-api-key\"`"));
        }
        let lease = self.lease.unwrap_or(HumanDuration::from_millis(LEASE));
        if lease.duration().is_zero() || lease.duration() > Duration::from_millis(longest) {
            let help = format!("write at most `{}`", HumanDuration::from_millis(longest));
            return Err(reject("a credential is lent for minutes", &help));
        }
        Ok(Credential { what, manner, lease })
    }
}

/// The name of a header that carries credentials and nothing else.
fn own_header<E: serde::de::Error>(written: &str) -> Result<HeaderName, E> {
    let name = HeaderName::try_from(written).map_err(|_| E::custom("this is no name of a header"))?;
    if name != AUTHORIZATION && headers::frames(&name) {
        return Err(reject("this header frames the message", "name the one that the service reads, as `x-api-key`"));
    }
    Ok(name)
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the credential {}", self.what)
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(name) => write!(f, "{name}"),
            Self::Token(audience) => write!(f, "token for {audience}"),
        }
    }
}

/// A credential as it goes with one request.
pub struct Attached {
    /// The header.
    pub name: HeaderName,
    /// What stands there. It says nothing of itself.
    pub value: HeaderValue,
}

impl Credential {
    /// The header that carries it.
    pub fn header(&self) -> HeaderName {
        match &self.manner {
            Manner::Header { name, .. } => name.clone(),
            Manner::Bearer | Manner::Basic { .. } => AUTHORIZATION,
        }
    }

    /// It, with its value. None when the value can stand in no header.
    pub fn attached(&self, value: &Secret) -> Option<Attached> {
        let value = value.expose();
        let text = match &self.manner {
            Manner::Bearer => Zeroizing::new([b"Bearer ", value].concat()),
            Manner::Basic { user } => {
                let pair = Zeroizing::new([user.as_bytes(), b":", value].concat());
                let encoded = Zeroizing::new(STANDARD.encode(&*pair));
                Zeroizing::new([b"Basic ", encoded.as_bytes()].concat())
            }
            Manner::Header { prefix, .. } => Zeroizing::new([prefix.as_bytes(), value].concat()),
        };
        let mut value = HeaderValue::from_bytes(&text).ok()?;
        value.set_sensitive(true);
        Some(Attached { name: self.header(), value })
    }
}

/// A credential is lent to the task, for requests to one place.
#[derive(Clone, Debug, Serialize)]
pub struct Lease {
    /// Which.
    pub secret: SecretName,
    /// Where to: `https://billing.example.net`.
    pub place: String,
    /// The host there.
    pub host: String,
    /// For how long, in seconds, if nobody says otherwise.
    pub seconds: u64,
    /// As the rule writes it.
    pub credential: Credential,
    /// For whom it is.
    #[serde(skip)]
    pub subject: Option<Subject>,
}

impl Effect for Lease {
    type Grant = Grant;
    const ACTION: &'static str = "secrets.lease";
    const DURABILITY: Durability = Durability::Outside;

    fn resource(&self) -> Resource {
        Resource::new("Secret", self.secret.as_str())
    }

    fn context(&self) -> Vec<(&'static str, Attribute)> {
        vec![("host", Attribute::String(self.host.clone())), ("seconds", Attribute::count(self.seconds))]
    }

    fn covered(&self, grant: &Grant) -> bool {
        self.credential.what == What::Secret(self.secret.clone()) && grant.attaches(&self.credential, &self.place)
    }
}

/// A token of the task's identity is attached to its requests to one place.
#[derive(Clone, Debug, Serialize)]
pub struct Ticket {
    /// For whom it is.
    pub audience: String,
    /// Where it goes.
    pub place: String,
    /// The host there.
    pub host: String,
    /// For how long, in seconds, if nobody says otherwise.
    pub seconds: u64,
    /// As the rule writes it.
    pub credential: Credential,
    /// Who the token is about.
    #[serde(skip)]
    pub subject: Option<Subject>,
}

impl Effect for Ticket {
    type Grant = Grant;
    const ACTION: &'static str = "identity.token";
    const DURABILITY: Durability = Durability::Outside;

    fn resource(&self) -> Resource {
        Resource::new("Audience", self.audience.clone())
    }

    fn context(&self) -> Vec<(&'static str, Attribute)> {
        vec![("host", Attribute::String(self.host.clone())), ("seconds", Attribute::count(self.seconds))]
    }

    fn covered(&self, grant: &Grant) -> bool {
        self.credential.what == What::Token(self.audience.clone()) && grant.attaches(&self.credential, &self.place)
    }
}
