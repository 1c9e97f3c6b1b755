//! Keeps notes from one task to the next, in granted state.

#[expect(unsafe_code, clippy::pedantic, reason = "generated from WIT")]
mod bindings {
    wit_bindgen::generate!({
        path: ["../../../wit", "wit"],
        world: "ambit-examples:notes/notes-tool",
        generate_all,
    });
    export!(Notes with_types_in self);
    use super::Notes;
}

use bindings::exports::ambit_examples::notes::notes::{Error, Guest};
use bindings::wasi::keyvalue::store::{self, Bucket};

struct Notes;

impl Guest for Notes {
    fn keep(key: String, text: String) -> Result<(), Error> {
        Ok(bucket()?.set(&key, text.as_bytes())?)
    }

    fn recall(key: String) -> Result<Option<String>, Error> {
        let kept = bucket()?.get(&key)?;
        kept.map(String::from_utf8).transpose().map_err(|_| Error::NotText)
    }

    fn forget(key: String) -> Result<(), Error> {
        Ok(bucket()?.delete(&key)?)
    }

    fn list() -> Result<Vec<String>, Error> {
        let bucket = bucket()?;
        let mut keys = Vec::new();
        let mut cursor = None;
        loop {
            let page = bucket.list_keys(cursor)?;
            keys.extend(page.keys);
            cursor = page.cursor;
            if cursor.is_none() {
                keys.sort();
                return Ok(keys);
            }
        }
    }
}

/// The tool's own namespace.
fn bucket() -> Result<Bucket, store::Error> {
    store::open("default")
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::NoSuchStore | store::Error::AccessDenied => Error::Refused,
            store::Error::Other(why) => Error::Failed(why),
        }
    }
}
