//! What is to be changed.

use serde::Deserialize;

use crate::Failure;

/// `{"repository": "team/site.git", "branch": "main", "change": {"path", "find", "replace"}, "new-branch", "message"}`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Request {
    /// The repository's path at its host.
    pub repository: String,
    /// The branch that is changed; it stays as it is.
    pub branch: String,
    /// What is changed.
    pub change: Change,
    /// The branch that is pushed; else one that is called after the file.
    new_branch: Option<String>,
    /// What the commit says; else which file was changed.
    message: Option<String>,
}

/// One place of one file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The file's path in the repository.
    pub path: String,
    /// What stands there, once.
    pub find: String,
    /// What shall stand there instead.
    pub replace: String,
}

impl Request {
    /// Reads the agent's input.
    ///
    /// # Errors
    ///
    /// `bad-input`: it is none, or the path leads out of the repository, or nothing would change.
    pub fn read(input: &str) -> Result<Self, Failure> {
        let bad = |why: String| Failure::of("bad-input", why);
        let request: Self =
            serde_json::from_str(input).map_err(|error| bad(format!("the input is no task: {error}")))?;
        let Change { path, find, replace } = &request.change;
        if path.split('/').any(|part| matches!(part, "" | "." | "..")) || path.starts_with(".git/") {
            return Err(bad(format!("{path:?} is no path of a file")));
        }
        if find.is_empty() || find == replace {
            return Err(bad("`find` and `replace` must differ, and there must be something to find".to_owned()));
        }
        Ok(request)
    }

    /// The branch that is pushed.
    #[must_use]
    pub fn new_branch(&self) -> String {
        self.new_branch.clone().unwrap_or_else(|| {
            let plain = |character: char| if character.is_ascii_alphanumeric() { character } else { '-' };
            let name: String = self.change.path.chars().map(plain).collect();
            format!("change/{}", name.trim_matches('-'))
        })
    }

    /// What the commit says.
    #[must_use]
    pub fn message(&self) -> String {
        self.message.clone().unwrap_or_else(|| format!("Change {}", self.change.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn input(change: &str) -> String {
        format!(r#"{{"repository": "a.git", "branch": "main", "change": {change}}}"#)
    }

    #[test]
    fn a_task_has_defaults() {
        let request = Request::read(&input(r#"{"path": "docs/a b.md", "find": "x", "replace": "y"}"#)).unwrap();
        assert_eq!(
            (request.new_branch().as_str(), request.message().as_str()),
            ("change/docs-a-b-md", "Change docs/a b.md")
        );
        let given = input(r#"{"path": "a", "find": "x", "replace": "y"}, "new-branch": "b", "message": "c""#);
        let request = Request::read(&given).unwrap();
        assert_eq!((request.new_branch().as_str(), request.message().as_str()), ("b", "c"));
    }

    #[test]
    fn what_is_no_task_is_bad_input() {
        for change in [
            r#"{"path": "../a", "find": "x", "replace": "y"}"#,
            r#"{"path": "/a", "find": "x", "replace": "y"}"#,
            r#"{"path": ".git/checkout.json", "find": "x", "replace": "y"}"#,
            r#"{"path": "a", "find": "", "replace": "y"}"#,
            r#"{"path": "a", "find": "x", "replace": "x"}"#,
            r#"{"path": "a", "find": "x"}"#,
            r#"{"path": "a", "find": "x", "replace": "y"}, "other": 1"#,
        ] {
            assert_eq!(Request::read(&input(change)).unwrap_err().code, "bad-input", "{change}");
        }
    }
}
