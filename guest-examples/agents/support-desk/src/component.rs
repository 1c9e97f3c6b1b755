//! The component: the exported function, the imported interface of `orders`, and the tools that the host offers.

#[expect(unsafe_code, clippy::pedantic, reason = "generated from WIT")]
mod bindings {
    wit_bindgen::generate!({
        inline: "
            package ambit-examples:support-desk@0.1.0;
            world desk {
                include ambit:agent/agent@0.1.0;
                import ambit-examples:orders/orders@0.1.0;
            }
        ",
        path: ["../../../wit", "../../tools/orders/wit"],
        world: "ambit-examples:support-desk/desk",
        generate_all,
    });
    export!(SupportDesk with_types_in self);
    use super::SupportDesk;
}

use bindings::ambit::agent::tools;
use bindings::ambit::agent::types::{Failure, RefusalCode};
use bindings::ambit_examples::orders::orders as wit;

use crate::desk;
use crate::orders::{Currency, Item, Order, Orders, OrdersError, Status};
use crate::tools::{CallError, Tools};

struct SupportDesk;

impl bindings::Guest for SupportDesk {
    fn run(input: String) -> Result<String, Failure> {
        let failure = |failure: desk::Failure| Failure { code: failure.code.to_owned(), message: failure.message };
        desk::serve(&input, &Host, &Host).map(|answer| answer.to_string()).map_err(failure)
    }
}

struct Host;

impl Orders for Host {
    fn find(&self, order: &str) -> Result<Order, OrdersError> {
        wit::find(order).map(Order::from).map_err(OrdersError::from)
    }

    fn of_customer(&self, customer: &str, limit: u32) -> Result<Vec<Order>, OrdersError> {
        let orders = wit::of_customer(customer, Some(limit))?;
        Ok(orders.into_iter().map(Order::from).collect())
    }
}

impl From<wit::Error> for OrdersError {
    fn from(error: wit::Error) -> Self {
        match error {
            wit::Error::NotFound | wit::Error::BadOrder => OrdersError::NotFound,
            wit::Error::Unreadable(why) => OrdersError::Unreadable(why),
        }
    }
}

impl From<wit::OrderRecord> for Order {
    fn from(record: wit::OrderRecord) -> Self {
        let currency = match record.currency {
            wit::Currency::Eur => Currency::Eur,
            wit::Currency::Usd => Currency::Usd,
            wit::Currency::Gbp => Currency::Gbp,
        };
        let status = match record.status {
            wit::Status::Paid => Status::Paid,
            wit::Status::Shipped => Status::Shipped,
            wit::Status::Delivered => Status::Delivered,
            wit::Status::Refunded => Status::Refunded,
        };
        let item = |item: wit::Item| Item { name: item.name, quantity: item.quantity, price: item.price };
        let items = record.items.into_iter().map(item).collect();
        Order { id: record.id, customer: record.customer, total: record.total, currency, status, items }
    }
}

impl Tools for Host {
    fn call(&self, name: &str, arguments: &str) -> Result<String, CallError> {
        tools::call(name, arguments).map_err(|error| match error {
            tools::Error::UnknownTool => CallError::Unknown,
            tools::Error::InvalidArguments(why) => CallError::Misfit(why),
            tools::Error::Refused(refusal) => CallError::Refused(word(refusal.code), refusal.record),
            tools::Error::Failed(error) => CallError::Failed(error),
            tools::Error::Trapped(why) => CallError::Trapped(why),
        })
    }
}

fn word(code: RefusalCode) -> &'static str {
    match code {
        RefusalCode::NotGranted => "not-granted",
        RefusalCode::Denied => "denied",
        RefusalCode::NeedsApproval => "needs-approval",
        RefusalCode::Quota => "quota",
        RefusalCode::Unavailable => "unavailable",
    }
}
