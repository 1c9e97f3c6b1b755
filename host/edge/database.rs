//! The database: one SQLite file in the home folder for records, tasks and state.
//!
//! One thread writes. It takes what has queued up into one transaction, so that a disk flush (milliseconds) is paid for
//! all of them, and answers after the commit. Each piece of work is done as a whole or not at all, in a savepoint where it
//! is more than one statement: one that fails takes nothing else with it. Other processes may write the same file between transactions; what depends on what is there is
//! read inside of them. Reads go through a second connection that cannot write.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use cap_std::fs::{OpenOptions, OpenOptionsExt as _};
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use tokio::sync::oneshot;

use crate::config::{Home, Instant};

/// How long a process waits for another one's transaction.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long is waited before the next attempt to open it.
const PAUSE: Duration = Duration::from_millis(10);
/// Statements that stay prepared: more than there are.
const STATEMENTS: usize = 256;
/// Pieces of work in one transaction, at most.
const GROUP: usize = 1024;
/// The layout of the tables.
const VERSION: i64 = 6;

const TABLES: &str = "
    CREATE TABLE audit (
        seq       INTEGER PRIMARY KEY,
        kind      TEXT NOT NULL,
        at        INTEGER NOT NULL,
        task      TEXT NOT NULL,
        component TEXT NOT NULL,
        effect    INTEGER NOT NULL,
        import    INTEGER NOT NULL,
        action    TEXT NOT NULL,
        resource  TEXT NOT NULL,
        arguments TEXT NOT NULL,
        code      TEXT NOT NULL,
        rules     TEXT NOT NULL,
        detail    TEXT NOT NULL,
        text      TEXT NOT NULL,
        hash      BLOB NOT NULL
    ) STRICT;
    CREATE INDEX audit_task ON audit (task);
    CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
    CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;

    CREATE TABLE task (
        id          TEXT PRIMARY KEY,
        bundle      TEXT NOT NULL,
        version     TEXT NOT NULL,
        digest      TEXT NOT NULL,
        status      TEXT NOT NULL,
        started     INTEGER NOT NULL,
        ended       INTEGER,
        input       TEXT NOT NULL,
        seed        BLOB NOT NULL,
        entropy     BLOB NOT NULL,
        usage       TEXT,
        error       TEXT,
        audit_first INTEGER,
        audit_last  INTEGER
    ) STRICT;
    -- The key under which a task's arguments are digested. Deleting it unlinks them.
    CREATE TABLE task_key (task TEXT PRIMARY KEY REFERENCES task (id), key BLOB NOT NULL) STRICT;

    CREATE TABLE state (
        bundle    TEXT NOT NULL,
        namespace TEXT NOT NULL,
        key       TEXT NOT NULL,
        value     BLOB NOT NULL,
        PRIMARY KEY (bundle, namespace, key)
    ) STRICT, WITHOUT ROWID;
";

