//! Answers from a script, to test with.

use std::cell::RefCell;

use crate::{Error, Method, Request, Response, Web};

/// Answers by a function, and remembers what was asked.
#[derive(Debug)]
pub struct Script<F> {
    answer: F,
    asked: RefCell<Vec<String>>,
}

impl<F: Fn(&Request) -> Result<Response, Error>> Script<F> {
    /// Answers by `answer`.
    pub fn new(answer: F) -> Self {
        Self { answer, asked: RefCell::new(Vec::new()) }
    }

    /// What was asked so far: `GET http://localhost/a`, and the body after a blank.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.asked.borrow().clone()
    }
}

impl<F: Fn(&Request) -> Result<Response, Error>> Web for Script<F> {
    fn send(&self, request: &Request) -> Result<Response, Error> {
        let shown = match request.method {
            Method::Get => format!("GET {}", request.url),
            Method::Post(_) => format!("POST {} {}", request.url, String::from_utf8_lossy(&request.body)),
        };
        self.asked.borrow_mut().push(shown);
        (self.answer)(request)
    }
}
