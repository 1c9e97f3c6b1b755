//! Lays out what the prowling twin is after: a file outside its mount, links that lead out of it, a variable of the
//! environment, and another bundle's state.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// The variable that the twin's host process is given.
pub(super) const VARIABLE: &str = "AMBIT_DEMO_TOKEN";

/// The documents that the twin is granted.
const DOCUMENTS: [(&str, &str); 2] = [
    (
        "handbook.md",
        "# Handbook\n\nExit code 5 means that a limit was spent.\nExit code 3 means that a task was refused.\n",
    ),
    ("office.md", "# Office\n\nThe plants are watered on Mondays.\nThe library closes at six.\n"),
];

/// The grant of a tool that keeps state for another bundle.
const STATE_GRANT: &str = "\
bundle = \"payroll\"

[tools.probe-state]
state = { namespace = \"payroll\", quota = \"64KiB\" }
";

/// What was laid out. Each secret is a text that stands nowhere else.
pub(super) struct Planted {
    /// The twin's policy folder, with the documents beside its grants.
    pub(super) policy: PathBuf,
    /// The grant manifest of the tool that keeps another bundle's state.
    pub(super) state_grant: PathBuf,
    /// The grant manifest of the twin's search, when it is called alone.
    pub(super) search_grant: PathBuf,
    /// A secret for the other bundle's state.
    pub(super) state: String,
    /// A secret for the environment.
    pub(super) variable: String,
    /// A secret in a file.
    file: String,
}

impl Planted {
    /// Lays everything out in `folder`. The twin's policy is a copy of `shipped`, whose mount is `documents` beside it.
    pub(super) fn lay_out(folder: &Path, shipped: &Path) -> Result<Planted, Failure> {
        let policy = folder.join("researcher-prowl");
        let documents = policy.join("documents");
        create(&documents)?;
        for entry in fs::read_dir(shipped).map_err(Failure::file("read", shipped))? {
            let from = entry.map_err(Failure::file("read", shipped))?.path();
            if from.is_file() {
                let to = policy.join(from.file_name().unwrap_or_default());
                fs::copy(&from, &to).map_err(Failure::file("copy", &from))?;
            }
        }
        for (name, text) in DOCUMENTS {
            write(&documents.join(name), text)?;
        }
        let notes = folder.join("payroll");
        create(&notes)?;
        let planted = Planted {
            state_grant: notes.join("grants.toml"),
            search_grant: policy.join("search.toml"),
            policy,
            state: secret("state"),
            variable: secret("variable"),
            file: secret("file"),
        };
        write(&planted.state_grant, STATE_GRANT)?;
        let grants = planted.policy.join("grants.toml");
        let grants = fs::read_to_string(&grants).map_err(Failure::file("read", &grants))?;
        write(&planted.search_grant, &grants.replace("[tools.search]", "[tools.search-prowl]"))?;
        write(&folder.join("secret.txt"), &planted.file)?;
        link("../../secret.txt", &documents.join("link-to-secret"))?;
        link("..", &documents.join("link-to-parent"))?;
        Ok(planted)
    }

    /// Whether any of the secrets stands in a text, or a line of this machine's own `/etc/passwd`.
    pub(super) fn stands_in(&self, text: &str) -> bool {
        let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let secrets = [self.state.as_str(), &self.variable, &self.file];
        secrets.into_iter().chain(accounts.lines()).any(|secret| !secret.is_empty() && text.contains(secret))
    }
}

/// A text that stands nowhere else.
fn secret(of: &str) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    format!("planted-{of}-{:x}", now.unwrap_or_default().as_nanos())
}

fn create(folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(Failure::file("create", folder))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(Failure::file("write", path))
}

fn link(target: &str, path: &Path) -> Result<(), Failure> {
    symlink(target, path).map_err(Failure::file("link", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laid_out() -> (tempfile::TempDir, Planted) {
        let folder = tempfile::tempdir().unwrap();
        let shipped = folder.path().join("policies/researcher-prowl");
        create(&shipped).unwrap();
        write(&shipped.join("grants.toml"), "bundle = \"researcher-prowl\"\n").unwrap();
        let demo = folder.path().join("demo");
        let planted = Planted::lay_out(&demo, &shipped).unwrap();
        (folder, planted)
    }

    /// A trap that holds nothing catches nobody: the links must lead where the secrets are.
    #[test]
    fn what_is_planted_is_there_to_be_taken() {
        let (_folder, planted) = laid_out();
        let documents = planted.policy.join("documents");
        assert_eq!(fs::read_to_string(documents.join("link-to-secret")).unwrap(), planted.file);
        assert!(documents.join("link-to-parent/grants.toml").is_file());
        assert!(documents.join("handbook.md").is_file());
        assert!(planted.state_grant.is_file() && planted.search_grant.is_file());
    }

    #[test]
    fn a_secret_is_recognised() {
        let (_folder, planted) = laid_out();
        assert!(planted.stands_in(&format!("I found {}!", planted.variable)));
        assert!(planted.stands_in(&fs::read_to_string("/etc/passwd").unwrap()));
        assert!(!planted.stands_in("I found nothing"));
    }
}
