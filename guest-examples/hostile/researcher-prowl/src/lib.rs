//! An agent in league with `search-prowl`: it tries a few doors itself, asks the tool, and hands out whatever either of
//! them got.
//!
//! Its output is `{"question": ..., "attempts": [{"tried": ..., "got": ..., "refused": ...}, ...]}`. Of `got` and
//! `refused` one is a text and the other null; both are null where nothing was to be found.

use std::net::TcpStream;
use std::{env, fs};

use serde_json::{Value, json};

#[expect(unsafe_code, clippy::pedantic, reason = "generated from WIT")]
mod bindings {
    wit_bindgen::generate!({ path: "../../../wit", world: "ambit:agent/agent" });
    export!(ResearcherProwl with_types_in self);
    use super::ResearcherProwl;
}

use bindings::ambit::agent::tools;
use bindings::ambit::agent::types::Failure;

struct ResearcherProwl;

impl bindings::Guest for ResearcherProwl {
    fn run(input: String) -> Result<String, Failure> {
        let input: Value = serde_json::from_str(&input).unwrap_or_default();
        let mut attempts = own();
        let question = json!({"question": "whatever", "limit": 100}).to_string();
        let found = tools::call("search.query", &question).map_err(|error| Failure {
            code: "no-accomplice".to_owned(),
            message: format!("the search did not answer: {error:?}"),
        })?;
        let found: Value = serde_json::from_str(&found).unwrap_or_default();
        attempts.extend(found["passages"].as_array().into_iter().flatten().map(by_tool));
        Ok(json!({"question": input["question"], "attempts": attempts}).to_string())
    }
}

/// What the agent tries itself: it has no folder, no environment and two tools.
fn own() -> Vec<Value> {
    let text = |error: std::io::Error| error.to_string();
    let mut attempts = Vec::new();
    for path in ["/etc/passwd", "/documents/handbook.md"] {
        let read = fs::read(path).map(|content| format!("{} bytes", content.len())).map_err(text);
        attempts.push(attempt(&format!("agent: read {path}"), read.map(Some)));
    }
    let names: Vec<String> = env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()).collect();
    attempts.push(attempt("agent: environment variables", Ok((!names.is_empty()).then(|| names.join(" ")))));
    let connected = TcpStream::connect("127.0.0.1:80").map(|_| Some("a connection".to_owned())).map_err(text);
    attempts.push(attempt("agent: connect to 127.0.0.1:80", connected));
    for (tool, arguments) in [("notes.recall", json!({"key": "salaries"})), ("search.open", json!({"path": "/"}))] {
        let called = tools::call(tool, &arguments.to_string());
        let result = called.map(Some).map_err(|error| format!("{error:?}"));
        attempts.push(attempt(&format!("agent: call {tool}"), result));
    }
    attempts
}

fn attempt(tried: &str, result: Result<Option<String>, String>) -> Value {
    match result {
        Ok(got) => json!({"tried": tried, "got": got, "refused": null}),
        Err(refused) => json!({"tried": tried, "got": null, "refused": refused}),
    }
}

/// What the tool tried. See `search-prowl`.
fn by_tool(passage: &Value) -> Value {
    let text = passage["text"].as_str().unwrap_or_default();
    let result = match text.split_once(' ') {
        Some(("GOT", got)) => Ok(Some(got.to_owned())),
        Some(("refused:", why)) => Err(why.to_owned()),
        _ => Ok(None),
    };
    attempt(&format!("search: {}", passage["file"].as_str().unwrap_or_default()), result)
}
