//! Checks out a branch of a Git repository into the task's workspace, and pushes what was changed as a new one.
//!
//! It speaks Git's smart HTTP protocol: version 2 to fetch one commit without its history, version 0 to push. Who it is says the
//! host that runs it: this tool knows no credential.
//!
//! | module | job |
//! | --- | --- |
//! | [`object`] | what Git stores, and what it is called by |
//! | [`tree`] | folders as objects |
//! | [`pack`] | objects on their way |
//! | [`packet`] | the lines of the protocol |
//! | [`remote`] | fetching and pushing |
//! | [`name`] | names of repositories and branches |
//! | [`checkout`] | the workspace: files, what they were, what differs |
//! | [`work`] | the three functions |
//! | `component` | as they are exported |

pub mod checkout;
#[cfg(target_family = "wasm")]
mod component;
pub mod name;
pub mod object;
pub mod pack;
pub mod packet;
pub mod remote;
pub mod tree;
pub mod work;

/// Why nothing came of it: one case for each in `wit/repository.wit`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// That names no repository, branch or message.
    BadName(String),
    /// Not allowed, or not admitted.
    Refused(String),
    /// No answer came.
    Unreachable(String),
    /// There is no such repository or branch.
    NotFound(String),
    /// It is there already.
    Exists(String),
    /// Nothing was checked out, or nothing has changed.
    Nothing(String),
    /// It is larger than this tool takes.
    TooLarge(String),
    /// What the host sent is not as it should be, or it refused the push.
    Broken(String),
    /// The workspace does not take it, or holds what cannot be pushed.
    Workspace(String),
}

/// What the host sent is not as it should be.
pub(crate) fn broken(what: impl Into<String>) -> Error {
    Error::Broken(what.into())
}
