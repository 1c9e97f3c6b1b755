//! Approvals in the database: asked by the process of a task, answered from any other, claimed once.

mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use self::rows::{COLUMNS, claim_in, give, listed, open, read};
use super::database::{Database, DatabaseError, Rows};
use super::ledger::{AuditLog, append};
use crate::approval::{Answer, Answered, Claim, ClaimError, Desk, Later, Moment, Request, State, Unasked};
use crate::audit::{AuditError, Entry, Kind};
use crate::label::Labels;
use crate::policy::Person;

/// How much of a name is enough of its beginning.
const SHORTEST_NAME: usize = 4;

/// How often a task that waits looks for an answer.
const POLL: Duration = Duration::from_millis(100);

/// The approvals of one home.
#[derive(Clone)]
pub struct Approvals(Arc<Database>, AuditLog);

/// An approval as it is listed.
#[derive(Clone, Debug, Serialize)]
pub struct Listed {
    /// Its name.
    pub id: String,
    /// How it stands.
    pub state: State,
    /// The task or child task that asks.
    pub task: String,
    /// The bundle that the task is of.
    pub bundle: String,
    /// The component that asks.
    pub component: String,
    /// On whose behalf.
    pub user: Option<String>,
    /// What it would do.
    pub action: String,
    /// To what.
    pub resource: String,
    /// With what arguments: JSON.
    pub arguments: String,
    /// The labels that it carries.
    pub labels: Labels,
    /// The rules that ask.
    pub rules: Vec<String>,
    /// The groups that have to approve.
    pub groups: BTreeSet<String>,
    /// Who approved, for which group.
    pub answers: BTreeMap<String, String>,
    /// Milliseconds since the Unix epoch.
    pub asked: u64,
    /// Until when an answer is waited for, in milliseconds since the Unix epoch.
    pub deadline: u64,
    /// For how long the approval will hold, in milliseconds.
    pub ttl: u64,
    #[serde(skip)]
    effect: u64,
    #[serde(skip)]
    import: u64,
    #[serde(skip)]
    asked_boot: u64,
    #[serde(skip)]
    boot: String,
    #[serde(skip)]
    digest: [u8; 32],
    /// When it was first answered, by both clocks: of several yeses, none holds for longer than its time.
    #[serde(skip)]
    answered: Option<(u64, u64)>,
}

/// What a person says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes, once.
    Approve,
    /// No.
    Deny,
}

/// Why an answer was not taken.
#[derive(Clone, Debug, thiserror::Error, miette::Diagnostic)]
pub enum AnswerError {
    /// No approval of that name, or more than one.
    #[error("no approval, or more than one, is called `{0}`")]
    #[diagnostic(help("`ambit approvals list --all` shows the names"))]
    Missing(String),
    /// It waits no more.
    #[error("the approval {id} is {state} already")]
    #[diagnostic(help("an approval is answered once"))]
    NotOpen {
        /// Its name.
        id: String,
        /// How it stands.
        state: State,
    },
    /// Its deadline has passed.
    #[error("the approval {0} was not answered before its deadline")]
    #[diagnostic(help("no answer is a no; the task can ask again in another run"))]
    TooLate(String),
    /// The person is in none of the groups that were asked.
    #[error("`{name}` is in none of the groups that are asked: {groups}")]
    #[diagnostic(help("groups stand in config.toml of the home folder"))]
    NotAsked {
        /// The person.
        name: String,
        /// The groups.
        groups: String,
    },
    /// The task acts on this person's behalf.
    #[error("the task acts on behalf of `{0}`, who cannot approve what it does")]
    #[diagnostic(help("somebody else of the group has to"))]
    OwnTask(String),
    /// The database failed.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Database(#[from] DatabaseError),
}

impl Approvals {
    /// The approvals that a database holds, beside its log.
    pub fn new(database: Arc<Database>, log: AuditLog) -> Self {
        Self(database, log)
    }

    /// Those that wait for an answer, or all, the oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn list(&self, all: bool) -> Result<Vec<Listed>, DatabaseError> {
        let connection = self.0.read();
        let mut select = connection
            .prepare_cached(&format!("SELECT {COLUMNS} FROM approval WHERE ?1 OR state = 'open' ORDER BY id"))?;
        let rows = select.query_map([all], listed)?;
        let now = now();
        let mut found: Vec<Listed> = rows.collect::<Result<_, _>>()?;
        found.retain(|approval| all || !approval.is_late(&now));
        Ok(found)
    }

    /// The approval whose name starts so, if just one does.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn find(&self, name: &str) -> Result<Option<Listed>, DatabaseError> {
        let connection = self.0.read();
        let mut select = connection
            .prepare_cached(&format!("SELECT {COLUMNS} FROM approval WHERE substr(id, 1, length(?1)) = ?1 LIMIT 2"))?;
        let rows = select.query_map([name.to_ascii_uppercase()], listed)?;
        let mut found: Vec<Listed> = rows.collect::<Result<_, _>>()?;
        let only = found.pop();
        Ok(only.filter(|_| found.is_empty() && name.len() >= SHORTEST_NAME))
    }

    /// Takes a person's answer, and gives how the approval stands then. The record of it is in the same transaction, also
    /// of an answer that is not taken because of who gives it.
    ///
    /// # Errors
    /// When it is not taken.
    pub async fn give(&self, id: &str, verdict: Verdict, by: Person) -> Result<State, AnswerError> {
        let Some(approval) = self.find(id)? else { return Err(AnswerError::Missing(id.to_owned())) };
        let given = self.0.write(move |transaction| -> Result<Result<State, AnswerError>, DatabaseError> {
            let approval = read(transaction, &approval.id)?.unwrap_or(approval);
            give(transaction, &approval, verdict, &by, &now())
        });
        given.await?
    }
}

