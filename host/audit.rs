//! The audit log: what was decided, in records that are chained by hash.
//!
//! Each effect leaves two records, an *intent* before it happens and an *outcome* after; a refusal leaves one; a task's
//! start and end are recorded as well. A record holds digests and names, no payloads. Text that a guest made stands in
//! one bounded, escaped field, and in none that means something.
//!
//! The canonical bytes of a record are `"ambit.audit.v1" ‖ hash(n-1) ‖ fields`, where every field is preceded by its length
//! as eight bytes, big-endian, so that no two records have the same bytes; `hash(n)` is their SHA-256, and they are the
//! record's leaf in the Merkle [`tree`]. One chain per home. The stored columns *are* the record: verification computes
//! every hash anew from them, so a change anywhere shows. Who can write the database can also compute a new chain; signed
//! [checkpoints](checkpoint) that are kept elsewhere show that.

pub mod checkpoint;
pub mod exported;
pub mod note;
pub mod ocsf;
pub mod otlp;
pub mod spans;
pub mod story;
pub mod tail;
pub mod tree;
mod verify;

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use self::verify::{Flaw, Verifier};

use crate::tool::text::is_invisible;

/// The bytes of guest-made text that a record keeps.
const GUEST_TEXT: usize = 1024;

/// The canonical bytes of a record, at most: as many as an entry of `c2sp.org/tlog-tiles` may have.
pub const LONGEST: usize = 65_535;

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A task begins.
    Start,
    /// An effect is allowed, and is about to happen.
    Intent,
    /// How an effect went.
    Outcome,
    /// An effect is refused, and does not happen.
    Refusal,
    /// A person is asked for an approval.
    Ask,
    /// What came of asking: a person's answer, or that there was none.
    Answer,
    /// A task ends.
    End,
    /// The operator changed something that tasks depend on: a secret, a key.
    Operator,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Start, Self::Intent, Self::Outcome, Self::Refusal, Self::Ask, Self::Answer, Self::End, Self::Operator];

    /// The word that is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Intent => "intent",
            Self::Outcome => "outcome",
            Self::Refusal => "refusal",
            Self::Ask => "ask",
            Self::Answer => "answer",
            Self::End => "end",
            Self::Operator => "operator",
        }
    }
}

/// A record before it has its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What it is about.
    pub kind: Kind,
    /// Milliseconds since the Unix epoch.
    pub at: u64,
    /// The task or child task, `01K…/2`.
    pub task: Arc<str>,
    /// The component that asked: `agent`, or the tool's name.
    pub component: Arc<str>,
    /// Which effect of the whole task it is about, from 1: an outcome has the number of its intent. 0 when it is about none.
    pub effect: u64,
    /// Which crossing of that task's import border it was, from 1; 0 for what the host itself began.
    pub import: u64,
    /// `<grant key>.<verb>`; `task.run` for start and end.
    pub action: Cow<'static, str>,
    /// Kind and name of what is acted on: `Tool::"search.query"`.
    pub resource: Arc<str>,
    /// HMAC-SHA-256 of the canonical effect under the task's key, in hex; empty for starts and ends.
    pub arguments: Arc<str>,
    /// What decided or came of it: `allowed`, a refusal's code, `done`, `failed`, `abandoned`, or the task's status.
    pub code: Cow<'static, str>,
    /// The names of the policies that determined the decision, in order.
    pub rules: Arc<[String]>,
    /// What the host has to say beside that, as JSON.
    pub detail: String,
    /// Text that a guest made, bounded and escaped.
    pub text: String,
}

