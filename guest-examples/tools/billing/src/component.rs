//! The component: the exported functions, over the network as far as it was granted.

use std::env;

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
use web::Granted;

use crate::service::{self, Currency, Receipt, Refund, Service};

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
        let refunded = service()?.refund(&Refund { order, amount, currency, reason })?;
        Ok(wit::Refunded { receipt: receipt(refunded.receipt), total: refunded.total })
    }

    fn refunds_of(order: String) -> Result<Vec<wit::Receipt>, wit::Error> {
        Ok(service()?.refunds_of(&order)?.into_iter().map(receipt).collect())
    }
}

fn service() -> Result<Service<'static, Granted>, service::Error> {
    let base = env::var("BILLING_URL")
        .map_err(|_| service::Error::Service("nobody said in BILLING_URL where it is".to_owned()))?;
    Service::at(&base, &Granted)
}

fn receipt(receipt: Receipt) -> wit::Receipt {
    let Receipt { number, order, amount, currency, reason, repeated } = receipt;
    let currency = match currency {
        Currency::Eur => wit::Currency::Eur,
        Currency::Usd => wit::Currency::Usd,
        Currency::Gbp => wit::Currency::Gbp,
    };
    wit::Receipt { number, order, amount, currency, reason, repeated }
}

impl From<service::Error> for wit::Error {
    fn from(error: service::Error) -> Self {
        match error {
            service::Error::BadOrder => wit::Error::BadOrder,
            service::Error::BadAmount => wit::Error::BadAmount,
            service::Error::LongReason => wit::Error::LongReason,
            service::Error::Refused => wit::Error::Refused,
            service::Error::Service(why) => wit::Error::Service(why),
        }
    }
}
