//! What a customer gets back.

use crate::orders::{Order, Status};
use crate::wish::{self, Wish};

/// What the rules of the shop say to a wish for money.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// So many cents.
    Amount(u64),
    /// It was all given back already.
    Already,
    /// It is on its way: somebody has to find out where.
    OnItsWay,
    /// It has to be sent back first.
    SendBack,
}

/// What part of the price is given back for a delay: a tenth.
const DELAY: u64 = 10;

/// Decides what is due. `returned` is what was given back before, in cents.
#[must_use]
pub fn due(order: &Order, wish: Wish, message: &str, returned: u64) -> Due {
    if order.status == Status::Refunded || returned >= order.total {
        return Due::Already;
    }
    let wanted = match (wish, order.status) {
        (Wish::Delay, Status::Delivered) => order.total / DELAY,
        (_, Status::Shipped) => return Due::OnItsWay,
        (Wish::Damage, Status::Delivered) => price_of_named(order, message).unwrap_or(order.total),
        (_, Status::Delivered) => return Due::SendBack,
        _ => order.total,
    };
    match wanted.min(order.total - returned) {
        0 => Due::Already,
        amount => Due::Amount(amount),
    }
}

/// What the items cost that a message names, if it names any.
fn price_of_named(order: &Order, message: &str) -> Option<u64> {
    let named: Vec<u64> = order
        .items
        .iter()
        .filter(|item| wish::names(message, &item.name))
        .map(|item| u64::from(item.quantity) * u64::from(item.price))
        .collect();
    (!named.is_empty()).then(|| named.iter().fold(0, |sum: u64, price| sum.saturating_add(*price)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orders::{Currency, Item};

    fn order(status: Status) -> Order {
        let item = |name: &str, quantity, price| Item { name: name.to_owned(), quantity, price };
        Order {
            id: "A-1001".to_owned(),
            customer: "c-1042".to_owned(),
            total: 6_985,
            currency: Currency::Eur,
            status,
            items: vec![item("blue mug", 2, 1_495), item("teapot", 1, 3_500)],
        }
    }

    #[test]
    fn a_broken_item_is_paid_for() {
        let order = order(Status::Delivered);
        assert_eq!(due(&order, Wish::Damage, "it is broken", 0), Due::Amount(6_985));
        assert_eq!(due(&order, Wish::Damage, "a blue mug is broken", 0), Due::Amount(2_990));
        assert_eq!(due(&order, Wish::Damage, "it is broken", 6_000), Due::Amount(985));
        assert_eq!(due(&order, Wish::Damage, "it is broken", 6_985), Due::Already);
    }

    #[test]
    fn nobody_gets_more_than_was_paid() {
        let mut order = order(Status::Delivered);
        order.items[1].quantity = u32::MAX;
        assert_eq!(due(&order, Wish::Damage, "the teapot is broken", 0), Due::Amount(6_985));
    }

    #[test]
    fn the_rest_depends_on_where_it_is() {
        assert_eq!(due(&order(Status::Delivered), Wish::Delay, "", 0), Due::Amount(698));
        assert_eq!(due(&order(Status::Delivered), Wish::Money, "", 0), Due::SendBack);
        assert_eq!(due(&order(Status::Shipped), Wish::Damage, "", 0), Due::OnItsWay);
        assert_eq!(due(&order(Status::Paid), Wish::Money, "", 0), Due::Amount(6_985));
        assert_eq!(due(&order(Status::Refunded), Wish::Damage, "", 0), Due::Already);
    }
}
