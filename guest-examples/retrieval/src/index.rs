//! The inverted index: for each term, the passages that hold it; and their ranking by BM25.
//!
//! The index is built for one question, so it has that question's terms only. It stays small on any corpus: when it
//! holds too many passages, the worst so far are dropped. How many passages hold a term is counted exactly all the same.
//!
//! BM25 is that of S. Robertson and H. Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009, with
//! k1 = 1.2 and b = 0.75. Lengths are bytes, not words: only their ratio counts. A term in a heading above the passage,
//! or in the file's path, counts as if it occurred more often.

use crate::passages::Passage;
use crate::terms::Terms;

const K1: f64 = 1.2;
const B: f64 = 0.75;

/// What a term in a heading above adds to the number of times that it occurs.
const IN_HEADING: u16 = 2;

/// What a term in the file's path adds.
const IN_PATH: u16 = 1;

/// How many passages are held at most, and how many of them stay when these are too many.
const MOST_PASSAGES: usize = 65_536;
const KEPT_PASSAGES: usize = 16_384;

/// A place in the corpus: the number of a document, in the order in which they were added, and of a passage in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The document's number, from 0.
    pub document: u32,
    /// The passage's number in the document, from 0.
    pub passage: u32,
}

/// A passage and how well it fits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// Where the passage is.
    pub place: Place,
    /// Its BM25 score.
    pub score: f64,
}

struct Entry {
    place: Place,
    length: u32,
}

struct Posting {
    /// The number of the passage in [`Index::entries`].
    entry: u32,
    /// How often the term occurs, boosts included.
    frequency: u16,
}

/// Which terms occur, one bit each.
type TermSet = u32;
const _: () = assert!(crate::terms::MOST_TERMS <= TermSet::BITS as usize);

/// The passages that hold a term of the question.
pub struct Index<'a> {
    terms: &'a Terms,
    entries: Vec<Entry>,
    /// For each term.
    postings: Vec<Vec<Posting>>,
    /// For each term, how many passages hold it.
    holding: Vec<u64>,
    /// All passages that were cut, and their bytes.
    passages: u64,
    length: u64,
    /// The bytes of documents that were not cut up.
    uncut: u64,
    documents: u32,
    in_path: TermSet,
    next_passage: u32,
    /// The heading that was looked at last, and the terms in it.
    heading: (String, TermSet),
    frequencies: Vec<u16>,
}

impl<'a> Index<'a> {
    /// An empty index for the terms of a question.
    #[must_use]
    pub fn new(terms: &'a Terms) -> Self {
        let number = terms.all().len();
        Index {
            terms,
            entries: Vec::new(),
            postings: (0..number).map(|_| Vec::new()).collect(),
            holding: vec![0; number],
            passages: 0,
            length: 0,
            uncut: 0,
            documents: 0,
            in_path: 0,
            next_passage: 0,
            heading: (String::new(), 0),
            frequencies: vec![0; number],
        }
    }

    /// Counts the bytes of a document that holds none of the terms.
    pub fn count_uncut(&mut self, bytes: usize) {
        self.uncut += bytes as u64;
    }

    /// Begins a document, and gives its number; the passages that are added next are its own.
    pub fn begin_document(&mut self, path: &str) -> u32 {
        let number = self.documents;
        self.documents += 1;
        self.next_passage = 0;
        self.in_path = self.terms_in(path);
        number
    }

