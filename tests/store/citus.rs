//! A schema that is spread over a Citus cluster answers as one on a server does.
//!
//! The tests with a cluster need one: `OTEL_TEST_CITUS_URL` names its coordinator, as a superuser that may log in to all
//! nodes. Where it is not set, as under CI, they are skipped: no package that scripts could install brings Citus.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::support::arbitrary;
use crate::support::cluster::Cluster;
use crate::support::command::{Run, file, line};
use crate::support::database::TestDatabase;
use crate::support::operations;
use crate::support::spans::{DAY, at, on_day};
use crate::support::tiny_model::Tiny;
use opentelemetry::trace::SpanId;
use opentelemetry_pgvector::search::{Filter, SearchQuery, Status};
use opentelemetry_pgvector::span::{self, Resource, Span, Timestamp};
use opentelemetry_pgvector::{Settings, TraceStore};
use serde_json::{Value, json};

/// Traces of two services, one of them failed, with attributes and an exception.
fn recording() -> String {
    let failed = ",\"events\":[{\"timeUnixNano\":\"1700000000100000000\",\"name\":\"exception\",\"attributes\":[\
                  {\"key\":\"exception.message\",\"value\":{\"stringValue\":\"payment declined: card expired\"}}]}],\
                  \"attributes\":[{\"key\":\"order.id\",\"value\":{\"intValue\":\"7\"}},\
                  {\"key\":\"shop.id\",\"value\":{\"stringValue\":\"north\"}}]";
    let lines = (1..40).map(|number| match number % 3 {
        0 => line(number, "").replace("\"pay\"", "\"resize image thumbnail\"").replace("checkout", "media"),
        1 => line(number, failed).replace("\"status\":{}", "\"status\":{\"code\":2}"),
        _ => line(number, ",\"attributes\":[{\"key\":\"order.id\",\"value\":{\"intValue\":\"70\"}}]"),
    });
    // Each a second later than the one before.
    let lines = lines.enumerate().map(|(at, line)| line.replace("17000000", &format!("17000{at:03}")));
    lines.collect::<Vec<_>>().join("\n")
}

