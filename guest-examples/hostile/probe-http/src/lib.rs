//! For tests: attempts on `wasi:http`.

#[expect(unsafe_code, clippy::pedantic, reason = "generated from WIT")]
mod bindings {
    wit_bindgen::generate!({
        path: ["../../../wit", "wit"],
        world: "ambit-examples:probe-http/probe-http-tool",
        generate_all,
    });
    export!(Probe with_types_in self);
    use super::Probe;
}

use bindings::exports::ambit_examples::probe_http::probe_http::{Answer, Ask, Guest};
use bindings::wasi::http::outgoing_handler::handle;
use bindings::wasi::http::types::{
    Fields, FutureIncomingResponse, HeaderError, IncomingBody, Method, OutgoingBody, OutgoingRequest, RequestOptions,
    Scheme,
};
use bindings::wasi::io::streams::{OutputStream, StreamError};

struct Probe;

type Tried<T> = Result<T, String>;

/// A request that was begun, and its body.
struct Begun {
    response: FutureIncomingResponse,
    body: Option<(OutgoingBody, OutputStream)>,
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "HEAD" => Method::Head,
        other => Method::Other(other.to_owned()),
    }
}

fn begin(ask: &Ask) -> Tried<Begun> {
    let headers = Fields::new();
    for (name, value) in ask.headers.iter().flatten() {
        headers.append(name, value.as_bytes()).map_err(|error| told(name, error))?;
    }
    let request = OutgoingRequest::new(headers);
    let odd = |what: &'static str| move |()| format!("bad {what}");
    request.set_method(&method(ask.method.as_deref().unwrap_or("GET"))).map_err(odd("method"))?;
    let scheme = match ask.scheme.as_deref().unwrap_or("http") {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    };
    request.set_scheme(Some(&scheme)).map_err(odd("scheme"))?;
    request.set_authority(Some(&ask.authority)).map_err(odd("authority"))?;
    request.set_path_with_query(Some(ask.path.as_deref().unwrap_or("/"))).map_err(odd("path"))?;
    let has_body = ask.pieces.is_some() || ask.size.is_some();
    let body = has_body.then(|| request.body().map_err(odd("body"))).transpose()?;
    let options = ask.timeout.map(|nanoseconds| {
        let options = RequestOptions::new();
        let _ = options.set_connect_timeout(Some(nanoseconds));
        let _ = options.set_first_byte_timeout(Some(nanoseconds));
        let _ = options.set_between_bytes_timeout(Some(nanoseconds));
        options
    });
    let response = handle(request, options).map_err(|error| format!("{error:?}"))?;
    let body = body.map(|body| body.write().map(|stream| (body, stream)).map_err(odd("stream"))).transpose()?;
    Ok(Begun { response, body })
}

fn told(name: &str, error: HeaderError) -> String {
    match error {
        HeaderError::Forbidden => format!("forbidden header {name}"),
        HeaderError::InvalidSyntax => format!("bad header {}", name.escape_debug()),
        HeaderError::Immutable => "immutable".to_owned(),
    }
}

/// Writes the body; the response says what became of it.
fn write(body: Option<(OutgoingBody, OutputStream)>, ask: &Ask) -> Result<(), StreamError> {
    let Some((body, stream)) = body else { return Ok(()) };
    let zeros = vec![b'0'; 4096];
    let size = usize::try_from(ask.size.unwrap_or_default()).unwrap_or_default();
    let whole = (0..size / 4096).map(|_| zeros.as_slice());
    let pieces = ask.pieces.iter().flatten().flat_map(|piece| piece.as_bytes().chunks(4096));
    for piece in pieces.chain(whole).chain([&zeros[..size % 4096]]) {
        stream.blocking_write_and_flush(piece)?;
    }
    drop(stream);
    let trailers = ask.trailers.unwrap_or_default().then(|| {
        let trailers = Fields::new();
        let _ = trailers.append("x-trailer", b"x");
        trailers
    });
    let _ = OutgoingBody::finish(body, trailers);
    Ok(())
}

fn wait(response: &FutureIncomingResponse, ask: &Ask) -> Tried<Answer> {
    response.subscribe().block();
    let response = response.get().ok_or("not ready")?.map_err(|()| "taken".to_owned())?;
    let response = response.map_err(|error| format!("{error:?}"))?;
    let status = response.status();
    let headers = response.headers().entries();
    let headers =
        headers.into_iter().map(|(name, value)| (name, String::from_utf8_lossy(&value).into_owned())).collect();
    let body = response.consume().map_err(|()| "no body".to_owned())?;
    let (body, length) = read(&body, u64::from(ask.reads.unwrap_or(u32::MAX)))?;
    Ok(Answer { status, headers, body, length })
}

/// The beginning of a body, and how many bytes were read.
fn read(body: &IncomingBody, most: u64) -> Tried<(String, u64)> {
    let stream = body.stream().map_err(|()| "no stream".to_owned())?;
    let (mut text, mut length) = (Vec::new(), 0);
    while length < most {
        match stream.blocking_read((most - length).min(64 * 1024)) {
            Ok(bytes) => {
                length += bytes.len() as u64;
                let room = (64 * 1024usize).saturating_sub(text.len());
                text.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(error)) => {
                return Err(format!("body: {} after {length} bytes", error.to_debug_string()));
            }
        }
    }
    Ok((String::from_utf8_lossy(&text).into_owned(), length))
}

fn finish(begun: Tried<Begun>, ask: &Ask) -> Tried<Answer> {
    let Begun { response, body } = begun?;
    // A body that is cut off: the response says why.
    let _ = write(body, ask);
    wait(&response, ask)
}

impl Guest for Probe {
    fn send(ask: Ask) -> Tried<Answer> {
        finish(begin(&ask), &ask)
    }

    fn send_all(asks: Vec<Ask>) -> Vec<Tried<Answer>> {
        let begun: Vec<_> = asks.iter().map(begin).collect();
        begun.into_iter().zip(&asks).map(|(begun, ask)| finish(begun, ask)).collect()
    }

    fn hold_open(first: Ask, then: Ask) -> (Tried<Answer>, Tried<Answer>) {
        let begun = begin(&first);
        let answer = finish(begin(&then), &then);
        (finish(begun, &first), answer)
    }

    fn let_go(ask: Ask, times: u32) {
        for _ in 0..times {
            drop(begin(&ask));
        }
    }

    fn leave(ask: Ask) {
        if let Ok(Begun { response, body }) = begin(&ask) {
            let _ = write(body, &ask);
            // Still held when the guest has ended.
            std::mem::forget(response);
        }
    }

    fn repeat(ask: Ask, times: u32) -> Tried<u32> {
        let mut answered = 0;
        for _ in 0..times {
            answered += u32::from(finish(begin(&ask), &ask)?.status == 200);
        }
        Ok(answered)
    }

    fn many_headers(name: String, times: u32) -> Result<u32, String> {
        let headers = Fields::new();
        for _ in 0..times {
            headers.append(&name, b"0123456789").map_err(|error| told(&name, error))?;
        }
        Ok(times)
    }
}
