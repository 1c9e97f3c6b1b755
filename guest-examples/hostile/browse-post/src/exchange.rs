//! Requests as they are written, without anything that would put them right.

use crate::bindings::wasi::http::outgoing_handler::handle;
use crate::bindings::wasi::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingResponse, Method, OutgoingBody, OutgoingRequest, Scheme,
    http_error_code,
};
use crate::bindings::wasi::io::streams::{OutputStream, StreamError};

/// What was got, or how it was refused.
pub(crate) type Outcome = Result<String, String>;

/// A request.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) method: &'a str,
    pub(crate) scheme: &'a str,
    pub(crate) authority: &'a str,
    pub(crate) path: &'a str,
    /// The value of the header `x-data`.
    pub(crate) header: Option<&'a str>,
}

/// A request that was begun, with its body open.
pub(crate) struct Begun {
    // Dropped in this order: a body must outlive its stream.
    stream: OutputStream,
    body: OutgoingBody,
    response: FutureIncomingResponse,
}

impl<'a> Ask<'a> {
    pub(crate) fn new(method: &'a str, authority: &'a str, path: &'a str) -> Self {
        Self { method, scheme: "http", authority, path, header: None }
    }

    /// Reads a page.
    pub(crate) fn read(self) -> Outcome {
        wait(&handle(self.request()?, None).map_err(|code| told(&code))?)
    }

    /// Sends a body.
    pub(crate) fn send(self, content: &str) -> Outcome {
        self.begin()?.finish(&[content])
    }

    /// Hands a request over, and keeps its body open.
    pub(crate) fn begin(self) -> Result<Begun, String> {
        let request = self.request()?;
        let body = request.body().map_err(|()| "no-body")?;
        let stream = body.write().map_err(|()| "no-body")?;
        let response = handle(request, None).map_err(|code| told(&code))?;
        Ok(Begun { stream, body, response })
    }

    fn request(self) -> Result<OutgoingRequest, String> {
        let fields = Fields::new();
        if let Some(value) = self.header {
            fields.append("x-data", value.as_bytes()).map_err(|error| format!("{error:?}"))?;
        }
        let request = OutgoingRequest::new(fields);
        let method = match self.method {
            "GET" => Method::Get,
            "POST" => Method::Post,
            other => Method::Other(other.to_owned()),
        };
        let scheme = if self.scheme == "https" { Scheme::Https } else { Scheme::Http };
        request.set_method(&method).map_err(|()| "bad method")?;
        request.set_scheme(Some(&scheme)).map_err(|()| "bad scheme")?;
        request.set_authority(Some(self.authority)).map_err(|()| "bad authority")?;
        request.set_path_with_query(Some(self.path)).map_err(|()| "bad path")?;
        Ok(request)
    }
}

impl Begun {
    /// Writes one piece, and waits until it is on its way.
    pub(crate) fn write(&self, piece: &str) -> Result<(), StreamError> {
        piece.as_bytes().chunks(4096).try_for_each(|bytes| self.stream.blocking_write_and_flush(bytes))
    }

    /// Writes the rest, and waits for the answer. When a piece is not taken, the answer says why.
    pub(crate) fn finish(self, pieces: &[&str]) -> Outcome {
        let _ = pieces.iter().try_for_each(|piece| self.write(piece));
        drop(self.stream);
        let _ = OutgoingBody::finish(self.body, None);
        wait(&self.response)
    }
}

fn wait(response: &FutureIncomingResponse) -> Outcome {
    response.subscribe().block();
    match response.get() {
        Some(Ok(response)) => read(&response.map_err(|code| told(&code))?),
        _ => Err("no-response".to_owned()),
    }
}

fn read(response: &IncomingResponse) -> Outcome {
    let status = response.status();
    let body = response.consume().map_err(|()| "no-body")?;
    let stream = body.stream().map_err(|()| "no-body")?;
    let mut content = Vec::new();
    loop {
        match stream.blocking_read(64 << 10) {
            Ok(piece) => content.extend(piece),
            Err(StreamError::Closed) => return Ok(format!("{status} {}", String::from_utf8_lossy(&content))),
            Err(StreamError::LastOperationFailed(error)) => {
                return Err(http_error_code(&error).map_or_else(|| "broke off".to_owned(), |code| told(&code)));
            }
        }
    }
}

fn told(code: &ErrorCode) -> String {
    format!("{code:?}").trim_start_matches("ErrorCode::").to_owned()
}
