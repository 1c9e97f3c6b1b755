//! Rows of approvals, and what may be done to one: it is asked, answered, claimed, each in a transaction with its record.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rusqlite::{OptionalExtension as _, Row};
use serde::Serialize;
use ulid::Ulid;

use super::super::database::{DatabaseError, Rows};
use super::super::ledger::{append, number};
use super::{AnswerError, Listed, Verdict, is_over, milliseconds};
use crate::approval::{Answered, Claim, ClaimError, Moment, Request, State, Unasked};
use crate::audit::{Entry, Hash, Kind};
use crate::policy::Person;

/// What [`listed`] takes.
pub(super) const COLUMNS: &str = "id, state, task, bundle, component, user, action, resource, arguments, labels, rules, groups, \
    answers, asked, deadline, ttl, effect, import, asked_boot, boot, digest, answered, answered_boot";

/// Puts a question before people, unless they have answered it or are asked too often.
pub(super) fn open(
    transaction: &Rows<'_>,
    request: &Request,
    now: &Moment,
) -> Result<Result<String, Unasked>, DatabaseError> {
    // The task has asked this very thing, and its host broke down, or it was put away.
    let same = "SELECT id FROM approval WHERE digest = ?1 AND task = ?2 AND state NOT IN ('used', 'withdrawn')";
    let same: Option<String> = transaction
        .prepare_cached(same)?
        .query_row((request.digest.0, &request.entry.task), |row| row.get(0))
        .optional()?;
    if let Some(same) = same {
        return Ok(Ok(same));
    }
    let root = request.entry.task.split('/').next().unwrap_or_default();
    let before = transaction
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM approval WHERE likeness = ?1 AND (task = ?2 OR (task > ?2 || '/' AND task < ?2 || '0'))
             AND state IN ('denied', 'unanswered') LIMIT 1"
        ))?
        .query_row((request.likeness.0, root), listed)
        .optional()?;
    if let Some(before) = before {
        let id = before.id;
        return Ok(Err(match before.state {
            State::Denied => {
                Unasked::DeniedBefore { by: before.answers.into_values().next_back().unwrap_or_default(), id }
            }
            _ => Unasked::UnansweredBefore { id },
        }));
    }
    let (wall, hour) = (milliseconds(now.wall), 60 * 60 * 1000);
    let asked: i64 = transaction
        .prepare_cached("SELECT count(*) FROM approval WHERE bundle = ?1 AND asked > ?2")?
        .query_row((&request.bundle, number(wall.saturating_sub(hour))), |row| row.get(0))?;
    if asked.cast_unsigned() >= request.per_hour {
        return Ok(Err(Unasked::TooOften { asked: asked.cast_unsigned(), allowed: request.per_hour }));
    }
    let (id, entry) = (Ulid::generate().to_string(), &request.entry);
    let deadline = wall.saturating_add(milliseconds(request.ask.deadline));
    transaction
        .prepare_cached(
            "INSERT INTO approval (id, task, bundle, component, effect, import, action, resource, arguments, labels, user,
             rules, groups, digest, likeness, boot, asked, asked_boot, deadline, ttl, state)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, 'open')",
        )?
        .execute(rusqlite::params![
            id,
            entry.task,
            request.bundle,
            entry.component,
            number(entry.effect),
            number(entry.import),
            entry.action,
            entry.resource,
            request.arguments,
            json(&request.labels),
            request.user,
            json(&request.rules),
            json(&request.ask.groups),
            request.digest.0,
            request.likeness.0,
            now.boot,
            number(wall),
            number(milliseconds(now.since_boot)),
            number(deadline),
            number(milliseconds(request.ask.ttl)),
        ])?;
    let detail = serde_json::json!({ "approval": id, "groups": request.ask.groups, "deadline": deadline });
    let asked = Entry { kind: Kind::Ask, code: "asked".into(), detail: detail.to_string(), ..entry.clone() };
    append(transaction, &asked)?;
    Ok(Ok(id))
}

