//! Local services that bundles reach over HTTP: real servers, small ones.
//!
//! | service | what it is | bundle |
//! | --- | --- | --- |
//! | [`Service::documentation`] | a folder of documents, as a web server shows it | `researcher` |
//! | [`Service::billing`] | refunds as JSON, with a ledger in a folder | `support-desk` |
//! | [`Service::repository`] | Git repositories, for whoever is admitted | `dev-workspace` |
//! | [`Service::manager`] | services that are ill, and can be restarted | `ops-runner` |
//! | [`Service::outside`] | takes whatever it is sent | `researcher-leak` |
//!
//! Each has a thread and a runtime of its own, so that a test needs neither, and ends when it is dropped.

mod admission;
mod billing;
mod documentation;
mod ledger;
mod manager;
mod repository;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use tokio::sync::oneshot;

pub use self::admission::{Admission, Workloads};

/// Why a service does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The port is taken, for instance.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where it should.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The folder is not there, or cannot be used.
    #[error("cannot use `{path}`")]
    Folder {
        /// The folder, or the file in it.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Git cannot make a repository, or is not there.
    #[error("git cannot make `{path}`")]
    Git {
        /// The repository.
        path: PathBuf,
        /// What it says.
        #[source]
        source: io::Error,
    },
    /// The ledger was not written by this service.
    #[error("line {line} of `{path}` is no refund")]
    Ledger {
        /// The ledger's file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

/// A service that runs, on 127.0.0.1.
#[derive(Debug)]
pub struct Service {
    address: SocketAddr,
    log: Arc<Log>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The requests that arrived.
#[derive(Debug)]
struct Log {
    name: &'static str,
    printed: bool,
    lines: Mutex<Vec<String>>,
    /// What each was authorized by.
    authorizations: Mutex<Vec<String>>,
}

/// What is done with each request but answering it: it is remembered, and maybe printed on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Talk {
    /// Nothing is printed.
    Quiet,
    /// A line for each request.
    Requests,
}

impl Service {
    /// Shows a folder of documents below `/docs/`, with a list of them there unless it has an `index.html`; `/docs` leads there.
    /// `/admin` is a page that no reader of documents should see. Port 0 is any that is free.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn documentation(folder: &Path, port: u16, talk: Talk) -> Result<Self, Error> {
        let error = |source| Error::Folder { path: folder.to_path_buf(), source };
        let folder = folder.canonicalize().map_err(error)?;
        Self::start("docs", documentation::router(&folder), port, talk)
    }

    /// Takes refunds, and keeps its ledger in a folder, which is made when it is not there. Port 0 is any that is free.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn billing(folder: &Path, port: u16, talk: Talk) -> Result<Self, Error> {
        Self::start("billing", billing::router(ledger::Ledger::open(folder)?), port, talk)
    }

    /// Serves Git repositories from a folder, where they are made when they are not there, to whoever is admitted. Port 0 is any
    /// that is free.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn repository(folder: &Path, port: u16, admission: Admission, talk: Talk) -> Result<Self, Error> {
        Self::start("repository", repository::router(folder, admission)?, port, talk)
    }

    /// Manages services: `web`, which is ill, and `database`. Port 0 is any that is free.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn manager(port: u16, talk: Talk) -> Result<Self, Error> {
        Self::start("manager", manager::router(), port, talk)
    }

    /// A host that is none of the house's: it takes whatever it is sent, all of it, and says how many bytes that was. Port 0
    /// is any that is free.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn outside(port: u16, talk: Talk) -> Result<Self, Error> {
        let router = Router::new().fallback(|body: Bytes| async move { format!("{} bytes", body.len()) });
        Self::start("outside", router, port, talk)
    }

    fn start(name: &'static str, router: Router, port: u16, talk: Talk) -> Result<Self, Error> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let error = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).map_err(error)?;
        listener.set_nonblocking(true).map_err(error)?;
        let address = listener.local_addr().map_err(error)?;
        let printed = talk == Talk::Requests;
        let log = Arc::new(Log { name, printed, lines: Mutex::default(), authorizations: Mutex::default() });
        let router = router.layer(middleware::from_fn_with_state(Arc::clone(&log), noted));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(error)?;
        let listener = runtime.block_on(async { tokio::net::TcpListener::from_std(listener) }).map_err(error)?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                // What is still open when it stops is cut off: whoever stops it waits for nobody.
                tokio::select! {
                    _ = axum::serve(listener, router) => {}
                    _ = stopped => {}
                }
            });
        });
        Ok(Self { address, log, stop: Some(stop), thread: Some(thread) })
    }

    /// The port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Where it is: `http://localhost:8801`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://localhost:{}", self.address.port())
    }

    /// The header `authorization` of each request, in the same order; empty where there was none. It is not printed.
    #[must_use]
    pub fn authorizations(&self) -> Vec<String> {
        self.log.authorizations.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The requests that arrived, in their order: `GET /docs/grants.md`.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.log.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in it was printed already.
            let _ = thread.join();
        }
    }
}

