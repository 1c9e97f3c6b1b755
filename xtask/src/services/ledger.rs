//! The ledger of refunds: one line of JSON for each, in a file that only grows.
//!
//! A refund is answered when its line is on the disk. A line without an end was never answered, and is dropped.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Error;

/// The ledger's file, in its folder.
pub(super) const FILE: &str = "refunds.jsonl";

/// The longest reason, in bytes.
const LONGEST_REASON: usize = 500;

/// What is given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Currency {
    Eur,
    Usd,
    Gbp,
}

/// A refund that is asked for. The amount is cents.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Refund {
    order: String,
    amount: u32,
    currency: Currency,
    #[serde(default)]
    reason: Option<String>,
}

/// A refund with its number, from 1, and whether it had been made before.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Receipt {
    number: usize,
    order: String,
    amount: u32,
    currency: Currency,
    reason: Option<String>,
    pub(super) repeated: bool,
}

/// A refund, and all that its order was given back in this currency, in cents.
#[derive(Debug, Serialize)]
pub(super) struct Refunded {
    pub(super) receipt: Receipt,
    total: u64,
}

/// Why there is no refund.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    #[error("an order's number has 1 to 32 capital letters, digits and `-`")]
    BadOrder,
    #[error("the amount is 0")]
    BadAmount,
    #[error("the reason has more than {LONGEST_REASON} bytes")]
    LongReason,
    #[error("the ledger cannot be written: {0}")]
    Disk(#[from] io::Error),
}

/// All refunds, and the file that holds them.
#[derive(Debug)]
pub(super) struct Ledger {
    file: File,
    refunds: Vec<Refund>,
}

impl Ledger {
    /// Opens the ledger in a folder.
    pub(super) fn open(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(FILE);
        let error = |source| Error::Folder { path: path.clone(), source };
        fs::create_dir_all(folder).map_err(error)?;
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(error)?;
        let text = fs::read_to_string(&path).map_err(error)?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        file.set_len(whole as u64).map_err(error)?;
        let mut refunds = Vec::new();
        for (line, refund) in text[..whole].lines().enumerate() {
            let refund = serde_json::from_str(refund).map_err(|source| Error::Ledger {
                path: path.clone(),
                line: line + 1,
                source,
            })?;
            refunds.push(refund);
        }
        Ok(Self { file, refunds })
    }

    /// Makes a refund, unless the same was made before.
    pub(super) fn refund(&mut self, refund: Refund) -> Result<Refunded, Problem> {
        check(&refund.order)?;
        if refund.amount == 0 {
            return Err(Problem::BadAmount);
        }
        if refund.reason.as_ref().is_some_and(|reason| reason.len() > LONGEST_REASON) {
            return Err(Problem::LongReason);
        }
        let same = |other: &Refund| {
            (&other.order, other.amount, other.currency) == (&refund.order, refund.amount, refund.currency)
        };
        let made = self.refunds.iter().position(same);
        let at = match made {
            Some(at) => at,
            None => self.append(refund)?,
        };
        let (order, currency) = (&self.refunds[at].order, self.refunds[at].currency);
        let of_order = self.refunds.iter().filter(|other| other.order == *order && other.currency == currency);
        let total = of_order.map(|other| u64::from(other.amount)).sum();
        Ok(Refunded { receipt: self.receipt(at, made.is_some()), total })
    }

    /// All refunds of an order, by their numbers.
    pub(super) fn refunds_of(&self, order: &str) -> Result<Vec<Receipt>, Problem> {
        check(order)?;
        let numbers = (0..self.refunds.len()).filter(|at| self.refunds[*at].order == order);
        Ok(numbers.map(|at| self.receipt(at, true)).collect())
    }

    fn receipt(&self, at: usize, repeated: bool) -> Receipt {
        let Refund { order, amount, currency, reason } = self.refunds[at].clone();
        Receipt { number: at + 1, order, amount, currency, reason, repeated }
    }

    /// Writes a refund down, and says where.
    fn append(&mut self, refund: Refund) -> Result<usize, Problem> {
        let mut line = serde_json::to_vec(&refund).map_err(io::Error::from)?;
        line.push(b'\n');
        let before = self.file.metadata()?.len();
        if let Err(error) = self.file.write_all(&line).and_then(|()| self.file.sync_data()) {
            // It was not made: nothing of it may stay.
            self.file.set_len(before)?;
            return Err(error.into());
        }
        self.refunds.push(refund);
        Ok(self.refunds.len() - 1)
    }
}

fn check(order: &str) -> Result<(), Problem> {
    let fits = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=32).contains(&order.len()) && order.bytes().all(fits) { Ok(()) } else { Err(Problem::BadOrder) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_broke_off_is_dropped_and_a_damaged_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let refund = |amount| Refund { order: "A-1".to_owned(), amount, currency: Currency::Eur, reason: None };
        let mut ledger = Ledger::open(folder.path()).unwrap();
        ledger.refund(refund(700)).unwrap();
        drop(ledger);
        let path = folder.path().join(FILE);
        let whole = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{whole}{{\"order\": \"A-1\", \"am")).unwrap();
        let mut ledger = Ledger::open(folder.path()).unwrap();
        assert_eq!(ledger.refund(refund(1)).unwrap().total, 701);
        drop(ledger);
        assert_eq!(Ledger::open(folder.path()).unwrap().refunds_of("A-1").unwrap().len(), 2);
        fs::write(&path, format!("{whole}oops\n")).unwrap();
        assert!(matches!(Ledger::open(folder.path()), Err(Error::Ledger { line: 2, .. })));
    }
}
