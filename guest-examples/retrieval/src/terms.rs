//! The words of a question, and where a text holds them.
//!
//! Most of a corpus holds none of them. So bytes are first compared, sixteen at a time, with the two or three letters that
//! each term begins with; only a word that begins so is cut out, reduced to its stem and compared.

use std::ops::ControlFlow;

use text::bytes::{LANES, Lanes};
use text::words::{is_stopword, is_word_byte, normalise, words};

/// How many terms a question has at most; further words are not looked for.
pub const MOST_TERMS: usize = 24;

/// Words beyond this length, in bytes, match nothing: they are hashes and encoded data.
const LONGEST_WORD: usize = 64;

/// A word of the question, or two neighbours as one.
#[derive(Debug)]
pub struct Term {
    /// As the question has it, in lower case.
    pub word: String,
    stem: Vec<u8>,
    /// What every form of the word begins with, in lower case. Empty when that cannot be told.
    beginning: Vec<u8>,
}

impl Term {
    fn new(word: &str) -> Term {
        let mut stem = Vec::new();
        normalise(word.as_bytes(), &mut stem);
        let mut beginning = if word.is_ascii() { stem.clone() } else { Vec::new() };
        // These are the only letters with which a stem ends that its word may have otherwise: `deni` for `deny`, `rate` for
        // `rating`, `sensibl` for `sensibility`.
        if let Some(b'i' | b'e' | b'l') = beginning.last() {
            beginning.pop();
        }
        Term { word: word.to_owned(), stem, beginning }
    }

    /// Whether a word that begins like `text` may be this one.
    fn may_begin(&self, text: &[u8]) -> bool {
        text.get(..self.beginning.len()).is_some_and(|start| start.eq_ignore_ascii_case(&self.beginning))
    }
}

/// The first letters of terms, folded; 0 for those that do not matter.
type Beginning = [u8; 3];

/// What to look for.
#[derive(Debug, Default)]
pub struct Terms {
    all: Vec<Term>,
    beginnings: Vec<Beginning>,
    /// Those of one letter, of two and of three, each letter in all lanes.
    singles: Vec<Lanes>,
    pairs: Vec<[Lanes; 2]>,
    triples: Vec<[Lanes; 3]>,
}

/// Makes upper and lower case of ASCII letters, and of some others, the same; what differs otherwise may meet as well.
const fn fold(byte: u8) -> u8 {
    byte | 0x20
}

impl Terms {
    /// The terms of a question. Neighbours count as one word, too: `hash map` finds `HashMap`.
    #[must_use]
    pub fn of(question: &str) -> Terms {
        let mut terms = Terms::default();
        let lower: Vec<String> = words(question).map(str::to_lowercase).collect();
        let counts = |word: &String| (2..=LONGEST_WORD).contains(&word.len()) && !is_stopword(word);
        for word in lower.iter().filter(|word| counts(word)) {
            terms.add(word);
        }
        for pair in lower.windows(2).filter(|pair| pair.iter().all(counts)) {
            terms.add(&pair.concat());
        }
        terms
    }

    fn add(&mut self, word: &str) {
        let term = Term::new(word);
        if self.all.len() == MOST_TERMS || self.all.iter().any(|other| other.stem == term.stem) {
            return;
        }
        if word.is_ascii() {
            self.begin(&term.beginning);
        } else {
            self.begin(word.as_bytes());
            self.begin(word.to_uppercase().as_bytes());
        }
        self.all.push(term);
    }

    fn begin(&mut self, word: &[u8]) {
        let letter = |at: usize| word.get(at).copied().map_or(0, fold);
        let beginning: Beginning = [letter(0), letter(1), letter(2)];
        if self.beginnings.contains(&beginning) {
            return;
        }
        self.beginnings.push(beginning);
        match beginning.map(|letter| (letter != 0).then(|| Lanes::all(letter))) {
            [Some(first), Some(second), Some(third)] => self.triples.push([first, second, third]),
            [Some(first), Some(second), None] => self.pairs.push([first, second]),
            [Some(first), ..] => self.singles.push(first),
            [None, ..] => {}
        }
    }

    /// The terms, in the order of the question.
    #[must_use]
    pub fn all(&self) -> &[Term] {
        &self.all
    }

    /// Whether there is nothing to look for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether any term occurs.
    #[must_use]
    pub fn occur_in(&self, text: &[u8]) -> bool {
        self.scan(text, &mut |_| ControlFlow::Break(())).is_break()
    }

    /// Calls `found` with the number of a term for each time that it occurs.
    pub fn each_in(&self, text: &[u8], mut found: impl FnMut(usize)) {
        let _: ControlFlow<()> = self.scan(text, &mut |term| {
            found(term);
            ControlFlow::Continue(())
        });
    }

    /// Calls `found` for each term, until it says to break.
    #[cfg_attr(target_family = "wasm", target_feature(enable = "simd128"))]
    fn scan(&self, text: &[u8], found: &mut dyn FnMut(usize) -> ControlFlow<()>) -> ControlFlow<()> {
        let mut stem = Vec::new();
        let mut look = |start: usize| match self.term_at(text, start, &mut stem) {
            Some(term) => found(term),
            None => ControlFlow::Continue(()),
        };
        let one_by_one = |start: &usize| self.begins(&text[*start..]);
        (0..text.len().min(1)).filter(one_by_one).try_for_each(&mut look)?;
        let mut at = 1;
        // A step looks at one byte before its own and at two behind.
        while let Some(bytes) = text.get(at - 1..at + LANES + 2) {
            let mut hits = self.beginnings_in(bytes);
            while hits != 0 {
                look(at + hits.trailing_zeros() as usize)?;
                hits &= hits - 1;
            }
            at += LANES;
        }
        (at..text.len()).filter(one_by_one).try_for_each(&mut look)
    }

