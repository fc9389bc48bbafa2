//! So many requests at a time, and each for so long; one more is refused at once. Where answers may be large, a request
//! ends when its answer is taken.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::header::CONTENT_LENGTH;
use axum::middleware::Next;
use axum::response::Response;
use axum_server::ConnectionShutdown;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::error::{Error, Result};

/// How much of an answer is handed to its connection at a time, in bytes.
const PIECE: usize = 64 << 10;

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

/// Keeps the room of an answer until all of it is taken, or its connection ends. A connection that takes nothing for this
/// long is ended. It is not for answers with trailers, such as gRPC's, which would lose them.
pub(super) async fn keep(State(patience): State<Duration>, request: Request, next: Next) -> Response {
    let connection = request.extensions().get::<ConnectionShutdown>().cloned();
    let response = next.run(request).await;
    match SLOT.try_with(Arc::clone) {
        Ok(slot) => kept(slot, response, patience, connection),
        Err(_) => response,
    }
}

fn kept(
    slot: Slot,
    response: Response,
    patience: Duration,
    connection: Option<ConnectionShutdown>,
) -> Response {
    let (mut parts, body) = response.into_parts();
    // A stream has no length of its own.
    if let Some(length) = body.size_hint().exact() {
        parts.headers.entry(CONTENT_LENGTH).or_insert(length.into());
    }
    let (taken, mut progress) = watch::channel(());
    if let Some(connection) = connection {
        tokio::spawn(async move {
            // Without an error it goes on; with one there is nobody who could take more.
            while let Ok(news) = tokio::time::timeout(patience, progress.changed()).await {
                if news.is_err() {
                    return;
                }
            }
            connection.shutdown();
        });
    }
    let pieces = body
        .into_data_stream()
        .map_ok(|data| stream::iter(pieces(data).map(Ok::<_, axum::Error>)))
        .try_flatten();
    let kept = pieces.inspect(move |_| {
        let _slot = &slot;
        taken.send_replace(());
    });
    Response::from_parts(parts, Body::from_stream(kept))
}

/// Each is a copy: what waits to be sent does not hold the whole.
fn pieces(data: Bytes) -> impl Iterator<Item = Bytes> {
    (0..data.len()).step_by(PIECE).map(move |at| {
        let end = data.len().min(at + PIECE);
        Bytes::copy_from_slice(&data[at..end])
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_keeps_its_room_until_all_of_it_is_taken() {
        let free = Arc::new(Semaphore::new(1));
        let answer: Vec<u8> = (0..=255).cycle().take(3 * PIECE + 5).collect();
        let slot = Arc::clone(&free).try_acquire_owned().expect("room");
        let response = Response::new(Body::from(answer.clone()));
        let response = kept(Arc::new(slot), response, Duration::from_secs(60), None);
        assert_eq!(response.headers()[CONTENT_LENGTH], answer.len().to_string());
        let mut body = response.into_body().into_data_stream();
        let mut taken = Vec::new();
        while let Some(piece) = body.next().await {
            let piece = piece.expect("a piece");
            assert!(piece.len() <= PIECE);
            assert_eq!(free.available_permits(), 0);
            taken.extend_from_slice(&piece);
        }
        assert!(taken == answer);
        drop(body);
        assert_eq!(free.available_permits(), 1);
    }

    #[tokio::test]
    async fn what_is_made_beside_a_request_keeps_its_room_when_the_request_is_given_up() {
        let free = Arc::new(Semaphore::new(1));
        let slot = Arc::new(Arc::clone(&free).try_acquire_owned().expect("room"));
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
        let making = SLOT.scope(
            slot,
            beside(move || {
                begun.send(()).expect("somebody waits");
                may_go_on.recv()
            }),
        );
        let request = tokio::spawn(making);
        has_begun.await.expect("it begins");
        request.abort();
        assert!(request.await.expect_err("given up").is_cancelled());
        assert_eq!(free.available_permits(), 0);
        go_on.send(()).expect("it is at work");
        let room = free.acquire().await.expect("room");
        drop(room);
    }
}
