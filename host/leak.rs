//! The leak guard: finds the secrets that a task was lent in what goes by, in any of their common spellings.
//!
//! What a task was lent is [watched](Leaks::watch) until the task ends. Every value is looked for as it is, in base64 and
//! base64url at each alignment (RFC 4648), in hexadecimal and backwards, in any case of letters, with one Aho-Corasick
//! automaton (Aho and Corasick 1975), which reads what goes by as it is and as it is decoded (`view`): percent-encoded,
//! escaped as in JSON, wrapped into lines. On its way to a guest a value is covered with asterisks, so that lengths stay what
//! they are; on its way out of a task it is a reason to refuse. [`Flow`] does the same with what comes in pieces: it keeps
//! back as much as a value can take, whatever stands there, so that nobody learns from when a byte comes what it is.
//!
//! It finds whole values. Who cuts one up, or encrypts it, is not found: guests are not given values in the first place,
//! and this stands behind that.

mod view;

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

use aho_corasick::automaton::{Automaton as _, StateID};
use aho_corasick::nfa::contiguous::NFA;
use aho_corasick::{Anchored, MatchKind};
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use self::view::View;
use crate::secret::Secret;

/// What covers a value.
const COVER: u8 = b'*';
/// The bytes of all values that one task may be lent.
const MOST: usize = 64 << 10;
/// How long the longest spelling of a value is, in lengths of the value: `\u0041` for each byte.
const WIDEST: usize = 6;

/// The names of values that were found.
pub type Found = BTreeSet<String>;

/// Names in a sentence.
pub fn named(found: &Found) -> String {
    found.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// What one task was lent.
#[derive(Debug, Default)]
pub struct Leaks(RwLock<Arc<Watched>>);

#[derive(Default)]
struct Watched {
    values: Vec<(Arc<str>, Secret)>,
    /// Looks for all spellings of all values; none where there is no value.
    machine: Option<NFA>,
    /// For each spelling, which value it is of.
    owners: Vec<usize>,
    /// The bytes that are kept back.
    hold: usize,
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.values.iter().map(|(name, _)| name)).finish()
    }
}

/// Why a value cannot be watched: it cannot be lent then.
#[derive(Debug, thiserror::Error)]
pub enum Unwatchable {
    /// No automaton can be made of it.
    #[error("it cannot be watched for: {0}")]
    Machine(#[from] aho_corasick::BuildError),
    /// There are too many.
    #[error("the task was lent so much that no more can be watched for: {MOST} bytes")]
    TooMuch,
}

impl Leaks {
    /// Looks for a value from now on. `name` is what it is called where it is found.
    ///
    /// # Errors
    /// When no automaton can be made of it.
    pub fn watch(&self, name: &str, value: &Secret) -> Result<(), Unwatchable> {
        let mut watched = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if watched.values.iter().any(|(known, other)| &**known == name && other == value) {
            return Ok(());
        }
        let mut values = watched.values.clone();
        values.push((name.into(), value.clone()));
        let lengths = || values.iter().map(|(_, value)| value.expose().len());
        if lengths().sum::<usize>() > MOST {
            return Err(Unwatchable::TooMuch);
        }
        let hold = (lengths().max().unwrap_or_default() * WIDEST).saturating_sub(1);
        let (mut patterns, mut owners) = (Vec::new(), Vec::new());
        for (owner, (_, value)) in values.iter().enumerate() {
            patterns.extend(spellings(value.expose()));
            owners.resize(patterns.len(), owner);
        }
        // A machine with a table for each state would take hundreds of megabytes for a long value.
        let machine = NFA::builder()
            .match_kind(MatchKind::Standard)
            .ascii_case_insensitive(true)
            .prefilter(false)
            .build(patterns.iter().map(|pattern| pattern.as_slice()))?;
        *watched = Arc::new(Watched { values, machine: Some(machine), owners, hold });
        Ok(())
    }

    /// Whether nothing is looked for.
    pub fn is_empty(&self) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).machine.is_none()
    }

    /// Whose values stand in these bytes.
    pub fn find(&self, bytes: &[u8]) -> Found {
        self.watched().places(bytes).into_iter().map(|(_, name)| name.to_string()).collect()
    }

    /// Covers values, and says whose.
    pub fn cover(&self, bytes: &mut [u8]) -> Found {
        let places = self.watched().places(bytes);
        for (place, _) in &places {
            bytes[place.clone()].fill(COVER);
        }
        places.into_iter().map(|(_, name)| name.to_string()).collect()
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
        Flow { leaks: Arc::clone(self), scan: None, held: Zeroizing::default(), begins: 0, places: Vec::new() }
    }

    fn watched(&self) -> Arc<Watched> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Where a value stands, and whose it is.
type Place = (Range<usize>, Arc<str>);

