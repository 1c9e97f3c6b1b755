//! For tests: an agent that does what its input says.
//!
//! | input | does |
//! | --- | --- |
//! | `{"calls": [{"tool", "arguments"}]}` | calls tools in turn; the output lists `{"ok"}` or `{"error"}` for each |
//! | `{"list": true}` | gives the tools that it is shown |
//! | `{"fail": {"code", "message"}}` | fails |
//! | `{"panic": "text"}` | panics |

#[expect(unsafe_code, clippy::pedantic, reason = "generated from WIT")]
mod bindings {
    wit_bindgen::generate!({ path: "../../../wit", world: "ambit:agent/agent", generate_all });
    export!(Probe with_types_in self);
    use super::Probe;
}

use bindings::ambit::agent::tools::{self, Error};
use bindings::{Failure, Guest};
use serde_json::{Value, json};

struct Probe;

fn told(answer: Result<String, Error>) -> Value {
    let parsed = |text: &str| serde_json::from_str(text).unwrap_or(Value::Null);
    match answer {
        Ok(value) => json!({ "ok": parsed(&value) }),
        Err(Error::UnknownTool) => json!({ "error": "unknown-tool" }),
        Err(Error::InvalidArguments(why)) => json!({ "error": "invalid-arguments", "why": why }),
        Err(Error::Refused(refusal)) => {
            json!({ "error": "refused", "code": format!("{:?}", refusal.code), "record": refusal.record })
        }
        Err(Error::Failed(value)) => json!({ "error": "failed", "value": parsed(&value) }),
        Err(Error::Trapped(why)) => json!({ "error": "trapped", "why": why }),
    }
}

impl Guest for Probe {
    #[expect(clippy::panic, reason = "that is what the input asks for")]
    fn run(input: String) -> Result<String, Failure> {
        let input: Value = serde_json::from_str(&input).unwrap_or(Value::Null);
        if let Some(text) = input["panic"].as_str() {
            panic!("{text}");
        }
        if let Some(failure) = input["fail"].as_object() {
            let word = |key: &str| failure.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            return Err(Failure { code: word("code"), message: word("message") });
        }
        if input["list"] == true {
            let tools: Vec<Value> = tools::list()
                .into_iter()
                .map(|tool| {
                    let schema = |text: &str| serde_json::from_str(text).unwrap_or(Value::Null);
                    json!({
                        "name": tool.name,
                        "description": tool.description,
                        "parameters": schema(&tool.parameters),
                        "returns": schema(&tool.returns),
                    })
                })
                .collect();
            return Ok(Value::from(tools).to_string());
        }
        let calls = input["calls"].as_array().cloned().unwrap_or_default();
        let answers: Vec<Value> = calls
            .iter()
            .map(|call| {
                let tool = call["tool"].as_str().unwrap_or_default();
                // Arguments that are a string are passed as they are, so that broken JSON can be tried.
                let arguments = call["arguments"].as_str().map_or_else(|| call["arguments"].to_string(), str::to_owned);
                told(tools::call(tool, &arguments))
            })
            .collect();
        Ok(Value::from(answers).to_string())
    }
}
