//! The one way in which the host opens an HTTP/1.1 connection: to an address that was examined, over TLS where that is
//! asked for, with nothing shared and no proxy in between.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The most headers of an answer.
const MOST_HEADERS: usize = 100;
/// The bytes of an answer's headers.
const LONGEST_HEAD: usize = 64 * 1024;

/// Bytes to and from another machine.
trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The machine did not answer.
    #[error(transparent)]
    Connect(#[from] io::Error),
    /// It is not the one that it should be, or TLS cannot be spoken with it.
    #[error("{0}")]
    Tls(String),
    /// HTTP cannot be spoken with it.
    #[error("{0}")]
    Handshake(String),
}

/// Whose certificates are believed. What was read of a file of roots holds from then on.
#[derive(Clone, Default)]
pub struct Trust(Arc<Mutex<BTreeMap<Option<PathBuf>, Arc<ClientConfig>>>>);

impl Trust {
    /// Those that lead to the roots in a PEM file, or to Mozilla's.
    ///
    /// # Errors
    /// When the file cannot be read, or there is no root in it.
    pub async fn of(&self, roots: Option<&Path>) -> Result<Arc<ClientConfig>, ConnectError> {
        let key = roots.map(Path::to_owned);
        if let Some(known) = self.known().get(&key) {
            return Ok(Arc::clone(known));
        }
        let roots = match key.clone() {
            None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() },
            // What it is may not give an end, and there is one thread.
            Some(path) => tokio::task::spawn_blocking(move || read(&path))
                .await
                .map_err(io::Error::other)?
                .map_err(|error| ConnectError::Tls(format!("the roots of the rule: {error}")))?,
        };
        let config = config(roots)?;
        self.known().insert(key, Arc::clone(&config));
        Ok(config)
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<Option<PathBuf>, Arc<ClientConfig>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The roots in a PEM file.
fn read(path: &Path) -> Result<RootCertStore, Box<dyn std::error::Error + Send + Sync>> {
    #[expect(clippy::disallowed_methods, reason = "the operator's own file, which a rule names")]
    let pem = std::fs::read(path).map_err(|error| format!("`{}` cannot be read: {error}", path.display()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        roots.add(certificate?)?;
    }
    if roots.is_empty() { Err("no certificate in PEM is there".into()) } else { Ok(roots) }
}

fn config(roots: RootCertStore) -> Result<Arc<ClientConfig>, ConnectError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = versions.map_err(|error| ConnectError::Tls(error.to_string()))?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Connects to an address, as `host` where TLS is asked for.
///
/// # Errors
/// Why there is no connection.
pub async fn open<B>(address: SocketAddr, tls: Option<&Arc<ClientConfig>>, host: &str) -> Result<Link<B>, ConnectError>
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    #[expect(clippy::disallowed_methods, reason = "connections are opened here, to addresses that were examined")]
    let stream = TcpStream::connect(address).await.map_err(ConnectError::Connect)?;
    stream.set_nodelay(true).map_err(ConnectError::Connect)?;
    let wire: Box<dyn Wire> = match tls {
        None => Box::new(stream),
        Some(config) => {
            let bare = host.trim_matches(['[', ']']).to_owned();
            let name = ServerName::try_from(bare).map_err(|error| ConnectError::Tls(error.to_string()))?;
            let stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await;
            Box::new(stream.map_err(|error| ConnectError::Tls(error.to_string()))?)
        }
    };
    let mut builder = http1::Builder::new();
    // The buffer bounds a head only about: the last read can end one that is longer.
    builder.max_headers(MOST_HEADERS).max_header_size(LONGEST_HEAD).max_buf_size(LONGEST_HEAD);
    let link = builder.handshake(TokioIo::new(wire)).await;
    let (sender, driver) = link.map_err(|error| ConnectError::Handshake(error.to_string()))?;
    Ok(Link { sender, driver: Some(Box::pin(driver)) })
}

/// What makes a connection work while it is polled: no task holds it.
type Driver = Pin<Box<dyn Future<Output = Result<(), hyper::Error>> + Send>>;

/// A connection.
pub struct Link<B> {
    sender: http1::SendRequest<B>,
    driver: Option<Driver>,
}

impl<B: http_body::Body + 'static> Link<B> {
    /// Sends a request and waits for the head of the answer.
    ///
    /// # Errors
    /// When the connection breaks off, or what arrives is not HTTP/1.1.
    pub async fn send(mut self, request: http::Request<B>) -> Result<http::Response<Flowing>, hyper::Error> {
        let head = driving(&mut self.driver, self.sender.send_request(request)).await?;
        let driver = self.driver.take();
        Ok(head.map(|body| Flowing { body, driver }))
    }

    /// Sends a request and waits for all of the answer, of at most `longest` bytes. Another can follow.
    ///
    /// # Errors
    /// As [`Self::send`]; and when the answer is longer.
    pub async fn exchange(
        &mut self,
        request: http::Request<B>,
        longest: usize,
    ) -> Result<http::Response<Bytes>, Box<dyn std::error::Error + Send + Sync>> {
        let head = driving(&mut self.driver, self.sender.send_request(request)).await?;
        let (parts, body) = head.into_parts();
        let body = driving(&mut self.driver, Limited::new(body, longest).collect()).await?;
        Ok(http::Response::from_parts(parts, body.to_bytes()))
    }

    /// Whether another request can be sent, as far as it is known here.
    pub async fn is_usable(&mut self) -> bool {
        driving(&mut self.driver, self.sender.ready()).await.is_ok() && self.driver.is_some()
    }
}

/// Waits for something of a connection, and lets it work meanwhile.
async fn driving<T>(driver: &mut Option<Driver>, waited: impl Future<Output = T>) -> T {
    let mut waited = std::pin::pin!(waited);
    std::future::poll_fn(|context| {
        drive(driver, context);
        waited.as_mut().poll(context)
    })
    .await
}

/// Lets a connection work, until it is over.
fn drive(driver: &mut Option<Driver>, context: &mut Context<'_>) {
    if driver.as_mut().is_some_and(|driver| driver.as_mut().poll(context).is_ready()) {
        *driver = None;
    }
}

/// A body that arrives, with the connection that brings it.
pub struct Flowing {
    body: hyper::body::Incoming,
    driver: Option<Driver>,
}

impl Body for Flowing {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        drive(&mut this.driver, context);
        Pin::new(&mut this.body).poll_frame(context)
    }
}
