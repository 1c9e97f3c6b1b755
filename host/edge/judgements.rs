//! What was decided, and on what, in the database: beside the journal, and deleted with it.

use std::collections::BTreeSet;
use std::sync::Arc;

use rusqlite::OptionalExtension as _;

use super::database::{Database, DatabaseError, Put, Rows, put};
use super::ledger::number;
use crate::policy::judged::{Judged, Judgements};

/// The decisions of one home.
#[derive(Clone)]
pub struct JudgementList(Arc<Database>);

/// Why decisions cannot be given again.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum JudgementError {
    /// The database.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Database(#[from] DatabaseError),
    /// What is kept is not what this version writes.
    #[error("what was kept of effect {effect} of task {task} cannot be read: {error}")]
    #[diagnostic(help("another version of ambit may have written it"))]
    Unreadable {
        /// The task.
        task: String,
        /// The effect's number in it.
        effect: u64,
        /// Why not.
        error: serde_json::Error,
    },
}

const JUDGED: Put = put!("judged (task, effect, at, content) VALUES (?1, ?2, ?3, ?4)");

impl Judgements for JudgementList {
    fn note(&self, judged: Arc<Judged>) {
        let task = judged.principal.task.split('/').next().unwrap_or_default().to_owned();
        // It is written before what is written next. A journal that was deleted meanwhile takes nothing more.
        let insert = move |(): &mut (), rows: &Rows<'_>| {
            let (effect, at) = (number(judged.effect), number(judged.at));
            let content = serde_json::to_string(&judged).map_err(|error| DatabaseError::Commit(error.to_string()))?;
            Ok::<_, DatabaseError>(rows.put(JUDGED, (&*task, effect, at, &*content))?)
        };
        self.0.note((), insert, |(), _| ());
    }
}

impl JudgementList {
    /// The decisions that a database holds.
    pub fn new(database: Arc<Database>) -> Self {
        Self(database)
    }

    /// What was decided for one task, in order.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(&self, task: &str) -> Result<Vec<Judged>, JudgementError> {
        let rows: Vec<(i64, String)> = {
            let connection = self.0.read();
            let read = || {
                let mut select =
                    connection.prepare_cached("SELECT effect, content FROM judged WHERE task = ?1 ORDER BY effect")?;
                select.query_map([task], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()
            };
            read().map_err(DatabaseError::from)?
        };
        let judged = rows.into_iter().map(|(effect, content)| {
            let (task, effect) = (task.to_owned(), effect.cast_unsigned());
            serde_json::from_str(&content).map_err(|error| JudgementError::Unreadable { task, effect, error })
        });
        judged.collect()
    }

    /// The tasks of a bundle of which something was decided since then, the oldest first. `since` is in milliseconds since
    /// the Unix epoch.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn tasks(&self, bundle: &str, since: u64) -> Result<Vec<String>, JudgementError> {
        let connection = self.0.read();
        let read = || {
            let mut select = connection.prepare_cached(
                "SELECT id FROM task WHERE bundle = ?1 AND EXISTS (SELECT 1 FROM judged WHERE task = id AND at >= ?2)
                 ORDER BY id",
            )?;
            select.query_map((bundle, number(since)), |row| row.get(0))?.collect::<rusqlite::Result<_>>()
        };
        Ok(read().map_err(DatabaseError::from)?)
    }

    /// Whether a task's journal is there: what was decided is kept with it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn has_journal(&self, task: &str) -> Result<bool, JudgementError> {
        let connection = self.0.read();
        let read = || connection.prepare_cached("SELECT 1 FROM journal WHERE task = ?1")?.exists([task]);
        Ok(read().map_err(DatabaseError::from)?)
    }

    /// The bundles' folders that tasks were started with, as far as their journals say it.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn folders(&self, tasks: &[String]) -> Result<BTreeSet<String>, JudgementError> {
        let connection = self.0.read();
        let read = |task: &String| {
            let recipe = "SELECT json_extract(recipe, '$.how.what.bundle.bundle') FROM journal WHERE task = ?1
                          AND json_type(recipe, '$.how.what.bundle.bundle') = 'text'";
            connection.prepare_cached(recipe)?.query_row([task], |row| row.get(0)).optional()
        };
        let folders = tasks.iter().filter_map(|task| read(task).transpose());
        Ok(folders.collect::<rusqlite::Result<_>>().map_err(DatabaseError::from)?)
    }
}