impl Entry {
    /// As much of it as a record can hold. What is too long ends with `…`; the digest of an effect is over all of it.
    pub fn fitted(&self) -> Cow<'_, Self> {
        let texts: [&str; 8] = [
            &self.task,
            &self.component,
            &self.action,
            &self.resource,
            &self.arguments,
            &self.code,
            &self.detail,
            &self.text,
        ];
        let texts = texts.into_iter().map(str::len);
        let rules = self.rules.iter().map(|rule| rule.len() + size_of::<u64>());
        // What is left is the frame: the name of the format, the hash, the numbers, and the lengths.
        if texts.chain(rules).sum::<usize>() <= LONGEST - 1024 {
            return Cow::Borrowed(self);
        }
        let mut fitted = self.clone();
        for (text, most) in [
            (&mut fitted.task, 1 << 10),
            (&mut fitted.component, 1 << 10),
            (&mut fitted.resource, 16 << 10),
            (&mut fitted.arguments, 1 << 10),
        ] {
            *text = cut(text, most).into();
        }
        for text in [&mut fitted.action, &mut fitted.code] {
            *text = cut(text, 1 << 10).into();
        }
        fitted.text = cut(&fitted.text, 2 << 10);
        if fitted.detail.len() > 16 << 10 {
            // It stays JSON, whatever it was.
            fitted.detail = serde_json::json!({ "cut": cut(&fitted.detail, 2 << 10) }).to_string();
        }
        let mut used = 0;
        let fits = fitted.rules.iter().take_while(|rule| {
            used += rule.len() + size_of::<u64>();
            used <= 16 << 10
        });
        let fits = fits.count();
        if fits < fitted.rules.len() {
            fitted.rules = fitted.rules[..fits].iter().cloned().chain(["…".to_owned()]).collect();
        }
        Cow::Owned(fitted)
    }

    /// The canonical bytes of the record with this number that follows the record with that hash.
    pub fn canonical(&self, seq: u64, previous: Hash) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(512);
        bytes.extend_from_slice(b"ambit.audit.v1");
        bytes.extend_from_slice(&previous.0);
        let mut field = |field: &[u8]| {
            bytes.extend_from_slice(&(field.len() as u64).to_be_bytes());
            bytes.extend_from_slice(field);
        };
        field(&seq.to_be_bytes());
        field(self.kind.as_str().as_bytes());
        field(&self.at.to_be_bytes());
        field(self.task.as_bytes());
        field(self.component.as_bytes());
        field(&self.effect.to_be_bytes());
        field(&self.import.to_be_bytes());
        field(self.action.as_bytes());
        field(self.resource.as_bytes());
        field(self.arguments.as_bytes());
        field(self.code.as_bytes());
        field(&(self.rules.len() as u64).to_be_bytes());
        self.rules.iter().for_each(|rule| field(rule.as_bytes()));
        field(self.detail.as_bytes());
        field(self.text.as_bytes());
        bytes
    }
}

/// A text, cut to so many bytes and marked, if it is longer.
fn cut(text: &str, most: usize) -> String {
    let cut = if text.len() > most { "…" } else { "" };
    [&text[..text.floor_char_boundary(most)], cut].concat()
}

/// A record of the log. Exported, it is one line of JSON with these names in this order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Its number, from 1, without gaps.
    pub seq: u64,
    /// What it says.
    #[serde(rename = "record")]
    pub entry: Entry,
    /// Its place in the chain.
    pub hash: Hash,
}

/// A link of the chain: 32 bytes, shown as hex.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// What the first record follows.
    pub const NONE: Self = Self([0; 32]);
}

impl std::fmt::Display for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&HEXLOWER.encode_display(&self.0), f)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let odd = || serde::de::Error::custom("no hash: 64 hexadecimal digits");
        let mut hash = Self::NONE;
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != hash.0.len() || !rest.is_empty() {
            return Err(odd());
        }
        for (byte, pair) in hash.0.iter_mut().zip(pairs) {
            let pair = std::str::from_utf8(pair).ok().filter(|pair| !pair.starts_with('+'));
            *byte = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()).ok_or_else(odd)?;
        }
        Ok(hash)
    }
}

impl Serialize for Hash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The last record's number and hash: 0 and [`Hash::NONE`] when there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The number of the last record.
    pub seq: u64,
    /// Its hash.
    pub hash: Hash,
}

