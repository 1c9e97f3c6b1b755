//! The audit log: what was decided, in records that are chained by hash.
//!
//! Each effect leaves two records, an *intent* before it happens and an *outcome* after; a refusal leaves one; a task's
//! start and end are recorded as well. A record holds digests and names, no payloads. Text that a guest made stands in
//! one bounded, escaped field, and in none that means something.
//!
//! The chain: `hash(n) = SHA-256("ambit.audit.v1" ‖ hash(n-1) ‖ fields)`, where every field is preceded by its length as
//! eight bytes, big-endian, so that no two records have the same bytes. One chain per home. The stored columns *are* the
//! record: verification computes every hash anew from them, so a change anywhere shows. Who can write the database can
//! also compute a new chain; signed checkpoints that are kept elsewhere are what will show that.

use std::future::Future;
use std::pin::Pin;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::tool::text::is_invisible;

/// The bytes of guest-made text that a record keeps.
const GUEST_TEXT: usize = 1024;

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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
    pub const ALL: [Self; 8] = [
        Self::Start,
        Self::Intent,
        Self::Outcome,
        Self::Refusal,
        Self::Ask,
        Self::Answer,
        Self::End,
        Self::Operator,
    ];

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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// What it is about.
    pub kind: Kind,
    /// Milliseconds since the Unix epoch.
    pub at: u64,
    /// The task or child task, `01K…/2`.
    pub task: String,
    /// The component that asked: `agent`, or the tool's name.
    pub component: String,
    /// Which effect of the whole task it is about, from 1: an outcome has the number of its intent. 0 when it is about none.
    pub effect: u64,
    /// Which crossing of that task's import border it was, from 1; 0 for what the host itself began.
    pub import: u64,
    /// `<grant key>.<verb>`; `task.run` for start and end.
    pub action: String,
    /// Kind and name of what is acted on: `Tool::"search.query"`.
    pub resource: String,
    /// HMAC-SHA-256 of the canonical effect under the task's key, in hex; empty for starts and ends.
    pub arguments: String,
    /// What decided or came of it: `allowed`, a refusal's code, `done`, `failed`, `abandoned`, or the task's status.
    pub code: String,
    /// The names of the policies that determined the decision, in order.
    pub rules: Vec<String>,
    /// What the host has to say beside that, as JSON.
    pub detail: String,
    /// Text that a guest made, bounded and escaped.
    pub text: String,
}

/// A record of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
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
        let seq = self.seq + 1;
        let mut hash = Sha256::new_with_prefix(b"ambit.audit.v1");
        hash.update(self.hash.0);
        let mut field = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        field(&seq.to_be_bytes());
        field(entry.kind.as_str().as_bytes());
        field(&entry.at.to_be_bytes());
        field(entry.task.as_bytes());
        field(entry.component.as_bytes());
        field(&entry.effect.to_be_bytes());
        field(&entry.import.to_be_bytes());
        field(entry.action.as_bytes());
        field(entry.resource.as_bytes());
        field(entry.arguments.as_bytes());
        field(entry.code.as_bytes());
        field(&(entry.rules.len() as u64).to_be_bytes());
        entry.rules.iter().for_each(|rule| field(rule.as_bytes()));
        field(entry.detail.as_bytes());
        field(entry.text.as_bytes());
        Self { seq, hash: Hash(hash.finalize().into()) }
    }
}

/// Makes guest-made text fit for a record: control, format and line-breaking characters escaped, and cut.
pub fn escaped(text: &str) -> String {
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

/// The number that a record got, once the disk has it.
pub type Ticket = Pin<Box<dyn Future<Output = Result<u64, AuditError>> + Send>>;

/// Where records go. Records that one task appends keep their order.
pub trait Ledger: Send + Sync {
    /// Whether the log can be written, as far as is known.
    ///
    /// # Errors
    /// When an earlier record could not be.
    fn health(&self) -> Result<(), AuditError> {
        Ok(())
    }

    /// Appends a record. The ticket may be dropped: the record is written all the same, before any that comes later.
    ///
    /// # Errors
    /// When the log is known to be broken: an earlier record could not be written. The ticket fails when this one cannot.
    fn append(&self, entry: Entry) -> Result<Ticket, AuditError>;
}

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
}

/// Checks a chain, record by record.
#[derive(Debug)]
pub struct Verifier {
    head: Head,
}

impl Default for Verifier {
    fn default() -> Self {
        Self { head: Head::EMPTY }
    }
}

impl Verifier {
    /// Checks the next record, in the order of the numbers.
    ///
    /// # Errors
    /// When the record does not follow the ones before.
    pub fn check(&mut self, record: &Record) -> Result<(), Flaw> {
        let next = self.head.after(&record.entry);
        if record.seq != next.seq {
            return Err(Flaw::Gap { expected: next.seq, found: record.seq });
        }
        if record.hash != next.hash {
            return Err(Flaw::Hash { seq: record.seq, expected: next.hash });
        }
        self.head = next;
        Ok(())
    }

    /// Where the chain stands.
    pub fn head(&self) -> Head {
        self.head
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
            arguments: String::new(),
            code: "allowed".into(),
            rules: vec!["one".into()],
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
        records.iter().try_for_each(|record| verifier.check(record))?;
        Ok(verifier.head())
    }

    #[test]
    fn fields_do_not_run_into_one_another() {
        let (mut one, mut two) = (entry("x"), entry("x"));
        (one.action, one.resource) = ("a".into(), "bc".into());
        (two.action, two.resource) = ("ab".into(), "c".into());
        assert_ne!(Head::EMPTY.after(&one).hash, Head::EMPTY.after(&two).hash);
        (one, two) = (entry("x"), entry("x"));
        (one.rules, one.detail) = (vec!["a".into(), "b".into()], String::new());
        (two.rules, two.detail) = (vec!["a".into()], "b".into());
        assert_ne!(Head::EMPTY.after(&one).hash, Head::EMPTY.after(&two).hash);
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
