//! The manager of services: JSON over HTTP.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /v1/services/<name>` | 200: `{"name", "healthy", "restarts"}`; 404 where there is none |
//! | `POST /v1/services/<name>/restart` | 200: the same, afterwards |
//!
//! A restart with the idempotency key of one before is that one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;

/// A service that is managed.
#[derive(Clone, Debug, Serialize)]
struct Managed {
    name: &'static str,
    healthy: bool,
    restarts: u64,
}

/// What is managed, and which restarts were made.
struct House {
    services: BTreeMap<&'static str, Managed>,
    made: BTreeSet<String>,
}

type Shared = Arc<Mutex<House>>;

/// A house with a web service that is ill, and a database that is well.
pub(super) fn router() -> Router {
    let managed = |name, healthy| (name, Managed { name, healthy, restarts: 0 });
    let services = BTreeMap::from([managed("web", false), managed("database", true)]);
    Router::new()
        .route("/v1/services/{name}", get(status))
        .route("/v1/services/{name}/restart", post(restart))
        .with_state(Arc::new(Mutex::new(House { services, made: BTreeSet::new() })))
}

async fn status(State(house): State<Shared>, Path(name): Path<String>) -> Response {
    let house = house.lock().unwrap_or_else(PoisonError::into_inner);
    told(house.services.get(name.as_str()))
}

async fn restart(State(house): State<Shared>, Path(name): Path<String>, headers: HeaderMap) -> Response {
    let mut house = house.lock().unwrap_or_else(PoisonError::into_inner);
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).map(ToOwned::to_owned);
    let is_new = key.is_none_or(|key| house.made.insert(key));
    let service = house.services.get_mut(name.as_str());
    told(service.map(|service| {
        service.healthy = true;
        service.restarts += u64::from(is_new);
        &*service
    }))
}

fn told(service: Option<&Managed>) -> Response {
    match service {
        Some(service) => Json(service).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
