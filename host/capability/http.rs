//! `http`: requests to listed hosts, with listed methods, for listed paths (`wasi:http/outgoing-handler`).
//!
//! A request is read once ([`target`]), compared with the grant's rules, and its body collected up to the rule's cap; then
//! it is decided on, and only then is its host's name resolved, every address that it has examined ([`crate::address`]), and a
//! connection opened to one that passed. Nothing of it is shared: not with another task, not with the next request. A
//! redirect that is followed for the guest is a request of its own.
//!
//! | module | its part |
//! | --- | --- |
//! | [`target`] | where a request goes, in one spelling |
//! | `headers` | whose they are |
//! | `grant` | what manifests say, in words of `pattern` |
//! | [`traffic`] | what a task exchanged with a host |
//! | `credential` | what the host attaches |
//! | `entry` | rules of manifests, written again |
//! | `exchange` | one request, from the guest's words to the last byte of the response |
//! | `outflow` | bodies that flow out while the guest writes them |
//! | `interface` | the WIT interfaces on top |

mod credential;
mod entry;
mod exchange;
mod grant;
mod headers;
mod interface;
mod outflow;
mod pattern;
mod retold;
pub mod target;
pub mod traffic;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use serde::{Serialize, Serializer};
use wasmtime::component::Linker;
use wasmtime_wasi_http::{Error, WasiBody};

use self::target::Target as Place;
use self::traffic::Spent;
use super::secrets::lease::Lending;
use super::{Again, Capability, Compared, OpenError, Ports, Setting, Target, TaskState};
use crate::address::{Reach, Unreachable};
use crate::gate::{Denied, Durability, Effect, Failure, Guard, Outcome, Permit};
use crate::label::Labels;
use crate::policy::judged::Judged;
use crate::policy::schema::Action;
use crate::policy::{Attribute, Resource};

pub use self::credential::{Attached, Credential, Lease, Manner, Ticket, What};
pub use self::grant::{Bounds, Grant, Request as Asked, Rule};
pub use self::headers::Headers;
pub use self::interface::Opened;

/// See the module.
pub struct Http;

/// The action of every request.
const ACTION: &str = "http.request";

/// A request is sent.
#[derive(Clone, Debug, Serialize)]
pub struct Request {
    /// `GET`.
    pub method: String,
    /// Where to.
    pub url: Place,
    /// What the guest says beside; the host adds `host`, the framing, and `accept-encoding`.
    pub headers: Headers,
    /// The body.
    pub body: Payload,
    /// How many redirects led here.
    pub redirects: u64,
    /// Where the connection may go.
    pub reach: Reach,
    /// How much it may carry, and how long it may take.
    pub bounds: Bounds,
    /// The roots that the host's certificate has to lead to, in PEM, instead of the usual ones.
    pub ca: Option<PathBuf>,
    /// What the host attaches.
    pub credential: Option<Credential>,
}

/// The body of a request.
#[derive(Clone, Debug)]
pub enum Payload {
    /// All of it.
    Whole(Bytes),
    /// It flows while the guest writes it.
    Stream,
}

impl Serialize for Payload {
    /// A body stands in an effect's record as its digest and length.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Whole(bytes) => {
                let digest = crate::bundle::Digest::of(bytes);
                serializer.collect_str(&format_args!("{digest}, {} bytes", bytes.len()))
            }
            Self::Stream => serializer.serialize_str("stream"),
        }
    }
}

impl Request {
    /// A request under the rule that lists it.
    fn under(rule: &Rule, method: &str, url: Place, headers: Headers, body: Payload) -> Self {
        let (reach, bounds, ca) = (rule.reach.clone(), rule.bounds, rule.ca.clone());
        let credential = rule.credential.clone();
        Self { method: method.to_owned(), url, headers, body, redirects: 0, reach, bounds, ca, credential }
    }

    /// The same, after so many redirects: what a host sends elsewhere has no credentials.
    fn redirected(self, redirects: u64) -> Self {
        Self { redirects, credential: None, ..self }
    }

    /// The bytes that it takes to the host: method, path, query, headers and body.
    fn size(&self) -> u64 {
        let body = if let Payload::Whole(bytes) = &self.body { bytes.len() as u64 } else { 0 };
        (self.method.len() + self.url.path_and_query().len()) as u64 + headers::size(&self.headers.0) + body
    }
}

impl Effect for Request {
    type Grant = Grant;
    const ACTION: &'static str = ACTION;
    const DURABILITY: Durability = Durability::Outside;

    fn resource(&self) -> Resource {
        host(&self.url.host)
    }

