//! Sends requests: resolves names, examines every address, and opens one connection for each request.

mod decode;

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::Arc;

use http::header::{self, HeaderName, HeaderValue};
use http_body_util::{BodyExt as _, Full};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use wasmtime_wasi_http::WasiBody;

use self::decode::Decoded;
use super::connection::{self, ConnectError, Link, Trust};
use crate::capability::http::target::Scheme;
use crate::capability::http::{Answer, Arrived, Attached, Failed, Outgoing, Payload, Request, Sender};
use crate::gate::Permit;

/// An answer about a name.
pub type Addresses = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Resolves names.
pub trait Resolve: Send + Sync {
    /// All addresses of a host.
    fn resolve(&self, host: &str) -> Addresses;
}

/// Names that are looked up at once; a look-up that hangs keeps its place, also when nobody waits for it any more.
const MOST_AT_ONCE: usize = 8;

/// As this machine resolves names: by its hosts file and its name servers.
#[derive(Clone)]
pub struct SystemResolver(Arc<Semaphore>);

impl Default for SystemResolver {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST_AT_ONCE)))
    }
}

impl Resolve for SystemResolver {
    fn resolve(&self, host: &str) -> Addresses {
        let (host, places) = (host.to_owned(), Arc::clone(&self.0));
        Box::pin(async move {
            let place = places.acquire_owned().await.map_err(io::Error::other)?;
            let found = tokio::task::spawn_blocking(move || {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "names are resolved here, for requests that were decided on"
                )]
                let found = (host.as_str(), 0).to_socket_addrs();
                drop(place);
                found
            });
            Ok(found.await.map_err(io::Error::other)??.map(|address| address.ip()).collect())
        })
    }
}

/// The network.
#[derive(Clone)]
pub struct Web {
    resolver: Arc<dyn Resolve>,
    trust: Trust,
}

impl Default for Web {
    fn default() -> Self {
        Self::resolving_with(Arc::<SystemResolver>::default())
    }
}

impl Web {
    /// A network whose names are resolved like this.
    pub fn resolving_with(resolver: Arc<dyn Resolve>) -> Self {
        Self { resolver, trust: Trust::default() }
    }

    async fn exchange(self, request: Request, outgoing: Outgoing) -> Result<Arrived, Failed> {
        let Outgoing { stream, connect, credential, idempotency_key } = outgoing;
        let (address, link) = timeout(connect, self.connect(&request)).await.map_err(|_| Failed::ConnectTimeout)??;
        let longest = request.bounds.response;
        let message = message(request, stream, credential, &idempotency_key)?;
        let head = link.send(message).await.map_err(|error| failed(&error))?;
        let (parts, body) = head.into_parts();
        let mut headers = parts.headers;
        let body = body.map_err(|error| failed(&error));
        let body = Decoded::new(body, &mut headers, longest)?.boxed_unsync();
        Ok(Arrived { status: parts.status, headers, body, address })
    }

    /// Opens a connection to an address that the request may go to.
    async fn connect(&self, request: &Request) -> Result<(SocketAddr, Link<WasiBody>), Failed> {
        let addresses = self.addresses(request).await?;
        let tls = match request.url.scheme {
            Scheme::Http => None,
            Scheme::Https => Some(self.trust.of(request.ca.as_deref()).await?),
        };
        let mut last = Failed::Name("it has no address".to_owned());
        for address in addresses {
            let address = SocketAddr::new(address, request.url.port);
            match connection::open(address, tls.as_ref(), &request.url.host).await {
                Ok(link) => return Ok((address, link)),
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }

    /// The addresses of the host, if all of them may be connected to: one that may not is a sign that the name is not what
    /// it was taken for.
    async fn addresses(&self, request: &Request) -> Result<Vec<IpAddr>, Failed> {
        let host = &request.url.host;
        let found = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => self.resolver.resolve(host).await.map_err(|error| Failed::Name(error.to_string()))?,
        };
        let mut checked: Vec<IpAddr> = Vec::new();
        for address in found {
            let address = request.reach.check(address)?;
            if !checked.contains(&address) {
                checked.push(address);
            }
        }
        Ok(checked)
    }
}

impl Sender for Web {
    fn send(&self, permit: Permit<Request>, outgoing: Outgoing) -> Answer {
        Box::pin(self.clone().exchange(permit.redeem(), outgoing))
    }
}

/// By which a server tells a request that is repeated (draft-ietf-httpapi-idempotency-key-header-07).
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The request, as it goes onto the wire: in origin form, with the host and the framing that were decided on.
fn message(
    request: Request,
    stream: Option<WasiBody>,
    credential: Option<Attached>,
    idempotency_key: &str,
) -> Result<http::Request<WasiBody>, Failed> {
    let odd = |error: http::Error| Failed::Protocol(error.to_string());
    let Request { method, url, headers, body, .. } = request;
    let body = match (body, stream) {
        (Payload::Whole(bytes), _) => Full::new(bytes).map_err(|never| match never {}).boxed_unsync(),
        (Payload::Stream, Some(stream)) => stream,
        (Payload::Stream, None) => return Err(Failed::Unfinished),
    };
    let host = HeaderValue::try_from(url.authority()).map_err(|error| odd(error.into()))?;
    let is_repeatable = !matches!(method.as_str(), "POST" | "PATCH");
    let built = http::Request::builder().method(method.as_str()).uri(url.path_and_query()).body(body);
    let mut message = built.map_err(odd)?;
    // The host's own headers go first, and what a guest says cannot take their place.
    message.headers_mut().insert(header::HOST, host);
    message.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    message.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    if let Some(Attached { name, value }) = credential {
        message.headers_mut().insert(name, value);
    }
    for (name, value) in &headers.0 {
        message.headers_mut().append(name, value.clone());
    }
    if !is_repeatable && !message.headers().contains_key(IDEMPOTENCY_KEY) {
        let key = HeaderValue::try_from(format!("\"{idempotency_key}\"")).map_err(|error| odd(error.into()))?;
        message.headers_mut().insert(IDEMPOTENCY_KEY, key);
    }
    Ok(message)
}

fn failed(error: &hyper::Error) -> Failed {
    if error.is_timeout() { Failed::Timeout } else { Failed::Protocol(error.to_string()) }
}

impl From<ConnectError> for Failed {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Connect(error) => Self::Connect(error),
            ConnectError::Tls(why) => Self::Tls(why),
            ConnectError::Handshake(why) => Self::Protocol(why),
        }
    }
}
