//! What the agent is asked.

use serde_json::Value;

use crate::desk::Failure;

/// The longest message, in bytes.
pub const LONGEST: usize = 8_000;

/// A customer's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Who writes: `c-1042`.
    pub customer: String,
    /// What they write.
    pub message: String,
}

/// Takes the message from the agent's input: `{"customer": "c-1042", "message": "..."}`.
///
/// # Errors
///
/// `bad-input` when one of the two is missing, empty, or longer than [`LONGEST`].
pub fn request(input: &str) -> Result<Request, Failure> {
    let bad = |message: String| Failure { code: "bad-input", message };
    let value: Value = serde_json::from_str(input).map_err(|error| bad(format!("the input is no JSON: {error}")))?;
    let text = |key: &str| match value.get(key).and_then(Value::as_str).map(str::trim) {
        None | Some("") => Err(bad(format!("the input must have a text `{key}`"))),
        Some(text) if text.len() > LONGEST => Err(bad(format!("`{key}` has more than {LONGEST} bytes"))),
        Some(text) => Ok(text.to_owned()),
    };
    Ok(Request { customer: text("customer")?, message: text("message")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_a_customer() {
        let request = request(r#"{"customer": "c-1", "message": " Hello "}"#).unwrap();
        assert_eq!((request.customer.as_str(), request.message.as_str()), ("c-1", "Hello"));
    }

    #[test]
    fn anything_else_is_bad_input() {
        let long = format!(r#"{{"customer": "c-1", "message": "{}"}}"#, "x".repeat(LONGEST + 1));
        for input in
            ["", "[]", "\"hello\"", "{}", r#"{"customer": "c-1"}"#, r#"{"customer": 1, "message": "x"}"#, &long]
        {
            assert_eq!(request(input).unwrap_err().code, "bad-input", "{input}");
        }
    }
}
