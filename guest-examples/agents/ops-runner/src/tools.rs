//! Calls of tools by name, and what comes of them.

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
    /// The call was refused: for what kind of reason, and which audit record says more.
    Refused(&'static str, u64),
    /// The function returned this error, as JSON.
    Failed(String),
    /// There is no such function, or the tool broke down.
    Broken(String),
}

/// What came of a call, as the output shows it.
#[must_use]
pub fn outcome(answer: &Result<Value, CallError>) -> Value {
    match answer {
        Ok(value) => json!({ "outcome": "done", "answer": value }),
        Err(CallError::Refused(code, record)) => json!({ "outcome": "refused", "code": code, "record": record }),
        Err(CallError::Failed(error)) => json!({ "outcome": "failed", "error": parsed(error) }),
        Err(CallError::Broken(why)) => json!({ "outcome": "broken", "why": why }),
    }
}

/// Calls a tool's function with a JSON value, and reads its answer.
///
/// # Errors
///
/// See [`CallError`].
pub fn call(tools: &impl Tools, name: &str, arguments: &Value) -> Result<Value, CallError> {
    tools.call(name, &arguments.to_string()).map(|answer| parsed(&answer))
}

/// What a tool answered. The host writes JSON; should it not, the text is shown as it is.
fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}
