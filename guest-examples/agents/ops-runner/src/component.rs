//! The component: the exported function, the folder of runbooks, the workspace, and the tools that the host offers.

#[expect(unsafe_code, clippy::pedantic, reason = "generated from WIT")]
mod bindings {
    wit_bindgen::generate!({ path: "../../../wit", world: "ambit:agent/agent" });
    export!(OpsRunner with_types_in self);
    use super::OpsRunner;
}

use std::fs;

use bindings::ambit::agent::tools;
use bindings::ambit::agent::types::{Failure, RefusalCode};

use crate::runner::{self, Folder};
use crate::tools::{CallError, Tools};

struct OpsRunner;

impl bindings::Guest for OpsRunner {
    fn run(input: String) -> Result<String, Failure> {
        let failure = |failure: runner::Failure| Failure { code: failure.code.to_owned(), message: failure.message };
        runner::work(&input, &Host, &Host).map(|output| output.to_string()).map_err(failure)
    }
}

struct Host;

impl Folder for Host {
    fn runbook(&self, name: &str) -> Result<String, String> {
        fs::read_to_string(format!("/runbooks/{name}.md")).map_err(|error| format!("the runbook `{name}`: {error}"))
    }

    fn report(&self) -> Option<String> {
        fs::read_to_string("/workspace/report.md").ok()
    }
}

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
