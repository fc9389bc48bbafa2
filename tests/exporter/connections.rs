//! Connections that die, servers that do not answer, and the primary that moves.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::arbitrary;
use crate::support::database::{TestDatabase, eventually};
use futures_util::future::join_all;
use opentelemetry_pgvector::{Error, Settings, TraceStore};

#[cfg(unix)]
use crate::support::{
    debian::{free_port, postgres},
    relay::Relay,
};

fn store(settings: Settings) -> TraceStore {
    TraceStore::new(settings).expect("valid settings")
}

fn port(database: &TestDatabase) -> u16 {
    database.config().get_ports()[0]
}

/// A connection string for the database with other hosts and ports.
fn string(database: &TestDatabase, hosts: &str, ports: &str) -> String {
    let config = database.config();
    let password = String::from_utf8_lossy(config.get_password().unwrap_or_default()).into_owned();
    format!("host={hosts} port={ports} dbname={} user=postgres password='{password}'", database.name())
}

fn settings_at(database: &TestDatabase, hosts: &str, ports: &str) -> Settings {
    let mut settings = database.settings();
    settings.connection_string = string(database, hosts, ports);
    settings
}

/// Stores with several connections at once; how many failed.
async fn failures(store: &TraceStore) -> usize {
    let spans = arbitrary::sample(2);
    let results = join_all((0..4).map(|_| store.batch_store(&spans))).await;
    results.iter().filter(|result| result.is_err()).count()
}

