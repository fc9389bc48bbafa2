//! Pages for what goes wrong.

use axum::http::{StatusCode, Uri};
use axum::response::Response;
use maud::html;

use super::layout::{Section, respond};
use crate::error::Error;
use crate::serve::answer::failure;
use crate::serve::jaeger;

/// A page that says why there is no other.
pub(super) fn explain(status: StatusCode, reason: &str) -> Response {
    let main = html! {
        h1 { (status.canonical_reason().unwrap_or("Error")) }
        p.reason role="alert" { (reason) }
        p { a href="/" { "Search traces" } }
    };
    respond(status, Section::Other, "Error", main)
}

/// Where nothing is: a page, and of an API what its clients read.
pub(super) async fn nowhere(uri: Uri) -> Response {
    if uri.path().starts_with("/api/") {
        return jaeger::unknown(&uri);
    }
    explain(StatusCode::NOT_FOUND, "There is nothing at this address.")
}

/// A page for a failure of the store.
pub(super) fn failed(error: &Error) -> Response {
    let (status, reason) = failure(error);
    explain(status, &reason)
}
