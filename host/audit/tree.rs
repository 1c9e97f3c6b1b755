//! The Merkle tree over records: leaves are appended, a root names them all, and a short proof shows that one is among them.
//!
//! It is the tree of RFC 9162, section 2.1: `leaf = SHA-256(0x00 ‖ bytes)`, `node = SHA-256(0x01 ‖ left ‖ right)`, and a
//! tree of `n` leaves has on its left the largest power of two that is less than `n`. To append, only the roots of the
//! whole subtrees have to be known, one for each bit of the size that is set: the *frontier*.

use std::ops::Range;

use sha2::{Digest as _, Sha256};

use super::Hash;

/// The hash of a leaf with these bytes.
pub fn leaf(bytes: &[u8]) -> Hash {
    Hash(Sha256::new_with_prefix([0]).chain_update(bytes).finalize().into())
}

fn node(left: Hash, right: Hash) -> Hash {
    Hash(Sha256::new_with_prefix([1]).chain_update(left.0).chain_update(right.0).finalize().into())
}

/// What has to be known of a tree to append to it and to name its root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// Roots of whole subtrees, the largest first.
    peaks: Vec<Hash>,
}

impl Frontier {
    /// How many leaves there are.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf: Hash) {
        let mut whole = leaf;
        // Each trailing one of the size is a subtree as large as the one that has just become whole.
        for _ in 0..self.size.trailing_ones() {
            whole = self.peaks.pop().map_or(whole, |left| node(left, whole));
        }
        self.peaks.push(whole);
        self.size += 1;
    }

    /// The root; of an empty tree the hash of nothing.
    pub fn root(&self) -> Hash {
        let root = self.peaks.iter().copied().rev().reduce(|right, left| node(left, right));
        root.unwrap_or_else(|| Hash(Sha256::digest([]).into()))
    }

    /// As it is stored: the peaks, one after another.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.peaks.iter().flat_map(|peak| peak.0).collect()
    }

    /// As it was stored; nothing, when a tree of that size has another number of peaks.
    pub fn from_bytes(size: u64, bytes: &[u8]) -> Option<Self> {
        let (peaks, rest) = bytes.as_chunks();
        let fits = rest.is_empty() && peaks.len() == size.count_ones() as usize;
        fits.then(|| Self { size, peaks: peaks.iter().copied().map(Hash).collect() })
    }
}

/// Gathers the proof that one leaf is in a tree, while all leaves pass by in order (RFC 9162, section 2.1.3.1).
#[derive(Debug)]
pub struct Prover {
    /// Which leaves each hash of the proof is over, the leaf's sibling first.
    parts: Vec<(Range<u64>, Frontier)>,
    next: u64,
}

impl Prover {
    /// For the leaf with this index, from 0, in a tree of that size; nothing, when the tree has no such leaf.
    pub fn of(index: u64, size: u64) -> Option<Self> {
        if index >= size {
            return None;
        }
        let mut parts = Vec::new();
        let mut tree = 0..size;
        while tree.end - tree.start > 1 {
            let leaves = tree.end - tree.start;
            let middle = tree.start + (1 << (leaves - 1).ilog2());
            let (inside, beside) = if index < middle {
                (tree.start..middle, middle..tree.end)
            } else {
                (middle..tree.end, tree.start..middle)
            };
            parts.push((beside, Frontier::default()));
            tree = inside;
        }
        parts.reverse();
        Some(Self { parts, next: 0 })
    }

    /// Takes the next leaf.
    pub fn push(&mut self, leaf: Hash) {
        let at = self.next;
        self.next += 1;
        if let Some((_, part)) = self.parts.iter_mut().find(|(range, _)| range.contains(&at)) {
            part.push(leaf);
        }
    }

    /// The proof, once all leaves have passed: the leaf's sibling first.
    pub fn proof(&self) -> Vec<Hash> {
        self.parts.iter().map(|(_, part)| part.root()).collect()
    }
}

