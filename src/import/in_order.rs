//! Batches of a recording in its order, each known by the place where it begins and ends.

use tokio::task::JoinSet;

use super::batches::stored_from_here;
use super::importer::Importer;
use super::reader::Feed;
use crate::error::{Error, Result};
use crate::store::{Stored, TraceStore};

/// Batches that are being stored at the same time.
const AT_ONCE: usize = 2;

pub(super) async fn store_all(importer: &Importer, store: &TraceStore, feed: &mut Feed) -> Result<()> {
    let mut storing = JoinSet::new();
    let result = start_all(importer, store, feed, &mut storing).await;
    while let Some(stored) = storing.join_next().await {
        finish(importer, stored)?;
    }
    result
}

async fn start_all(
    importer: &Importer,
    store: &TraceStore,
    feed: &mut Feed,
    storing: &mut JoinSet<Result<Stored>>,
) -> Result<()> {
    let batch_size = importer.batch_size();
    loop {
        feed.fill(batch_size).await;
        let (id, spans) = match feed.queue.take_whole() {
            Some(whole) => whole,
            None => {
                let Some(id) = feed.queue.id(feed.queue.len().min(batch_size)) else {
                    return feed.end();
                };
                if skip_stored(importer, store, feed).await? {
                    continue;
                }
                (id, feed.queue.take(batch_size))
            }
        };
        let store = store.clone();
        storing.spawn(async move { store.batch_store_with_id(id, &spans).await });
        if storing.len() >= AT_ONCE
            && let Some(stored) = storing.join_next().await
        {
            finish(importer, stored)?;
        }
    }
}

/// Passes over the batch that an earlier import stored from here, if there is one.
async fn skip_stored(importer: &Importer, store: &TraceStore, feed: &mut Feed) -> Result<bool> {
    for (id, count) in stored_from_here(store, &feed.queue).await? {
        feed.fill(count).await;
        if feed.queue.id(count) == Some(id) {
            feed.queue.take(count);
            importer.count_already_there(count);
            return Ok(true);
        }
    }
    Ok(false)
}

fn finish(importer: &Importer, stored: Result<Result<Stored>, tokio::task::JoinError>) -> Result<()> {
    let doing =
        |error: tokio::task::JoinError| Error::Io { doing: "storing a batch".into(), source: error.into() };
    importer.count(stored.map_err(doing)??);
    Ok(())
}
