//! Requests by `wasi:http`, to the hosts that the tool was granted.

#[expect(clippy::pedantic, reason = "generated from WIT")]
mod bindings {
    wit_bindgen::generate!({
        inline: "
            package ambit-examples:web@0.1.0;
            world web {
                import wasi:http/outgoing-handler@0.2.12;
            }
        ",
        path: "../../wit",
        world: "ambit-examples:web/web",
        generate_all,
    });
}

use bindings::wasi::http::outgoing_handler::handle;
use bindings::wasi::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingResponse, Method as Verb, OutgoingBody, OutgoingRequest, Scheme,
    http_error_code,
};
use bindings::wasi::io::streams::{InputStream, StreamError};

use crate::{Error, Method, Request, Response, Web};

/// How much `blocking-write-and-flush` takes at once (`wasi:io/streams`).
const WRITE: usize = 4096;

/// How much is read at once.
const READ: u64 = 64 << 10;

/// The network, as far as it was granted.
#[derive(Debug)]
pub struct Granted;

impl Web for Granted {
    fn send(&self, request: &Request) -> Result<Response, Error> {
        let outgoing = head(request)?;
        let body = outgoing.body().map_err(|()| unreachable("no-body"))?;
        let answer = handle(outgoing, None).map_err(told)?;
        write(body, &request.body)?;
        answer.subscribe().block();
        match answer.get() {
            Some(Ok(response)) => read(&response.map_err(told)?, request.largest),
            Some(Err(())) | None => Err(unreachable("no-response")),
        }
    }
}

fn head(request: &Request) -> Result<OutgoingRequest, Error> {
    let mut headers = vec![("accept".to_owned(), request.accept.as_bytes().to_vec())];
    headers.extend(request.headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())));
    let verb = match request.method {
        Method::Get => Verb::Get,
        Method::Post(media_type) => {
            headers.push(("content-type".to_owned(), media_type.as_bytes().to_vec()));
            headers.push(("content-length".to_owned(), request.body.len().to_string().into_bytes()));
            Verb::Post
        }
    };
    let scheme = match request.url.scheme() {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => return Err(Error::BadUrl),
    };
    let path = match request.url.query() {
        Some(query) => format!("{}?{query}", request.url.path()),
        None => request.url.path().to_owned(),
    };
    let fields = Fields::from_list(&headers).map_err(|_| unreachable("bad-header"))?;
    let outgoing = OutgoingRequest::new(fields);
    let set = |result: Result<(), ()>| result.map_err(|()| Error::BadUrl);
    set(outgoing.set_method(&verb))?;
    set(outgoing.set_scheme(Some(&scheme)))?;
    set(outgoing.set_authority(Some(request.url.authority())))?;
    set(outgoing.set_path_with_query(Some(&path)))?;
    Ok(outgoing)
}

fn write(body: OutgoingBody, content: &[u8]) -> Result<(), Error> {
    if !content.is_empty() {
        let stream = body.write().map_err(|()| unreachable("no-body"))?;
        for piece in content.chunks(WRITE) {
            // Why it was not taken is said with the answer.
            if stream.blocking_write_and_flush(piece).is_err() {
                break;
            }
        }
    }
    match OutgoingBody::finish(body, None) {
        Ok(()) => Ok(()),
        Err(code) => Err(told(code)),
    }
}

fn read(response: &IncomingResponse, largest: usize) -> Result<Response, Error> {
    let headers = response.headers();
    let header = |name: &str| headers.get(name).first().map(|value| String::from_utf8_lossy(value).into_owned());
    let (media_type, location) = (header("content-type"), header("location"));
    let body = response.consume().map_err(|()| unreachable("no-body"))?;
    let stream = body.stream().map_err(|()| unreachable("no-body"))?;
    let content = content(&stream, largest);
    drop(stream);
    drop::<IncomingBody>(body);
    Ok(Response { status: response.status(), media_type, location, body: content? })
}

fn content(stream: &InputStream, largest: usize) -> Result<Vec<u8>, Error> {
    let mut content = Vec::new();
    loop {
        match stream.blocking_read(READ) {
            Ok(piece) => content.extend(piece),
            Err(StreamError::Closed) => return Ok(content),
            Err(StreamError::LastOperationFailed(error)) => {
                return Err(http_error_code(&error).map_or_else(|| unreachable("broke-off"), told));
            }
        }
        if content.len() > largest {
            return Err(Error::TooLarge);
        }
    }
}

fn unreachable(why: &str) -> Error {
    Error::Unreachable(why.to_owned())
}

fn told(code: ErrorCode) -> Error {
    match code {
        ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited => Error::Refused,
        ErrorCode::HttpRequestUriInvalid | ErrorCode::HttpRequestUriTooLong => Error::BadUrl,
        ErrorCode::HttpResponseBodySize(_) => Error::TooLarge,
        ErrorCode::InternalError(Some(why)) => Error::Unreachable(why),
        other => Error::Unreachable(format!("{other:?}").trim_start_matches("ErrorCode::").to_owned()),
    }
}
