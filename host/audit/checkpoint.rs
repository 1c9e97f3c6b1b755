//! Checkpoints and proofs: what to keep elsewhere of a log, and what to show others of it.
//!
//! A checkpoint (`c2sp.org/tlog-checkpoint`) is a signed note with three lines: the log's name, how many records it has, and
//! the root of the tree over them. A proof (`c2sp.org/tlog-proof`) shows that one record is among them.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Hash;
use super::note::{KeyName, Note, NoteError, SigningKey, VerifierKey};
use super::tree::{Frontier, is_included, leaf};

/// The first line of a proof.
const PROOF: &str = "c2sp.org/tlog-proof@v1";

/// A signed statement of how long a log is, and what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name, which is that of its key.
    pub origin: KeyName,
    /// How many records it has.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Hash,
    note: Note,
}

impl Checkpoint {
    /// Signs what is known of a tree.
    pub fn sign(key: &SigningKey, tree: &Frontier) -> Self {
        let (origin, size, root) = (key.verifier().name().clone(), tree.size(), tree.root());
        let note = key.sign(format!("{origin}\n{size}\n{}\n", STANDARD.encode(root.0)));
        Self { origin, size, root, note }
    }

    /// Reads checkpoints that stand one after another.
    ///
    /// # Errors
    /// When one of them is none.
    pub fn all(text: &str) -> Result<Vec<Self>, NoteError> {
        Note::all(text)?.into_iter().map(Self::of).collect()
    }

    /// Whether this key, which has the log's name, signed it.
    ///
    /// # Errors
    /// When it did not.
    pub fn verify(&self, key: &VerifierKey) -> Result<(), NoteError> {
        if *key.name() != self.origin {
            return Err(NoteError::Unsigned(key.to_string()));
        }
        self.note.verify(key)
    }

    fn of(note: Note) -> Result<Self, NoteError> {
        let read = || -> Option<(KeyName, u64, Hash)> {
            let mut lines = note.text().lines();
            let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
            let found = (origin.parse().ok()?, decimal(size)?, hash(root)?);
            // Extension lines are signed as well; none may be empty.
            lines.all(|line| !line.is_empty()).then_some(found)
        };
        let (origin, size, root) = read().ok_or(NoteError::Form("its text is no checkpoint"))?;
        Ok(Self { origin, size, root, note })
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.note.fmt(f)
    }
}

impl FromStr for Checkpoint {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        Self::of(text.parse()?)
    }
}

/// What shows that a record is in the log that a checkpoint speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The record's canonical bytes.
    pub record: Vec<u8>,
    /// Its place, from 0: one less than its number.
    pub index: u64,
    /// The hashes from its sibling to below the root.
    pub hashes: Vec<Hash>,
    /// What it is in.
    pub checkpoint: Checkpoint,
}

impl Proof {
    /// Whether it shows that, if the checkpoint is believed.
    pub fn holds(&self) -> bool {
        let Checkpoint { size, root, .. } = self.checkpoint;
        is_included(leaf(&self.record), self.index, size, &self.hashes, root)
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{PROOF}\nextra {}\nindex {}", STANDARD.encode(&self.record), self.index)?;
        self.hashes.iter().try_for_each(|hash| writeln!(f, "{}", STANDARD.encode(hash.0)))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

impl FromStr for Proof {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let odd = NoteError::Form("it is no proof as `ambit audit prove` prints it");
        let (above, checkpoint) = text.split_once("\n\n").ok_or_else(|| odd.clone())?;
        let read = || -> Option<(Vec<u8>, u64, Vec<Hash>)> {
            let mut lines = above.strip_prefix(PROOF)?.strip_prefix('\n')?.lines();
            let record = STANDARD.decode(lines.next()?.strip_prefix("extra ")?).ok()?;
            let index = decimal(lines.next()?.strip_prefix("index ")?)?;
            Some((record, index, lines.map(hash).collect::<Option<_>>()?))
        };
        let (record, index, hashes) = read().ok_or_else(|| odd.clone())?;
        let proof = Self { record, index, hashes, checkpoint: checkpoint.parse()? };
        if proof.to_string() == text { Ok(proof) } else { Err(odd) }
    }
}

/// A number without a sign and without zeros before it.
fn decimal(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

fn hash(text: &str) -> Option<Hash> {
    STANDARD.decode(text).ok()?.try_into().ok().map(Hash)
}

#[cfg(test)]
mod tests {
    use super::super::tree::Prover;
    use super::*;
    use proptest::prelude::*;

    fn key() -> SigningKey {
        SigningKey::of("audit.example.net/one".parse().unwrap(), &[5; 32]).unwrap()
    }

    fn proof() -> Proof {
        let mut tree = Frontier::default();
        let mut prover = Prover::of(4, 9).unwrap();
        for number in 0..9 {
            let leaf = leaf(&[number]);
            tree.push(leaf);
            prover.push(leaf);
        }
        Proof { record: vec![4], index: 4, hashes: prover.proof(), checkpoint: Checkpoint::sign(&key(), &tree) }
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let proof = proof();
        let text = proof.to_string();
        let read: Proof = text.parse().unwrap();
        assert_eq!(read, proof);
        assert!(read.holds());
        read.checkpoint.verify(key().verifier()).unwrap();
        assert!(text.starts_with("c2sp.org/tlog-proof@v1\nextra BA==\nindex 4\n"), "{text}");
        assert!(text.contains("\n\naudit.example.net/one\n9\n"), "{text}");
        for (from, to) in [
            ("@v1", "@v2"),
            ("extra ", "extra  "),
            ("index 4", "index 04"),
            ("index 4", "index +4"),
            ("\n9\n", "\n09\n"),
            ("\n9\n", "\n-9\n"),
            ("\n\n", "\n"),
        ] {
            assert!(text.replacen(from, to, 1).parse::<Proof>().is_err(), "{from} {to}");
        }
        let other = SigningKey::of("audit.example.net/two".parse().unwrap(), &[5; 32]).unwrap();
        assert!(read.checkpoint.verify(other.verifier()).is_err());
    }

    proptest! {
        /// Every changed byte of a proof is found.
        #[test]
        fn a_changed_proof_is_found(at: prop::sample::Index, byte: u8) {
            let mut bytes = proof().to_string().into_bytes();
            let at = at.index(bytes.len());
            prop_assume!(bytes[at] != byte);
            bytes[at] = byte;
            let read = String::from_utf8(bytes).ok().and_then(|text| text.parse::<Proof>().ok());
            prop_assert!(read.is_none_or(|proof| !proof.holds() || proof.checkpoint.verify(key().verifier()).is_err()));
        }
    }
}
