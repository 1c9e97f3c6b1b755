//! From a question to the passages that fit it best.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use text::bytes;

use crate::index::{Hit, Index};
use crate::passages::{Format, cut};
use crate::terms::Terms;

/// The largest document that is read, in bytes.
pub const LARGEST: usize = 8 << 20;

/// How many passages one call returns at most.
pub const MOST: usize = 100;

/// How far into a file a zero byte is looked for, which tells it from text.
const HEAD: usize = 8192;

/// How many times the wanted number of passages is looked at, because some may say the same.
const SPARE: usize = 3;

/// What a walk through a corpus comes to.
#[derive(Debug)]
pub enum Found<'a> {
    /// A file that could be read, with its path and its content.
    File(&'a str, &'a [u8]),
    /// Something that was left out.
    Skipped,
}

/// Documents to search.
pub trait Corpus {
    /// Goes through all documents, each time in the same order.
    fn walk(&mut self, found: &mut dyn FnMut(Found<'_>));
    /// Reads one document again.
    fn read(&mut self, path: &str) -> Option<Vec<u8>>;
    /// How a document is written, or nothing when it is no text. Its name says it, unless the corpus knows better.
    #[must_use]
    fn format(path: &str) -> Option<Format> {
        Format::of(path)
    }
}

/// A passage that fits, in the words of `search.query`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Passage {
    /// Its document.
    pub file: String,
    /// Its first line, from 1.
    pub line: u32,
    /// Its last line.
    pub last_line: u32,
    /// The titles above it.
    pub heading: String,
    /// How well it fits (BM25).
    pub score: f64,
    /// Its text.
    pub text: String,
}

/// What was searched.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Documents that were read.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// About how many passages they hold.
    pub passages: u64,
    /// Files that were left out.
    pub skipped: u64,
}

/// What was found.
#[derive(Debug)]
pub struct Answer {
    /// The best passages, best first.
    pub passages: Vec<Passage>,
    /// The words that were looked for, and in how many passages each occurs.
    pub terms: Vec<(String, u64)>,
    /// What was searched.
    pub searched: Extent,
}

/// Searches a corpus. Nothing comes back when the question has no word to look for.
#[must_use]
pub fn answer<C: Corpus>(question: &str, limit: usize, corpus: &mut C) -> Option<Answer> {
    let terms = Terms::of(question);
    if terms.is_empty() {
        return None;
    }
    let limit = limit.clamp(1, MOST);
    let mut index = Index::new(&terms);
    let mut searched = Extent::default();
    let mut paths: BTreeMap<u32, String> = BTreeMap::new();
    corpus.walk(&mut |found| {
        let Found::File(path, content) = found else {
            searched.skipped += 1;
            return;
        };
        let format = match C::format(path) {
            Some(format) if bytes::find(&content[..content.len().min(HEAD)], 0, 0).is_none() => format,
            _ => {
                searched.skipped += 1;
                return;
            }
        };
        searched.files += 1;
        searched.bytes += content.len() as u64;
        if terms.occur_in(content) {
            let number = index.begin_document(path);
            cut(format, content, |passage| index.add(passage));
            paths.insert(number, path.to_owned());
        } else {
            index.count_uncut(content.len());
        }
    });
    searched.passages = index.passages();
    let passages = recall(&index.best(limit * SPARE), limit, &paths, corpus);
    let count = |(term, holding): (&crate::terms::Term, &u64)| (term.word.clone(), *holding);
    let terms = terms.all().iter().zip(index.holding()).map(count).collect();
    Some(Answer { passages, terms, searched })
}

