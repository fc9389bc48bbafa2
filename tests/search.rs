//! Traces are found by meaning, within the options, by index.

mod support;

use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_pgvector::search::{Filter, SearchQuery, TraceHit};
use opentelemetry_pgvector::span::{Resource, Span, Status, StatusCode, Timestamp, Value};
use opentelemetry_pgvector::{Error, TraceStore};
use support::database::TestDatabase;

/// A root span of a service, `age` seconds before a fixed now.
fn span(trace: u128, service: &str, name: &str, age: u64, error: &str) -> Span<'static> {
    let start = Timestamp::from(now() - Duration::from_secs(age));
    Span {
        resource: std::sync::Arc::new(Resource {
            attributes: vec![("service.name".into(), Value::String(service.to_owned().into()))],
            ..Resource::default()
        }),
        scope: std::sync::Arc::default(),
        trace_id: TraceId::from(trace),
        span_id: SpanId::from(trace as u64),
        parent_span_id: SpanId::INVALID,
        trace_state: "".into(),
        flags: 0,
        name: name.to_owned().into(),
        kind: 2,
        start,
        end: Timestamp(start.0 + 5_000_000),
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: Vec::new(),
        dropped_events_count: 0,
        links: Vec::new(),
        dropped_links_count: 0,
        status: match error {
            "" => Status::default(),
            error => Status { code: StatusCode::ERROR, message: error.to_owned().into() },
        },
    }
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

async fn filled(database: &TestDatabase) -> TraceStore {
    let store = database.store();
    let spans = [
        span(1, "payments", "authorize card", 10, "card declined: expired"),
        span(2, "payments", "authorize card", 20, "card declined: expired"),
        span(3, "warehouse", "reserve stock", 30, "no stock left"),
        span(4, "warehouse", "reserve stock", 40, ""),
        span(5, "web", "render home page", 50, ""),
    ];
    store.batch_store(&spans).await.expect("stored");
    store.flush().await.expect("embedded");
    store
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_is_found_by_its_meaning() {
    let database = TestDatabase::create().await;
    let store = filled(&database).await;
    let hits = store.search_traces("payment refused, credit card out of date").await.expect("found");
    let best = &hits[0];
    assert_eq!(best.trace_id, TraceId::from(1), "the newest of the best document comes first");
    assert_eq!((best.root_service.as_str(), best.root_name.as_str()), ("payments", "authorize card"));
    assert_eq!((best.span_count, best.error_count), (1, 1));
    assert_eq!(best.duration, Duration::from_millis(5));
    assert_eq!(best.spans[0].message.as_deref(), Some("card declined: expired"));
    assert!(hits.windows(2).all(|pair| pair[0].score >= pair[1].score), "best first");
}

#[tokio::test(flavor = "multi_thread")]
async fn options_limit_what_is_found() {
    let database = TestDatabase::create().await;
    let store = filled(&database).await;
    let all = SearchQuery::new("card declined").similarity_threshold(0.0);
    let only = |filter: Filter| all.clone().filter(filter);
    let ids = async |query: SearchQuery| {
        let hits = store.search_traces(query).await.expect("found");
        hits.iter().map(|hit: &TraceHit| u128::from_be_bytes(hit.trace_id.to_bytes())).collect::<Vec<_>>()
    };
    assert_eq!(ids(all.clone().limit(2)).await, [1, 2]);
    let found = ids(only(Filter::default().service("warehouse"))).await;
    assert!(found.len() == 2 && found.iter().all(|id| [3, 4].contains(id)), "{found:?}");
    assert_eq!(ids(only(Filter::default().since(now() - Duration::from_secs(15)))).await, [1]);
    assert_eq!(ids(only(Filter::default().until(now() - Duration::from_secs(45)))).await, [5]);
    let high = SearchQuery::new("something else entirely").similarity_threshold(0.99);
    assert!(ids(high).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_is_listed_once() {
    let database = TestDatabase::create().await;
    let store = filled(&database).await;
    let all = SearchQuery::new("card declined").similarity_threshold(0.0);
    let hits = store.search_operations(all).await.expect("found");
    assert_eq!(hits.len(), 4, "two of the five spans are one operation");
    assert_eq!(hits[0].example.trace_id, TraceId::from(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn embeddings_of_another_model_are_an_error_that_names_both() {
    let database = TestDatabase::create().await;
    let store = filled(&database).await;
    database.execute("UPDATE otel.embedding_model SET name = 'other-model', fingerprint = 'other'").await;
    let error = store.search_traces("anything").await.expect_err("refused");
    assert!(matches!(error, Error::Model(_)) && error.to_string().contains("other-model"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_over_thousands_of_years_does_not_hide_the_others() {
    let database = TestDatabase::create().await;
    let store = filled(&database).await;
    let mut ancient = span(1, "payments", "authorize card", 0, "card declined: expired");
    (ancient.start, ancient.end) =
        (Timestamp(i128::from(i64::MIN) * 1_000_000_000), Timestamp(i128::from(i64::MAX)));
    store.batch_store(&[ancient]).await.expect("stored");
    let hits = store.search_traces("card declined").await.expect("found");
    assert!(hits.iter().any(|hit| hit.trace_id == TraceId::from(1)), "{hits:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_period_is_searched_whole_also_when_nearer_documents_have_no_spans_in_it() {
    let database = TestDatabase::create().await;
    let store = database.store();
    // More documents about the query than a search looks at, all of them old, and one that is recent.
    let letter = |number: usize| char::from(b'a' + number as u8);
    let mut spans: Vec<_> = (0..300)
        .map(|number| {
            let name = format!("card declined {}{}", letter(number / 26), letter(number % 26));
            span(number as u128 + 1, "payments", &name, 1000, "")
        })
        .collect();
    spans.push(span(1000, "payments", "print a receipt", 5, ""));
    store.batch_store(&spans).await.expect("stored");
    store.flush().await.expect("embedded");
    let all = SearchQuery::new("card declined").similarity_threshold(0.0);
    let recent = all.clone().filter(Filter::default().since(now() - Duration::from_secs(60)));
    let hits = store.search_traces(recent).await.expect("found");
    assert_eq!(hits.iter().map(|hit| hit.trace_id).collect::<Vec<_>>(), [TraceId::from(1000)]);
    assert_eq!(store.search_traces(all.limit(200)).await.expect("found").len(), 200);
}
