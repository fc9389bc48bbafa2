//! The newest spans that pass conditions, among spans of hundreds of documents: found by time.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::support::database::TestDatabase;
use crate::support::operations::{span, spans};
use opentelemetry::trace::TraceId;
use opentelemetry_pgvector::TraceStore;
use opentelemetry_pgvector::search::{Condition, Filter, SearchQuery, Status};
use opentelemetry_pgvector::span::{Event, Resource, StatusCode, Value};

async fn stored(database: &TestDatabase) -> TraceStore {
    let mut settings = database.settings();
    // Many conditions take a while, beside other tests.
    settings.statement_timeout_seconds = 300;
    let store = TraceStore::new(settings).expect("valid settings");
    for batch in spans().chunks(500) {
        store.batch_store(batch).await.expect("stored");
    }
    let documents: i64 = database.value("SELECT count(*) FROM otel.span_documents").await;
    assert!(documents > 250, "{documents} documents");
    store
}

async fn ids(store: &TraceStore, query: SearchQuery) -> Vec<String> {
    let found = store.search_traces(query).await.expect("found");
    found.iter().map(|hit| hit.trace_id.to_string()).collect()
}

fn with(condition: &str) -> Filter {
    Filter::default().attribute(condition.parse().expect(condition))
}

fn at(ago: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 - ago)
}

