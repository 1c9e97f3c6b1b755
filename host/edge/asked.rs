//! Servers that the configuration names, and that the host asks for itself: where they are connected to, and what the head of
//! a question is.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, header, request};
use http_body_util::Full;
use url::Url;

use super::connection::{self, Link, Trust};
use super::http::{Resolve, SystemResolver};
use crate::address::Reach;

/// A server that the configuration names.
pub(crate) struct Server<'a> {
    /// Where it is asked.
    pub(crate) url: &'a Url,
    /// Where connections may go; anywhere, if nothing is said.
    pub(crate) addresses: Option<&'a Reach>,
    /// The roots that its certificate has to lead to, in PEM, instead of Mozilla's.
    pub(crate) ca: Option<&'a Path>,
}

/// How such servers are found.
#[derive(Clone)]
pub(crate) struct Ways {
    resolver: Arc<dyn Resolve>,
    trust: Trust,
}

impl Default for Ways {
    fn default() -> Self {
        let resolver: Arc<dyn Resolve> = Arc::new(SystemResolver::default());
        Self { resolver, trust: Trust::default() }
    }
}

impl Ways {
    /// Opens a connection to the first address of a server that answers.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub(crate) async fn connect(&self, server: &Server<'_>) -> Result<Link<Full<Bytes>>, String> {
        let Server { url, addresses, ca } = server;
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or_default();
        let tls = if url.scheme() == "https" { Some(self.trust.of(*ca).await.map_err(told)?) } else { None };
        let found = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => self.resolver.resolve(host).await.map_err(told)?,
        };
        let mut last = "its name leads nowhere".to_owned();
        for address in found {
            let address = match addresses {
                Some(reach) => reach.check(address).map_err(told)?,
                None => address,
            };
            match connection::open(SocketAddr::new(address, port), tls.as_ref(), host).await {
                Ok(link) => return Ok(link),
                Err(error) => last = told(error),
            }
        }
        Err(last)
    }
}

fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// The head of a question to a server that answers in JSON.
pub(crate) fn post(url: &Url, content_type: &'static str) -> request::Builder {
    let host = url.host_str().unwrap_or_default();
    let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let path = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    http::Request::post(path)
        .header(header::HOST, authority)
        .header(header::CONTENT_TYPE, HeaderValue::from_static(content_type))
        .header(header::ACCEPT, HeaderValue::from_static("application/json"))
}
