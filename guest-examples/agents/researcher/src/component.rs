//! The component: the exported function, and the tools that the host offers.

#[expect(unsafe_code, clippy::pedantic, reason = "generated from WIT")]
mod bindings {
    wit_bindgen::generate!({ path: "../../../wit", world: "ambit:agent/agent" });
    export!(Researcher with_types_in self);
    use super::Researcher;
}

use bindings::ambit::agent::tools;
use bindings::ambit::agent::types::{Failure, RefusalCode};

use crate::research;
use crate::tools::{CallError, Tools};

struct Researcher;

impl bindings::Guest for Researcher {
    fn run(input: String) -> Result<String, Failure> {
        let failure = |failure: research::Failure| Failure { code: failure.code.to_owned(), message: failure.message };
        research::research(&input, &Host).map(|report| report.to_string()).map_err(failure)
    }
}

struct Host;

impl Tools for Host {
    fn call(&self, name: &str, arguments: &str) -> Result<String, CallError> {
        tools::call(name, arguments).map_err(|error| match error {
            tools::Error::UnknownTool => CallError::Unknown,
            tools::Error::InvalidArguments(why) => CallError::Broken(format!("it takes other arguments: {why}")),
            tools::Error::Refused(refusal) => CallError::Refused(word(refusal.code).to_owned(), refusal.record),
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
