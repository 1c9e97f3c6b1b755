//! What the agent is asked.

use serde_json::Value;

use crate::research::Failure;

/// The longest question, in bytes.
pub const LONGEST: usize = 4_000;

/// Takes the question from the agent's input: `{"question": "..."}`, or a JSON string.
///
/// # Errors
///
/// `bad-input` when there is no question, or a longer one than [`LONGEST`].
pub fn question(input: &str) -> Result<String, Failure> {
    let bad = |message: &str| Failure::new("bad-input", message);
    let value: Value = serde_json::from_str(input).map_err(|error| bad(&format!("the input is no JSON: {error}")))?;
    let question = match &value {
        Value::String(question) => question,
        Value::Object(members) => match members.get("question") {
            Some(Value::String(question)) => question,
            Some(_) => return Err(bad("`question` must be a text")),
            None => return Err(bad("the input must have a `question`: {\"question\": \"...\"}")),
        },
        _ => return Err(bad("the input must be an object with a `question`, or a text")),
    };
    let question = question.trim();
    if question.is_empty() {
        return Err(bad("the question is empty"));
    }
    if question.len() > LONGEST {
        return Err(bad(&format!("the question has {} bytes, and {LONGEST} is the most", question.len())));
    }
    Ok(question.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_come_in_two_forms() {
        assert_eq!(question(r#"{"question": " What? ", "more": 1}"#).unwrap(), "What?");
        assert_eq!(question(r#""What?""#).unwrap(), "What?");
    }

    #[test]
    fn anything_else_is_bad_input() {
        let long = format!("\"{}\"", "x".repeat(LONGEST + 1));
        for input in ["", "{", "[]", "1", "{}", r#"{"question": 1}"#, r#"{"question": " "}"#, r#""""#, &long] {
            assert_eq!(question(input).unwrap_err().code, "bad-input", "{input}");
        }
    }
}
