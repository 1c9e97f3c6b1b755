//! What `config.toml` says of telemetry: where the spans of tasks are sent to. Without it, nothing is.

use std::path::PathBuf;

use serde::Deserialize;
use url::Url;

use super::is_here;
use crate::manifest::HumanDuration;
use crate::policy::point::some_time;

/// `[telemetry]` of `config.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetrySetting {
    /// Where a collector takes traces (OTLP/HTTP, in JSON).
    pub endpoint: Collector,
    /// The roots that its certificate has to lead to, in PEM, instead of Mozilla's.
    pub ca: Option<PathBuf>,
    /// How long sending may take, from the look-up of its name to the end of its answer.
    #[serde(default = "default_timeout", deserialize_with = "some_time")]
    pub timeout: HumanDuration,
}

fn default_timeout() -> HumanDuration {
    HumanDuration::from_millis(5_000)
}

/// The address of a collector: `https`, or `http` on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Collector(Url);

impl Collector {
    /// As a URL.
    pub fn url(&self) -> &Url {
        &self.0
    }
}

impl TryFrom<String> for Collector {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        // What is no address is not shown: it may hold a password.
        let odd = || "that is no collector: write it as `https://otel.example.net/v1/traces`".to_owned();
        let url = Url::parse(&text).map_err(|_| odd())?;
        let is_plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        match url.scheme() {
            "https" if is_plain => Ok(Self(url)),
            "http" if is_plain && is_here(&url) => Ok(Self(url)),
            "http" if is_plain => {
                Err("what tasks do is readable on the way without TLS: write it with `https`".to_owned())
            }
            _ => Err(odd()),
        }
    }
}
