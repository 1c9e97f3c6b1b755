//! The component: the exported functions, and reading of the granted folder.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

#[expect(unsafe_code, clippy::pedantic, reason = "generated from WIT")]
mod bindings {
    wit_bindgen::generate!({ path: "wit", world: "orders-tool" });
    export!(Orders with_types_in self);
    use super::Orders;
}

use bindings::exports::ambit_examples::orders::orders as wit;

use crate::record::{self, Currency, LARGEST, Record, Status};

/// Where the records are granted.
const FOLDER: &str = "/orders";

struct Orders;

impl wit::Guest for Orders {
    fn find(order: String) -> Result<wit::OrderRecord, wit::Error> {
        let file = record::file_of(&order).ok_or(wit::Error::BadOrder)?;
        read(&order, &file).map(wit::OrderRecord::from)
    }

    fn of_customer(customer: String, limit: Option<u32>) -> Result<Vec<wit::OrderRecord>, wit::Error> {
        let mut all = Vec::new();
        for entry in fs::read_dir(FOLDER).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let Some(file) = name.to_str() else { continue };
            let Some(order) = record::order_of(file) else { continue };
            all.push(read(order, file)?);
        }
        Ok(record::of_customer(all, &customer, limit).into_iter().map(wit::OrderRecord::from).collect())
    }
}

fn read(order: &str, file: &str) -> Result<Record, wit::Error> {
    let mut content = Vec::new();
    let file = File::open(Path::new(FOLDER).join(file)).map_err(failed)?;
    file.take(LARGEST + 1).read_to_end(&mut content).map_err(failed)?;
    if content.len() as u64 > LARGEST {
        return Err(wit::Error::Unreadable(format!("the record of {order} has more than {LARGEST} bytes")));
    }
    record::read(order, &content).map_err(wit::Error::Unreadable)
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn failed(error: io::Error) -> wit::Error {
    match error.kind() {
        ErrorKind::NotFound => wit::Error::NotFound,
        _ => wit::Error::Unreadable(error.to_string()),
    }
}

impl From<Record> for wit::OrderRecord {
    fn from(record: Record) -> Self {
        let Record { id, customer, email, placed, total, currency, status, items, notes } = record;
        let item = |item: record::Item| wit::Item { name: item.name, quantity: item.quantity, price: item.price };
        let currency = match currency {
            Currency::Eur => wit::Currency::Eur,
            Currency::Usd => wit::Currency::Usd,
            Currency::Gbp => wit::Currency::Gbp,
        };
        let status = match status {
            Status::Paid => wit::Status::Paid,
            Status::Shipped => wit::Status::Shipped,
            Status::Delivered => wit::Status::Delivered,
            Status::Refunded => wit::Status::Refunded,
        };
        let items = items.into_iter().map(item).collect();
        wit::OrderRecord { id, customer, email, placed, total, currency, status, items, notes }
    }
}
