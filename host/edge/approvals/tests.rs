//! Approvals in a database of their own, at moments that are made up.

use proptest::prelude::*;

use super::*;
use crate::approval::Binding;
use crate::audit::Hash;
use crate::config::Home;
use crate::edge::ledger::AuditLog;
use crate::policy::Ask;

struct World {
    _folder: tempfile::TempDir,
    database: Arc<Database>,
}

const HOUR: u64 = 60 * 60 * 1000;

fn moment(wall: u64, since_boot: u64) -> Moment {
    Moment { wall: Duration::from_millis(wall), since_boot: Duration::from_millis(since_boot), boot: "this".to_owned() }
}

/// When everything is asked.
fn asked() -> Moment {
    moment(1_000_000, 5_000)
}

fn binding(arguments: &str) -> Hash {
    let groups = BTreeSet::from(["finance".to_owned()]);
    Binding {
        task: "01K",
        import: 3,
        component: ["desk", "agent", "sha256:0"],
        action: "tools.call",
        resource: "Tool::\"billing.refund\"",
        arguments,
        labels: &Labels::default(),
        user: None,
        grant: "sha256:1",
        policy: "sha256:2",
        groups: &groups,
    }
    .digest()
}

fn entry(kind: Kind) -> Entry {
    Entry {
        kind,
        at: 1,
        task: "01K".into(),
        component: "agent".into(),
        effect: 1,
        import: 3,
        action: "tools.call".into(),
        resource: "Tool::\"billing.refund\"".into(),
        arguments: Arc::default(),
        code: "".into(),
        rules: Arc::default(),
        detail: String::new(),
        text: String::new(),
    }
}

fn request(digest: Hash) -> Request {
    Request {
        bundle: "desk".into(),
        user: Some("jo".into()),
        arguments: "{}".into(),
        labels: Labels::default(),
        rules: vec!["large".into()],
        ask: Ask {
            groups: BTreeSet::from(["finance".to_owned()]),
            ttl: Duration::from_secs(60),
            deadline: Duration::from_secs(600),
        },
        digest,
        likeness: digest,
        per_hour: 3,
        entry: entry(Kind::Intent),
    }
}

fn person(name: &str, group: &str) -> Person {
    Person { name: name.to_owned(), groups: BTreeSet::from([group.to_owned()]) }
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&Home::open(Some(folder.path())).unwrap()).unwrap();
        Self { _folder: folder, database }
    }

    fn within<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Rows<'_>) -> Result<T, DatabaseError> + Send + 'static,
    ) -> T {
        let done = self.database.write(work);
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(done).unwrap()
    }

    fn open(&self, digest: Hash, now: Moment) -> Result<String, Unasked> {
        self.within(move |transaction| open(transaction, &request(digest), &now))
    }

    fn give(&self, id: &str, verdict: Verdict, by: Person, now: Moment) -> Result<State, AnswerError> {
        let id = id.to_owned();
        self.within(move |transaction| {
            let approval = read(transaction, &id)?.unwrap();
            give(transaction, &approval, verdict, &by, &now)
        })
    }

    fn claim(&self, id: &str, digest: Hash, now: Moment) -> Result<(), ClaimError> {
        let claim = Claim { id: id.to_owned(), digest };
        self.within(move |transaction| Ok(claim_in(transaction, &claim, &now).map(drop)))
    }

    /// An approval that was given a second after it was asked for.
    fn approved(&self, digest: Hash) -> String {
        let id = self.open(digest, asked()).unwrap();
        let given = self.give(&id, Verdict::Approve, person("maria", "finance"), moment(1_001_000, 6_000));
        assert_eq!(given.unwrap(), State::Approved);
        id
    }
}

#[test]
fn it_is_used_once_for_what_it_was_given_for() {
    let world = World::new();
    let (digest, other) = (binding("refund 100"), binding("refund 101"));
    assert_ne!(digest, other);
    let id = world.approved(digest);
    let now = || moment(1_002_000, 7_000);
    assert!(matches!(world.claim(&id, other, now()), Err(ClaimError::Different)));
    assert!(matches!(world.claim("01X", digest, now()), Err(ClaimError::Missing)));
    world.claim(&id, digest, now()).unwrap();
    assert!(matches!(world.claim(&id, digest, now()), Err(ClaimError::NotGiven(State::Used))));
}

#[test]
fn it_expires_by_either_clock() {
    for (what, now, works) in [
        ("in time", moment(1_060_999, 65_999), true),
        ("by the time of day", moment(1_061_000, 7_000), false),
        ("by the time since the start, with the time of day set back", moment(900_000, 66_000), false),
        ("the time of day set back, in time", moment(900_000, 7_000), true),
        ("another start of the machine", Moment { boot: "another".into(), ..moment(1_002_000, 7_000) }, false),
    ] {
        let world = World::new();
        let digest = binding("x");
        let id = world.approved(digest);
        let claimed = world.claim(&id, digest, now);
        assert_eq!(claimed.is_ok(), works, "{what}: {claimed:?}");
        assert!(works || matches!(claimed, Err(ClaimError::Expired)), "{what}: {claimed:?}");
    }
}

