//! A server that records what arrives on the wire, byte by byte, and answers as a test wants.

use std::io::{Read, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// How long something is waited for that has to come.
const LONG: Duration = Duration::from_secs(60);

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Arrived {
    /// The request line and the headers.
    pub(crate) head: String,
    /// The body, without its framing.
    pub(crate) body: Vec<u8>,
}

impl Arrived {
    /// `GET /path`.
    pub(crate) fn line(&self) -> String {
        self.head.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned()
    }

    /// The values of a header.
    pub(crate) fn header(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        fields.filter(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }
}

/// What arrived, and a bell for whoever waits for it.
#[derive(Default)]
struct Seen(Mutex<Vec<Arrived>>, Condvar);

/// A server on the loopback interface.
pub(crate) struct Wire {
    pub(crate) port: u16,
    connections: Arc<AtomicUsize>,
    arrived: Arc<Seen>,
}

impl Wire {
    /// A server that answers every request like this, each on a connection of its own.
    pub(crate) fn answering(
        answer: impl Fn(&Arrived, &mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::serving(answer, false)
    }

    /// As [`Self::answering`], with one request after another on a connection.
    pub(crate) fn keeping(
        answer: impl Fn(&Arrived, &mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::serving(answer, true)
    }

    fn serving(
        answer: impl Fn(&Arrived, &mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
        keeps: bool,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let wire =
            Self { port: listener.local_addr().unwrap().port(), connections: Arc::default(), arrived: Arc::default() };
        let (connections, arrived, answer) =
            (Arc::clone(&wire.connections), Arc::clone(&wire.arrived), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(mut stream), arrived, answer) = (stream, Arc::clone(&arrived), Arc::clone(&answer)) else {
                    continue;
                };
                connections.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || {
                    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                    // A client that goes away is no failure of the server.
                    while let Some(request) = read(&mut stream, &arrived) {
                        if answer(&request, &mut stream).is_err() || !keeps {
                            return;
                        }
                    }
                });
            }
        });
        wire
    }

    /// A server that says `hello` to everything.
    pub(crate) fn greeting() -> Self {
        Self::answering(|_, stream| stream.write_all(&text("hello")))
    }

    /// A server that says `hello` once the latch is open.
    pub(crate) fn held() -> (Self, Latch) {
        let latch = Latch::default();
        let opened = latch.clone();
        let wire = Self::answering(move |_, stream| {
            opened.wait();
            stream.write_all(&text("hello"))
        });
        (wire, latch)
    }

    /// How many connections were opened.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// What arrived so far; a request that was cut off stands there with what there was of it.
    pub(crate) fn arrived(&self) -> Vec<Arrived> {
        self.arrived.0.lock().unwrap().clone()
    }

    /// Waits until so many have arrived.
    pub(crate) fn wait_for(&self, count: usize) {
        let Seen(arrived, bell) = &*self.arrived;
        let wait = |arrived: &mut Vec<Arrived>| arrived.len() < count;
        let (_arrived, waited) = bell.wait_timeout_while(arrived.lock().unwrap(), LONG, wait).unwrap();
        assert!(!waited.timed_out(), "there have not arrived {count} requests");
    }

    /// The bodies that arrived, one after another.
    pub(crate) fn bodies(&self) -> String {
        self.arrived().iter().map(|request| String::from_utf8_lossy(&request.body).into_owned()).collect()
    }
}

/// A port on which a server speaks TLS with this certificate, and passes on what it hears to the server on another port.
pub(crate) fn over_tls(certified: &rcgen::CertifiedKey<rcgen::KeyPair>, port: u16) -> u16 {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certified.cert.der().clone()], key).unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let own = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, stream);
            // One exchange for each connection; a client that goes away is no failure of the server.
            let Some(Arrived { head, body }) = read(&mut stream, &Seen::default()) else { continue };
            let mut behind = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            behind.write_all(&[head.as_bytes(), b"\r\n\r\n", &body].concat()).unwrap();
            let mut answer = Vec::new();
            behind.read_to_end(&mut answer).unwrap();
            let _ = stream.write_all(&answer).and_then(|()| stream.flush());
        }
    });
    own
}

/// An answer of a server that says nothing, until the client has gone away.
pub(crate) fn silent(_: &Arrived, stream: &mut TcpStream) -> std::io::Result<()> {
    until_gone(stream);
    stream.flush()
}

/// An answer of a server that goes on and on, a byte at a time.
pub(crate) fn endless(_: &Arrived, stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    loop {
        stream.write_all(b" ")?;
        // It is slow: that is what it is for.
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until the client has gone away.
pub(crate) fn until_gone(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    while more(stream, &mut rest) {}
}

/// Something that one thread waits for and another brings about, once.
#[derive(Clone, Default)]
pub(crate) struct Latch(Arc<(Mutex<bool>, Condvar)>);

impl Latch {
    /// It has come about.
    pub(crate) fn open(&self) {
        let (is_open, opened) = &*self.0;
        *is_open.lock().unwrap() = true;
        opened.notify_all();
    }

    /// Waits until it has.
    pub(crate) fn wait(&self) {
        let (is_open, opened) = &*self.0;
        let is_open = is_open.lock().unwrap();
        let (_is_open, waited) = opened.wait_timeout_while(is_open, LONG, |open| !*open).unwrap();
        assert!(!waited.timed_out(), "what was waited for has not come about");
    }
}

/// A response with a text.
pub(crate) fn text(text: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{text}", text.len()).into_bytes()
}

/// A response that leads elsewhere.
pub(crate) fn redirect(status: u16, location: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} Elsewhere\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n").into_bytes()
}

/// Reads a request; what arrives of it is recorded at once.
fn read(stream: &mut impl Read, Seen(arrived, bell): &Seen) -> Option<Arrived> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if !more(stream, &mut bytes) {
            if !bytes.is_empty() {
                let head = String::from_utf8_lossy(&bytes).into_owned();
                arrived.lock().unwrap().push(Arrived { head, body: Vec::new() });
            }
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut request = Arrived { head, body: bytes.split_off(end + 4) };
    let number = {
        let mut arrived = arrived.lock().unwrap();
        arrived.push(request.clone());
        bell.notify_all();
        arrived.len() - 1
    };
    let length: Option<usize> = request.header("content-length").first().map(|length| length.parse().unwrap());
    let chunked = request.header("transfer-encoding") == ["chunked"];
    let whole = |body: &[u8]| match length {
        Some(length) => body.len() >= length,
        None => !chunked || body.ends_with(b"0\r\n\r\n"),
    };
    let mut ended = true;
    while ended && !whole(&request.body) {
        ended = more(stream, &mut request.body);
    }
    if chunked {
        request.body = unchunked(&request.body);
    }
    arrived.lock().unwrap()[number] = request.clone();
    ended.then_some(request)
}

fn more(stream: &mut impl Read, bytes: &mut Vec<u8>) -> bool {
    let mut piece = [0; 16 * 1024];
    match stream.read(&mut piece) {
        Ok(length @ 1..) => {
            bytes.extend_from_slice(&piece[..length]);
            true
        }
        _ => false,
    }
}

/// The data of chunks, as far as it is there.
fn unchunked(mut framed: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    while let Some(end) = framed.windows(2).position(|window| window == b"\r\n") {
        let length = usize::from_str_radix(std::str::from_utf8(&framed[..end]).unwrap(), 16).unwrap();
        let rest = &framed[end + 2..];
        data.extend_from_slice(&rest[..length.min(rest.len())]);
        framed = rest.get(length + 2..).unwrap_or_default();
    }
    data
}