    /// Adds the next passage of the document.
    pub fn add(&mut self, passage: Passage<'_>) {
        let place = Place { document: self.documents.saturating_sub(1), passage: self.next_passage };
        self.next_passage += 1;
        self.passages += 1;
        self.length += passage.text.len() as u64;
        let mut present: TermSet = 0;
        let frequencies = &mut self.frequencies;
        self.terms.each_in(passage.text.as_bytes(), |term| {
            frequencies[term] = frequencies[term].saturating_add(1);
            present |= 1 << term;
        });
        if present == 0 {
            return;
        }
        if self.heading.0 != passage.heading {
            self.heading = (passage.heading.to_owned(), self.terms_in(passage.heading));
        }
        let entry = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        self.entries.push(Entry { place, length: u32::try_from(passage.text.len()).unwrap_or(u32::MAX) });
        for (term, frequency) in self.frequencies.iter_mut().enumerate() {
            if present & (1 << term) != 0 {
                let heading = if self.heading.1 & (1 << term) != 0 { IN_HEADING } else { 0 };
                let path = if self.in_path & (1 << term) != 0 { IN_PATH } else { 0 };
                let frequency = std::mem::take(frequency).saturating_add(heading + path);
                self.postings[term].push(Posting { entry, frequency });
                self.holding[term] += 1;
            }
        }
        if self.entries.len() >= MOST_PASSAGES {
            self.drop_worst();
        }
    }

    fn terms_in(&self, text: &str) -> TermSet {
        let mut present = 0;
        self.terms.each_in(text.as_bytes(), |term| present |= 1 << term);
        present
    }

    /// In how many passages each term occurs, in the order of the terms.
    #[must_use]
    pub fn holding(&self) -> &[u64] {
        &self.holding
    }

    /// About how many passages the corpus has. Documents that were not cut up count by their length.
    #[must_use]
    pub fn passages(&self) -> u64 {
        const USUAL_LENGTH: u64 = 600;
        let average = self.length.checked_div(self.passages).unwrap_or(USUAL_LENGTH).max(1);
        self.passages + self.uncut / average
    }

    /// The best passages, best first; of equals, the one that comes first in the corpus.
    #[must_use]
    pub fn best(&self, number: usize) -> Vec<Hit> {
        let mut hits: Vec<Hit> = self
            .scores()
            .into_iter()
            .zip(&self.entries)
            .map(|(score, entry)| Hit { place: entry.place, score })
            .collect();
        hits.sort_by(|one, other| other.score.total_cmp(&one.score).then(one.place.cmp(&other.place)));
        hits.truncate(number);
        hits
    }

    /// The score of each entry.
    #[expect(clippy::cast_precision_loss, reason = "no corpus has so many passages that it would show")]
    fn scores(&self) -> Vec<f64> {
        let passages = self.passages() as f64;
        let average = self.length as f64 / (self.passages.max(1) as f64);
        let mut scores = vec![0.0; self.entries.len()];
        for (postings, holding) in self.postings.iter().zip(&self.holding) {
            let weight = inverse_frequency(passages, *holding as f64);
            for posting in postings {
                let entry = posting.entry as usize;
                let length = f64::from(self.entries[entry].length);
                let frequency = f64::from(posting.frequency);
                let saturation = frequency + K1 * (1.0 - B + B * length / average);
                scores[entry] += weight * frequency * (K1 + 1.0) / saturation;
            }
        }
        scores
    }

    /// Drops all but the best passages.
    fn drop_worst(&mut self) {
        let mut order: Vec<(f64, usize)> = self.scores().into_iter().zip(0..).collect();
        order.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)));
        let mut stays = vec![false; self.entries.len()];
        for (_, entry) in order.iter().take(KEPT_PASSAGES) {
            stays[*entry] = true;
        }
        let mut number = 0;
        let renumbered: Vec<Option<u32>> = stays
            .iter()
            .map(|stays| {
                stays.then(|| {
                    number += 1;
                    number - 1
                })
            })
            .collect();
        for postings in &mut self.postings {
            postings.retain_mut(|posting| match renumbered[posting.entry as usize] {
                Some(entry) => {
                    posting.entry = entry;
                    true
                }
                None => false,
            });
        }
        let mut stays = stays.into_iter();
        self.entries.retain(|_| stays.next().unwrap_or(false));
    }
}

