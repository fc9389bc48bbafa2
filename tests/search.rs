//! Traces are found by meaning, within the options, by index.

mod support;

use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_pgvector::search::SearchOptions;
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
    let hits = store
        .search_traces("payment refused, credit card out of date", &SearchOptions::default())
        .await
        .expect("found");
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
    let all = SearchOptions::default().with_similarity_threshold(0.0);
    let query = "card declined";
    let ids = |hits: Vec<opentelemetry_pgvector::search::TraceHit>| {
        hits.iter().map(|hit| u128::from_be_bytes(hit.trace_id.to_bytes())).collect::<Vec<_>>()
    };
    let found = ids(store.search_traces(query, &all.clone().with_limit(2)).await.expect("found"));
    assert_eq!(found, [1, 2]);
    let found = ids(store.search_traces(query, &all.clone().with_service("warehouse")).await.expect("found"));
    assert!(found.len() == 2 && found.iter().all(|id| [3, 4].contains(id)), "{found:?}");
    let since = now() - Duration::from_secs(15);
    assert_eq!(ids(store.search_traces(query, &all.clone().since(since)).await.expect("found")), [1]);
    let until = now() - Duration::from_secs(45);
    assert_eq!(ids(store.search_traces(query, &all.clone().until(until)).await.expect("found")), [5]);
    let high = SearchOptions::default().with_similarity_threshold(0.99);
    assert!(store.search_traces("something else entirely", &high).await.expect("an answer").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_is_listed_once() {
    let database = TestDatabase::create().await;
    let store = filled(&database).await;
    let all = SearchOptions::default().with_similarity_threshold(0.0);
    let hits = store.search_operations("card declined", &all).await.expect("found");
    assert_eq!(hits.len(), 4, "two of the five spans are one operation");
    assert_eq!(hits[0].example.trace_id, TraceId::from(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn embeddings_of_another_model_are_an_error_that_names_both() {
    let database = TestDatabase::create().await;
    let store = filled(&database).await;
    database.execute("UPDATE otel.embedding_model SET name = 'other-model'").await;
    let error = store.search_traces("anything", &SearchOptions::default()).await.expect_err("refused");
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
    let hits = store.search_traces("card declined", &SearchOptions::default()).await.expect("found");
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
    let recent =
        SearchOptions::default().with_similarity_threshold(0.0).since(now() - Duration::from_secs(60));
    let hits = store.search_traces("card declined", &recent).await.expect("found");
    assert_eq!(hits.iter().map(|hit| hit.trace_id).collect::<Vec<_>>(), [TraceId::from(1000)]);
    let many = SearchOptions::default().with_similarity_threshold(0.0).with_limit(200);
    assert_eq!(store.search_traces("card declined", &many).await.expect("found").len(), 200);
}

/// A span of the tests below: a root with a message of failure or without one, and an attribute that varies.
fn ordered(trace: u128, service: &str, name: &str, error: &str, order: &str) -> Span<'static> {
    let mut span = span(trace, service, name, 10, error);
    span.attributes = vec![("order.id".into(), Value::String(order.to_owned().into()))];
    span
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_speaks_of_failure_prefers_what_failed() {
    let database = TestDatabase::create().await;
    let store = database.store();
    let spans = [
        span(1, "warehouse", "reserve stock", 10, ""),
        span(2, "warehouse", "reserve stock", 10, "upstream gone"),
        span(3, "web", "render home page", 10, ""),
    ];
    store.batch_store(&spans).await.expect("stored");
    store.flush().await.expect("embedded");
    let all = SearchOptions::default().with_similarity_threshold(0.0);
    let best = |query: &'static str| {
        let (store, all) = (store.clone(), all.clone());
        async move { store.search_operations(query, &all).await.expect("found").swap_remove(0).example }
    };
    let failed = best("reserving stock failed").await;
    assert!(failed.is_error && failed.explanation.failure > 0.0, "{failed:?}");
    let calm = best("reserve stock").await;
    assert!(!calm.is_error && calm.explanation.failure == 0.0, "{calm:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phrase_in_quotes_is_found_exactly() {
    let database = TestDatabase::create().await;
    let store = database.store();
    let spans = [
        ordered(1, "shop", "checkout", "gateway answered E_4711 for order 81", "ORD-100%_a"),
        ordered(2, "shop", "checkout", "gateway answered E_4712 for order 82", "ORD-100xxa"),
        ordered(3, "shop", "checkout", "gateway answered E_4711 for order 83", "ORD-7"),
        ordered(4, "web", "say \\ and more", "", "ORD-8"),
    ];
    store.batch_store(&spans).await.expect("stored");
    store.flush().await.expect("embedded");
    let found = |query: &'static str| {
        let store = store.clone();
        async move {
            let hits = store.search_traces(query, &SearchOptions::default()).await.expect("found");
            let mut ids: Vec<_> =
                hits.iter().map(|hit| u128::from_be_bytes(hit.trace_id.to_bytes())).collect();
            ids.sort_unstable();
            ids
        }
    };
    assert_eq!(found("\"E_4711\"").await, [1, 3]);
    assert_eq!(found("\"e_4711 for order 83\"").await, [3], "what was masked stands in its place again");
    assert_eq!(found("payment \"ORD-100%_a\"").await, [1], "no character is a wildcard");
    assert_eq!(found("\"answered\" \"order 82\"").await, [2], "all phrases must be there");
    assert_eq!(found("\"say \\ and\"").await, [4]);
    assert_eq!(found("\"00000000000000000000000000000002\"").await, [2], "a trace's id");
    assert!(found("\"E_47\" \"nowhere to be seen\"").await.is_empty());
    let operations =
        store.search_operations("checkout \"order 83\"", &SearchOptions::default()).await.expect("found");
    assert_eq!(operations.len(), 1);
    assert_eq!(operations[0].example.trace_id, TraceId::from(3), "the example is a span with the phrase");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_with_the_querys_words_is_found_behind_many_nearer_ones() {
    let database = TestDatabase::create().await;
    let store = database.store();
    // More documents near to the query than are looked at, and one that only shares a word with it.
    let letter = |number: usize| char::from(b'a' + (number % 26) as u8);
    let mut spans: Vec<_> = (0..600)
        .map(|number| {
            let name = format!("card payment declined {}{}", letter(number / 26), letter(number));
            span(number as u128 + 1, "payments", &name, 1000, "")
        })
        .collect();
    spans.push(span(5000, "weather", "measure zeppelin altitude", 5, ""));
    store.batch_store(&spans).await.expect("stored");
    store.flush().await.expect("embedded");
    // A search of few results looks at 300 documents near to the query, and those with its words.
    let all = SearchOptions::default().with_similarity_threshold(0.0).with_limit(20);
    let hits = store.search_operations("zeppelin, or a card payment", &all).await.expect("found");
    let hit = hits.iter().find(|hit| hit.example.service == "weather").expect("found by its word");
    let pairs = &hit.example.explanation.matched;
    assert!(
        pairs.iter().any(|pair| (pair.query.as_str(), pair.document.as_str()) == ("zeppelin", "zeppelin"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn words_that_are_not_stored_cost_time_and_nothing_else() {
    let database = TestDatabase::create().await;
    let store = filled(&database).await;
    let all = SearchOptions::default().with_similarity_threshold(0.0);
    let query = "credit card refused";
    let order = |hits: Vec<opentelemetry_pgvector::search::OperationHit>| {
        hits.iter().map(|hit| hit.document_id).collect::<Vec<_>>()
    };
    let expected = order(store.search_operations(query, &all).await.expect("found"));
    database.execute("DELETE FROM otel.span_words").await;
    let without = order(database.store().search_operations(query, &all).await.expect("found"));
    assert_eq!(without, expected);
    database.store().flush().await.expect("the words are stored again");
    let count: i64 = database.value("SELECT count(*) FROM otel.span_words").await;
    assert!(count >= 10, "{count}");
}
