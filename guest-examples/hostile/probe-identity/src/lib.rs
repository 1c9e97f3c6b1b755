//! For tests: attempts on identities.

#[expect(unsafe_code, clippy::pedantic, reason = "generated from WIT")]
mod bindings {
    wit_bindgen::generate!({
        path: ["../../../wit", "wit"],
        world: "ambit-examples:probe-identity/probe-identity-tool",
        generate_all,
    });
    export!(Probe with_types_in self);
    use super::Probe;
}

use bindings::ambit::agent::identity;
use bindings::exports::ambit_examples::probe_identity::probe_identity::Guest;

struct Probe;

impl Guest for Probe {
    fn whoami() -> String {
        identity::whoami()
    }
    fn token(audience: String, seconds: Option<u32>) -> Result<String, String> {
        identity::token(&audience, seconds).map_err(|refusal| format!("{:?}", refusal.code))
    }
    fn keep(audience: String, seconds: Option<u32>, path: String) -> Result<(), String> {
        std::fs::write(path, Self::token(audience, seconds)?).map_err(|error| error.to_string())
    }
}