#[test]
fn it_is_answered_once_in_time_by_those_who_are_asked() {
    let world = World::new();
    let id = world.open(binding("x"), asked()).unwrap();
    let now = || moment(1_001_000, 6_000);
    let refused = world.give(&id, Verdict::Approve, person("max", "sales"), now());
    assert!(matches!(refused, Err(AnswerError::NotAsked { .. })), "{refused:?}");
    // The task acts on behalf of jo.
    let refused = world.give(&id, Verdict::Approve, person("jo", "finance"), now());
    assert!(matches!(refused, Err(AnswerError::OwnTask(_))), "{refused:?}");
    for late in [moment(1_600_000, 6_000), moment(1_001_000, 605_000)] {
        let refused = world.give(&id, Verdict::Approve, person("maria", "finance"), late);
        assert!(matches!(refused, Err(AnswerError::TooLate(_))), "{refused:?}");
    }
    let digest = binding("x");
    assert!(matches!(world.claim(&id, digest, now()), Err(ClaimError::NotGiven(State::Open))));
    assert_eq!(world.give(&id, Verdict::Deny, person("jo", "finance"), now()).unwrap(), State::Denied);
    let refused = world.give(&id, Verdict::Approve, person("maria", "finance"), now());
    assert!(matches!(refused, Err(AnswerError::NotOpen { state: State::Denied, .. })), "{refused:?}");
    assert!(matches!(world.claim(&id, digest, now()), Err(ClaimError::NotGiven(State::Denied))));
    // Each answer that was about this question is on record, those that were not taken as well.
    let records = AuditLog::new(Arc::clone(&world.database)).records(None, 0, 100).unwrap();
    let codes: Vec<String> = records.into_iter().map(|record| record.unwrap().entry.code.to_string()).collect();
    assert_eq!(codes, ["asked", "refused", "refused", "denied"]);
}

#[test]
fn who_said_no_is_not_asked_again_and_nobody_is_asked_too_often() {
    let world = World::new();
    let id = world.open(binding("a"), asked()).unwrap();
    world.give(&id, Verdict::Deny, person("maria", "finance"), asked()).unwrap();
    // The very same question, of a task that goes on, has its answer; a like one is not asked again.
    assert_eq!(world.open(binding("a"), asked()), Ok(id.clone()));
    let again = world.within(|transaction| {
        let like = Request { digest: binding("later"), ..request(binding("a")) };
        open(transaction, &like, &asked())
    });
    assert_eq!(again, Err(Unasked::DeniedBefore { by: "maria".into(), id }));
    world.open(binding("b"), asked()).unwrap();
    world.open(binding("c"), asked()).unwrap();
    assert_eq!(world.open(binding("d"), asked()), Err(Unasked::TooOften { asked: 3, allowed: 3 }));
    world.open(binding("d"), moment(1_000_001 + HOUR, 5_001 + HOUR)).unwrap();
}

/// A question to finance and security, and what it is bound to.
fn asking_both(world: &World) -> (String, Hash) {
    let digest = binding("x");
    let both = world.within(move |transaction| {
        let mut request = request(digest);
        request.ask.groups.insert("security".to_owned());
        open(transaction, &request, &asked())
    });
    (both.unwrap(), digest)
}

#[test]
fn all_groups_have_to_approve() {
    let world = World::new();
    let (id, digest) = asking_both(&world);
    let now = || moment(1_001_000, 6_000);
    assert_eq!(world.give(&id, Verdict::Approve, person("maria", "finance"), now()).unwrap(), State::Open);
    assert!(matches!(world.claim(&id, digest, now()), Err(ClaimError::NotGiven(State::Open))));
    assert_eq!(world.give(&id, Verdict::Approve, person("sam", "security"), now()).unwrap(), State::Approved);
    world.claim(&id, digest, now()).unwrap();
}

#[test]
fn the_first_of_several_yeses_expires_first() {
    let world = World::new();
    let (id, digest) = asking_both(&world);
    world.give(&id, Verdict::Approve, person("maria", "finance"), moment(1_001_000, 6_000)).unwrap();
    // An approval holds for a minute, and this is five later.
    let later = || moment(1_301_000, 306_000);
    world.give(&id, Verdict::Approve, person("sam", "security"), later()).unwrap();
    let claimed = world.claim(&id, digest, later());
    assert!(matches!(claimed, Err(ClaimError::Expired)), "{claimed:?}");
}

proptest! {
    /// Whatever differs between two requests, one's approval is not the other's.
    #[test]
    fn each_part_of_a_request_is_bound(part in 0_usize..9) {
        let groups = BTreeSet::from(["finance".to_owned()]);
        let labels: Labels = ["pii".parse().unwrap()].into_iter().collect();
        let (more, none, jo) = (BTreeSet::from(["finance".to_owned(), "it".to_owned()]), Labels::default(), person("jo", "x"));
        let base = Binding {
            task: "01K",
            import: 1,
            component: ["a", "b", "c"],
            action: "d",
            resource: "e",
            arguments: "f",
            labels: &none,
            user: None,
            grant: "g",
            policy: "h",
            groups: &groups,
        };
        let other = match part {
            0 => Binding { task: "01K/1", ..base.clone() },
            1 => Binding { import: 2, ..base.clone() },
            2 => Binding { component: ["a", "bc", ""], ..base.clone() },
            3 => Binding { action: "de", resource: "", ..base.clone() },
            4 => Binding { arguments: "F", ..base.clone() },
            5 => Binding { labels: &labels, ..base.clone() },
            6 => Binding { user: Some(&jo), ..base.clone() },
            7 => Binding { grant: "h", policy: "g", ..base.clone() },
            _ => Binding { groups: &more, ..base.clone() },
        };
        prop_assert_ne!(base.digest(), other.digest());
        // Asking for the same at another time is asking for the same.
        prop_assert_eq!(base.likeness() == other.likeness(), part < 2);
    }
}
