//! What an order's file says, and which orders are asked for.

use serde::Deserialize;

/// The largest file of one order, in bytes.
pub const LARGEST: u64 = 64 << 10;

/// How many orders of a customer are returned when no limit is given, and how many at most.
pub const USUAL: u32 = 20;
/// See [`USUAL`].
pub const MOST: u32 = 100;

/// What an order is paid in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Currency {
    /// Euro.
    Eur,
    /// US dollar.
    Usd,
    /// Pound sterling.
    Gbp,
}

/// Where an order is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Paid, and not sent yet.
    Paid,
    /// On its way.
    Shipped,
    /// With the customer.
    Delivered,
    /// Its price was given back.
    Refunded,
}

/// A line of an order.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// What it is.
    pub name: String,
    /// How many.
    pub quantity: u32,
    /// What one of them costs, in cents.
    pub price: u32,
}

/// An order.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Its number.
    pub id: String,
    /// Whose it is.
    pub customer: String,
    /// The customer's address for mail.
    pub email: String,
    /// When it was placed, as `YYYY-MM-DD`.
    pub placed: String,
    /// What was paid, in cents.
    pub total: u64,
    /// What it was paid in.
    pub currency: Currency,
    /// Where it is.
    pub status: Status,
    /// Its lines.
    pub items: Vec<Item>,
    /// What customers and staff wrote about it.
    #[serde(default)]
    pub notes: String,
}

/// The name of an order's file, if `order` can be the number of one. A number has no `.` and no `/`, so that the file lies
/// in the folder.
#[must_use]
pub fn file_of(order: &str) -> Option<String> {
    let fits = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'-';
    ((1..=32).contains(&order.len()) && order.bytes().all(fits)).then(|| format!("{order}.json"))
}

/// The number of the order that a file holds, if it is called like one.
#[must_use]
pub fn order_of(file: &str) -> Option<&str> {
    let order = file.strip_suffix(".json")?;
    file_of(order).map(|_| order)
}

/// Reads the file of an order.
///
/// # Errors
///
/// A sentence that says what is wrong with it.
pub fn read(order: &str, content: &[u8]) -> Result<Record, String> {
    let record: Record =
        serde_json::from_slice(content).map_err(|error| format!("the record of {order} is damaged: {error}"))?;
    if record.id != order {
        return Err(format!("the record of {order} holds another order"));
    }
    Ok(record)
}

/// A customer's orders among all, the newest first.
#[must_use]
pub fn of_customer(all: Vec<Record>, customer: &str, limit: Option<u32>) -> Vec<Record> {
    let mut own: Vec<Record> = all.into_iter().filter(|record| record.customer == customer).collect();
    own.sort_by(|one, other| (&other.placed, &other.id).cmp(&(&one.placed, &one.id)));
    own.truncate(limit.unwrap_or(USUAL).min(MOST) as usize);
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(id: &str, customer: &str, placed: &str) -> String {
        format!(
            r#"{{"id": "{id}", "customer": "{customer}", "email": "x@example.com", "placed": "{placed}", "total": 4990,
                "currency": "eur", "status": "paid", "items": [{{"name": "mug", "quantity": 2, "price": 2495}}]}}"#
        )
    }

    fn record(id: &str, customer: &str, placed: &str) -> Record {
        read(id, text(id, customer, placed).as_bytes()).unwrap()
    }

    #[test]
    fn only_numbers_of_orders_are_names_of_files() {
        assert_eq!(file_of("A-1001").as_deref(), Some("A-1001.json"));
        for order in ["", "a-1001", "../A-1", "A/1", "A.1", "A 1", "A\0", "Ä-1", &"A".repeat(33)] {
            assert_eq!(file_of(order), None, "{order}");
        }
        assert_eq!(order_of("A-1001.json"), Some("A-1001"));
        assert_eq!(order_of("readme.json"), None);
        assert_eq!(order_of("A-1001.json.bak"), None);
    }

    #[test]
    fn a_record_is_read_strictly() {
        assert_eq!(record("A-1", "c-1", "2026-11-02").items[0].price, 2495);
        assert!(read("A-2", text("A-1", "c-1", "2026-11-02").as_bytes()).unwrap_err().contains("another order"));
        assert!(read("A-1", b"{}").unwrap_err().contains("damaged"));
        let odd = text("A-1", "c-1", "2026-11-02").replace("4990", "-1");
        assert!(read("A-1", odd.as_bytes()).unwrap_err().contains("damaged"));
    }

    #[test]
    fn a_customer_gets_own_orders_newest_first() {
        let all = || {
            vec![
                record("A-1", "c-1", "2026-11-02"),
                record("A-2", "c-2", "2026-11-03"),
                record("A-3", "c-1", "2026-11-04"),
                record("A-4", "c-1", "2026-11-02"),
            ]
        };
        let ids = |records: Vec<Record>| records.into_iter().map(|record| record.id).collect::<Vec<_>>();
        assert_eq!(ids(of_customer(all(), "c-1", None)), ["A-3", "A-4", "A-1"]);
        assert_eq!(ids(of_customer(all(), "c-1", Some(1))), ["A-3"]);
        assert!(of_customer(all(), "c-9", None).is_empty());
    }
}