#[tokio::test(flavor = "multi_thread")]
async fn many_documents_have_their_newest_spans_found_in_order_across_gaps_and_wrong_clocks() {
    let database = TestDatabase::create().await;
    let store = stored(&database).await;
    let now = "to_timestamp(1700000000)";
    // So many conditions take long enough for a period to be read as a whole, not row by row.
    let slow = (0..100).fold(with("user.id!=u7"), |filter, number| {
        filter.attribute(format!("user.id!=nobody{number}").parse().expect("a condition"))
    });
    for (filter, sql) in [
        (Filter::default(), "true".to_owned()),
        (Filter::default().status(Status::Error), "status = 'error'".into()),
        (with("user.id=u7"), "attributes ->> 'user.id' = 'u7'".into()),
        (with("user.id!=u7"), "attributes ->> 'user.id' <> 'u7'".into()),
        (
            with("user.id=u2").status(Status::Error),
            "attributes ->> 'user.id' = 'u2' AND status = 'error'".into(),
        ),
        (slow, "attributes ->> 'user.id' <> 'u7'".into()),
        (with("user.id=nobody"), "false".into()),
        (Filter::default().phrase("u7"), "attributes ->> 'user.id' LIKE '%u7%'".into()),
        (
            with("user.id=u7").since(at(100_000)).until(at(100)),
            format!(
                "attributes ->> 'user.id' = 'u7' AND start_time >= {now} - interval '100000 s' \
                 AND start_time < {now} - interval '100 s'"
            ),
        ),
        (with("user.id=u0").operation("kakakas minumis"), {
            "attributes ->> 'user.id' = 'u0' AND name = 'kakakas minumis'".into()
        }),
        (Filter::default().operation("kakakas minumis"), "name = 'kakakas minumis'".into()),
        (Filter::default().tag("user.id", "u7"), "attributes ->> 'user.id' = 'u7'".into()),
    ] {
        for limit in [3, 40, 1000] {
            let expected: Vec<String> = database
                .value(&format!(
                    "SELECT coalesce(array_agg(trace_id::text ORDER BY start_time DESC, trace_id), '{{}}') FROM ( \
                         SELECT * FROM otel.spans WHERE {sql} ORDER BY start_time DESC, trace_id LIMIT {limit}) AS s"
                ))
                .await;
            assert_eq!(expected.is_empty(), sql == "false", "{sql}");
            let query = SearchQuery::filtered(filter.clone()).limit(limit);
            assert_eq!(ids(&store, query).await, expected, "{filter:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn words_with_a_rare_value_find_its_spans_whatever_their_documents_mean() {
    let database = TestDatabase::create().await;
    let store = stored(&database).await;
    store.flush().await.expect("embedded");
    let of_user: Vec<String> = database
        .value("SELECT array_agg(trace_id::text ORDER BY trace_id) FROM otel.spans WHERE attributes ->> 'user.id' = 'u7'")
        .await;
    let query = SearchQuery::new("lolos").filter(with("user.id=u7")).similarity_threshold(0.0);
    let (mut page, mut found) = (query.limit(10), Vec::new());
    loop {
        let traces = store.search_traces(page.clone()).await.expect("found");
        found.extend(traces.iter().map(|hit| hit.trace_id.to_string()));
        let Some(next) = traces.next else { break };
        page = page.page(next);
    }
    assert!(of_user.len() > 20);
    let first = found.len();
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), first, "no trace comes twice");
    assert_eq!(found, of_user);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_last_document_has_a_large_id_words_and_conditions_still_find_theirs() {
    let database = TestDatabase::create().await;
    let store = stored(&database).await;
    database.execute("SELECT setval(pg_get_serial_sequence('otel.span_documents', 'id'), 2000000)").await;
    let mut rare = span(5_000, 5);
    rare.name = "refund of an expired voucher".into();
    rare.status.code = StatusCode::ERROR;
    store.batch_store(&[rare]).await.expect("stored");
    store.flush().await.expect("embedded");
    // Words of every document are known as such now.
    database.execute("ANALYZE otel.span_documents").await;
    for filter in [Filter::default(), Filter::default().status(Status::Error)] {
        let found = ids(&store, SearchQuery::new("shop voucher").filter(filter).limit(10)).await;
        assert_eq!(found.first().map(String::as_str), Some("00000000000000000000000000001389"), "{found:?}");
    }
}

/// Values of every kind: some have templates, some are written otherwise by PostgreSQL, some are a part of another.
fn values() -> Vec<Value<'static>> {
    let texts = [
        "ord-00123",
        "ord-00124",
        "u4711",
        "u47",
        "GET",
        "00012",
        "12345",
        "say \"x1234\" \\ now",
        "100%",
        "%1$s and 5678",
        "a_b",
        "日本語-1234",
        "/orders/123?user=ada&page=4",
        "SELECT * FROM t WHERE id IN (11, 12, 13)",
        "ada@example.com paid",
        "4bf92f35-77b3-4da6-a3ce-929d0e0e4736",
        "",
        "tab\there 4321",
        "true",
        "1e5",
    ];
    let mut values: Vec<Value<'static>> = texts.iter().map(|text| Value::String((*text).into())).collect();
    values.extend([12_345, 17, i64::MIN, 100_000].map(Value::Int));
    values.extend([1e21, 1e-7, -0.0, 12.5, 123_456.0, f64::NAN].map(Value::Double));
    values.extend([Value::Bool(true), Value::Bytes(vec![1, 2, 250].into())]);
    values.push(Value::Array(vec![Value::String("u4711".into()), Value::Int(17)]));
    values
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_is_found_however_documents_and_rows_share_it() {
    let database = TestDatabase::create().await;
    let store = database.store();
    let mut spans = spans();
    let values = values();
    // Of the first key all values come in turn; another one is a URL by its name, and one has few values.
    for (number, span) in spans.iter_mut().enumerate() {
        span.attributes.push(("order.id".into(), values[number % values.len()].clone()));
        span.attributes.push(("url.full".into(), values[number / 3 % values.len()].clone()));
        span.attributes.push(("tier".into(), values[number % 5].clone()));
    }
    for batch in spans.chunks(500) {
        store.batch_store(batch).await.expect("stored");
    }
    let documents: i64 = database.value("SELECT count(*) FROM otel.span_documents").await;
    assert!(documents > 250, "{documents} documents");
    let mut overviews = 0;
    for changed in ["", "UPDATE otel.span_documents SET attributes = NULL WHERE id % 2 = 0"] {
        database.execute(changed).await;
        for key in ["order.id", "url.full", "tier"] {
            let texts: Vec<String> = database
                .value(&format!("SELECT array_agg(DISTINCT attributes ->> '{key}') FROM otel.spans"))
                .await;
            assert!(texts.len() >= 5, "{texts:?}");
            for text in texts.iter().map(String::as_str).chain(["u471", "ord-00125", "1e21", "17"]) {
                let quoted = text.replace('\'', "''");
                let in_list = match serde_json::from_str::<serde_json::Value>(text) {
                    Ok(json) if json.is_number() || json.is_boolean() => {
                        format!(
                            "OR jsonb_typeof(attributes -> '{key}') = 'array' AND attributes -> '{key}' @> '{json}'"
                        )
                    }
                    _ => String::new(),
                };
                let expected: Vec<String> = database
                    .value(&format!(
                        "SELECT coalesce(array_agg(trace_id::text ORDER BY start_time DESC, trace_id), '{{}}') FROM otel.spans \
                         WHERE attributes ->> '{key}' = '{quoted}' OR attributes -> '{key}' @> to_jsonb('{quoted}'::text) {in_list}"
                    ))
                    .await;
                let filter = Filter::default().attribute(Condition::is(key, text));
                let query = SearchQuery::filtered(filter).limit(1000);
                let overview = store.overview(&query).await.expect("counted");
                assert_eq!(ids(&store, query).await, expected, "{key} = {text} {changed}");
                // Where it takes too long, as beside other tests it may, nothing is counted.
                if let Some(overview) = overview {
                    assert_eq!(overview.spans, expected.len() as u64, "{key} = {text} {changed}");
                    overviews += 1;
                }
            }
        }
    }
    assert!(overviews > 10, "{overviews} overviews");
}

/// Whether a span has a tag, in SQL.
fn has_tag(key: &str, value: &str) -> String {
    let value = value.replace('\'', "''");
    let is = |json: &str| {
        let number = match value.parse::<f64>() {
            Ok(number) if number.is_finite() => format!(
                "CASE jsonb_typeof({json}) WHEN 'number' THEN ({json})::numeric = '{number}'::float8::numeric END"
            ),
            _ => "false".into(),
        };
        format!("({json} #>> '{{}}' = '{value}' OR {json} @> to_jsonb('{value}'::text) OR {number})")
    };
    format!(
        "({} OR {} OR EXISTS (SELECT FROM jsonb_array_elements(events) AS event WHERE {}))",
        is(&format!("attributes -> '{key}'")),
        is(&format!("resource -> '{key}'")),
        is(&format!("event -> 'attributes' -> '{key}'"))
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_is_found_wherever_a_span_has_it() {
    let database = TestDatabase::create().await;
    let store = database.store();
    let (mut spans, values) = (spans(), values());
    let resources: Vec<Arc<Resource>> = (0..4)
        .map(|number| {
            let pod = Value::String(format!("pod-{number:04}").into());
            let attributes = vec![("service.name".into(), Value::String("shop".into())), ("pod".into(), pod)];
            Arc::new(Resource { attributes, ..Resource::default() })
        })
        .collect();
    for (number, span) in spans.iter_mut().enumerate() {
        let value = |at: usize| values[at % values.len()].clone();
        span.resource = Arc::clone(&resources[number % resources.len()]);
        match number % 3 {
            0 => span.attributes.push(("order.id".into(), value(number))),
            1 => span.events.push(Event {
                time: span.start,
                name: "paid".into(),
                attributes: vec![("order.id".into(), value(number / 2)), ("tier".into(), value(number % 5))],
                dropped_attributes_count: 0,
            }),
            _ => span.attributes.push(("pod".into(), value(number / 7))),
        }
    }
    for batch in spans.chunks(500) {
        store.batch_store(batch).await.expect("stored");
    }
    let documents: i64 = database.value("SELECT count(*) FROM otel.span_documents").await;
    assert!(documents > 250, "{documents} documents");
    let texts =
        ["GET", "ord-00123", "u4711", "u471", "00012", "12345", "12345.0", "123456", "1e21", "100000"];
    let more =
        ["say \"x1234\" \\ now", "%1$s and 5678", "日本語-1234", "ada@example.com paid", "pod-0002", "true"];
    let (mut found, mut nowhere) = (0, 0);
    for changed in ["", "UPDATE otel.span_documents SET attributes = NULL WHERE id % 2 = 0"] {
        database.execute(changed).await;
        for key in ["order.id", "tier", "pod"] {
            for text in texts.into_iter().chain(more) {
                let expected: Vec<String> = database
                    .value(&format!(
                        "SELECT coalesce(array_agg(trace_id::text ORDER BY start_time DESC, trace_id), '{{}}') \
                         FROM otel.spans WHERE {}",
                        has_tag(key, text)
                    ))
                    .await;
                let query = SearchQuery::filtered(Filter::default().tag(key, text)).limit(1000);
                assert_eq!(ids(&store, query).await, expected, "{key} = {text} {changed}");
                *if expected.is_empty() { &mut nowhere } else { &mut found } += 1;
            }
        }
    }
    assert!(found > 30 && nowhere > 10, "{found} found, {nowhere} nowhere");
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_of_thousands_of_the_newest_spans_hide_no_other_trace() {
    let database = TestDatabase::create().await;
    let store = database.store();
    // Of every thousand spans, the newest first, 900 are of two traces and 90 of ten others; ten have traces of their own.
    let spans: Vec<_> = (0..8_000u64)
        .map(|number| {
            let mut span = span(number, number as i64 / 7);
            span.trace_id = TraceId::from(match number % 1_000 {
                0..900 => 1 + u128::from(number % 2),
                place @ 900..990 => 10 + u128::from(place % 10),
                _ => u128::from(1_000 + number),
            });
            span
        })
        .collect();
    for batch in spans.chunks(1_000) {
        store.batch_store(batch).await.expect("stored");
    }
    for (filter, sql) in [
        (Filter::default(), "true"),
        (Filter::default().status(Status::Error), "status = 'error'"),
        (with("user.id=u7"), "attributes ->> 'user.id' = 'u7'"),
        (Filter::default().phrase("u7"), "attributes ->> 'user.id' LIKE '%u7%'"),
    ] {
        for limit in [1, 4, 13, 40, 1000] {
            let expected: Vec<String> = database
                .value(&format!(
                    "SELECT array_agg(trace_id::text ORDER BY newest DESC, trace_id) FROM ( \
                         SELECT trace_id, max(start_time) AS newest FROM otel.spans WHERE {sql} \
                         GROUP BY trace_id ORDER BY newest DESC, trace_id LIMIT {limit}) AS t"
                ))
                .await;
            let query = SearchQuery::filtered(filter.clone()).limit(limit);
            let found = store.search_traces(query).await.expect("found");
            let ids: Vec<String> = found.iter().map(|hit| hit.trace_id.to_string()).collect();
            assert_eq!(ids, expected, "{limit} {filter:?}");
            for hit in found.iter() {
                let of_trace = spans.iter().filter(|span| span.trace_id == hit.trace_id);
                assert_eq!(hit.span_count, of_trace.count() as u64);
                assert!((1..=5).contains(&hit.spans.len()), "{hit:?}");
                assert!(hit.spans.is_sorted_by(|one, next| one.start >= next.start), "{hit:?}");
            }
        }
    }
}
