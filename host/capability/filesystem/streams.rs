//! Streams over files.
//!
//! Reading and writing is done at once, on the thread that runs the store: a file of the local disk answers in less time
//! than it takes to hand the work to another thread and back, each call is bounded, and a task that stays on its thread
//! is what the runtime is built on. So a stream is always ready.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

use super::change::At;
use super::descriptor::Mounted;
use super::descriptor::{OpenFile, READ};
use super::failure::Failed;
use super::{Ground, Source, types};
use crate::audit::{Entry, Kind};
use crate::budget::Budget;
use crate::gate::{Code, Denied, Guard, detail};
use crate::recorder::{Found, Question, Strand};

/// The most bytes that one call writes.
const WRITE: usize = 64 << 10;

/// Why a file that is open for writing is closed.
pub(super) const UNDECIDED: &str = "the task carries other labels than when the file was opened";

/// Reads a file from an offset on.
pub(super) struct Reader {
    file: Arc<OpenFile>,
    budget: Arc<Budget>,
    strand: Strand,
    /// None after the end, or an error.
    offset: Option<u64>,
}

impl Reader {
    /// A stream from `offset` on, in bytes.
    pub(super) fn new<G>(file: Arc<OpenFile>, offset: u64, guard: &Guard<'_, G>) -> Self {
        let (budget, strand) = (Arc::clone(guard.budget()), guard.strand());
        Self { file, budget, strand, offset: Some(offset) }
    }
}

impl InputStream for Reader {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let Some(offset) = self.offset else { return Err(StreamError::Closed) };
        let in_time = self.budget.in_time().map_err(Denied::Exhausted);
        in_time.map_err(|denied| StreamError::Trap(wasmtime::Error::new(denied)))?;
        self.file.mount.touch();
        if size == 0 {
            return Ok(Bytes::new());
        }
        let read = || self.file.read(offset, size.min(READ) as u64).map_err(Failed::from);
        let arguments = (offset, size.min(READ) as u64);
        let read = told(&mut self.strand, &self.file.mount, "stream.read", &arguments, read);
        // Set anew below, if there is more to come.
        self.offset = None;
        let bytes = read.map_err(stream_error)?;
        if bytes.is_empty() {
            return Err(StreamError::Closed);
        }
        self.offset = offset.checked_add(bytes.len() as u64);
        Ok(bytes.into())
    }
}

#[async_trait]
impl Pollable for Reader {
    async fn ready(&mut self) {}
}

/// Writes to a file.
pub(super) struct Writer {
    file: Arc<OpenFile>,
    strand: Strand,
    at: At,
    /// An error that the guest has not been told yet.
    failed: Option<StreamError>,
    closed: bool,
}

impl Writer {
    /// A stream to a place in a file.
    pub(super) fn new<G>(file: Arc<OpenFile>, at: At, guard: &Guard<'_, G>) -> Self {
        Self { file, strand: guard.strand(), at, failed: None, closed: false }
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> Result<(), Failed> {
        while !bytes.is_empty() {
            let arguments = crate::bundle::Digest::of(bytes).to_string();
            let write = || self.file.write(bytes, self.at);
            let written = match told(&mut self.strand, &self.file.mount, "stream.write", &arguments, write) {
                Ok(0) => return Err(Failed::Code(types::ErrorCode::Io)),
                Err(Failed::Code(types::ErrorCode::Interrupted)) => continue,
                written => written?,
            };
            if let At::Offset(offset) = &mut self.at {
                *offset += written as u64;
            }
            bytes = &bytes[written..];
        }
        Ok(())
    }

    /// Says what went wrong, once; afterwards the stream is closed.
    fn state(&mut self) -> StreamResult<()> {
        match self.failed.take() {
            Some(error) => Err(error),
            None if self.closed => Err(StreamError::Closed),
            None => Ok(()),
        }
    }
}

impl OutputStream for Writer {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.state()?;
        if bytes.len() > WRITE {
            return Err(StreamError::Trap(wasmtime::format_err!("more was written than `check-write` allowed")));
        }
        if !self.file.is_decided() {
            self.closed = true;
            let failed = Failed::Code(types::ErrorCode::Access);
            return Err(refused(&self.file, Code::Denied, UNDECIDED).unwrap_or_else(|| stream_error(failed)));
        }
        if let Err(failed) = self.write_all(&bytes) {
            self.closed = true;
            let ended = failed.refusal().and_then(|(code, why)| refused(&self.file, code, why));
            self.failed = Some(ended.unwrap_or_else(|| stream_error(failed)));
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.state()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.state()?;
        Ok(WRITE)
    }
}

#[async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {}
}

/// What `filesystem-error-code` finds in a stream's error.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Coded(pub(super) types::ErrorCode);

/// What a folder of the host answers a stream, unless it was answered before; the task's own folder is asked again.
fn told<T: Serialize + DeserializeOwned>(
    strand: &mut Strand,
    mount: &Mounted,
    what: &'static str,
    arguments: &impl Serialize,
    ask: impl FnOnce() -> Result<T, Failed>,
) -> Result<T, Failed> {
    if mount.source.ground == Ground::Workspace {
        return ask();
    }
    let arguments = serde_json::to_vec(arguments).unwrap_or_default();
    let found = strand.ask(Question::new(what, &arguments)).map_err(Denied::from)?;
    match found {
        Found::Recalled(answer) => answer,
        Found::New(slot) => {
            let answer = ask();
            strand.recorder().keep(slot, &answer);
            answer
        }
    }
}

fn stream_error(failed: Failed) -> StreamError {
    match failed.into_code() {
        Ok(code) => StreamError::LastOperationFailed(wasmtime::Error::new(Coded(code))),
        Err(trap) => StreamError::Trap(trap),
    }
}

/// Records that a write was refused while the stream flowed; some when the store ends by that. Nothing happened, so there is
/// nothing that waits for the disk.
fn refused(file: &OpenFile, code: Code, why: &str) -> Option<StreamError> {
    let (gate, actor) = (&file.mount.gate, &file.mount.actor);
    if let Err(exhausted) = gate.budget.attempt() {
        return Some(StreamError::Trap(wasmtime::Error::new(Denied::Exhausted(exhausted))));
    }
    gate.budget.refused();
    let entry = Entry {
        code: code.as_str().into(),
        resource: Source::resource(&file.mount.source).to_string().into(),
        detail: detail("why", why),
        text: gate.told(actor, &file.path),
        ..gate.entry(Kind::Refusal, actor, file.mount.source.ground.write_action())
    };
    gate.note(entry);
    None
}

/// The code behind a stream's error, if it is one of a file.
pub(super) fn code(error: &wasmtime::Error) -> Option<types::ErrorCode> {
    let coded = error.downcast_ref::<Coded>().map(|coded| coded.0);
    coded.or_else(|| error.downcast_ref::<io::Error>().map(super::failure::code))
}
