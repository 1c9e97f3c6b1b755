//! Folders as objects: one level each, and a whole repository as paths (gitformat-pack; `git ls-tree`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::object::{Id, Kind, Object};
use crate::{Error, broken};

/// The deepest folder.
const DEEPEST: usize = 64;
/// The most files of one repository.
const MOST: usize = 20_000;

/// What stands behind a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its mode, as Git has it: `0o100644`.
    pub mode: u32,
    /// The object.
    pub id: Id,
}

impl Entry {
    /// A file's.
    pub const FILE: u32 = 0o100_644;
    /// A file's that can be run.
    pub const PROGRAM: u32 = 0o100_755;
    const FOLDER: u32 = 0o040_000;

    /// Whether it is a file, and no link or submodule.
    #[must_use]
    pub fn is_file(self) -> bool {
        self.mode & 0o170_000 == 0o100_000
    }
}

/// Paths, and what stands behind them: no folders.
pub type Paths = BTreeMap<String, Entry>;

/// All paths below a tree. `find` gives objects by their names.
///
/// # Errors
///
/// A tree is missing or broken, or there is too much.
pub fn paths<'o>(root: Id, find: &dyn Fn(Id) -> Option<&'o Object>) -> Result<Paths, Error> {
    let mut paths = Paths::new();
    let mut waiting = vec![(String::new(), root, 0)];
    while let Some((folder, id, depth)) = waiting.pop() {
        let tree = find(id).filter(|object| object.kind == Kind::Tree);
        let tree = tree.ok_or_else(|| broken(format!("the folder {folder:?} was not sent")))?;
        for (name, entry) in entries(&tree.bytes)? {
            let path = format!("{folder}{name}");
            if entry.mode != Entry::FOLDER {
                paths.insert(path, entry);
            } else if depth == DEEPEST {
                return Err(Error::TooLarge(format!("{path:?} lies more than {DEEPEST} folders deep")));
            } else {
                waiting.push((format!("{path}/"), entry.id, depth + 1));
            }
            if paths.len() + waiting.len() > MOST {
                return Err(Error::TooLarge(format!("there are more than {MOST} files")));
            }
        }
    }
    Ok(paths)
}

/// The entries of one tree.
fn entries(mut bytes: &[u8]) -> Result<Vec<(String, Entry)>, Error> {
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        let bad = || broken("a folder is damaged");
        let end = bytes.iter().position(|byte| *byte == 0).ok_or_else(bad)?;
        let head = std::str::from_utf8(&bytes[..end]).map_err(|_| broken("a path is not UTF-8"))?;
        let (mode, name) = head.split_once(' ').ok_or_else(bad)?;
        let mode = u32::from_str_radix(mode, 8).map_err(|_| bad())?;
        let id = bytes.get(end + 1..end + 21).and_then(|id| id.try_into().ok()).ok_or_else(bad)?;
        // What a checkout must never write (git-fsck: `hasDot`, `hasDotdot`, `hasDotgit`, `fullPathname`).
        if matches!(name, "" | "." | "..") || name.eq_ignore_ascii_case(".git") || name.contains(['/', '\\']) {
            return Err(broken(format!("{name:?} is no name of a file")));
        }
        entries.push((name.to_owned(), Entry { mode, id: Id(id) }));
        bytes = &bytes[end + 21..];
    }
    Ok(entries)
}

/// The trees of these paths, by name; the last is the root.
///
/// # Errors
///
/// Two paths cannot both be, as `a` and `a/b`.
pub fn trees(paths: &Paths) -> Result<Vec<(Id, Object)>, Error> {
    let mut root = Folder::default();
    for (path, entry) in paths {
        let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
        let folder = folders
            .split('/')
            .filter(|part| !part.is_empty())
            .fold(&mut root, |folder, part| folder.folders.entry(part.to_owned()).or_default());
        folder.files.insert(name.to_owned(), *entry);
    }
    let mut made = Vec::new();
    root.write(&mut made)?;
    Ok(made)
}

#[derive(Default)]
struct Folder {
    files: BTreeMap<String, Entry>,
    folders: BTreeMap<String, Folder>,
}

impl Folder {
    /// Adds the objects of this folder and those in it; gives its own name. Paths are short, so that it is not deep.
    fn write(&self, made: &mut Vec<(Id, Object)>) -> Result<Id, Error> {
        let mut entries: Vec<(String, &str, Entry)> = Vec::new();
        for (name, entry) in &self.files {
            entries.push((name.clone(), name, *entry));
        }
        for (name, folder) in &self.folders {
            if self.files.contains_key(name) {
                return Err(Error::Workspace(format!("{name:?} is a file and a folder")));
            }
            let entry = Entry { mode: Entry::FOLDER, id: folder.write(made)? };
            // Folders are sorted as if they ended in `/`.
            entries.push((format!("{name}/"), name, entry));
        }
        entries.sort_unstable_by(|(one, ..), (other, ..)| one.as_bytes().cmp(other.as_bytes()));
        let mut bytes = Vec::new();
        for (_, name, entry) in entries {
            bytes.extend(format!("{:o} {name}\0", entry.mode).into_bytes());
            bytes.extend(entry.id.0);
        }
        let object = Object { kind: Kind::Tree, bytes };
        let id = object.id()?;
        made.push((id, object));
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(byte: u8) -> Entry {
        Entry { mode: Entry::FILE, id: Id([byte; 20]) }
    }

    #[test]
    fn paths_become_trees_and_trees_paths() {
        let names = ["a.txt", "a/b/c", "a/d", "a-b", "z"];
        let given: Paths = names.iter().zip(1..).map(|(name, byte)| ((*name).to_owned(), file(byte))).collect();
        let made = trees(&given).unwrap();
        let root = made.last().unwrap();
        // `a` sorts as `a/`: behind `a-b` and `a.txt`.
        let order: Vec<_> = entries(&root.1.bytes).unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(order, ["a-b", "a.txt", "a", "z"]);
        let find = |id: Id| made.iter().find(|(known, _)| *known == id).map(|(_, object)| object);
        assert_eq!(paths(root.0, &find).unwrap(), given);
        assert!(paths(Id::NONE, &find).is_err());
        let both: Paths = [("a".to_owned(), file(1)), ("a/b".to_owned(), file(2))].into();
        assert!(trees(&both).is_err());
    }

    #[test]
    fn names_that_must_not_be_written_are_refused() {
        for name in ["", ".", "..", ".git", ".GiT", "a/b", "a\\b"] {
            let mut bytes = format!("100644 {name}\0").into_bytes();
            bytes.extend([1; 20]);
            assert!(entries(&bytes).is_err(), "{name}");
        }
        assert!(entries(b"100644 a\0short").is_err() && entries(b"x").is_err());
    }
}