    /// Marks where a beginning stands that no letter goes before. `bytes` has one before the step and two behind it.
    #[inline]
    #[cfg_attr(target_family = "wasm", target_feature(enable = "simd128"))]
    fn beginnings_in(&self, bytes: &[u8]) -> u16 {
        let (Some(before), Some(first), Some(second), Some(third)) =
            (bytes.first_chunk(), bytes[1..].first_chunk(), bytes[2..].first_chunk(), bytes[3..].first_chunk())
        else {
            return 0;
        };
        let case = Lanes::all(fold(0));
        let (first, second, third) = (Lanes::of(first).or(case), Lanes::of(second).or(case), Lanes::of(third).or(case));
        let mut hits = Lanes::all(0);
        for single in &self.singles {
            hits = hits.or(first.equal(*single));
        }
        for pair in &self.pairs {
            hits = hits.or(first.equal(pair[0]).and(second.equal(pair[1])));
        }
        for triple in &self.triples {
            hits = hits.or(first.equal(triple[0]).and(second.equal(triple[1])).and(third.equal(triple[2])));
        }
        hits.and_not(Lanes::of(before).or(case).within(b'a', 26)).mask()
    }

    /// The same for the start of a text.
    fn begins(&self, text: &[u8]) -> bool {
        let letter = |at: usize| fold(text.get(at).copied().unwrap_or_default());
        let own = [letter(0), letter(1), letter(2)];
        self.beginnings.iter().any(|beginning| beginning.iter().zip(own).all(|(one, other)| *one == 0 || *one == other))
    }

    /// The term that begins at `start`, if a word does.
    fn term_at(&self, text: &[u8], start: usize, stem: &mut Vec<u8>) -> Option<usize> {
        if start > 0 && is_word_byte(text[start - 1]) {
            return None;
        }
        let rest = &text[start..text.len().min(start + LONGEST_WORD + 1)];
        if !self.all.iter().any(|term| term.may_begin(rest)) {
            return None;
        }
        let length = rest.iter().position(|byte| !is_word_byte(*byte)).unwrap_or(rest.len());
        if length > LONGEST_WORD {
            return None;
        }
        let word = &rest[..length];
        normalise(word, stem);
        self.all.iter().position(|term| term.stem == *stem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(question: &str, text: &str) -> Vec<String> {
        let terms = Terms::of(question);
        let mut found = Vec::new();
        terms.each_in(text.as_bytes(), |term| found.push(terms.all()[term].word.clone()));
        assert_eq!(terms.occur_in(text.as_bytes()), !found.is_empty());
        found
    }

    #[test]
    fn only_words_that_say_something_are_looked_for() {
        let terms = Terms::of("How do I read the grants, a grant, or X?");
        let words: Vec<&str> = terms.all().iter().map(|term| term.word.as_str()).collect();
        assert_eq!(words, ["read", "grants"]);
        assert!(Terms::of("what is it?").is_empty());
        assert!(Terms::of("").is_empty());
    }

    #[test]
    fn a_long_question_has_a_bounded_number_of_terms() {
        let question: Vec<String> = (0..1000).map(|number| format!("word{number}x")).collect();
        assert_eq!(Terms::of(&question.join(" ")).all().len(), MOST_TERMS);
    }

    #[test]
    fn forms_of_a_word_are_found_and_parts_of_words_are_not() {
        assert_eq!(found("policy", "Policies of a policy; metapolicy, POLICY_FILE policyx"), ["policy"; 3]);
        assert_eq!(found("hash map", "a HashMap is a hash-map"), ["hashmap", "hash", "map"]);
        assert_eq!(found("\u{fc}ber", "\u{dc}ber \u{fc}ber uber"), ["\u{fc}ber"; 2]);
        assert_eq!(found("\u{440}\u{435}\u{43a}", "\u{420}\u{415}\u{41a}"), ["\u{440}\u{435}\u{43a}"]);
        assert_eq!(found("eyes", "an eye, ays"), ["eyes"]);
        assert_eq!(found("ay", "ay ays am"), ["ay"]);
        assert_eq!(found("sensible rate deny", "sensibility, rating, denied"), ["sensible", "rate", "deny"]);
    }

    #[test]
    fn words_are_found_at_every_place() {
        for before in 0..40 {
            for behind in 0..40 {
                let text = format!("{}grant{}", " ".repeat(before), ".".repeat(behind));
                assert_eq!(found("grants", &text), ["grants"], "{before} {behind}");
            }
        }
    }

    #[test]
    fn a_vector_step_agrees_with_looking_at_each_word() {
        let text = include_str!("terms.rs");
        let terms = Terms::of("the terms of a question are words that begin with letters, and any fold or candidate");
        let mut one_by_one = Vec::new();
        let mut stem = Vec::new();
        for word in words(text) {
            normalise(word.as_bytes(), &mut stem);
            one_by_one.extend(terms.all().iter().position(|term| term.stem == stem));
        }
        let mut found = Vec::new();
        terms.each_in(text.as_bytes(), |term| found.push(term));
        assert!(found.len() > 100);
        assert_eq!(found, one_by_one);
    }
}
