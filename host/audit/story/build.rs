//! Makes a story of records.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};

use super::super::{Entry, Kind, Record};
use super::{Answer, Approval, End, State, Step, Story};

/// How deep steps stand at most: what is deeper stands beside its call.
const DEEPEST: usize = 48;

impl Story {
    /// The story of a task and its calls, of all their records, in order.
    pub fn of(task: &str, records: &[Record]) -> Self {
        let began = records.first().map(|record| record.entry.at).unwrap_or_default();
        let since = |entry: &Entry| entry.at.saturating_sub(began);
        let mut story = Self {
            task: task.to_owned(),
            began,
            lasted_ms: records.iter().map(|record| since(&record.entry)).max().unwrap_or_default(),
            component: String::new(),
            ground: Map::new(),
            labels: Vec::new(),
            resumed_ms: Vec::new(),
            steps: Vec::new(),
            end: None,
        };
        let mut found = Found::default();
        for record in records {
            let entry = &record.entry;
            match entry.kind {
                Kind::Start if entry.action == "task.run" => {
                    story.component = entry.component.to_string();
                    story.ground = detail(entry);
                    story.labels = texts(&mut story.ground, "labels");
                }
                Kind::Start => story.resumed_ms.push(since(entry)),
                Kind::End => {
                    let (status, text, usage) = (entry.code.to_string(), entry.text.clone(), detail(entry));
                    story.end = Some(End { status, at_ms: since(entry), usage, text });
                }
                Kind::Operator => {}
                Kind::Intent | Kind::Outcome | Kind::Refusal | Kind::Ask | Kind::Answer => {
                    let step = found.step(record, since(entry));
                    step.records.push(record.seq);
                    step.hear(entry, since(entry));
                }
            }
        }
        story.steps = nested(task, found.steps);
        story
    }
}

/// The steps that were found so far, in the order in which they began.
#[derive(Default)]
struct Found<'a> {
    steps: Vec<Step>,
    /// By the task that asked, and their number.
    numbered: HashMap<(&'a str, u64), usize>,
    /// Those of which people were asked and nothing is decided: when a task is taken up again, its question has another
    /// number.
    open: HashMap<Place<'a>, usize>,
    /// Those without a number, by the task and the action.
    unnumbered: HashMap<(&'a str, &'a str), usize>,
}

/// Where and what was asked for: the task, the crossing of its import border, the action and the resource.
type Place<'a> = (&'a str, u64, &'a str, &'a str);

impl<'a> Found<'a> {
    /// The step that a record is about.
    fn step(&mut self, record: &'a Record, at: u64) -> &mut Step {
        let entry = &record.entry;
        let place: Place<'_> = (&entry.task, entry.import, &entry.action, &entry.resource);
        let key = (&*entry.task, entry.effect);
        let known = match entry.effect {
            0 if entry.kind == Kind::Outcome => self.unnumbered.remove(&(&*entry.task, &*entry.action)),
            0 => None,
            _ => self.numbered.get(&key).or_else(|| self.open.get(&place)).copied(),
        };
        let index = known.unwrap_or_else(|| {
            self.steps.push(Step::begun(entry, at));
            self.steps.len() - 1
        });
        if entry.effect > 0 {
            self.numbered.insert(key, index);
            self.steps[index].effect = entry.effect.max(self.steps[index].effect);
        } else if entry.kind == Kind::Intent {
            self.unnumbered.insert((&entry.task, &entry.action), index);
        }
        match entry.kind {
            Kind::Ask => drop(self.open.insert(place, index)),
            Kind::Intent | Kind::Refusal => drop(self.open.remove(&place)),
            _ => {}
        }
        &mut self.steps[index]
    }
}

impl Step {
    fn begun(entry: &Entry, at: u64) -> Self {
        Self {
            effect: entry.effect,
            task: entry.task.to_string(),
            component: entry.component.to_string(),
            action: entry.action.to_string(),
            resource: entry.resource.to_string(),
            text: String::new(),
            state: State::Unknown,
            decision: None,
            rules: Vec::new(),
            approvals: Vec::new(),
            begin_ms: at,
            decided_ms: None,
            end_ms: None,
            outcome: None,
            why: None,
            said: String::new(),
            labels: Vec::new(),
            notes: Map::new(),
            records: Vec::new(),
            child: None,
            steps: Vec::new(),
        }
    }

