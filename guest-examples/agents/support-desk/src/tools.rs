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
    /// There is no such function.
    Unknown,
    /// The arguments do not fit.
    Misfit(String),
    /// The call was refused: for what kind of reason, and which audit record says more.
    Refused(&'static str, u64),
    /// The function returned this error, as JSON.
    Failed(String),
    /// The tool broke down.
    Trapped(String),
}

/// What came of a call, as the output shows it: `outcome`, and what belongs to it.
#[must_use]
pub fn outcome(answer: &Result<Value, CallError>) -> Value {
    match answer {
        Ok(value) => json!({"outcome": "done", "answer": value}),
        Err(CallError::Unknown) => json!({"outcome": "unknown-tool"}),
        Err(CallError::Misfit(why)) => json!({"outcome": "invalid-arguments", "why": why}),
        Err(CallError::Refused(code, record)) => json!({"outcome": "refused", "code": code, "record": record}),
        Err(CallError::Failed(error)) => json!({"outcome": "failed", "error": parsed(error)}),
        Err(CallError::Trapped(why)) => json!({"outcome": "trapped", "why": why}),
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

/// Reads a number of 64 bits: large ones come as texts, since many readers of JSON would round them.
#[must_use]
pub fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_in_two_forms() {
        assert_eq!(number(&json!(7)), Some(7));
        assert_eq!(number(&json!("18446744073709551615")), Some(u64::MAX));
        assert_eq!(number(&json!(-1)), None);
    }

    #[test]
    fn a_refusal_says_its_code_and_its_record() {
        let refused = outcome(&Err(CallError::Refused("denied", 12)));
        assert_eq!(refused, json!({"outcome": "refused", "code": "denied", "record": 12}));
    }
}
