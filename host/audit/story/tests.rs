//! Stories of logs that are written here, record by record.

use super::super::{Entry, Hash, Kind, Record};
use super::{State, Story};

/// A log of one task, in which everything is said by hand.
#[derive(Default)]
pub(crate) struct Log(pub(crate) Vec<Record>);

impl Log {
    /// One more record, of the task with this path below it, about this effect and this code.
    pub(crate) fn put(&mut self, kind: Kind, at: u64, path: &str, effect: u64, code: &str) -> &mut Entry {
        let action = if matches!(kind, Kind::Start | Kind::End) { "task.run" } else { "tools.call" };
        let entry = Entry {
            kind,
            at: 1_000 + at,
            task: format!("01K{path}").into(),
            component: "agent".into(),
            effect,
            import: effect,
            action: action.to_owned().into(),
            resource: "".into(),
            arguments: "".into(),
            code: code.to_owned().into(),
            rules: [].into(),
            detail: String::new(),
            text: String::new(),
        };
        self.0.push(Record { seq: self.0.len() as u64 + 1, entry, hash: Hash::NONE });
        let last = self.0.len() - 1;
        &mut self.0[last].entry
    }

    /// Its story.
    pub(crate) fn story(&self) -> Story {
        Story::of("01K", &self.0)
    }
}

/// Effects with how deep they stand.
fn shape(story: &Story) -> Vec<(usize, u64)> {
    story.walk().map(|(depth, step)| (depth, step.effect)).collect()
}