/// How much a term says that `holding` of `passages` have: never nothing, more the rarer it is.
fn inverse_frequency(passages: f64, holding: f64) -> f64 {
    (((passages - holding).max(0.0) + 0.5) / (holding + 0.5)).ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index<'a>(terms: &'a Terms, documents: &[(&str, &[(&str, &str)])]) -> Index<'a> {
        let mut index = Index::new(terms);
        for (path, passages) in documents {
            index.begin_document(path);
            for (heading, text) in *passages {
                index.add(Passage { heading, first: 1, last: 1, text });
            }
        }
        index
    }

    fn order(index: &Index<'_>) -> Vec<(u32, u32)> {
        index.best(100).iter().map(|hit| (hit.place.document, hit.place.passage)).collect()
    }

    #[test]
    fn scores_are_those_of_the_formula() {
        let terms = Terms::of("grant policy");
        let documents: &[(&str, &[(&str, &str)])] =
            &[("a", &[("", "grant grant and more"), ("", "policy and a bit")]), ("b", &[("", "grant policies x")])];
        let index = index(&terms, documents);
        assert_eq!(index.holding(), [2, 2, 0]);
        let average = (20.0 + 16.0 + 16.0) / 3.0;
        let weight = (1.0_f64 + 1.5 / 2.5).ln();
        let part = |frequency: f64, length: f64| {
            weight * frequency * 2.2 / (frequency + 1.2 * (0.25 + 0.75 * length / average))
        };
        let expected = [((1, 0), 2.0 * part(1.0, 16.0)), ((0, 0), part(2.0, 20.0)), ((0, 1), part(1.0, 16.0))];
        for (hit, (place, score)) in index.best(9).iter().zip(expected) {
            assert_eq!((hit.place.document, hit.place.passage), place);
            assert!((hit.score - score).abs() < 1e-12, "{} {score}", hit.score);
        }
        assert_eq!(index.best(1).len(), 1);
    }

    #[test]
    fn rare_terms_headings_and_paths_count_more() {
        let terms = Terms::of("grant approval");
        let rare: &[(&str, &[(&str, &str)])] =
            &[("a", &[("", "a grant"), ("", "a grant"), ("", "a grant"), ("", "approval")])];
        assert_eq!(order(&index(&terms, rare))[0], (0, 3));
        let terms = Terms::of("grant");
        let heading: &[(&str, &[(&str, &str)])] = &[("a", &[("", "a grant"), ("Grants", "a grant")])];
        assert_eq!(order(&index(&terms, heading)), [(0, 1), (0, 0)]);
        let path: &[(&str, &[(&str, &str)])] = &[("x/a.md", &[("", "a grant")]), ("x/grants.md", &[("", "a grant")])];
        assert_eq!(order(&index(&terms, path)), [(1, 0), (0, 0)]);
    }

    #[test]
    fn equals_keep_their_order() {
        let terms = Terms::of("grant");
        let same: &[(&str, &[(&str, &str)])] = &[("a", &[("", "grant"), ("", "grant")]), ("b", &[("", "grant")])];
        assert_eq!(order(&index(&terms, same)), [(0, 0), (0, 1), (1, 0)]);
    }

    #[test]
    fn an_index_that_is_full_keeps_the_best_and_counts_all() {
        let terms = Terms::of("grant policy");
        let mut index = Index::new(&terms);
        index.begin_document("a");
        let number = u32::try_from(MOST_PASSAGES * 3).unwrap();
        for passage in 0..number {
            let text = if passage == 5 || passage == number - 5 { "grant policy" } else { "grant and more" };
            index.add(Passage { heading: "", first: 1, last: 1, text });
        }
        assert!(index.entries.len() < MOST_PASSAGES);
        assert_eq!(index.holding(), [u64::from(number), 2, 0]);
        assert_eq!(order(&index)[..3], [(0, 5), (0, number - 5), (0, 0)]);
    }

    #[test]
    fn documents_that_were_not_cut_up_count_by_their_length() {
        let terms = Terms::of("grant");
        let mut index = index(&terms, &[("a", &[("", "grant 6789")])]);
        index.count_uncut(1000);
        assert_eq!(index.passages(), 101);
        assert_eq!(Index::new(&terms).passages(), 0);
    }
}
