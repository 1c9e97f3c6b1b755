//! The task: look up, decide, refund, tell, answer.

use serde_json::{Value, json};

use crate::due::{Due, due};
use crate::letter::{Matter, letter};
use crate::orders::{Money, Order, Orders, OrdersError};
use crate::request::{self, Request};
use crate::tools::{self, CallError, Tools, call, number, outcome};
use crate::wish::{Wish, order_in, wish};

/// Where the team is told what happened.
const CHANNEL: &str = "support";

/// How many of a customer's orders are looked at when the message does not say which it is about.
const ORDERS: u32 = 5;

/// Why the task could not be done.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// A stable word.
    pub code: &'static str,
    /// One sentence for a person.
    pub message: String,
}

/// Answers the message in `input`, as JSON: `draft`, `refund` (or `null`), `notified` and `steps`.
///
/// # Errors
///
/// `bad-input` (see [`request::request`]), and `orders-unreadable` when the records are damaged. What is refused is no
/// failure: the draft says that a colleague will look at it.
pub fn serve(input: &str, orders: &impl Orders, tools: &impl Tools) -> Result<Value, Failure> {
    let request = request::request(input)?;
    let mut desk = Desk { orders, tools, steps: Vec::new(), refund: Value::Null };
    let wish = wish(&request.message);
    let matter = match wish {
        Wish::Hours => Matter::Hours,
        Wish::Other => Matter::Received,
        _ => desk.about_order(&request, wish)?,
    };
    let notified = desk.notify(&matter.note(&request.customer));
    let told = notified["outcome"] == "done";
    Ok(json!({
        "draft": letter(&matter, told),
        "refund": desk.refund,
        "notified": notified,
        "steps": desk.steps,
    }))
}

/// A task under way.
struct Desk<'a, O, T> {
    orders: &'a O,
    tools: &'a T,
    /// What was done, in words, in order.
    steps: Vec<String>,
    /// The refund that was asked for, and what came of it.
    refund: Value,
}

impl<O: Orders, T: Tools> Desk<'_, O, T> {
    fn about_order(&mut self, request: &Request, wish: Wish) -> Result<Matter, Failure> {
        let order = match self.look_up(request)? {
            Ok(order) => order,
            Err(matter) => return Ok(matter),
        };
        if !wish.is_money() {
            return Ok(Matter::News { order: order.id, status: order.status });
        }
        // Who cannot know what was given back already gives nothing back.
        let Some(returned) = self.returned(&order) else { return Ok(Matter::Colleague { order: order.id }) };
        let due = due(&order, wish, &request.message, returned);
        self.steps.push(match due {
            Due::Amount(amount) => format!("decided on {}: {} is due", order.id, Money(amount, order.currency)),
            Due::Already => format!("decided on {}: nothing more is due", order.id),
            Due::OnItsWay => format!("decided on {}: it has not arrived yet", order.id),
            Due::SendBack => format!("decided on {}: it has to come back first", order.id),
        });
        Ok(match due {
            Due::Amount(amount) => self.give_back(&order, amount, wish),
            Due::Already => Matter::Already { order: order.id },
            Due::OnItsWay => Matter::OnItsWay { order: order.id },
            Due::SendBack => Matter::SendBack { order: order.id },
        })
    }

    /// The order that the message is about, or what to answer when there is not just one.
    fn look_up(&mut self, request: &Request) -> Result<Result<Order, Matter>, Failure> {
        let Some(id) = order_in(&request.message) else {
            let mut own = self.orders.of_customer(&request.customer, ORDERS).map_err(unreadable)?;
            self.steps.push(format!("looked up the orders of {}: {}", request.customer, own.len()));
            return Ok(match own.len() {
                0 => Err(Matter::NoOrder),
                1 => Ok(own.remove(0)),
                _ => Err(Matter::Which { orders: own.into_iter().map(|order| order.id).collect() }),
            });
        };
        let found = match self.orders.find(id) {
            Err(OrdersError::NotFound) => None,
            found => Some(found.map_err(unreadable)?),
        };
        // Whether somebody else has such an order is none of this customer's business.
        let own = found.filter(|order| order.customer == request.customer);
        let word = if own.is_some() { "found" } else { "not an order of this customer" };
        self.steps.push(format!("looked up {id}: {word}"));
        Ok(own.ok_or(Matter::NoOrder))
    }

    /// What was given back of an order before, in cents, if it can be known.
    fn returned(&mut self, order: &Order) -> Option<u64> {
        let answer = call(self.tools, "billing.refunds-of", &json!({"order": order.id}));
        let returned = answer.as_ref().ok().and_then(Value::as_array).and_then(|receipts| {
            let own = receipts.iter().filter(|receipt| receipt["currency"] == order.currency.word());
            own.map(|receipt| number(&receipt["amount"])).sum()
        });
        self.steps.push(match returned {
            Some(cents) => format!("asked what was given back of {}: {}", order.id, Money(cents, order.currency)),
            None => format!("asked what was given back of {}: {}", order.id, told(&answer)),
        });
        returned
    }

    fn give_back(&mut self, order: &Order, amount: u64, wish: Wish) -> Matter {
        let reason = match wish {
            Wish::Damage => "arrived damaged or incomplete",
            Wish::Delay => "arrived late",
            _ => "cancelled before it was sent",
        };
        let money = Money(amount, order.currency);
        let arguments =
            json!({"order": order.id, "amount": amount, "currency": order.currency.word(), "reason": reason});
        let answer = call(self.tools, "billing.refund", &arguments);
        self.steps.push(format!("refund of {money} for {}: {}", order.id, told(&answer)));
        self.refund = joined(arguments, outcome(&answer));
        match answer {
            Ok(_) => Matter::Refunded { order: order.id.clone(), money },
            Err(_) => Matter::NotRefunded { order: order.id.clone(), money },
        }
    }

    fn notify(&mut self, text: &str) -> Value {
        let arguments = json!({"channel": CHANNEL, "text": text});
        let answer = call(self.tools, "notify.send", &arguments);
        self.steps.push(format!("told {CHANNEL}: {}", told(&answer)));
        joined(arguments, outcome(&answer))
    }
}

fn unreadable(error: OrdersError) -> Failure {
    let message = match error {
        OrdersError::NotFound => "there is no folder of orders".to_owned(),
        OrdersError::Unreadable(why) => why,
    };
    Failure { code: "orders-unreadable", message }
}

/// What came of a call, in words.
fn told(answer: &Result<Value, CallError>) -> String {
    match answer {
        Ok(_) => "done".to_owned(),
        Err(CallError::Refused(code, record)) => format!("refused ({code}), audit record {record} says why"),
        Err(error) => tools::outcome(&Err(error.clone()))["outcome"].as_str().unwrap_or_default().to_owned(),
    }
}

/// The members of one object and then those of another.
fn joined(mut one: Value, other: Value) -> Value {
    if let (Value::Object(members), Value::Object(more)) = (&mut one, other) {
        members.extend(more);
    }
    one
}

#[cfg(test)]
mod tests;
