//! Lets components that were built for Hyperlight's sandbox call granted tools: their interface on one side, ambit's on the
//! other.

#[expect(unsafe_code, clippy::pedantic, reason = "generated from WIT")]
mod bindings {
    wit_bindgen::generate!({
        path: ["../../../wit", "wit"],
        world: "hyperlight:sandbox/dispatch-tool",
        generate_all,
    });
    export!(Dispatch with_types_in self);
    use super::Dispatch;
}

use bindings::ambit::agent::tools::{Error, call};
use bindings::exports::hyperlight::sandbox::tools::Guest;

struct Dispatch;

impl Guest for Dispatch {
    fn dispatch(name: String, args_json: String) -> Result<String, String> {
        call(&name, &args_json).map_err(|error| match error {
            Error::UnknownTool => format!("there is no tool `{name}`"),
            Error::InvalidArguments(why) => format!("the arguments do not fit `{name}`: {why}"),
            Error::Refused(refusal) => format!("the call of `{name}` was refused: see record {}", refusal.record),
            Error::Failed(value) => format!("`{name}` failed with {value}"),
            Error::Trapped(why) => format!("`{name}` broke down: {why}"),
        })
    }
}
