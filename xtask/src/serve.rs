//! Runs the local services that the bundles of guest-examples reach, until Ctrl-C.

use std::path::PathBuf;

use xtask::services::{Service, Talk};

use crate::failure::Failure;
use crate::workspace::Workspace;

/// What `serve` is told on the command line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// The folder of documents.
    docs: PathBuf,
    docs_port: u16,
    /// The folder of the ledger; without it, one in cargo's build folder.
    ledger: Option<PathBuf>,
    billing_port: u16,
}

impl Options {
    /// Reads what stands behind `serve`; nothing when it cannot be understood.
    pub(crate) fn parse(arguments: &[&str]) -> Option<Options> {
        let mut options = Options { docs: PathBuf::from("docs"), docs_port: 8801, ledger: None, billing_port: 8802 };
        for pair in arguments.chunks(2) {
            match pair {
                ["--docs", folder] => options.docs = PathBuf::from(folder),
                ["--docs-port", port] => options.docs_port = port.parse().ok()?,
                ["--ledger", folder] => options.ledger = Some(PathBuf::from(folder)),
                ["--billing-port", port] => options.billing_port = port.parse().ok()?,
                _ => return None,
            }
        }
        Some(options)
    }
}

/// Runs the services.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<(), Failure> {
    let ledger = options.ledger.clone().unwrap_or_else(|| workspace.relative(&workspace.target.join("ledger")));
    let docs = Service::documentation(&options.docs, options.docs_port, Talk::Requests)?;
    let billing = Service::billing(&ledger, options.billing_port, Talk::Requests)?;
    eprintln!("docs: {} at {}/docs/", options.docs.display(), docs.url());
    eprintln!("billing: ledger in {} at {}", ledger.display(), billing.url());
    eprintln!("Ctrl-C ends both");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Signal)?;
    runtime.block_on(tokio::signal::ctrl_c()).map_err(Failure::Signal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_have_defaults_and_mistakes_are_noticed() {
        let defaults = Options::parse(&[]).unwrap();
        assert_eq!((defaults.docs_port, defaults.billing_port), (8801, 8802));
        let given = Options::parse(&["--docs", "x", "--billing-port", "1", "--ledger", "y"]).unwrap();
        assert_eq!((given.docs, given.ledger, given.billing_port), ("x".into(), Some("y".into()), 1));
        for wrong in [&["--docs"][..], &["--docs-port", "70000"], &["--other", "x"], &["x"]] {
            assert_eq!(Options::parse(wrong), None, "{wrong:?}");
        }
    }
}
