//! Requests whose bodies do not come: given up, so that the room they take is there for others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::BodyExt;
use tower_http::timeout::{TimeoutBody, TimeoutError};

/// How long nothing may come of a body. A slow link brings a little all the time; one that loses packets is silent for
/// some seconds.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Answers so when nothing has come of a body for that long.
pub(super) type Stalled = fn() -> Response;

/// Gives a request up whose body stalls.
pub(super) async fn give_up(State(stalled): State<Stalled>, request: Request, next: Next) -> Response {
    let has_stalled = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&has_stalled);
    let watched = request.map(|body| {
        Body::new(TimeoutBody::new(PATIENCE, body).map_err(move |error| {
            seen.fetch_or(error.is::<TimeoutError>(), Ordering::Relaxed);
            error
        }))
    });
    let response = next.run(watched).await;
    if has_stalled.load(Ordering::Relaxed) { stalled() } else { response }
}
