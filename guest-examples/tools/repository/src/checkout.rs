//! The workspace: files, what they were when they were checked out, and what differs.
//!
//! What was checked out stands in `.git/checkout.json` there, a name that no repository can have. Whoever else may see the
//! workspace can change it as well: it says what is compared, and nothing that this tool trusts.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::object::{Id, Kind, Object, id};
use crate::tree::{Entry, Paths};

/// Where it is kept.
const FOLDER: &str = ".git";
const RECORD: &str = ".git/checkout.json";
/// The deepest folder that is looked into.
const DEEPEST: usize = 64;

/// What was checked out.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkout {
    /// The repository's path at its host.
    pub repository: String,
    /// The branch.
    pub branch: String,
    /// The commit that it led to.
    pub commit: Id,
    /// All paths of that commit.
    pub paths: Paths,
    /// Those that were not written.
    pub left_out: BTreeSet<String>,
}

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    /// It is new, with this content.
    Added,
    /// It has another content.
    Modified,
    /// It is gone.
    Removed,
}

/// What differs from a checkout.
#[derive(Debug)]
pub struct Difference {
    /// What happened, by path.
    pub changes: Vec<(String, Happened)>,
    /// All paths as they are now.
    pub paths: Paths,
    /// The contents that are new.
    pub contents: Vec<Object>,
}

fn failed(what: &str) -> impl Fn(io::Error) -> Error {
    move |error| Error::Workspace(format!("{what:?}: {error}"))
}

impl Checkout {
    /// Writes files into an empty workspace. `find` gives what stands behind their names.
    ///
    /// # Errors
    ///
    /// Something is there already, or the workspace does not take it.
    pub fn write<'o>(&mut self, folder: &Path, find: &dyn Fn(Id) -> Option<&'o Object>) -> Result<u32, Error> {
        let mut there = fs::read_dir(folder).map_err(failed("the workspace"))?;
        if there.next().is_some() {
            return Err(Error::Exists("the workspace is not empty".to_owned()));
        }
        let mut written = 0;
        for (path, entry) in &self.paths {
            let content = find(entry.id).filter(|object| object.kind == Kind::Blob && entry.is_file());
            let Some(content) = content else {
                self.left_out.insert(path.clone());
                continue;
            };
            let place = folder.join(path);
            if let Some(parent) = place.parent() {
                fs::create_dir_all(parent).map_err(failed(path))?;
            }
            fs::write(&place, &content.bytes).map_err(failed(path))?;
            written += 1;
        }
        fs::create_dir(folder.join(FOLDER)).map_err(failed(FOLDER))?;
        let record = serde_json::to_vec(self).map_err(|error| Error::Workspace(error.to_string()))?;
        fs::write(folder.join(RECORD), record).map_err(failed(RECORD))?;
        Ok(written)
    }

    /// Reads what was checked out.
    ///
    /// # Errors
    ///
    /// Nothing was.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let record = match fs::read(folder.join(RECORD)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::Nothing("nothing is checked out".to_owned()));
            }
            record => record.map_err(failed(RECORD))?,
        };
        serde_json::from_slice(&record).map_err(|error| Error::Workspace(format!("{RECORD:?}: {error}")))
    }

    /// What differs now.
    ///
    /// # Errors
    ///
    /// The workspace cannot be read, or holds what is neither a file nor a folder.
    pub fn difference(&self, folder: &Path) -> Result<Difference, Error> {
        let mut paths: Paths = self.paths.clone();
        let (mut changes, mut contents) = (Vec::new(), Vec::new());
        let files = files(folder)?;
        for path in &files {
            let bytes = fs::read(folder.join(path)).map_err(failed(path))?;
            let id = id(Kind::Blob, &bytes)?;
            let (happened, mode) = match self.paths.get(path) {
                Some(before) if before.id == id => continue,
                Some(before) if before.is_file() => (Happened::Modified, before.mode),
                Some(_) => (Happened::Modified, Entry::FILE),
                None => (Happened::Added, Entry::FILE),
            };
            changes.push((path.clone(), happened));
            paths.insert(path.clone(), Entry { mode, id });
            contents.push(Object { kind: Kind::Blob, bytes });
        }
        for path in self.paths.keys().filter(|path| !files.contains(*path) && !self.left_out.contains(*path)) {
            changes.push((path.clone(), Happened::Removed));
            paths.remove(path);
        }
        changes.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Ok(Difference { changes, paths, contents })
    }
}

