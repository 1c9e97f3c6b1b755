//! The task: check out, change, check, push.

use std::path::Path;

use serde_json::{Value, json};

use crate::Failure;
use crate::edit::edit;
use crate::request::Request;
use crate::tools::{Tools, repository};

/// Does what the input says, with the workspace in `folder`. The output has `commit`, `branch`, `base`, `changes` and `checks`.
///
/// # Errors
///
/// What went wrong first; nothing is pushed then.
pub fn develop(input: &str, folder: &Path, tools: &impl Tools) -> Result<Value, Failure> {
    let request = Request::read(input)?;
    let from = json!({ "repository": request.repository, "branch": request.branch });
    let base = repository(tools, "checkout", &from)?;
    let mut checks = edit(folder, &request.change)?;
    let changes = repository(tools, "changes", &json!({}))?;
    let expected = json!([{ "path": request.change.path, "kind": "modified" }]);
    if changes != expected {
        let message = format!("other files than {:?} differ: {changes}", request.change.path);
        return Err(Failure::of("check-failed", message));
    }
    checks.push("no other file differs".to_owned());
    let to = json!({ "branch": request.new_branch(), "message": request.message() });
    let pushed = repository(tools, "commit-and-push", &to)?;
    Ok(json!({
        "commit": pushed["commit"],
        "branch": pushed["branch"],
        "base": { "commit": base["commit"], "branch": base["branch"] },
        "changes": pushed["changes"],
        "checks": checks,
    }))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::fs;

    use super::*;
    use crate::tools::CallError;

    struct Repository<'t> {
        folder: &'t Path,
        changes: Value,
        push: Result<(), CallError>,
        asked: RefCell<Vec<String>>,
    }

    impl Tools for Repository<'_> {
        fn call(&self, name: &str, arguments: &str) -> Result<String, CallError> {
            self.asked.borrow_mut().push(format!("{name} {arguments}"));
            match name {
                "repository.checkout" => {
                    fs::write(self.folder.join("a.txt"), "old text").unwrap();
                    Ok(json!({ "commit": "1", "branch": "main", "files": 1, "left-out": [] }).to_string())
                }
                "repository.changes" => Ok(self.changes.to_string()),
                _ => self
                    .push
                    .clone()
                    .map(|()| json!({ "commit": "2", "branch": "change/a-txt", "changes": self.changes }).to_string()),
            }
        }
    }

    const INPUT: &str =
        r#"{"repository": "a.git", "branch": "main", "change": {"path": "a.txt", "find": "old", "replace": "new"}}"#;

    fn developed(changes: Value, push: Result<(), CallError>) -> (Result<Value, Failure>, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let repository = Repository { folder: folder.path(), changes, push, asked: RefCell::default() };
        let result = develop(INPUT, folder.path(), &repository);
        (result, repository.asked.into_inner())
    }

    #[test]
    fn a_change_becomes_a_branch() {
        let (output, asked) = developed(json!([{ "path": "a.txt", "kind": "modified" }]), Ok(()));
        let output = output.unwrap();
        assert_eq!((&output["commit"], &output["base"]["commit"]), (&json!("2"), &json!("1")));
        assert_eq!(asked[2], r#"repository.commit-and-push {"branch":"change/a-txt","message":"Change a.txt"}"#);
    }

    #[test]
    fn nothing_is_pushed_when_more_differs() {
        let (output, asked) = developed(json!([{ "path": "b.txt", "kind": "added" }]), Ok(()));
        assert_eq!((output.unwrap_err().code, asked.len()), ("check-failed", 2));
    }

    #[test]
    fn refusals_of_either_host_are_told_as_such() {
        let changes = || json!([{ "path": "a.txt", "kind": "modified" }]);
        let told = |push| developed(changes(), Err(push)).0.unwrap_err();
        assert_eq!(told(CallError::Refused("denied", 7)).code, "refused");
        let failure = told(CallError::Failed(r#"{"refused":"no"}"#.to_owned()));
        assert_eq!((failure.code, failure.message.as_str()), ("refused", "`commit-and-push`: refused: no"));
        assert_eq!(told(CallError::Failed(r#"{"exists":"it"}"#.to_owned())).code, "repository");
        assert_eq!(told(CallError::Broken("trap".to_owned())).code, "repository");
    }
}
