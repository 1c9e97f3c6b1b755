//! State in memory, to test with.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::State;

/// Values that are gone with it.
#[derive(Debug, Default)]
pub struct Memory(RefCell<BTreeMap<String, Vec<u8>>>);

impl State for Memory {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, String> {
        Ok(self.0.borrow().get(key).cloned())
    }

    fn set(&self, key: &str, value: &[u8]) -> Result<(), String> {
        self.0.borrow_mut().insert(key.to_owned(), value.to_vec());
        Ok(())
    }

    fn increment(&self, key: &str, by: u64) -> Result<u64, String> {
        let stored = self.get(key)?.unwrap_or_else(|| b"0".to_vec());
        let number: Option<u64> = String::from_utf8(stored).ok().and_then(|text| text.parse().ok());
        let sum = number.and_then(|number| number.checked_add(by)).ok_or("the value is not a decimal number")?;
        self.set(key, sum.to_string().as_bytes())?;
        Ok(sum)
    }

    fn keys(&self) -> Result<Vec<String>, String> {
        Ok(self.0.borrow().keys().cloned().collect())
    }
}
