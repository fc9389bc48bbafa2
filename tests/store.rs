//! What is stored comes back exactly, through Rust and through SQL.

mod support;

use std::collections::HashMap;

use opentelemetry::trace::TraceId;
use opentelemetry_pgvector::span::{Attribute, Span, Value};
use support::database::TestDatabase;
use support::{arbitrary, shared};

fn sorted<'a>(spans: impl IntoIterator<Item = &'a Span<'static>>) -> Vec<&'a Span<'static>> {
    let mut spans: Vec<_> = spans.into_iter().collect();
    spans.sort_by_key(|span| (span.span_id.to_bytes(), span.start, span.end));
    spans
}

#[tokio::test(flavor = "multi_thread")]
async fn arbitrary_spans_come_back_exactly() {
    let database = TestDatabase::create().await;
    let store = database.store();
    for count in 1..40 {
        let spans = arbitrary::sample(count);
        store.batch_store(&spans).await.expect("the batch is stored");
        for span in &spans {
            let stored = store.get_trace(span.trace_id).await.expect("the trace is read");
            assert_eq!(stored, std::slice::from_ref(span));
        }
    }
    // Every view decodes every span without an error.
    let decoded: i64 = database.value("SELECT count(to_jsonb(s)) FROM otel.spans s").await;
    assert_eq!(decoded, database.value::<i64>("SELECT count(*) FROM otel.spans").await);
    let traces: i64 = database.value("SELECT count(to_jsonb(t)) FROM otel.traces t").await;
    assert_eq!(traces, database.value::<i64>("SELECT count(*) FROM otel.traces").await);
}

async fn recording_comes_back(name: &str) {
    let Some(messages) = shared::messages(name) else { return };
    let spans: Vec<Span<'static>> = shared::spans(&messages).into_iter().map(Span::into_owned).collect();
    let database = TestDatabase::create().await;
    let store = database.store();
    for batch in spans.chunks(2000) {
        store.batch_store(batch).await.expect("the batch is stored");
    }
    let mut by_trace: HashMap<TraceId, Vec<&Span<'static>>> = HashMap::new();
    for span in &spans {
        by_trace.entry(span.trace_id).or_default().push(span);
    }
    for (trace_id, expected) in &by_trace {
        let stored = store.get_trace(*trace_id).await.expect("the trace is read");
        assert_eq!(sorted(&stored), sorted(expected.iter().copied()));
    }
    let health = store.health_check().await;
    assert!(health.healthy, "{health:?}");
    assert_eq!(health.total_traces as usize, by_trace.len());
    assert_eq!(health.total_spans as usize, spans.len());
    for span in spans.iter().step_by(997) {
        let sql = format!(
            "SELECT service FROM otel.spans WHERE trace_id = '{}' AND span_id = '{}'",
            span.trace_id, span.span_id
        );
        let service: String = database.value(&sql).await;
        assert_eq!(service, span.resource.service_name(), "a document is of one service");
    }
    report_storage(&database, spans.len()).await;
}

