//! For tests: attempts on `wasi:keyvalue`.

#[expect(unsafe_code, clippy::pedantic, reason = "generated from WIT")]
mod bindings {
    wit_bindgen::generate!({
        path: ["../../../wit", "wit"],
        world: "ambit-examples:probe-state/probe-state-tool",
        generate_all,
    });
    export!(Probe with_types_in self);
    use super::Probe;
}

use bindings::exports::ambit_examples::probe_state::probe_state::Guest;
use bindings::wasi::keyvalue::{atomics, batch, store};

struct Probe;

type Tried<T> = Result<T, String>;

fn told<T>(result: Result<T, store::Error>) -> Tried<T> {
    result.map_err(|error| match error {
        store::Error::NoSuchStore => "no-such-store".to_owned(),
        store::Error::AccessDenied => "access-denied".to_owned(),
        store::Error::Other(what) => what,
    })
}

fn open(bucket: &str) -> Tried<store::Bucket> {
    told(store::open(bucket))
}

impl Guest for Probe {
    fn get(bucket: String, key: String) -> Tried<Option<String>> {
        let value = told(open(&bucket)?.get(&key))?;
        Ok(value.map(|value| String::from_utf8_lossy(&value).into_owned()))
    }
    fn set(bucket: String, key: String, value: String) -> Tried<()> {
        told(open(&bucket)?.set(&key, value.as_bytes()))
    }
    fn set_large(bucket: String, key: String, size: u32) -> Tried<()> {
        told(open(&bucket)?.set(&key, &vec![7; size as usize]))
    }
    fn delete(bucket: String, key: String) -> Tried<()> {
        told(open(&bucket)?.delete(&key))
    }
    fn keys(bucket: String) -> Tried<Vec<String>> {
        let bucket = open(&bucket)?;
        let (mut keys, mut cursor) = (Vec::new(), None);
        loop {
            let page = told(bucket.list_keys(cursor))?;
            keys.extend(page.keys);
            cursor = page.cursor;
            if cursor.is_none() {
                return Ok(keys);
            }
        }
    }
    fn increment(bucket: String, key: String, delta: u64) -> Tried<u64> {
        told(atomics::increment(&open(&bucket)?, &key, delta))
    }
    fn set_many(bucket: String, values: Vec<(String, String)>) -> Tried<()> {
        let values: Vec<_> = values.into_iter().map(|(key, value)| (key, value.into_bytes())).collect();
        told(batch::set_many(&open(&bucket)?, &values))
    }
    fn get_often(bucket: String, key: String, times: u32) -> u32 {
        let Ok(bucket) = open(&bucket) else { return 0 };
        (0..times).filter(|_| bucket.get(&key).is_ok()).count().try_into().unwrap_or(u32::MAX)
    }
}
