//! Our own API: JSON, described by the OpenAPI document at `/api/openapi.json`.
//!
//! Routes and document come from one list, so that neither has what the other lacks.

mod answer;
mod health;
mod new;
mod search;
mod stats;
mod suggest;
mod traces;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::WWW_AUTHENTICATE;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::get;
use tower_http::compression::CompressionLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::bytes_response;
use super::names::KnownNames;
use super::slots::{self, Slots};
use super::{Limits, Shared, auth, parameters};
use crate::error::{Error, Result};
use crate::store::TraceStore;
use answer::refuse;

/// What the routes share.
#[derive(Clone)]
struct Api {
    store: TraceStore,
    limits: Limits,
    names: KnownNames,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "otel-pgvector",
        description = "Traces in PostgreSQL, found again by meaning. Errors have one envelope. Unknown parameters are ignored."
    ),
    tags(
        (name = "traces", description = "Finding traces, and reading them"),
        (name = "statistics", description = "Services, operations, and which calls which"),
        (name = "health", description = "How the store is")
    )
)]
struct Document;

/// All routes, for whom the guard lets in.
///
/// # Errors
/// [`Error::Input`] where the document cannot be written.
pub(super) fn routes(shared: Shared) -> Result<Router> {
    let Shared { store, limits, free, guard, watch, names } = shared;
    let slots = Slots {
        free,
        timeout: limits.timeout,
        busy: || {
            let reason = "as many requests as the server answers at a time are under way";
            refuse(StatusCode::TOO_MANY_REQUESTS, reason)
        },
        late: || refuse(StatusCode::GATEWAY_TIMEOUT, "the request took longer than it may"),
    };
    let malformed: parameters::Malformed = |reason| refuse(StatusCode::BAD_REQUEST, reason);
    let refuse: auth::Refuse = |challenge| {
        let reason = "the header Authorization is missing, or not the one that the server expects";
        let mut response = refuse(StatusCode::UNAUTHORIZED, reason);
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        response
    };
    let asking = OpenApiRouter::new()
        .routes(routes!(search::search))
        .routes(routes!(suggest::suggest))
        .routes(routes!(traces::spans))
        .routes(routes!(traces::similar))
        .routes(routes!(new::new))
        .routes(routes!(stats::services))
        .routes(routes!(stats::operations))
        .routes(routes!(stats::dependencies))
        .with_state(Api { store, limits, names })
        .layer(from_fn_with_state(malformed, parameters::require))
        .layer(from_fn_with_state(limits.timeout, slots::keep))
        .layer(from_fn_with_state(slots, slots::take));
    // A probe is answered however busy the server is.
    let probing = OpenApiRouter::new().routes(routes!(health::health)).with_state(watch);
    let all = OpenApiRouter::with_openapi(Document::openapi()).merge(asking).merge(probing);
    let (router, document) = all.split_for_parts();
    let document = document
        .to_json()
        .map_err(|error| Error::Input { origin: "/api/openapi.json".into(), reason: error.to_string() })?;
    Ok(router
        .route("/api/openapi.json", get(openapi).with_state(Arc::from(document)))
        .layer(CompressionLayer::new())
        .layer(from_fn_with_state((guard, refuse), auth::require)))
}

async fn openapi(State(document): State<Arc<str>>) -> Response {
    bytes_response(StatusCode::OK, document.as_bytes().to_vec())
}
