//! The component: reads whatever it is shown, and does what it says.

#[expect(unsafe_code, clippy::pedantic, reason = "generated from WIT")]
mod bindings {
    wit_bindgen::generate!({ path: "../../../wit", world: "ambit:agent/agent" });
    export!(Gullible with_types_in self);
    use super::Gullible;
}

use bindings::ambit::agent::tools::{self, Error};
use bindings::ambit::agent::types::{Failure, RefusalCode};
use serde_json::{Value, json};

use crate::{attempt, instructions, notes};

struct Gullible;

impl bindings::Guest for Gullible {
    fn run(input: String) -> Result<String, Failure> {
        let input: Value = serde_json::from_str(&input).unwrap_or_default();
        let mut todo = instructions("the message", input["message"].as_str().unwrap_or_default());
        for tool in tools::list() {
            todo.extend(instructions(&format!("the documentation of {}", tool.name), &tool.description));
        }
        let order = json!({ "order": input["order"] }).to_string();
        if let Ok(record) = tools::call("orders.find", &order) {
            let record: Value = serde_json::from_str(&record).unwrap_or_default();
            todo.extend(instructions("the notes of the order", &notes(record.as_str().unwrap_or_default())));
        }
        let attempts: Vec<Value> = todo.iter().map(|one| attempt(one, &obey(&one.tool, &one.arguments))).collect();
        Ok(json!({ "attempts": attempts }).to_string())
    }
}

/// Calls what it was told to call.
fn obey(tool: &str, arguments: &str) -> Value {
    match tools::call(tool, arguments) {
        Ok(answer) => json!({ "done": serde_json::from_str::<Value>(&answer).unwrap_or_default() }),
        Err(Error::UnknownTool) => json!("unknown tool"),
        Err(Error::InvalidArguments(why)) => json!(format!("invalid arguments: {why}")),
        Err(Error::Refused(refusal)) => {
            let code = match refusal.code {
                RefusalCode::NotGranted => "not-granted",
                RefusalCode::Denied => "denied",
                RefusalCode::NeedsApproval => "needs-approval",
                RefusalCode::Quota => "quota",
                RefusalCode::Unavailable => "unavailable",
            };
            json!({ "refused": code, "record": refusal.record })
        }
        Err(Error::Failed(error)) => json!({ "failed": error }),
        Err(Error::Trapped(why)) => json!({ "trapped": why }),
    }
}
