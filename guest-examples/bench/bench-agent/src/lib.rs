//! What `ambit bench isolation` measures agents with.
//!
//! | input | does |
//! | --- | --- |
//! | `"text"` | does little with it |
//! | `{"call": "tool.function", "arguments": {}, "times": 10}` | calls a tool so often, one call after another |
//! | `{"wait": "key"}` | reads the state of that key |
//! | `{"burn": 1000}` | burns fuel: about so many thousand rounds of a loop |

#[path = "../../yardstick/src/work.rs"]
mod work;

#[expect(unsafe_code, clippy::pedantic, reason = "generated from WIT")]
mod bindings {
    wit_bindgen::generate!({
        path: ["../../../wit", "wit"],
        world: "ambit-bench:agent/bench-agent",
        generate_all,
    });
    export!(Bench with_types_in self);
    use super::Bench;
}

use bindings::ambit::agent::tools;
use bindings::wasi::keyvalue::store;
use bindings::{Failure, Guest};
use serde_json::Value;

struct Bench;

fn failure(code: &str, message: impl std::fmt::Debug) -> Failure {
    Failure { code: code.to_owned(), message: format!("{message:?}") }
}

impl Guest for Bench {
    fn run(input: String) -> Result<String, Failure> {
        let input: Value = serde_json::from_str(&input).map_err(|error| failure("input", error))?;
        if let Some(tool) = input["call"].as_str() {
            let arguments = input["arguments"].to_string();
            let mut last = "null".to_owned();
            for _ in 0..input["times"].as_u64().unwrap_or(1) {
                last = tools::call(tool, &arguments).map_err(|error| failure("call", error))?;
            }
            return Ok(last);
        }
        if let Some(key) = input["wait"].as_str() {
            let bucket = store::open("").map_err(|error| failure("state", error))?;
            let found = bucket.get(key).map_err(|error| failure("state", error))?;
            return Ok(found.is_some().to_string());
        }
        if let Some(rounds) = input["burn"].as_u64() {
            let mut count: u64 = 0;
            for number in 0..rounds.saturating_mul(1000) {
                count = count.wrapping_mul(31).wrapping_add(number);
            }
            return Ok(format!("\"{count}\""));
        }
        Ok(Value::from(work::work(input.as_str().unwrap_or_default())).to_string())
    }
}
