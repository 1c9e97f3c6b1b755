//! Runs the local services that the bundles of guest-examples reach, until Ctrl-C.

use std::path::PathBuf;

use xtask::services::{Admission, Service, Talk, Workloads};

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
    /// The folder of repositories; without it, one in cargo's build folder.
    repositories: Option<PathBuf>,
    repository_port: u16,
    manager_port: u16,
    /// The file with the keys of those who are admitted; without it, one in cargo's build folder.
    keys: Option<PathBuf>,
    /// The trust domain that they are of.
    trust_domain: String,
    /// The file with a token that admits whoever bears it, instead of workloads.
    token: Option<PathBuf>,
}

impl Options {
    /// Reads what stands behind `serve`; nothing when it cannot be understood.
    pub(crate) fn parse(arguments: &[&str]) -> Option<Options> {
        let mut options = Options {
            docs: PathBuf::from("docs"),
            docs_port: 8801,
            ledger: None,
            billing_port: 8802,
            repositories: None,
            repository_port: 8804,
            manager_port: 8805,
            keys: None,
            trust_domain: "ambit.local".to_owned(),
            token: None,
        };
        for pair in arguments.chunks(2) {
            match pair {
                ["--docs", folder] => options.docs = PathBuf::from(folder),
                ["--docs-port", port] => options.docs_port = port.parse().ok()?,
                ["--ledger", folder] => options.ledger = Some(PathBuf::from(folder)),
                ["--billing-port", port] => options.billing_port = port.parse().ok()?,
                ["--repositories", folder] => options.repositories = Some(PathBuf::from(folder)),
                ["--repository-port", port] => options.repository_port = port.parse().ok()?,
                ["--manager-port", port] => options.manager_port = port.parse().ok()?,
                ["--repository-keys", file] => options.keys = Some(PathBuf::from(file)),
                ["--trust-domain", name] => (*name).clone_into(&mut options.trust_domain),
                ["--repository-token", file] => options.token = Some(PathBuf::from(file)),
                _ => return None,
            }
        }
        Some(options)
    }
}

impl Options {
    /// Who is admitted to the repositories, and how that is told.
    fn admission(&self, workspace: &Workspace) -> Result<(Admission, String), Failure> {
        if let Some(file) = &self.token {
            let token = std::fs::read_to_string(file).map_err(Failure::file("read", file))?;
            return Ok((Admission::Token(token.trim_end().to_owned()), format!("the token in {}", file.display())));
        }
        let keys = self.keys.clone().unwrap_or_else(|| workspace.relative(&workspace.target.join("jwks.json")));
        let below = format!("spiffe://{}/agent/dev-workspace/", self.trust_domain);
        let told = format!("{below}* by the keys in {}", keys.display());
        let audience = format!("http://localhost:{}", self.repository_port);
        Ok((Admission::Workloads(Workloads { keys, audience, below }), told))
    }
}

/// Runs the services.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<(), Failure> {
    let ledger = options.ledger.clone().unwrap_or_else(|| workspace.relative(&workspace.target.join("ledger")));
    let docs = Service::documentation(&options.docs, options.docs_port, Talk::Requests)?;
    let billing = Service::billing(&ledger, options.billing_port, Talk::Requests)?;
    let repositories = options.repositories.clone();
    let repositories = repositories.unwrap_or_else(|| workspace.relative(&workspace.target.join("repositories")));
    let (admission, admitted) = options.admission(workspace)?;
    let repository = Service::repository(&repositories, options.repository_port, admission, Talk::Requests)?;
    let manager = Service::manager(options.manager_port, Talk::Requests)?;
    eprintln!("docs: {} at {}/docs/", options.docs.display(), docs.url());
    eprintln!("billing: ledger in {} at {}", ledger.display(), billing.url());
    eprintln!("repository: {} at {}, for {admitted}", repositories.display(), repository.url());
    eprintln!("manager: the services `web` and `database` at {}", manager.url());
    eprintln!("Ctrl-C ends them");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Signal)?;
    runtime.block_on(tokio::signal::ctrl_c()).map_err(Failure::Signal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_have_defaults_and_mistakes_are_noticed() {
        let defaults = Options::parse(&[]).unwrap();
        assert_eq!((defaults.docs_port, defaults.billing_port, defaults.repository_port), (8801, 8802, 8804));
        let given = Options::parse(&["--docs", "x", "--billing-port", "1", "--ledger", "y"]).unwrap();
        assert_eq!((given.docs, given.ledger, given.billing_port), ("x".into(), Some("y".into()), 1));
        for wrong in [&["--docs"][..], &["--docs-port", "70000"], &["--other", "x"], &["x"]] {
            assert_eq!(Options::parse(wrong), None, "{wrong:?}");
        }
    }
}
