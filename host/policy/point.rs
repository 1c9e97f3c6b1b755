//! A decision point of the operator's own: what the rules allow is put to it as well, and both have to allow it.
//!
//! It is asked in the words of the `OpenID` `AuthZEN` Authorization API 1.0 (section 6, the access evaluation API).

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::{Value, json};
use url::Url;

use super::value::rfc3339;
use super::{Attribute, Name, Question, subject, surroundings};
use crate::address::Reach;
use crate::manifest::HumanDuration;

/// `[decision-point]` of `config.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// Where it is asked.
    pub url: PointUrl,
    /// How long it may take, from the look-up of its name to the end of its answer.
    #[serde(default = "default_timeout", deserialize_with = "some_time")]
    pub timeout: HumanDuration,
    /// Where connections may go; anywhere, if nothing is said.
    pub addresses: Option<Reach>,
    /// The roots that its certificate has to lead to, in PEM, instead of Mozilla's.
    pub ca: Option<PathBuf>,
}

/// A time in which an answer can come.
pub(crate) fn some_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HumanDuration, D::Error> {
    let time = HumanDuration::deserialize(deserializer)?;
    if time.duration().is_zero() {
        Err(D::Error::custom("no answer takes no time: write it as `1s`"))
    } else {
        Ok(time)
    }
}

fn default_timeout() -> HumanDuration {
    HumanDuration::from_millis(1000)
}

/// The address of a decision point: `http` or `https`, without user and fragment.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PointUrl(Url);

impl PointUrl {
    /// As a URL.
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// As a text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for PointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl TryFrom<String> for PointUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let shown = text.escape_debug();
        let url = Url::parse(&text).map_err(|error| format!("`{shown}` is no URL: {error}"))?;
        let is_plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        if matches!(url.scheme(), "http" | "https") && url.has_host() && is_plain {
            Ok(Self(url))
        } else {
            Err(format!("`{shown}` is no place to ask: write it as `https://pdp.example.net/access/v1/evaluation`"))
        }
    }
}

/// What a decision point says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it allows what was asked.
    pub allowed: bool,
    /// What it says of why, for the operator.
    pub reason: Option<String>,
}

/// Why there is no verdict.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PointError(pub String);

/// An answer of a decision point.
pub type Answer = Pin<Box<dyn Future<Output = Result<Verdict, PointError>> + Send>>;

/// Decides beside the rules.
pub trait Point: Send + Sync {
    /// Where it is, for people.
    fn place(&self) -> String;
    /// Asks whether something is allowed. `id` tells this question from others in its log.
    fn evaluate(&self, id: String, asked: Value) -> Answer;
}

/// A question, as `AuthZEN` has it (section 5): with everything that rules would see, in their words, now that these groups
/// have approved it.
///
/// # Errors
/// When an argument cannot be told.
pub fn asked(
    question: &Question<'_>,
    approvals: &BTreeSet<String>,
    arguments: Option<Value>,
) -> Result<Value, PointError> {
    let Question { principal, standing, action, resource, context, .. } = question;
    let mut properties = object(&resource.attributes)?;
    if !resource.within.is_empty() {
        let within: Vec<_> = resource.within.iter().map(|(kind, name)| json!({ "type": kind, "id": name })).collect();
        properties.insert("within".to_owned(), within.into());
    }
    let mut context = object(surroundings(standing, approvals).iter().chain(*context))?;
    if let Some(arguments) = arguments {
        context.insert("args".to_owned(), arguments);
    }
    let mut told = object(&subject(principal, standing))?;
    if let Some(user) = &principal.user {
        told.insert("user".to_owned(), json!({ "name": user.name, "groups": user.groups }));
    }
    Ok(json!({
        "subject": { "type": "task", "id": principal.task, "properties": told },
        "action": { "name": action },
        "resource": { "type": resource.kind, "id": resource.name, "properties": properties },
        "context": context,
    }))
}

type Object = serde_json::Map<String, Value>;

fn object<'a>(fields: impl IntoIterator<Item = &'a (Name, Attribute)>) -> Result<Object, PointError> {
    fields.into_iter().map(|(name, attribute)| Ok((name.to_string(), value(attribute)?))).collect()
}

fn value(attribute: &Attribute) -> Result<Value, PointError> {
    Ok(match attribute {
        Attribute::Long(number) => (*number).into(),
        Attribute::String(text) => text.as_str().into(),
        Attribute::Bool(truth) => (*truth).into(),
        Attribute::Set(values) => values.iter().map(value).collect::<Result<Vec<_>, _>>()?.into(),
        Attribute::Record(fields) => {
            let fields = fields.iter().map(|(name, attribute)| Ok((name.clone(), value(attribute)?)));
            Value::Object(fields.collect::<Result<_, PointError>>()?)
        }
        Attribute::Time(milliseconds) => {
            rfc3339(*milliseconds).ok_or_else(|| PointError("a time that cannot be told".to_owned()))?.into()
        }
        Attribute::Entity(kind, name) => json!({ "type": kind, "id": name }),
        Attribute::Inexpressible(error) => return Err(PointError(error.to_string())),
    })
}
