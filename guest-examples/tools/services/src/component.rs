//! The component: the exported functions, over the network as far as it was granted.

use std::env;

#[expect(unsafe_code, clippy::pedantic, reason = "generated from WIT")]
mod bindings {
    wit_bindgen::generate!({
        path: ["../../../wit", "wit"],
        world: "ambit-examples:services/services-tool",
        generate_all,
    });
    export!(Services with_types_in self);
    use super::Services;
}

use bindings::exports::ambit_examples::services::services as wit;
use web::{Granted, Method};

use crate::manager::{self, Manager, State};

struct Services;

impl wit::Guest for Services {
    fn status(service: String) -> Result<wit::State, wit::Error> {
        Ok(manager()?.ask(Method::Get, &service, "")?.into())
    }

    fn restart(service: String) -> Result<wit::State, wit::Error> {
        Ok(manager()?.ask(Method::Post("application/json"), &service, "/restart")?.into())
    }
}

fn manager() -> Result<Manager<'static, Granted>, manager::Error> {
    let base = env::var("SERVICES_URL")
        .map_err(|_| manager::Error::Manager("nobody said in SERVICES_URL where it is".to_owned()))?;
    Manager::at(&base, &Granted)
}

impl From<State> for wit::State {
    fn from(State { name, healthy, restarts }: State) -> Self {
        Self { name, healthy, restarts }
    }
}

impl From<manager::Error> for wit::Error {
    fn from(error: manager::Error) -> Self {
        match error {
            manager::Error::BadName => Self::BadName,
            manager::Error::Unknown => Self::Unknown,
            manager::Error::Refused => Self::Refused,
            manager::Error::Manager(why) => Self::Manager(why),
        }
    }
}
