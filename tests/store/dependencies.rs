//! Which service calls which is counted by the hour, each call once, as spans come.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::support::database::{TestDatabase, eventually};
use crate::support::spans;
use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_pgvector::span::{Resource, Span, Status, StatusCode, Timestamp, Value};
use opentelemetry_pgvector::{SpanExporter, TraceStore};
use opentelemetry_sdk::trace::SpanExporter as _;

const HOUR: Duration = Duration::from_secs(3600);

fn span(trace: u128, id: u64, parent: u64, service: &str, start: SystemTime, failed: bool) -> Span<'static> {
    let start = Timestamp::from(start);
    let name = ("service.name".into(), Value::String(service.to_owned().into()));
    Span {
        resource: Arc::new(Resource { attributes: vec![name], ..Resource::default() }),
        trace_id: TraceId::from(trace),
        span_id: SpanId::from(id),
        parent_span_id: SpanId::from(parent),
        name: "call".into(),
        kind: 2,
        start,
        end: Timestamp(start.0 + 1000),
        status: Status {
            code: if failed { StatusCode::ERROR } else { StatusCode::UNSET },
            message: "".into(),
        },
        ..Span::default()
    }
}

/// web calls cart, twice; cart calls itself and the database; one call of the database fails.
fn trace(trace: u128, start: SystemTime) -> Vec<Span<'static>> {
    vec![
        span(trace, 1, 0, "web", start, false),
        span(trace, 2, 1, "cart", start, false),
        span(trace, 3, 1, "cart", start, false),
        span(trace, 4, 2, "cart", start, false),
        span(trace, 5, 4, "database", start, false),
        span(trace, 6, 4, "database", start, true),
        // Of a parent that nobody has.
        span(trace, 7, 99, "mail", start, false),
    ]
}

/// Parent, child, calls, errors of a period.
async fn calls(store: &TraceStore, since: SystemTime, until: SystemTime) -> Vec<(String, String, u64, u64)> {
    let links = store.dependencies(since, until).await.expect("dependencies");
    links.into_iter().map(|link| (link.parent, link.child, link.calls, link.errors)).collect()
}