async fn failures_until_all_are_stored(store: &TraceStore) -> usize {
    let failed = AtomicUsize::new(0);
    eventually("all are stored", async || {
        let failures = failures(store).await;
        failed.fetch_add(failures, Ordering::Relaxed);
        failures == 0
    })
    .await;
    failed.into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_the_server_ends_are_replaced() {
    let database = TestDatabase::create().await;
    let store = database.store();
    assert_eq!(failures(&store).await, 0);
    let ended: i64 = database
        .value(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
             WHERE datname = current_database() AND application_name = 'opentelemetry-pgvector'",
        )
        .await;
    assert!(ended > 0);
    // Whoever was faster than the news fails once.
    let failed = failures_until_all_are_stored(&store).await;
    assert!(failed <= ended as usize, "{failed} of {ended}");
    assert!(store.health_check().await.healthy);
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_cut_are_replaced() {
    let database = TestDatabase::create().await;
    let proxy = Relay::start(port(&database)).await;
    let store = store(settings_at(&database, "127.0.0.1", &proxy.port.to_string()));
    for _ in 0..5 {
        assert_eq!(failures(&store).await, 0);
    }
    let before = proxy.accepted();
    assert!(before <= store.settings().pool_size, "connections are kept");
    proxy.cut();
    let failed = failures_until_all_are_stored(&store).await;
    assert!(failed <= before && proxy.accepted() > before, "{failed} of {before}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_waits_for_a_lock_is_ended_by_the_server() {
    let database = TestDatabase::create().await;
    let spans = arbitrary::sample(1);
    database.store().batch_store(&spans).await.expect("stored");
    let mut settings = database.settings();
    settings.statement_timeout_seconds = 1;
    let store = store(settings);
    let holder = database.client().await;
    holder.batch_execute("BEGIN; LOCK TABLE otel.span_rows").await.expect("locked");
    let error = store.batch_store(&spans).await.expect_err("locked");
    assert!(error.to_string().contains("55P03") && error.is_transient(), "{error}");
    holder.batch_execute("ROLLBACK").await.expect("unlocked");
    store.batch_store(&spans).await.expect("stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_silent_for_longer_than_anybody_waits_keeps_nobody_from_the_next() {
    let database = TestDatabase::create().await;
    // The kernel accepts for them, and nothing answers.
    let silent = || std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let (first, second) = (silent(), silent());
    let of = |silent: &std::net::TcpListener| silent.local_addr().expect("its address").port();
    let ports = format!("{},{},{}", of(&first), of(&second), port(&database));
    let mut settings = settings_at(&database, "127.0.0.1,127.0.0.1,127.0.0.1", &ports);
    settings.connect_timeout_seconds = 60;
    let (store, spans) = (store(settings), arbitrary::sample(1));
    for _ in 0..2 {
        let waiting = tokio::time::timeout(Duration::from_secs(1), store.batch_store(&spans));
        waiting.await.expect_err("nobody answers");
    }
    store.batch_store(&spans).await.expect("stored by the third host");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_silent_or_dead_is_passed_over_in_time() {
    let database = TestDatabase::create().await;
    // The kernel accepts for it, and nothing answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent_port = silent.local_addr().expect("its address").port();
    for first in [silent_port, free_port()] {
        let ports = format!("{first},{}", port(&database));
        let mut settings = settings_at(&database, "127.0.0.1,127.0.0.1", &ports);
        settings.connect_timeout_seconds = 1;
        store(settings).batch_store(&arbitrary::sample(1)).await.expect("stored by the second host");
    }
    let mut settings = settings_at(&database, "127.0.0.1", &silent_port.to_string());
    settings.connect_timeout_seconds = 1;
    let begun = Instant::now();
    let error = store(settings.clone()).batch_store(&arbitrary::sample(1)).await.expect_err("silent");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert!(error.is_transient() && error.to_string().contains("within 1 s"), "{error}");
    // The connection string's own limit wins.
    settings.connection_string.push_str(" connect_timeout=2");
    let error = store(settings).batch_store(&arbitrary::sample(1)).await.expect_err("silent");
    assert!(error.to_string().contains("within 2 s"), "{error}");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn of_several_hosts_the_one_that_can_be_written_to_is_used() {
    let database = TestDatabase::create().await;
    let hba = "host all all 127.0.0.1/32 trust\n";
    let Some(standby) = postgres(&[], &["default_transaction_read_only=on"], hba) else { return };
    let own = string(&database, "127.0.0.1", &standby.port.to_string());
    let maintenance = own.replace(database.name(), "postgres");
    let (client, connection) =
        tokio_postgres::connect(&maintenance, tokio_postgres::NoTls).await.expect("connected");
    tokio::spawn(connection);
    for sql in ["SET default_transaction_read_only = off", &format!("CREATE DATABASE {}", database.name())] {
        client.batch_execute(sql).await.expect("made");
    }

    let ports = format!("{},{}", standby.port, port(&database));
    let both = settings_at(&database, "127.0.0.1,127.0.0.1", &ports);
    assert_eq!(failures(&store(both.clone())).await, 0);
    let stored: i64 = database.value("SELECT count(*) FROM otel.span_rows").await;
    assert_eq!(stored, 8);

    // Without a primary, each host says what is wrong with it; one may be promoted.
    let ports = format!("{},{}", standby.port, free_port());
    let error =
        store(settings_at(&database, "127.0.0.1,127.0.0.1", &ports)).migrate().await.expect_err("no primary");
    let text = error.to_string();
    assert!(text.contains("read-only") && text.contains("refused") && error.is_transient(), "{text}");

    // Whoever wants any server gets the first.
    let mut any = both;
    any.connection_string.push_str(" target_session_attrs=any");
    let error = store(any).migrate().await.expect_err("read-only, and without pgvector");
    assert!(!matches!(error, Error::Connect { .. }), "{error}");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_socket_s_folder_is_a_host_without_tls() {
    let settings = ["unix_socket_directories=/tmp"];
    let Some(server) = postgres(&[], &settings, "local all all trust\n") else { return };
    let mut settings = Settings::default();
    settings.connection_string =
        format!("host=/tmp port={} dbname=postgres user=postgres sslmode=verify-full", server.port);
    let error = store(settings).migrate().await.expect_err("no pgvector");
    assert!(matches!(error, Error::Schema(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_connection_to_a_server_that_became_read_only_is_kept() {
    let database = TestDatabase::create().await;
    database.store().migrate().await.expect("migrated");
    let name = database.name();
    database.execute(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).await;
    let store = database.store();
    let spans = arbitrary::sample(2);
    let errors = join_all((0..4).map(|_| store.batch_store(&spans))).await;
    for error in errors {
        let error = error.expect_err("read-only").to_string();
        assert!(error.contains("25006"), "{error}");
    }
    let sql = [
        "SET default_transaction_read_only = off".to_owned(),
        format!("ALTER DATABASE {name} RESET default_transaction_read_only"),
    ];
    let client = database.client().await;
    for sql in sql {
        client.batch_execute(&sql).await.expect("writable again");
    }
    // A session keeps what it began with: only new ones can write.
    assert_eq!(failures(&store).await, 0);
}

/// A host name whose name server never answers, seen from a namespace of its own.
#[cfg(all(target_os = "linux", feature = "cli"))]
#[test]
fn a_host_name_that_does_not_resolve_ends_within_the_timeout() {
    use crate::support::debian::is_root;
    use std::process::Command;

    let mut allowed = Command::new("unshare");
    if !is_root() || !allowed.args(["-m", "true"]).status().is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("CI").is_none(), "root and unshare are absent under CI");
        eprintln!("skipped: it takes root and unshare to replace /etc/resolv.conf");
        return;
    }
    // A socket that nobody reads.
    let resolver =
        std::net::UdpSocket::bind("127.0.0.1:53").or_else(|_| std::net::UdpSocket::bind("127.77.0.1:53"));
    let resolver = resolver.expect("a port for the name server that never answers");
    let address = resolver.local_addr().expect("its address").ip();
    let (_folder, path) = crate::support::command::file(
        "resolv.conf",
        format!("nameserver {address}\noptions timeout:30 attempts:1\n").as_bytes(),
    );
    let begun = Instant::now();
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\""])
        .arg(&path)
        .args([env!("CARGO_BIN_EXE_otel-pgvector"), "migrate"])
        .env("OTEL_STORAGE_CONNECTION_STRING", "postgresql://app@db.example.com/otel_traces")
        .env("OTEL_STORAGE_CONNECT_TIMEOUT_SECONDS", "1")
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("looking up the host's name did not end within 1 s"), "{text}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_is_on_disk_though_the_role_or_the_database_has_synchronous_commit_off() {
    let database = TestDatabase::create().await;
    database.store().migrate().await.expect("migrated");
    database
        .execute(
            "CREATE TABLE seen (value text);
             CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
             $$BEGIN INSERT INTO public.seen VALUES (current_setting('synchronous_commit')); RETURN NEW; END$$;
             CREATE TRIGGER look BEFORE INSERT ON otel.batches FOR EACH ROW EXECUTE FUNCTION look();
             CREATE TRIGGER look BEFORE INSERT ON otel.span_documents FOR EACH ROW EXECUTE FUNCTION look()",
        )
        .await;
    let role = database.create_role().await;
    database
        .execute(&format!(
            "GRANT USAGE ON SCHEMA otel TO {role}; GRANT ALL ON ALL TABLES IN SCHEMA otel TO {role}"
        ))
        .await;
    for (value, expected) in [("off", "on"), ("local", "local"), ("remote_apply", "remote_apply")] {
        for of in [format!("ROLE {role}"), format!("DATABASE {}", database.name())] {
            database.execute(&format!("ALTER {of} SET synchronous_commit = {value}")).await;
            for prepared_statements in [true, false] {
                let mut settings = database.settings_as(&role);
                settings.prepared_statements = prepared_statements;
                store(settings).batch_store(&arbitrary::sample(1)).await.expect("stored");
            }
            let seen: String = database.value("SELECT string_agg(DISTINCT value, ' ') FROM seen").await;
            assert_eq!(seen, expected, "{of}");
            database.execute(&format!("TRUNCATE seen; ALTER {of} RESET synchronous_commit")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_are_read_committed_and_unlimited_whatever_the_database_has() {
    let database = TestDatabase::create().await;
    database.store().migrate().await.expect("migrated");
    database
        .execute(
            "CREATE TABLE seen (isolation text, timeout text);
             CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS
             $$BEGIN
                 INSERT INTO public.seen
                 VALUES (current_setting('transaction_isolation'), coalesce(current_setting('transaction_timeout', true), '0'));
                 RETURN NEW;
             END$$;
             CREATE TRIGGER look BEFORE INSERT ON otel.batches FOR EACH ROW EXECUTE FUNCTION look();
             CREATE TRIGGER look BEFORE INSERT ON otel.span_documents FOR EACH ROW EXECUTE FUNCTION look()",
        )
        .await;
    let version: i32 = database.value("SELECT current_setting('server_version_num')::integer").await;
    if version >= 170_000 {
        database.alter("SET transaction_timeout = '1h'").await;
    }
    database.alter("SET default_transaction_isolation = 'repeatable read'").await;
    for prepared_statements in [true, false] {
        let mut settings = database.settings();
        settings.prepared_statements = prepared_statements;
        store(settings).batch_store(&arbitrary::sample(1)).await.expect("stored");
    }
    let seen = "SELECT array_agg(DISTINCT isolation || ', ' || timeout) FROM seen";
    assert_eq!(database.value::<Vec<String>>(seen).await, ["read committed, 0"]);
}