/// Notes a request, and lets it be answered.
async fn noted(State(log): State<Arc<Log>>, request: Request, next: Next) -> Response {
    let line = format!("{} {}", request.method(), request.uri());
    if log.printed {
        eprintln!("{}: {line}", log.name);
    }
    let header =
        request.headers().get("authorization").map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    log.authorizations.lock().unwrap_or_else(PoisonError::into_inner).push(header.unwrap_or_default());
    log.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;

    /// Sends a request as it is, and reads the status and the body of the answer.
    fn ask(service: &Service, request: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(service.address).unwrap();
        let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
        let head = format!("{request} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{length}");
        write!(stream, "{head}content-type: application/json\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, if (300..400).contains(&status) { head.to_owned() } else { body.to_owned() })
    }

    #[test]
    fn documents_are_shown_and_listed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("guide")).unwrap();
        std::fs::write(folder.path().join("guide/a b.md"), "# A and B").unwrap();
        std::fs::write(folder.path().join("page.html"), "<p>page").unwrap();
        let service = Service::documentation(folder.path(), 0, Talk::Quiet).unwrap();
        let (status, list) = ask(&service, "GET /docs/", "");
        assert_eq!(status, 200);
        assert!(list.contains("<a href=\"guide/a%20b.md\">guide/a b.md</a>"), "{list}");
        assert_eq!(ask(&service, "GET /docs/guide/a%20b.md", ""), (200, "# A and B".to_owned()));
        let (status, head) = ask(&service, "GET /docs", "");
        assert!(status == 308 && head.contains("location: /docs/"), "{head}");
        assert_eq!(ask(&service, "GET /admin", "").0, 200);
        for path in ["/docs/none.md", "/docs/../admin.md", "/docs/%2e%2e/admin", "/other", "/docs/guide/none/"] {
            assert_eq!(ask(&service, &format!("GET {path}"), "").0, 404, "{path}");
        }
        assert_eq!(service.requests()[..2], ["GET /docs/", "GET /docs/guide/a%20b.md"]);
        assert!(Service::documentation(&folder.path().join("none"), 0, Talk::Quiet).is_err());
        assert!(matches!(
            Service::documentation(folder.path(), service.port(), Talk::Quiet),
            Err(Error::Listen { .. })
        ));
    }

    #[test]
    fn a_refund_is_made_once_and_outlives_the_service() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = folder.path().join("ledger");
        let refund = r#"{"order": "A-1", "amount": 700, "currency": "eur", "reason": "broken"}"#;
        let other = r#"{"order": "A-1", "amount": 1, "currency": "eur"}"#;
        let service = Service::billing(&ledger, 0, Talk::Quiet).unwrap();
        let post = |service: &Service, body: &str| {
            let (status, answer) = ask(service, "POST /v1/refunds", body);
            (status, serde_json::from_str::<serde_json::Value>(&answer).unwrap())
        };
        let (status, first) = post(&service, refund);
        assert_eq!((status, &first["total"], &first["receipt"]["repeated"]), (201, &700.into(), &false.into()));
        assert_eq!(post(&service, other).1["total"], 701);
        drop(service);
        let service = Service::billing(&ledger, 0, Talk::Quiet).unwrap();
        let (status, again) = post(&service, &refund.replace("broken", "other"));
        assert_eq!((status, &again["receipt"]["repeated"]), (200, &true.into()));
        assert_eq!((&again["receipt"]["number"], &again["receipt"]["reason"]), (&1.into(), &"broken".into()));
        let list = ask(&service, "GET /v1/orders/A-1/refunds", "").1;
        assert_eq!(list.matches("\"number\"").count(), 2, "{list}");
        assert_eq!(ask(&service, "GET /v1/orders/A-2/refunds", ""), (200, r#"{"refunds":[]}"#.to_owned()));
    }

    #[test]
    fn what_is_no_refund_is_answered_in_json() {
        let folder = tempfile::tempdir().unwrap();
        let service = Service::billing(folder.path(), 0, Talk::Quiet).unwrap();
        let long = format!(r#"{{"order": "A", "amount": 1, "currency": "eur", "reason": "{}"}}"#, "x".repeat(501));
        for (request, body, status, word) in [
            ("POST /v1/refunds", r#"{"order": "a/1", "amount": 1, "currency": "eur"}"#, 422, "bad-order"),
            ("POST /v1/refunds", r#"{"order": "A", "amount": 0, "currency": "eur"}"#, 422, "bad-amount"),
            ("POST /v1/refunds", &long, 422, "long-reason"),
            ("POST /v1/refunds", r#"{"order": "A", "amount": 1, "currency": "yen"}"#, 422, "bad-request"),
            ("POST /v1/refunds", r#"{"order": "A", "amount": -1, "currency": "eur"}"#, 422, "bad-request"),
            ("POST /v1/refunds", r#"{"order": "A", "amount": 1, "currency": "eur", "x": 1}"#, 422, "bad-request"),
            ("POST /v1/refunds", "{", 400, "bad-request"),
            ("POST /v1/refunds", &"x".repeat(20_000), 413, "bad-request"),
            ("GET /v1/orders/a%2F/refunds", "", 422, "bad-order"),
            ("GET /v1/refunds", "", 405, "no-such-method"),
            ("DELETE /v1/orders/A/refunds", "", 405, "no-such-method"),
            ("GET /", "", 404, "not-found"),
        ] {
            let (got, answer) = ask(&service, request, body);
            let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
            assert_eq!((got, answer["error"].as_str()), (status, Some(word)), "{request} {body}: {answer}");
        }
        assert_eq!(service.requests().len(), 12);
        assert_eq!(std::fs::read_to_string(folder.path().join(ledger::FILE)).unwrap(), "");
    }
}
