//! Changes one place of one file of a repository, and pushes that as a new branch for somebody to look at.
//!
//! The agent sees the workspace and no network: the tool `repository` fills the workspace and empties it to its host. It knows
//! no credential, and neither does the tool.
//!
//! | module | job |
//! | --- | --- |
//! | [`request`] | what is to be changed |
//! | [`edit`] | changing it, and checking what comes of it |
//! | [`tools`] | the tool, as the agent sees it |
//! | [`task`] | the task: check out, change, check, push |
//! | `component` | the exported function |

#[cfg(target_family = "wasm")]
mod component;
pub mod edit;
pub mod request;
pub mod task;
pub mod tools;

/// Why the task could not be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// A stable word.
    pub code: &'static str,
    /// One sentence for a person.
    pub message: String,
}

impl Failure {
    /// A failure.
    pub(crate) fn of(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}