    fn context(&self) -> Vec<(&'static str, Attribute)> {
        let Place { scheme, port, path, query, .. } = &self.url;
        let text = |text: &str| Attribute::String(text.to_owned());
        // What flows may become as long as the rule lets it.
        let (bytes, stream) = match &self.body {
            Payload::Whole(bytes) => (bytes.len() as u64, false),
            Payload::Stream => (self.bounds.request, true),
        };
        vec![
            ("scheme", text(scheme.as_str())),
            ("port", Attribute::count(u64::from(*port))),
            ("method", text(&self.method)),
            ("path", text(path)),
            ("query", text(query.as_deref().unwrap_or_default())),
            ("bytes", Attribute::count(bytes)),
            ("stream", Attribute::Bool(stream)),
            ("redirects", Attribute::count(self.redirects)),
        ]
    }

    fn covered(&self, grant: &Grant) -> bool {
        grant.rule(&self.method, &self.url).is_some_and(|rule| {
            let body_fits = match &self.body {
                Payload::Whole(bytes) => bytes.len() as u64 <= rule.bounds.request,
                Payload::Stream => rule.stream,
            };
            let has_its_own = self.credential.is_none() && self.redirects > 0 || self.credential == rule.credential;
            body_fits && has_its_own && (&self.reach, &self.bounds, &self.ca) == (&rule.reach, &rule.bounds, &rule.ca)
        })
    }

    fn entry(&self, grant: &Grant) -> serde_json::Value {
        grant.rule(&self.method, &self.url).map(|rule| entry::entry(rule, self)).unwrap_or_default()
    }

    fn accepts(&self, grant: &Grant) -> Option<Labels> {
        Some(grant.rule(&self.method, &self.url).map(Rule::accepted).unwrap_or_default())
    }

    fn carries(&self) -> Vec<Cow<'_, [u8]>> {
        let mut carried = vec![Cow::Owned(self.url.path_and_query().into_bytes())];
        carried.extend(self.headers.0.values().map(|value| value.as_bytes().into()));
        if let Payload::Whole(body) = &self.body {
            carried.push(body.as_ref().into());
        }
        carried
    }

    fn may_show(&self) -> bool {
        true
    }

    fn told(&self) -> Option<String> {
        // Queries are arguments: the log holds their digest.
        Some(format!("{} {}", self.method, Place { query: None, ..self.url.clone() }))
    }

    fn shown(&self) -> Result<serde_json::Value, serde_json::Error> {
        let Payload::Whole(body) = &self.body else {
            let why = "its body flows while it is written, and nobody is asked about what is not known";
            return Err(serde::ser::Error::custom(why));
        };
        let (url, headers) = (&self.url, &self.headers);
        // Bodies that differ look different, also where they are no text.
        let shown = match std::str::from_utf8(body) {
            Ok(text) => serde_json::json!({ "text": text }),
            Err(_) => serde_json::json!({ "bytes": body.escape_ascii().to_string() }),
        };
        let mut all = serde_json::json!({ "method": self.method, "url": url, "headers": headers, "body": shown });
        if let Some(credential) = &self.credential {
            all["credential"] = credential.what.to_string().into();
        }
        Ok(all)
    }
}

/// A host, and the domains that it is in: `docs.example.net` is in `docs.example.net`, `example.net` and `net`.
fn host(name: &str) -> Resource {
    let resource = Resource::new("Host", name);
    if name.starts_with('[') || name.parse::<std::net::Ipv4Addr>().is_ok() {
        return resource;
    }
    let dots = name.match_indices('.').map(|(dot, _)| &name[dot + 1..]);
    resource.within("Domain", std::iter::once(name).chain(dots))
}

/// What a guest wanted to send, and nobody can: it is always refused.
#[derive(Debug, Serialize)]
struct Unsendable(String);

impl Effect for Unsendable {
    type Grant = Grant;
    const ACTION: &'static str = ACTION;
    const DURABILITY: Durability = Durability::Outside;

    fn resource(&self) -> Resource {
        Resource::new("Host", "")
    }

    fn covered(&self, _grant: &Grant) -> bool {
        false
    }

    fn told(&self) -> Option<String> {
        Some(self.0.clone())
    }
}

/// What goes with a request beside what was decided on.
pub struct Outgoing {
    /// The body that flows, of a [`Payload::Stream`].
    pub stream: Option<WasiBody>,
    /// How long the guest would wait for a connection.
    pub connect: Duration,
    /// What the host attaches.
    pub credential: Option<Attached>,
    /// What tells it from all other requests, and is the same when it is repeated.
    pub idempotency_key: String,
}

