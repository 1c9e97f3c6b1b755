//! Answers a question from documents, with citations.
//!
//! The agent has no folder of its own, no network and no model: it asks the tool `search` for passages and the tool `quote`
//! for their exact text, or the tool `browse` for pages, picks the sentences that say most about the question, and says for each where it stands.
//!
//! | module | job |
//! | --- | --- |
//! | [`request`] | what the agent is asked |
//! | [`tools`] | the three tools, as the agent sees them |
//! | [`pages`] | pages instead of a folder |
//! | [`sentences`] | how a passage falls into sentences |
//! | [`weights`] | which words of the question say most |
//! | [`research`] | the task: search, quote, choose, cite |
//! | `component` | the exported function |

#[cfg(target_family = "wasm")]
mod component;
pub mod pages;
pub mod request;
pub mod research;
pub mod sentences;
pub mod tools;
pub mod weights;