    /// Another record of it.
    fn hear(&mut self, entry: &Entry, at: u64) {
        let mut said = detail(entry);
        match entry.kind {
            Kind::Ask => {
                let (id, groups) = (text(&mut said, "approval"), texts(&mut said, "groups"));
                let id = id.unwrap_or_default();
                self.approvals.push(Approval { id, groups, asked_ms: at, answers: Vec::new() });
                (self.state, self.text) = (State::Waiting, entry.text.clone());
                self.rules = entry.rules.to_vec();
            }
            Kind::Answer => self.answered(entry, &mut said, at),
            Kind::Intent | Kind::Refusal => {
                (self.decision, self.decided_ms) = (Some(entry.code.to_string()), Some(at));
                self.rules = entry.rules.to_vec();
                self.text.clone_from(&entry.text);
                self.state = State::Unknown;
                if entry.kind == Kind::Refusal {
                    (self.state, self.end_ms, self.why) = (State::Refused, Some(at), why(&mut said));
                }
                // Which approval it was stands beside the question.
                said.remove("approval");
                self.notes.extend(said);
            }
            Kind::Outcome => {
                self.state = match &*entry.code {
                    "done" => State::Done,
                    "quota" | "refused" => State::Refused,
                    "abandoned" => State::Unknown,
                    _ => State::Failed,
                };
                (self.outcome, self.end_ms) = (Some(entry.code.to_string()), Some(at));
                self.decision.get_or_insert_with(|| "allowed".to_owned());
                let gained = texts(&mut said, "labels").into_iter().filter(|label| !self.labels.contains(label));
                let gained: Vec<_> = gained.collect();
                self.labels.extend(gained);
                self.why = why(&mut said);
                self.said.clone_from(&entry.text);
                self.notes.extend(said);
            }
            Kind::Start | Kind::End | Kind::Operator => {}
        }
    }

    fn answered(&mut self, entry: &Entry, said: &mut Map<String, Value>, at: u64) {
        let (id, by, groups) = (text(said, "approval"), text(said, "by"), texts(said, "groups"));
        let id = id.unwrap_or_default();
        let answer = Answer { code: entry.code.to_string(), by, groups, at_ms: at };
        if let Some(asked) = self.approvals.iter_mut().rev().find(|asked| asked.id == id) {
            asked.answers.push(answer);
        } else {
            let (groups, answers) = (Vec::new(), vec![answer]);
            self.approvals.push(Approval { id, groups, asked_ms: at, answers });
        }
    }
}

/// What a record has to say, as far as that is an object.
fn detail(entry: &Entry) -> Map<String, Value> {
    serde_json::from_str(&entry.detail).unwrap_or_default()
}

fn text(said: &mut Map<String, Value>, name: &str) -> Option<String> {
    said.remove(name)?.as_str().map(ToOwned::to_owned)
}

fn texts(said: &mut Map<String, Value>, name: &str) -> Vec<String> {
    let Some(Value::Array(values)) = said.remove(name) else { return Vec::new() };
    values.iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect()
}

/// Why something was refused or failed, with what somebody else said of that.
fn why(said: &mut Map<String, Value>) -> Option<String> {
    let why = ["why", "error", "limit"].into_iter().find_map(|name| text(said, name))?;
    Some(match text(said, "reason") {
        Some(reason) => format!("{why}: {reason}"),
        None => why,
    })
}

/// Puts the steps of child tasks below the calls that they are.
fn nested(root: &str, steps: Vec<Step>) -> Vec<Step> {
    let parents = parents(root, &steps);
    let mut below: HashMap<Option<usize>, Vec<Step>> = HashMap::new();
    // A step comes after the one above it, so from the back all that is below one is there before it is.
    for (index, mut step) in steps.into_iter().enumerate().rev() {
        if let Some(mut own) = below.remove(&Some(index)) {
            own.reverse();
            step.child = own.first().map(|first| first.task.clone());
            step.steps = own;
        }
        below.entry(parents[index]).or_default().push(step);
    }
    let mut top = below.remove(&None).unwrap_or_default();
    top.reverse();
    top
}

/// For each step the one that it stands below. A task does one call after another, so a child task is the last that its caller
/// had begun by then.
fn parents(root: &str, steps: &[Step]) -> Vec<Option<usize>> {
    let mut first: BTreeMap<&str, usize> = BTreeMap::new();
    let mut calls: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, step) in steps.iter().enumerate() {
        first.entry(&step.task).or_insert(index);
        if step.action == "tools.call" && step.decision.as_deref().is_none_or(|decision| decision == "allowed") {
            calls.entry(&step.task).or_default().push(index);
        }
    }
    let mut owners: HashMap<&str, Option<usize>> = HashMap::new();
    let mut depths: HashMap<&str, usize> = HashMap::new();
    // In this order, a task comes before its calls.
    for (task, begun) in first {
        let mut owner = None;
        let mut caller = task;
        while owner.is_none() && caller != root {
            let Some((above, _)) = caller.rsplit_once('/') else { break };
            caller = above;
            let made = calls.get(caller).map(Vec::as_slice).unwrap_or_default();
            owner = made[..made.partition_point(|call| *call < begun)].last().copied();
            // Of a caller that recorded no call, its own caller's stands in.
            owner = owner.or_else(|| owners.get(caller).copied().flatten());
        }
        let depth = depths.get(caller).copied().unwrap_or_default();
        if depth >= DEEPEST {
            owner = owners.get(caller).copied().flatten();
        }
        depths.insert(task, if owner.is_some() { (depth + 1).min(DEEPEST) } else { 0 });
        owners.insert(task, owner);
    }
    let above = |(index, step): (usize, &Step)| {
        let owner = owners.get(step.task.as_str()).copied().flatten();
        owner.filter(|owner| *owner < index)
    };
    steps.iter().enumerate().map(above).collect()
}
