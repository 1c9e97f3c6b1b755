//! The database: one SQLite file in the home folder for records, tasks and state.
//!
//! One thread writes. It takes what has queued up into one transaction, so that a disk flush (milliseconds) is paid for
//! all of them, and answers after the commit. When something comes that nobody waits for yet, it waits a
//! moment for more. Each piece of work is done as a whole or not at all, in a savepoint where it
//! is more than one statement: one that fails takes nothing else with it. Other processes may write the same file between
//! transactions; what depends on what is there is read inside of them. Reads go through a second connection that cannot
//! write.

mod haste;
mod layout;
mod rows;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use cap_std::fs::{OpenOptions, OpenOptionsExt as _};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use self::haste::Haste;
use self::layout::{VERSION, lay_out};
pub(crate) use self::rows::{Known, Put, Rows, put};

use crate::config::{Home, Instant};

/// How long a process waits for another one's transaction.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long is waited before the next attempt to open it.
const PAUSE: Duration = Duration::from_millis(10);
/// Statements that stay prepared: more than there are.
const STATEMENTS: usize = 256;
/// Pages of the log that are taken into the database together: what was written several times since is then written once, and
/// the disk flushed once for all of them.
const TAKEN: i64 = 4096;
/// Pieces of work in one transaction, at most.
const GROUP: usize = 1024;
/// Pages that the writer keeps in memory, in KiB.
const CACHE: i64 = 16 << 10;
/// Pages that may be left in the log when the database is closed. To read one again costs a few microseconds, and to take
/// them over as much as some hundred of them.
const LOGGED: i64 = 64;

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
type Work = Box<dyn FnOnce(Result<&mut Rows<'_>, DatabaseError>) -> Reply + Send>;

/// What comes of queued work.
pub(super) type Answer<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// The open database.
pub struct Database {
    queue: Option<Sender<Work>>,
    writer: Option<JoinHandle<()>>,
    reader: Mutex<Connection>,
    haste: Arc<Haste>,
    scrub: Arc<AtomicBool>,
}

/// A database that is being opened, on the thread that will write it.
pub struct Opening {
    queue: Sender<Work>,
    writer: JoinHandle<()>,
    reader: Receiver<Result<Connection, DatabaseError>>,
    haste: Arc<Haste>,
    scrub: Arc<AtomicBool>,
}

impl Opening {
    /// The open database.
    ///
    /// # Errors
    /// When the file cannot be opened or is of another layout.
    pub fn opened(self) -> Result<Arc<Database>, DatabaseError> {
        let Self { queue, writer, reader, haste, scrub } = self;
        let reader = Mutex::new(reader.recv().unwrap_or_else(|_| Err(ended()))?);
        Ok(Arc::new(Database { queue: Some(queue), writer: Some(writer), reader, haste, scrub }))
    }
}

impl Database {
    /// Opens the home's database, and makes it when it is not there.
    ///
    /// # Errors
    /// When the file cannot be opened or is of another layout.
    pub fn open(home: &Home) -> Result<Arc<Self>, DatabaseError> {
        Self::opening(home)?.opened()
    }

    /// Begins to open the home's database: it takes longer than anything else that is opened.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn opening(home: &Home) -> Result<Opening, DatabaseError> {
        let path = home.path().join("ambit.db");
        let failed = |error: std::io::Error| DatabaseError::Open { path: path.clone(), reason: error.to_string() };
        // SQLite gives the files beside it the mode of this one.
        let private = OpenOptions::new().write(true).create(true).mode(0o600).to_owned();
        home.dir().open_with("ambit.db", &private).map_err(failed)?;
        let ((queue, work), (told, reader)) = (channel(), channel());
        let (haste, scrub) = (Arc::new(Haste::default()), Arc::new(AtomicBool::new(false)));
        let (asked, waited, file) = (Arc::clone(&scrub), Arc::clone(&haste), path.clone());
        let writer = std::thread::Builder::new().name("ambit-database".to_owned()).spawn(move || {
            match open_both(&file) {
                Ok((mut connection, reader)) => {
                    // Who does not wait for it any more drops the queue as well.
                    let _ = told.send(Ok(reader));
                    let is_clean = write(&mut connection, &work, &waited, &asked);
                    tidy(&connection, is_clean);
                }
                Err(error) => drop(told.send(Err(error))),
            }
        });
        let writer = writer.map_err(failed)?;
        haste.on(writer.thread().clone());
        Ok(Opening { queue, writer, reader, haste, scrub })
    }

    /// Queues work. The future gives its result after the commit; the work is done whether the future is awaited or not,
    /// and before any work that is queued later.
    pub(crate) fn write<T: Send + 'static, E: From<DatabaseError> + Send + 'static>(
        &self,
        work: impl FnOnce(&Rows<'_>) -> Result<T, E> + Send + 'static,
    ) -> Answer<T, E> {
        self.write_one((), |(), rows| whole(rows, work), |(), _| ())
    }

    /// As [`Self::write`], for work that is one statement at most, or sees by itself that it is done as a whole or not at all:
    /// it is spared a savepoint, for which SQLite copies every page that it touches. `note` is told what came of it, in the
    /// order of the work, also when nobody awaits the future; `own` is what both share.
    pub(crate) fn write_one<S: Send + 'static, T: Send + 'static, E: From<DatabaseError> + Send + 'static>(
        &self,
        own: S,
        work: impl FnOnce(&mut S, &Rows<'_>) -> Result<T, E> + Send + 'static,
        note: impl FnOnce(S, &Result<T, E>) + Send + 'static,
    ) -> Answer<T, E> {
        let (reply, answer) = oneshot::channel();
        self.note(own, work, move |own, result| {
            note(own, &result);
            // Nobody may wait for the answer.
            let _ = reply.send(result);
        });
        let haste = Arc::clone(&self.haste);
        Box::pin(async move {
            let mut answer = answer;
            match answer.try_recv() {
                Ok(answer) => return answer,
                Err(TryRecvError::Closed) => return Err(E::from(ended())),
                Err(TryRecvError::Empty) => {}
            }
            // From here on, somebody waits.
            haste.make();
            answer.await.unwrap_or_else(|_| Err(E::from(ended())))
        })
    }

    /// As [`Self::write_one`], where nobody waits.
    pub(crate) fn note<S: Send + 'static, T: Send + 'static, E: From<DatabaseError> + Send + 'static>(
        &self,
        mut own: S,
        work: impl FnOnce(&mut S, &Rows<'_>) -> Result<T, E> + Send + 'static,
        note: impl FnOnce(S, Result<T, E>) + Send + 'static,
    ) {
        self.queue(move |transaction| {
            let result = done(transaction, |rows| work(&mut own, rows));
            Box::new(move |committed| note(own, committed.map_err(E::from).and(result)))
        });
    }

    fn queue(&self, work: impl FnOnce(Result<&mut Rows<'_>, DatabaseError>) -> Reply + Send + 'static) {
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
        work: impl FnOnce(&Rows<'_>) -> Result<T, E> + Send + 'static,
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
        self.haste.make();
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has already failed everybody who waited.
            let _ = writer.join();
        }
    }
}

/// The connection that writes, and the one that cannot.
#[expect(clippy::disallowed_methods, reason = "the one place that opens the database")]
fn open_both(path: &Path) -> Result<(Connection, Connection), DatabaseError> {
    let failed = |error: rusqlite::Error| DatabaseError::Open { path: path.to_owned(), reason: error.to_string() };
    let mut connection = Connection::open(path).map_err(failed)?;
    connection.busy_timeout(PATIENCE).map_err(failed)?;
    patiently(|| connection.pragma_update(None, "journal_mode", "WAL")).map_err(failed)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
    connection.pragma_update(None, "foreign_keys", "ON").map_err(failed)?;
    // What is removed was sealed, and is overwritten all the same.
    connection.pragma_update(None, "secure_delete", "ON").map_err(failed)?;
    // What one transaction touches fits, and is written once.
    connection.pragma_update(None, "cache_size", -CACHE).map_err(failed)?;
    connection.pragma_update(None, "wal_autocheckpoint", TAKEN).map_err(failed)?;
    // Whether the log is taken in at the end is for `tidy` to say.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    let found = patiently(|| lay_out(&mut connection)).map_err(failed)?;
    if found != VERSION {
        return Err(DatabaseError::Layout { path: path.to_owned(), found });
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let reader = Connection::open_with_flags(path, flags).map_err(failed)?;
    reader.busy_timeout(PATIENCE).map_err(failed)?;
    reader.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok((connection, reader))
}

/// Takes the log into the database where it has grown, for who opens the database next reads all of it before anything else;
/// or where something is in it that must not be there any more. What another process reads just then stays, until the
/// log is written over.
fn tidy(connection: &Connection, is_clean: bool) {
    let checkpoint = |mode: &str| {
        let asked = format!("PRAGMA wal_checkpoint({mode})");
        connection.query_row(&asked, [], |row| row.get::<_, i64>(1))
    };
    let _ = connection.busy_timeout(Duration::ZERO);
    if !is_clean || checkpoint("NOOP").is_ok_and(|pages| pages > LOGGED) {
        let _ = checkpoint("TRUNCATE");
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

fn ended() -> DatabaseError {
    DatabaseError::Commit("the writer has ended".to_owned())
}

/// Does a piece of work, if its transaction is there.
fn done<T, E: From<DatabaseError>>(
    transaction: Result<&mut Rows<'_>, DatabaseError>,
    work: impl FnOnce(&Rows<'_>) -> Result<T, E>,
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
    transaction: &Rows<'_>,
    work: impl FnOnce(&Rows<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let failed = |error: rusqlite::Error| E::from(DatabaseError::from(error));
    let say = |word: &str| transaction.prepare_cached(word)?.execute([]).map(drop);
    say("SAVEPOINT work").map_err(failed)?;
    match work(transaction) {
        Ok(value) => say("RELEASE work").map_err(failed).map(|()| value),
        Err(error) => {
            transaction.forget();
            transaction.execute_batch("ROLLBACK TO work; RELEASE work").map_err(failed)?;
            Err(error)
        }
    }
}

/// The writer: groups what is queued into transactions until nobody can queue any more. Whatever happens, all who queued
/// something are told. Gives whether nothing is left in the log that should not be.
fn write(connection: &mut Connection, queue: &Receiver<Work>, haste: &Haste, scrub: &AtomicBool) -> bool {
    let mut is_clean = true;
    let mut known = Known::Nothing;
    loop {
        let queued = queue.try_recv();
        let was_idle = queued.is_err();
        let Ok(first) = queued.or_else(|_| queue.recv()) else { break };
        // While there is always more, the disk alone sees to it that many come together.
        if !haste.is_made() && was_idle {
            haste.wait();
        }
        let mut group = vec![first];
        group.extend(std::iter::from_fn(|| queue.try_recv().ok()).take(GROUP - 1));
        let mut replies = Vec::new();
        let committed = match connection.transaction_with_behavior(TransactionBehavior::Immediate) {
            Ok(transaction) => {
                let mut rows = Rows::new(transaction, known);
                replies.extend(group.into_iter().map(|work| work(Ok(&mut rows))));
                let committed;
                (committed, known) = rows.commit();
                committed.map_err(|error| DatabaseError::Commit(error.to_string()))
            }
            Err(error) => {
                let error = DatabaseError::Commit(error.to_string());
                replies.extend(group.into_iter().map(|work| work(Err(error.clone()))));
                Err(error)
            }
        };
        if committed.is_ok() && scrub.swap(false, Ordering::AcqRel) {
            // Who reads an older state keeps the log that it is in: then it is tried again at the end.
            let busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0));
            is_clean = busy.is_ok_and(|busy| !busy);
        }
        for reply in replies {
            reply(committed.clone());
        }
    }
    is_clean
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of the log that are left in a home when these keys were written and the database was closed.
    async fn left(home: &Home, mut keys: std::ops::Range<usize>) -> u64 {
        let database = Database::open(home).unwrap();
        let insert = "INSERT INTO state (bundle, namespace, key, value) VALUES ('b', 'n', ?1, zeroblob(4096))";
        let work = move |rows: &Rows<'_>| -> Result<(), DatabaseError> {
            keys.try_for_each(|key| Ok(rows.execute(insert, [key.to_string()]).map(drop)?))
        };
        database.write(work).await.unwrap();
        drop(database);
        home.dir().metadata("ambit.db-wal").map_or(0, |log| log.len())
    }

    #[tokio::test]
    async fn a_log_that_has_grown_is_taken_in_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(Some(folder.path())).unwrap();
        assert_eq!(left(&home, 0..200).await, 0);
        // To take in a short one costs more than to read it.
        assert_ne!(left(&home, 200..201).await, 0);
        let database = Database::open(&home).unwrap();
        let count: i64 = database.read().query_row("SELECT count(*) FROM state", [], |row| row.get(0)).unwrap();
        assert_eq!(count, 201);
    }

    #[tokio::test]
    async fn a_writer_that_died_fails_who_waits() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&Home::open(Some(folder.path())).unwrap()).unwrap();
        let died = database.write(|_| -> Result<(), DatabaseError> { panic!("as a defect would") });
        let beside = database.write(|_| Ok::<_, DatabaseError>(()));
        let ended = |answer: Result<(), DatabaseError>| {
            assert!(
                matches!(&answer, Err(DatabaseError::Commit(reason)) if reason == "the writer has ended"),
                "{answer:?}"
            );
        };
        ended(died.await);
        ended(beside.await);
        ended(database.write(|_| Ok(())).await);
    }

    #[test]
    fn what_is_opened_aside_fails_where_it_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(Some(folder.path())).unwrap();
        home.dir().write("ambit.db", "no database, but long enough to be looked at").unwrap();
        let opened = Database::opening(&home).unwrap().opened();
        assert!(matches!(opened, Err(DatabaseError::Open { reason, .. }) if reason.contains("not a database")));
    }
}
