//! Names: what is refused resolves none, and what a name leads to is examined before anything connects.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::{BodyExt as _, Full};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use wasmtime_wasi_http::Error;

use super::exchange::{Exchange, Patience, Reply, Wish};
use super::retold::Recording;
use super::{Grant, Http};
use crate::audit::{AuditError, Entry, Kind, Ledger, Ticket};
use crate::capability::filesystem::world::{Log, PERMIT, World};
use crate::capability::secrets::Without;
use crate::capability::secrets::lease::Lending;
use crate::capability::{Capability, Guarded};
use crate::edge::http::{Addresses, Resolve, Web};
use crate::gate::{Actor, Gate};
use crate::grant::Limits;
use crate::label::Labels;
use crate::manifest::Sections;
use crate::task::TaskId;

/// Answers questions about names, one after another, and remembers what was asked.
#[derive(Default)]
struct Resolver {
    answers: Mutex<Vec<Vec<&'static str>>>,
    asked: Mutex<Vec<String>>,
}

impl Resolve for Resolver {
    fn resolve(&self, host: &str) -> Addresses {
        self.asked.lock().unwrap().push(host.to_owned());
        let mut answers = self.answers.lock().unwrap();
        let answer = if answers.len() > 1 { answers.remove(0) } else { answers.first().cloned().unwrap_or_default() };
        let addresses: Vec<IpAddr> = answer.iter().map(|address| address.parse().unwrap()).collect();
        Box::pin(
            async move { if addresses.is_empty() { Err(io::Error::other("no such name")) } else { Ok(addresses) } },
        )
    }
}

/// A task with one grant, on a network whose names are the test's.
struct Net {
    world: World,
    resolver: Arc<Resolver>,
}

