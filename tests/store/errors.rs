//! What a real server answers, and the class that it has: what passes by itself, what somebody must mend, what the data
//! is to blame for.

use std::time::Duration;

use crate::support::arbitrary;
use crate::support::database::{TestDatabase, eventually};
use opentelemetry::trace::TraceId;
use opentelemetry_pgvector::search::Filter;
use opentelemetry_pgvector::span::{Span, Value};
use opentelemetry_pgvector::{Error, ErrorClass, TraceStore};

async fn database() -> (TestDatabase, TraceStore) {
    let database = TestDatabase::create().await;
    let store = database.store();
    store.migrate().await.expect("migrated");
    (database, store)
}

fn spans() -> Vec<Span<'static>> {
    arbitrary::sample(2)
}

/// The SQLSTATE of an error of the server.
fn code(error: &Error) -> Option<&str> {
    match error {
        Error::Database { source, .. } => source.code().map(|code| code.code()),
        _ => None,
    }
}

#[track_caller]
fn assert_class(error: &Error, sqlstate: &str, class: ErrorClass) {
    assert_eq!((code(error), error.class()), (Some(sqlstate), class), "{error}");
    assert_eq!(error.is_transient(), class == ErrorClass::Transient);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_server_is_transient_and_its_connections_are_left() {
    let (database, store) = database().await;
    let (name, admin) = (database.name(), database.client().await);
    database.execute(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).await;
    let store = TraceStore::new(store.settings().clone()).expect("valid settings");
    let error = store.batch_store(&spans()).await.expect_err("read-only");
    assert_class(&error, "25006", ErrorClass::Transient);
    let health = store.health_check().await;
    assert!(!health.healthy && health.error.is_some_and(|error| error.contains("read-only")));
    admin.batch_execute(&format!("ALTER DATABASE {name} RESET ALL")).await.expect("writable");
    store.batch_store(&spans()).await.expect("new connections are to a server that can be written");
    assert!(store.health_check().await.healthy);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_limit_is_transient() {
    let (database, _) = database().await;
    let role = database.create_role().await;
    database.execute(&format!("ALTER ROLE {role} CONNECTION LIMIT 0")).await;
    let store = TraceStore::new(database.settings_as(&role)).expect("valid settings");
    let error = store.batch_store(&spans()).await.expect_err("no connection");
    assert!(matches!(error, Error::Connect { .. }) && error.to_string().contains("53300"), "{error}");
    assert_eq!(error.class(), ErrorClass::Transient);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_and_where_are_configuration() {
    let (database, _) = database().await;
    let role = database.create_role().await;
    let nowhere = database.url().replace(database.name(), "no_such_database");
    for (connection_string, expected) in [
        (database.url_as(&role, Some("guessed")), "28P01"),
        (database.url_as(&role, None), "asks for a password"),
        (nowhere, "3D000"),
    ] {
        let mut settings = database.settings();
        settings.connection_string = connection_string;
        let store = TraceStore::new(settings).expect("valid settings");
        let error = store.batch_store(&spans()).await.expect_err("refused");
        assert!(matches!(error, Error::Connect { .. }) && error.to_string().contains(expected), "{error}");
        assert_eq!(error.class(), ErrorClass::Configuration, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_transient() {
    let mut settings = opentelemetry_pgvector::Settings::default();
    settings.connection_string = "host=127.0.0.1 port=1 user=app dbname=app".into();
    let error = TraceStore::new(settings)
        .expect("valid settings")
        .batch_store(&spans())
        .await
        .expect_err("nobody listens");
    assert!(matches!(error, Error::Connect { .. }));
    assert_eq!(error.class(), ErrorClass::Transient);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_is_configuration_and_says_where_rights_come_from() {
    let (database, store) = database().await;
    let role = database.create_role().await;
    database
        .execute(&format!(
            "GRANT USAGE ON SCHEMA otel TO {role}; GRANT SELECT ON otel.migrations, otel.span_documents TO {role}"
        ))
        .await;
    drop(store);
    let store = TraceStore::new(database.settings_as(&role)).expect("valid settings");
    let error = store.batch_store(&spans()).await.expect_err("no right");
    assert_class(&error, "42501", ErrorClass::Configuration);
    assert!(error.to_string().contains("--print-roles"), "{error}");
}

/// Stores while `span_rows` is locked, until `intervene` has done what it does to the waiting connection.
async fn blocked(statement_timeout: u64, intervene: Option<&str>) -> Error {
    let (database, _) = database().await;
    let mut settings = database.settings();
    settings.statement_timeout_seconds = statement_timeout;
    let store = TraceStore::new(settings).expect("valid settings");
    store.batch_store(&spans()).await.expect("stored, so that the store knows the partitions");
    let mut client = database.client().await;
    let lock = client.transaction().await.expect("a transaction");
    lock.batch_execute("LOCK TABLE otel.span_rows IN ACCESS EXCLUSIVE MODE").await.expect("locked");
    let storing = tokio::spawn({
        let store = store.clone();
        async move { store.batch_store(&spans()).await }
    });
    if let Some(function) = intervene {
        let waiting = "FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
        // What makes partitions may wait, too, before and beside the batch.
        eventually("the batch is ended while it waits", async || {
            database.value::<i64>(&format!("SELECT count({function}(pid)) {waiting}")).await;
            storing.is_finished()
        })
        .await;
    }
    let error = storing.await.expect("no panic").expect_err("blocked");
    lock.rollback().await.expect("unlocked");
    store.batch_store(&spans()).await.expect("stored");
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn time_outs_of_the_server_are_transient() {
    assert_class(&blocked(2, None).await, "55P03", ErrorClass::Transient);
    // As a statement time-out ends it, and an administrator.
    assert_class(&blocked(30, Some("pg_cancel_backend")).await, "57014", ErrorClass::Transient);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_an_administrator_ends_is_transient() {
    let (database, store) = database().await;
    store.batch_store(&spans()).await.expect("stored, so that the store knows the partitions");
    let mut client = database.client().await;
    let lock = client.transaction().await.expect("a transaction");
    lock.batch_execute("LOCK TABLE otel.span_rows IN ACCESS EXCLUSIVE MODE").await.expect("locked");
    let blocked = tokio::spawn({
        let store = store.clone();
        async move { store.batch_store(&spans()).await }
    });
    let ended = "SELECT count(*) FROM (SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                 WHERE datname = current_database() AND wait_event_type = 'Lock') AS ended";
    // What makes partitions may wait, too, before and beside the batch.
    eventually("the batch is ended while it waits", async || {
        database.value::<i64>(ended).await;
        blocked.is_finished()
    })
    .await;
    let error = blocked.await.expect("no panic").expect_err("ended");
    assert_class(&error, "57P01", ErrorClass::Transient);
    lock.rollback().await.expect("unlocked");
    store.batch_store(&spans()).await.expect("stored through a new connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_the_server_closed_meanwhile_is_not_used() {
    let (database, migrated) = database().await;
    drop(migrated);
    let name = database.name();
    database.execute(&format!("ALTER DATABASE {name} SET idle_session_timeout = '300ms'")).await;
    let store = database.store();
    let open = "SELECT count(*) FROM pg_stat_activity \
                WHERE datname = current_database() AND application_name = 'opentelemetry-pgvector'";
    for _ in 0..2 {
        store.batch_store(&spans()).await.expect("stored");
        eventually("the server closes idle connections", || async { database.value::<i64>(open).await == 0 })
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_dropped_leaves_no_statement_behind() {
    let (database, _) = database().await;
    let mut client = database.client().await;
    let lock = client.transaction().await.expect("a transaction");
    lock.batch_execute("LOCK TABLE otel.span_rows IN ACCESS EXCLUSIVE MODE").await.expect("locked");
    for prepared in [true, false] {
        // No limit of the server's ends it before `eventually` gives up.
        let mut settings = database.settings();
        (settings.statement_timeout_seconds, settings.prepared_statements) = (600, prepared);
        let store = TraceStore::new(settings).expect("valid settings");
        let reading = tokio::spawn(async move { store.get_trace(TraceId::from(1)).await });
        let waits = "SELECT count(*) FROM pg_stat_activity \
                     WHERE datname = current_database() AND wait_event_type = 'Lock'";
        eventually("it waits for the lock", async || database.value::<i64>(waits).await == 1).await;
        reading.abort();
        eventually("the server ends it", async || database.value::<i64>(waits).await == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_data_is_to_blame_for_is_data() {
    for (refuse, sqlstate) in [
        ("ALTER TABLE otel.span_rows ADD CHECK (1 / (flags - flags) > 0)", "22012"),
        ("ALTER TABLE otel.span_rows ADD CONSTRAINT no_flags CHECK (flags > 32766)", "23514"),
        ("CREATE INDEX ON otel.span_rows (fillers)", "54000"),
    ] {
        let (database, store) = database().await;
        database.execute(refuse).await;
        let mut spans = arbitrary::sample(1);
        // Random, since PostgreSQL compresses what it indexes.
        let long: String = (0..2000).map(|_| uuid::Uuid::new_v4().simple().to_string()).collect();
        spans[0].attributes = vec![("long".into(), Value::String(long.into()))];
        let error = store.batch_store(&spans).await.expect_err(sqlstate);
        assert_class(&error, sqlstate, ErrorClass::Data);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_default_partition_that_was_dropped_is_made_again() {
    let (database, store) = database().await;
    store.batch_store(&spans()).await.expect("stored");
    database.execute("DROP TABLE otel.span_rows_default").await;
    let others: i64 = database.value("SELECT count(*) FROM otel.spans").await;
    let stores: Vec<_> = (0..4)
        .map(|_| {
            let store = database.store();
            tokio::spawn(async move { store.batch_store(&spans()).await })
        })
        .collect();
    for stored in stores {
        assert!(stored.await.expect("no panic").expect("stored").new);
    }
    assert_eq!(database.value::<i64>("SELECT count(*) FROM otel.spans").await, others + 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_default_partition_that_was_detached_is_an_error_with_the_sql_to_run() {
    let (database, store) = database().await;
    database.execute("ALTER TABLE otel.span_rows DETACH PARTITION otel.span_rows_default").await;
    let error = store.batch_store(&spans()).await.expect_err("no partition");
    assert!(matches!(error, Error::Schema(_)), "{error}");
    assert_eq!(error.class(), ErrorClass::Configuration);
    let text = error.to_string();
    let start = text.find("ALTER TABLE").expect("what to run");
    database.execute(&text[start..text.len() - 1]).await;
    tokio::time::timeout(Duration::from_secs(20), store.batch_store(&spans()))
        .await
        .expect("in time")
        .expect("stored");
}

/// An error of a column that somebody has altered.
#[track_caller]
fn assert_altered(error: &Error, column: &str, reason: &str) {
    assert!(matches!(error, Error::Schema(_)), "{error}");
    assert_eq!(error.class(), ErrorClass::Configuration);
    let text = error.to_string();
    assert!(text.contains(&format!("(\"{column}\")")) && text.contains(reason), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_null_where_there_is_none_is_an_error_that_names_the_column() {
    let (database, store) = database().await;
    let spans = spans();
    store.batch_store(&spans).await.expect("stored");
    database
        .execute(
            "ALTER TABLE otel.span_rows ALTER fillers DROP NOT NULL; UPDATE otel.span_rows SET fillers = NULL; \
             CREATE OR REPLACE FUNCTION otel.partition_limit() RETURNS bigint LANGUAGE sql RETURN NULL::bigint",
        )
        .await;
    let error = store.get_trace(spans[0].trace_id).await.expect_err("a NULL");
    assert_altered(&error, "fillers", "NULL");
    let error = store.find_traces(Filter::default()).await.expect_err("a NULL");
    assert_altered(&error, "fillers", "NULL");
    let health = store.health_check().await;
    assert!(!health.healthy && health.total_spans == 2);
    let error = health.error.expect("a NULL");
    assert!(error.contains("(\"partition_limit\")") && error.contains("NULL"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_of_another_type_is_configuration_for_who_stores() {
    let (database, store) = database().await;
    let spans = spans();
    store.batch_store(&spans).await.expect("stored");
    database
        .execute(
            "ALTER TABLE otel.span_resources RENAME TO resources; \
             CREATE VIEW otel.span_resources AS SELECT id::bigint, hash, service, body FROM otel.resources",
        )
        .await;
    let error = database.store().batch_store(&spans).await.expect_err("another type");
    assert_altered(&error, "id", "int8");
    database
        .execute("DROP VIEW otel.span_resources; ALTER TABLE otel.resources RENAME TO span_resources")
        .await;
    database.store().batch_store(&spans).await.expect("stored once it is mended");
}
