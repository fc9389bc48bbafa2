//! Answers in JSON, and what a failure of the store is called.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use opentelemetry::otel_warn;
use serde::Serialize;
use serde_json::json;

use crate::error::Error;

/// What a failure of the store is called. The log has what the client is not told.
pub(super) fn failure(error: &Error) -> (StatusCode, String) {
    match error {
        Error::Input { reason, .. } => (StatusCode::BAD_REQUEST, reason.clone()),
        Error::Timeout { .. } => (StatusCode::GATEWAY_TIMEOUT, error.to_string()),
        Error::Connect { .. } => {
            otel_warn!(name: "Server.AnswerFailed", reason = error.to_string());
            (StatusCode::SERVICE_UNAVAILABLE, "the database cannot be reached".into())
        }
        // It restarts, is behind a pooler without it, or has no room: who asks again is answered.
        error if error.is_transient() => {
            otel_warn!(name: "Server.AnswerFailed", reason = error.to_string());
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "the database does not answer now; the server's log says why".into(),
            )
        }
        Error::Model(_) | Error::Schema(_) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        _ => {
            otel_warn!(name: "Server.AnswerFailed", reason = error.to_string());
            (StatusCode::INTERNAL_SERVER_ERROR, "the traces cannot be read; the server's log says why".into())
        }
    }
}

pub(super) fn json_response(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => bytes_response(status, body),
        Err(error) => bytes_response(
            StatusCode::INTERNAL_SERVER_ERROR,
            json!({"errors": [{"code": 500, "msg": error.to_string()}]}).to_string().into_bytes(),
        ),
    }
}

/// JSON that is written already. It is never taken for anything else, whatever it contains.
pub(super) fn bytes_response(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
