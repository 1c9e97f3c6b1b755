//! What `search`, `quote` and `researcher` share about text: how it falls into words, and how HTML reads without markup.
//!
//! Everything here is pure and cheap per byte: guests pay for each instruction.

pub mod bytes;
pub mod html;
pub mod stem;
pub mod words;
