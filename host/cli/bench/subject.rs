//! What is measured: a component with a function of it, ours or the engineer's own.

use std::io::Read as _;
use std::path::Path;

use super::super::{Failure, call};

/// Our own, built from `guest-examples/bench`, in the format of gzip.
const YARDSTICK: &[u8] = include_bytes!("guests/yardstick.wasm.gz");
const AGENT: &[u8] = include_bytes!("guests/bench-agent.wasm.gz");
const TRIVIAL: &[u8] = include_bytes!("guests/bench-trivial.wasm.gz");
const COMMAND: &[u8] = include_bytes!("guests/bench-command.wasm.gz");

/// A function of a component, and what it is called with.
pub(super) struct Subject {
    /// The component.
    pub(super) wasm: Vec<u8>,
    /// The function's name.
    pub(super) function: String,
    /// A JSON object.
    pub(super) input: String,
    /// Whether it is ours: only then is it known what else does the same.
    pub(super) is_ours: bool,
}

impl Subject {
    /// Ours: a Rust component that does little with a text.
    pub(super) fn ours() -> Result<Self, Failure> {
        let (function, input) = ("work".to_owned(), r#"{"input":"the quick brown fox"}"#.to_owned());
        Ok(Self { wasm: unpacked(YARDSTICK)?, function, input, is_ours: true })
    }

    /// The engineer's.
    pub(super) fn theirs(file: &Path, function: String, input: String) -> Result<Self, Failure> {
        Ok(Self { wasm: call::component(file)?.wasm.to_vec(), function, input, is_ours: false })
    }
}

/// The component with kernels of computing.
pub(super) fn yardstick() -> Result<Vec<u8>, Failure> {
    unpacked(YARDSTICK)
}

/// The agent that calls a tool, waits, or does little.
pub(super) fn agent() -> Result<Vec<u8>, Failure> {
    unpacked(AGENT)
}

/// The agent that asks for nothing.
pub(super) fn trivial() -> Result<Vec<u8>, Failure> {
    unpacked(TRIVIAL)
}

/// A command that does what the agent does with a text, for other runtimes.
pub(super) fn command() -> Result<Vec<u8>, Failure> {
    unpacked(COMMAND)
}

fn unpacked(packed: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut wasm = Vec::new();
    let read = flate2::read::GzDecoder::new(packed).read_to_end(&mut wasm);
    read.map_err(|error| Failure::Host(miette::miette!("a component of ambit's own cannot be read: {error}")))?;
    Ok(wasm)
}
