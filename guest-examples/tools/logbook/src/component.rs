//! The component: the exported function, the workspace and the granted state.

use std::path::Path;

#[expect(unsafe_code, clippy::pedantic, reason = "generated from WIT")]
mod bindings {
    wit_bindgen::generate!({
        path: ["../../../wit", "wit"],
        world: "ambit-examples:logbook/logbook-tool",
        generate_all,
    });
    export!(Logbook with_types_in self);
    use super::Logbook;
}

use bindings::exports::ambit_examples::logbook::logbook as wit;
use kept::Granted;

use crate::entry::{self, Error};

struct Logbook;

impl wit::Guest for Logbook {
    fn enter(runbook: String, text: String) -> Result<u64, wit::Error> {
        let state = Granted::open().map_err(wit::Error::Unwritten)?;
        entry::enter(Path::new("/workspace/report.md"), &state, &runbook, &text).map_err(|error| match error {
            Error::BadRunbook => wit::Error::BadRunbook,
            Error::BadText => wit::Error::BadText,
            Error::Unwritten(why) => wit::Error::Unwritten(why),
        })
    }
}
