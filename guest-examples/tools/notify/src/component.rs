//! The component: the exported functions, and the outbox in the granted state.

#[expect(unsafe_code, clippy::pedantic, reason = "generated from WIT")]
mod bindings {
    wit_bindgen::generate!({
        path: ["../../../wit", "wit"],
        world: "ambit-examples:notify/notify-tool",
        generate_all,
    });
    export!(Notify with_types_in self);
    use super::Notify;
}

use bindings::exports::ambit_examples::notify::notify as wit;

use kept::Granted;

use crate::outbox::{self, Message};

struct Notify;

impl wit::Guest for Notify {
    fn send(channel: String, text: String) -> Result<u64, wit::Error> {
        outbox::send(&open()?, channel, text).map_err(wit::Error::from)
    }

    fn sent(limit: Option<u32>) -> Result<Vec<wit::Message>, wit::Error> {
        let message = |Message { number, channel, text }| wit::Message { number, channel, text };
        Ok(outbox::sent(&open()?, limit)?.into_iter().map(message).collect())
    }
}

impl From<outbox::Error> for wit::Error {
    fn from(error: outbox::Error) -> Self {
        match error {
            outbox::Error::BadChannel => wit::Error::BadChannel,
            outbox::Error::Empty => wit::Error::Empty,
            outbox::Error::TooLong => wit::Error::TooLong,
            outbox::Error::Outbox(why) => wit::Error::Outbox(why),
        }
    }
}

fn open() -> Result<Granted, wit::Error> {
    Granted::open().map_err(wit::Error::Outbox)
}
