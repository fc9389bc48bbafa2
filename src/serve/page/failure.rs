//! Pages for what goes wrong.

use axum::http::StatusCode;
use axum::response::Response;
use maud::html;

use super::layout::{Section, respond};
use crate::error::Error;
use crate::serve::answer::failure;

/// A page that says why there is no other.
pub(super) fn explain(status: StatusCode, reason: &str) -> Response {
    let main = html! {
        h1 { (status.canonical_reason().unwrap_or("Error")) }
        p.reason role="alert" { (reason) }
        p { a href="/" { "Search traces" } }
    };
    respond(status, Section::Other, "Error", main)
}

/// A page for a failure of the store.
pub(super) fn failed(error: &Error) -> Response {
    let (status, reason) = failure(error);
    explain(status, &reason)
}
