//! Labels: marks on data, which whatever touches it carries from then on.
//!
//! Grants label sources (mounts, tools, namespaces of state). A task collects the labels of what it touches, a tool call
//! carries them in and out, stored values keep them. What takes data out of a task is a *sink*, and has a clearance: the
//! labels that it accepts. A set of labels never shrinks but by the effect `label.remove`.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use serde::{Deserialize, Serialize};

/// The longest name of a label, in bytes.
const LONGEST: usize = 64;

/// A label's name: `a`-`z`, `0`-`9` and `-`, at most 64 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Label(Arc<str>);

/// Why a text is no label.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no label: it takes 1 to {LONGEST} of a-z 0-9 -", .0.escape_debug())]
pub struct LabelError(String);

impl TryFrom<String> for Label {
    type Error = LabelError;

    fn try_from(name: String) -> Result<Self, LabelError> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if (1..=LONGEST).contains(&name.len()) && name.chars().all(fits) {
            Ok(Self(name.into()))
        } else {
            Err(LabelError(name.chars().take(LONGEST).collect()))
        }
    }
}

impl std::str::FromStr for Label {
    type Err = LabelError;

    fn from_str(name: &str) -> Result<Self, LabelError> {
        Self::try_from(name.to_owned())
    }
}

impl From<Label> for String {
    fn from(label: Label) -> Self {
        label.0.as_ref().to_owned()
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A set of labels, in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Labels(BTreeSet<Label>);

impl Labels {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a label is among them.
    pub fn contains(&self, label: &Label) -> bool {
        self.0.contains(label)
    }

    /// Whether each is among `others`.
    pub fn is_among(&self, others: &Self) -> bool {
        self.0.is_subset(&others.0)
    }

    /// The labels, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Label> {
        self.0.iter()
    }

    /// Those that are not among `others`.
    #[must_use]
    pub fn without(&self, others: &Self) -> Self {
        Self(self.0.difference(&others.0).cloned().collect())
    }

    /// These and those.
    #[must_use]
    pub fn and(&self, others: &Self) -> Self {
        Self(self.0.union(&others.0).cloned().collect())
    }
}

impl FromIterator<Label> for Labels {
    fn from_iter<T: IntoIterator<Item = Label>>(labels: T) -> Self {
        Self(labels.into_iter().collect())
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, label) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{label}")?;
        }
        Ok(())
    }
}

/// The labels that one store carries.
#[derive(Debug, Default)]
pub struct Carried {
    labels: Mutex<Labels>,
    /// Is told when there are more.
    more: Notify,
}

impl Carried {
    /// A store that begins with these.
    pub fn new(labels: Labels) -> Self {
        Self { labels: Mutex::new(labels), more: Notify::new() }
    }

    /// What it carries now.
    pub fn now(&self) -> Labels {
        self.lock().clone()
    }

    /// It touched data with these labels.
    pub fn gain(&self, labels: &Labels) {
        if !labels.is_empty() {
            self.lock().0.extend(labels.0.iter().cloned());
            self.more.notify_waiters();
        }
    }

    /// Ends when something holds for what it carries.
    pub async fn until(&self, holds: impl Fn(&Labels) -> bool) {
        loop {
            let more = self.more.notified();
            if holds(&self.lock()) {
                return;
            }
            more.await;
        }
    }

    /// A label is taken off. Only the effect `label.remove` may do so.
    pub(crate) fn remove(&self, label: &Label) {
        self.lock().0.remove(label);
    }

    fn lock(&self) -> MutexGuard<'_, Labels> {
        self.labels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(names: &str) -> Labels {
        names.split_whitespace().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn a_label_is_a_short_plain_word() {
        assert_eq!("pii-2".parse::<Label>().unwrap().to_string(), "pii-2");
        for name in ["", "Confidential", "a b", "a\u{202e}", "ä", &"x".repeat(65)] {
            assert!(name.parse::<Label>().is_err(), "{name}");
        }
        let read = serde_json::from_str::<Labels>("[\"b\", \"a\", \"b\"]").unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), "[\"a\",\"b\"]");
        assert!(serde_json::from_str::<Labels>("[\"A\"]").is_err());
    }

    #[test]
    fn sets_of_labels() {
        let (few, many) = (labels("a b"), labels("a b c"));
        assert!(few.without(&many).is_empty());
        assert_eq!(many.without(&few), labels("c"));
        assert_eq!(few.and(&labels("d")).to_string(), "a, b, d");
    }
}
