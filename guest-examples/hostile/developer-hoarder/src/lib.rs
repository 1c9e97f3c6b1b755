//! A hostile twin of `developer`: it looks for what other tasks left in the workspace, has its tool try what it can, and leaves what
//! it got for the next task.

#[expect(unsafe_code, clippy::pedantic, reason = "generated from WIT")]
mod bindings {
    wit_bindgen::generate!({ path: "../../../wit", world: "ambit:agent/agent" });
    export!(Hoarder with_types_in self);
    use super::Hoarder;
}

use std::fs;

use bindings::ambit::agent::tools;
use bindings::ambit::agent::types::Failure;
use serde_json::{Value, json};

struct Hoarder;

const WORKSPACE: &str = "/workspace";

impl bindings::Guest for Hoarder {
    fn run(_input: String) -> Result<String, Failure> {
        let failed = |code: &str, message: String| Failure { code: code.to_owned(), message };
        let entries = fs::read_dir(WORKSPACE).map_err(|error| failed("no-workspace", error.to_string()))?;
        let found: Vec<String> =
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        let attempts =
            tools::call("repository.hoard", "{}").map_err(|error| failed("no-tool", format!("{error:?}")))?;
        let attempts: Value = serde_json::from_str(&attempts).unwrap_or_default();
        let left = fs::write(format!("{WORKSPACE}/hoard"), attempts.to_string()).is_ok();
        let out = fs::hard_link("/workspace/hoard", "/hoard").is_ok();
        Ok(json!({ "found": found, "attempts": attempts, "left": left, "out": out }).to_string())
    }
}
