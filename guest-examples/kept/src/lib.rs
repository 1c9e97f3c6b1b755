//! State as tools see it: the namespace that they were granted, and one in memory to test with.

#[cfg(target_family = "wasm")]
mod granted;
mod memory;

#[cfg(target_family = "wasm")]
pub use granted::Granted;
pub use memory::Memory;

/// Values by key. Errors are sentences.
pub trait State {
    /// The value of a key.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, String>;
    /// Sets a key's value.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    fn set(&self, key: &str, value: &[u8]) -> Result<(), String>;
    /// Adds to a number, at once, and returns what it is now.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    fn increment(&self, key: &str, by: u64) -> Result<u64, String>;
    /// All keys.
    ///
    /// # Errors
    ///
    /// They cannot be read.
    fn keys(&self) -> Result<Vec<String>, String>;
}
