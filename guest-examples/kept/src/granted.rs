//! The namespace that the tool was granted.

#[expect(clippy::pedantic, reason = "generated from WIT")]
mod bindings {
    wit_bindgen::generate!({
        inline: "
            package ambit-examples:kept@0.1.0;
            world kept {
                import wasi:keyvalue/store@0.2.0-draft;
                import wasi:keyvalue/atomics@0.2.0-draft;
            }
        ",
        path: "../../wit",
        world: "ambit-examples:kept/kept",
        generate_all,
    });
}

use bindings::wasi::keyvalue::atomics;
use bindings::wasi::keyvalue::store::{self, Bucket, Error};

use crate::State;

/// It, open.
pub struct Granted(Bucket);

impl Granted {
    /// Opens it.
    ///
    /// # Errors
    ///
    /// It cannot be opened.
    pub fn open() -> Result<Self, String> {
        store::open("default").map(Self).map_err(told)
    }
}

impl State for Granted {
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

fn told(error: Error) -> String {
    match error {
        Error::NoSuchStore => "no-such-store".to_owned(),
        Error::AccessDenied => "access-denied".to_owned(),
        Error::Other(why) => why,
    }
}
