//! The log in a database of its own: what comes of records that cannot be written, of checkpoints, and of tampering.

use proptest::prelude::*;
use rusqlite::Connection;
use rusqlite::types::Value;

use super::*;
use crate::config::Home;
use crate::edge::sealing::Sealing;
use crate::settings::audit::AuditSetting;
use crate::settings::secret::KeySetting;

struct World {
    folder: tempfile::TempDir,
    log: AuditLog,
    runtime: tokio::runtime::Runtime,
}

/// A record of so many milliseconds later than now.
fn entry(later: u64) -> Entry {
    let entry = by_operator("secret.set", "Secret::\"a\"", "me");
    Entry {
        at: entry.at + later,
        rules: ["one", "two"].map(str::to_owned).into(),
        detail: "{\"why\":\"x\"}".into(),
        ..entry
    }
}

impl World {
    /// Checkpoints every so many records, or milliseconds.
    fn new(records: u64, milliseconds: u64, key: &KeySetting) -> Self {
        Self::on(tempfile::tempdir().unwrap(), records, milliseconds, key)
    }

    fn on(folder: tempfile::TempDir, records: u64, milliseconds: u64, key: &KeySetting) -> Self {
        let home = Arc::new(Home::open(Some(folder.path())).unwrap());
        let database = Database::open(&home).unwrap();
        let setting = format!("records = {records}\ntime = \"{milliseconds}ms\"\n");
        let setting: AuditSetting = toml::from_str(&setting).unwrap();
        let checkpoints = Checkpoints::new(Arc::new(Sealing::new(&home, key, None)), setting);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        Self { folder, log: AuditLog::new(database).signed(checkpoints), runtime }
    }

    #[expect(clippy::disallowed_methods, reason = "the test changes the file")]
    fn raw(&self) -> Connection {
        let connection = Connection::open(self.folder.path().join("ambit.db")).unwrap();
        connection.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
        connection
    }

    fn change(&self, sql: &str) {
        self.raw().execute_batch(sql).unwrap();
    }

    fn append(&self, at: u64) -> Result<u64, AuditError> {
        let ticket = self.log.append(entry(at)).unwrap();
        self.runtime.block_on(ticket).map(|head| head.seq)
    }

    fn fill(&self, later: std::ops::Range<u64>) {
        for later in later {
            self.append(later).unwrap();
        }
    }

    fn mend(&self) -> Result<u64, AuditError> {
        self.log.mend().map_or(Ok(0), |mended| self.runtime.block_on(mended).map(|head| head.seq))
    }

    fn verdict(&self) -> Result<Verdict, Flaw> {
        self.log.verify(Vec::new(), &[]).unwrap()
    }

    fn checkpoint(&self) -> crate::audit::checkpoint::Checkpoint {
        self.runtime.block_on(self.log.checkpoint()).unwrap()
    }

    fn entries(&self) -> Vec<Entry> {
        self.log.records(None, 0, 10_000).unwrap().into_iter().map(|record| record.unwrap().entry).collect()
    }

    /// Records that records say were lost.
    fn told(&self) -> u64 {
        let lost = self.entries().into_iter().filter(|entry| entry.action == "audit.lost");
        let count =
            |entry: Entry| serde_json::from_str::<serde_json::Value>(&entry.detail).unwrap()["records"].as_u64();
        lost.map(|entry| count(entry).unwrap()).sum()
    }
}

fn file() -> KeySetting {
    KeySetting::File
}

const REFUSE: &str = "CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'the disk is full'); END;";
const ACCEPT: &str = "DROP TRIGGER IF EXISTS full;";
/// Lets commits fail, not statements.
const REFUSE_COMMITS: &str =
    "CREATE TABLE IF NOT EXISTS held (x TEXT REFERENCES task (id) DEFERRABLE INITIALLY DEFERRED);
    CREATE TRIGGER full AFTER INSERT ON audit BEGIN INSERT INTO held VALUES ('none'); END;";