async fn report_storage(database: &TestDatabase, spans: usize) {
    database.execute("VACUUM ANALYZE otel.span_rows_default").await;
    let sizes = database
        .client()
        .await
        .query(
            "SELECT 'heap and TOAST', pg_table_size('otel.span_rows_default') \
             UNION ALL SELECT indexrelid::regclass::text, pg_relation_size(indexrelid) \
             FROM pg_index WHERE indrelid = 'otel.span_rows_default'::regclass",
            &[],
        )
        .await
        .expect("sizes");
    let mut total = 0;
    for row in sizes {
        let (what, bytes): (String, i64) = (row.get(0), row.get(1));
        println!("{what}: {:.1} B a span", bytes as f64 / spans as f64);
        total += bytes;
    }
    println!("in all: {:.1} B a span", total as f64 / spans as f64);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_trace_of_datasette_comes_back_exactly() {
    recording_comes_back("datasette").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_trace_of_trainticket_comes_back_exactly() {
    recording_comes_back("trainticket").await;
}

/// SQL and Rust decode the same: the view's attributes are the attributes.
#[tokio::test(flavor = "multi_thread")]
async fn sql_decodes_what_rust_decodes() {
    let database = TestDatabase::create().await;
    let store = database.store();
    let spans = arbitrary::sample(200);
    store.batch_store(&spans).await.expect("stored");
    let rows = database
        .client()
        .await
        .query("SELECT trace_id, name, coalesce(status_message, ''), attributes::text, span_id, flags, service, events::text FROM otel.spans", &[])
        .await
        .expect("the view");
    assert_eq!(rows.len(), spans.len());
    for row in rows {
        let trace_id = TraceId::from_hex(row.get(0)).expect("hexadecimal");
        let stored = store.get_trace(trace_id).await.expect("read");
        let [span] = stored.as_slice() else { panic!("one span a trace") };
        assert_eq!(span.name, row.get::<_, &str>(1));
        assert_eq!(span.status.message, row.get::<_, &str>(2));
        assert_eq!(span.span_id.to_string(), row.get::<_, &str>(4));
        assert_eq!(i64::from(span.flags), row.get::<_, i64>(5));
        assert_eq!(span.resource.service_name(), row.get::<_, &str>(6));
        let shown: serde_json::Value = serde_json::from_str(row.get(3)).expect("JSON");
        assert!(same_members(&shown, &span.attributes), "{shown}\nis not\n{:?}", span.attributes);
        let events: serde_json::Value = serde_json::from_str(row.get(7)).expect("JSON");
        assert_eq!(events.as_array().map(Vec::len), Some(span.events.len()));
        for (shown, event) in events.as_array().into_iter().flatten().zip(&span.events) {
            assert_eq!(shown["name"], event.name.as_ref());
            let none = serde_json::json!({});
            assert!(
                same_members(shown.get("attributes").unwrap_or(&none), &event.attributes),
                "{shown}\n{event:?}"
            );
        }
    }
}

/// Whether jsonb shows these attributes. Of duplicate keys it shows the last.
fn same_members(shown: &serde_json::Value, attributes: &[Attribute<'_>]) -> bool {
    let last: HashMap<&str, &Value<'_>> =
        attributes.iter().map(|(key, value)| (key.as_ref(), value)).collect();
    shown.as_object().is_some_and(|shown| {
        shown.len() == last.len()
            && last.iter().all(|(key, value)| shown.get(*key).is_some_and(|shown| same(shown, value)))
    })
}

fn same(shown: &serde_json::Value, value: &Value<'_>) -> bool {
    match value {
        Value::Empty => shown.is_null(),
        Value::Bool(value) => shown == value,
        Value::Int(value) => shown == value,
        Value::Double(value) if value.is_nan() => shown["$double"] == "NaN",
        Value::Double(value) if value.is_infinite() => {
            shown["$double"] == value.to_string().replace("inf", "Infinity")
        }
        // numeric knows no negative zero.
        Value::Double(value) => shown.as_f64() == Some(*value),
        Value::String(value) => shown == value.as_ref(),
        Value::Bytes(value) => {
            shown["$bytes"] == value.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        }
        Value::Array(values) => shown.as_array().is_some_and(|shown| {
            shown.len() == values.len() && shown.iter().zip(values).all(|(shown, value)| same(shown, value))
        }),
        Value::KeyValues(pairs) if pairs.first().is_some_and(|(key, _)| key.starts_with('$')) => {
            shown["$kvlist"].as_array().is_some_and(|shown| {
                shown.len() == pairs.len()
                    && shown
                        .iter()
                        .zip(pairs)
                        .all(|(shown, (key, value))| shown[0] == key.as_ref() && same(&shown[1], value))
            })
        }
        Value::KeyValues(pairs) => same_members(shown, pairs),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nul_is_replaced_visibly_and_counted() {
    let database = TestDatabase::create().await;
    let store = database.store();
    let mut span = arbitrary::sample(1).remove(0);
    span.name = "a\0b".into();
    span.attributes = vec![("k\0".into(), Value::String("v\0".into()))];
    store.batch_store(std::slice::from_ref(&span)).await.expect("stored");
    let stored = store.get_trace(span.trace_id).await.expect("read");
    assert_eq!(stored[0].name, "a\u{2400}b");
    assert_eq!(stored[0].attributes, [("k\u{2400}".into(), Value::String("v\u{2400}".into()))]);
    assert!(store.health_check().await.nuls_replaced >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_sent_twice_is_stored_once() {
    let database = TestDatabase::create().await;
    let store = database.store();
    let span = arbitrary::sample(1).remove(0);
    let id = uuid::Uuid::new_v4();
    let first = store.batch_store_with_id(id, std::slice::from_ref(&span)).await.expect("stored");
    assert!(first.new);
    for _ in 0..20 {
        let again = store.batch_store_with_id(id, std::slice::from_ref(&span)).await.expect("recognised");
        assert!(!again.new);
    }
    assert_eq!(store.get_trace(span.trace_id).await.expect("read").len(), 1);
}