/// The commands that read, with what they print being the same on a server and on a cluster.
const READING: &[&[&str]] = &[
    &["search", "credit card was rejected", "--json"],
    &["search", "credit card was rejected", "--limit", "3", "--by", "span", "--json"],
    &["search", "resize a picture", "--by", "operation", "--json"],
    &["search", "declined", "--service", "checkout", "--status", "error", "-a", "order.id=7", "--json"],
    &["search", "declined", "--since", "2023-11-14T22:15:00Z", "--until", "2023-11-14T22:40:00Z", "--json"],
    &["search", "\"card expired\"", "--json"],
    &["search", "\"card expired\" while paying", "--by", "span", "--explain", "--json"],
    &["search", "--json"],
    &["search", "--status", "error", "--by", "operation", "--json"],
    &["search", "--exception", "--min-duration", "100ms", "-a", "shop.id~nor", "--json"],
    &["search", "--resource", "service.name=media", "--json"],
    &["search", "--trace-id", "000000000000000000000000abc00001", "--json"],
    &["trace", "000000000000000000000000abc00001", "--json"],
    &["trace", "000000000000000000000000abc00001", "-v"],
    &["services", "--json"],
    &["operations", "media"],
    &["similar", "000000000000000000000000abc00001", "--json"],
    &["export", "otlp", "--service", "media"],
    &["sql", "-c", "SELECT service, status, count(*) FROM spans GROUP BY 1, 2 ORDER BY 1, 2"],
    &["sql", "-c", "SELECT trace_id, root_name, span_count, error_count FROM traces ORDER BY 1"],
    &["sql", "-c", "SELECT * FROM traces WHERE trace_id = '000000000000000000000000abc00001'"],
    &["sql", "-c", "SELECT service, name, embedded, spans FROM documents ORDER BY 1, 2, 4"],
    &["sql", "-c", "SELECT name, attributes, resource FROM spans ORDER BY start_time"],
];

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_answers_as_a_server_does() {
    let Some(cluster) = Cluster::create().await else { return };
    let server = TestDatabase::create().await;
    let (_folder, file) = file("traces.jsonl", recording().as_bytes());
    let file = file.display().to_string();
    let spread = cluster.run(&["migrate", "--citus", "--json"]).await.ok();
    assert!(spread.json()["distributed"].as_u64() >= Some(6), "{spread:?}");
    // The second import finds that everything is stored.
    for stored in ["stored 39 spans, 0 already there", "stored 0 spans, 39 already there"] {
        for run in [
            on_server(&server, &["import", "otlp", &file]).await,
            cluster.run(&["import", "otlp", &file]).await,
        ] {
            assert!(run.stdout.starts_with(stored) && run.code == Some(0), "{run:?}");
        }
    }
    let mut different = Vec::new();
    for arguments in READING {
        let here = on_server(&server, arguments).await.ok();
        let there = cluster.run(arguments).await;
        if there.code != Some(0) || comparable(&there) != comparable(&here) {
            different.push(format!(
                "{arguments:?}\nserver: {}\ncluster: {}{}",
                here.stdout, there.stderr, there.stdout
            ));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n\n"));

    for arguments in
        [&["health"][..], &["new", "--since", "1h"], &["search", "--new-since", "1h"], &["migrate"]]
    {
        cluster.run(arguments).await.ok();
    }
    let spans: i64 = cluster.value("SELECT count(*) FROM otel.span_rows").await;
    assert_eq!(spans, 39);
    // Of 2023: each day has its partition, and they are dropped as a whole.
    let maintained = cluster.run(&["maintain", "--set", "retention_days=30", "--json"]).await.ok().json();
    assert_eq!(maintained["partitions_dropped"].as_array().map(Vec::len), Some(1), "{maintained}");
    assert_eq!(cluster.value::<i64>("SELECT count(*) FROM otel.span_rows").await, 0);
}

/// What both print, but for how long ago something was and the last digits of scores, which differ from run to run.
fn comparable(run: &Run) -> String {
    let lines = run.stdout.lines().map(|line| match serde_json::from_str(line) {
        Ok(value) => rounded(value).to_string(),
        Err(_) => line.split(" ago)").next().unwrap_or_default().to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The document with four digits behind the point of each number that has one.
fn rounded(value: Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => {
            json!((number.as_f64().expect("a float") * 1e4).round() / 1e4)
        }
        Value::Array(values) => values.into_iter().map(rounded).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, rounded(value))).collect(),
        other => other,
    }
}

async fn on_server(server: &TestDatabase, arguments: &[&str]) -> Run {
    let mut command = server.command(arguments);
    let output = tokio::task::spawn_blocking(move || command.output().expect("the command runs"));
    Run::of(output.await.expect("no panic"))
}

fn settings(cluster: &Cluster) -> Settings {
    let mut settings = Settings::default();
    settings.connection_string = cluster.url();
    settings.pool_size = 4;
    settings
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_at_once_store_each_span_once() {
    let Some(cluster) = Cluster::create().await else { return };
    TraceStore::new(settings(&cluster)).expect("valid settings").distribute().await.expect("spread");
    let batches: Vec<_> = arbitrary::sample(80).chunks(10).map(<[_]>::to_vec).collect();
    let work = (0..4).map(|_| {
        let store = TraceStore::new(settings(&cluster)).expect("valid settings");
        let batches = batches.clone();
        tokio::spawn(async move {
            for (number, spans) in batches.iter().enumerate() {
                let id = uuid::Uuid::from_u128(number as u128 + 1);
                let stored = store.batch_store_with_id(id, spans).await.expect("stored");
                assert_eq!(stored.spans, 10);
            }
            store.prune_ledger().await.expect("pruned");
        })
    });
    for work in work.collect::<Vec<_>>() {
        work.await.expect("no panic");
    }
    assert_eq!(cluster.value::<i64>("SELECT count(*) FROM otel.span_rows").await, 80);
    assert_eq!(cluster.value::<i64>("SELECT count(*) FROM otel.batches").await, 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_with_data_is_spread_and_a_later_table_with_it() {
    let Some(cluster) = Cluster::create().await else { return };
    let store = TraceStore::new(settings(&cluster)).expect("valid settings");
    let spans = arbitrary::sample(40);
    store.batch_store(&spans[..20]).await.expect("stored");
    assert!(store.distribute().await.expect("spread") >= 6);
    assert_eq!(store.distribute().await.expect("spread"), 0);
    assert!(store.get_trace(spans[0].trace_id).await.expect("read").contains(&spans[0]));
    store.batch_store(&spans[20..]).await.expect("stored");
    assert_eq!(cluster.value::<i64>("SELECT count(*) FROM otel.span_rows").await, 40);

    // As a migration makes one.
    let client = cluster.client().await;
    client.batch_execute("CREATE TABLE otel.later (id integer PRIMARY KEY)").await.expect("made");
    assert_eq!(store.distribute().await.expect("spread"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_maintained() {
    let Some(cluster) = Cluster::create().await else { return };
    let mut settings = settings(&cluster);
    settings.retention_days = 30;
    let store = TraceStore::new(settings).expect("valid settings");
    store.distribute().await.expect("spread");
    let (mut old, mut odd) = (on_day(-40, 3), at(-DAY, 5));
    old.iter_mut().for_each(|span| span.name = "of old".into());
    odd.iter_mut().for_each(|span| span.name = "of an odd clock".into());
    let now = SystemTime::now();
    for spans in [a_call(now), old, odd] {
        store.batch_store(&spans).await.expect("stored");
    }
    let client = cluster.client().await;
    client
        .batch_execute("UPDATE otel.span_documents SET last_seen = now() - interval '39 days'")
        .await
        .expect("old");
    // As a former release stored them, in the default partition; of the first document.
    client
        .batch_execute(
            "INSERT INTO otel.span_rows SELECT gen_random_uuid(), n, 0, now() - interval '20 days', n, 1, 1, 0, 0, '' \
             FROM generate_series(1, 200) AS n",
        )
        .await
        .expect("inserted");

    let done = store.maintain().await.expect("maintained");
    assert_eq!((done.spans_moved, done.partitions_dropped.len()), (200, 1), "{done:?}");
    assert_eq!((done.spans_deleted, done.documents_deleted, done.left.len()), (5, 2, 0), "{done:?}");
    assert_eq!(cluster.value::<i64>("SELECT count(*) FROM otel.span_rows_default").await, 0);
    assert_eq!(cluster.value::<i64>("SELECT count(*) FROM otel.span_rows").await, 202);
    let hour = Duration::from_secs(3600);
    let links = store.dependencies(now - hour, now).await.expect("read");
    let links: Vec<_> = links.iter().map(|link| (&*link.parent, &*link.child, link.calls)).collect();
    assert_eq!(links, [("web", "cart", 1)], "{done:?}");

    let again = store.maintain().await.expect("maintained");
    assert_eq!((again.spans_moved, again.documents_deleted, again.left.len()), (0, 0, 0), "{again:?}");
    assert_eq!(store.dependencies(now - hour, now).await.expect("read")[0].calls, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn among_hundreds_of_documents_a_cluster_finds_the_same_newest_spans() {
    let Some(cluster) = Cluster::create().await else { return };
    let server = TestDatabase::create().await;
    cluster.run(&["migrate", "--citus"]).await.ok();
    let stores = [server.store(), TraceStore::new(settings(&cluster)).expect("valid settings")];
    for store in &stores {
        for batch in operations::spans().chunks(500) {
            store.batch_store(batch).await.expect("stored");
        }
        store.flush().await.expect("embedded");
    }
    let of_user = || Filter::default().attribute("user.id=u7".parse().expect("a condition"));
    for (words, filter) in [
        ("", Filter::default()),
        ("", of_user()),
        ("", Filter::default().attribute("user.id=u2".parse().expect("a condition")).status(Status::Error)),
        ("", Filter::default().phrase("u7")),
        ("", Filter::default().operation("kakakas minumis")),
        ("lolos", of_user()),
        ("lolos", Filter::default().phrase("u7")),
        ("lolos", Filter::default().longer_than(Duration::from_millis(1))),
    ] {
        let mut found = Vec::new();
        for store in &stores {
            let query = SearchQuery::new(words).filter(filter.clone()).similarity_threshold(0.0).limit(50);
            let hits = store
                .search_traces(query)
                .await
                .unwrap_or_else(|error| panic!("{words} {filter:?}: {error}"));
            // Documents with the same score come in any order.
            let mut ids: Vec<String> = hits.iter().map(|hit| hit.trace_id.to_string()).collect();
            if !words.is_empty() {
                ids.sort_unstable();
            }
            found.push(ids);
        }
        assert!(!found[0].is_empty());
        assert_eq!(found[0], found[1], "{words} {filter:?}");
    }
}

/// The service web calls the service cart.
fn a_call(when: SystemTime) -> Vec<Span<'static>> {
    let start = Timestamp::from(when);
    let mut spans = at(start.0, 2);
    for (span, service) in spans.iter_mut().zip(["web", "cart"]) {
        let name = ("service.name".into(), span::Value::String(service.to_owned().into()));
        span.resource = Arc::new(Resource { attributes: vec![name], ..Resource::default() });
    }
    (spans[1].trace_id, spans[1].parent_span_id) = (spans[0].trace_id, spans[0].span_id);
    spans[0].parent_span_id = SpanId::INVALID;
    spans
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_changes_on_a_cluster() {
    let Some(cluster) = Cluster::create().await else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let (old, new) = (Tiny::new(128, 1), Tiny::new(256, 2));
    let store = |tiny: Tiny, name: &str| {
        let path = folder.path().join(name);
        tiny.write(&path);
        TraceStore::new(tiny.settings(&path, &settings(&cluster))).expect("valid settings")
    };
    let before = store(old, "old");
    before.distribute().await.expect("spread");
    let spans = arbitrary::sample(40);
    before.batch_store(&spans[..30]).await.expect("stored");
    before.flush().await.expect("embedded");
    let changed = store(new, "new").reembed(|_| ()).await.expect("changed");
    assert!(changed.changed, "{changed:?}");
    let dimension: i32 =
        cluster.value("SELECT vector_dims(embedding) FROM otel.span_documents LIMIT 1").await;
    assert_eq!(dimension, 256);
    store(new, "new").batch_store(&spans[30..]).await.expect("stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_do_on_a_cluster_what_they_may() {
    let Some(cluster) = Cluster::create().await else { return };
    let schema = cluster.schema_with_roles();
    cluster.run(&["migrate", "--roles", "--citus", "--schema", &schema]).await.ok();
    let client = cluster.client().await;
    let mut stores = Vec::new();
    for role in ["owner", "writer", "reader"] {
        let login = format!("{schema}_{role}_login");
        let create = format!("CREATE ROLE {login} LOGIN PASSWORD 'secret'; GRANT {schema}_{role} TO {login}");
        client.batch_execute(&create).await.expect("a role");
        let mut settings = settings(&cluster);
        settings.schema.clone_from(&schema);
        settings.connection_string = format!("{} user={login} password=secret", without_user(&cluster.url()));
        stores.push(TraceStore::new(settings).expect("valid settings"));
    }
    let spans = arbitrary::sample(20);
    stores[1].batch_store(&spans).await.expect("the writer stores");
    stores[1].prune_ledger().await.expect("the writer prunes");
    let read = stores[2].get_trace(spans[0].trace_id).await.expect("the reader reads");
    assert!(read.contains(&spans[0]));
    assert!(stores[2].batch_store(&spans).await.is_err(), "the reader may not write");
    assert!(stores[1].get_trace(spans[0].trace_id).await.is_err(), "the writer may not read");
    assert_eq!(stores[0].distribute().await.expect("the owner spreads"), 0);
}

fn without_user(url: &str) -> String {
    url.split(' ')
        .filter(|part| !part.starts_with("user=") && !part.starts_with("password="))
        .collect::<Vec<_>>()
        .join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_extension_it_says_what_is_missing() {
    let server = TestDatabase::create().await;
    let run = on_server(&server, &["migrate", "--citus"]).await;
    assert_eq!(run.code, Some(1), "{run:?}");
    for expected in ["extension citus", "shared_preload_libraries", "CREATE EXTENSION citus"] {
        assert!(run.stderr.contains(expected), "{run:?}");
    }
    // The tables are there all the same.
    on_server(&server, &["health"]).await.ok();
}
