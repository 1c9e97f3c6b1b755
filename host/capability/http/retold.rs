//! What an exchange answered: kept as it arrives, and told again where it was asked before.
//!
//! The head of a response and the pieces of its body are kept when the guest gets them, in a strand of their own, and
//! written no later than the outcome. Told again, all of it is there at once.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use serde::{Deserialize, Serialize};
use wasmtime_wasi_http::Error;

use super::exchange::Reply;
use super::traffic::{Amount, Traffic};
use super::{Failed, Http};
use crate::capability::Guarded;
use crate::gate::Denied;
use crate::label::Labels;
use crate::recorder::{Busy, Found, Question, Slot, Strand};

/// Why a guest got no response, or not all of it: what its interface has words for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Fault {
    Denied,
    Uri,
    Prohibited,
    Terminated,
    Name,
    Refused,
    Unavailable,
    ConnectTimeout,
    Tls,
    Protocol,
    Timeout,
    RequestTooLong(u64),
    ResponseTooLong(u64),
    Coding,
    TooMany,
}

impl From<&Failed> for Fault {
    fn from(failed: &Failed) -> Self {
        match failed {
            Failed::Denied(_)
            | Failed::Spent(_)
            | Failed::Gained
            | Failed::Changed
            | Failed::Credential(_)
            | Failed::Lent(_) => Self::Denied,
            Failed::Target => Self::Uri,
            Failed::Prohibited(_) => Self::Prohibited,
            Failed::Unwanted | Failed::Unfinished => Self::Terminated,
            Failed::Name(_) => Self::Name,
            Failed::Connect(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Self::Refused,
            Failed::Connect(_) => Self::Unavailable,
            Failed::ConnectTimeout => Self::ConnectTimeout,
            Failed::Tls(_) => Self::Tls,
            Failed::Protocol(_) => Self::Protocol,
            Failed::Timeout => Self::Timeout,
            Failed::RequestTooLong { longest } => Self::RequestTooLong(*longest),
            Failed::ResponseTooLong { longest } => Self::ResponseTooLong(*longest),
            Failed::Encoding(_) => Self::Coding,
        }
    }
}

impl From<Fault> for Error {
    /// What the guest hears: why, as far as its interface has words for it, and no more.
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Denied => Self::HttpRequestDenied,
            Fault::Uri => Self::HttpRequestUriInvalid,
            Fault::Prohibited => Self::DestinationIpProhibited,
            Fault::Terminated => Self::ConnectionTerminated,
            Fault::Name => Self::DnsError { rcode: None, info_code: None },
            Fault::Refused => Self::ConnectionRefused,
            Fault::Unavailable => Self::DestinationUnavailable,
            Fault::ConnectTimeout => Self::ConnectionTimeout,
            Fault::Tls => Self::TlsProtocolError,
            Fault::Protocol => Self::HttpProtocolError,
            Fault::Timeout => Self::HttpResponseTimeout,
            Fault::RequestTooLong(longest) => Self::HttpRequestBodySize(Some(longest)),
            Fault::ResponseTooLong(longest) => Self::HttpResponseBodySize(Some(longest)),
            Fault::Coding => Self::HttpResponseContentCoding(None),
            Fault::TooMany => Self::ConnectionLimitReached,
        }
    }
}

/// With what the task had exchanged by then.
#[derive(Serialize, Deserialize)]
pub(super) struct Told<T> {
    what: T,
    traffic: Vec<(String, Amount)>,
}

/// What an exchange begins with.
#[derive(Serialize, Deserialize)]
pub(super) enum Head {
    Response {
        status: u16,
        headers: Vec<(String, Vec<u8>)>,
    },
    /// The guest did not wait for it.
    Abandoned,
}

/// What follows a head.
#[derive(Serialize, Deserialize)]
enum Part {
    Piece(Vec<u8>),
    End,
}

/// What is asked of a strand after the head.
fn more() -> Question {
    Question::new("http.body", &[])
}

/// The answer of one exchange, as it arrives.
pub(super) struct Recording {
    guarded: Guarded,
    traffic: Arc<Traffic>,
    strand: Strand,
    /// Where the head goes, until there is one.
    slot: Option<Slot>,
    /// What the task carried before.
    before: Labels,
    is_over: bool,
    _busy: Busy,
}

impl Recording {
    pub(super) fn new(guarded: Guarded, traffic: Arc<Traffic>, strand: Strand, slot: Slot) -> Self {
        let guard = guarded.guard::<Http>();
        let (before, busy) = (guard.actor().labels.now(), guard.busy());
        Self { traffic, strand, slot: Some(slot), before, is_over: false, _busy: busy, guarded }
    }

