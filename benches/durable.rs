//! What a durable effect costs beside the bare database doing the same writes.
//!
//! `cargo bench --bench durable`. An effect that leaves the host writes four rows: that it is about to happen, and its intent,
//! which it waits for; its answer, and its outcome, which it does not. So do 1 task and 100 concurrent ones here, through the
//! journal and the log of a home; the bare database writes the same rows into the same tables with the same settings, in one
//! transaction for each effect, or for each 100. Rounds alternate; what counts is the ratio of medians.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    missing_docs,
    reason = "a bench is not the product"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ambit::audit::{Entry, Kind, Ledger as _};
use ambit::config::Home;
use ambit::edge::database::Database;
use ambit::edge::journal::Journal;
use ambit::edge::ledger::AuditLog;
use ambit::edge::sealing::Sealing;
use ambit::edge::tasks::{Started, TaskList};
use ambit::recorder::{Batch, Place, Row};
use ambit::settings::secret::KeySetting;
use ambit::task::{Seed, Seeds};
use rusqlite::Connection;

const ROUNDS: usize = 7;
/// Effects of one round.
const ONE: u32 = 400;
const MANY: u32 = 20_000;
/// Tasks that run at once.
const TASKS: u32 = 100;

fn entry(kind: Kind, effect: u64) -> Entry {
    Entry {
        kind,
        at: 1_795_000_000_000 + effect,
        task: "01M85000000000000000000000/1".into(),
        component: "billing".into(),
        effect,
        import: effect,
        action: "http.request".into(),
        resource: "Host::\"billing.example.net\"".into(),
        arguments: "0".repeat(64).into(),
        code: if kind == Kind::Intent { "allowed" } else { "done" }.into(),
        rules: ["billing-service".to_owned()].into(),
        detail: String::new(),
        text: "POST https://billing.example.net/v1/refunds".to_owned(),
    }
}

fn row(number: u64, answer: Option<Vec<u8>>) -> Batch {
    let place = Place { path: "1".into(), import: number, part: 0 };
    let row = Row { place, what: "http.request".into(), digest: [7; 16], answer, secret: false };
    Batch { rows: vec![row], ..Batch::default() }
}

struct World {
    log: AuditLog,
    journal: Journal,
    tasks: TaskList,
}

impl World {
    fn at(folder: &Path) -> Self {
        let home = Arc::new(Home::open(Some(folder)).unwrap());
        let database = Database::open(&home).unwrap();
        let log = AuditLog::new(Arc::clone(&database));
        let sealing = Arc::new(Sealing::new(&home, &KeySetting::File, None));
        Self { journal: Journal::new(Arc::clone(&database), log.clone(), sealing), log, tasks: TaskList::new(database) }
    }

    async fn start(&self, task: &str) {
        let seed = || Seed::from([1; 32]);
        let started = Started {
            task: task.into(),
            bundle: "bench".into(),
            version: "".into(),
            digest: "".into(),
            input: String::new(),
            seeds: Seeds { fixed: seed(), granted: seed() },
            key: [2; 32],
            recipe: serde_json::Value::Null,
        };
        self.tasks.start(started).await.unwrap();
    }

    /// The effects of one task, one after another.
    async fn task(&self, name: &str, effects: u32) {
        let keeper = self.journal.keeper(name);
        for number in 1..=u64::from(effects) {
            keeper.keep(row(number, None));
            self.log.append(entry(Kind::Intent, number)).unwrap().await.unwrap();
            keeper.keep(row(number, Some(vec![0; 100])));
            drop(self.log.append(entry(Kind::Outcome, number)).unwrap());
        }
    }

    /// So many tasks at once, and all that they have written on the disk.
    fn run(&self, tasks: u32, effects: u32, round: usize) -> Duration {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let local = tokio::task::LocalSet::new();
        let names: Vec<String> = (0..tasks).map(|task| format!("{round}-{tasks}-{task}")).collect();
        runtime.block_on(async {
            for name in &names {
                self.start(name).await;
            }
        });
        let begun = Instant::now();
        local.block_on(&runtime, async {
            let world =
                Arc::new(World { log: self.log.clone(), journal: self.journal.clone(), tasks: self.tasks.clone() });
            let mut running = tokio::task::JoinSet::new();
            for name in names {
                let world = Arc::clone(&world);
                running.spawn_local(async move { world.task(&name, effects / tasks).await });
            }
            while running.join_next().await.is_some() {}
            self.log.append(entry(Kind::End, 0)).unwrap().await.unwrap();
        });
        begun.elapsed()
    }
}

/// The same rows by the bare database, so many effects in one transaction.
fn bare(database: &mut Connection, effects: u32, together: u32) -> Duration {
    let last: i64 = database.query_row("SELECT coalesce(max(seq), 0) FROM audit", [], |row| row.get(0)).unwrap();
    let begun = Instant::now();
    for group in 0..effects / together {
        let transaction = database.transaction().unwrap();
        for one in 0..together {
            let number = i64::from(group * together + one);
            for (offset, kind, answer) in [(1, "intent", None), (2, "outcome", Some(vec![0_u8; 100]))] {
                let answers =
                    "INSERT OR REPLACE INTO answer VALUES ('bare', '1', ?1, 0, 'http.request', ?2, ?3, NULL, 0)";
                transaction.prepare_cached(answers).unwrap().execute((last + number, [7_u8; 16], answer)).unwrap();
                let records = "INSERT INTO audit VALUES (?1, ?2, ?3, '01M85000000000000000000000/1', 'billing', ?4, ?4,
                    'http.request', 'Host::\"billing.example.net\"', ?5, 'allowed', '[\"billing-service\"]', '',
                    'POST https://billing.example.net/v1/refunds', ?6)";
                transaction
                    .prepare_cached(records)
                    .unwrap()
                    .execute((last + 2 * number + offset, kind, number, number, "0".repeat(64), [9_u8; 32]))
                    .unwrap();
            }
        }
        transaction.commit().unwrap();
    }
    begun.elapsed()
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}

fn main() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
    let world = World::at(&ours);
    drop(World::at(&theirs));
    let mut database = Connection::open(theirs.join("ambit.db")).unwrap();
    database.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = OFF;").unwrap();
    let mut times: [Vec<Duration>; 4] = Default::default();
    for round in 0..ROUNDS {
        times[0].push(bare(&mut database, ONE, 1));
        times[1].push(world.run(1, ONE, round));
        times[2].push(bare(&mut database, MANY, TASKS));
        times[3].push(world.run(TASKS, MANY, round));
    }
    let [bare_one, one, bare_many, many] = times.map(median);
    let each = |effects: u32, time: f64| f64::from(effects) / time;
    println!("                       1 task              {TASKS} tasks");
    println!("bare database   {:>10.0} effects/s  {:>10.0} effects/s", each(ONE, bare_one), each(MANY, bare_many));
    println!("ambit           {:>10.0} effects/s  {:>10.0} effects/s", each(ONE, one), each(MANY, many));
    println!("ratio of times  {:>10.2}            {:>10.2}", one / bare_one, many / bare_many);
}
