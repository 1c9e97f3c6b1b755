//! What Git stores, and what it is called by: the SHA-1 of its kind, length and bytes (gitformat-pack, "object name").

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha1_checked::Sha1;

use crate::{Error, broken};

/// The name of an object.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(pub [u8; 20]);

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A version, with its message.
    Commit,
    /// A folder.
    Tree,
    /// A file.
    Blob,
    /// A name for another object, with a message.
    Tag,
}

/// An object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// What it is.
    pub kind: Kind,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Id {
    /// The one that stands for none.
    pub const NONE: Self = Self([0; 20]);
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Id {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = || broken(format!("{text:?} is no name of an object"));
        if text.len() != 40 || !text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)) {
            return Err(bad());
        }
        let mut id = [0; 20];
        for (byte, at) in id.iter_mut().zip((0..40).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| bad())?;
        }
        Ok(Self(id))
    }
}

impl TryFrom<String> for Id {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map_err(|_| format!("{text:?} is no name of an object"))
    }
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        id.to_string()
    }
}

impl Kind {
    /// As it stands in an object's head.
    fn word(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Tree => "tree",
            Self::Blob => "blob",
            Self::Tag => "tag",
        }
    }
}

impl Object {
    /// What it is called by.
    ///
    /// # Errors
    ///
    /// Its bytes were made to have another object's name.
    pub fn id(&self) -> Result<Id, Error> {
        id(self.kind, &self.bytes)
    }

    /// A commit of one tree, after another commit. `time` is in seconds since 1970, and so is told in UTC.
    #[must_use]
    pub fn commit(tree: Id, parent: Id, author: &str, time: u64, message: &str) -> Self {
        let (author, message) = (format!("{author} {time} +0000"), message.trim_end());
        let text = format!("tree {tree}\nparent {parent}\nauthor {author}\ncommitter {author}\n\n{message}\n");
        Self { kind: Kind::Commit, bytes: text.into_bytes() }
    }

    /// The tree of a commit: its first line.
    ///
    /// # Errors
    ///
    /// It is no commit.
    pub fn tree(&self) -> Result<Id, Error> {
        let line = self.bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let tree = std::str::from_utf8(line).ok().and_then(|line| line.strip_prefix("tree "));
        match (self.kind, tree) {
            (Kind::Commit, Some(tree)) => tree.parse(),
            _ => Err(broken("what the branch leads to is no commit")),
        }
    }
}

/// What an object of these bytes is called by.
///
/// # Errors
///
/// The bytes were made to have another object's name.
pub fn id(kind: Kind, bytes: &[u8]) -> Result<Id, Error> {
    let head = format!("{} {}\0", kind.word(), bytes.len());
    digest(&[head.as_bytes(), bytes])
}

/// The SHA-1 of some bytes, unless they were made to collide.
///
/// # Errors
///
/// They were.
pub(crate) fn digest(parts: &[&[u8]]) -> Result<Id, Error> {
    use sha1_checked::Digest as _;
    let mut hash = Sha1::new();
    for part in parts {
        hash.update(part);
    }
    let result = hash.try_finalize();
    if result.has_collision() {
        return Err(broken("an object was made to have another one's name"));
    }
    Ok(Id((*result.hash()).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_called_as_git_calls_them() {
        let named = |kind, bytes: &[u8]| id(kind, bytes).unwrap().to_string();
        assert_eq!(named(Kind::Blob, b""), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
        assert_eq!(named(Kind::Blob, b"hello\n"), "ce013625030ba8dba906f756967f9e9ca394464a");
        assert_eq!(named(Kind::Tree, b""), "4b825dc642cb6eb9a060e54bf8d69288fbee4904");
        for text in ["", "e69de29", "E69DE29BB2D1D6434B8B29AE775AD8C2E48C5391", &"+1".repeat(20), &"é".repeat(20)] {
            assert!(text.parse::<Id>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_commit_says_its_tree() {
        let commit = Object::commit(Id([1; 20]), Id([2; 20]), "a <b@c>", 7, "message\n\n");
        assert_eq!(commit.tree().unwrap(), Id([1; 20]));
        let text = String::from_utf8(commit.bytes.clone()).unwrap();
        assert!(text.ends_with("author a <b@c> 7 +0000\ncommitter a <b@c> 7 +0000\n\nmessage\n"), "{text}");
        assert!(Object { kind: Kind::Blob, ..commit }.tree().is_err());
    }
}
