//! What is stored comes back exactly, through Rust and through SQL.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::support::database::{TestDatabase, eventually};
use crate::support::load::span;
use crate::support::{arbitrary, shared};
use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_pgvector::search::{Filter, SearchQuery};
use opentelemetry_pgvector::span::{Attribute, Resource, Scopes, Span, Timestamp, Value, span_from_sdk};
use opentelemetry_pgvector::{SpanExporter, TraceStore};
use opentelemetry_sdk::trace::SpanExporter as _;

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

/// So many letters that hardly compress, and no literal.
fn noise(seed: &str, length: usize) -> String {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(seed.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes
        .into_iter()
        .map(|byte| {
            char::from(
                b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_:|+()[]{}~"[usize::from(byte % 64)],
            )
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn names_longer_than_an_entry_of_an_index_are_stored_and_their_calls_counted() {
    let database = TestDatabase::create().await;
    let store = database.store();
    let now = SystemTime::now();
    let spans: Vec<Span<'static>> = (1..=2_u64)
        .map(|id| {
            let service =
                ("service.name".into(), Value::String(noise(&format!("service {id}"), 5000).into()));
            Span {
                resource: Arc::new(Resource { attributes: vec![service], ..Resource::default() }),
                trace_id: TraceId::from(1),
                span_id: SpanId::from(id),
                parent_span_id: SpanId::from(id - 1),
                name: noise(&format!("name {id}"), 20_000).into(),
                start: Timestamp::from(now),
                end: Timestamp::from(now),
                ..Span::default()
            }
        })
        .collect();
    store.batch_store(&spans).await.expect("the batch is stored");
    assert_eq!(sorted(&store.get_trace(TraceId::from(1)).await.expect("the trace")), sorted(&spans));
    for span in &spans {
        let filter = Filter::default().service(span.resource.service_name()).operation(&*span.name);
        let found = store.search_spans(SearchQuery::filtered(filter)).await.expect("found");
        assert_eq!(found.iter().map(|hit| hit.span_id).collect::<Vec<_>>(), [span.span_id]);
    }
    let hour = Duration::from_secs(3600);
    store.count_dependencies(hour).await.expect("counted");
    assert_eq!(store.dependencies(now - hour, now).await.expect("calls").len(), 1);
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
    database.execute("VACUUM ANALYZE otel.span_rows").await;
    let sizes = database
        .client()
        .await
        .query(
            "SELECT 'heap and TOAST', sum(pg_table_size(inhrelid))::bigint FROM pg_inherits \
             WHERE inhparent = 'otel.span_rows'::regclass \
             UNION ALL \
             SELECT inhparent::regclass::text, sum(pg_relation_size(inhrelid))::bigint FROM pg_inherits \
             JOIN pg_index ON indexrelid = inhparent WHERE indrelid = 'otel.span_rows'::regclass GROUP BY 1",
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

/// A first attempt that is stopped by a lock on `span_rows` when it has entered the ledger, and a second attempt of the
/// same batch; `end` is what becomes of the first one's connection.
async fn second_attempt_while_the_first_runs(end: impl AsyncFnOnce(&TestDatabase)) -> (bool, i64) {
    let database = TestDatabase::create().await;
    let (first, second) = (database.store(), database.store());
    let warm_up = arbitrary::sample(1);
    first.batch_store(&warm_up).await.expect("stored");
    second.batch_store(&warm_up).await.expect("stored");

    let mut client = database.client().await;
    let lock = client.transaction().await.expect("a transaction");
    // COPY waits for it, the ledger does not.
    lock.batch_execute("LOCK TABLE otel.span_rows IN SHARE ROW EXCLUSIVE MODE").await.expect("locked");
    let id = uuid::Uuid::now_v7();
    let attempt = |store: &TraceStore| {
        let (store, span) = (store.clone(), warm_up[0].clone());
        tokio::spawn(async move { store.batch_store_with_id(id, &[span]).await })
    };
    let waiting = |relation: &'static str| {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' \
             AND query LIKE '%{relation}%' AND pid <> pg_backend_pid()"
        );
        let database = &database;
        async move { database.value::<i64>(&sql).await == 1 }
    };
    let first = attempt(&first);
    eventually("the first attempt waits for the lock on the rows", || waiting("COPY")).await;
    let second = attempt(&second);
    eventually("the second attempt waits for the ledger's key", || waiting("INSERT INTO \"otel\".batches"))
        .await;

    end(&database).await;
    lock.rollback().await.expect("unlocked");
    // Whether the first attempt hears of it is of no account.
    let _ = first.await.expect("no panic");
    let second = second.await.expect("no panic").expect("stored, by whichever attempt");
    let stored = database.value("SELECT count(*) - 2 FROM otel.span_rows").await;
    assert_eq!(
        database.value::<i64>(&format!("SELECT count(*) FROM otel.batches WHERE id = '{id}'")).await,
        1
    );
    (second.new, stored)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_attempt_waits_for_the_first_and_finds_it_committed() {
    let outcome = second_attempt_while_the_first_runs(async |_| {}).await;
    assert_eq!(outcome, (false, 1), "stored by the first attempt, once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_attempt_stores_what_the_first_rolled_back() {
    let outcome = second_attempt_while_the_first_runs(async |database| {
        let ended: bool = database
            .value(
                "SELECT bool_and(pg_terminate_backend(pid)) FROM pg_stat_activity \
                 WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'COPY%'",
            )
            .await;
        assert!(ended);
    })
    .await;
    assert_eq!(outcome, (true, 1), "stored by the second attempt, once");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_forgets_only_what_is_old_by_the_server_s_clock_and_by_the_id() {
    let database = TestDatabase::create().await;
    let mut settings = database.settings();
    settings.ledger_days = 3;
    let store = TraceStore::new(settings).expect("valid settings");
    store.migrate().await.expect("migrated");
    let id = |days_ago: i64, rest: &str| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        let hex = format!("{:012x}{rest}", now.as_millis() as i64 - days_ago * 86_400_000);
        uuid::Uuid::parse_str(&hex).expect("an id")
    };
    let (v7, v8, v4) = ("70008000000000000001", "80008000000000000001", "40008000000000000001");
    let entries = [
        (id(2, v7), 2, true, "too young"),
        (id(4, v7), 2, true, "the client's clock was late"),
        (id(2, v7.replace('1', "2").as_str()), 4, true, "the client's clock was early"),
        (id(-40_000, v7), 10, true, "the client's clock was a century early"),
        (id(10, v8), 10, true, "an import's"),
        (id(10, v4), 10, true, "of the caller's choice"),
        (id(4, v7.replace('1', "2").as_str()), 4, false, "old"),
        (id(400, v7), 400, false, "very old"),
        (id(19_000, v7), 4, false, "the client's clock was at 1970"),
    ];
    let client = database.client().await;
    for (id, days_ago, _, what) in &entries {
        let sql = "INSERT INTO otel.batches VALUES ($1, 1, now() - make_interval(days => $2))";
        client.execute(sql, &[id, days_ago]).await.expect(what);
    }
    let old = entries.iter().filter(|(_, _, kept, _)| !kept).count() as u64;
    assert_eq!(store.prune_ledger().await.expect("pruned"), old);
    assert_eq!(store.prune_ledger().await.expect("pruned"), 0);
    for (id, _, kept, what) in &entries {
        let row = client.query_opt("SELECT FROM otel.batches WHERE id = $1", &[id]).await.expect("read");
        assert_eq!(row.is_some(), *kept, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_ledger_is_pruned_in_chunks_by_one_process_and_blocks_no_writer() {
    let database = TestDatabase::create().await;
    let store = database.store();
    store.migrate().await.expect("migrated");
    database
        .execute(
            "INSERT INTO otel.batches SELECT (lpad(to_hex(1700000000000 + n), 12, '0') || '70008000000000000001')::uuid, 1, \
             now() - interval '1 year' FROM generate_series(1, 25000) AS n; ANALYZE otel.batches",
        )
        .await;
    let plan =
        database.plan("SELECT id FROM otel.batches WHERE id < '018bcfe5-6800-7000-8000-000000000001'").await;
    assert!(plan.contains("Index"), "{plan}");
    // While an entry is locked, the pruning waits, nobody else prunes, and writers go on.
    let mut client = database.client().await;
    let lock = client.transaction().await.expect("a transaction");
    lock.batch_execute("SELECT FROM otel.batches ORDER BY id LIMIT 1 FOR UPDATE").await.expect("locked");
    let pruning = tokio::spawn({
        let store = store.clone();
        async move { store.prune_ledger().await }
    });
    let waits = "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() \
                 AND wait_event_type = 'Lock' AND query LIKE '%prune_ledger%'";
    eventually("the pruning waits", || async { database.value::<bool>(waits).await }).await;
    assert_eq!(database.store().prune_ledger().await.expect("another one prunes"), 0);
    assert!(database.store().batch_store(&arbitrary::sample(2)).await.expect("stored").new);
    lock.rollback().await.expect("unlocked");
    assert_eq!(pruning.await.expect("no panic").expect("pruned"), 25_000);
    assert_eq!(database.value::<i64>("SELECT count(*) FROM otel.batches").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_have_ids_that_sort_by_time() {
    let database = TestDatabase::create().await;
    let store = database.store();
    for span in arbitrary::sample(5) {
        store.batch_store(&[span]).await.expect("stored");
    }
    let rows = "SELECT string_agg(substr(id::text, 15, 1), '' ORDER BY id) FROM otel.batches";
    assert_eq!(database.value::<String>(rows).await, "77777");
    let sorted = "SELECT array_agg(left(id::text, 13) ORDER BY id) = array_agg(left(id::text, 13) ORDER BY stored_at) FROM otel.batches";
    assert!(database.value::<bool>(sorted).await);
}

/// A span of this name, and of a resource of the same name.
fn span_of(name: &str) -> Span<'static> {
    let service: Attribute<'_> = ("service.name".into(), Value::String(name.to_owned().into()));
    let resource = Resource { attributes: vec![service], ..Resource::default() };
    span_from_sdk(&span(name, 0), &Arc::new(resource), &mut Scopes::default()).into_owned()
}

/// The database is restored from a copy of before `store` made some documents and resources, while nobody looks; what
/// was made since takes their ids.
async fn restored_without_an_error(between: impl AsyncFnOnce(), database: &TestDatabase) {
    let copy = database.copy().await;
    between().await;
    database.restore(copy).await;
    for name in ["another", "yet another"] {
        database.store().batch_store(&[span_of(name)]).await.expect("stored after the restore");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_restored_meanwhile_gets_the_documents_of_a_batch_again() {
    let database = TestDatabase::create().await;
    let store = database.store();
    store.batch_store(&[span_of("early")]).await.expect("stored");
    let lost = ["late", "later", "latest"].map(span_of);
    restored_without_an_error(
        async || {
            store.batch_store(&lost).await.expect("stored, and lost by the restore");
            assert_eq!(store.get_trace(lost[2].trace_id).await.expect("read"), &lost[2..]);
        },
        &database,
    )
    .await;

    let again = ["late", "later", "latest", "early"].map(span_of);
    assert!(store.batch_store(&again).await.expect("stored").new);
    for store in [database.store(), store] {
        for span in &again {
            let stored = store.get_trace(span.trace_id).await.expect("the row has its document");
            assert_eq!(stored, std::slice::from_ref(span));
        }
    }
    let spans: i64 = database.value("SELECT count(*) FROM otel.spans").await;
    assert_eq!(spans, database.value::<i64>("SELECT count(*) FROM otel.span_rows").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exporter_that_was_idle_while_the_database_was_restored_stores_readable_spans() {
    let database = TestDatabase::create().await;
    let exporter = SpanExporter::from_settings(database.settings()).expect("built");
    exporter.export(vec![span("early", 0)]).await.expect("stored");
    restored_without_an_error(
        async || exporter.export(vec![span("late", 1)]).await.expect("stored, and lost by the restore"),
        &database,
    )
    .await;
    exporter.export(vec![span("late", 2), span("early", 3)]).await.expect("stored");
    let read = "SELECT string_agg(name || ' ' || (attributes ->> 'load.sequence'), ', ' ORDER BY name) \
                FROM otel.spans WHERE name IN ('early', 'late')";
    assert_eq!(database.value::<String>(read).await, "early 0, early 3, late 2");
}
