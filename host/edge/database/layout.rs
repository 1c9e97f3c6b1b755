//! The tables, as one layout after another has made them.

use rusqlite::{Connection, TransactionBehavior};

/// The layout of the tables.
pub(super) const VERSION: i64 = 6;

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

/// Makes the tables in a new file, adds what an older layout lacks, and gives the layout's version.
pub(super) fn lay_out(connection: &mut Connection) -> rusqlite::Result<i64> {
    let version = |rows: &Connection| rows.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0));
    if version(connection)? == VERSION {
        return Ok(VERSION);
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = version(&transaction)?;
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

#[cfg(test)]
mod tests {
    use super::super::{Database, DatabaseError};
    use super::*;
    use crate::config::Home;

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
