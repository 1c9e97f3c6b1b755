//! Rules of a grant, written again: the one that lists a request, with no more in it than that request needs.

use serde_json::{Map, Value, json};

use super::credential::{Credential, Manner, What};
use super::grant::{Bounds, Rule, default_bounds};
use super::traffic::Allowance;
use super::{Place, Request};
use crate::address::Reach;
use crate::manifest::{ByteSize, HumanDuration};

/// A grant of the rule that lists a request, for requests like this one alone.
pub(super) fn entry(rule: &Rule, request: &Request) -> Value {
    let Place { scheme, host, port, path, .. } = &request.url;
    let mut entry = Map::new();
    let mut put = |key: &str, value: Value, is_default: bool| {
        if !is_default {
            entry.insert(key.to_owned(), value);
        }
    };
    put("scheme", json!(scheme), scheme.as_str() == "https");
    put("host", json!(host), false);
    put("port", json!(port), *port == scheme.port());
    put("methods", json!([request.method]), false);
    put("paths", json!([pattern(path)]), false);
    if let Reach::Blocks(blocks) = &rule.reach {
        put("addresses", json!(blocks.iter().map(ToString::to_string).collect::<Vec<_>>()), false);
    }
    put("labels", json!(rule.labels), rule.labels.is_empty());
    put("accepts", json!(rule.accepts), rule.accepts.is_empty());
    let (own, usual): (Bounds, Bounds) = (rule.bounds, default_bounds());
    put("request", json!(ByteSize::new(own.request)), own.request == usual.request);
    put("response", json!(ByteSize::new(own.response)), own.response == usual.response);
    put("time", json!(HumanDuration::from_millis(own.milliseconds)), own.milliseconds == usual.milliseconds);
    put("stream", json!(true), !rule.stream);
    put("redirects", json!(rule.redirects), rule.redirects == 0);
    put("ca", json!(rule.ca), rule.ca.is_none());
    put("budget", json!(rule.budget), rule.budget == Allowance::default());
    if let Some(credential) = &rule.credential {
        put("credential", attached(credential), false);
    }
    json!([entry])
}

/// The pattern of one path alone.
fn pattern(path: &str) -> String {
    path.replace('*', "%2A")
}

/// A credential, as a manifest writes it.
fn attached(credential: &Credential) -> Value {
    let Credential { what, manner, lease } = credential;
    let mut table = match what {
        What::Secret(name) => json!({ "secret": name.as_str() }),
        What::Token(audience) => json!({ "token": audience }),
    };
    match manner {
        Manner::Bearer => {}
        Manner::Basic { user } => table["user"] = json!(user),
        Manner::Header { name, prefix } => {
            table["header"] = json!(name.as_str());
            if !prefix.is_empty() {
                table["prefix"] = json!(prefix);
            }
        }
    }
    table["lease"] = json!(lease);
    table
}
