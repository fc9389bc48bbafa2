//! What is stored to see how much room it takes, and how it is read.

use opentelemetry_pgvector::TraceStore;
use opentelemetry_pgvector::span::Span;

use super::database::TestDatabase;
use super::shop::Shop;
use super::traffic::BATCH;
use super::{has_flag, shared};

/// Calls `measure` with the name and the spans of each recording; with `--generated` or without `../shared`, with those of
/// the invented shop.
pub async fn for_each(mut measure: impl AsyncFnMut(&str, &[Span<'_>])) {
    let mut recorded = false;
    for name in ["datasette", "trainticket"] {
        if let Some(messages) = shared::messages(name).filter(|_| !has_flag("--generated")) {
            measure(name, &shared::spans(&messages)).await;
            recorded = true;
        }
    }
    if !recorded {
        let (mut shop, mut spans) = (Shop::default(), Vec::new());
        while spans.len() < 50_000 {
            shop.trace(&mut spans);
        }
        measure("shop", &spans).await;
    }
}

/// A database with these spans, stored in batches of the SDK's size.
pub async fn store(spans: &[Span<'_>]) -> (TestDatabase, TraceStore) {
    let database = TestDatabase::create().await;
    let mut settings = database.settings();
    settings.flush_timeout_seconds = 300;
    let store = TraceStore::new(settings).expect("valid settings");
    for batch in spans.chunks(BATCH) {
        store.batch_store(batch).await.expect("the batch is stored");
    }
    (database, store)
}