/// Takes an answer, and records it.
pub(super) fn give(
    transaction: &Rows<'_>,
    approval: &Listed,
    verdict: Verdict,
    by: &Person,
    now: &Moment,
) -> Result<Result<State, AnswerError>, DatabaseError> {
    let id = &approval.id;
    if approval.state != State::Open {
        return Ok(Err(AnswerError::NotOpen { id: id.clone(), state: approval.state }));
    }
    if approval.is_late(now) {
        return Ok(Err(AnswerError::TooLate(id.clone())));
    }
    let theirs: BTreeSet<&String> = approval.groups.intersection(&by.groups).collect();
    let refused = if theirs.is_empty() {
        let groups = approval.groups.iter().cloned().collect::<Vec<_>>().join(", ");
        Some(AnswerError::NotAsked { name: by.name.clone(), groups })
    } else if verdict == Verdict::Approve && approval.user.as_ref() == Some(&by.name) {
        Some(AnswerError::OwnTask(by.name.clone()))
    } else {
        None
    };
    let detail = serde_json::json!({ "approval": id, "by": by.name, "groups": theirs }).to_string();
    if let Some(refused) = refused {
        append(transaction, &Entry { detail, ..approval.record("refused", now) })?;
        return Ok(Err(refused));
    }
    let mut answers = approval.answers.clone();
    answers.extend(theirs.into_iter().map(|group| (group.clone(), by.name.clone())));
    let state = match verdict {
        Verdict::Deny => {
            answers = BTreeMap::from([(String::new(), by.name.clone())]);
            State::Denied
        }
        Verdict::Approve if approval.groups.iter().all(|group| answers.contains_key(group)) => State::Approved,
        Verdict::Approve => State::Open,
    };
    transaction
        .prepare_cached(
            "UPDATE approval SET state = ?2, answers = ?3, answered = coalesce(answered, ?4),
             answered_boot = coalesce(answered_boot, ?5) WHERE id = ?1 AND state = 'open'",
        )?
        .execute((
            id,
            state.as_str(),
            json(&answers),
            number(milliseconds(now.wall)),
            number(milliseconds(now.since_boot)),
        ))?;
    let code = if verdict == Verdict::Approve { "approved" } else { "denied" };
    append(transaction, &Entry { detail, ..approval.record(code, now) })?;
    Ok(Ok(state))
}

/// Uses an approval up, if it was given for just this and its time is not over.
pub(super) fn claim_in(transaction: &Rows<'_>, claim: &Claim, now: &Moment) -> Result<Answered, ClaimError> {
    let approval = read(transaction, &claim.id)?.ok_or(ClaimError::Missing)?;
    if Hash(approval.digest) != claim.digest {
        return Err(ClaimError::Different);
    }
    let (State::Approved, Some(answered)) = (approval.state, approval.answered) else {
        return Err(ClaimError::NotGiven(approval.state));
    };
    if is_over(answered, approval.ttl, &approval.boot, now) {
        return Err(ClaimError::Expired);
    }
    let update = "UPDATE approval SET state = 'used' WHERE id = ?1 AND state = 'approved'";
    transaction.prepare_cached(update)?.execute([&claim.id])?;
    let (wall, boot) = answered;
    Ok(Answered { wall: Duration::from_millis(wall), boot: Duration::from_millis(boot) })
}

/// The approval of that name.
pub(super) fn read(connection: &rusqlite::Connection, id: &str) -> rusqlite::Result<Option<Listed>> {
    let select = format!("SELECT {COLUMNS} FROM approval WHERE id = ?1");
    connection.prepare_cached(&select)?.query_row([id], listed).optional()
}

/// A row.
pub(super) fn listed(row: &Row<'_>) -> rusqlite::Result<Listed> {
    let text = |index: usize| row.get::<_, String>(index);
    let unsigned = |index: usize| row.get::<_, i64>(index).map(i64::cast_unsigned);
    let maybe = |index: usize| row.get::<_, Option<i64>>(index).map(|value| value.map(i64::cast_unsigned));
    let state = text(1)?;
    Ok(Listed {
        id: text(0)?,
        // What cannot be read is not open, and was not given.
        state: State::ALL.into_iter().find(|known| known.as_str() == state).unwrap_or(State::Withdrawn),
        task: text(2)?,
        bundle: text(3)?,
        component: text(4)?,
        user: row.get(5)?,
        action: text(6)?,
        resource: text(7)?,
        arguments: text(8)?,
        labels: parsed(&text(9)?, 9)?,
        rules: parsed(&text(10)?, 10)?,
        groups: parsed(&text(11)?, 11)?,
        answers: parsed(&text(12)?, 12)?,
        asked: unsigned(13)?,
        deadline: unsigned(14)?,
        ttl: unsigned(15)?,
        effect: unsigned(16)?,
        import: unsigned(17)?,
        asked_boot: unsigned(18)?,
        boot: text(19)?,
        digest: row.get(20)?,
        answered: maybe(21)?.zip(maybe(22)?),
    })
}

fn parsed<T: serde::de::DeserializeOwned>(text: &str, index: usize) -> rusqlite::Result<T> {
    let wrong = |error| rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, Box::new(error));
    serde_json::from_str(text).map_err(wrong)
}

/// Lists and maps of strings: they can always be written.
pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
