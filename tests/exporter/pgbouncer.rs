//! Behind PgBouncer in transaction mode, with more clients than server connections.
#![cfg(unix)]

use std::time::Duration;

use crate::support::arbitrary;
use crate::support::database::TestDatabase;
use crate::support::debian::{Server, pgbouncer};
use opentelemetry_pgvector::search::{Filter, SearchQuery};
use opentelemetry_pgvector::{Error, Settings, TraceStore};
use tokio_postgres::{NoTls, SimpleQueryMessage};

const SERVER_CONNECTIONS: usize = 3;

fn bouncer(database: &TestDatabase) -> Option<Server> {
    let config = database.config();
    let password = String::from_utf8_lossy(config.get_password().unwrap_or_default()).into_owned();
    let line = format!(
        "{name} = host=127.0.0.1 port={} dbname={name} user={} password={password}",
        config.get_ports()[0],
        config.get_user().expect("a user"),
        name = database.name(),
    );
    pgbouncer(&line, SERVER_CONNECTIONS)
}

fn settings(database: &TestDatabase, bouncer: &Server) -> Settings {
    let mut settings = database.settings();
    settings.connection_string =
        format!("host=127.0.0.1 port={} dbname={} user=app", bouncer.port, database.name());
    settings.prepared_statements = false;
    // Many tasks share the processor with other tests.
    settings.connect_timeout_seconds = 60;
    settings.statement_timeout_seconds = 120;
    settings.flush_timeout_seconds = 120;
    settings
}

/// What every server connection says to a query, asked at once so that each is asked.
async fn on_each_connection(database: &TestDatabase, bouncer: &Server, sql: &str) -> Vec<String> {
    let string = settings(database, bouncer).connection_string;
    let mut clients = Vec::new();
    for _ in 0..SERVER_CONNECTIONS {
        let (client, connection) = tokio_postgres::connect(&string, NoTls).await.expect("connected");
        tokio::spawn(connection);
        client.batch_execute("BEGIN").await.expect("begun");
        clients.push(client);
    }
    let mut answers = Vec::new();
    for client in clients {
        for message in client.simple_query(sql).await.expect("an answer") {
            if let SimpleQueryMessage::Row(row) = message {
                answers.push(row.get(0).unwrap_or_default().to_owned());
            }
        }
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_works_in_transaction_mode_and_nothing_outlives_a_transaction() {
    let database = TestDatabase::create_bare().await;
    let Some(bouncer) = bouncer(&database) else { return };
    let stores: Vec<TraceStore> =
        (0..4).map(|_| TraceStore::new(settings(&database, &bouncer)).expect("valid settings")).collect();
    let spans = arbitrary::sample(32);

    // All migrate, store, embed, read and search at once, over fewer connections than they have.
    let work = stores.iter().enumerate().flat_map(|(number, store)| {
        spans.chunks(4).map(move |spans| {
            let (store, spans) = (store.clone(), spans.to_vec());
            tokio::spawn(async move {
                let stored = store.batch_store(&spans).await?;
                assert_eq!((stored.spans, stored.new), (4, true));
                let read = store.get_trace(spans[0].trace_id).await?;
                assert!(read.contains(&spans[0]), "store {number}");
                store.search_traces("payment declined").await?;
                store.flush().await?;
                Ok::<(), Error>(())
            })
        })
    });
    let work: Vec<_> = work.collect();
    for work in work {
        let result = work.await.expect("no panic");
        assert!(result.is_ok(), "{result:?}\n{}", bouncer.log());
    }
    let stored: i64 = database.value("SELECT count(*) FROM otel.span_rows").await;
    assert_eq!(stored, 4 * 32);
    let waiting: i64 =
        database.value("SELECT count(*) FROM otel.span_documents WHERE embedding IS NULL").await;
    assert_eq!(waiting, 0);
    let since = SearchQuery::new(&spans[0].name)
        .filter(Filter::default().since(std::time::UNIX_EPOCH))
        .similarity_threshold(0.0);
    assert!(!stores[0].search_traces(since).await.expect("searched").is_empty());
    let newest = stores[0].find_traces(Filter::default()).await.expect("found");
    assert!(!newest.is_empty());
    stores[0].similar_traces(newest[0].trace_id, 5).await.expect("searched");
    assert!(!stores[0].new_since(std::time::UNIX_EPOCH, None, 5).await.expect("found").is_empty());
    let figures = stores[0].figures(None, std::time::UNIX_EPOCH, std::time::SystemTime::now(), 4).await;
    figures.expect("counted");
    let health = stores[0].health_check().await;
    assert!(health.healthy, "{health:?}");

    for (sql, expected) in [
        ("SELECT count(*) FROM pg_prepared_statements", "0"),
        ("SHOW statement_timeout", "0"),
        ("SHOW lock_timeout", "0"),
        // Its own: other tests lock in other databases of the server, which `pg_locks` shows, too.
        ("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()", "0"),
    ] {
        let answers = on_each_connection(&database, &bouncer, sql).await;
        assert_eq!(answers, vec![expected; SERVER_CONNECTIONS], "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_limited_by_itself() {
    let database = TestDatabase::create_bare().await;
    let Some(bouncer) = bouncer(&database) else { return };
    let mut settings = settings(&database, &bouncer);
    let spans = arbitrary::sample(1);
    TraceStore::new(settings.clone()).expect("valid settings").batch_store(&spans).await.expect("stored");
    // The server waits half as long for a lock: on a busy machine, too, it is the first to end.
    settings.statement_timeout_seconds = 4;
    let store = TraceStore::new(settings).expect("valid settings");
    let holder = database.client().await;
    holder.batch_execute("BEGIN; LOCK TABLE otel.span_rows").await.expect("locked");
    let error = store.batch_store(&spans).await.expect_err("locked");
    assert!(error.to_string().contains("55P03"), "{error}");
    assert!(error.is_transient());
    holder.batch_execute("ROLLBACK").await.expect("unlocked");
    let stored = tokio::time::timeout(Duration::from_secs(10), store.batch_store(&spans)).await;
    stored.expect("in time").expect("stored");
}

#[cfg(feature = "cli")]
#[tokio::test(flavor = "multi_thread")]
async fn the_command_works_in_transaction_mode() {
    let database = TestDatabase::create_bare().await;
    let Some(bouncer) = bouncer(&database) else { return };
    let string = settings(&database, &bouncer).connection_string;
    let (_folder, file) =
        crate::support::command::file("traces.jsonl", crate::support::command::line(1, "").as_bytes());
    let file = file.display().to_string();
    let id = format!("{:032x}", 0xabc0_0001_u32);
    // The second import finds that everything is stored.
    for arguments in [
        vec!["migrate"],
        vec!["import", "otlp", &file],
        vec!["import", "otlp", &file],
        vec!["search", "pay"],
        vec!["trace", &id],
        vec!["health"],
    ] {
        let mut command = crate::support::command::command(&arguments);
        command
            .env("OTEL_STORAGE_CONNECTION_STRING", &string)
            .env("OTEL_STORAGE_PREPARED_STATEMENTS", "false");
        let output = tokio::task::spawn_blocking(move || command.output().expect("it runs"));
        crate::support::command::Run::of(output.await.expect("no panic")).ok();
    }
    assert_eq!(database.value::<i64>("SELECT count(*) FROM otel.span_rows").await, 1);
}