impl Watched {
    fn places(self: &Arc<Self>, bytes: &[u8]) -> Vec<Place> {
        let mut places = Vec::new();
        if let Some(mut scan) = Scan::of(self) {
            for byte in bytes {
                scan.read(*byte, &mut places);
            }
        }
        places
    }
}

/// Reads bytes one after another, in all views at once.
#[derive(Debug)]
struct Scan {
    watched: Arc<Watched>,
    eyes: Vec<Eye>,
    /// How many bytes were read.
    read: usize,
}

#[derive(Debug)]
struct Eye {
    view: View,
    state: StateID,
    /// Where the last bytes that it saw begin.
    seen: VecDeque<usize>,
}

impl Scan {
    fn of(watched: &Arc<Watched>) -> Option<Self> {
        let state = watched.machine.as_ref()?.start_state(Anchored::No).ok()?;
        let eyes = View::all().map(|view| Eye { view, state, seen: VecDeque::new() }).into();
        Some(Self { watched: Arc::clone(watched), eyes, read: 0 })
    }

    fn read(&mut self, byte: u8, places: &mut Vec<Place>) {
        let Watched { machine: Some(machine), owners, values, .. } = &*self.watched else { return };
        let end = self.read + 1;
        for Eye { view, state, seen } in &mut self.eyes {
            view.take(byte, self.read, &mut |byte, place| {
                if seen.len() == machine.max_pattern_len() {
                    seen.pop_front();
                }
                seen.push_back(place);
                *state = machine.next_state(Anchored::No, *state, byte);
                if machine.is_match(*state) {
                    for index in 0..machine.match_len(*state) {
                        let pattern = machine.match_pattern(*state, index);
                        let start =
                            seen.len().checked_sub(machine.pattern_len(pattern)).and_then(|first| seen.get(first));
                        let name = Arc::clone(&values[owners[pattern.as_usize()]].0);
                        places.extend(start.map(|start| (*start..end, name)));
                    }
                }
            });
        }
        self.read = end;
    }

    /// Whether nothing that was read may be the beginning of a value.
    fn is_between(&self) -> bool {
        let Some(machine) = &self.watched.machine else { return true };
        self.eyes.iter().all(|eye| machine.is_start(eye.state) && eye.view.is_between())
    }
}

/// What comes in pieces, across whose borders values are found as well.
#[derive(Debug)]
pub struct Flow {
    leaks: Arc<Leaks>,
    scan: Option<Scan>,
    /// What came last, as it came.
    held: Zeroizing<Vec<u8>>,
    /// Where that begins.
    begins: usize,
    /// Where values stand that reach into it.
    places: Vec<Place>,
}

impl Flow {
    /// Takes a piece, and gives what can go on, with values covered, and whose they were.
    pub fn pass(&mut self, piece: &[u8]) -> (Vec<u8>, Found) {
        let found = self.take(piece);
        let hold = self.scan.as_ref().map_or(0, |scan| scan.watched.hold);
        (self.release(self.held.len().saturating_sub(hold)), found)
    }

    /// As [`Self::pass`], for what no guest watches: what cannot be the beginning of a value is not kept back.
    pub fn pass_at_once(&mut self, piece: &[u8]) -> (Vec<u8>, Found) {
        let found = self.take(piece);
        let hold = match &self.scan {
            Some(scan) if !scan.is_between() => scan.watched.hold,
            _ => 0,
        };
        (self.release(self.held.len().saturating_sub(hold)), found)
    }

    /// What was kept back, now that nothing follows.
    pub fn end(&mut self) -> Vec<u8> {
        self.release(self.held.len())
    }

    fn take(&mut self, piece: &[u8]) -> Found {
        let watched = self.leaks.watched();
        let mut places = Vec::new();
        if !self.scan.as_ref().is_some_and(|scan| Arc::ptr_eq(&scan.watched, &watched)) {
            // Something was lent meanwhile: what is still here is looked at for it as well.
            self.scan = Scan::of(&watched).map(|scan| Scan { read: self.begins, ..scan });
            if let Some(scan) = &mut self.scan {
                for byte in self.held.iter() {
                    scan.read(*byte, &mut places);
                }
            }
        }
        if let Some(scan) = &mut self.scan {
            for byte in piece {
                scan.read(*byte, &mut places);
            }
        }
        self.held.extend_from_slice(piece);
        let found = places.iter().map(|(_, name)| name.to_string()).collect();
        self.places.append(&mut places);
        found
    }

    /// The first bytes that are held, with values covered.
    fn release(&mut self, count: usize) -> Vec<u8> {
        let end = self.begins + count;
        let mut released: Vec<u8> = self.held.drain(..count).collect();
        for (place, _) in &self.places {
            let (from, to) = (place.start.max(self.begins), place.end.min(end));
            if from < to {
                released[from - self.begins..to - self.begins].fill(COVER);
            }
        }
        self.places.retain(|(place, _)| place.end > end);
        self.begins = end;
        released
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
        let kept = leaks.watched().hold;
        let past = self.written.len().saturating_sub(kept);
        self.written.drain(..past);
        self.end = end;
    }