impl Head {
    /// The head of an empty log.
    pub const EMPTY: Self = Self { seq: 0, hash: Hash::NONE };

    /// The head after one more record.
    #[must_use]
    pub fn after(self, entry: &Entry) -> Self {
        self.followed(&entry.canonical(self.seq + 1, self.hash))
    }

    /// The head after a record with these canonical bytes.
    fn followed(self, canonical: &[u8]) -> Self {
        Self { seq: self.seq + 1, hash: Hash(Sha256::digest(canonical).into()) }
    }
}

/// Makes guest-made text fit for a record: control, format and line-breaking characters escaped, and cut.
pub fn escaped(text: &str) -> String {
    // Most texts are short, and have nothing in them that could not be shown.
    if text.len() <= GUEST_TEXT && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.to_owned();
    }
    let mut out = String::new();
    for character in text.chars() {
        let hidden = character.is_control() || matches!(character, '\u{2028}' | '\u{2029}') || is_invisible(character);
        let plain = character == ' ' || !hidden;
        let start = out.len();
        if plain {
            out.push(character);
        } else {
            out.extend(character.escape_unicode());
        }
        if out.len() > GUEST_TEXT {
            out.truncate(start);
            out.push('…');
            break;
        }
    }
    out
}

/// Why a record could not be written. The effect that it was for does not happen.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct AuditError(pub String);

/// The number that a record got and its place in the chain, once the disk has it.
pub type Ticket = Pin<Box<dyn Future<Output = Result<Head, AuditError>> + Send>>;

/// Where records go. Records that one task appends keep their order.
pub trait Ledger: Send + Sync {
    /// When records could not be written: what writes now that they are lost, so that the log can go on. Nothing, when the
    /// log is whole as far as is known.
    fn mend(&self) -> Option<Ticket> {
        None
    }

    /// Appends a record. The ticket may be dropped: the record is written all the same, before any that comes later. The
    /// ticket fails when it cannot be written, or one cannot that was appended before it.
    ///
    /// # Errors
    /// When it is known at once that it will not be written.
    fn append(&self, entry: Entry) -> Result<Ticket, AuditError>;

    /// Appends a record that nobody waits for. That it could not be written is said by the next that can be.
    fn put(&self, entry: Entry) {
        drop(self.append(entry));
    }

    /// As [`Self::put`]; if it cannot be written, it is put to those that are `lost`.
    fn note(&self, entry: Entry, lost: &Lost) {
        if self.append(entry.clone()).is_err() {
            lost.put(entry);
        }
    }
}

/// Records of a task that could not be written yet.
#[derive(Clone, Debug, Default)]
pub struct Lost(Arc<Mutex<Vec<Entry>>>);

