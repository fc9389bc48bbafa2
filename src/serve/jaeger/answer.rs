//! Answers in Jaeger's envelopes.

use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use serde_json::json;

use crate::serve::answer::json_response;

#[derive(Serialize)]
struct Envelope<T> {
    data: T,
    total: usize,
    limit: usize,
    offset: usize,
    errors: Option<[(); 0]>,
}

/// The envelope of the older API. `total` is the number of names in a list of names, otherwise 0, as Jaeger has it.
pub(super) fn legacy(data: impl Serialize, total: usize) -> Response {
    json_response(StatusCode::OK, &Envelope { data, total, limit: 0, offset: 0, errors: None })
}

/// The envelope of the older API with an error.
pub(super) fn legacy_error(status: StatusCode, message: &str) -> Response {
    let errors = [json!({"code": status.as_u16(), "msg": message})];
    json_response(status, &json!({"data": null, "total": 0, "limit": 0, "offset": 0, "errors": errors}))
}

/// The envelope of version 3 with an error.
pub(super) fn v3_error(status: StatusCode, message: &str) -> Response {
    json_response(status, &json!({"error": {"httpCode": status.as_u16(), "message": message}}))
}