/// What the second layout has beside the first.
const SECOND: &str = "
    -- Labels of the task that wrote a value, as JSON.
    ALTER TABLE state ADD COLUMN labels TEXT NOT NULL DEFAULT '[]';
    -- Labels of all tasks that ever changed something in a namespace: that a key is missing tells something of them.
    CREATE TABLE namespace (
        bundle TEXT NOT NULL,
        name   TEXT NOT NULL,
        labels TEXT NOT NULL,
        PRIMARY KEY (bundle, name)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE approval (
        id             TEXT PRIMARY KEY,
        task           TEXT NOT NULL,
        bundle         TEXT NOT NULL,
        component      TEXT NOT NULL,
        effect         INTEGER NOT NULL,
        import         INTEGER NOT NULL,
        action         TEXT NOT NULL,
        resource       TEXT NOT NULL,
        -- What a person is shown. It is a payload: it may be emptied.
        arguments      TEXT NOT NULL,
        labels         TEXT NOT NULL,
        user           TEXT,
        rules          TEXT NOT NULL,
        groups         TEXT NOT NULL,
        digest         BLOB NOT NULL,
        likeness       BLOB NOT NULL,
        boot           TEXT NOT NULL,
        -- Milliseconds since the Unix epoch, and since the machine was started.
        asked          INTEGER NOT NULL,
        asked_boot     INTEGER NOT NULL,
        deadline       INTEGER NOT NULL,
        ttl            INTEGER NOT NULL,
        state          TEXT NOT NULL,
        -- Who answered for which group, as JSON.
        answers        TEXT NOT NULL DEFAULT '{}',
        answered       INTEGER,
        answered_boot  INTEGER
    ) STRICT;
    CREATE INDEX approval_task ON approval (task);
    CREATE INDEX approval_bundle ON approval (bundle, asked);
    CREATE INDEX approval_state ON approval (state);
";

/// What the third layout has beside the second.
const THIRD: &str = "
    -- Keys that seal what must not be read, each wrapped by a key that is not here.
    CREATE TABLE data_key (
        id       INTEGER PRIMARY KEY,
        -- What wrapped it: `file`, `systemd`, `pkcs11`, with what tells one from another.
        provider TEXT NOT NULL,
        wrapped  BLOB NOT NULL,
        made     INTEGER NOT NULL
    ) STRICT;

    -- Secrets, sealed; name and version are sealed in with the value, so that no row stands in for another.
    CREATE TABLE secret (
        name     TEXT PRIMARY KEY,
        version  INTEGER NOT NULL,
        data_key INTEGER NOT NULL REFERENCES data_key (id),
        sealed   BLOB NOT NULL,
        set_at   INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;

    -- Keys that sign identities: the public half as a JWK, the private half sealed, its name sealed in.
    CREATE TABLE signing_key (
        kid      TEXT PRIMARY KEY,
        public   TEXT NOT NULL,
        data_key INTEGER NOT NULL REFERENCES data_key (id),
        sealed   BLOB NOT NULL,
        made     INTEGER NOT NULL,
        -- When it stopped signing; what it signed before still verifies for a while.
        retired  INTEGER
    ) STRICT, WITHOUT ROWID;
";

/// What the fourth layout has beside the third.
const FOURTH: &str = "
    -- Keys that sign checkpoints of the audit log: the private half sealed, its name sealed in.
    CREATE TABLE checkpoint_key (
        origin   TEXT PRIMARY KEY,
        public   BLOB NOT NULL,
        data_key INTEGER NOT NULL REFERENCES data_key (id),
        sealed   BLOB NOT NULL,
        made     INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;

    -- Signed statements of what the first `size` records are, with what has to be known to append to their tree.
    CREATE TABLE checkpoint (
        size     INTEGER PRIMARY KEY,
        frontier BLOB NOT NULL,
        note     TEXT NOT NULL
    ) STRICT;
    CREATE TRIGGER checkpoint_is_not_changed BEFORE UPDATE ON checkpoint BEGIN SELECT RAISE(ABORT, 'checkpoints are append-only'); END;
    CREATE TRIGGER checkpoint_is_not_deleted BEFORE DELETE ON checkpoint BEGIN SELECT RAISE(ABORT, 'checkpoints are append-only'); END;
";

/// What the fifth layout has beside the fourth.
const FIFTH: &str = "
    CREATE INDEX task_status ON task (status);

    -- What a task needs to go on or to be told again. It holds payloads, and may be deleted.
    CREATE TABLE journal (
        task   TEXT PRIMARY KEY REFERENCES task (id),
        -- How the operator started it, as JSON.
        recipe TEXT NOT NULL,
        -- Why it cannot be told again, if it cannot.
        closed TEXT,
        -- What it changed for good, so that it must not be run again.
        lasting TEXT,
        -- The approval that it is put away for.
        waits  TEXT,
        -- What it came to, as JSON, once it has ended.
        ended  TEXT
    ) STRICT, WITHOUT ROWID;

    -- What it was answered, and where it had asked.
    CREATE TABLE answer (
        task   TEXT NOT NULL REFERENCES journal (task),
        path   TEXT NOT NULL,
        import INTEGER NOT NULL,
        part   INTEGER NOT NULL,
        what   TEXT NOT NULL,
        digest BLOB NOT NULL,
        -- The answer; or where it is long, the digest of the blob that it is. Neither while nothing is known of an effect
        -- that was about to happen.
        answer BLOB,
        blob   BLOB,
        -- Whether it is sealed, in `sealed_answer`, under the name of its place.
        secret INTEGER NOT NULL,
        PRIMARY KEY (task, path, import, part)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE sealed_answer (
        name     TEXT PRIMARY KEY,
        data_key INTEGER NOT NULL REFERENCES data_key (id),
        sealed   BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX answer_blob ON answer (blob) WHERE blob IS NOT NULL;
    -- Long answers, by their SHA-256: those with the same bytes are kept once.
    CREATE TABLE blob (digest BLOB PRIMARY KEY, bytes BLOB NOT NULL) STRICT, WITHOUT ROWID;

    -- What was decided on, in full, as the rules were asked: by the task without its calls, and the effect's number in it.
    CREATE TABLE judged (
        task    TEXT NOT NULL REFERENCES journal (task),
        effect  INTEGER NOT NULL,
        -- Milliseconds since the Unix epoch.
        at      INTEGER NOT NULL,
        -- The question and how it was decided, as JSON.
        content TEXT NOT NULL,
        PRIMARY KEY (task, effect)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX judged_at ON judged (at);
";

/// What the sixth layout has beside the fifth: an index less, which nothing that is asked was found by.
const SIXTH: &str = "
    DROP INDEX judged_at;
";

/// Why the database did not do something.
#[derive(Clone, Debug, thiserror::Error, miette::Diagnostic)]
pub enum DatabaseError {
    /// It could not be opened.
    #[error("cannot open the database `{}`: {reason}", .path.display())]
    #[diagnostic(help("another program may hold it, or the disk may be full; `--home DIR` names another folder"))]
    Open {
        /// Where it is.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// It was written by a version of ambit with other tables.
    #[error("the database `{}` has layout {found}, and this version of ambit knows {VERSION}", .path.display())]
    #[diagnostic(help("use the version of ambit that wrote it, or name another folder with `--home DIR`"))]
    Layout {
        /// Where it is.
        path: PathBuf,
        /// Its layout.
        found: i64,
    },
    /// A statement failed.
    #[error("the database failed: {0}")]
    Statement(Arc<rusqlite::Error>),
    /// The transaction that it was part of failed, or the writer has ended.
    #[error("the database could not be written: {0}")]
    Commit(String),
}

impl From<rusqlite::Error> for DatabaseError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Statement(Arc::new(error))
    }
}

/// What is called once it is known whether the transaction was committed.
type Reply = Box<dyn FnOnce(Result<(), DatabaseError>) + Send>;
/// What is done inside a transaction, or told why there is none.
type Work = Box<dyn FnOnce(Result<&mut Transaction<'_>, DatabaseError>) -> Reply + Send>;

/// What comes of queued work.
pub(super) type Answer<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// The open database.
pub struct Database {
    queue: Option<Sender<Work>>,
    writer: Option<JoinHandle<()>>,
    reader: Mutex<Connection>,
    scrub: Arc<AtomicBool>,
}

impl Database {
    /// Opens the home's database, and makes it when it is not there.
    ///
    /// # Errors
    /// When the file cannot be opened or is of another layout.
    #[expect(clippy::disallowed_methods, reason = "the one place that opens the database")]
    pub fn open(home: &Home) -> Result<Arc<Self>, DatabaseError> {
        let path = home.path().join("ambit.db");
        let failed = |error: rusqlite::Error| DatabaseError::Open { path: path.clone(), reason: error.to_string() };
        // SQLite gives the files beside it the mode of this one.
        let private = OpenOptions::new().write(true).create(true).mode(0o600).to_owned();
        let made = home.dir().open_with("ambit.db", &private);
        made.map_err(|error| DatabaseError::Open { path: path.clone(), reason: error.to_string() })?;
        let mut connection = Connection::open(&path).map_err(failed)?;
        connection.busy_timeout(PATIENCE).map_err(failed)?;
        patiently(|| connection.pragma_update(None, "journal_mode", "WAL")).map_err(failed)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
        connection.pragma_update(None, "foreign_keys", "ON").map_err(failed)?;
        // What is removed was sealed, and is overwritten all the same.
        connection.pragma_update(None, "secure_delete", "ON").map_err(failed)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        let found = patiently(|| lay_out(&mut connection)).map_err(failed)?;
        if found != VERSION {
            return Err(DatabaseError::Layout { path, found });
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let reader = Connection::open_with_flags(&path, flags).map_err(failed)?;
        reader.busy_timeout(PATIENCE).map_err(failed)?;
        reader.set_prepared_statement_cache_capacity(STATEMENTS);
        let (queue, work) = channel();
        let scrub = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&scrub);
        let writer = std::thread::Builder::new().name("ambit-database".to_owned());
        let writer = writer
            .spawn(move || write(&mut connection, &work, &asked))
            .map_err(|error| DatabaseError::Open { path: path.clone(), reason: error.to_string() })?;
        Ok(Arc::new(Self { queue: Some(queue), writer: Some(writer), reader: Mutex::new(reader), scrub }))
    }

    /// Queues work. The future gives its result after the commit; the work is done whether the future is awaited or not,
    /// and before any work that is queued later.
    pub(crate) fn write<T: Send + 'static, E: From<DatabaseError> + Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    ) -> Answer<T, E> {
        self.write_noting(work, |_| ())
    }

    /// As [`Self::write`]; `note` is told what came of it, in the order of the work, also when nobody awaits the future.
    pub(crate) fn write_noting<T: Send + 'static, E: From<DatabaseError> + Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
        note: impl FnOnce(&Result<T, E>) + Send + 'static,
    ) -> Answer<T, E> {
        self.write_one(|transaction| whole(transaction, work), note)
    }

    /// As [`Self::write_noting`], for work that is one statement at most, or sees by itself that it is done as a whole or
    /// not at all: it is spared a savepoint, for which SQLite copies every page that it touches.
    pub(crate) fn write_one<T: Send + 'static, E: From<DatabaseError> + Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
        note: impl FnOnce(&Result<T, E>) + Send + 'static,
    ) -> Answer<T, E> {
        let (reply, answer) = oneshot::channel();
        self.queue(move |transaction| {
            let result = done(transaction, work);
            Box::new(move |committed| {
                let result = committed.map_err(E::from).and(result);
                note(&result);
                // Nobody may wait for the answer.
                let _ = reply.send(result);
            })
        });
        Box::pin(async move { answer.await.unwrap_or_else(|_| Err(E::from(ended()))) })
    }

    /// As [`Self::write_one`], where nobody waits.
    pub(crate) fn note<T: Send + 'static, E: From<DatabaseError> + Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
        note: impl FnOnce(&Result<T, E>) + Send + 'static,
    ) {
        self.queue(move |transaction| {
            let result = done(transaction, work);
            Box::new(move |committed| note(&committed.map_err(E::from).and(result)))
        });
    }

    fn queue(&self, work: impl FnOnce(Result<&mut Transaction<'_>, DatabaseError>) -> Reply + Send + 'static) {
        let work: Work = Box::new(work);
        let unsent = match &self.queue {
            Some(queue) => queue.send(work).err().map(|error| error.0),
            None => Some(work),
        };
        if let Some(work) = unsent {
            work(Err(ended()))(Ok(()));
        }
    }

    /// As [`Self::write`]; when it is done, nothing of what it replaced is left in the files.
    pub(crate) fn write_scrubbing<T: Send + 'static, E: From<DatabaseError> + Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    ) -> Answer<T, E> {
        let scrub = Arc::clone(&self.scrub);
        self.write(move |transaction| {
            scrub.store(true, Ordering::Release);
            work(transaction)
        })
    }

    /// The connection that cannot write.
    pub(crate) fn read(&self) -> MutexGuard<'_, Connection> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has already failed everybody who waited.
            let _ = writer.join();
        }
    }
}

