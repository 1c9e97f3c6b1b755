//! The three tools, as the agent sees them.

pub use retrieval::answer::Passage;
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

/// How tools are called: by name, with JSON.
pub trait Tools {
    /// Calls a tool's function.
    ///
    /// # Errors
    ///
    /// See [`CallError`].
    fn call(&self, name: &str, arguments: &str) -> Result<String, CallError>;
}

/// Why a call gave no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallError {
    /// There is no such function.
    Unknown,
    /// The call was refused: for what kind of reason, and which audit record says more.
    Refused(String, u64),
    /// The function returned this error, as JSON.
    Failed(String),
    /// The tool broke down, or its answer cannot be read.
    Broken(String),
}

/// What `search.query` found.
#[derive(Debug, Clone, Deserialize)]
pub struct Found {
    /// The best passages, best first.
    pub passages: Vec<Passage>,
    /// The words that were looked for.
    pub terms: Vec<Term>,
    /// What was searched.
    pub searched: Extent,
}

/// A word that was looked for.
#[derive(Debug, Clone, Deserialize)]
pub struct Term {
    /// The word in lower case.
    pub word: String,
    /// How many passages hold it.
    #[serde(deserialize_with = "count")]
    pub passages: u64,
}

/// What was searched.
#[derive(Debug, Clone, Deserialize)]
pub struct Extent {
    /// How many documents.
    #[serde(deserialize_with = "count")]
    pub files: u64,
    /// How many bytes.
    #[serde(deserialize_with = "count")]
    pub bytes: u64,
    /// About how many passages.
    #[serde(deserialize_with = "count")]
    pub passages: u64,
}

/// Reads a `u64`: large ones come as texts, since many readers of JSON would round them.
fn count<'a, D: Deserializer<'a>>(source: D) -> Result<u64, D::Error> {
    match Value::deserialize(source)? {
        Value::String(digits) => digits.parse().map_err(D::Error::custom),
        other => u64::deserialize(other).map_err(D::Error::custom),
    }
}

/// Lines of a file, as `quote` returns them.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Quote {
    /// Whether this is HTML without its markup.
    pub markup_removed: bool,
    /// The lines.
    pub text: String,
}

/// A page, as `browse` shows it.
#[derive(Debug, Clone, Deserialize)]
pub struct Page {
    /// Where it is.
    pub url: String,
    /// Its text, as Markdown.
    pub text: String,
    /// Where it leads: complete addresses.
    pub links: Vec<String>,
}

/// Asks for the passages that fit a question best.
///
/// # Errors
///
/// See [`CallError`].
pub fn search(tools: &impl Tools, question: &str, limit: u32) -> Result<Found, CallError> {
    call(tools, "search.query", &json!({"question": question, "limit": limit}))
}

/// Asks for the exact lines of a passage.
///
/// # Errors
///
/// See [`CallError`].
pub fn quote(tools: &impl Tools, passage: &Passage) -> Result<Quote, CallError> {
    let arguments = json!({"file": passage.file, "first": passage.line, "last": passage.last_line});
    call(tools, "quote.lines", &arguments)
}

/// Asks for a page.
///
/// # Errors
///
/// See [`CallError`].
pub fn browse(tools: &impl Tools, url: &str) -> Result<Page, CallError> {
    call(tools, "browse.read", &json!({"url": url}))
}

fn call<T: DeserializeOwned>(tools: &impl Tools, name: &str, arguments: &Value) -> Result<T, CallError> {
    let answer = tools.call(name, &arguments.to_string())?;
    serde_json::from_str(&answer).map_err(|error| CallError::Broken(format!("its answer is not as expected: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_come_as_numbers_and_as_texts() {
        let term: Term = serde_json::from_str(r#"{"word": "a", "passages": "18446744073709551615"}"#).unwrap();
        assert_eq!(term.passages, u64::MAX);
        assert_eq!(serde_json::from_str::<Term>(r#"{"word": "a", "passages": 7}"#).unwrap().passages, 7);
        assert!(serde_json::from_str::<Term>(r#"{"word": "a", "passages": -1}"#).is_err());
    }
}
