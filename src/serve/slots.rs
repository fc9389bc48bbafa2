//! So many requests at a time; one more is refused at once.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tokio::sync::Semaphore;

/// Room for requests.
#[derive(Clone)]
pub(super) struct Slots {
    free: Arc<Semaphore>,
    refuse: fn() -> Response,
}

impl Slots {
    /// Requests beyond `count` are answered with what `refuse` says.
    pub(super) fn new(free: Arc<Semaphore>, refuse: fn() -> Response) -> Self {
        Slots { free, refuse }
    }
}

/// Lets a request through while there is room for it, before anything of its body is read.
pub(super) async fn take(State(slots): State<Slots>, request: Request, next: Next) -> Response {
    match slots.free.try_acquire() {
        Ok(_slot) => next.run(request).await,
        Err(_) => (slots.refuse)(),
    }
}
