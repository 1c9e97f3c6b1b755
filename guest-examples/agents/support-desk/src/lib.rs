//! Answers a customer's message, and refunds an order where that is due.
//!
//! There is no model: rules over the words of the message decide. What an order says is looked up with the tool `orders`,
//! whose interface the agent imports; `billing` and `notify` are called by name, since a refusal of theirs is no failure
//! but something to tell the customer about.
//!
//! | module | job |
//! | --- | --- |
//! | [`request`] | what the agent is asked |
//! | [`orders`] | order records, as the agent sees them |
//! | [`tools`] | calls by name, and what comes of them |
//! | [`wish`] | what a message asks for |
//! | [`due`] | what a customer gets back |
//! | [`desk`] | the task: look up, decide, refund, tell, answer |
//! | [`letter`] | the draft of the reply |
//! | `component` | the exported function |

#[cfg(target_family = "wasm")]
mod component;
pub mod desk;
pub mod due;
pub mod letter;
pub mod orders;
pub mod request;
pub mod tools;
pub mod wish;
