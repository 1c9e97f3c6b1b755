//! Questions, answers, where they were asked, and where they are kept.

use std::borrow::Cow;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

/// Where in a task a question was asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The calls that lead to the store: empty for the agent, `2/1` for the first call of the second.
    pub path: Arc<str>,
    /// The crossing of that store's border, from 1; 0 for what the host itself began.
    pub import: u64,
    /// The question of that crossing, from 0.
    pub part: u32,
}

impl Place {
    /// The store's path and the crossing of its border: that at which a strand begins, for what was asked of one.
    pub fn crossing(&self) -> (&str, u64) {
        match self.path.split_once('!') {
            Some((path, begins)) => {
                (path, begins.split('.').next().and_then(|import| import.parse().ok()).unwrap_or(0))
            }
            None => (&self.path, self.import),
        }
    }
}

/// What was asked: a word for it, and a digest of everything that it depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// `state.read`, `poll`.
    pub what: &'static str,
    /// Of its arguments.
    pub digest: [u8; 16],
}

impl Question {
    /// A question with these arguments, in canonical bytes.
    pub fn new(what: &'static str, arguments: &[u8]) -> Self {
        Self::of_parts(what, [arguments])
    }

    /// As [`Self::new`], of arguments that follow one another.
    pub fn of_parts<'a>(what: &'static str, arguments: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let digest = arguments.into_iter().fold(Sha256::new_with_prefix(b"ambit.question.v1"), Sha256::chain_update);
        let digest: [u8; 32] = digest.finalize().into();
        let mut half = [0; 16];
        half.copy_from_slice(&digest[..16]);
        Self { what, digest: half }
    }
}

/// A question with its answer, as they are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Where it was asked.
    pub place: Place,
    /// [`Question::what`].
    pub what: Cow<'static, str>,
    /// [`Question::digest`].
    pub digest: [u8; 16],
    /// The answer, in the encoding of `postcard` 1. None where the effect was about to happen, and nothing is known of it
    /// since.
    pub answer: Option<Vec<u8>>,
    /// Whether the answer is a secret: it is kept sealed.
    pub secret: bool,
}

/// What is written at once, or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Questions with their answers, in place of what was kept at the same places.
    pub rows: Vec<Row>,
    /// Calls that are over: their answers, among the rows, stand for everything that was asked below these paths.
    pub over: Vec<String>,
    /// Why the task cannot be told again from here on, if it cannot.
    pub closed: Option<&'static str>,
    /// What it changes for good, so that it must not be run again up to here.
    pub lasting: Option<&'static str>,
}

/// Where rows are kept. They are in order with everything else that the task has written.
pub trait Keeper: Send + Sync {
    /// Keeps them. If it cannot, nothing that comes later may leave the host.
    fn keep(&self, batch: Batch);
}

/// Keeps nothing.
#[derive(Clone, Copy, Debug)]
pub struct Nowhere;

impl Keeper for Nowhere {
    fn keep(&self, _batch: Batch) {}
}

/// A task asked something else than was recorded: it is not the same component, or not the same host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at import {import} of {store}, {}", self.how())]
pub struct Divergence {
    /// The store, in words.
    pub store: String,
    /// The crossing.
    pub import: u64,
    /// What was recorded there, if anything.
    pub recorded: Option<String>,
    /// What is asked now, if anything.
    pub asked: Option<&'static str>,
}

impl Divergence {
    fn how(&self) -> String {
        match (&self.recorded, self.asked) {
            (Some(recorded), Some(asked)) if recorded == asked => {
                format!("`{asked}` was recorded with other arguments")
            }
            (Some(recorded), Some(asked)) => format!("`{recorded}` was recorded, and `{asked}` is asked"),
            (None, Some(asked)) => format!("nothing was recorded, and `{asked}` is asked"),
            (Some(recorded), None) => format!("`{recorded}` was recorded, and nothing is asked"),
            (None, None) => "the recorded answer cannot be read".to_owned(),
        }
    }
}

/// Why there is no answer to go on with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unrecalled {
    /// It is another question than the recorded one.
    #[error("it diverges from what was recorded: {0}")]
    Diverged(#[from] Divergence),
    /// A replay came to the end of what was recorded.
    #[error("what was recorded ends here")]
    Ended,
    /// The answer was a secret, and its time is over.
    #[error("the answer of `{0}` was lent for a time that is over")]
    Over(&'static str),
    /// The task waits for a person, and is put away meanwhile.
    #[error("it waits for the approval {0}")]
    Suspended(String),
}

/// What becomes of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They are recorded.
    Record,
    /// Recorded ones are given; after those, the task goes on.
    Resume,
    /// Recorded ones are given, and there are no others.
    Replay,
}

/// What a question comes to.
#[derive(Debug)]
pub enum Found<A> {
    /// It was answered before.
    Recalled(A),
    /// It is asked for the first time: the answer goes there.
    New(Slot),
}

/// Where an answer goes.
#[derive(Clone, Debug)]
#[must_use = "an answer that is not kept cannot be given again"]
pub struct Slot {
    pub(super) place: Place,
    pub(super) question: Question,
    /// Whether the effect happened before is not known, and the operator does not want it to be repeated.
    pub unknown: bool,
    pub(super) secret: bool,
}

impl Slot {
    pub(super) fn new(place: Place, question: Question) -> Self {
        Self { place, question, unknown: false, secret: false }
    }

    /// The same place, for another question.
    pub(crate) fn asking(self, question: Question) -> Self {
        Self { question, ..self }
    }

    /// The same, for an answer that is a secret.
    pub fn sealed(self) -> Self {
        Self { secret: true, ..self }
    }
}

/// What a question comes to whose answer is mostly the same.
#[derive(Debug)]
pub enum Exception<A> {
    /// It was answered otherwise.
    Recalled(A),
    /// It had the usual answer.
    Usual,
    /// It is asked for the first time.
    New(Slot),
}
