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
use bindings::wasi::keyvalue::atomics;
use bindings::wasi::keyvalue::store::{self, Bucket};

use crate::outbox::{self, Message};

struct Notify;

impl wit::Guest for Notify {
    fn send(channel: String, text: String) -> Result<u64, wit::Error> {
        outbox::send(&Outbox::open()?, channel, text).map_err(wit::Error::from)
    }

    fn sent(limit: Option<u32>) -> Result<Vec<wit::Message>, wit::Error> {
        let message = |Message { number, channel, text }| wit::Message { number, channel, text };
        Ok(outbox::sent(&Outbox::open()?, limit)?.into_iter().map(message).collect())
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

/// The granted namespace.
struct Outbox(Bucket);

impl Outbox {
    fn open() -> Result<Outbox, wit::Error> {
        store::open("default").map(Outbox).map_err(|error| wit::Error::Outbox(told(error)))
    }
}

impl outbox::State for Outbox {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, String> {
        self.0.get(key).map_err(told)
    }

    fn set(&self, key: &str, value: &[u8]) -> Result<(), String> {
        self.0.set(key, value).map_err(told)
    }

    fn increment(&self, key: &str, by: u64) -> Result<u64, String> {
        atomics::increment(&self.0, key, by).map_err(told)
    }

    fn keys(&self) -> Result<Vec<String>, String> {
        let (mut keys, mut cursor) = (Vec::new(), None);
        loop {
            let page = self.0.list_keys(cursor).map_err(told)?;
            keys.extend(page.keys);
            cursor = page.cursor;
            if cursor.is_none() {
                return Ok(keys);
            }
        }
    }
}

fn told(error: store::Error) -> String {
    match error {
        store::Error::NoSuchStore => "no-such-store".to_owned(),
        store::Error::AccessDenied => "access-denied".to_owned(),
        store::Error::Other(why) => why,
    }
}