/// Withdraws everything that a task still asks for, or was given and did not use.
pub(super) fn withdraw_all(rows: &Rows<'_>, task: &str) -> rusqlite::Result<()> {
    // The names of a task's calls begin with its own and `/`, and `0` is what follows that. Two statements, because each finds
    // its rows in the index: for both at once SQLite makes a table of what it found.
    for of_it in ["task = ?1", "task > ?1 || '/' AND task < ?1 || '0'"] {
        // The plus: not by state, of which there are few.
        let update =
            format!("UPDATE approval SET state = 'withdrawn' WHERE {of_it} AND +state IN ('open', 'approved')");
        rows.prepare_cached(&update)?.execute([task])?;
    }
    Ok(())
}

impl Desk for Approvals {
    fn open(&self, request: Request) -> Later<Result<Result<String, Unasked>, AuditError>> {
        let opened =
            self.0.write(move |transaction| -> Result<_, AuditError> { Ok(open(transaction, &request, &now())?) });
        Box::pin(opened)
    }

    fn answer(&self, id: &str) -> Later<Result<Answer, AuditError>> {
        let (approvals, id) = (self.clone(), id.to_owned());
        Box::pin(async move {
            loop {
                let approval = read(&approvals.0.read(), &id)?.ok_or_else(|| AuditError("it is gone".to_owned()))?;
                match approval.state {
                    State::Open if !approval.is_late(&now()) => tokio::time::sleep(POLL).await,
                    State::Open => approvals.unanswered(approval).await?,
                    State::Approved => return Ok(Answer::Approved),
                    State::Denied => {
                        let by = approval.answers.into_values().next_back().unwrap_or_default();
                        return Ok(Answer::Denied { by });
                    }
                    State::Unanswered | State::Withdrawn | State::Used => return Ok(Answer::None),
                }
            }
        })
    }

    fn withdraw(&self, id: &str) {
        let id = id.to_owned();
        // The task goes on or ends whether this is written or not: nothing can be done with what nobody claims.
        drop(self.0.write(move |transaction| -> Result<(), DatabaseError> {
            let update = "UPDATE approval SET state = 'withdrawn' WHERE id = ?1 AND state IN ('open', 'approved')";
            transaction.prepare_cached(update)?.execute([id])?;
            Ok(())
        }));
    }

    fn claim(&self, claim: Claim, intent: Entry) -> Later<Result<Answered, ClaimError>> {
        let claimed = self.1.within(move |transaction| -> Result<Answered, ClaimError> {
            let answered = claim_in(transaction, &claim, &now())?;
            append(transaction, &intent).map_err(AuditError::from)?;
            Ok(answered)
        });
        Box::pin(claimed)
    }
}

impl Approvals {
    /// The deadline has passed: that is an answer as well.
    async fn unanswered(&self, approval: Listed) -> Result<(), AuditError> {
        let settled = self.0.write(move |transaction| -> Result<(), AuditError> {
            let update = "UPDATE approval SET state = 'unanswered' WHERE id = ?1 AND state = 'open'";
            let changed = transaction.prepare_cached(update).and_then(|mut update| update.execute([&approval.id]));
            if changed.map_err(DatabaseError::from)? == 1 {
                let detail = serde_json::json!({ "approval": approval.id }).to_string();
                append(transaction, &Entry { detail, ..approval.record(State::Unanswered.as_str(), &now()) })?;
            }
            Ok(())
        });
        settled.await
    }
}

impl From<DatabaseError> for ClaimError {
    fn from(error: DatabaseError) -> Self {
        AuditError::from(error).into()
    }
}

impl From<rusqlite::Error> for ClaimError {
    fn from(error: rusqlite::Error) -> Self {
        DatabaseError::from(error).into()
    }
}

impl Listed {
    /// Whether its deadline has passed, by one clock or the other.
    fn is_late(&self, now: &Moment) -> bool {
        let allowed = self.deadline.saturating_sub(self.asked);
        is_over((self.asked, self.asked_boot), allowed, &self.boot, now)
    }

    /// A record about it.
    fn record(&self, code: &str, now: &Moment) -> Entry {
        Entry {
            kind: Kind::Answer,
            at: milliseconds(now.wall),
            task: self.task.as_str().into(),
            component: self.component.as_str().into(),
            effect: self.effect,
            import: self.import,
            action: self.action.clone().into(),
            resource: self.resource.as_str().into(),
            arguments: Arc::default(),
            code: code.to_owned().into(),
            rules: self.rules.clone().into(),
            detail: String::new(),
            text: String::new(),
        }
    }
}

/// Whether a time that began at `from` (by the time of day and since the start of the machine) and lasts so many
/// milliseconds is over.
fn is_over(from: (u64, u64), lasts: u64, boot: &str, now: &Moment) -> bool {
    let (wall, since_boot) = from;
    boot != now.boot
        || milliseconds(now.wall) >= wall.saturating_add(lasts)
        || milliseconds(now.since_boot) >= since_boot.saturating_add(lasts)
}

impl From<rusqlite::Error> for AuditError {
    fn from(error: rusqlite::Error) -> Self {
        DatabaseError::from(error).into()
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn now() -> Moment {
    Moment { wall: crate::config::wall_clock(), since_boot: crate::config::since_boot(), boot: crate::config::boot() }
}

#[cfg(test)]
mod tests;
