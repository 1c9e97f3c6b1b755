//! `wasi:io`: streams and polling, as wasmtime has them, with what is not the same each time recorded.
//!
//! Whether something is ready depends on how fast the world is. A guest that asks twice may hear two answers, so what it
//! heard is recorded, where it is not what it would hear if everything were ready: that is what recorded answers are, when
//! they are given again. What streams hold is recorded where it comes from.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::p2::bindings::io::{error, poll, streams};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, StreamError, StreamResult};

use crate::capability::TaskState;
use crate::gate::{Denied, Gate};
use crate::recorder::{Exception, Question, Slot};

/// What the functions here see of a store.
pub(crate) struct Io<'a> {
    table: &'a mut ResourceTable,
    gate: &'a Arc<Gate>,
    path: &'a Arc<str>,
    import: u64,
}

/// Names [`Io`] to wasmtime.
struct Streams;

impl HasData for Streams {
    type Data<'a> = Io<'a>;
}

/// The guest crosses the import border.
fn crossed(state: &mut TaskState) -> Io<'_> {
    let import = state.border.cross();
    Io { table: &mut state.table, gate: &state.gate, path: &state.actor.path, import }
}

/// What a stream said otherwise than yes.
#[derive(Serialize, Deserialize)]
enum Otherwise<T> {
    Answered(T),
    Closed,
    Failed(String),
}

impl<T> Otherwise<T> {
    fn again(self) -> StreamResult<T> {
        match self {
            Self::Answered(answer) => Ok(answer),
            Self::Closed => Err(StreamError::Closed),
            Self::Failed(why) => Err(StreamError::LastOperationFailed(wasmtime::Error::msg(why))),
        }
    }

    fn of(result: &StreamResult<T>) -> Option<Self>
    where
        T: Clone,
    {
        match result {
            Ok(answer) => Some(Self::Answered(answer.clone())),
            Err(StreamError::Closed) => Some(Self::Closed),
            Err(StreamError::LastOperationFailed(error)) => Some(Self::Failed(format!("{error:#}"))),
            Err(StreamError::Trap(_)) => None,
        }
    }
}

fn trap(denied: impl Into<Denied>) -> wasmtime::Error {
    wasmtime::Error::new(denied.into())
}

impl Io<'_> {
    fn exception<A: serde::de::DeserializeOwned>(&self, what: &'static str) -> wasmtime::Result<Exception<A>> {
        self.gate.recorder.exception(self.path, self.import, Question::new(what, &[])).map_err(trap)
    }

    fn keep<A: Serialize>(&self, slot: Slot, answer: &A) {
        self.gate.recorder.keep(slot, answer);
    }

    /// An operation of a stream that does not wait. `usual` says whether it went as it would if everything were ready.
    fn at_once<T>(
        &mut self,
        what: &'static str,
        act: impl FnOnce(&mut ResourceTable) -> StreamResult<T>,
        usual: impl FnOnce(&StreamResult<T>) -> bool,
    ) -> StreamResult<T>
    where
        T: Clone + Serialize + serde::de::DeserializeOwned,
    {
        match self.exception::<Otherwise<T>>(what).map_err(StreamError::Trap)? {
            Exception::Recalled(otherwise) => otherwise.again(),
            Exception::Usual => act(self.table),
            Exception::New(slot) => {
                let result = act(self.table);
                if !usual(&result)
                    && let Some(otherwise) = Otherwise::of(&result)
                {
                    self.keep(slot, &otherwise);
                }
                result
            }
        }
    }
}

/// Whether bytes came, or the end, of which streams know themselves.
fn came(result: &StreamResult<Vec<u8>>) -> bool {
    !matches!(result, Ok(bytes) if bytes.is_empty())
}

impl poll::Host for Io<'_> {
    async fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> wasmtime::Result<Vec<u32>> {
        let all: Vec<u32> = (0..u32::try_from(pollables.len())?).collect();
        match self.exception("poll.poll")? {
            Exception::Recalled(ready) => Ok(ready),
            Exception::Usual if !all.is_empty() => Ok(all),
            Exception::Usual => poll::Host::poll(self.table, pollables).await,
            Exception::New(slot) => {
                let ready = poll::Host::poll(self.table, pollables).await?;
                if ready != all {
                    self.keep(slot, &ready);
                }
                Ok(ready)
            }
        }
    }
}

impl poll::HostPollable for Io<'_> {
    async fn block(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        match self.exception::<()>("pollable.block")? {
            // It was waited for already.
            Exception::Recalled(()) | Exception::Usual => Ok(()),
            Exception::New(_) => poll::HostPollable::block(self.table, pollable).await,
        }
    }

    async fn ready(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<bool> {
        match self.exception("pollable.ready")? {
            Exception::Recalled(ready) => Ok(ready),
            Exception::Usual => Ok(true),
            Exception::New(slot) => {
                let ready = poll::HostPollable::ready(self.table, pollable).await?;
                if !ready {
                    self.keep(slot, &ready);
                }
                Ok(ready)
            }
        }
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        poll::HostPollable::drop(self.table, pollable)
    }
}