impl Lost {
    /// One more.
    pub fn put(&self, entry: Entry) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }

    /// Takes the first.
    pub fn take(&self) -> Option<Entry> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (!entries.is_empty()).then(|| entries.remove(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(text: &str) -> Entry {
        Entry {
            kind: Kind::Intent,
            at: 1,
            task: "01K".into(),
            component: "agent".into(),
            effect: 1,
            import: 1,
            action: "tools.call".into(),
            resource: "Tool::\"a.b\"".into(),
            arguments: Arc::default(),
            code: "allowed".into(),
            rules: ["one".to_owned()].into(),
            detail: String::new(),
            text: text.into(),
        }
    }

    fn chain(texts: &[String]) -> Vec<Record> {
        let mut head = Head::EMPTY;
        texts
            .iter()
            .map(|text| {
                let entry = entry(text);
                head = head.after(&entry);
                Record { seq: head.seq, entry, hash: head.hash }
            })
            .collect()
    }

    fn verify(records: &[Record]) -> Result<Head, Flaw> {
        let mut verifier = Verifier::default();
        for record in records {
            verifier.check(record)?;
        }
        Ok(verifier.head())
    }

    #[test]
    fn fields_do_not_run_into_one_another() {
        let (mut one, mut two) = (entry("x"), entry("x"));
        (one.action, one.resource) = ("a".into(), "bc".into());
        (two.action, two.resource) = ("ab".into(), "c".into());
        assert_ne!(Head::EMPTY.after(&one).hash, Head::EMPTY.after(&two).hash);
        (one, two) = (entry("x"), entry("x"));
        (one.rules, one.detail) = (["a", "b"].map(str::to_owned).into(), String::new());
        (two.rules, two.detail) = (["a".to_owned()].into(), "b".into());
        assert_ne!(Head::EMPTY.after(&one).hash, Head::EMPTY.after(&two).hash);
    }

    #[test]
    fn a_record_is_no_longer_than_an_entry_of_a_log_may_be() {
        let short = entry("short");
        assert_eq!(*short.fitted(), short);
        let huge = "é\u{1}\"".repeat(100_000);
        let mut long = entry(&huge);
        for field in [&mut long.task, &mut long.component, &mut long.resource, &mut long.arguments] {
            *field = huge.as_str().into();
        }
        (long.action, long.code, long.detail) = (huge.clone().into(), huge.clone().into(), huge.clone());
        for rules in [vec![huge.clone()], vec!["r".to_owned(); 100_000], Vec::new()] {
            long.rules = rules.into();
            let fitted = long.fitted().into_owned();
            assert!(fitted.canonical(u64::MAX, Hash::NONE).len() <= LONGEST);
            assert!(fitted.resource.ends_with('…') && fitted.detail.starts_with("{\"cut\":"), "{fitted:?}");
            assert!(long.rules.is_empty() || fitted.rules.last().unwrap() == "…");
            assert_eq!(*fitted.fitted(), fitted);
        }
        // All that fits is kept as it is.
        let mut large = entry("");
        large.detail = "x".repeat(LONGEST - 2048);
        assert_eq!(*large.fitted(), large);
        assert!(large.canonical(u64::MAX, Hash::NONE).len() <= LONGEST);
    }

    #[test]
    fn an_exported_record_is_read_back_as_it_is() {
        let record = chain(&["a\u{1b}“".to_owned()]).remove(0);
        let line = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&line).unwrap(), record);
        for (from, to) in
            [("\"seq\"", "\"sea\""), ("intent", "intend"), ("\"hash\":\"", "\"hash\":\"+"), ("{", "{\"x\":1,")]
        {
            assert!(serde_json::from_str::<Record>(&line.replacen(from, to, 1)).is_err(), "{from}");
        }
    }

    #[test]
    fn guest_text_is_bounded_and_escaped() {
        assert_eq!(escaped("a\u{1b}[31m\nb\u{202e}c"), "a\\u{1b}[31m\\u{a}b\\u{202e}c");
        assert!(escaped(&"x".repeat(5000)).len() <= GUEST_TEXT + '…'.len_utf8());
        assert!(escaped(&"\u{1b}".repeat(5000)).len() <= GUEST_TEXT + '…'.len_utf8());
    }

    proptest! {
        /// A changed, removed or moved record is named by its number.
        #[test]
        fn a_tampered_record_is_named(texts in proptest::collection::vec("[a-z]{0,8}", 2..12), at in any::<prop::sample::Index>(), how in 0..3) {
            let mut records = chain(&texts);
            prop_assert_eq!(verify(&records).unwrap().seq, texts.len() as u64);
            let at = at.index(records.len() - 1);
            let seq = at as u64 + 1;
            let flaw = match how {
                0 => {
                    records[at].entry.text.push('!');
                    let flaw = verify(&records).unwrap_err();
                    let found = if let Flaw::Hash { seq, .. } = flaw { seq } else { 0 };
                    prop_assert_eq!(found, seq);
                    return Ok(());
                }
                1 => {
                    records.remove(at);
                    verify(&records).unwrap_err()
                }
                _ => {
                    records.swap(at, at + 1);
                    verify(&records).unwrap_err()
                }
            };
            prop_assert_eq!(flaw, Flaw::Gap { expected: seq, found: seq + 1 });
        }
    }
}
