//! Order records, as the agent sees them.

use std::fmt;

/// Where the records are.
pub trait Orders {
    /// The order with this number.
    ///
    /// # Errors
    ///
    /// See [`OrdersError`].
    fn find(&self, order: &str) -> Result<Order, OrdersError>;
    /// A customer's orders, the newest first.
    ///
    /// # Errors
    ///
    /// See [`OrdersError`].
    fn of_customer(&self, customer: &str, limit: u32) -> Result<Vec<Order>, OrdersError>;
}

/// Why there is no record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrdersError {
    /// There is no such order.
    NotFound,
    /// The records cannot be read.
    Unreadable(String),
}

/// What an order is paid in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Currency {
    /// Euro.
    Eur,
    /// US dollar.
    Usd,
    /// Pound sterling.
    Gbp,
}

impl Currency {
    /// The word that `billing` has for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Currency::Eur => "eur",
            Currency::Usd => "usd",
            Currency::Gbp => "gbp",
        }
    }
}

/// Where an order is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What it is.
    pub name: String,
    /// How many.
    pub quantity: u32,
    /// What one of them costs, in cents.
    pub price: u32,
}

/// An order: what the agent decides upon. Notes and addresses are not for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Its number.
    pub id: String,
    /// Whose it is.
    pub customer: String,
    /// What was paid, in cents.
    pub total: u64,
    /// What it was paid in.
    pub currency: Currency,
    /// Where it is.
    pub status: Status,
    /// Its lines.
    pub items: Vec<Item>,
}

/// An amount of money, for people: `49.90 EUR`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Money(pub u64, pub Currency);

impl fmt::Display for Money {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Money(cents, currency) = self;
        write!(formatter, "{}.{:02} {}", cents / 100, cents % 100, currency.word().to_uppercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_has_two_digits_of_cents() {
        assert_eq!(Money(4990, Currency::Eur).to_string(), "49.90 EUR");
        assert_eq!(Money(5, Currency::Gbp).to_string(), "0.05 GBP");
    }
}