#[test]
fn a_log_that_lost_records_says_so_before_it_goes_on() {
    for refuse in [REFUSE, REFUSE_COMMITS] {
        let world = World::new(1000, 60_000, &file());
        assert_eq!(world.append(1), Ok(1));
        assert!(world.log.mend().is_none());
        world.change(refuse);
        for _ in 0..3 {
            let error = world.append(2).unwrap_err();
            assert!(error.0.contains("full") || error.0.contains("FOREIGN KEY"), "{error}");
            assert!(world.mend().is_err());
        }
        assert_eq!(world.entries().len(), 1);
        world.change(ACCEPT);
        // What asks whether the log is whole has it said.
        assert!(world.mend().is_ok());
        assert!(world.log.mend().is_none());
        assert_eq!((world.entries().len(), world.told()), (2, 3));
        assert_eq!(world.append(3), Ok(3));
        // And so does what merely appends.
        world.change(refuse);
        world.append(4).unwrap_err();
        world.change(ACCEPT);
        assert_eq!(world.append(5), Ok(5));
        assert_eq!(world.told(), 4);
        let lost = &world.entries()[3];
        assert_eq!((&*lost.action, &*lost.code, lost.kind), ("audit.lost", "lost", Kind::Operator));
        assert_eq!(world.verdict().unwrap().head.seq, 5);
    }
}

impl PartialEq for AuditError {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// However failures and records fall together: what was confirmed is there, what was not is counted, in one chain.
    #[test]
    fn nothing_is_lost_unsaid(steps in proptest::collection::vec((0u8..3, 0usize..6), 1..8)) {
        let world = World::new(3, 60_000, &file());
        world.append(0).unwrap();
        let mut confirmed = vec![1];
        let mut failed = 0;
        for (state, count) in steps {
            world.change(ACCEPT);
            world.change([ACCEPT, REFUSE, REFUSE_COMMITS][usize::from(state)]);
            let tickets: Vec<Ticket> = (0..count).map(|_| world.log.append(entry(1)).unwrap()).collect();
            for ticket in tickets {
                match world.runtime.block_on(ticket) {
                    Ok(head) => confirmed.push(head.seq),
                    Err(_) => failed += 1,
                }
            }
        }
        world.change(ACCEPT);
        confirmed.push(world.append(2).unwrap());
        prop_assert_eq!(world.told(), failed);
        let entries = world.entries();
        let own = entries.iter().enumerate().filter(|(_, entry)| entry.action == "secret.set");
        let own: Vec<u64> = own.map(|(at, _)| at as u64 + 1).collect();
        prop_assert_eq!(own, confirmed);
        prop_assert_eq!(world.verdict().unwrap().head.seq, entries.len() as u64);
    }
}

/// The columns of a stored record, and of a stored checkpoint.
const COLUMNS: [(&str, &str, &[&str]); 2] = [
    (
        "audit",
        "seq",
        &[
            "kind",
            "at",
            "task",
            "component",
            "effect",
            "import",
            "action",
            "resource",
            "arguments",
            "code",
            "rules",
            "detail",
            "text",
            "hash",
            "seq",
        ],
    ),
    ("checkpoint", "size", &["frontier", "note", "size"]),
];