/// A response whose head is here.
pub struct Arrived {
    /// Its status code.
    pub status: http::StatusCode,
    /// Its headers.
    pub headers: http::HeaderMap,
    /// Its body, decoded, in small pieces.
    pub body: UnsyncBoxBody<Bytes, Failed>,
    /// The address that answered.
    pub address: std::net::SocketAddr,
}

/// An answer of the network.
pub type Answer = Pin<Box<dyn Future<Output = Result<Arrived, Failed>> + Send>>;

/// Sends requests.
pub trait Sender: Send + Sync {
    /// Resolves the host, examines its addresses, connects to one of them, sends the request and waits for the head of the
    /// response.
    fn send(&self, permit: Permit<Request>, outgoing: Outgoing) -> Answer;
}

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The gate did not let it.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// What the guest wrote is no place to send a request to; the gate has recorded that.
    #[error("it is no place to send a request to")]
    Target,
    /// The budget for the host is spent.
    #[error(transparent)]
    Spent(#[from] Spent),
    /// The host's name leads to an address that may not be connected to.
    #[error(transparent)]
    Prohibited(#[from] Unreachable),
    /// The task gained labels while a body flowed.
    #[error("the task gained labels while the body flowed, and it was cut off")]
    Gained,
    /// It is not allowed any more, now that its credential is there.
    #[error("while its credential was waited for, it became forbidden")]
    Changed,
    /// There is no credential to attach.
    #[error("there is no credential to attach: {0}")]
    Credential(String),
    /// What the task was lent stood in a body that flowed.
    #[error("{0}")]
    Lent(String),
    /// The guest does not wait for it any more.
    #[error("nobody waits for it any more")]
    Unwanted,
    /// The guest broke its own body off, or it had trailers.
    #[error("the guest did not finish the body")]
    Unfinished,
    /// The name could not be resolved.
    #[error("the name of the host could not be resolved: {0}")]
    Name(String),
    /// No connection.
    #[error("no connection: {0}")]
    Connect(std::io::Error),
    /// No connection in time.
    #[error("no connection in time")]
    ConnectTimeout,
    /// TLS.
    #[error("no TLS: {0}")]
    Tls(String),
    /// What arrived is no HTTP.
    #[error("what the host sent is not HTTP/1.1: {0}")]
    Protocol(String),
    /// It took too long.
    #[error("it took longer than it may")]
    Timeout,
    /// The body of the request is longer than the rule allows.
    #[error("the body of the request is longer than {longest} bytes")]
    RequestTooLong {
        /// What it may have.
        longest: u64,
    },
    /// The body of the response is longer than the rule allows.
    #[error("the body of the response is longer than {longest} bytes")]
    ResponseTooLong {
        /// What it may have.
        longest: u64,
    },
    /// The body of the response is encoded in a way that was not asked for, or is damaged.
    #[error("the body of the response cannot be decoded: {0}")]
    Encoding(&'static str),
}

impl Failed {
    /// Whether it can tell something of what a host said.
    fn is_told_by_the_host(&self) -> bool {
        matches!(
            self,
            Self::Protocol(_) | Self::Timeout | Self::ResponseTooLong { .. } | Self::Encoding(_) | Self::Spent(_)
        )
    }
}

impl Failure for Failed {
    fn outcome(&self) -> Outcome {
        match self {
            Self::Spent(_) => Outcome::Quota,
            Self::Prohibited(_) | Self::Gained | Self::Changed | Self::Lent(_) => Outcome::Refused,
            Self::Unwanted => Outcome::Abandoned,
            _ => Outcome::Failed,
        }
    }
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        retold::Fault::from(&failed).into()
    }
}

impl Capability for Http {
    const NAME: &'static str = "http";
    const SUMMARY: &'static str = "requests to listed hosts, methods and paths";
    const ENTITIES: &'static str = "entity Domain in [Domain];\n  entity Host in [Domain];";
    const ACTIONS: &'static [Action] = &[Action {
        name: ACTION,
        resource: "Host",
        context: "scheme: String, port: Long, method: String, path: String, query: String, bytes: Long, stream: Bool, redirects: Long",
    }];
    const COVERS: &'static [&'static str] = &[Lease::ACTION, Ticket::ACTION];
    const INTERFACES: &'static [&'static str] = &["wasi:http/types", "wasi:http/outgoing-handler"];
    type Grant = Grant;
    type Request = Asked;
    type State = Opened;

    fn locate(grant: &mut Grant, base: &Path) {
        grant.locate(base);
    }

    fn given(grant: &Grant) -> Vec<String> {
        grant.lines()
    }

    fn asked(request: &Asked) -> Vec<String> {
        request.lines()
    }

    fn compared(grant: Option<&Grant>, request: Option<&Asked>) -> Vec<Compared> {
        grant::compared(grant, request)
    }

    fn reason(request: &Asked) -> &str {
        &request.reason
    }

    fn narrow(grant: &Grant, request: &Asked) -> Option<Grant> {
        grant.narrow(request)
    }

    /// The resource is a host, or a request to one: `POST https://billing.example.net/v1/refunds`.
    fn find(grant: &Grant, action: &str, resource: &str) -> Option<Target> {
        if action == Lease::ACTION {
            let lease = grant.leases().find(|lease| lease.secret.as_str() == resource)?;
            return Target::of(&lease, grant);
        }
        if action == Ticket::ACTION {
            let ticket = grant.tickets().find(|ticket| ticket.audience == resource)?;
            return Target::of(&ticket, grant);
        }
        let Some((method, url)) = resource.split_once(' ') else {
            let rule = grant.rules.iter().find(|rule| rule.hosts.iter().any(|host| host == resource))?;
            return Some(Target { resource: host(resource), accepts: Some(rule.accepted()) });
        };
        let (scheme, rest) = url.split_once("://")?;
        let (authority, path) = rest.find(['/', '?']).map_or((rest, ""), |end| rest.split_at(end));
        let place = Place::read(scheme, authority, path).ok()?;
        let rule = grant.rule(method, &place)?;
        let request = Request::under(rule, method, place, Headers::default(), Payload::Whole(Bytes::new()));
        Target::of(&request, grant)
    }

    fn again(grant: &Grant, judged: &Judged) -> Option<Again> {
        again(grant, judged)
    }

    fn beyond(grant: &Grant, needed: Option<&Grant>) -> Vec<String> {
        grant.beyond(needed)
    }

    async fn open(_guard: Guard<'_, Grant>, setting: &Setting<'_>) -> Result<Opened, OpenError> {
        let Ports { web, broker, minter, .. } = setting.ports;
        let (broker, minter) = (Arc::clone(broker), Arc::clone(minter));
        let lending = Lending { broker, minter, leases: setting.shared.of() };
        Ok(Opened::new(Arc::clone(web), setting.shared.of(), lending))
    }

    fn link(linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
        interface::link(linker)
    }
}

