//! What is new may be anywhere in a batch: all of it is stored.

use std::sync::Arc;

use crate::support::database::TestDatabase;
use crate::support::load::{letters, spans};
use crate::support::spans::DAY;
use opentelemetry_pgvector::TraceStore;
use opentelemetry_pgvector::span::{Resource, Scopes, Span, Timestamp, span_from_sdk};
use opentelemetry_sdk::trace::SpanData;

const SPANS: usize = 500;

/// Spans of today with one document.
fn batch(count: usize) -> Vec<Span<'static>> {
    let (resource, mut scopes) = (Arc::default(), Scopes::default());
    let spans = spans("known", 0..count as i64);
    let owned = |mut data: SpanData| {
        data.attributes.clear();
        span_from_sdk(&data, &resource, &mut scopes).into_owned()
    };
    spans.into_iter().map(owned).collect()
}

/// A store to which the document of `batch` is known, and its last batch, too.
async fn store(database: &TestDatabase) -> TraceStore {
    let store = database.store();
    store.migrate().await.expect("migrated");
    store.batch_store(&batch(1)).await.expect("stored");
    nothing_new(&store).await;
    store
}

/// A batch with nothing new: the transaction of the next one begins before it is split.
async fn nothing_new(store: &TraceStore) {
    store.batch_store(&batch(1)).await.expect("stored");
}

/// Stores a batch, and reads back some of its spans and the one at `place`.
async fn comes_back(database: &TestDatabase, store: &TraceStore, batch: &[Span<'static>], place: usize) {
    let before: i64 = database.value("SELECT count(*) FROM otel.span_rows").await;
    let stored = store.batch_store(batch).await.expect("stored");
    assert_eq!((stored.spans, stored.new), (batch.len(), true));
    let after: i64 = database.value("SELECT count(*) FROM otel.span_rows").await;
    assert_eq!(after - before, batch.len() as i64);
    for span in batch.iter().step_by(40).chain(&batch[place..=place]) {
        assert_eq!(store.get_trace(span.trace_id).await.expect("read"), std::slice::from_ref(span));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_document_may_be_anywhere_in_a_batch() {
    let database = TestDatabase::create().await;
    let store = store(&database).await;
    for (number, place) in [0, 127, 128, 300, SPANS - 1].into_iter().enumerate() {
        let mut spans = batch(SPANS);
        spans[place].name = format!("never seen {}", letters(number as u64)).into();
        comes_back(&database, &store, &spans, place).await;
        nothing_new(&store).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_resource_may_be_anywhere_in_a_batch() {
    let database = TestDatabase::create().await;
    let store = store(&database).await;
    for (number, place) in [0, 200, SPANS - 1].into_iter().enumerate() {
        let mut spans = batch(SPANS);
        let mut resource: Resource = (*spans[place].resource).clone();
        resource.schema_url = format!("https://example.org/{number}");
        spans[place].resource = Arc::new(resource);
        comes_back(&database, &store, &spans, place).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_without_a_partition_may_be_anywhere_in_a_batch() {
    let database = TestDatabase::create().await;
    let store = store(&database).await;
    for (number, place) in [0, 200, SPANS - 1].into_iter().enumerate() {
        let mut spans = batch(SPANS);
        spans[place].start.0 -= (100 + number as i128) * DAY;
        comes_back(&database, &store, &spans, place).await;
    }
    let in_default: i64 = database.value("SELECT count(*) FROM otel.span_rows_default").await;
    assert_eq!(in_default, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_default_partition_that_is_gone_is_made_again_for_a_batch() {
    let database = TestDatabase::create().await;
    let store = store(&database).await;
    // No day has a partition in this year: the process knows it once it has asked.
    let mut long_ago = batch(1);
    long_ago[0].start = Timestamp(-300 * 365 * DAY);
    store.batch_store(&long_ago).await.expect("stored");
    nothing_new(&store).await;
    database.execute("DROP TABLE otel.span_rows_default").await;
    let mut spans = batch(SPANS);
    spans[400].start = long_ago[0].start;
    comes_back(&database, &store, &spans, 400).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_stored_once_however_often_it_is_sent() {
    let database = TestDatabase::create().await;
    let store = store(&database).await;
    let (id, spans) = (uuid::Uuid::new_v4(), batch(SPANS));
    let new = [
        store.batch_store_with_id(id, &spans).await.expect("stored").new,
        store.batch_store_with_id(id, &spans).await.expect("known").new,
    ];
    assert_eq!(new, [true, false]);
    let rows: i64 = database.value("SELECT count(*) FROM otel.span_rows").await;
    assert_eq!(rows, 2 + SPANS as i64);
}
