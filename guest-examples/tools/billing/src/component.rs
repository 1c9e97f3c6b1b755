//! The component: the exported functions, and the ledger in the granted state.

#[expect(unsafe_code, clippy::pedantic, reason = "generated from WIT")]
mod bindings {
    wit_bindgen::generate!({
        path: ["../../../wit", "wit"],
        world: "ambit-examples:billing/billing-tool",
        generate_all,
    });
    export!(Billing with_types_in self);
    use super::Billing;
}

use bindings::exports::ambit_examples::billing::billing as wit;
use bindings::wasi::keyvalue::atomics;
use bindings::wasi::keyvalue::store::{self, Bucket};

use crate::ledger::{self, Currency, Refund};

struct Billing;

impl wit::Guest for Billing {
    fn refund(
        order: String,
        amount: u32,
        currency: wit::Currency,
        reason: Option<String>,
    ) -> Result<wit::Refunded, wit::Error> {
        let currency = match currency {
            wit::Currency::Eur => Currency::Eur,
            wit::Currency::Usd => Currency::Usd,
            wit::Currency::Gbp => Currency::Gbp,
        };
        let refunded = ledger::refund(&Ledger::open()?, &order, amount, currency, reason)?;
        Ok(wit::Refunded { receipt: receipt(refunded.refund, refunded.repeated), total: refunded.total })
    }

    fn refunds_of(order: String) -> Result<Vec<wit::Receipt>, wit::Error> {
        let refunds = ledger::refunds_of(&Ledger::open()?, &order)?;
        Ok(refunds.into_iter().map(|refund| receipt(refund, true)).collect())
    }
}

fn receipt(refund: Refund, repeated: bool) -> wit::Receipt {
    let Refund { number, order, amount, currency, reason } = refund;
    let currency = match currency {
        Currency::Eur => wit::Currency::Eur,
        Currency::Usd => wit::Currency::Usd,
        Currency::Gbp => wit::Currency::Gbp,
    };
    wit::Receipt { number, order, amount, currency, reason, repeated }
}

impl From<ledger::Error> for wit::Error {
    fn from(error: ledger::Error) -> Self {
        match error {
            ledger::Error::BadOrder => wit::Error::BadOrder,
            ledger::Error::BadAmount => wit::Error::BadAmount,
            ledger::Error::LongReason => wit::Error::LongReason,
            ledger::Error::Unfinished => wit::Error::Unfinished,
            ledger::Error::Ledger(why) => wit::Error::Ledger(why),
        }
    }
}

/// The granted namespace.
struct Ledger(Bucket);

impl Ledger {
    fn open() -> Result<Ledger, wit::Error> {
        store::open("default").map(Ledger).map_err(|error| wit::Error::Ledger(told(error)))
    }
}

impl ledger::State for Ledger {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, String> {
        self.0.get(key).map_err(told)
    }

    fn set(&self, key: &str, value: &[u8]) -> Result<(), String> {
        self.0.set(key, value).map_err(told)
    }

    fn increment(&self, key: &str, by: u64) -> Result<u64, String> {
        atomics::increment(&self.0, key, by).map_err(told)
    }

    fn keys(&self) -> Result<Vec<String>, String> {
        let (mut keys, mut cursor) = (Vec::new(), None);
        loop {
            let page = self.0.list_keys(cursor).map_err(told)?;
            keys.extend(page.keys);
            cursor = page.cursor;
            if cursor.is_none() {
                return Ok(keys);
            }
        }
    }
}

fn told(error: store::Error) -> String {
    match error {
        store::Error::NoSuchStore => "no-such-store".to_owned(),
        store::Error::AccessDenied => "access-denied".to_owned(),
        store::Error::Other(why) => why,
    }
}
