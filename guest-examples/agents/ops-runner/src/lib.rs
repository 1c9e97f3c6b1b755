//! Works through a runbook, step by step, and says what came of each.
//!
//! A runbook is a text; each line of it that begins with `- ` is a step:
//!
//! | step | does |
//! | --- | --- |
//! | `- note TEXT` | enters a text in the logbook |
//! | `- check SERVICE` | looks at a service, and enters how it is |
//! | `- restart SERVICE` | restarts a service; where that is refused, the rest of the runbook is not worked through |
//!
//! | module | job |
//! | --- | --- |
//! | [`runbook`] | the steps in a text |
//! | [`runner`] | works through them |
//! | [`tools`] | calls by name, and what comes of them |
//! | `component` | the exported function |

#[cfg(target_family = "wasm")]
mod component;
pub mod runbook;
pub mod runner;
pub mod tools;
