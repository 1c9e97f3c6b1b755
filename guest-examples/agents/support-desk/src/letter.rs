//! The draft of the reply, and the note to the team.

use crate::orders::{Money, Status};

/// What a reply is about. Orders are their numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Matter {
    /// When somebody is there.
    Hours,
    /// A message that a person has to answer.
    Received,
    /// Where an order is.
    News {
        /// The order.
        order: String,
        /// Where it is.
        status: Status,
    },
    /// The customer has no such order.
    NoOrder,
    /// Which of these orders is it?
    Which {
        /// The customer's newest.
        orders: Vec<String>,
    },
    /// The money was given back.
    Refunded {
        /// The order.
        order: String,
        /// How much.
        money: Money,
    },
    /// The money is due, and the agent was not let.
    NotRefunded {
        /// The order.
        order: String,
        /// How much.
        money: Money,
    },
    /// The agent could not find out what is due.
    Colleague {
        /// The order.
        order: String,
    },
    /// All of it was given back before.
    Already {
        /// The order.
        order: String,
    },
    /// It has not arrived yet.
    OnItsWay {
        /// The order.
        order: String,
    },
    /// It has to come back first.
    SendBack {
        /// The order.
        order: String,
    },
}

impl Matter {
    /// What the team is told.
    #[must_use]
    pub fn note(&self, customer: &str) -> String {
        match self {
            Matter::Hours => format!("{customer} asked for the opening hours and was told"),
            Matter::Received => format!("{customer} wrote and waits for an answer"),
            Matter::News { order, .. } => format!("{customer} asked where {order} is"),
            Matter::NoOrder => format!("{customer} asked about an order that is not there"),
            Matter::Which { .. } => format!("{customer} did not say which order it is"),
            Matter::Refunded { order, money } => format!("{customer} got {money} back for {order}"),
            Matter::NotRefunded { order, money } => format!("{customer} is due {money} for {order}: please look at it"),
            Matter::Colleague { order } => format!("{customer} wants money back for {order}: please look at it"),
            Matter::Already { order } => format!("{customer} asked again for money for {order}"),
            Matter::OnItsWay { order } => format!("{customer} misses {order}, which is on its way: please look at it"),
            Matter::SendBack { order } => format!("{customer} was asked to send {order} back"),
        }
    }
}

/// Writes the reply. `told` is whether the team was told; if not, a colleague has to look at it all the same.
#[must_use]
pub fn letter(matter: &Matter, told: bool) -> String {
    let body = match matter {
        Matter::Hours => "We are here Monday to Friday, from 9:00 to 17:00.".to_owned(),
        Matter::Received => "Thank you for your message. A colleague will answer it.".to_owned(),
        Matter::News { order, status } => format!("Your order {order} {}.", place(*status)),
        Matter::NoOrder => "I cannot find that order among yours. Please check its number.".to_owned(),
        Matter::Which { orders } => format!("Which of your orders is it about: {}?", orders.join(", ")),
        Matter::Refunded { order, money } => {
            format!("I am sorry about your order {order}. We have given {money} back to you.")
        }
        Matter::NotRefunded { order, money } => format!(
            "I am sorry about your order {order}. As I see it, {money} is due to you, but I may not give it back myself. \
             A colleague will look at it."
        ),
        Matter::Colleague { order } => {
            format!("I am sorry about your order {order}. I cannot decide this myself. A colleague will look at it.")
        }
        Matter::Already { order } => format!("The price of your order {order} has been given back to you already."),
        Matter::OnItsWay { order } => {
            format!("Your order {order} is still on its way. A colleague will find out where, and write to you.")
        }
        Matter::SendBack { order } => {
            format!("Please send your order {order} back to us. We give the price back when it has arrived.")
        }
    };
    let unsaid = !told && !body.contains("A colleague will");
    let more = if unsaid { "\n\nA colleague will look at this letter before it is final." } else { "" };
    format!("Hello,\n\n{body}{more}\n\nYour support desk")
}

fn place(status: Status) -> &'static str {
    match status {
        Status::Paid => "is paid, and will be sent soon",
        Status::Shipped => "is on its way to you",
        Status::Delivered => "was delivered",
        Status::Refunded => "was cancelled, and its price given back to you",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orders::Currency;

    #[test]
    fn a_colleague_is_announced_once() {
        let refunded = Matter::Refunded { order: "A-1001".to_owned(), money: Money(4990, Currency::Eur) };
        assert!(!letter(&refunded, true).contains("colleague"));
        assert!(letter(&refunded, false).contains("A colleague will look at this letter"));
        let refused = Matter::NotRefunded { order: "A-1001".to_owned(), money: Money(4990, Currency::Eur) };
        assert_eq!(letter(&refused, false).matches("colleague").count(), 1);
    }
}
