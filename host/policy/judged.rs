//! Decisions, as they are kept: everything that was asked, and what it came to, so that other grants and rules can be asked
//! the same.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Attribute, Name, Principal, Resource, RuleNames, Standing, ValueError};
use crate::leak::Leaks;

/// One effect that came to a decision.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Judged {
    /// Its number in the task.
    pub effect: u64,
    /// When, in milliseconds since the Unix epoch.
    pub at: u64,
    /// Who asked.
    pub principal: Principal,
    /// How it stood then.
    pub standing: Standing,
    /// `<grant key>.<verb>`.
    pub action: Name,
    /// What it acts on.
    pub resource: Arc<Resource>,
    /// What rules were told beside.
    pub context: Arc<[(Name, Attribute)]>,
    /// The arguments of a call of a tool, as rules can see them; none where there are none, or their types are not known.
    pub arguments: Option<Attribute>,
    /// It in the guest's own words, where it has such.
    pub told: Option<String>,
    /// The section of the grant that covers it, as a manifest writes it, with no more in it than this needs; null where it
    /// needs none.
    pub entry: serde_json::Value,
    /// The folder that relative paths are relative to.
    pub folder: Arc<Path>,
    /// What it came to.
    pub ruling: Ruling,
}

/// How it was decided.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ruling {
    /// `allowed`, `exhausted`, or the code of a refusal.
    pub code: Name,
    /// What had the last word.
    pub ground: Ground,
    /// The rules that determined it.
    pub rules: RuleNames,
    /// Whom rules asked for.
    pub groups: BTreeSet<String>,
    /// Why, where no rule says it: the limit that is spent, or what is wrong with the question.
    pub why: Option<String>,
}

/// What decides whether an effect may be, in the order of the gate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ground {
    /// The task's budget.
    #[default]
    Limit,
    /// The grant.
    Grant,
    /// What the task was lent.
    Loan,
    /// The labels that may go there.
    Clearance,
    /// The rules.
    Rules,
    /// The operator's decision point.
    Point,
    /// People whom the rules ask for.
    People,
    /// The capability itself: a quota, or what leads out of what is granted.
    Capability,
    /// The host, which could not record it.
    Host,
}

impl Ruling {
    /// Whether it was let happen.
    pub fn is_allowed(&self) -> bool {
        self.code == "allowed"
    }
}

impl Judged {
    /// What rules were told beside, by name.
    pub fn context(&self, name: &str) -> Option<&Attribute> {
        self.context.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// A text of the context.
    pub fn text(&self, name: &str) -> Option<&str> {
        if let Some(Attribute::String(text)) = self.context(name) { Some(text) } else { None }
    }

    /// A number of the context.
    pub fn number(&self, name: &str) -> Option<u64> {
        if let Some(Attribute::Long(number)) = self.context(name) { u64::try_from(*number).ok() } else { None }
    }

    /// It, without what the task was lent.
    #[must_use]
    pub fn covered(mut self, leaks: &Leaks) -> Self {
        if leaks.is_empty() {
            return self;
        }
        let cover = |text: &mut String| *text = leaks.covered(std::mem::take(text));
        let (resource, context) = (Arc::make_mut(&mut self.resource), Arc::make_mut(&mut self.context));
        cover(&mut resource.name);
        self.told.iter_mut().chain(&mut self.ruling.why).for_each(cover);
        let values = resource.attributes.iter_mut().chain(context).map(|(_, value)| value);
        values.chain(&mut self.arguments).for_each(|value| cover_value(value, leaks));
        cover_entry(&mut self.entry, leaks);
        self
    }
}

fn cover_value(value: &mut Attribute, leaks: &Leaks) {
    match value {
        Attribute::String(text) | Attribute::Entity(_, text) => *text = leaks.covered(std::mem::take(text)),
        Attribute::Long(number) | Attribute::Time(number) if !leaks.find(number.to_string().as_bytes()).is_empty() => {
            *value = Attribute::Inexpressible(ValueError::Other("it was covered: the task was lent it".to_owned()));
        }
        Attribute::Set(values) => values.iter_mut().for_each(|value| cover_value(value, leaks)),
        Attribute::Record(fields) => fields.iter_mut().for_each(|(name, value)| {
            *name = leaks.covered(std::mem::take(name));
            cover_value(value, leaks);
        }),
        Attribute::Inexpressible(ValueError::TooLarge(number))
            if !leaks.find(number.to_string().as_bytes()).is_empty() =>
        {
            *number = u64::MAX;
        }
        Attribute::Bool(_) | Attribute::Long(_) | Attribute::Time(_) | Attribute::Inexpressible(_) => {}
    }
}

fn cover_entry(entry: &mut serde_json::Value, leaks: &Leaks) {
    match entry {
        serde_json::Value::String(text) => *text = leaks.covered(std::mem::take(text)),
        serde_json::Value::Array(items) => items.iter_mut().for_each(|item| cover_entry(item, leaks)),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(|field| cover_entry(field, leaks)),
        _ => {}
    }
}

/// Keeps decisions.
pub trait Judgements: Send + Sync {
    /// Keeps one, in place of what was kept of the same effect: on the disk no later than what is written next.
    fn note(&self, judged: Arc<Judged>);
}

/// Keeps none.
#[derive(Clone, Copy, Debug)]
pub struct Unkept;

impl Judgements for Unkept {
    fn note(&self, _judged: Arc<Judged>) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn judged(arguments: Attribute) -> Judged {
        Judged {
            effect: 1,
            at: 2,
            principal: Principal::default(),
            standing: Standing::default(),
            action: "tools.call".into(),
            resource: Arc::new(Resource::new("Tool", "a.b")),
            context: Arc::new([("bytes".into(), Attribute::Long(5))]),
            arguments: Some(arguments),
            told: Some("say swordfish-1".to_owned()),
            entry: serde_json::json!(["swordfish-1"]),
            folder: Path::new("/").into(),
            ruling: Ruling::default(),
        }
    }

    #[test]
    fn what_is_kept_is_read_again() {
        let all = Attribute::Record(vec![
            ("a".to_owned(), Attribute::Set(vec![Attribute::Long(-1), Attribute::Bool(true)])),
            ("b".to_owned(), Attribute::Entity("User".into(), "jo".to_owned())),
            ("c".to_owned(), Attribute::Inexpressible(ValueError::TooLarge(u64::MAX))),
            ("d".to_owned(), Attribute::Time(7)),
        ]);
        let text = serde_json::to_string(&judged(all.clone())).unwrap();
        let read: Judged = serde_json::from_str(&text).unwrap();
        assert_eq!((read.arguments.clone(), read.number("bytes"), read.text("bytes")), (Some(all), Some(5), None));
    }

    #[test]
    fn what_a_task_was_lent_is_not_kept() {
        let leaks = Leaks::default();
        for value in ["swordfish-1", "123456789"] {
            leaks.watch("it", &Secret::new(value.as_bytes().to_vec().into()).unwrap()).unwrap();
        }
        let spoken = Attribute::Record(vec![
            ("a".to_owned(), Attribute::Set(vec![Attribute::String("c3dvcmRmaXNoLTE=".to_owned())])),
            ("b".to_owned(), Attribute::Long(123_456_789)),
        ]);
        let text = serde_json::to_string(&judged(spoken).covered(&leaks)).unwrap();
        assert!(leaks.find(text.as_bytes()).is_empty(), "{text}");
        assert!(serde_json::from_str::<Judged>(&text).is_ok());
    }
}
