//! The page: what people look at in a browser.
//!
//! Pages are rendered here; their script only makes them quicker to use. Everything they show is a link that can be kept.

mod assets;
mod failure;
mod health;
mod layout;
mod map;
mod new;
mod operations;
mod period;
mod search;
mod show;
mod similar;
mod spark;
mod trace;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::WWW_AUTHENTICATE;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;

use super::names::KnownNames;
use super::slots::{self, Slots};
use super::{Limits, Shared, auth, parameters};
use crate::store::TraceStore;
use failure::explain;

/// What the pages share.
#[derive(Clone)]
struct Pages {
    store: TraceStore,
    limits: Limits,
    names: KnownNames,
}

/// All pages, for whom the guard lets in; they take their turn among all that is asked of the store.
pub(super) fn routes(shared: Shared) -> Router {
    let Shared { store, limits, free, guard, watch, names } = shared;
    let slots = Slots {
        free,
        timeout: limits.timeout,
        busy: || explain(StatusCode::TOO_MANY_REQUESTS, "The server is busy. Try again in a moment."),
        late: || explain(StatusCode::GATEWAY_TIMEOUT, "This took longer than a request may."),
    };
    let malformed: parameters::Malformed = |reason| explain(StatusCode::BAD_REQUEST, reason);
    let refuse: auth::Refuse = |challenge| {
        let mut response = explain(StatusCode::UNAUTHORIZED, "Whoever looks has to log in.");
        let challenge = axum::http::HeaderValue::from_static(challenge);
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        response
    };
    let pages = Router::new()
        .route("/", get(search::page))
        .route("/operations", get(operations::page))
        .route("/map", get(map::page))
        .route("/traces/{id}", get(trace::page))
        .route("/traces/{id}/rows", get(trace::data))
        .route("/traces/{id}/spans/{key}", get(trace::part))
        .route("/traces/{id}/spans/{key}/{place}", get(trace::value))
        .route("/traces/{id}/similar", get(similar::page))
        .route("/new", get(new::page))
        .with_state(Pages { store, limits, names })
        .layer(from_fn_with_state(malformed, parameters::require))
        .layer(from_fn_with_state(limits.timeout, slots::keep))
        .layer(from_fn_with_state(slots, slots::take));
    // Files ask nothing of the store, and how it is has to be seen when nothing else is answered.
    pages
        .route("/health", get(health::page).with_state(watch))
        .route("/assets/{name}", get(assets::file))
        .fallback(failure::nowhere)
        .layer(CompressionLayer::new().quality(CompressionLevel::Fastest))
        .layer(from_fn_with_state((guard, refuse), auth::require))
        .layer(from_fn(layout::secure))
}