/// Tries again while another process is just making the file: SQLite does not wait by itself for one that changes the
/// journal.
#[expect(clippy::disallowed_methods, reason = "nothing else runs on this thread while the database is opened")]
fn patiently<T>(mut attempt: impl FnMut() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    let start = Instant::now();
    loop {
        match attempt() {
            Err(error) if is_busy(&error) && start.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
            result => return result,
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked};
    matches!(error.sqlite_error_code(), Some(DatabaseBusy | DatabaseLocked))
}

/// Makes the tables in a new file, adds what an older layout lacks, and gives the layout's version.
fn lay_out(connection: &mut Connection) -> rusqlite::Result<i64> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let layouts = [TABLES, SECOND, THIRD, FOURTH, FIFTH, SIXTH];
    let Some(missing) =
        usize::try_from(found).ok().and_then(|found| layouts.get(found..)).filter(|new| !new.is_empty())
    else {
        return Ok(found);
    };
    missing.iter().try_for_each(|tables| transaction.execute_batch(tables))?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    Ok(VERSION)
}

fn ended() -> DatabaseError {
    DatabaseError::Commit("the writer has ended".to_owned())
}

/// Does a piece of work, if its transaction is there.
fn done<T, E: From<DatabaseError>>(
    transaction: Result<&mut Transaction<'_>, DatabaseError>,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let transaction = transaction?;
    // When the disk is full, SQLite may roll back the whole transaction by itself. What is written then would stand alone.
    if transaction.is_autocommit() {
        return Err(E::from(DatabaseError::Commit("what was written with it could not be".to_owned())));
    }
    work(transaction)
}

