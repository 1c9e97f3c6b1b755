//! Finds the passages of documents that answer a question best.
//!
//! Guests keep nothing from one question to the next: the documents are read once, in one pass, and an index is built of the
//! question's own terms.
//!
//! | module | job |
//! | --- | --- |
//! | [`terms`] | the words of the question, and where a text holds them |
//! | [`passages`] | cuts a document into passages |
//! | [`index`] | which passages hold which terms, and how well they fit |
//! | [`answer`] | from the question to the best passages |

pub mod answer;
pub mod index;
pub mod passages;
pub mod terms;