#[test]
fn what_a_call_did_stands_below_it() {
    let mut log = Log::default();
    log.put(Kind::Start, 0, "", 0, "").detail = r#"{"labels":["pii"],"user":"sam"}"#.to_owned();
    // A call that is refused takes a number as well: the second is task 2.
    log.put(Kind::Refusal, 1, "", 1, "denied").detail = r#"{"why":"a rule forbids it","reason":"closed"}"#.to_owned();
    log.put(Kind::Intent, 2, "", 2, "allowed");
    log.put(Kind::Intent, 3, "/2", 3, "allowed");
    log.put(Kind::Intent, 4, "/2/1", 4, "allowed").action = "http.request".into();
    let outcome = log.put(Kind::Outcome, 9, "/2/1", 4, "failed");
    (outcome.action, outcome.detail) = ("http.request".into(), r#"{"labels":["x"],"status":500}"#.to_owned());
    log.put(Kind::Outcome, 10, "/2", 3, "done");
    log.put(Kind::Outcome, 11, "", 2, "done");
    log.put(Kind::Intent, 12, "", 5, "allowed");
    log.put(Kind::Refusal, 13, "/3", 6, "quota");
    log.put(Kind::Intent, 14, "", 7, "allowed");
    log.put(Kind::End, 15, "", 0, "succeeded").detail = r#"{"fuel":7}"#.to_owned();
    let story = log.story();
    assert_eq!(shape(&story), [(0, 1), (0, 2), (1, 3), (2, 4), (0, 5), (1, 6), (0, 7)]);
    let steps: Vec<_> = story.walk().map(|(_, step)| step).collect();
    let states: Vec<&str> = steps.iter().map(|step| step.state.as_str()).collect();
    assert_eq!(states, ["refused", "done", "done", "failed", "unknown", "refused", "unknown"]);
    assert_eq!(steps[0].why.as_deref(), Some("a rule forbids it: closed"));
    assert_eq!((steps[3].begin_ms, steps[3].took(), &steps[3].labels[0]), (4, Some(5), &"x".to_owned()));
    assert_eq!((&steps[3].notes["status"], steps[3].notes.len()), (&500.into(), 1));
    assert_eq!((steps[1].child.as_deref(), steps[4].child.as_deref()), (Some("01K/2"), Some("01K/3")));
    assert_eq!((&story.labels[0], &story.ground["user"], story.lasted_ms), (&"pii".to_owned(), &"sam".into(), 15));
    assert_eq!(story.end.unwrap().usage["fuel"], 7);
}

#[test]
fn a_question_that_outlived_its_process_is_one_step() {
    let mut log = Log::default();
    log.put(Kind::Start, 0, "", 0, "");
    let ask = log.put(Kind::Ask, 5, "", 1, "asked");
    ask.detail = r#"{"approval":"A","groups":["ops"],"deadline":9}"#.to_owned();
    log.put(Kind::Answer, 900, "", 1, "refused").detail = r#"{"approval":"A","by":"max","groups":[]}"#.to_owned();
    log.put(Kind::Answer, 1000, "", 1, "approved").detail = r#"{"approval":"A","by":"jo","groups":["ops"]}"#.to_owned();
    let waits = log.story();
    assert_eq!((waits.steps[0].state, waits.steps[0].waited()), (State::Waiting, Some((5, 1000))));
    log.put(Kind::Start, 2000, "", 0, "").action = "task.resume".into();
    // It is asked for again under another number, at the same crossing.
    let intent = log.put(Kind::Intent, 2010, "", 2, "allowed");
    (intent.import, intent.detail) = (1, r#"{"approval":"A"}"#.to_owned());
    log.put(Kind::Outcome, 2015, "", 2, "done").import = 1;
    let story = log.story();
    assert_eq!((shape(&story), &story.resumed_ms), (vec![(0, 2)], &vec![2000]));
    let step = &story.steps[0];
    assert_eq!((step.state, step.waited(), step.took()), (State::Done, Some((5, 2010)), Some(5)));
    assert_eq!((step.records.as_slice(), step.approvals[0].answers.len()), ([2, 3, 4, 6, 7].as_slice(), 2));
    assert!(step.notes.is_empty(), "{:?}", step.notes);
}

#[test]
fn what_is_repeated_because_nobody_knows_is_two_steps() {
    let mut log = Log::default();
    log.put(Kind::Start, 0, "", 0, "");
    log.put(Kind::Intent, 1, "", 1, "allowed").import = 1;
    log.put(Kind::Start, 50, "", 0, "").action = "task.resume".into();
    log.put(Kind::Intent, 51, "", 2, "allowed").import = 1;
    log.put(Kind::Outcome, 52, "", 2, "done").import = 1;
    let story = log.story();
    assert_eq!(story.steps.iter().map(|step| step.state).collect::<Vec<_>>(), [State::Unknown, State::Done]);
    assert!(story.end.is_none());
}

#[test]
fn what_has_no_number_is_a_step_of_its_own() {
    let mut log = Log::default();
    for (kind, code) in [(Kind::Refusal, "denied"), (Kind::Refusal, "denied"), (Kind::Intent, "allowed")] {
        log.put(kind, 1, "", 0, code).action = "task.keep".into();
    }
    log.put(Kind::Outcome, 4, "", 0, "done").action = "task.keep".into();
    let story = log.story();
    assert_eq!(
        story.steps.iter().map(|step| step.state).collect::<Vec<_>>(),
        [State::Refused, State::Refused, State::Done]
    );
}

#[test]
fn whatever_a_log_says_there_is_a_story_of_it() {
    // Deeper than anything runs, an outcome without an intent, a detail that is none, a clock that went back.
    let mut log = Log::default();
    let mut path = String::new();
    for effect in 1..400 {
        log.put(Kind::Intent, 1000 - effect, &path, effect, "allowed").detail = "no JSON".to_owned();
        path.push_str("/1");
    }
    log.put(Kind::Outcome, 0, "/7/7", 999, "done");
    let story = log.story();
    assert_eq!(story.walk().count(), 400);
    assert!(story.walk().all(|(depth, _)| depth <= 48));
    assert_eq!(Story::of("01K", &[]).walk().count(), 0);
}

#[test]
fn a_large_task_takes_no_longer_than_its_length() {
    let mut log = Log::default();
    for effect in 0..20_000 {
        let (path, own) = (format!("/{effect}"), 2 * effect);
        log.put(Kind::Intent, own, "", own + 1, "allowed");
        log.put(Kind::Intent, own, &path, own + 2, "allowed");
        log.put(Kind::Outcome, own, &path, own + 2, "done");
        log.put(Kind::Outcome, own, "", own + 1, "done");
    }
    let story = log.story();
    assert_eq!((story.steps.len(), story.walk().count()), (20_000, 40_000));
    assert!(story.steps.iter().all(|step| step.steps.len() == 1));
}
