//! Bodies that flow out while the guest writes them.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame};
use wasmtime_wasi_http::{Error, WasiBody};

use super::Failed;
use super::traffic::{Account, Amount};
use crate::gate::{Actor, Exempt, Gate, Notes};
use crate::label::Labels;
use crate::leak::Flow;

/// A body that flows to a host while the guest writes it.
pub(super) struct Watched {
    pub(super) body: WasiBody,
    /// Keeps back what may be the beginning of what the task was lent; none after the end.
    pub(super) flow: Option<Flow>,
    pub(super) gate: Arc<Gate>,
    pub(super) actor: Arc<Actor>,
    /// What the task carried when it was decided.
    pub(super) labels: Labels,
    pub(super) account: Account,
    pub(super) longest: u64,
    /// What has flowed.
    pub(super) length: u64,
    /// What was sent before it.
    pub(super) before: u64,
    pub(super) notes: Notes,
    pub(super) cut: Cut,
}

/// Why a body was cut off: whoever sends it only hears that it was.
#[derive(Clone, Default)]
pub(super) struct Cut(Arc<Mutex<Option<Failed>>>);

impl Cut {
    pub(super) fn why(&self) -> Option<Failed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn off(&self, why: Failed) -> Error {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        Error::HttpRequestDenied
    }
}

impl Watched {
    fn check(&mut self, piece: &Bytes) -> Result<(), Failed> {
        // Pieces that the guest wrote before are held back as well: no one knows when it wrote them.
        if self.actor.labels.now() != self.labels {
            return Err(Failed::Gained);
        }
        self.length += piece.len() as u64;
        if self.length > self.longest {
            return Err(Failed::RequestTooLong { longest: self.longest });
        }
        self.account.take(Amount { sent: piece.len() as u64, ..Amount::default() })?;
        self.notes.put("sent", self.before + self.length);
        Ok(())
    }

    /// What of a piece can go on.
    fn passed(&mut self, piece: &Bytes) -> Result<Bytes, Failed> {
        self.check(piece)?;
        let Some(flow) = &mut self.flow else { return Err(Failed::Unfinished) };
        let (passed, found) = flow.pass(piece);
        self.gate.judged(Exempt::Shown(&self.actor), found).map_err(Failed::Lent)?;
        Ok(passed.into())
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        loop {
            let passed = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                // What was kept back is no more than a beginning.
                None => match self.flow.take().map(|mut flow| flow.end()) {
                    Some(rest) if !rest.is_empty() => Ok(rest.into()),
                    _ => return Poll::Ready(None),
                },
                Some(frame) => match frame.map(Frame::into_data) {
                    Ok(Ok(piece)) => self.passed(&piece),
                    Ok(Err(_)) | Err(_) => Err(Failed::Unfinished),
                },
            };
            match passed {
                Ok(piece) if piece.is_empty() => {}
                passed => return Poll::Ready(Some(passed.map(Frame::data).map_err(|why| self.cut.off(why)))),
            }
        }
    }
}
