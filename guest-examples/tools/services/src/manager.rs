//! The manager of services: JSON over HTTP.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /v1/services/<name>` | 200: `{"name", "healthy", "restarts"}` |
//! | `POST /v1/services/<name>/restart` | 200: the same, afterwards |
//!
//! A service that is not there is answered with 404.

use serde::Deserialize;
use web::{Method, Request, Url, Web};

/// The longest answer, in bytes.
const LARGEST: usize = 64 << 10;

/// How a service is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct State {
    /// Its name.
    pub name: String,
    /// Whether it answers as it should.
    pub healthy: bool,
    /// How often it was restarted.
    pub restarts: u64,
}

/// Why nothing is known of a service.
#[derive(Debug, PartialEq, Eq)]
pub enum Error {
    /// That is no service's name.
    BadName,
    /// There is none of that name.
    Unknown,
    /// The request was not let out.
    Refused,
    /// The manager cannot be reached, or says something else than it should.
    Manager(String),
}

/// The manager at an address, as far as it is let out to.
#[derive(Debug)]
pub struct Manager<'a, W> {
    base: Url,
    web: &'a W,
}

impl<'a, W: Web> Manager<'a, W> {
    /// The manager at `base`, the value of `SERVICES_URL`.
    ///
    /// # Errors
    ///
    /// It is no address.
    pub fn at(base: &str, web: &'a W) -> Result<Self, Error> {
        match Url::parse(base) {
            Ok(base) if !base.cannot_be_a_base() => Ok(Self { base, web }),
            _ => Err(Error::Manager(format!("`{base}` in SERVICES_URL is no address"))),
        }
    }

    /// Asks about a service, or for something to be done to it.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn ask(&self, method: Method, service: &str, what: &str) -> Result<State, Error> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !(1..=32).contains(&service.len()) || !service.bytes().all(fits) {
            return Err(Error::BadName);
        }
        let mut url = self.base.clone();
        url.set_path(&format!("/v1/services/{service}{what}"));
        let request =
            Request { method, url, body: Vec::new(), accept: "application/json", headers: &[], largest: LARGEST };
        let response = self.web.send(&request).map_err(told)?;
        match response.status {
            200 => serde_json::from_slice(&response.body)
                .map_err(|error| Error::Manager(format!("its answer cannot be read: {error}"))),
            404 => Err(Error::Unknown),
            status => Err(Error::Manager(format!("it answered with status {status}"))),
        }
    }
}

fn told(error: web::Error) -> Error {
    match error {
        web::Error::Refused => Error::Refused,
        web::Error::BadUrl => Error::Manager("its address is none".to_owned()),
        web::Error::TooLarge => Error::Manager("its answer is too long".to_owned()),
        web::Error::Unreachable(why) => Error::Manager(format!("it cannot be reached: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use web::{Response, Script};

    use super::*;

    fn answered(status: u16, body: &'static str, service: &str) -> (Result<State, Error>, Vec<String>) {
        let script = Script::new(move |_: &Request| {
            Ok(Response { status, media_type: None, location: None, body: body.as_bytes().to_vec() })
        });
        let state = Manager::at("http://localhost:8805", &script).unwrap().ask(Method::Get, service, "");
        (state, script.asked())
    }

    #[test]
    fn a_state_is_asked_for_and_read() {
        let (state, asked) = answered(200, r#"{"name": "web", "healthy": true, "restarts": 2}"#, "web");
        assert_eq!(state, Ok(State { name: "web".to_owned(), healthy: true, restarts: 2 }));
        assert_eq!(asked, ["GET http://localhost:8805/v1/services/web"]);
    }

    #[test]
    fn what_is_no_name_is_not_asked_for() {
        for name in ["", "a/b", "../x", "Web", "a b", &"x".repeat(33)] {
            assert_eq!(answered(200, "{}", name), (Err(Error::BadName), Vec::new()), "{name}");
        }
    }

    #[test]
    fn what_goes_wrong_is_told() {
        assert_eq!(answered(404, "", "web").0, Err(Error::Unknown));
        assert_eq!(answered(503, "", "web").0, Err(Error::Manager("it answered with status 503".to_owned())));
        assert!(matches!(answered(200, "[]", "web").0, Err(Error::Manager(_))));
    }
}