impl Net {
    fn answering(answers: &[&[&'static str]]) -> Self {
        let resolver = Resolver {
            answers: Mutex::new(answers.iter().map(|answer| answer.to_vec()).collect()),
            ..Resolver::default()
        };
        Self { world: World::new(), resolver: Arc::new(resolver) }
    }

    /// What a guest hears when it asks for `GET http://<authority><path>`, and what was refused.
    async fn get(&self, rule: &str, authority: &str, path: &str) -> (Result<u16, Error>, Vec<String>) {
        let (gate, log) = self.world.gate(Limits::default(), PERMIT);
        let actor = Arc::new(Actor::new(TaskId::generate(), "desk", "agent", "sha256:0".to_owned(), None));
        let (head, arriving) = oneshot::channel();
        let exchange = self.exchange(gate, &actor, &format!("methods = [\"GET\"], {rule}"));
        let (response, ()) = tokio::join!(arriving, ran(exchange, wish(authority, path, None), head));
        (response.unwrap().map(|response| response.status().as_u16()), log.refusals())
    }

    fn exchange(&self, gate: Arc<Gate>, actor: &Arc<Actor>, rule: &str) -> Exchange {
        let grant: toml::Table = toml::from_str(&format!("http = [{{ {rule} }}]")).unwrap();
        let grant: Grant = grant["http"].clone().try_into().unwrap();
        let section = crate::capability::vocabulary().into_iter().find(|section| section.key() == Http::NAME).unwrap();
        let sections = Sections::single(section, Arc::new(grant));
        Exchange {
            guarded: Guarded { gate, actor: Arc::clone(actor), grants: Arc::new(sections), import: 1 },
            sender: Arc::new(Web::resolving_with(Arc::clone(&self.resolver) as Arc<dyn Resolve>)),
            traffic: Arc::default(),
            lending: Lending { broker: Arc::new(Without), minter: Arc::new(Without), leases: Arc::default() },
            slots: Arc::new(Semaphore::new(1)),
        }
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.resolver.asked.lock().unwrap())
    }
}

/// `GET http://<authority><path>`; `POST` with a body.
fn wish(authority: &str, path: &str, body: Option<&'static str>) -> Wish {
    let long = Duration::from_secs(2);
    let (authority, path_and_query) = (authority.to_owned(), path.to_owned());
    let method = if body.is_some() { Method::POST } else { Method::GET };
    let body = body.map(|body| Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync());
    let patience = Patience { connect: long, first_byte: long, between_bytes: long };
    Wish { method, scheme: "http".to_owned(), authority, path_and_query, headers: HeaderMap::new(), body, patience }
}

/// A log whose disk takes its time: meanwhile the task gains a label, or nothing happens any more.
struct SlowLog {
    log: Arc<Log>,
    gains: Option<(Arc<Actor>, Labels)>,
}

impl Ledger for SlowLog {
    fn append(&self, entry: Entry) -> Result<Ticket, AuditError> {
        let is_intent = entry.kind == Kind::Intent;
        let written = self.log.append(entry)?;
        let gains = self.gains.clone();
        Ok(Box::pin(async move {
            match gains {
                Some((actor, labels)) if is_intent => actor.labels.gain(&labels),
                None if is_intent => std::future::pending().await,
                _ => {}
            }
            written.await
        }))
    }
}

async fn ran(exchange: Exchange, wish: Wish, head: oneshot::Sender<Reply>) {
    let recording = Recording::begun(&exchange);
    exchange.run(wish, head, recording).await;
}

#[test]
fn a_label_that_is_gained_while_the_disk_is_waited_for_cuts_a_body_off() {
    run(async {
        let (port, _) = server().await;
        let net = Net::answering(&[]);
        let (gate, log) = net.world.gate(Limits::default(), PERMIT);
        let actor = Arc::new(Actor::new(TaskId::generate(), "desk", "agent", "sha256:0".to_owned(), None));
        let gains = Some((Arc::clone(&actor), ["confidential".parse().unwrap()].into_iter().collect()));
        let mut gate = Arc::into_inner(gate).unwrap();
        gate.ledger = Arc::new(SlowLog { log: Arc::clone(&log), gains });
        // The host accepts what is gained; the decision was about less, all the same.
        let rule = format!(
            "methods = [\"POST\"], {RULE}, host = \"127.0.0.1\", port = {port}, stream = true, accepts = [\"confidential\"]"
        );
        let exchange = net.exchange(Arc::new(gate), &actor, &rule);
        let (head, arriving) = oneshot::channel();
        let wish = wish(&format!("127.0.0.1:{port}"), "/v1/x", Some("secret"));
        let (response, ()) = tokio::join!(arriving, ran(exchange, wish, head));
        assert!(matches!(response.unwrap(), Err(Error::HttpRequestDenied)));
        assert_eq!(log.refusals(), ["http.request refused"]);
    });
}

#[test]
fn a_request_that_is_dropped_while_the_disk_is_waited_for_leaves_an_outcome() {
    run(async {
        let net = Net::answering(&[]);
        let (gate, log) = net.world.gate(Limits::default(), PERMIT);
        let actor = Arc::new(Actor::new(TaskId::generate(), "desk", "agent", "sha256:0".to_owned(), None));
        let mut gate = Arc::into_inner(gate).unwrap();
        gate.ledger = Arc::new(SlowLog { log: Arc::clone(&log), gains: None });
        let rule = format!("methods = [\"GET\"], {RULE}, host = \"127.0.0.1\"");
        let (head, _arriving) = oneshot::channel();
        let exchange = ran(net.exchange(Arc::new(gate), &actor, &rule), wish("127.0.0.1", "/v1/x", None), head);
        assert!(tokio::time::timeout(Duration::from_millis(50), exchange).await.is_err());
        let codes: Vec<String> = log.entries().iter().map(|entry| entry.code.to_string()).collect();
        assert_eq!(codes, ["allowed", "abandoned"]);
    });
}

/// A server that counts its connections, and says `204`.
async fn server() -> (u16, Arc<Mutex<u32>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            *counted.lock().unwrap() += 1;
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
        }
    });
    (port, count)
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

const RULE: &str = "scheme = \"http\", paths = [\"/v1/**\"]";

