//! Which words of the question say most: those that few passages hold.

use std::collections::{BTreeMap, BTreeSet};

use text::words::{term, words};

use crate::tools::Found;

/// The weight of each term of the question.
#[derive(Debug)]
pub struct Weights {
    by_term: BTreeMap<String, f64>,
    total: f64,
}

impl Weights {
    /// Weighs the words that `search` looked for. Words that nothing holds weigh nothing.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "no corpus has so many passages that it would show")]
    pub fn of(found: &Found) -> Weights {
        let passages = found.searched.passages as f64;
        let weight = |holding: u64| (1.0 + passages / (holding as f64 + 0.5)).ln();
        let known = found.terms.iter().filter(|term| term.passages > 0);
        let by_term: BTreeMap<String, f64> = known.map(|known| (term(&known.word), weight(known.passages))).collect();
        let total = by_term.values().sum();
        Weights { by_term, total }
    }

    /// The terms of the question that a text holds.
    #[must_use]
    pub fn terms_in(&self, text: &str) -> BTreeSet<&str> {
        words(text).filter_map(|word| self.by_term.get_key_value(&term(word))).map(|(term, _)| term.as_str()).collect()
    }

    /// What terms weigh together; those in `known` count half.
    #[must_use]
    pub fn of_terms(&self, terms: &BTreeSet<&str>, known: &BTreeSet<&str>) -> f64 {
        let part = |term: &&str| if known.contains(term) { 0.5 } else { 1.0 };
        terms.iter().map(|term| self.by_term.get(*term).copied().unwrap_or_default() * part(term)).sum()
    }

    /// How much of the question a text covers, from 0 to 1.
    #[must_use]
    pub fn covered_by(&self, text: &str) -> f64 {
        if self.total > 0.0 { self.of_terms(&self.terms_in(text), &BTreeSet::new()) / self.total } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::{Extent, Term};

    #[test]
    fn rare_words_weigh_more_and_unknown_ones_nothing() {
        let known = |word: &str, passages| Term { word: word.to_owned(), passages };
        let found = Found {
            passages: Vec::new(),
            terms: vec![known("grants", 100), known("denied", 2), known("nowhere", 0)],
            searched: Extent { files: 1, bytes: 1, passages: 1000 },
        };
        let weights = Weights::of(&found);
        let weight = |text: &str| weights.of_terms(&weights.terms_in(text), &BTreeSet::new());
        assert!(weight("it denies") > weight("a grant") && weight("a grant") > 0.0);
        assert!(weight("nowhere").abs() < f64::EPSILON);
        assert!((weights.covered_by("granted, or denied") - 1.0).abs() < 1e-9);
        let known = weights.terms_in("grant");
        assert!((weights.of_terms(&known, &known) * 2.0 - weight("grants")).abs() < 1e-9);
    }
}
