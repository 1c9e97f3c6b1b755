//! The host's own environment, one variable for each permit.

use crate::capability::env::{Read, Variables};
use crate::gate::Permit;

/// The environment of this process.
pub struct HostVariables;

impl Variables for HostVariables {
    #[expect(clippy::disallowed_methods, reason = "a variable is read here, with the permit to do so")]
    fn value(&self, permit: Permit<Read>) -> Option<String> {
        std::env::var(permit.redeem().name).ok()
    }
}