/// What an effect that was judged before acts on under this grant.
fn again(grant: &Grant, judged: &Judged) -> Option<Again> {
    let name = judged.resource.name.as_str();
    if judged.action == Lease::ACTION {
        let host = judged.text("host")?;
        let lease = grant.leases().find(|lease| lease.secret.as_str() == name && lease.host == host)?;
        return Some(Again { context: Some(lease.context()), ..Target::of(&lease, grant)?.into() });
    }
    if judged.action == Ticket::ACTION {
        let host = judged.text("host")?;
        let ticket = grant.tickets().find(|ticket| ticket.audience == name && ticket.host == host)?;
        return Some(Again { context: Some(ticket.context()), ..Target::of(&ticket, grant)?.into() });
    }
    let of = |rule: &Rule, place: &Place| Target { resource: host(&place.host), accepts: Some(rule.accepted()) };
    if name.is_empty() {
        // No rule listed it then: what is known of it is what the guest asked for, and not its body.
        let (method, url) = judged.told.as_deref()?.split_once(' ')?;
        let (scheme, rest) = url.split_once("://")?;
        let (authority, path) = rest.find(['/', '?']).map_or((rest, ""), |end| rest.split_at(end));
        let place = Place::read(scheme, authority, path).ok()?;
        let rule = grant.rule(method, &place)?;
        let target = of(rule, &place);
        let request = Request::under(rule, method, place, Headers::default(), Payload::Whole(Bytes::new()));
        return Some(Again { target, context: Some(request.context()) });
    }
    let place = Place {
        scheme: if judged.text("scheme")? == "http" { target::Scheme::Http } else { target::Scheme::Https },
        host: name.to_owned(),
        port: u16::try_from(judged.number("port")?).ok()?,
        path: judged.text("path")?.to_owned(),
        query: None,
    };
    let rule = grant.rule(judged.text("method")?, &place)?;
    let streams = judged.context("stream") == Some(&Attribute::Bool(true));
    let fits = if streams { rule.stream } else { judged.number("bytes")? <= rule.bounds.request };
    fits.then(|| of(rule, &place).into())
}
