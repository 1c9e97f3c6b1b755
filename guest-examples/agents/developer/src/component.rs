//! The component: the exported function, and the tools that the host offers.

#[expect(unsafe_code, clippy::pedantic, reason = "generated from WIT")]
mod bindings {
    wit_bindgen::generate!({ path: "../../../wit", world: "ambit:agent/agent" });
    export!(Developer with_types_in self);
    use super::Developer;
}

use std::path::Path;

use bindings::ambit::agent::tools;
use bindings::ambit::agent::types::{Failure, RefusalCode};

use crate::tools::{CallError, Tools};

/// Where the workspace is mounted.
const WORKSPACE: &str = "/workspace";

struct Developer;

impl bindings::Guest for Developer {
    fn run(input: String) -> Result<String, Failure> {
        let failure = |failure: crate::Failure| Failure { code: failure.code.to_owned(), message: failure.message };
        crate::task::develop(&input, Path::new(WORKSPACE), &Host).map(|output| output.to_string()).map_err(failure)
    }
}

struct Host;

impl Tools for Host {
    fn call(&self, name: &str, arguments: &str) -> Result<String, CallError> {
        tools::call(name, arguments).map_err(|error| match error {
            tools::Error::UnknownTool => CallError::Broken("there is no such function".to_owned()),
            tools::Error::InvalidArguments(why) => CallError::Broken(format!("it takes other arguments: {why}")),
            tools::Error::Refused(refusal) => CallError::Refused(word(refusal.code), refusal.record),
            tools::Error::Failed(error) => CallError::Failed(error),
            tools::Error::Trapped(why) => CallError::Broken(why),
        })
    }
}

fn word(code: RefusalCode) -> &'static str {
    match code {
        RefusalCode::NotGranted => "not-granted",
        RefusalCode::Denied => "denied",
        RefusalCode::NeedsApproval => "needs-approval",
        RefusalCode::Quota => "quota",
        RefusalCode::Unavailable => "unavailable",
    }
}
