//! What an answer is made of, and the envelope of errors.

use std::time::SystemTime;

use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

use crate::error::Error;
use crate::serve::answer::{failure, json_response};
use crate::serve::human;
use crate::serve::parameters::Parameters;

/// An error.
#[derive(Serialize, ToSchema)]
pub(super) struct Failure {
    error: Reason,
}

/// Why there is no answer.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Reason {
    /// The status of the answer.
    #[schema(example = 400)]
    http_code: u16,
    /// What is wrong, in words.
    #[schema(example = "malformed parameter limit: expected a number, not \"many\"")]
    message: String,
}

/// What every route may answer instead.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "read by the document alone")]
pub(super) enum Failures {
    /// A parameter cannot be read.
    #[response(status = 400)]
    Malformed(#[to_schema] Failure),
    /// The header Authorization is missing, or not the one that the server expects.
    #[response(status = 401)]
    Unauthorized(#[to_schema] Failure),
    /// As many requests as the server answers at a time are under way.
    #[response(status = 429)]
    Busy(#[to_schema] Failure),
    /// The traces cannot be read.
    #[response(status = 500)]
    Failed(#[to_schema] Failure),
    /// The database cannot be reached or does not answer now, or its schema or model does not fit.
    #[response(status = 503)]
    Unavailable(#[to_schema] Failure),
    /// It took longer than it may.
    #[response(status = 504)]
    Late(#[to_schema] Failure),
}

/// An answer, or why there is none.
pub(super) type Answer<T> = Result<T, Refused>;

/// Why a request is not answered.
pub(super) struct Refused(StatusCode, String);

impl From<String> for Refused {
    /// A parameter cannot be read.
    fn from(reason: String) -> Self {
        Refused(StatusCode::BAD_REQUEST, reason)
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        let (status, reason) = failure(&error);
        Refused(status, reason)
    }
}

impl Refused {
    pub(super) fn not_found(what: &str) -> Self {
        Refused(StatusCode::NOT_FOUND, format!("there is no such {what}"))
    }
}

pub(super) fn respond(answer: Answer<impl Serialize>) -> Response {
    match answer {
        Ok(answer) => json_response(StatusCode::OK, &answer),
        Err(Refused(status, reason)) => refuse(status, &reason),
    }
}

pub(super) fn refuse(status: StatusCode, reason: &str) -> Response {
    let reason = Reason { http_code: status.as_u16(), message: reason.to_owned() };
    json_response(status, &Failure { error: reason })
}

/// A time as answers have it.
pub(super) fn time(time: SystemTime) -> String {
    human::rfc3339(time.into(), 6)
}

/// A whole number, such as a limit, from 1 to `most`.
pub(super) fn number(
    parameters: &Parameters,
    name: &'static str,
    otherwise: usize,
    most: usize,
) -> Result<usize, String> {
    let number = match parameters.get(name) {
        Some(text) => text
            .parse()
            .map_err(|_| format!("malformed parameter {name}: expected a number, not {text:?}"))?,
        None => otherwise,
    };
    Ok(number.clamp(1, most))
}
