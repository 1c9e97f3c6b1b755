//! Reads pages over HTTP, as text with their links.
//!
//! | module | job |
//! | --- | --- |
//! | [`fetch`] | from an address to a page, over redirections |
//! | [`page`] | what a page says, and where it leads |
//! | `component` | the exported function |

#[cfg(target_family = "wasm")]
mod component;
pub mod fetch;
pub mod page;
