//! The least that recorded tasks needed: their effects that were allowed, folded into sections, with the evidence.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;
use serde_json::Value;

use super::fold::{Need, Section, fold};
use crate::audit::{Kind, Record};
use crate::cli::Failure;
use crate::cli::audit::readable;
use crate::cli::history::Past;
use crate::front::Host;
use crate::label::{Label, Labels};
use crate::policy::judged::Judged;
use crate::task::Usage;

/// What shows that something is needed.
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence {
    uses: usize,
    tasks: BTreeSet<String>,
    /// The first record that says so.
    record: Option<u64>,
}

impl Evidence {
    /// One use.
    pub(super) fn of(task: &str, record: Option<u64>) -> Self {
        Self { uses: 1, tasks: BTreeSet::from([task.to_owned()]), record }
    }

    /// This and that.
    pub(super) fn and(&mut self, other: &Self) {
        self.uses += other.uses;
        self.tasks.extend(other.tasks.iter().cloned());
        self.record = self.record.into_iter().chain(other.record).min();
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use crate::cli::policy::counted;
        write!(f, "{} in {}", counted(self.uses, "use"), counted(self.tasks.len(), "task"))?;
        self.record.map_or(Ok(()), |record| write!(f, ", e.g. record {record}"))
    }
}

/// What one component needed.
#[derive(Default)]
pub(super) struct Part {
    /// What whatever it gives was labelled with.
    pub(super) labels: Labels,
    pub(super) sections: BTreeMap<String, Section>,
}

/// The least that some tasks of a bundle needed.
pub(super) struct Least {
    pub(super) bundle: String,
    pub(super) tasks: usize,
    /// Effects that were refused, and are not in here.
    pub(super) refused: usize,
    /// By component, the agent first.
    pub(super) parts: BTreeMap<String, Part>,
    /// The most that a task used, with its name.
    pub(super) usage: Vec<(String, Usage)>,
    /// Tasks whose end was not recorded: how much fuel and memory they took is not known.
    pub(super) unended: usize,
    /// How deep calls went.
    pub(super) depth: u64,
    /// What results carried.
    pub(super) output: Labels,
}

/// What the record of a task's start says.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Start {
    marks: BTreeMap<String, Labels>,
}

/// What an outcome says of labels.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Gained {
    labels: Labels,
}

impl Least {
    /// What these tasks needed; paths of requests that are alike as one pattern, where `patterns`.
    pub(super) fn of(host: &Host, pasts: &[Past], patterns: bool) -> Result<Self, Failure> {
        let bundle = pasts.first().map(|past| past.listed.bundle.clone()).unwrap_or_default();
        let mut least = Self {
            bundle,
            tasks: pasts.len(),
            refused: 0,
            parts: BTreeMap::from([("agent".to_owned(), Part::default())]),
            usage: Vec::new(),
            unended: 0,
            depth: 0,
            output: Labels::default(),
        };
        let (mut needs, mut carried) = (BTreeMap::new(), Labels::default());
        for past in pasts {
            let records = readable(host.audit.records(Some(&past.listed.task), 0, u64::from(u32::MAX))?)?;
            carried = carried.and(&least.take_records(past, &records));
            least.take(past, &records, &mut needs);
            carried = past.judged.iter().fold(carried, |carried, judged| carried.and(&judged.standing.labels));
        }
        for ((component, key), needs) in needs {
            let section = fold(&key, needs, &carried, patterns);
            least.parts.entry(component).or_default().sections.insert(key, section);
        }
        Ok(least)
    }

    /// What the log says of a task. Gives every label that any of it ever carried.
    fn take_records(&mut self, past: &Past, records: &[Record]) -> Labels {
        let (mut root, mut ever) = (Labels::default(), Labels::default());
        for Record { entry, .. } in records {
            if entry.kind == Kind::Start {
                let start: Start = serde_json::from_str(&entry.detail).unwrap_or_default();
                for (component, labels) in start.marks {
                    let part = self.parts.entry(component).or_default();
                    part.labels = part.labels.and(&labels);
                }
            }
            if !matches!(entry.kind, Kind::Start | Kind::Outcome) {
                continue;
            }
            let Gained { labels } = serde_json::from_str(&entry.detail).unwrap_or_default();
            ever = ever.and(&labels);
            if *entry.task == *past.listed.task {
                root = root.and(&labels);
                let removed = entry.action == "label.remove" && entry.code == "done";
                let name = entry.resource.split('"').nth(1).filter(|_| removed);
                if let Some(label) = name.and_then(|name| name.parse::<Label>().ok()) {
                    root = root.without(&std::iter::once(label).collect());
                }
            }
        }
        if past.listed.status == "succeeded" {
            self.output = self.output.and(&root);
        }
        ever
    }

    /// What the decisions that are kept of a task say.
    fn take(&mut self, past: &Past, records: &[Record], needs: &mut BTreeMap<(String, String), Vec<Need>>) {
        let task = &past.listed.task;
        let said = |judged: &Judged| {
            let of = |record: &&Record| record.entry.effect == judged.effect && record.entry.kind == Kind::Intent;
            records.iter().find(of).map(|record| record.seq)
        };
        let ended = past.listed.usage.clone().and_then(|usage| serde_json::from_value::<Usage>(usage).ok());
        self.unended += usize::from(ended.is_none());
        let last = past.judged.last().map(|judged| judged.standing.usage);
        self.usage.push((task.clone(), ended.or(last).unwrap_or_default()));
        for judged in &past.judged {
            if !judged.ruling.is_allowed() {
                self.refused += 1;
                continue;
            }
            self.depth = self.depth.max(judged.number("depth").unwrap_or_default());
            if judged.entry == Value::Null {
                continue;
            }
            let key = judged.action.split('.').next().unwrap_or_default().to_owned();
            let need = Need::of(judged, Evidence::of(task, said(judged)));
            needs.entry((judged.principal.component.to_string(), key)).or_default().push(need);
        }
    }
}
