//! The end of the log, as who writes it remembers it from one record to the next.

use super::tree::{Frontier, leaf};
use super::{Entry, Hash, Head};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    head: Head,
    /// The tree over all records up to the head, if each of them was checked or appended here.
    tree: Option<Frontier>,
}

impl Tail {
    /// The end of a log of which the last record alone is known.
    pub fn at(head: Head) -> Self {
        Self { head, tree: (head == Head::EMPTY).then(Frontier::default) }
    }

    /// The end of a log that was checked up to its head.
    pub fn checked(hash: Hash, tree: Frontier) -> Self {
        Self { head: Head { seq: tree.size(), hash }, tree: Some(tree) }
    }

    /// The last record.
    pub fn head(&self) -> Head {
        self.head
    }

    /// The tree over all records, if it is known.
    pub fn tree(&self) -> Option<&Frontier> {
        self.tree.as_ref()
    }

    /// The end after one more record.
    #[must_use]
    pub fn after(mut self, entry: &Entry) -> Self {
        let canonical = entry.canonical(self.head.seq + 1, self.head.hash);
        self.head = self.head.followed(&canonical);
        if let Some(tree) = &mut self.tree {
            tree.push(leaf(&canonical));
        }
        self
    }
}
