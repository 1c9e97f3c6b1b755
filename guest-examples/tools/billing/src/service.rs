//! The billing service: JSON over HTTP.
//!
//! | request | answer |
//! | --- | --- |
//! | `POST /v1/refunds` with a refund | 201, or 200 when it was made before: the receipt, and the order's total |
//! | `GET /v1/orders/<order>/refunds` | 200: all refunds of the order |
//!
//! Other statuses come with `{"error": word, "message": sentence}`. What is wrong with a refund is found here first, so that
//! nothing is sent that the service would not take.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use web::{Method, Request, Url, Web};

/// The longest reason, in bytes.
pub const LONGEST_REASON: usize = 500;

/// The longest answer, in bytes.
const LARGEST: usize = 1 << 20;

/// What is given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Currency {
    /// Euro.
    Eur,
    /// US dollar.
    Usd,
    /// Pound sterling.
    Gbp,
}

/// A refund that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refund {
    /// The order.
    pub order: String,
    /// How much, in cents.
    pub amount: u32,
    /// In what.
    pub currency: Currency,
    /// Why.
    pub reason: Option<String>,
}

/// A refund, as the ledger has it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Receipt {
    /// Its number, from 1.
    pub number: u64,
    /// The order.
    pub order: String,
    /// How much, in cents.
    pub amount: u32,
    /// In what.
    pub currency: Currency,
    /// Why.
    pub reason: Option<String>,
    /// Whether it had been made before.
    pub repeated: bool,
}

/// What came of asking for a refund.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct Refunded {
    /// The refund.
    pub receipt: Receipt,
    /// All refunds of the order in this currency, in cents.
    pub total: u64,
}

#[derive(Deserialize)]
struct Refunds {
    refunds: Vec<Receipt>,
}

#[derive(Deserialize)]
struct Complaint {
    error: String,
    message: String,
}

/// Why there is no refund.
#[derive(Debug, PartialEq, Eq)]
pub enum Error {
    /// That is no order's number.
    BadOrder,
    /// The amount is 0.
    BadAmount,
    /// The reason is longer than [`LONGEST_REASON`].
    LongReason,
    /// The request to the service was not let out.
    Refused,
    /// The service cannot be reached, or says something else than it should.
    Service(String),
}

/// The service at an address, as far as it is let out to.
#[derive(Debug)]
pub struct Service<'a, W> {
    base: Url,
    web: &'a W,
}

impl<'a, W: Web> Service<'a, W> {
    /// The service at `base`, the value of `BILLING_URL`.
    ///
    /// # Errors
    ///
    /// It is no address.
    pub fn at(base: &str, web: &'a W) -> Result<Self, Error> {
        match Url::parse(base) {
            Ok(base) if !base.cannot_be_a_base() => Ok(Self { base, web }),
            _ => Err(Error::Service(format!("`{base}` in BILLING_URL is no address"))),
        }
    }

    /// Asks for a refund.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn refund(&self, refund: &Refund) -> Result<Refunded, Error> {
        check(&refund.order)?;
        if refund.amount == 0 {
            return Err(Error::BadAmount);
        }
        if refund.reason.as_ref().is_some_and(|reason| reason.len() > LONGEST_REASON) {
            return Err(Error::LongReason);
        }
        let body = serde_json::to_vec(refund).map_err(|error| Error::Service(error.to_string()))?;
        self.ask(Method::Post("application/json"), "/v1/refunds", body)
    }

    /// Asks for all refunds of an order.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn refunds_of(&self, order: &str) -> Result<Vec<Receipt>, Error> {
        check(order)?;
        let answer: Refunds = self.ask(Method::Get, &format!("/v1/orders/{order}/refunds"), Vec::new())?;
        Ok(answer.refunds)
    }

    fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, body: Vec<u8>) -> Result<T, Error> {
        let mut url = self.base.clone();
        url.set_path(path);
        let request = Request { method, url, body, accept: "application/json", headers: &[], largest: LARGEST };
        let response = self.web.send(&request).map_err(told)?;
        let unreadable = |error: serde_json::Error| Error::Service(format!("its answer cannot be read: {error}"));
        if matches!(response.status, 200 | 201) {
            return serde_json::from_slice(&response.body).map_err(unreadable);
        }
        Err(match serde_json::from_slice::<Complaint>(&response.body) {
            Ok(complaint) => complained(&complaint),
            Err(_) => Error::Service(format!("it answered with status {}", response.status)),
        })
    }
}

