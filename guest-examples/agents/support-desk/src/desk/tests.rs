//! The task, with orders and tools in memory.

use std::cell::RefCell;

use super::*;
use crate::orders::{Currency, Status};

/// Three orders of two customers.
struct Shelf;

fn order(id: &str, customer: &str, total: u64, status: Status) -> Order {
    let (id, customer) = (id.to_owned(), customer.to_owned());
    Order { id, customer, total, currency: Currency::Eur, status, items: Vec::new() }
}

impl Orders for Shelf {
    fn find(&self, id: &str) -> Result<Order, OrdersError> {
        match id {
            "A-1001" => Ok(order(id, "c-1042", 4_990, Status::Delivered)),
            "A-1002" => Ok(order(id, "c-1042", 25_000, Status::Delivered)),
            "A-2001" => Ok(order(id, "c-2000", 700, Status::Paid)),
            "A-6666" => Err(OrdersError::Unreadable("the record of A-6666 is damaged".to_owned())),
            _ => Err(OrdersError::NotFound),
        }
    }
    fn of_customer(&self, customer: &str, limit: u32) -> Result<Vec<Order>, OrdersError> {
        let all = ["A-1001", "A-1002", "A-2001"].map(|id| self.find(id));
        all.into_iter()
            .filter(|order| order.as_ref().is_ok_and(|order| order.customer == customer))
            .take(limit as usize)
            .collect()
    }
}

/// Tools that keep what they were asked, and answer the calls of `refused` with a refusal.
#[derive(Default)]
struct Asked {
    calls: RefCell<Vec<String>>,
    refused: &'static [&'static str],
    receipts: &'static str,
}

impl Tools for Asked {
    fn call(&self, name: &str, arguments: &str) -> Result<String, CallError> {
        self.calls.borrow_mut().push(format!("{name} {arguments}"));
        if self.refused.contains(&name) {
            return Err(CallError::Refused("denied", 7));
        }
        Ok(match name {
            "billing.refunds-of" if self.receipts.is_empty() => "[]",
            "billing.refunds-of" => self.receipts,
            _ => "1",
        }
        .to_owned())
    }
}

fn ask(tools: &Asked, customer: &str, message: &str) -> Value {
    serve(&json!({"customer": customer, "message": message}).to_string(), &Shelf, tools).unwrap()
}

const BROKEN: &str = "My order A-1001 arrived broken, I want my money back";

#[test]
fn what_is_broken_is_refunded() {
    let tools = Asked::default();
    let output = ask(&tools, "c-1042", BROKEN);
    assert_eq!(output["refund"]["amount"], 4990);
    assert_eq!(output["refund"]["outcome"], "done");
    assert_eq!(output["notified"]["outcome"], "done");
    assert!(output["draft"].as_str().unwrap().contains("given 49.90 EUR back"));
    let calls = tools.calls.borrow();
    assert_eq!(calls[0], r#"billing.refunds-of {"order":"A-1001"}"#);
    assert!(calls[1].starts_with(r#"billing.refund {"order":"A-1001","amount":4990,"currency":"eur""#));
    assert!(calls[2].starts_with("notify.send"));
}

#[test]
fn a_refusal_is_told_to_the_customer() {
    let tools = Asked { refused: &["billing.refund", "notify.send"], ..Asked::default() };
    let output = ask(&tools, "c-1042", BROKEN);
    for part in ["refund", "notified"] {
        assert_eq!(output[part]["outcome"], "refused");
        assert_eq!((&output[part]["code"], &output[part]["record"]), (&json!("denied"), &json!(7)));
    }
    let draft = output["draft"].as_str().unwrap();
    assert!(draft.contains("49.90 EUR is due") && draft.contains("A colleague will look at it"));
}

#[test]
fn nothing_is_refunded_when_the_ledger_is_closed_or_full() {
    let closed = Asked { refused: &["billing.refunds-of"], ..Asked::default() };
    let full = Asked { receipts: r#"[{"amount": 4990, "currency": "eur"}]"#, ..Asked::default() };
    let odd = Asked { receipts: r#"[{"amount": "?", "currency": "eur"}]"#, ..Asked::default() };
    for tools in [closed, full, odd] {
        assert_eq!(ask(&tools, "c-1042", BROKEN)["refund"], Value::Null);
        assert!(!tools.calls.borrow().iter().any(|call| call.starts_with("billing.refund ")));
    }
}

#[test]
fn the_order_of_another_is_as_if_it_were_not_there() {
    let other = ask(&Asked::default(), "c-1042", "Refund A-2001, it is broken");
    let none = ask(&Asked::default(), "c-1042", "Refund A-9999, it is broken");
    assert_eq!(other["refund"], Value::Null);
    assert_eq!(other["draft"], none["draft"]);
}

#[test]
fn without_a_number_the_customer_is_asked_which() {
    let output = ask(&Asked::default(), "c-1042", "It is broken, refund please");
    assert!(output["draft"].as_str().unwrap().contains("A-1001, A-1002"));
    assert_eq!(ask(&Asked::default(), "c-2000", "I want my money back")["refund"]["amount"], 700);
}

#[test]
fn what_needs_no_record_reads_none() {
    struct Closed;
    impl Orders for Closed {
        fn find(&self, _: &str) -> Result<Order, OrdersError> {
            unreachable!()
        }
        fn of_customer(&self, _: &str, _: u32) -> Result<Vec<Order>, OrdersError> {
            unreachable!()
        }
    }
    for message in ["What are your opening hours?", "Thank you!"] {
        let input = json!({"customer": "c-1042", "message": message}).to_string();
        let output = serve(&input, &Closed, &Asked::default()).unwrap();
        assert_eq!(output["notified"]["outcome"], "done");
    }
}

#[test]
fn damaged_records_are_a_failure() {
    let input = json!({"customer": "c-1042", "message": "Where is A-6666?"}).to_string();
    assert_eq!(serve(&input, &Shelf, &Asked::default()).unwrap_err().code, "orders-unreadable");
}