/// The files of the workspace, but for this module's own.
fn files(root: &Path) -> Result<BTreeSet<String>, Error> {
    let mut files = BTreeSet::new();
    let mut waiting = vec![(String::new(), 0)];
    while let Some((folder, depth)) = waiting.pop() {
        for entry in fs::read_dir(root.join(&folder)).map_err(failed(&folder))? {
            let entry = entry.map_err(failed(&folder))?;
            let name = entry.file_name().into_string();
            let name = name.map_err(|_| Error::Workspace(format!("a name in {folder:?} is not UTF-8")))?;
            let path = format!("{folder}{name}");
            let kind = entry.file_type().map_err(failed(&path))?;
            if path == FOLDER {
                continue;
            }
            if name.eq_ignore_ascii_case(FOLDER) || name.contains('\\') {
                return Err(Error::Workspace(format!("{path:?} is no name of a file in a repository")));
            }
            if kind.is_dir() && depth < DEEPEST {
                waiting.push((format!("{path}/"), depth + 1));
            } else if kind.is_file() {
                files.insert(path);
            } else {
                return Err(Error::Workspace(format!("{path:?} is a link, or lies too deep")));
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn blob(text: &str) -> Object {
        Object { kind: Kind::Blob, bytes: text.as_bytes().to_vec() }
    }

    fn checked_out() -> (tempfile::TempDir, Checkout, u32) {
        let folder = tempfile::tempdir().unwrap();
        let objects: HashMap<Id, Object> =
            ["one", "two", "../target"].map(|text| (blob(text).id().unwrap(), blob(text))).into();
        let entry = |mode, text: &str| Entry { mode, id: blob(text).id().unwrap() };
        let paths: Paths = [
            ("a/one".to_owned(), entry(Entry::FILE, "one")),
            ("two".to_owned(), entry(Entry::PROGRAM, "two")),
            ("link".to_owned(), entry(0o120_000, "../target")),
            ("module".to_owned(), Entry { mode: 0o160_000, id: Id([3; 20]) }),
        ]
        .into();
        let (repository, branch) = ("a.git".to_owned(), "main".to_owned());
        let mut checkout = Checkout { repository, branch, commit: Id([9; 20]), paths, left_out: BTreeSet::new() };
        let written = checkout.write(folder.path(), &|id| objects.get(&id)).unwrap();
        (folder, checkout, written)
    }

    #[test]
    fn files_are_written_and_links_are_left_as_they_are() {
        let (folder, mut checkout, written) = checked_out();
        assert_eq!(written, 2);
        assert_eq!(checkout.left_out.iter().collect::<Vec<_>>(), ["link", "module"]);
        assert_eq!(fs::read_to_string(folder.path().join("a/one")).unwrap(), "one");
        assert_eq!(Checkout::read(folder.path()).unwrap(), checkout);
        let difference = checkout.difference(folder.path()).unwrap();
        assert!(difference.changes.is_empty() && difference.paths == checkout.paths);
        assert!(matches!(checkout.write(folder.path(), &|_| None), Err(Error::Exists(_))));
        assert!(matches!(Checkout::read(&folder.path().join("a")), Err(Error::Nothing(_))));
    }

    #[test]
    fn what_differs_is_found() {
        let (folder, checkout, _) = checked_out();
        fs::write(folder.path().join("two"), "more").unwrap();
        fs::write(folder.path().join("a/new"), "new").unwrap();
        fs::remove_file(folder.path().join("a/one")).unwrap();
        let difference = checkout.difference(folder.path()).unwrap();
        let expected = [("a/new", Happened::Added), ("a/one", Happened::Removed), ("two", Happened::Modified)];
        assert_eq!(difference.changes, expected.map(|(path, happened)| (path.to_owned(), happened)));
        assert_eq!(difference.paths["two"].mode, Entry::PROGRAM);
        assert_eq!(difference.paths["link"], checkout.paths["link"]);
        assert!(!difference.paths.contains_key("a/one"));
        assert_eq!(difference.contents.len(), 2);
    }

    #[test]
    #[cfg(unix)]
    fn a_link_cannot_be_pushed() {
        let (folder, checkout, _) = checked_out();
        std::os::unix::fs::symlink("two", folder.path().join("new-link")).unwrap();
        assert!(matches!(checkout.difference(folder.path()), Err(Error::Workspace(_))));
    }

    #[test]
    fn what_cannot_be_pushed_is_said() {
        let (folder, checkout, _) = checked_out();
        fs::create_dir_all(folder.path().join("a/.GIT")).unwrap();
        assert!(matches!(checkout.difference(folder.path()), Err(Error::Workspace(_))));
    }
}
