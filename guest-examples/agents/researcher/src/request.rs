//! What the agent is asked.

use serde_json::Value;

use crate::research::Failure;

/// The longest question, in bytes.
pub const LONGEST: usize = 4_000;

/// How many pages may be named.
pub const MOST_PAGES: usize = 20;

/// What the agent is asked, and where to look.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// The question.
    pub question: String,
    /// Addresses of pages to begin with. Without any, the folder of documents is searched.
    pub pages: Vec<String>,
}

/// Takes the request from the agent's input: `{"question": "...", "pages": ["http://..."]}`, or a JSON string.
///
/// # Errors
///
/// `bad-input` when there is no question, or a longer one than [`LONGEST`], or more pages than [`MOST_PAGES`].
pub fn request(input: &str) -> Result<Request, Failure> {
    let bad = |message: &str| Failure::new("bad-input", message);
    let value: Value = serde_json::from_str(input).map_err(|error| bad(&format!("the input is no JSON: {error}")))?;
    let pages = pages(value.get("pages"))?;
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
    Ok(Request { question: question.to_owned(), pages })
}

fn pages(value: Option<&Value>) -> Result<Vec<String>, Failure> {
    let bad = |message: &str| Failure::new("bad-input", message);
    let Some(value) = value else { return Ok(Vec::new()) };
    let urls: Option<Vec<String>> =
        value.as_array().and_then(|urls| urls.iter().map(|url| url.as_str().map(str::to_owned)).collect());
    let urls = urls.ok_or_else(|| bad("`pages` must be a list of addresses"))?;
    if urls.len() > MOST_PAGES {
        return Err(bad(&format!("there are {} pages, and {MOST_PAGES} are the most", urls.len())));
    }
    Ok(urls)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn questions_come_in_two_forms() {
        let plain = Request { question: "What?".to_owned(), pages: Vec::new() };
        assert_eq!(request(r#"{"question": " What? ", "more": 1}"#).unwrap(), plain);
        assert_eq!(request(r#""What?""#).unwrap(), plain);
        let pages = request(r#"{"question": "What?", "pages": ["http://a/"]}"#).unwrap().pages;
        assert_eq!(pages, ["http://a/"]);
    }

    #[test]
    fn anything_else_is_bad_input() {
        let long = format!("\"{}\"", "x".repeat(LONGEST + 1));
        let many = json!({"question": "What?", "pages": vec!["http://a/"; MOST_PAGES + 1]}).to_string();
        let odd = [r#"{"question": "a", "pages": "http://a/"}"#, r#"{"question": "a", "pages": [1]}"#, &long, &many];
        let none = ["", "{", "[]", "1", "{}", r#"{"question": 1}"#, r#"{"question": " "}"#, r#""""#];
        for input in none.into_iter().chain(odd) {
            assert_eq!(request(input).unwrap_err().code, "bad-input", "{input}");
        }
    }
}
