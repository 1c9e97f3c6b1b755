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

use kept::Granted;

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
        let refunded = ledger::refund(&open()?, &order, amount, currency, reason)?;
        Ok(wit::Refunded { receipt: receipt(refunded.refund, refunded.repeated), total: refunded.total })
    }

    fn refunds_of(order: String) -> Result<Vec<wit::Receipt>, wit::Error> {
        let refunds = ledger::refunds_of(&open()?, &order)?;
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

fn open() -> Result<Granted, wit::Error> {
    Granted::open().map_err(wit::Error::Ledger)
}
