//! HTTP as tools see it: requests by `wasi:http`, and a script of answers to test with.

#[cfg(target_family = "wasm")]
mod granted;
mod script;

#[cfg(target_family = "wasm")]
pub use granted::Granted;
pub use script::Script;
pub use url::Url;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// GET.
    Get,
    /// POST, with this media type and body.
    Post(&'static str),
}

/// A request.
#[derive(Debug, Clone)]
pub struct Request {
    /// GET or POST.
    pub method: Method,
    /// Where to, `http` or `https`. The fragment stays here.
    pub url: Url,
    /// What is sent along.
    pub body: Vec<u8>,
    /// The media types that are wanted, as the header `accept` has them.
    pub accept: &'static str,
    /// What else stands in its head.
    pub headers: &'static [(&'static str, &'static str)],
    /// The longest body that is read of the answer, in bytes.
    pub largest: usize,
}

/// An answer, whatever its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The media type and its parameters, as the server says it.
    pub media_type: Option<String>,
    /// Where the server sends on to.
    pub location: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The host does not let this request out, or not to that address.
    Refused,
    /// That is no address of a page.
    BadUrl,
    /// The answer is longer than wanted, or than the host allows.
    TooLarge,
    /// No connection, or it broke off; in WASI's own words.
    Unreachable(String),
}

/// Who takes requests.
pub trait Web {
    /// Sends one request, and reads the answer.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    fn send(&self, request: &Request) -> Result<Response, Error>;
}
