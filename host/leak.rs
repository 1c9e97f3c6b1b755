//! The leak guard: finds the secrets that a task was lent in what goes by, in any of their common spellings.
//!
//! What a task was lent is [watched](Leaks::watch) until the task ends. Every value is looked for as it is, in base64 and
//! base64url at each alignment (RFC 4648), in hexadecimal, percent-encoded (RFC 3986), as a JSON string writes it
//! (RFC 8259), and backwards, all in any case of letters, with one Aho-Corasick automaton (Aho and Corasick 1975). On its
//! way to a guest it is covered with asterisks, so that lengths stay what they are; on its way out of a task it is a reason
//! to refuse. [`Flow`] does the same with what comes in pieces: it keeps back what may be the beginning of a value.
//!
//! It finds whole values. Who cuts one up, or encrypts it, is not found: guests are not given values in the first place,
//! and this stands behind that.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

use aho_corasick::{AhoCorasick, MatchKind};
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_encode};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// What covers a value.
const COVER: u8 = b'*';
/// What encoders write in percent: all but what RFC 3986, section 2.3, calls unreserved; all but letters and digits; what a
/// form does; and what stands neither in a URL's query, nor in its path (WHATWG URL, section 1.3; ECMA-262, section 19.2.6).
const PERCENT: [&AsciiSet; 6] = [
    UNRESERVED,
    NON_ALPHANUMERIC,
    &UNRESERVED.add(b'~').remove(b'*'),
    &UNRESERVED.remove(b'!').remove(b'\'').remove(b'(').remove(b')').remove(b'*'),
    QUERY,
    &QUERY.add(b'?').add(b'`').add(b'{').add(b'}').add(b'^'),
];
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const QUERY: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>');

/// The names of values that were found.
pub type Found = BTreeSet<String>;

/// Names in a sentence.
pub fn named(found: &Found) -> String {
    found.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// What one task was lent.
#[derive(Debug, Default)]
pub struct Leaks(RwLock<Arc<Watched>>);

#[derive(Debug, Default)]
struct Watched {
    patterns: Vec<Pattern>,
    machine: Option<AhoCorasick>,
    /// The length of the longest pattern.
    longest: usize,
}

#[derive(Clone, PartialEq, Eq)]
struct Pattern {
    name: Arc<str>,
    bytes: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pattern({})", self.name)
    }
}

