//! What `ambit bench isolation` starts `ambit run` with: an agent that asks for nothing, and does what `bench-command` does.

#[path = "../../yardstick/src/work.rs"]
mod work;

#[expect(unsafe_code, clippy::pedantic, reason = "generated from WIT")]
mod bindings {
    wit_bindgen::generate!({
        path: "../../../wit",
        world: "ambit:agent/agent",
        generate_all,
    });
    export!(Bench with_types_in self);
    use super::Bench;
}

use bindings::{Failure, Guest};

struct Bench;

impl Guest for Bench {
    fn run(input: String) -> Result<String, Failure> {
        // A text as JSON, without anything that JSON would escape.
        Ok(format!("{:?}", work::work(input.trim_matches('"'))))
    }
}