    fn follows(&self, piece: &[u8], end: u64) -> bool {
        end.checked_sub(piece.len() as u64) == Some(self.end)
    }
}

/// The spellings of a value that no view decodes.
fn spellings(value: &[u8]) -> Vec<Zeroizing<Vec<u8>>> {
    let mut spellings = vec![value.to_vec(), value.iter().rev().copied().collect()];
    for ahead in 0..3 {
        spellings.push(base64_within(&STANDARD_NO_PAD, value, ahead));
        spellings.push(base64_within(&URL_SAFE_NO_PAD, value, ahead));
    }
    spellings.push(value.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect());
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
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
    use proptest::prelude::*;

    const VALUE: &str = "sk-Live/9+a\"b c?d~é";

    fn leaks(value: &[u8]) -> Arc<Leaks> {
        let leaks = Leaks::default();
        leaks.watch("token", &Secret::new(Zeroizing::new(value.to_vec())).unwrap()).unwrap();
        Arc::new(leaks)
    }

    /// What Python's `quote` leaves as it is, and Go's `PathEscape`.
    const PYTHON: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'.').remove(b'-').remove(b'~').remove(b'/');
    const GO: &AsciiSet =
        &PYTHON.add(b'/').remove(b'$').remove(b'&').remove(b'+').remove(b'=').remove(b':').remove(b'@');

    fn wrapped(text: &str, columns: usize) -> String {
        text.as_bytes().chunks(columns).map(|line| String::from_utf8_lossy(line).into_owned() + "\r\n").collect()
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
            percent_encode(value, PYTHON).to_string().into_bytes(),
            percent_encode(value, GO).to_string().into_bytes(),
            value.iter().flat_map(|byte| format!("%{byte:02x}").into_bytes()).collect(),
            text.encode_utf16().flat_map(|unit| format!("\\u{unit:04X}").into_bytes()).collect(),
            text.replace('/', "\\/").replace('"', "\\u0022").replace('+', "\\u002b").into_bytes(),
            percent_encode(STANDARD.encode(value).as_bytes(), NON_ALPHANUMERIC).to_string().into_bytes(),
            wrapped(&STANDARD.encode([b"user:", value].concat()), 7).into_bytes(),
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
        assert_eq!([flow.pass(b"xabcdefghx").0, flow.end()].concat(), b"x********x");
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

    /// What is kept back says nothing of what stands there.
    #[test]
    fn what_is_kept_back_is_the_same_whatever_it_is() {
        let leaks = leaks(b"abcdefgh");
        let borders = |text: &str| {
            let mut flow = leaks.flow();
            let pieces = text.as_bytes().chunks(3).map(|piece| flow.pass(piece).0.len()).collect::<Vec<_>>();
            (pieces, flow.end().len())
        };
        let (right, wrong) = ("-".repeat(60) + "abcdef" + &"-".repeat(60), "-".repeat(60) + "zyxwvu" + &"-".repeat(60));
        assert_eq!(borders(&right), borders(&wrong));
        assert_eq!(borders(&right).1, 8 * WIDEST - 1);
    }

    #[test]
    fn lines_that_nobody_watches_are_not_kept_back_without_need() {
        let leaks = leaks(b"abcdefgh");
        let mut flow = leaks.flow();
        assert_eq!(flow.pass_at_once(b"a line\n").0, b"a line\n");
        assert_eq!(flow.pass_at_once(b"abcd").0, b"");
        assert_eq!(flow.pass_at_once(b"efgh-").0, b"********-");
        assert_eq!(flow.pass_at_once(b"abcd-").0, b"abcd-");
    }

    #[test]
    fn values_that_overlap_themselves_across_pieces_are_covered_whole() {
        let leaks = leaks(b"abcdeabc");
        let mut flow = leaks.flow();
        let mut flowed = flow.pass(b"abcdeabc").0;
        flowed.extend(flow.pass(b"deabc").0);
        flowed.extend(flow.end());
        assert_eq!(flowed, b"*************");
    }

    #[test]
    fn a_task_is_lent_so_much_and_no_more() {
        let leaks = Leaks::default();
        let value = |byte: u8| Secret::new(Zeroizing::new(vec![byte; 16 << 10])).unwrap();
        (b'a'..b'e').for_each(|byte| leaks.watch("v", &value(byte)).unwrap());
        leaks.watch("v", &value(b'a')).unwrap();
        assert!(matches!(leaks.watch("v", &value(b'e')), Err(Unwatchable::TooMuch)));
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
