//! Finds the passages of a folder of documents that answer a question best.
//!
//! Every call is a fresh instance, so nothing is kept from one question to the next: the documents are read once, in one
//! pass, and an index is built of the question's own terms.
//!
//! | module | job |
//! | --- | --- |
//! | [`terms`] | the words of the question, and where a text holds them |
//! | [`passages`] | cuts a document into passages |
//! | [`index`] | which passages hold which terms, and how well they fit |
//! | [`answer`] | from the question to the best passages |
//! | `component` | the exported function, and the walk through granted folders |

pub mod answer;
#[cfg(target_family = "wasm")]
mod component;
pub mod index;
pub mod passages;
pub mod terms;