/// Reads the texts of hits again, and leaves out what says the same as a better one.
fn recall<C: Corpus>(hits: &[Hit], limit: usize, paths: &BTreeMap<u32, String>, corpus: &mut C) -> Vec<Passage> {
    let mut ranks_by_document: BTreeMap<u32, BTreeMap<u32, usize>> = BTreeMap::new();
    for (rank, hit) in hits.iter().enumerate() {
        ranks_by_document.entry(hit.place.document).or_default().insert(hit.place.passage, rank);
    }
    let mut ranked: BTreeMap<usize, Passage> = BTreeMap::new();
    for (document, ranks) in ranks_by_document {
        let Some((path, content)) = paths.get(&document).and_then(|path| Some((path, corpus.read(path)?))) else {
            continue;
        };
        let Some(format) = C::format(path) else { continue };
        let mut number = 0;
        cut(format, &content, |passage| {
            if let Some(rank) = ranks.get(&number) {
                let text = passage.text.to_owned();
                let heading = passage.heading.to_owned();
                let (line, last_line) = (passage.first, passage.last);
                let score = hits[*rank].score;
                ranked.insert(*rank, Passage { file: path.clone(), line, last_line, heading, score, text });
            }
            number += 1;
        });
    }
    let mut seen = BTreeSet::new();
    ranked.into_values().filter(|passage| seen.insert(passage.text.clone())).take(limit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(Vec<(&'static str, &'static [u8])>);

    impl Corpus for Fixed {
        fn walk(&mut self, found: &mut dyn FnMut(Found<'_>)) {
            for (path, content) in &self.0 {
                found(Found::File(path, content));
            }
            found(Found::Skipped);
        }

        fn read(&mut self, path: &str) -> Option<Vec<u8>> {
            self.0.iter().find(|(other, _)| *other == path).map(|(_, content)| content.to_vec())
        }
    }

    fn corpus() -> Fixed {
        Fixed(vec![
            (
                "/documents/a.md",
                b"# Fuel\n\nFuel is charged for each instruction.\n\n# Grants\n\nA grant lists folders.",
            ),
            ("/documents/b.html", b"<h1>Memory</h1>\n<p>Memory is bounded &amp; counted.</p>\n<p>Fuel as well.</p>"),
            ("/documents/copy.md", b"# Fuel\n\nFuel is charged for each instruction.\n"),
            ("/documents/data", b"fuel\0fuel"),
            ("/documents/none.txt", b"Nothing of the kind."),
        ])
    }

    #[test]
    fn the_best_passages_come_with_their_places() {
        let answer = answer("How is fuel charged?", 10, &mut corpus()).unwrap();
        let first = &answer.passages[0];
        assert_eq!((first.file.as_str(), first.line, first.last_line), ("/documents/a.md", 1, 3));
        assert_eq!(first.text, "Fuel\nFuel is charged for each instruction.");
        assert_eq!(first.heading, "Fuel");
        let files: Vec<&str> = answer.passages.iter().map(|passage| passage.file.as_str()).collect();
        assert_eq!(files, ["/documents/a.md", "/documents/b.html"], "the copy says the same");
        assert_eq!(answer.passages[1].text, "Memory\nMemory is bounded & counted.\nFuel as well.");
        assert!(answer.passages[0].score > answer.passages[1].score);
        assert_eq!(answer.terms, [("fuel".to_owned(), 3), ("charged".to_owned(), 2), ("fuelcharged".to_owned(), 0)]);
        assert_eq!((answer.searched.files, answer.searched.skipped), (4, 2));
    }

    #[test]
    fn a_limit_is_kept_within_bounds() {
        let best = |limit| answer("fuel memory", limit, &mut corpus()).unwrap().passages.len();
        assert_eq!((best(0), best(1), best(2), best(usize::MAX / 8)), (1, 1, 2, 2));
    }

    #[test]
    fn nothing_found_is_an_answer_and_nothing_asked_is_none() {
        let answer_ = answer("quaternions", 5, &mut corpus()).unwrap();
        assert!(answer_.passages.is_empty());
        assert_eq!(answer_.terms, [("quaternions".to_owned(), 0)]);
        assert!(answer("what is it?", 5, &mut corpus()).is_none());
    }
}