/// All values that differ from one by a bit of one byte.
fn neighbours(value: &Value) -> Vec<Value> {
    let flipped = |bytes: &[u8]| -> Vec<Vec<u8>> {
        let flip = |at: usize| {
            let mut bytes = bytes.to_vec();
            bytes[at] ^= 1 << (at % 8);
            bytes
        };
        (0..bytes.len()).map(flip).chain([[bytes, b" "].concat()]).collect()
    };
    match value {
        Value::Integer(number) => (0..64).map(|bit| Value::Integer(number ^ (1_i64 << bit))).collect(),
        Value::Blob(bytes) => flipped(bytes).into_iter().map(Value::Blob).collect(),
        Value::Text(text) => {
            // What is no UTF-8 any more is written as bytes, below.
            let flipped = flipped(text.as_bytes()).into_iter();
            flipped
                .map(|bytes| String::from_utf8(bytes).map_or_else(|odd| Value::Blob(odd.into_bytes()), Value::Text))
                .collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_changed_byte_of_every_column_is_found() {
    let world = World::new(4, 3_600_000, &file());
    world.fill(0..6);
    world.checkpoint();
    assert_eq!(world.verdict().unwrap().checkpoints, 2);
    world.change("DROP TRIGGER audit_is_not_changed; DROP TRIGGER checkpoint_is_not_changed;");
    let raw = world.raw();
    raw.execute_batch("PRAGMA synchronous = OFF;").unwrap();
    let mut found = 0;
    for (table, key, columns) in COLUMNS {
        let mut keys = raw.prepare(&format!("SELECT {key} FROM {table}")).unwrap();
        let keys: Vec<i64> = keys.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        for (row, column) in keys.iter().flat_map(|row| columns.iter().map(move |column| (*row, *column))) {
            let select = format!("SELECT {column} FROM {table} WHERE {key} = ?1");
            let value: Value = raw.query_row(&select, [row], |row| row.get(0)).unwrap();
            let cast = if matches!(value, Value::Text(_)) { "CAST(?1 AS TEXT)" } else { "?1" };
            let update = format!("UPDATE {table} SET {column} = {cast} WHERE {key} = ?2");
            for other in neighbours(&value) {
                let there = if column == key { other.clone() } else { Value::Integer(row) };
                if raw.execute(&update, (&other, row)).is_err() {
                    assert_eq!(column, key, "a number that another row has cannot be given twice");
                    continue;
                }
                assert!(world.verdict().is_err(), "{table}.{column} of {row}: {other:?}");
                raw.execute(&update, (&value, there)).unwrap();
                found += 1;
            }
        }
    }
    assert!(found > 2_000, "{found}");
    assert!(world.verdict().is_ok());
}

#[test]
fn checkpoints_are_made_by_number_and_by_time() {
    const HOUR: u64 = 3_600_000;
    let world = World::new(4, HOUR, &file());
    let covered = |world: &World| world.verdict().map(|verdict| (verdict.checkpoints, verdict.covered)).unwrap();
    world.fill(0..3);
    assert_eq!(covered(&world), (0, 0));
    world.append(3).unwrap();
    // With the record of the key, which was made for it.
    assert_eq!(covered(&world), (1, 5));
    world.append(4).unwrap();
    assert_eq!(covered(&world), (1, 5));
    world.append(HOUR + 60_000).unwrap();
    assert_eq!(covered(&world), (2, 7));
    // A clock that is set back counts as well.
    world.append(0).unwrap();
    assert_eq!(covered(&world), (3, 8));
    // None is made where nothing is new, and each is the same as one that is made from the first record on.
    let newest = world.checkpoint();
    assert_eq!(world.checkpoint(), newest);
    assert_eq!(world.verdict().unwrap().root, newest.root);
    // Another process goes on where this one stood, with the same key.
    let World { folder, log, .. } = world;
    drop(log);
    let world = World::on(folder, 2, HOUR, &file());
    world.append(0).unwrap();
    world.append(0).unwrap();
    let verdict = world.verdict().unwrap();
    assert_eq!((verdict.covered, verdict.head.seq), (newest.size + 2, newest.size + 2));
    assert_eq!(world.entries().iter().filter(|entry| entry.action == "audit.key").count(), 1);
}

#[test]
fn a_key_that_cannot_be_had_stops_nothing() {
    let world = World::new(2, 60_000, &KeySetting::Systemd("nowhere".to_owned()));
    world.fill(0..6);
    let verdict = world.verdict().unwrap();
    assert_eq!((verdict.head.seq, verdict.checkpoints), (6, 0));
    assert!(world.runtime.block_on(world.log.checkpoint()).is_err());
    assert_eq!(world.entries().len(), 6, "nothing is left of the attempts");
    // A key that was there, and is not any more.
    let World { folder, log, .. } = world;
    drop(log);
    let world = World::on(folder, 2, 60_000, &file());
    world.append(7).unwrap();
    assert!(world.verdict().unwrap().checkpoints == 1);
    let World { folder, log, .. } = world;
    drop(log);
    let world = World::on(folder, 2, 60_000, &KeySetting::Systemd("nowhere".to_owned()));
    world.fill(8..12);
    let unsigned = world.verdict().unwrap().unsigned.unwrap();
    assert!(unsigned.contains("systemd"), "{unsigned}");
}

#[test]
fn no_checkpoint_is_signed_of_a_log_that_does_not_hold() {
    let world = World::new(1000, 60_000, &file());
    world.fill(0..6);
    world.change("DROP TRIGGER audit_is_not_changed; UPDATE audit SET text = 'other' WHERE seq = 3;");
    let error = world.runtime.block_on(world.log.checkpoint()).unwrap_err();
    assert!(error.to_string().contains("record 3 was changed"), "{error}");
    let error = world.runtime.block_on(world.log.prove(2)).unwrap_err();
    assert!(error.to_string().contains("record 3 was changed"), "{error}");
}

#[test]
fn what_was_written_is_signed_as_it_was_written() {
    let world = World::new(6, 3_600_000, &file());
    world.fill(0..3);
    world.change("DROP TRIGGER audit_is_not_changed; UPDATE audit SET text = 'other' WHERE seq = 2;");
    world.fill(3..7);
    let verdict = world.verdict();
    assert!(matches!(verdict, Err(Flaw::Hash { seq: 2, .. })), "{verdict:?}");
    world.change("UPDATE audit SET text = '' WHERE seq = 2;");
    assert_eq!(world.verdict().unwrap().checkpoints, 1, "it speaks of the record as it was");
}

#[test]
fn a_log_that_was_emptied_is_not_signed_again() {
    let world = World::new(4, 3_600_000, &file());
    world.fill(0..9);
    let newest = world.checkpoint().size;
    world.change("DROP TRIGGER audit_is_not_deleted; DELETE FROM audit;");
    world.fill(0..9);
    let sizes = world.raw().query_row("SELECT max(size) FROM checkpoint", [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(sizes.cast_unsigned(), newest);
    assert!(world.verdict().is_err());
    assert!(world.runtime.block_on(world.log.checkpoint()).is_err());
}

#[test]
fn processes_that_write_in_turns_make_one_chain_and_sign_it() {
    let world = World::new(3, 3_600_000, &file());
    let home = Arc::new(Home::open(Some(world.folder.path())).unwrap());
    let setting: AuditSetting = toml::from_str("records = 3\ntime = \"1h\"\n").unwrap();
    let checkpoints = Checkpoints::new(Arc::new(Sealing::new(&home, &file(), None)), setting);
    let other = AuditLog::new(Database::open(&home).unwrap()).signed(checkpoints);
    for (number, turns) in [4, 1, 1, 2, 7, 1, 3].into_iter().enumerate() {
        let log = if number % 2 == 0 { &world.log } else { &other };
        for _ in 0..turns {
            let ticket = log.append(entry(0)).unwrap();
            world.runtime.block_on(ticket).unwrap();
        }
        assert!(world.verdict().is_ok(), "after turn {number}");
    }
    let verdict = world.verdict().unwrap();
    // And the record of the key.
    assert_eq!(verdict.head.seq, 20);
    assert!(verdict.checkpoints >= 5 && verdict.covered >= 18, "{verdict:?}");
}

#[test]
fn what_was_undone_is_not_taken_for_the_end_of_the_log() {
    let world = World::new(3, 3_600_000, &file());
    world.fill(0..2);
    let undone = world.log.within(|rows| -> Result<(), AuditError> {
        append(rows, &entry(0))?;
        append(rows, &entry(0))?;
        Err(AuditError("for the test".to_owned()))
    });
    assert!(world.runtime.block_on(undone).is_err());
    assert_eq!(world.append(0), Ok(3));
    world.fill(0..9);
    let verdict = world.verdict().unwrap();
    assert!(verdict.head.seq == 13 && verdict.checkpoints >= 3, "{verdict:?}");
}

#[test]
fn a_record_of_a_checkpoint_is_proved() {
    let world = World::new(1000, 60_000, &file());
    world.fill(0..11);
    let key = world.runtime.block_on(world.log.key()).unwrap();
    for seq in 1..=12 {
        let proof = world.runtime.block_on(world.log.prove(seq)).unwrap();
        assert!(proof.holds() && proof.index == seq - 1 && proof.checkpoint.size == 12);
        proof.checkpoint.verify(&key).unwrap();
    }
    for none in [0, 13] {
        let error = world.runtime.block_on(world.log.prove(none)).unwrap_err();
        assert_eq!(error.to_string(), "the log has 12 records");
    }
}
