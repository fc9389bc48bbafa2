//! Traces are found by meaning, within the options, by index.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use crate::support::database::TestDatabase;
use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_pgvector::search::{Filter, SearchQuery, SpanHit, TraceHit};
use opentelemetry_pgvector::span::{Resource, Span, Status, StatusCode, Timestamp, Value};
use opentelemetry_pgvector::{Error, TraceStore};

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
        name: name.to_owned().into(),
        kind: 2,
        start,
        end: Timestamp(start.0 + 5_000_000),
        status: match error {
            "" => Status::default(),
            error => Status { code: StatusCode::ERROR, message: error.to_owned().into() },
        },
        ..Span::default()
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
async fn traces_of_many_spans_that_are_the_same_hide_no_other_trace() {
    let database = TestDatabase::create().await;
    let store = database.store();
    // A trace a minute, each with a hundred queries that differ in nothing.
    let queries = (1..=30_u128).flat_map(|trace| {
        (0..100_u64).map(move |number| {
            let mut query = span(trace, "shop", "load user", trace as u64 * 60 + number % 50, "");
            query.span_id = SpanId::from(1 + trace as u64 * 1_000 + number);
            query
        })
    });
    store.batch_store(&queries.collect::<Vec<_>>()).await.expect("stored");
    store.flush().await.expect("embedded");
    for query in ["load user", "load \"load user\""] {
        let (mut page, mut found) = (SearchQuery::new(query).limit(10), Vec::new());
        loop {
            let traces = store.search_traces(page.clone()).await.expect("found");
            found.extend(traces.iter().map(|hit| u128::from_be_bytes(hit.trace_id.to_bytes())));
            let Some(next) = traces.next else { break };
            assert_eq!(traces.hits.len(), 10);
            page = page.page(next);
        }
        let count = if query.contains('"') { found.len() } else { 30 };
        assert!(count > 10, "{query}: {found:?}");
        assert_eq!(found, (1..=count as u128).collect::<Vec<_>>(), "{query}: the newest first");
    }
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
    let best = async |query: &str| {
        let query = SearchQuery::new(query).similarity_threshold(0.0);
        store.search_operations(query).await.expect("found").hits.swap_remove(0).example
    };
    let gain = |span: &SpanHit| span.explanation.as_ref().map(|explanation| explanation.failure);
    let failed = best("reserving stock failed").await;
    assert!(failed.is_error && gain(&failed) > Some(0.0), "{failed:?}");
    let calm = best("reserve stock").await;
    assert!(!calm.is_error && gain(&calm) == Some(0.0), "{calm:?}");
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
    let found = async |query: &str| {
        let hits = store.search_traces(query).await.expect("found");
        let mut ids: Vec<_> = hits.iter().map(|hit| u128::from_be_bytes(hit.trace_id.to_bytes())).collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(found("\"E_4711\"").await, [1, 3]);
    assert_eq!(found("\"e_4711 for order 83\"").await, [3], "what was masked stands in its place again");
    assert_eq!(found("payment \"ORD-100%_a\"").await, [1], "no character is a wildcard");
    assert_eq!(found("\"answered\" \"order 82\"").await, [2], "all phrases must be there");
    assert_eq!(found("\"say \\ and\"").await, [4]);
    assert_eq!(found("\"00000000000000000000000000000002\"").await, [2], "a trace's id");
    assert!(found("\"E_47\" \"nowhere to be seen\"").await.is_empty());
    let operations = store.search_operations("checkout \"order 83\"").await.expect("found");
    assert_eq!(operations.len(), 1);
    assert_eq!(operations[0].example.trace_id, TraceId::from(3), "the example is a span with the phrase");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_words_and_a_phrase_are_without_doubles_where_clocks_are_ahead() {
    let database = TestDatabase::create().await;
    let store = database.store();
    let now = Timestamp::from(SystemTime::now()).0;
    let second = 1_000_000_000;
    // The newest 500 spans with the phrase are ranked: those that fit best are not among them while others are of the future.
    let kinds = [
        ("send heartbeat", 100, now + 1000 * second),
        ("payment refused", 400, now - 1000 * second),
        ("payment declined", 100, now - 5000 * second),
    ];
    let mut spans = Vec::new();
    for (name, count, newest) in kinds {
        for number in 0..count {
            let trace = spans.len() as u128 + 1;
            let mut span = ordered(trace, "shop", name, "", "ORD-77");
            span.start = Timestamp(newest - number * second);
            span.end = span.start;
            spans.push(span);
        }
    }
    store.batch_store(&spans).await.expect("stored");
    store.flush().await.expect("embedded");
    let query = SearchQuery::new("payment declined \"ORD-77\"").limit(20);
    let first = store.search_spans(query.clone()).await.expect("a page");
    assert!(first.iter().all(|hit| hit.name == "payment refused"));
    let (mut seen, mut next) = (first.hits, first.next);
    while let Some(page) = next {
        let found = store.search_spans(query.clone().page(page)).await.expect("a page");
        seen.extend(found.hits);
        next = found.next;
    }
    let distinct: HashSet<TraceId> = seen.iter().map(|hit| hit.trace_id).collect();
    assert_eq!((seen.len(), distinct.len()), (500, 500));
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
    // A search of few results looks at 400 documents near to the query, and those with its words.
    let query = SearchQuery::new("zeppelin, or a card payment").similarity_threshold(0.0).limit(20);
    let hits = store.search_operations(query).await.expect("found");
    let hit = hits.iter().find(|hit| hit.example.service == "weather").expect("found by its word");
    let pairs = &hit.example.explanation.as_ref().expect("ranked").matched;
    assert!(
        pairs.iter().any(|pair| (pair.query.as_str(), pair.document.as_str()) == ("zeppelin", "zeppelin"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn words_that_are_not_stored_cost_time_and_nothing_else() {
    let database = TestDatabase::create().await;
    let store = filled(&database).await;
    let query = SearchQuery::new("credit card refused").similarity_threshold(0.0);
    let order = async |store: &TraceStore| {
        let hits = store.search_operations(query.clone()).await.expect("found");
        hits.iter().map(|hit| hit.document_id).collect::<Vec<_>>()
    };
    let expected = order(&store).await;
    database.execute("DELETE FROM otel.span_words").await;
    let without = order(&database.store()).await;
    assert_eq!(without, expected);
    database.store().flush().await.expect("the words are stored again");
    let count: i64 = database.value("SELECT count(*) FROM otel.span_words").await;
    assert!(count >= 10, "{count}");
}

/// All operations that a query finds, page by page of so many.
async fn paged(store: &TraceStore, query: SearchQuery, limit: usize) -> Vec<i32> {
    let (mut query, mut all) = (query.limit(limit), Vec::new());
    loop {
        let found = store.search_operations(query.clone()).await.expect("a page");
        all.extend(found.iter().map(|hit| hit.document_id));
        let Some(next) = found.next else { return all };
        query = query.page(next);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_show_each_of_many_documents_once_also_where_rows_are_asked() {
    let database = TestDatabase::create().await;
    let store = database.store();
    let letter = |number: usize| char::from(b'a' + (number % 26) as u8);
    // Of 700 documents those that end in one of ten letters have a slow span.
    let spans: Vec<_> = (0..700)
        .map(|number| {
            let name = format!("card payment declined {}{}", letter(number / 26), letter(number));
            // Pages end at the time of the first one: the spans are older.
            let mut span = span(number as u128 + 1, "payments", &name, 100_000_000 + number as u64, "");
            if number % 26 < 10 {
                span.end = Timestamp(span.start.0 + 5_000_000_000);
            }
            span
        })
        .collect();
    store.batch_store(&spans).await.expect("stored");
    store.flush().await.expect("embedded");
    let slow = Filter::default().longer_than(Duration::from_secs(1));
    for (filter, least) in [(Filter::default(), 250), (slow, 250)] {
        let query = SearchQuery::new("payment declined").similarity_threshold(0.0).filter(filter);
        let all = paged(&store, query.clone(), 12).await;
        let mut once = all.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), all.len(), "no operation comes twice");
        assert!(all.len() >= least, "{}", all.len());
        // It is the same again.
        assert_eq!(paged(&store, query, 12).await, all);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hnsw_finds_most_of_the_documents_that_a_comparison_of_all_finds() {
    let database = TestDatabase::create().await;
    let store = filled(&database).await;
    // Three thousand copies of the five documents, each with a vector moved by its own number.
    database
        .execute(
            "SELECT setseed(0.5); \
             CREATE TEMPORARY TABLE moved AS \
                 SELECT d.*, n, l2_normalize(d.embedding \
                     + ARRAY(SELECT ((random() - 0.5 + 0 * n) * 0.15)::real FROM generate_series(1, 384))::vector) AS new \
                 FROM otel.span_documents d, generate_series(1, 600) AS n; \
             INSERT INTO otel.span_documents (hash, service, scope, name, kind, status_code, body, text, attributes, embedding) \
                 SELECT gen_random_uuid(), service, scope, name || n, kind, status_code, body, text, attributes, new FROM moved; \
             INSERT INTO otel.span_rows (trace_id, span_id, parent_span_id, start_time, duration_ns, document_id, resource_id, \
                                         start_ns, flags, fillers) \
                 SELECT gen_random_uuid(), d.id, 0, r.start_time, 1, d.id, r.resource_id, 0, 0, r.fillers \
                 FROM otel.span_documents d, (SELECT * FROM otel.span_rows LIMIT 1) AS r \
                 WHERE d.id > (SELECT max(document_id) FROM otel.span_rows)",
        )
        .await;
    // The index is another one each time it is built, and these vectors are as alike as they come.
    let mut common = 0;
    for words in ["card declined", "no stock left", "render home page", "reserve the last item"] {
        let query = SearchQuery::new(words).similarity_threshold(0.0).limit(10);
        let by_hnsw = store.search_spans(query.clone()).await.expect("found");
        // A condition that leaves so few documents has each of them compared.
        let all =
            ["payments", "warehouse", "web"].iter().fold(Filter::default(), |all, name| all.service(*name));
        let exact = store.search_spans(query.filter(all)).await.expect("found");
        let ids = |hits: &[SpanHit]| hits.iter().map(|hit| hit.span_id).collect::<Vec<_>>();
        let (by_hnsw, exact) = (ids(&by_hnsw), ids(&exact));
        assert_eq!((by_hnsw.len(), exact.len()), (10, 10), "{words}");
        common += by_hnsw.iter().filter(|id| exact.contains(id)).count();
    }
    assert!(common >= 30, "{common} of 40");
}

/// What a search keeps in memory of documents is theirs, not their ids'.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_schema_that_was_made_anew_documents_are_found_by_what_they_say_now() {
    let database = TestDatabase::create().await;
    let reader = filled(&database).await;
    let query = SearchQuery::new("credit card declined").similarity_threshold(0.0);
    let before = reader.search_operations(query.clone()).await.expect("found");
    assert_eq!((before.len(), before[0].example.service.as_str()), (4, "payments"));

    database.execute("DROP SCHEMA otel CASCADE").await;
    let writer = database.store();
    writer.batch_store(&[span(6, "web", "render home page", 10, "")]).await.expect("stored");
    writer.batch_store(&[span(7, "bank", "refuse payment by card", 10, "")]).await.expect("stored");
    writer.flush().await.expect("embedded");
    let after = reader.search_operations(query).await.expect("found");
    let found: Vec<(&str, i32)> =
        after.iter().map(|hit| (hit.example.service.as_str(), hit.document_id)).collect();
    assert_eq!(found, [("bank", 2), ("web", 1)], "ids begin anew");
    assert!(after[0].text.contains("refuse payment"), "{}", after[0].text);
}