#[test]
fn what_is_refused_asks_for_no_name() {
    run(async {
        let net = Net::answering(&[&["127.0.0.1"]]);
        let rule = format!("{RULE}, host = \"docs.example.net\", subdomains = [\"eu\"], port = 81");
        for (authority, path) in [
            ("c2VjcmV0.docs.example.net:81", "/v1/x"),
            ("c2VjcmV0.example.net:81", "/v1/x"),
            ("xeu.docs.example.net:81", "/v1/x"),
            ("docs.example.net", "/v1/x"),
            ("docs.example.net:81", "/v2"),
            ("docs.example.net.:81", "/v1/x"),
            ("docs.example.net:81", "/v1/../admin"),
            ("evil.com", "/v1/x"),
            ("localhost", "/v1/x"),
        ] {
            let (answer, refusals) = net.get(&rule, authority, path).await;
            assert!(
                matches!(answer, Err(Error::HttpRequestDenied | Error::HttpRequestUriInvalid)),
                "{authority} {answer:?}"
            );
            assert_eq!(refusals, ["http.request not-granted"], "{authority}");
        }
        assert!(net.asked().is_empty());
        // What is granted does ask, for that name alone.
        net.get(&rule, "EU.docs.example.net:81", "/v1/x").await.0.unwrap_err();
        assert_eq!(net.asked(), ["eu.docs.example.net"]);
    });
}

#[test]
fn a_name_that_leads_inside_is_connected_to_nowhere() {
    run(async {
        let (port, count) = server().await;
        let rule = format!("{RULE}, host = \"docs.example.net\", port = {port}");
        let ask = format!("docs.example.net:{port}");
        for answer in [
            &["127.0.0.1"][..],
            &["::1"],
            &["10.0.0.1"],
            &["169.254.169.254"],
            &["::ffff:127.0.0.1"],
            &["::ffff:169.254.169.254"],
            &["64:ff9b::7f00:1"],
            &["2002:7f00:1::"],
            &["fd00:ec2::254"],
            &["0.0.0.0"],
            // One that is public does not excuse one that is not, in any order.
            &["8.8.8.8", "127.0.0.1"],
            &["127.0.0.1", "8.8.8.8"],
        ] {
            let net = Net::answering(&[answer]);
            let (heard, refusals) = net.get(&rule, &ask, "/v1/x").await;
            assert!(matches!(heard, Err(Error::DestinationIpProhibited)), "{answer:?}: {heard:?}");
            assert_eq!((refusals, net.asked().len()), (vec!["http.request refused".to_owned()], 1));
        }
        assert_eq!(*count.lock().unwrap(), 0);
    });
}

#[test]
fn a_name_is_asked_for_once_and_the_connection_goes_where_that_answer_led() {
    run(async {
        let (port, count) = server().await;
        let rule = format!("{RULE}, host = \"docs.example.net\", port = {port}, addresses = [\"127.0.0.1/32\"]");
        let ask = format!("docs.example.net:{port}");
        // Whoever answers for the name changes its mind after the first answer.
        let net = Net::answering(&[&["127.0.0.1"], &["169.254.169.254"]]);
        let (heard, refusals) = net.get(&rule, &ask, "/v1/x").await;
        assert_eq!((heard.unwrap(), refusals, net.asked().len()), (204, vec![], 1));
        // The next request asks anew, and what it hears is examined anew.
        let (heard, _) = net.get(&rule, &ask, "/v1/x").await;
        assert!(matches!(heard, Err(Error::DestinationIpProhibited)), "{heard:?}");
        // A rule that names addresses reaches no public one.
        let net = Net::answering(&[&["127.0.0.1", "8.8.8.8"]]);
        assert!(matches!(net.get(&rule, &ask, "/v1/x").await.0, Err(Error::DestinationIpProhibited)));
        assert_eq!(*count.lock().unwrap(), 1);
        let net = Net::answering(&[]);
        assert!(matches!(net.get(&rule, &ask, "/v1/x").await.0, Err(Error::DnsError { .. })));
    });
}

#[test]
fn an_address_that_is_the_host_is_named_by_the_rule() {
    run(async {
        let (port, count) = server().await;
        let net = Net::answering(&[&["127.0.0.1"]]);
        let rule = format!("{RULE}, host = \"127.0.0.1\", port = {port}");
        assert_eq!(net.get(&rule, &format!("127.0.0.1:{port}"), "/v1/x").await.0.unwrap(), 204);
        for host in ["127.1", "0x7f.0.0.1", "2130706433", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"] {
            assert!(net.get(&rule, &format!("{host}:{port}"), "/v1/x").await.0.is_err(), "{host}");
        }
        assert!(net.asked().is_empty());
        assert_eq!(*count.lock().unwrap(), 1);
    });
}
