//! The billing service: refunds as JSON over HTTP.
//!
//! | request | answer |
//! | --- | --- |
//! | `POST /v1/refunds` with `{"order", "amount", "currency", "reason"}` | 201, or 200 when it was made before: `{"receipt", "total"}` |
//! | `GET /v1/orders/<order>/refunds` | 200: `{"refunds": [receipt, …]}` |
//!
//! Whatever is wrong is answered with `{"error": word, "message": sentence}`.

use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;

use super::ledger::{Ledger, Problem, Refund};

/// The longest request, in bytes.
const LONGEST: usize = 16 << 10;

type Shared = Arc<Mutex<Ledger>>;

pub(super) fn router(ledger: Ledger) -> Router {
    Router::new()
        .route("/v1/refunds", post(refund))
        .route("/v1/orders/{order}/refunds", get(refunds))
        .fallback(|| async { complaint(StatusCode::NOT_FOUND, "not-found", "there is nothing at this address") })
        .method_not_allowed_fallback(|| async {
            complaint(StatusCode::METHOD_NOT_ALLOWED, "no-such-method", "this address takes another method")
        })
        .layer(DefaultBodyLimit::max(LONGEST))
        .with_state(Arc::new(Mutex::new(ledger)))
}

async fn refund(State(ledger): State<Shared>, refund: Result<Json<Refund>, JsonRejection>) -> Response {
    let Json(refund) = match refund {
        Ok(refund) => refund,
        Err(rejection) => return complaint(rejection.status(), "bad-request", &rejection.body_text()),
    };
    // The ledger waits for the disk while it is locked: one refund after the other.
    match ledger.lock().unwrap_or_else(PoisonError::into_inner).refund(refund) {
        Ok(refunded) => {
            let status = if refunded.receipt.repeated { StatusCode::OK } else { StatusCode::CREATED };
            (status, Json(refunded)).into_response()
        }
        Err(problem) => complained(&problem),
    }
}

async fn refunds(State(ledger): State<Shared>, Path(order): Path<String>) -> Response {
    match ledger.lock().unwrap_or_else(PoisonError::into_inner).refunds_of(&order) {
        Ok(refunds) => Json(json!({ "refunds": refunds })).into_response(),
        Err(problem) => complained(&problem),
    }
}

fn complained(problem: &Problem) -> Response {
    let (status, word) = match problem {
        Problem::BadOrder => (StatusCode::UNPROCESSABLE_ENTITY, "bad-order"),
        Problem::BadAmount => (StatusCode::UNPROCESSABLE_ENTITY, "bad-amount"),
        Problem::LongReason => (StatusCode::UNPROCESSABLE_ENTITY, "long-reason"),
        Problem::Disk(_) => (StatusCode::INTERNAL_SERVER_ERROR, "ledger"),
    };
    complaint(status, word, &problem.to_string())
}

fn complaint(status: StatusCode, word: &str, message: &str) -> Response {
    (status, Json(json!({ "error": word, "message": message }))).into_response()
}
