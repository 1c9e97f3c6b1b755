//! The tool, as the agent sees it.

use serde_json::Value;

use crate::Failure;

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
    /// There is no such function, or it broke down.
    Broken(String),
}

/// Calls a function of `repository`.
///
/// # Errors
///
/// `refused` when the host of this agent or that of the repository says no; else `repository`.
pub fn repository(tools: &impl Tools, function: &str, arguments: &Value) -> Result<Value, Failure> {
    let answer = tools.call(&format!("repository.{function}"), &arguments.to_string());
    let text = answer.map_err(|error| match error {
        CallError::Refused(code, record) => {
            Failure::of("refused", format!("`{function}` was refused ({code}; audit record {record})"))
        }
        CallError::Failed(error) => failed(function, &error),
        CallError::Broken(why) => Failure::of("repository", format!("`{function}` gave nothing: {why}")),
    })?;
    serde_json::from_str(&text).map_err(|_| Failure::of("repository", format!("`{function}` gave no JSON")))
}

/// The tool's own error: `{"refused": "the host …"}`.
fn failed(function: &str, error: &str) -> Failure {
    let error: Value = serde_json::from_str(error).unwrap_or_else(|_| error.into());
    let case = error.as_object().and_then(|error| error.iter().next());
    let (word, why) = case.map_or(("failed", error.to_string()), |(word, why)| {
        (word.as_str(), why.as_str().map_or_else(|| why.to_string(), str::to_owned))
    });
    let code = if word == "refused" { "refused" } else { "repository" };
    Failure::of(code, format!("`{function}`: {word}: {why}"))
}
