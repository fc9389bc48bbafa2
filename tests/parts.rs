//! A batch whose documents are known is sent while it is split; what is new anywhere in it changes nothing of what is stored.
#![cfg(unix)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_pgvector::span::{Resource, Scopes, Span, Timestamp, span_from_sdk};
use opentelemetry_pgvector::{SpanExporter, TraceStore};
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use support::database::TestDatabase;
use support::load::{letters, spans};
use support::proxy::Proxy;
use support::spans::DAY;

/// More than three parts.
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
    steady(&store).await;
    store
}

/// So many batches with nothing new that the next one is sent in parts.
async fn steady(store: &TraceStore) {
    for _ in 0..4 {
        store.batch_store(&batch(1)).await.expect("stored");
    }
}

/// Stores a batch, and reads back spans of each part and the one at `place`.
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
async fn the_rows_of_a_part_are_sent_before_the_last_one_is_split() {
    let database = TestDatabase::create().await;
    let proxy = Proxy::start(database.address().await).await;
    let mut settings = database.settings();
    settings.connection_string = database.url_through(proxy.port());
    settings.embedding_model = "/nonexistent/model".into();
    // Maintenance on other connections would be taken for a part of the export.
    settings.pool_size = 1;
    let exporter = SpanExporter::from_settings(settings).expect("built");
    for sequences in [0..20, 20..23, 23..26, 26..29, 29..32, 32..35] {
        exporter.export(spans("known", sequences)).await.expect("stored");
    }
    exporter.export(spans("known", 100..100 + SPANS as i64)).await.expect("stored");
    let trace = proxy.trace();
    let sent = trace.lines().filter_map(|line| line.trim_start().strip_prefix("-> "));
    let kinds: String = sent.filter_map(|message| message.chars().next()).collect();
    // Four parts, in one COPY.
    assert!(kinds.contains("QBESBESddddcSBESQ"), "{kinds} are the last messages:\n{trace}");
    assert_eq!(database.value::<i64>("SELECT count(*) FROM otel.spans").await, 35 + SPANS as i64);
    exporter.shutdown_with_timeout(Duration::from_secs(30)).expect("all is stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_document_may_be_in_any_part() {
    let database = TestDatabase::create().await;
    let store = store(&database).await;
    for (number, place) in [0, 127, 128, 300, SPANS - 1].into_iter().enumerate() {
        let mut spans = batch(SPANS);
        spans[place].name = format!("never seen {}", letters(number as u64)).into();
        comes_back(&database, &store, &spans, place).await;
        steady(&store).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_resource_may_be_in_any_part() {
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
async fn a_day_without_a_partition_may_be_in_any_part() {
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
async fn a_default_partition_that_is_gone_is_made_again_for_a_part() {
    let database = TestDatabase::create().await;
    let store = store(&database).await;
    // No day has a partition in this year: the process knows it once it has asked.
    let mut long_ago = batch(1);
    long_ago[0].start = Timestamp(-300 * 365 * DAY);
    store.batch_store(&long_ago).await.expect("stored");
    steady(&store).await;
    database.execute("DROP TABLE otel.span_rows_default").await;
    let mut spans = batch(SPANS);
    spans[400].start = long_ago[0].start;
    comes_back(&database, &store, &spans, 400).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_in_parts_is_stored_once_however_often_it_is_sent() {
    let database = TestDatabase::create().await;
    let store = store(&database).await;
    let (id, spans) = (uuid::Uuid::new_v4(), batch(SPANS));
    let new = [
        store.batch_store_with_id(id, &spans).await.expect("stored").new,
        store.batch_store_with_id(id, &spans).await.expect("known").new,
    ];
    assert_eq!(new, [true, false]);
    let rows: i64 = database.value("SELECT count(*) FROM otel.span_rows").await;
    assert_eq!(rows, 5 + SPANS as i64);
}