/// Whether a proof shows that a leaf has this index, from 0, in the tree of that size and root (RFC 9162, section 2.1.3.2).
pub fn is_included(leaf: Hash, index: u64, size: u64, proof: &[Hash], root: Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut at, mut last, mut hash) = (index, size - 1, leaf);
    for &beside in proof {
        if last == 0 {
            return false;
        }
        if at % 2 == 1 || at == last {
            hash = node(beside, hash);
            // Levels on which the last node has no sibling are passed over.
            let lone = if at % 2 == 1 { 0 } else { at.trailing_zeros() };
            (at, last) = (at >> lone, last >> lone);
        } else {
            hash = node(hash, beside);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    last == 0 && hash == root
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, word for word.
    fn naive(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Hash(Sha256::digest([]).into()),
            [one] => *one,
            more => {
                let (left, right) = more.split_at(more.len().next_power_of_two() / 2);
                node(naive(left), naive(right))
            }
        }
    }

    fn leaves(count: usize) -> Vec<Hash> {
        (0..count).map(|number| leaf(&number.to_be_bytes())).collect()
    }

    fn frontier(leaves: &[Hash]) -> Frontier {
        let mut frontier = Frontier::default();
        for leaf in leaves {
            frontier.push(*leaf);
        }
        frontier
    }

    fn proof(index: usize, leaves: &[Hash]) -> Vec<Hash> {
        let mut prover = Prover::of(index as u64, leaves.len() as u64).unwrap();
        for leaf in leaves {
            prover.push(*leaf);
        }
        prover.proof()
    }

    #[test]
    fn roots_are_those_that_others_publish() {
        // The test vectors of Certificate Transparency (RFC 6962), as its implementations share them.
        let inputs: [&[u8]; 8] = [
            &[],
            &[0],
            &[0x10],
            &[0x20, 0x21],
            &[0x30, 0x31],
            &[0x40, 0x41, 0x42, 0x43],
            &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
            &[0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f],
        ];
        let mut tree = Frontier::default();
        assert_eq!(tree.root().to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        let mut roots = Vec::new();
        for input in inputs {
            tree.push(leaf(input));
            roots.push(tree.root().to_string());
        }
        assert_eq!(roots[0], "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
        assert_eq!(roots[2], "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77");
        assert_eq!(roots[7], "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328");
    }

    #[test]
    fn every_leaf_of_every_small_tree_is_proved() {
        for size in 0..40 {
            let leaves = leaves(size);
            let tree = frontier(&leaves);
            assert_eq!(tree.root(), naive(&leaves));
            assert!(Prover::of(size as u64, size as u64).is_none());
            for index in 0..size {
                let proof = proof(index, &leaves);
                assert!(
                    is_included(leaves[index], index as u64, size as u64, &proof, tree.root()),
                    "{index} of {size}"
                );
            }
        }
    }

    proptest! {
        /// A proof shows one leaf at one place in one tree: with anything else in its place it shows nothing.
        #[test]
        fn a_proof_shows_nothing_else(size in 1usize..300, at: prop::sample::Index, other: prop::sample::Index, byte in 0usize..32, bit in 0u8..8) {
            let leaves = leaves(size);
            let (index, other) = (at.index(leaves.len()), other.index(leaves.len()));
            let root = naive(&leaves);
            let proof = proof(index, &leaves);
            let shows = |leaf, index: usize, proof: &[Hash]| is_included(leaf, index as u64, size as u64, proof, root);
            prop_assert!(shows(leaves[index], index, &proof));
            if other != index {
                prop_assert!(!shows(leaves[other], index, &proof));
                prop_assert!(!shows(leaves[index], other, &proof));
            }
            let mut longer = proof.clone();
            longer.push(root);
            prop_assert!(!shows(leaves[index], index, &longer));
            prop_assert!(!is_included(leaves[index], size as u64, size as u64, &proof, root));
            for place in 0..proof.len() {
                let mut changed = proof.clone();
                changed[place].0[byte] ^= 1 << bit;
                prop_assert!(!shows(leaves[index], index, &changed));
                prop_assert!(!shows(leaves[index], index, &proof[..place]));
            }
        }

        /// A tree that is stored and read back goes on as if it had not been.
        #[test]
        fn a_stored_tree_goes_on(before in 0usize..200, more in 0usize..200) {
            let leaves = leaves(before + more);
            let (first, rest) = leaves.split_at(before);
            let stored = frontier(first).to_bytes();
            let mut tree = Frontier::from_bytes(before as u64, &stored).unwrap();
            for leaf in rest {
                tree.push(*leaf);
            }
            prop_assert_eq!(tree.root(), naive(&leaves));
            prop_assert_eq!(tree.size(), (before + more) as u64);
            prop_assert_eq!(Frontier::from_bytes(before as u64 * 2 + 1, &stored), None);
            prop_assert_eq!(Frontier::from_bytes(before as u64, &[stored.as_slice(), &[0]].concat()), None);
        }
    }
}
