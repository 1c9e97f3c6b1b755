//! Changing one place of a file, and checking what comes of it.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::Failure;
use crate::request::Change;

/// Makes the change in a folder, and says what was checked.
///
/// # Errors
///
/// `no-such-file`, `not-found` and `ambiguous` when the place is not there, or there more than once; `check-failed` when the file
/// could be read as what it is called before, and cannot any more.
pub fn edit(folder: &Path, change: &Change) -> Result<Vec<String>, Failure> {
    let Change { path, find, replace } = change;
    let place = folder.join(path);
    let before = fs::read_to_string(&place)
        .map_err(|error| Failure::of("no-such-file", format!("{path:?} cannot be read as text: {error}")))?;
    match before.matches(find.as_str()).count() {
        0 => return Err(Failure::of("not-found", format!("{path:?} does not hold what is to be replaced"))),
        1 => {}
        times => {
            let message = format!("{path:?} holds what is to be replaced {times} times: give more of it");
            return Err(Failure::of("ambiguous", message));
        }
    }
    let after = before.replacen(find.as_str(), replace, 1);
    let mut checks = vec!["what was replaced stood there once".to_owned()];
    if is_json(path) && serde_json::from_str::<Value>(&before).is_ok() {
        serde_json::from_str::<Value>(&after)
            .map_err(|error| Failure::of("check-failed", format!("{path:?} would be no JSON any more: {error}")))?;
        checks.push("the file is JSON as before".to_owned());
    }
    fs::write(&place, after).map_err(|error| Failure::of("workspace", format!("{path:?}: {error}")))?;
    Ok(checks)
}

fn is_json(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(path: &str, find: &str, replace: &str) -> Change {
        Change { path: path.to_owned(), find: find.to_owned(), replace: replace.to_owned() }
    }

    #[test]
    fn one_place_is_changed_and_checked() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.json"), r#"{"port": 80, "ports": 1}"#).unwrap();
        fs::write(folder.path().join("b.txt"), "x x").unwrap();
        let edit = |path, find, replace| edit(folder.path(), &change(path, find, replace));
        assert_eq!(edit("a.json", "80", "8080").unwrap().len(), 2);
        assert_eq!(fs::read_to_string(folder.path().join("a.json")).unwrap(), r#"{"port": 8080, "ports": 1}"#);
        let code = |result: Result<_, Failure>| result.unwrap_err().code;
        assert_eq!(code(edit("a.json", "8080", "8080,,")), "check-failed");
        assert_eq!(code(edit("a.json", "nothing", "x")), "not-found");
        assert_eq!(code(edit("b.txt", "x", "y")), "ambiguous");
        assert_eq!(code(edit("c.txt", "x", "y")), "no-such-file");
        assert_eq!(fs::read_to_string(folder.path().join("b.txt")).unwrap(), "x x");
    }
}