    /// Of an exchange that is new.
    #[cfg(test)]
    pub(super) fn begun(exchange: &super::exchange::Exchange) -> Self {
        let guard = exchange.guarded.guard::<Http>();
        let mut strand = guard.strand();
        let Ok(Found::New(slot)) = guard.ask_flowing::<Told<Head>, Fault>(&mut strand, more()) else {
            panic!("it was recalled");
        };
        Self::new(exchange.guarded.clone(), Arc::clone(&exchange.traffic), strand, slot)
    }

    /// Where the answer goes, as long as there is none.
    pub(super) fn slot(&self) -> Option<&Slot> {
        self.slot.as_ref()
    }

    /// The head has arrived.
    pub(super) fn head(&mut self, status: StatusCode, headers: &HeaderMap) {
        let headers = headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
        self.begin(Ok(Head::Response { status: status.as_u16(), headers }));
    }

    /// A piece of the body has arrived.
    pub(super) fn piece(&mut self, piece: &[u8]) {
        if !piece.is_empty() {
            self.go_on(Ok(Part::Piece(piece.to_vec())));
        }
    }

    /// It is over, and that is written before whatever is written next.
    pub(super) fn end(&mut self, result: Result<(), &Failed>) {
        if !std::mem::replace(&mut self.is_over, true) {
            match (result, self.slot.is_some()) {
                (Err(Failed::Unwanted), true) => self.begin(Ok(Head::Abandoned)),
                (Err(failed), true) => self.begin(Err(failed.into())),
                (result, _) => self.go_on(result.map(|()| Part::End).map_err(Fault::from)),
            }
        }
        self.guarded.gate().recorder.flush();
    }

    /// It did not even begin.
    pub(super) fn fail(mut self, fault: Fault) {
        self.is_over = true;
        self.begin(Err(fault));
    }

    fn begin(&mut self, head: Result<Head, Fault>) {
        let Some(slot) = self.slot.take() else { return };
        let told = head.map(|what| Told { what, traffic: self.traffic.now() });
        self.guarded.guard::<Http>().keep_flowing(slot, &self.before, told);
    }

    fn go_on(&mut self, part: Result<Part, Fault>) {
        // What was recorded before ended where its host broke down: that was the end, and is told as such.
        let Ok(Found::New(slot)) = self.strand.ask::<()>(more()) else { return };
        let told = part.map(|what| Told { what, traffic: self.traffic.now() });
        self.guarded.guard::<Http>().keep_flowing(slot, &self.before, told);
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if !self.is_over {
            self.end(Err(&Failed::Unwanted));
        }
    }
}

/// An exchange that was had before.
pub(super) struct Retold {
    pub(super) guarded: Guarded,
    pub(super) traffic: Arc<Traffic>,
    pub(super) strand: Strand,
}

impl Retold {
    /// The response; none if it was not waited for.
    pub(super) fn response(self, head: Result<Told<Head>, Fault>) -> Option<Reply> {
        let told = match head {
            Ok(told) => told,
            Err(fault) => return Some(Err(fault.into())),
        };
        self.traffic.stood_at(&told.traffic);
        let Head::Response { status, headers } = told.what else { return None };
        let headers = headers
            .into_iter()
            .filter_map(|(name, value)| Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?)));
        let mut response = http::Response::new(());
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
        for (name, value) in headers {
            response.headers_mut().append(name, value);
        }
        let body = RetoldBody { told: self, is_over: false };
        Some(Ok(response.map(|()| body.boxed_unsync())))
    }

    /// The next part. None when the task goes no further.
    fn part(&mut self) -> Result<Result<Part, Fault>, Denied> {
        let guard = self.guarded.guard::<Http>();
        Ok(match guard.ask_flowing::<Told<Part>, Fault>(&mut self.strand, more())? {
            Found::Recalled(told) => told.map(|told| {
                self.traffic.stood_at(&told.traffic);
                told.what
            }),
            // The host broke down here, and the connection with it.
            Found::New(slot) => {
                let end: Result<Told<Part>, Fault> = Err(Fault::Terminated);
                guard.keep_flowing(slot, &guard.actor().labels.now(), end);
                Err(Fault::Terminated)
            }
        })
    }
}

/// The body of a response that was had before.
struct RetoldBody {
    told: Retold,
    is_over: bool,
}

impl Body for RetoldBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        match self.told.part() {
            // The whole task ends.
            Err(_) => Poll::Pending,
            Ok(Ok(Part::Piece(piece))) => Poll::Ready(Some(Ok(Frame::data(piece.into())))),
            Ok(end) => {
                self.is_over = true;
                Poll::Ready(end.err().map(|fault| Err(fault.into())))
            }
        }
    }
}
