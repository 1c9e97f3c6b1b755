//! Checks a log from its first record on: its chain, and what checkpoints say of it.

use super::checkpoint::Checkpoint;
use super::note::{KeyName, NoteError};
use super::tree::{Frontier, leaf};
use super::{Hash, Head, Record};

/// What is wrong with a log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// A number is missing: records were removed, or put elsewhere.
    #[error("record {expected} is missing: after it comes {found}")]
    Gap {
        /// The number that should have come.
        expected: u64,
        /// The number that came.
        found: u64,
    },
    /// A record does not have the hash that its contents and its predecessor give.
    #[error("record {seq} was changed, or one before it was: its hash should be {expected}")]
    Hash {
        /// The record.
        seq: u64,
        /// The hash that its stored contents give.
        expected: Hash,
    },
    /// A record cannot be read as one.
    #[error("record {seq} cannot be read: {reason}")]
    Unreadable {
        /// The record.
        seq: u64,
        /// Why not.
        reason: String,
    },
    /// The log ends before a record that something else in the home speaks of.
    #[error("the log ends at record {last}, but task {task} was recorded up to {expected}: records were cut off")]
    Truncated {
        /// The last record.
        last: u64,
        /// The task whose records are missing.
        task: String,
        /// Its last record.
        expected: u64,
    },
    /// The log ends before what a checkpoint speaks of.
    #[error(
        "the log ends at record {last}, but a checkpoint of `{origin}` speaks of {expected} records: records were cut off, \
         or an older copy was put in place of the log"
    )]
    Shorter {
        /// The last record.
        last: u64,
        /// The log that the checkpoint names.
        origin: KeyName,
        /// How many records it speaks of.
        expected: u64,
    },
    /// A checkpoint speaks of other records.
    #[error(
        "the first {size} records are not those of a checkpoint of `{origin}`: their root is {found}, and the checkpoint's \
         is {expected}: this is another history"
    )]
    Forked {
        /// How many records the checkpoint speaks of.
        size: u64,
        /// The log that the checkpoint names.
        origin: KeyName,
        /// Its root.
        expected: Hash,
        /// The root of the records that are there.
        found: Hash,
    },
    /// A checkpoint is not to be believed.
    #[error("the checkpoint of {size} records is not to be believed: {reason}")]
    Unbelieved {
        /// How many records it speaks of, or is stored as speaking of.
        size: u64,
        /// Why not.
        reason: NoteError,
    },
    /// Nothing tells whose checkpoint it is.
    #[error("there is a checkpoint of `{origin}`, and no key of that name is known")]
    Stranger {
        /// The log that the checkpoint names.
        origin: KeyName,
    },
    /// A stored checkpoint has something else beside it than what belongs there.
    #[error("the stored checkpoint of {size} records was changed: {what}")]
    Stored {
        /// How many records it is stored as speaking of.
        size: u64,
        /// What is wrong.
        what: &'static str,
    },
}

/// Checks a chain, record by record, and what checkpoints that were kept elsewhere say of it.
#[derive(Debug)]
pub struct Verifier {
    head: Head,
    tree: Frontier,
    /// Those that speak of more records than have come, the smallest first.
    kept: std::vec::IntoIter<Checkpoint>,
}

impl Default for Verifier {
    fn default() -> Self {
        Self::against(Vec::new())
    }
}

impl Verifier {
    /// With checkpoints whose signatures are believed.
    pub fn against(mut kept: Vec<Checkpoint>) -> Self {
        kept.sort_by_key(|checkpoint| checkpoint.size);
        Self { head: Head::EMPTY, tree: Frontier::default(), kept: kept.into_iter() }
    }

    /// Goes on after a checkpoint, whose last record has that hash.
    pub fn after(tree: Frontier, hash: Hash) -> Self {
        Self { head: Head { seq: tree.size(), hash }, tree, kept: Vec::new().into_iter() }
    }

    /// Checks the next record, in the order of the numbers, and gives its leaf in the tree.
    ///
    /// # Errors
    /// When the record does not follow the ones before, or a checkpoint that ends with it speaks of others.
    pub fn check(&mut self, record: &Record) -> Result<Hash, Flaw> {
        let seq = self.head.seq + 1;
        if record.seq != seq {
            return Err(Flaw::Gap { expected: seq, found: record.seq });
        }
        let canonical = record.entry.canonical(seq, self.head.hash);
        let next = self.head.followed(&canonical);
        if record.hash != next.hash {
            return Err(Flaw::Hash { seq, expected: next.hash });
        }
        let leaf = leaf(&canonical);
        self.head = next;
        self.tree.push(leaf);
        while let Some(checkpoint) = self.kept.as_slice().first().filter(|checkpoint| checkpoint.size <= seq) {
            self.compare(checkpoint)?;
            self.kept.next();
        }
        Ok(leaf)
    }

    /// Whether a checkpoint speaks of the records that have come, and of no others.
    ///
    /// # Errors
    /// When it does not.
    pub fn compare(&self, checkpoint: &Checkpoint) -> Result<(), Flaw> {
        let Checkpoint { ref origin, size, root, .. } = *checkpoint;
        // One of an empty log may come at any time.
        let found = if size == 0 { Frontier::default().root() } else { self.tree.root() };
        if (size == 0 || size == self.head.seq) && root == found {
            return Ok(());
        }
        Err(Flaw::Forked { size, origin: origin.clone(), expected: root, found })
    }

    /// Where the chain stands, when no more records come.
    ///
    /// # Errors
    /// When a checkpoint speaks of more records.
    pub fn end(&self) -> Result<Head, Flaw> {
        let longer = self.kept.as_slice().iter().find(|checkpoint| checkpoint.size > self.head.seq);
        longer.map_or(Ok(self.head), |checkpoint| {
            let (origin, expected) = (checkpoint.origin.clone(), checkpoint.size);
            Err(Flaw::Shorter { last: self.head.seq, origin, expected })
        })
    }

    /// Where the chain stands.
    pub fn head(&self) -> Head {
        self.head
    }

    /// The tree over the records that have come.
    pub fn tree(&self) -> &Frontier {
        &self.tree
    }
}
