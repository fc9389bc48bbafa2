//! So many requests at a time, and each for so long; one more is refused at once.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tokio::sync::Semaphore;

/// Room for requests.
#[derive(Clone)]
pub(super) struct Slots {
    pub(super) free: Arc<Semaphore>,
    pub(super) timeout: Duration,
    /// What a request is answered for which there is no room.
    pub(super) busy: fn() -> Response,
    /// What a request is answered that takes too long.
    pub(super) late: fn() -> Response,
}

/// Lets a request through while there is room for it, before anything of its body is read.
pub(super) async fn take(State(slots): State<Slots>, request: Request, next: Next) -> Response {
    let Ok(_slot) = slots.free.try_acquire() else { return (slots.busy)() };
    match tokio::time::timeout(slots.timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => (slots.late)(),
    }
}
