//! So many requests at a time, and each for so long; one more is refused at once.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, Result};

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

/// The room that a request takes, until the last of those who work for it is done.
type Slot = Arc<OwnedSemaphorePermit>;

tokio::task_local! {
    static SLOT: Slot;
}

/// Lets a request through while there is room for it, before anything of its body is read.
pub(super) async fn take(State(slots): State<Slots>, request: Request, next: Next) -> Response {
    let Ok(slot) = slots.free.try_acquire_owned() else { return (slots.busy)() };
    let answering = SLOT.scope(Arc::new(slot), next.run(request));
    match tokio::time::timeout(slots.timeout, answering).await {
        Ok(response) => response,
        Err(_) => (slots.late)(),
    }
}

/// Makes what takes its time, such as a large answer, beside the requests. It cannot be stopped, so it keeps the room of
/// its request even when that is given up.
///
/// # Errors
/// [`Error::Io`] where it panics.
pub(super) async fn beside<T: Send + 'static>(make: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let slot = SLOT.try_with(Arc::clone).ok();
    let making = tokio::task::spawn_blocking(move || {
        let _slot = slot;
        make()
    });
    making.await.map_err(|error| Error::Io { doing: "making an answer".into(), source: error.into() })
}