/// Does work of several statements as a whole, or not at all.
pub(super) fn whole<T, E: From<DatabaseError>>(
    transaction: &Transaction<'_>,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let failed = |error: rusqlite::Error| E::from(DatabaseError::from(error));
    let say = |word: &str| transaction.prepare_cached(word)?.execute([]).map(drop);
    say("SAVEPOINT work").map_err(failed)?;
    match work(transaction) {
        Ok(value) => say("RELEASE work").map_err(failed).map(|()| value),
        Err(error) => {
            transaction.execute_batch("ROLLBACK TO work; RELEASE work").map_err(failed)?;
            Err(error)
        }
    }
}

/// The writer: groups what is queued into transactions until nobody can queue any more. Whatever happens, all who queued
/// something are told.
fn write(connection: &mut Connection, queue: &Receiver<Work>, scrub: &AtomicBool) {
    while let Ok(first) = queue.recv() {
        let more = std::iter::from_fn(|| queue.try_recv().ok()).take(GROUP - 1);
        let group: Vec<Work> = std::iter::once(first).chain(more).collect();
        let mut replies = Vec::new();
        let committed = match connection.transaction_with_behavior(TransactionBehavior::Immediate) {
            Ok(mut transaction) => {
                replies.extend(group.into_iter().map(|work| work(Ok(&mut transaction))));
                transaction.commit().map_err(|error| DatabaseError::Commit(error.to_string()))
            }
            Err(error) => {
                let error = DatabaseError::Commit(error.to_string());
                replies.extend(group.into_iter().map(|work| work(Err(error.clone()))));
                Err(error)
            }
        };
        if committed.is_ok() && scrub.swap(false, Ordering::AcqRel) {
            // Who reads an older state keeps the log that it is in; the next one to close the database takes it away.
            let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        }
        for reply in replies {
            reply(committed.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "the test looks into the file")]
    fn raw(home: &Home) -> Connection {
        Connection::open(home.path().join("ambit.db")).unwrap()
    }

    fn versions(home: &Home) -> (i64, i64, String) {
        let connection = raw(home);
        let version = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
        let approvals = connection.query_row("SELECT count(*) FROM approval", [], |row| row.get(0)).unwrap();
        let labels = connection.query_row("SELECT labels FROM state WHERE key = 'k'", [], |row| row.get(0)).unwrap();
        (version, approvals, labels)
    }

    #[test]
    fn a_home_of_the_first_layout_is_brought_up_to_date_once() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(Some(folder.path())).unwrap();
        let old = raw(&home);
        old.execute_batch(TABLES).unwrap();
        old.execute_batch("INSERT INTO state VALUES ('b', 'n', 'k', x'31'); PRAGMA user_version = 1;").unwrap();
        drop(old);
        for _ in 0..2 {
            drop(Database::open(&home).unwrap());
            assert_eq!(versions(&home), (VERSION, 0, "[]".to_owned()));
        }
    }

    #[test]
    fn a_home_of_a_later_layout_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(Some(folder.path())).unwrap();
        let new = raw(&home);
        new.pragma_update(None, "user_version", VERSION + 1).unwrap();
        assert!(matches!(Database::open(&home), Err(DatabaseError::Layout { .. })));
    }
}