fn link(parent: &str, child: &str, calls: u64, errors: u64) -> (String, String, u64, u64) {
    (parent.to_owned(), child.to_owned(), calls, errors)
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_between_services_are_counted_once_however_often_they_are_looked_at() {
    let database = TestDatabase::create().await;
    let store = database.store();
    let now = SystemTime::now();
    store.batch_store(&trace(1, now)).await.expect("stored");
    assert!(calls(&store, now - HOUR, now).await.is_empty(), "reading does not count");
    for _ in 0..3 {
        store.count_dependencies(HOUR).await.expect("counted");
        let expected = [link("cart", "database", 2, 1), link("web", "cart", 2, 0)];
        assert_eq!(calls(&store, now - HOUR, now).await, expected);
    }
    let yesterday = now - 24 * HOUR;
    assert!(calls(&store, yesterday - HOUR, yesterday).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_counted_once_however_many_spans_have_the_id_of_its_parent() {
    let database = TestDatabase::create().await;
    let store = database.store();
    let now = SystemTime::now();
    // Four hundred million pairs.
    let many = 20_000;
    for (id, parent, service) in [(1, 0, "web"), (2, 1, "cart")] {
        let spans: Vec<_> = (0..many).map(|_| span(1, id, parent, service, now, false)).collect();
        store.batch_store(&spans).await.expect("stored");
    }
    store.count_dependencies(HOUR).await.expect("counted");
    assert_eq!(calls(&store, now - HOUR, now).await, [link("web", "cart", many, 0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_that_come_late_are_counted_and_years_without_any_are_passed_over() {
    let database = TestDatabase::create().await;
    let store = database.store();
    let now = SystemTime::now();
    let long_ago = now - 10_000 * HOUR;
    store.batch_store(&trace(1, long_ago)).await.expect("stored");
    store.batch_store(&trace(2, long_ago + 30 * HOUR)).await.expect("stored");
    store.count_dependencies(Duration::ZERO).await.expect("counted");
    let both = [link("cart", "database", 4, 2), link("web", "cart", 4, 0)];
    assert_eq!(calls(&store, long_ago - HOUR, now).await, both);
    let first = [link("cart", "database", 2, 1), link("web", "cart", 2, 0)];
    assert_eq!(calls(&store, long_ago, long_ago).await, first);

    store.batch_store(&trace(3, now - 5 * HOUR)).await.expect("stored");
    store.count_dependencies(Duration::ZERO).await.expect("counted");
    assert!(calls(&store, now - 5 * HOUR, now).await.is_empty(), "later than is looked back");
    store.count_dependencies(6 * HOUR).await.expect("counted");
    assert_eq!(calls(&store, now - 5 * HOUR, now).await, first);
}

/// As behind a gateway whose spans are stored elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn calls_are_counted_behind_years_without_spans_also_where_no_root_is_stored() {
    let database = TestDatabase::create().await;
    let store = database.store();
    let now = SystemTime::now();
    for (number, days) in (1..).zip([3000, 100, 50, 2, 0]) {
        let mut spans = trace(number, now - days * 24 * HOUR);
        spans.retain(|span| span.parent_span_id != SpanId::INVALID);
        store.batch_store(&spans).await.expect("stored");
    }
    store.count_dependencies(HOUR).await.expect("counted");
    assert_eq!(calls(&store, now - 4000 * 24 * HOUR, now).await, [link("cart", "database", 10, 5)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn maintenance_counts_too() {
    let database = TestDatabase::create().await;
    let store = database.store();
    let now = SystemTime::now();
    store.batch_store(&trace(1, now)).await.expect("stored");
    store.maintain().await.expect("maintained");
    assert_eq!(calls(&store, now - HOUR, now).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exporter_that_only_writes_counts_too() {
    let database = TestDatabase::create().await;
    let (schema, role) = (database.schema_with_roles(), database.create_role().await);
    let mut settings = database.settings();
    settings.schema.clone_from(&schema);
    let store = TraceStore::new(settings).expect("valid settings");
    store.create_roles().await.expect("roles");
    let now = SystemTime::now();
    store.batch_store(&trace(1, now)).await.expect("stored");

    database.execute(&format!("GRANT {schema}_writer TO {role}")).await;
    let mut settings = database.settings_as(&role);
    settings.schema = schema;
    let exporter = SpanExporter::from_settings(settings).expect("valid settings");
    exporter.export(spans::batch(0..1)).await.expect("exported");
    eventually("the calls are counted", async || calls(&store, now - HOUR, now).await.len() == 2).await;
    tokio::task::block_in_place(|| exporter.shutdown()).expect("shut down");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_kept_as_long_as_the_spans_they_were_counted_from() {
    let database = TestDatabase::create().await;
    let day = 24 * HOUR;
    let now = SystemTime::now();
    let store = database.store();
    store.batch_store(&trace(1, now - 40 * day)).await.expect("stored");
    store.batch_store(&trace(2, now - HOUR)).await.expect("stored");
    store.maintain().await.expect("maintained");
    let all = async || calls(&store, now - 50 * day, now + day).await;
    assert_eq!(all().await, [link("cart", "database", 4, 2), link("web", "cart", 4, 0)]);
    let mut settings = database.settings();
    settings.retention_days = 30;
    TraceStore::new(settings).expect("valid settings").maintain().await.expect("maintained");
    assert_eq!(all().await, [link("cart", "database", 2, 1), link("web", "cart", 2, 0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn hours_that_the_server_does_not_count_in_time_are_counted_in_smaller_parts() {
    let database = TestDatabase::create().await;
    let store = database.store();
    let now = SystemTime::now();
    for hours in [30, 20, 10, 1] {
        store.batch_store(&trace(hours as u128, now - hours * HOUR)).await.expect("stored");
    }
    database
        .execute(
            "ALTER FUNCTION otel.count_dependencies RENAME TO count_all;
             CREATE FUNCTION otel.count_dependencies(late interval, hours integer) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN
                 IF hours > 4 THEN RAISE 'too many' USING ERRCODE = '57014'; END IF;
                 RETURN otel.count_all(late, hours);
             END$$",
        )
        .await;
    store.count_dependencies(6 * HOUR).await.expect("counted");
    let all = [link("cart", "database", 8, 4), link("web", "cart", 8, 0)];
    assert_eq!(calls(&store, now - 40 * HOUR, now).await, all);
}