/// Why a value cannot be watched: it cannot be lent then.
#[derive(Debug, thiserror::Error)]
#[error("it cannot be watched for: {0}")]
pub struct Unwatchable(#[from] aho_corasick::BuildError);

impl Leaks {
    /// Looks for a value from now on. `name` is what it is called where it is found.
    ///
    /// # Errors
    /// When no automaton can be made of it.
    pub fn watch(&self, name: &str, value: &Secret) -> Result<(), Unwatchable> {
        let mut watched = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut patterns = watched.patterns.clone();
        let name: Arc<str> = name.into();
        for bytes in spellings(value.expose()) {
            let pattern = Pattern { name: Arc::clone(&name), bytes };
            if !patterns.contains(&pattern) {
                patterns.push(pattern);
            }
        }
        if patterns.len() == watched.patterns.len() {
            return Ok(());
        }
        let machine = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .ascii_case_insensitive(true)
            .build(patterns.iter().map(|pattern| pattern.bytes.as_slice()))?;
        let longest = patterns.iter().map(|pattern| pattern.bytes.len()).max().unwrap_or_default();
        *watched = Arc::new(Watched { patterns, machine: Some(machine), longest });
        Ok(())
    }

    /// Whether nothing is looked for.
    pub fn is_empty(&self) -> bool {
        self.watched().machine.is_none()
    }

    /// Whose values stand in these bytes.
    pub fn find(&self, bytes: &[u8]) -> Found {
        self.watched().places(bytes).into_iter().flat_map(|place| place.names).collect()
    }

    /// Covers values, and says whose.
    pub fn cover(&self, bytes: &mut [u8]) -> Found {
        let places = self.watched().places(bytes);
        for place in &places {
            bytes[place.range.clone()].fill(COVER);
        }
        places.into_iter().flat_map(|place| place.names).collect()
    }

    /// A text without values.
    pub fn covered(&self, text: String) -> String {
        if self.find(text.as_bytes()).is_empty() {
            return text;
        }
        let mut bytes = text.into_bytes();
        self.cover(&mut bytes);
        // A cover can begin and end in the middle of a character.
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Something that comes in pieces.
    pub fn flow(self: &Arc<Self>) -> Flow {
        Flow { leaks: Arc::clone(self), held: Zeroizing::default() }
    }

    fn watched(&self) -> Arc<Watched> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Where values stand.
struct Place {
    range: Range<usize>,
    names: Found,
}

impl Watched {
    /// The places of values, none of which meets another.
    fn places(&self, bytes: &[u8]) -> Vec<Place> {
        let Some(machine) = &self.machine else { return Vec::new() };
        let mut matches: Vec<_> = machine.find_overlapping_iter(bytes).collect();
        matches.sort_by_key(|found| (found.start(), found.end()));
        let mut places: Vec<Place> = Vec::new();
        for found in matches {
            let name = self.patterns[found.pattern().as_usize()].name.to_string();
            match places.last_mut() {
                Some(last) if found.start() < last.range.end => {
                    last.range.end = last.range.end.max(found.end());
                    last.names.insert(name);
                }
                _ => places.push(Place { range: found.range(), names: Found::from([name]) }),
            }
        }
        places
    }

    /// How many bytes at the end may be the beginning of a value.
    fn open_end(&self, bytes: &[u8]) -> usize {
        let begins = |tail: &[u8]| {
            let patterns = self.patterns.iter().map(|pattern| pattern.bytes.as_slice());
            patterns.filter_map(|pattern| pattern.get(..tail.len())).any(|head| head.eq_ignore_ascii_case(tail))
        };
        let most = self.longest.saturating_sub(1).min(bytes.len());
        (1..=most).rev().find(|length| begins(&bytes[bytes.len() - length..])).unwrap_or_default()
    }
}

/// What comes in pieces, across whose borders values are found as well.
#[derive(Debug)]
pub struct Flow {
    leaks: Arc<Leaks>,
    /// The end of what came, which may be the beginning of a value.
    held: Zeroizing<Vec<u8>>,
}

impl Flow {
    /// Takes a piece, and gives what can go on, with values covered, and whose they were.
    pub fn pass(&mut self, piece: &[u8]) -> (Vec<u8>, Found) {
        self.take(piece, Leaks::cover)
    }

    /// As [`Self::pass`], and nothing is covered.
    pub fn look(&mut self, piece: &[u8]) -> (Vec<u8>, Found) {
        self.take(piece, |leaks, bytes| leaks.find(bytes))
    }

    fn take(&mut self, piece: &[u8], find: impl FnOnce(&Leaks, &mut [u8]) -> Found) -> (Vec<u8>, Found) {
        let watched = self.leaks.watched();
        if watched.machine.is_none() {
            return (piece.to_vec(), Found::new());
        }
        let mut bytes = std::mem::take(&mut *self.held);
        bytes.extend_from_slice(piece);
        // Where one ends another can have begun, and the end is looked at before anything is covered.
        let open = watched.open_end(&bytes);
        let found = find(&self.leaks, &mut bytes);
        *self.held = bytes.split_off(bytes.len() - open);
        (bytes, found)
    }

    /// What was kept back, now that nothing follows.
    pub fn end(&mut self) -> Vec<u8> {
        std::mem::take(&mut *self.held)
    }
}

/// What is written piece by piece to places that follow one another, or do not: a value is found where the last piece of it
/// is written.
#[derive(Debug, Default)]
pub struct Trail {
    /// The end of what was written last.
    written: Zeroizing<Vec<u8>>,
    /// The place behind it.
    end: u64,
}

impl Trail {
    /// Whose values would be complete with a piece that ends before `end`.
    pub fn found(&self, leaks: &Leaks, piece: &[u8], end: u64) -> Found {
        if self.follows(piece, end) {
            leaks.find(&Zeroizing::new([self.written.as_slice(), piece].concat()))
        } else {
            leaks.find(piece)
        }
    }

    /// A piece was written, which ends before `end`.
    pub fn follow(&mut self, leaks: &Leaks, piece: &[u8], end: u64) {
        if !self.follows(piece, end) {
            self.written.clear();
        }
        self.written.extend_from_slice(piece);
        let kept = leaks.watched().longest.saturating_sub(1);
        let past = self.written.len().saturating_sub(kept);
        self.written.drain(..past);
        self.end = end;
    }

    fn follows(&self, piece: &[u8], end: u64) -> bool {
        end.checked_sub(piece.len() as u64) == Some(self.end)
    }
}

/// The common spellings of a value.
fn spellings(value: &[u8]) -> Vec<Zeroizing<Vec<u8>>> {
    let mut spellings = vec![value.to_vec(), value.iter().rev().copied().collect()];
    for ahead in 0..3 {
        spellings.push(base64_within(&STANDARD_NO_PAD, value, ahead));
        spellings.push(base64_within(&URL_SAFE_NO_PAD, value, ahead));
    }
    spellings.push(value.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect());
    spellings.push(value.iter().flat_map(|byte| format!("%{byte:02x}").into_bytes()).collect());
    for set in PERCENT {
        let percent = percent_encode(value, set).to_string();
        spellings.push(percent.replace("%20", "+").into_bytes());
        spellings.push(percent.into_bytes());
    }
    if let Ok(text) = std::str::from_utf8(value) {
        let json = serde_json::Value::from(text).to_string();
        let json = json[1..json.len() - 1].to_owned();
        spellings.push(json.replace('/', "\\/").into_bytes());
        spellings.push(json.into_bytes());
        spellings.push(text.encode_utf16().flat_map(|unit| format!("\\u{unit:04x}").into_bytes()).collect());
    }
    spellings.into_iter().map(Zeroizing::new).collect()
}

/// What base64 makes of a value that so many bytes stand before: the characters that are the same whatever stands around.
fn base64_within(engine: &impl base64::Engine, value: &[u8], ahead: usize) -> Vec<u8> {
    let mut bytes = vec![0; ahead];
    bytes.extend_from_slice(value);
    let bits = bytes.len() * 8;
    let encoded = engine.encode(Zeroizing::new(bytes).as_slice());
    encoded.as_bytes()[(ahead * 8).div_ceil(6)..bits / 6].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    use proptest::prelude::*;

    const VALUE: &str = "sk-Live/9+a\"b c?d~é";

    fn leaks(value: &[u8]) -> Arc<Leaks> {
        let leaks = Leaks::default();
        leaks.watch("token", &Secret::new(Zeroizing::new(value.to_vec())).unwrap()).unwrap();
        Arc::new(leaks)
    }

    fn all(value: &[u8]) -> Vec<Vec<u8>> {
        let text = String::from_utf8_lossy(value);
        let mut all = vec![
            value.to_vec(),
            value.iter().rev().copied().collect(),
            value.iter().flat_map(|byte| format!("{byte:02X}").into_bytes()).collect(),
            serde_json::json!({ "a": text }).to_string().into_bytes(),
            percent_encode(value, NON_ALPHANUMERIC).to_string().into_bytes(),
            url::form_urlencoded::byte_serialize(value).collect::<String>().into_bytes(),
        ];
        for before in ["", "u", "us", "user:", "Bearer "] {
            for after in ["", "!", "!!"] {
                let whole = [before.as_bytes(), value, after.as_bytes()].concat();
                all.push(STANDARD.encode(&whole).into_bytes());
                all.push(URL_SAFE.encode(&whole).into_bytes());
            }
        }
        all
    }

    #[test]
    fn every_spelling_is_found_and_covered() {
        let leaks = leaks(VALUE.as_bytes());
        for spelling in all(VALUE.as_bytes()) {
            let shown = String::from_utf8_lossy(&spelling).into_owned();
            assert_eq!(leaks.find(&spelling), Found::from(["token".to_owned()]), "{shown}");
            let mut covered = spelling.clone();
            leaks.cover(&mut covered);
            assert_eq!(covered.len(), spelling.len());
            assert!(leaks.find(&covered).is_empty(), "{shown}");
        }
        assert!(leaks.find(b"sk-Live/9+a\"b c?d").is_empty());
        assert_eq!(leaks.covered(format!("a {VALUE} b")), format!("a {} b", "*".repeat(VALUE.len())));
    }

    #[test]
    fn nothing_watched_is_nothing_found() {
        let leaks = Arc::new(Leaks::default());
        assert!(leaks.find(VALUE.as_bytes()).is_empty());
        let mut flow = leaks.flow();
        assert_eq!(flow.pass(b"abc"), (b"abc".to_vec(), Found::new()));
        leaks.watch("late", &Secret::new(Zeroizing::new(b"abcdefgh".to_vec())).unwrap()).unwrap();
        assert_eq!(flow.pass(b"xabcdefghx").0, b"x********x");
    }

    #[test]
    fn a_value_that_is_written_in_pieces_is_found_at_its_last() {
        let leaks = leaks(b"abcdefgh");
        let mut trail = Trail::default();
        for (piece, end, found) in [
            ("abcd", 4, false),
            ("xx", 9, false),
            ("abcd", 20, false),
            ("ef", 22, false),
            ("g", 23, false),
            ("h-", 25, true),
        ] {
            assert_eq!(!trail.found(&leaks, piece.as_bytes(), end).is_empty(), found, "{piece} before {end}");
            trail.follow(&leaks, piece.as_bytes(), end);
        }
    }

    #[test]
    fn values_that_meet_are_covered_together() {
        let leaks = Leaks::default();
        for value in ["abcdefgh", "efghijkl"] {
            leaks.watch(value, &Secret::new(Zeroizing::new(value.as_bytes().to_vec())).unwrap()).unwrap();
        }
        let mut bytes = b"-abcdefghijkl-".to_vec();
        assert_eq!(leaks.cover(&mut bytes).len(), 2);
        assert_eq!(bytes, b"-************-");
    }

    proptest! {
        /// However it is cut up, what flows out is what covering the whole gives.
        #[test]
        fn pieces_are_covered_as_the_whole(
            value in "[a-c/]{8,20}",
            parts in proptest::collection::vec("[a-c/]{0,12}", 0..8),
            cuts in proptest::collection::vec(0usize..400, 0..12),
        ) {
            let leaks = leaks(value.as_bytes());
            let whole = parts.join(&STANDARD.encode(&value)) + &value + "ab" + &value[..5];
            let mut bytes = whole.clone().into_bytes();
            let found = leaks.cover(&mut bytes);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % (whole.len() + 1)).collect();
            cuts.extend([0, whole.len()]);
            cuts.sort_unstable();
            let (mut flow, mut flowed, mut seen) = (leaks.flow(), Vec::new(), Found::new());
            for pair in cuts.windows(2) {
                let (piece, found) = flow.pass(&whole.as_bytes()[pair[0]..pair[1]]);
                flowed.extend(piece);
                seen.extend(found);
            }
            flowed.extend(flow.end());
            prop_assert_eq!(String::from_utf8(flowed), String::from_utf8(bytes));
            prop_assert_eq!(seen, found);
        }
    }
}
