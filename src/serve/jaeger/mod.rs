//! Jaeger's API: version 3, which today's jaeger-ui calls, and the one before, which older ones and Grafana call.

mod answer;
mod dependencies;
mod legacy;
mod metrics;
mod model;
mod query;
mod v3;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::WWW_AUTHENTICATE;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use tower_http::compression::CompressionLayer;

use super::slots::{self, Slots};
use super::{Limits, Shared, auth, parameters};
use crate::store::TraceStore;
use answer::legacy_error;
pub(super) use legacy::unknown;
pub(super) use model::kind;

/// What the routes share.
#[derive(Clone)]
struct Api {
    store: TraceStore,
    limits: Limits,
}

/// All routes, for whom the guard lets in.
pub(super) fn routes(shared: Shared) -> Router {
    let Shared { store, limits, free, guard, .. } = shared;
    let slots = Slots {
        free,
        timeout: limits.timeout,
        busy: || {
            let reason = "as many requests as the server answers at a time are under way";
            legacy_error(StatusCode::TOO_MANY_REQUESTS, reason)
        },
        late: || legacy_error(StatusCode::GATEWAY_TIMEOUT, "the request took longer than it may"),
    };
    let malformed: parameters::Malformed = |reason| legacy_error(StatusCode::BAD_REQUEST, reason);
    let refuse: auth::Refuse = |challenge| {
        let reason = "the header Authorization is missing, or not the one that the server expects";
        let mut response = legacy_error(StatusCode::UNAUTHORIZED, reason);
        let challenge = axum::http::HeaderValue::from_static(challenge);
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        response
    };
    Router::new()
        .route("/api/v3/services", get(v3::services))
        .route("/api/v3/operations", get(v3::operations))
        .route("/api/v3/traces", get(v3::find))
        .route("/api/v3/trace-summaries", get(v3::summaries))
        .route("/api/v3/traces/{id}", get(v3::trace))
        .route("/api/services", get(legacy::services))
        .route("/api/services/{service}/operations", get(legacy::operation_names))
        .route("/api/operations", get(legacy::operations))
        .route("/api/traces", get(legacy::find))
        .route("/api/traces/{id}", get(legacy::trace))
        .route("/api/dependencies", get(dependencies::dependencies))
        .route("/api/metrics/{figure}", get(metrics::metrics))
        .with_state(Api { store, limits })
        .layer(CompressionLayer::new())
        .layer(from_fn_with_state(malformed, parameters::require))
        .layer(from_fn_with_state(limits.timeout, slots::keep))
        .layer(from_fn_with_state(slots, slots::take))
        .layer(from_fn_with_state((guard, refuse), auth::require))
}