fn complained(complaint: &Complaint) -> Error {
    match complaint.error.as_str() {
        "bad-order" => Error::BadOrder,
        "bad-amount" => Error::BadAmount,
        "long-reason" => Error::LongReason,
        other => Error::Service(format!("it answered {other}: {}", complaint.message)),
    }
}

fn told(error: web::Error) -> Error {
    match error {
        web::Error::Refused => Error::Refused,
        web::Error::BadUrl => Error::Service("its address is none".to_owned()),
        web::Error::TooLarge => Error::Service("its answer is too long".to_owned()),
        web::Error::Unreachable(why) => Error::Service(format!("it cannot be reached: {why}")),
    }
}

fn check(order: &str) -> Result<(), Error> {
    let fits = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=32).contains(&order.len()) && order.bytes().all(fits) { Ok(()) } else { Err(Error::BadOrder) }
}

#[cfg(test)]
mod tests {
    use web::{Response, Script};

    use super::*;

    fn refund(order: &str, amount: u32, reason: Option<String>) -> Refund {
        Refund { order: order.to_owned(), amount, currency: Currency::Eur, reason }
    }

    fn json(status: u16, body: &str) -> Response {
        let media_type = Some("application/json".to_owned());
        Response { status, media_type, location: None, body: body.as_bytes().to_vec() }
    }

    const RECEIPT: &str =
        r#"{"number": 7, "order": "A-1", "amount": 700, "currency": "eur", "reason": null, "repeated": false}"#;

    #[test]
    fn a_refund_is_asked_for_and_read() {
        let script = Script::new(|_: &Request| Ok(json(201, &format!(r#"{{"receipt": {RECEIPT}, "total": 900}}"#))));
        let service = Service::at("http://localhost:8802", &script).unwrap();
        let refunded = service.refund(&refund("A-1", 700, None)).unwrap();
        assert_eq!((refunded.total, refunded.receipt.number, refunded.receipt.repeated), (900, 7, false));
        let asked =
            r#"POST http://localhost:8802/v1/refunds {"order":"A-1","amount":700,"currency":"eur","reason":null}"#;
        assert_eq!(script.asked(), [asked]);
    }

    #[test]
    fn the_refunds_of_an_order_are_read() {
        let script = Script::new(|_: &Request| Ok(json(200, &format!(r#"{{"refunds": [{RECEIPT}]}}"#))));
        let service = Service::at("http://localhost:8802/", &script).unwrap();
        assert_eq!(service.refunds_of("A-1").unwrap()[0].amount, 700);
        assert_eq!(script.asked(), ["GET http://localhost:8802/v1/orders/A-1/refunds"]);
    }

    #[test]
    fn what_is_no_refund_is_not_sent() {
        let script = Script::new(|_: &Request| Ok(json(200, "{}")));
        let service = Service::at("http://localhost:8802", &script).unwrap();
        assert_eq!(service.refund(&refund("a/../1", 1, None)), Err(Error::BadOrder));
        assert_eq!(service.refund(&refund("", 1, None)), Err(Error::BadOrder));
        assert_eq!(service.refund(&refund("A-1", 0, None)), Err(Error::BadAmount));
        assert_eq!(service.refund(&refund("A-1", 1, Some("x".repeat(LONGEST_REASON + 1)))), Err(Error::LongReason));
        assert_eq!(service.refunds_of("A-1/refunds?x"), Err(Error::BadOrder));
        assert!(script.asked().is_empty());
        assert!(matches!(Service::at("localhost:8802", &script), Err(Error::Service(_))));
    }

    #[test]
    fn what_goes_wrong_is_told() {
        let answered = |answer: Result<Response, web::Error>| {
            let script = Script::new(move |_: &Request| answer.clone());
            Service::at("http://localhost:8802", &script).unwrap().refund(&refund("A-1", 1, None)).unwrap_err()
        };
        assert_eq!(answered(Err(web::Error::Refused)), Error::Refused);
        let complaint = r#"{"error": "bad-order", "message": "no such order"}"#;
        assert_eq!(answered(Ok(json(422, complaint))), Error::BadOrder);
        let full = r#"{"error": "ledger", "message": "the disk is full"}"#;
        assert_eq!(answered(Ok(json(500, full))), Error::Service("it answered ledger: the disk is full".to_owned()));
        assert_eq!(answered(Ok(json(502, "oops"))), Error::Service("it answered with status 502".to_owned()));
        assert!(matches!(answered(Ok(json(200, "[]"))), Error::Service(_)));
    }
}