impl error::Host for Io<'_> {}

impl error::HostError for Io<'_> {
    fn to_debug_string(&mut self, error: Resource<streams::Error>) -> wasmtime::Result<String> {
        error::HostError::to_debug_string(self.table, error)
    }

    fn drop(&mut self, error: Resource<streams::Error>) -> wasmtime::Result<()> {
        error::HostError::drop(self.table, error)
    }
}

impl streams::Host for Io<'_> {
    fn convert_stream_error(&mut self, error: StreamError) -> wasmtime::Result<streams::StreamError> {
        streams::Host::convert_stream_error(self.table, error)
    }
}

type Input = Resource<DynInputStream>;
type Output = Resource<DynOutputStream>;

impl streams::HostInputStream for Io<'_> {
    fn read(&mut self, stream: Input, length: u64) -> StreamResult<Vec<u8>> {
        let read = |table: &mut ResourceTable| streams::HostInputStream::read(table, stream, length);
        self.at_once("input-stream.read", read, |result| length == 0 || came(result))
    }

    async fn blocking_read(&mut self, stream: Input, length: u64) -> StreamResult<Vec<u8>> {
        streams::HostInputStream::blocking_read(self.table, stream, length).await
    }

    fn skip(&mut self, stream: Input, length: u64) -> StreamResult<u64> {
        let skip = |table: &mut ResourceTable| streams::HostInputStream::skip(table, stream, length);
        self.at_once("input-stream.skip", skip, |result| length == 0 || !matches!(result, Ok(0)))
    }

    async fn blocking_skip(&mut self, stream: Input, length: u64) -> StreamResult<u64> {
        streams::HostInputStream::blocking_skip(self.table, stream, length).await
    }

    fn subscribe(&mut self, stream: Input) -> wasmtime::Result<Resource<DynPollable>> {
        streams::HostInputStream::subscribe(self.table, stream)
    }

    async fn drop(&mut self, stream: Input) -> wasmtime::Result<()> {
        streams::HostInputStream::drop(self.table, stream).await
    }
}

impl streams::HostOutputStream for Io<'_> {
    fn check_write(&mut self, stream: Output) -> StreamResult<u64> {
        let check = |table: &mut ResourceTable| streams::HostOutputStream::check_write(table, stream);
        self.at_once("output-stream.check-write", check, |result| matches!(result, Ok(1..)))
    }

    fn write(&mut self, stream: Output, bytes: Vec<u8>) -> StreamResult<()> {
        let write = |table: &mut ResourceTable| streams::HostOutputStream::write(table, stream, bytes);
        self.at_once("output-stream.write", write, StreamResult::is_ok)
    }

    async fn blocking_write_and_flush(&mut self, stream: Output, bytes: Vec<u8>) -> StreamResult<()> {
        streams::HostOutputStream::blocking_write_and_flush(self.table, stream, bytes).await
    }

    fn flush(&mut self, stream: Output) -> StreamResult<()> {
        let flush = |table: &mut ResourceTable| streams::HostOutputStream::flush(table, stream);
        self.at_once("output-stream.flush", flush, StreamResult::is_ok)
    }

    async fn blocking_flush(&mut self, stream: Output) -> StreamResult<()> {
        streams::HostOutputStream::blocking_flush(self.table, stream).await
    }

    fn subscribe(&mut self, stream: Output) -> wasmtime::Result<Resource<DynPollable>> {
        streams::HostOutputStream::subscribe(self.table, stream)
    }

    fn write_zeroes(&mut self, stream: Output, length: u64) -> StreamResult<()> {
        let write = |table: &mut ResourceTable| streams::HostOutputStream::write_zeroes(table, stream, length);
        self.at_once("output-stream.write-zeroes", write, StreamResult::is_ok)
    }

    async fn blocking_write_zeroes_and_flush(&mut self, stream: Output, length: u64) -> StreamResult<()> {
        streams::HostOutputStream::blocking_write_zeroes_and_flush(self.table, stream, length).await
    }

    fn splice(&mut self, stream: Output, from: Input, length: u64) -> StreamResult<u64> {
        let splice = |table: &mut ResourceTable| streams::HostOutputStream::splice(table, stream, from, length);
        self.at_once("output-stream.splice", splice, |result| length == 0 || !matches!(result, Ok(0)))
    }

    async fn blocking_splice(&mut self, stream: Output, from: Input, length: u64) -> StreamResult<u64> {
        streams::HostOutputStream::blocking_splice(self.table, stream, from, length).await
    }

    async fn drop(&mut self, stream: Output) -> wasmtime::Result<()> {
        streams::HostOutputStream::drop(self.table, stream).await
    }
}

/// Links `wasi:io`.
pub(super) fn link(linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
    error::add_to_linker::<_, Streams>(linker, crossed)?;
    poll::add_to_linker::<_, Streams>(linker, crossed)?;
    streams::add_to_linker::<_, Streams>(linker, crossed)
}
