//! Decisions, as they are kept: everything that was asked, and what it came to, so that other grants and rules can be asked
//! the same.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

use super::{Attribute, Name, Principal, Resource, RuleNames, Standing, ValueError};
use crate::leak::Leaks;
use crate::task::Usage;

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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Attribute>,
    /// It in the guest's own words, where it has such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<String>,
    /// The section of the grant that covers it, as a manifest writes it, with no more in it than this needs; null where it
    /// needs none.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
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
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<String>,
    /// Why, where no rule says it: the limit that is spent, or what is wrong with the question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
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

/// What was used, without what was not: most of it is nothing, and there are many decisions.
pub(super) fn sparse<S: Serializer>(usage: &Usage, serializer: S) -> Result<S::Ok, S::Error> {
    let Usage { fuel, memory_peak_bytes, wall_ms, waited_ms, tool_calls, effects, refusals, approvals, .. } = *usage;
    let Usage { requests, sent_bytes, received_bytes, .. } = *usage;
    let all = [
        ("fuel", fuel),
        ("memory_peak_bytes", memory_peak_bytes),
        ("wall_ms", wall_ms),
        ("waited_ms", waited_ms),
        ("tool_calls", tool_calls),
        ("effects", effects),
        ("refusals", refusals),
        ("approvals", approvals),
        ("requests", requests),
        ("sent_bytes", sent_bytes),
        ("received_bytes", received_bytes),
    ];
    serializer.collect_map(all.into_iter().filter(|(_, used)| *used > 0))
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
    fn what_is_nothing_is_not_written_and_read_as_nothing() {
        let usage = Usage {
            fuel: 1,
            memory_peak_bytes: 2,
            wall_ms: 3,
            waited_ms: 4,
            tool_calls: 5,
            effects: 6,
            refusals: 7,
            approvals: 8,
            requests: 9,
            sent_bytes: 10,
            received_bytes: 11,
        };
        let without =
            Judged { arguments: None, told: None, entry: serde_json::Value::Null, ..judged(Attribute::Long(1)) };
        for usage in [Usage::default(), Usage { effects: 3, ..Usage::default() }, usage] {
            let judged = Judged { standing: Standing { usage, ..Standing::default() }, ..without.clone() };
            let text = serde_json::to_string(&judged).unwrap();
            assert_eq!(serde_json::from_str::<Judged>(&text).unwrap().standing.usage, usage);
            for nothing in ["null", "\"waited_ms\":0"] {
                assert!(!text.contains(nothing), "{nothing}: {text}");
            }
        }
        // As they were written before.
        let before = r#"{"effect":1,"at":2,"principal":{"task":"t","bundle":"b","component":"c","digest":"d","depth":0,"user":null},
            "standing":{"labels":[],"usage":{"fuel":0,"memory_peak_bytes":7,"wall_ms":0,"waited_ms":0,"tool_calls":0,"effects":1,
            "refusals":0,"approvals":0,"requests":0,"sent_bytes":0,"received_bytes":0},"now":{"secs":1,"nanos":2}},"action":"tools.call",
            "resource":{"kind":"Tool","name":"a.b","attributes":[],"within":[]},"context":[],"arguments":null,"told":null,
            "entry":["a"],"folder":"/","ruling":{"code":"allowed","ground":"rules","rules":[],"groups":[],"why":null}}"#;
        let read: Judged = serde_json::from_str(before).unwrap();
        assert_eq!((read.standing.usage.memory_peak_bytes, &*read.ruling.code), (7, "allowed"));
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
