//! The ledger: one key for each refund, and a running total for each order and currency.
//!
//! | key | value |
//! | --- | --- |
//! | `number` | how many refunds were begun |
//! | `begun/<order>/<currency>/<amount>` | how often this refund was asked for |
//! | `refund/<order>/<currency>/<amount>` | the refund, as JSON |
//! | `total/<order>/<currency>` | cents |
//!
//! The count under `begun/` is raised before anything else, and only who raises it to 1 makes the refund: of two calls at
//! once one wins, and a call that broke off leaves a refund that is not made again by itself.

use kept::State;
use serde::{Deserialize, Serialize};

/// The longest reason, in bytes.
pub const LONGEST_REASON: usize = 500;

/// What is given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Currency {
    /// Euro.
    Eur,
    /// US dollar.
    Usd,
    /// Pound sterling.
    Gbp,
}

impl Currency {
    const fn word(self) -> &'static str {
        match self {
            Currency::Eur => "eur",
            Currency::Usd => "usd",
            Currency::Gbp => "gbp",
        }
    }
}

/// A refund.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    /// Its number, from 1.
    pub number: u64,
    /// The order.
    pub order: String,
    /// How much, in cents.
    pub amount: u32,
    /// In what.
    pub currency: Currency,
    /// Why.
    pub reason: Option<String>,
}

/// What came of asking for a refund.
#[derive(Debug, PartialEq, Eq)]
pub struct Refunded {
    /// The refund.
    pub refund: Refund,
    /// Whether it had been made before.
    pub repeated: bool,
    /// All refunds of the order in this currency, in cents.
    pub total: u64,
}

/// Why there is no refund.
#[derive(Debug, PartialEq, Eq)]
pub enum Error {
    /// That is no order's number.
    BadOrder,
    /// The amount is 0.
    BadAmount,
    /// The reason is longer than [`LONGEST_REASON`].
    LongReason,
    /// An earlier call for the same refund did not end.
    Unfinished,
    /// The state cannot be used.
    Ledger(String),
}

impl From<String> for Error {
    fn from(why: String) -> Self {
        Error::Ledger(why)
    }
}

/// Makes a refund, unless it was made before.
///
/// # Errors
///
/// See [`Error`].
pub fn refund(
    state: &impl State,
    order: &str,
    amount: u32,
    currency: Currency,
    reason: Option<String>,
) -> Result<Refunded, Error> {
    check(order)?;
    if amount == 0 {
        return Err(Error::BadAmount);
    }
    if reason.as_ref().is_some_and(|reason| reason.len() > LONGEST_REASON) {
        return Err(Error::LongReason);
    }
    let money = currency.word();
    let entry = format!("refund/{order}/{money}/{amount}");
    let asked = state.increment(&format!("begun/{order}/{money}/{amount}"), 1)?;
    if asked > 1 {
        let refund = read(state, &entry)?.ok_or(Error::Unfinished)?;
        let made = refunds_of(state, order)?.into_iter().filter(|other| other.currency == currency);
        let total = made.map(|other| u64::from(other.amount)).sum();
        return Ok(Refunded { refund, repeated: true, total });
    }
    let number = state.increment("number", 1)?;
    let refund = Refund { number, order: order.to_owned(), amount, currency, reason };
    let total = state.increment(&format!("total/{order}/{money}"), u64::from(amount))?;
    state.set(&entry, &serde_json::to_vec(&refund).map_err(|error| error.to_string())?)?;
    Ok(Refunded { refund, repeated: false, total })
}

/// All refunds of an order, by their numbers.
///
/// # Errors
///
/// See [`Error`].
pub fn refunds_of(state: &impl State, order: &str) -> Result<Vec<Refund>, Error> {
    check(order)?;
    let prefix = format!("refund/{order}/");
    let mut refunds = Vec::new();
    for key in state.keys()?.iter().filter(|key| key.starts_with(&prefix)) {
        refunds.extend(read(state, key)?);
    }
    refunds.sort_by_key(|refund| refund.number);
    Ok(refunds)
}

fn check(order: &str) -> Result<(), Error> {
    let fits = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=32).contains(&order.len()) && order.bytes().all(fits) { Ok(()) } else { Err(Error::BadOrder) }
}

fn read(state: &impl State, key: &str) -> Result<Option<Refund>, Error> {
    let Some(value) = state.get(key)? else { return Ok(None) };
    let refund = serde_json::from_slice(&value).map_err(|error| format!("the entry `{key}` is damaged: {error}"))?;
    Ok(Some(refund))
}

#[cfg(test)]
mod tests {
    use kept::Memory;

    use super::*;

    #[test]
    fn refunds_add_up() {
        let state = Memory::default();
        let refund = |amount, currency| refund(&state, "A-1001", amount, currency, None).unwrap();
        assert_eq!(refund(4990, Currency::Eur).total, 4990);
        assert_eq!(refund(10, Currency::Eur).total, 5000);
        assert_eq!(refund(10, Currency::Usd).total, 10);
        let amounts: Vec<u32> = refunds_of(&state, "A-1001").unwrap().iter().map(|refund| refund.amount).collect();
        assert_eq!(amounts, [4990, 10, 10]);
        assert_eq!(refunds_of(&state, "A-100"), Ok(Vec::new()));
    }

    #[test]
    fn the_same_refund_is_made_once() {
        let state = Memory::default();
        let first = refund(&state, "A-1", 700, Currency::Eur, Some("broken".to_owned())).unwrap();
        let again = refund(&state, "A-1", 700, Currency::Eur, Some("other".to_owned())).unwrap();
        assert!(!first.repeated && again.repeated);
        assert_eq!((again.refund, again.total), (first.refund, 700));
    }

    #[test]
    fn a_refund_that_broke_off_is_not_made_by_itself() {
        let state = Memory::default();
        // A call before counted itself, and came no further.
        state.increment("begun/A-1/eur/700", 1).unwrap();
        assert_eq!(refund(&state, "A-1", 700, Currency::Eur, None), Err(Error::Unfinished));
    }

    #[test]
    fn what_is_no_refund_changes_nothing() {
        let state = Memory::default();
        assert_eq!(refund(&state, "a/1", 1, Currency::Eur, None), Err(Error::BadOrder));
        assert_eq!(refund(&state, "", 1, Currency::Eur, None), Err(Error::BadOrder));
        assert_eq!(refund(&state, "A-1", 0, Currency::Eur, None), Err(Error::BadAmount));
        let long = Some("x".repeat(LONGEST_REASON + 1));
        assert_eq!(refund(&state, "A-1", 1, Currency::Eur, long), Err(Error::LongReason));
        assert!(state.keys().unwrap().is_empty());
    }
}
