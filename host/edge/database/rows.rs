//! A transaction that writes.

use std::cell::RefCell;
use std::ops::Deref;

use rusqlite::{ErrorCode, Params, Transaction};

use crate::audit::tail::Tail;

/// What the writer knows of the end of the log without reading it.
#[derive(Debug, Default)]
pub(crate) enum Known {
    /// Nothing, or nothing that is true.
    #[default]
    Nothing,
    /// What it was when this process wrote last: others may have written meanwhile.
    Before(Tail),
    /// What it is, in this transaction.
    Now(Tail),
}

/// A transaction that writes, with what its writer knows of the log.
pub(crate) struct Rows<'a> {
    transaction: Transaction<'a>,
    known: RefCell<Known>,
}

/// How a row is put into a table: as a new one, and in place of another.
pub(crate) type Put = [&'static str; 2];

/// See [`Put`]: of what follows `INSERT INTO`.
macro_rules! put {
    ($into:literal) => {
        [concat!("INSERT INTO ", $into), concat!("INSERT OR REPLACE INTO ", $into)]
    };
}
pub(crate) use put;

impl<'a> Rows<'a> {
    /// Puts a row into a table, in place of one with the same key. Mostly there is none, and then it is cheaper not to ask for
    /// that: `SQLite` copies each page that a statement touches which may remove a row.
    pub(crate) fn put(&self, [new, replacing]: Put, row: impl Params + Copy) -> rusqlite::Result<()> {
        match self.prepare_cached(new)?.execute(row) {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                self.prepare_cached(replacing)?.execute(row).map(drop)
            }
            done => done.map(drop),
        }
    }

    /// A transaction that has just begun, after one at whose end that was known.
    pub(super) fn new(transaction: Transaction<'a>, known: Known) -> Self {
        let known = match known {
            Known::Now(tail) | Known::Before(tail) => Known::Before(tail),
            Known::Nothing => Known::Nothing,
        };
        Self { transaction, known: RefCell::new(known) }
    }

    /// What is known of the end of the log: nothing, until it is told again.
    pub(crate) fn take_known(&self) -> Known {
        self.known.take()
    }

    /// This is the end of the log, in this transaction.
    pub(crate) fn now_known(&self, tail: Tail) {
        self.known.replace(Known::Now(tail));
    }

    /// Something of this transaction was undone.
    pub(super) fn forget(&self) {
        self.known.take();
    }

    /// Ends it, and gives what is known then: if it failed, that is not what is found the next time.
    pub(super) fn commit(self) -> (rusqlite::Result<()>, Known) {
        let Self { transaction, known } = self;
        (transaction.commit(), known.into_inner())
    }
}

impl<'a> Deref for Rows<'a> {
    type Target = Transaction<'a>;

    fn deref(&self) -> &Self::Target {
        &self.transaction
    }
}
