//! What becomes of batches that cannot be stored at once: kept, stored exactly once in the end, or counted.

use std::time::{Duration, Instant, SystemTime};

use crate::support::database::{TestDatabase, eventually};
use crate::support::spans::{batch, spool_file};
use crate::support::worker;
use opentelemetry_pgvector::exporter::{BreakerState, ExporterStatus};
use opentelemetry_pgvector::settings::WhenFull;
use opentelemetry_pgvector::span::{Scopes, span_from_sdk};
use opentelemetry_pgvector::{Settings, SpanExporter};
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::trace::SpanExporter as _;
use uuid::Uuid;

fn exporter(settings: Settings) -> SpanExporter {
    SpanExporter::from_settings(settings).expect("built")
}

fn all(range: std::ops::Range<i64>) -> Vec<i64> {
    range.collect()
}

#[track_caller]
fn assert_adds_up(status: &ExporterStatus) {
    let known = status.stored + status.spooled + status.waiting + status.rejected + status.dropped;
    assert_eq!(status.received, known, "{status:?}");
}

/// Shuts down from a thread where blocking is allowed.
async fn shut_down(exporter: SpanExporter, timeout: Duration) -> Result<(), OTelSdkError> {
    tokio::task::spawn_blocking(move || exporter.shutdown_with_timeout(timeout)).await.expect("no panic")
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_away_batches_wait_in_memory_and_are_then_stored_once() {
    let database = TestDatabase::create().await;
    let exporter = exporter(database.settings());
    let handle = exporter.handle();
    exporter.export(batch(0..10)).await.expect("stored");
    database.take_away().await;
    for first in (10..60).step_by(10) {
        let error = exporter.export(batch(first..first + 10)).await.expect_err("not acknowledged");
        assert!(error.to_string().contains("wait in memory"), "{error}");
    }
    let status = handle.status();
    assert_eq!((status.stored, status.waiting, status.dropped), (10, 50, 0), "{status:?}");
    assert!(status.last_error.is_some() && status.queue_bytes > 0, "{status:?}");
    assert_adds_up(&status);

    database.bring_back().await;
    tokio::task::spawn_blocking({
        let exporter = std::sync::Arc::new(exporter);
        move || exporter.force_flush()
    })
    .await
    .expect("no panic")
    .expect("the flush waits for what waits");
    assert_eq!(database.sequences().await, all(0..60));
    let status = handle.status();
    assert_eq!((status.stored, status.waiting, status.queue_bytes), (60, 0, 0), "{status:?}");
    assert_eq!((status.breaker, status.last_error), (BreakerState::Closed, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_breaker_is_open_no_connection_is_tried() {
    let database = TestDatabase::create().await;
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = server.local_addr().expect("an address").port();
    let connections = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = connections.clone();
    tokio::spawn(async move {
        // Counted before it is closed: who sees it closed reads the count next.
        while let Ok((connection, _)) = server.accept().await {
            count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            drop(connection);
        }
    });
    let mut settings = database.settings();
    settings.connection_string = format!("host=127.0.0.1 port={port} user=nobody");
    let exporter = exporter(settings);
    let handle = exporter.handle();
    let mut exports = 0;
    while handle.status().breaker != BreakerState::Open {
        exports += 1;
        assert!(exports < 10, "the breaker opens");
        exporter.export(batch(0..1)).await.expect_err("no server");
    }
    let tried = connections.load(std::sync::atomic::Ordering::SeqCst);
    assert!((5..=6).contains(&tried), "the threshold, and one that was under way: {tried}");
    while handle.status().breaker == BreakerState::Open && exports < 200 {
        exports += 1;
        exporter.export(batch(0..1)).await.expect_err("no server");
    }
    assert!(exports > 100, "{exports} exports within a cool-down");
    assert!(connections.load(std::sync::atomic::Ordering::SeqCst) <= tried + 1, "but for a probe");
    assert_eq!(handle.status().breaker_opened, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_answer_delays_one_export_and_no_other() {
    let database = TestDatabase::create().await;
    let mut settings = database.settings();
    settings.hand_over_seconds = 1;
    let exporter = exporter(settings);
    let handle = exporter.handle();
    exporter.export(batch(0..10)).await.expect("stored");
    let mut blocker = database.client().await;
    let lock = blocker.transaction().await.expect("a transaction");
    lock.batch_execute("LOCK TABLE otel.batches IN ACCESS EXCLUSIVE MODE").await.expect("locked");
    let begin = Instant::now();
    exporter.export(batch(10..20)).await.expect_err("handed over");
    assert!(begin.elapsed() >= Duration::from_secs(1));
    assert_ne!(handle.status().breaker, BreakerState::Closed);
    let begin = Instant::now();
    exporter.export(batch(20..30)).await.expect_err("handed over");
    assert!(begin.elapsed() < Duration::from_millis(900), "{:?}", begin.elapsed());
    assert_adds_up(&handle.status());
    lock.rollback().await.expect("unlocked");
    eventually("what waits is stored", async || handle.status().stored == 30).await;
    assert_eq!(database.sequences().await, all(0..30));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_memory_queue_drops_by_the_policy_and_counts() {
    for (when_full, newest_survives) in [(WhenFull::DropNewest, false), (WhenFull::DropOldest, true)] {
        let database = TestDatabase::create().await;
        let mut settings = database.settings();
        settings.queue_mebibytes = 1;
        settings.when_full = when_full;
        let exporter = exporter(settings);
        let handle = exporter.handle();
        exporter.export(batch(0..1)).await.expect("stored");
        database.take_away().await;
        let mut first = 1;
        while handle.status().dropped == 0 {
            assert!(first < 100_000, "a mebibyte is full");
            let error = exporter.export(batch(first..first + 500)).await.expect_err("not acknowledged");
            first += 500;
            let lost = error.to_string().contains("are lost");
            assert_eq!(lost, handle.status().dropped > 0 && when_full == WhenFull::DropNewest, "{error}");
        }
        let status = handle.status();
        assert!(status.queue_bytes <= 1 << 20, "{status:?}");
        assert_adds_up(&status);
        database.bring_back().await;
        eventually("what waits is stored", async || handle.status().waiting == 0).await;
        let stored = database.sequences().await;
        assert_eq!(stored.len() as u64, handle.status().stored);
        assert_eq!(stored.contains(&(first - 1)), newest_survives);
        // The oldest had to go, but for one that the courier had in hand at the moment.
        assert_eq!(stored.contains(&1) && stored.contains(&501), !newest_survives);
        assert_adds_up(&handle.status());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_spool_batches_are_acknowledged_and_replayed_once() {
    let database = TestDatabase::create().await;
    let folder = tempfile::tempdir().expect("a folder");
    let mut settings = database.settings();
    settings.spool_dir = Some(folder.path().join("spool"));
    let exporter = exporter(settings);
    let handle = exporter.handle();
    exporter.export(batch(0..10)).await.expect("stored");
    database.take_away().await;
    for first in (10..60).step_by(10) {
        exporter.export(batch(first..first + 10)).await.expect("spooled");
    }
    let status = handle.status();
    assert_eq!((status.stored, status.spooled, status.waiting), (10, 50, 0), "{status:?}");
    assert_eq!((status.spool.batches, status.spool.spans), (5, 50), "{status:?}");
    database.bring_back().await;
    eventually("the spool is replayed", async || handle.status().replayed == 50).await;
    assert_eq!(database.sequences().await, all(0..60));
    eventually("the spool is empty", async || handle.status().spool.batches == 0).await;
    shut_down(exporter, Duration::from_secs(5)).await.expect("shut down");
    assert_eq!(handle.status().spool.bytes, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_process_left_in_the_spool_the_next_one_stores() {
    let database = TestDatabase::create().await;
    database.store().migrate().await.expect("migrated");
    let folder = tempfile::tempdir().expect("a folder");
    let mut settings = database.settings();
    settings.spool_dir = Some(folder.path().to_owned());
    database.take_away().await;
    let first = exporter(settings.clone());
    first.export(batch(0..20)).await.expect("spooled");
    shut_down(first, Duration::from_secs(2)).await.expect("nothing is lost");
    database.bring_back().await;
    let second = exporter(settings);
    let handle = second.handle();
    eventually("it is stored", async || handle.status().replayed == 20).await;
    assert_eq!(database.sequences().await, all(0..20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_says_how_many_spans_are_lost_without_a_spool() {
    let database = TestDatabase::create().await;
    let exporter = exporter(database.settings());
    let handle = exporter.handle();
    exporter.export(batch(0..10)).await.expect("stored");
    database.take_away().await;
    exporter.export(batch(10..40)).await.expect_err("waits in memory");
    let begin = Instant::now();
    let error = shut_down(exporter, Duration::from_secs(2)).await.expect_err("spans are lost");
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    assert!(error.to_string().contains("30 spans are lost"), "{error}");
    assert_eq!(handle.status().dropped, 30);
    assert_adds_up(&handle.status());
}

/// Makes PostgreSQL refuse a span for what is in it.
async fn refuse(database: &TestDatabase, sequence: &str) {
    database.store().migrate().await.expect("migrated");
    database
        .execute(&format!(
            "ALTER TABLE otel.span_rows ADD CHECK (split_part(fillers, E'\\x1f', 1) NOT IN ({sequence}))"
        ))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_that_postgresql_refuses_is_counted_and_the_others_are_stored() {
    let database = TestDatabase::create().await;
    let store = database.store();
    // So that the sequence is a filler, not part of a document.
    let exporter = exporter(database.settings());
    exporter.export(batch(0..100)).await.expect("stored");
    refuse(&database, "'137', '138', '199'").await;
    let error = exporter.export(batch(100..200)).await.expect_err("spans are lost");
    assert!(error.to_string().contains("3 of 100 spans are refused"), "{error}");
    let status = exporter.handle().status();
    assert_eq!(
        (status.stored, status.rejected, status.breaker),
        (197, 3, BreakerState::Closed),
        "{status:?}"
    );
    let expected: Vec<i64> = (0..200).filter(|number| ![137, 138, 199].contains(number)).collect();
    assert_eq!(database.sequences().await, expected);
    assert!(store.health_check().await.healthy);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_that_postgresql_refuses_is_set_aside_in_the_spool() {
    let database = TestDatabase::create().await;
    let folder = tempfile::tempdir().expect("a folder");
    let mut settings = database.settings();
    settings.spool_dir = Some(folder.path().to_owned());
    let exporter = exporter(settings);
    exporter.export(batch(0..100)).await.expect("stored");
    refuse(&database, "'107'").await;
    exporter.export(batch(100..110)).await.expect("the span is kept in the spool");
    assert_eq!(exporter.handle().status().spool.rejected, 1);
    let aside: Vec<String> = std::fs::read_dir(folder.path().join("rejected"))
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(aside.len(), 2, "the span and the reason: {aside:?}");
    assert_eq!(database.sequences().await.len(), 109);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_became_read_only_is_an_outage_not_a_loss() {
    let database = TestDatabase::create().await;
    let exporter = exporter(database.settings());
    let handle = exporter.handle();
    exporter.export(batch(0..10)).await.expect("stored");
    database.alter("SET default_transaction_read_only = on").await;
    database.end_connections().await;
    let error = exporter.export(batch(10..20)).await.expect_err("read-only");
    assert!(error.to_string().contains("read-only"), "{error}");
    database.alter("RESET default_transaction_read_only").await;
    eventually("what waits is stored", async || handle.status().stored == 20).await;
    assert_eq!(database.sequences().await, all(0..20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_waited_for_longer_than_the_ledger_remembers_is_not_stored_twice() {
    let database = TestDatabase::create().await;
    let folder = tempfile::tempdir().expect("a folder");
    let mut settings = database.settings();
    settings.spool_dir = Some(folder.path().to_owned());
    let exporter = exporter(settings);
    let handle = exporter.handle();
    let resource = std::sync::Arc::default();
    let spans = batch(0..10);
    let spans: Vec<_> =
        spans.iter().map(|data| span_from_sdk(data, &resource, &mut Scopes::default())).collect();
    let month_ago = SystemTime::now() - Duration::from_secs(30 * 24 * 3600);
    let seconds = month_ago.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    let id = Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, 0));
    let content = spool_file(id, &spans);
    let name = format!("{:020}-{id}-{}-{}.spool", seconds * 1_000_000, 10, content.len());
    for round in 1..=2 {
        std::fs::write(folder.path().join("moving"), &content).expect("written");
        std::fs::rename(folder.path().join("moving"), folder.path().join(&name)).expect("moved in");
        eventually("it is replayed", async || handle.status().replayed == round * 10).await;
        assert_eq!(database.sequences().await, all(0..10), "round {round}");
        database.execute("TRUNCATE otel.batches").await;
    }
}

/// Says where the process that is killed spools to.
const DOOMED: &str = "OTEL_TEST_DOOMED_SPOOL";

/// Runs in a process of its own: spools batches and prints the last number of each that is acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn doomed() {
    let Some(folder) = std::env::var_os(DOOMED) else { return };
    let mut settings = Settings::default();
    settings.connection_string = "host=127.0.0.1 port=1 user=nobody dbname=nowhere".into();
    settings.spool_dir = Some(folder.into());
    let exporter = exporter(settings);
    for first in (0..).step_by(10) {
        exporter.export(batch(first..first + 10)).await.expect("spooled");
        println!("\nacknowledged {}", first + 9);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_before_a_kill_is_stored_by_the_next_process() {
    let database = TestDatabase::create().await;
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = worker::command(module_path!(), "doomed", DOOMED, &folder.path().display().to_string())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("a process");
    let output = std::io::BufReader::new(child.stdout.take().expect("its output"));
    let reading = tokio::task::spawn_blocking(move || {
        let mut last = -1;
        for line in std::io::BufRead::lines(output).map_while(Result::ok) {
            if let Some(number) = line.strip_prefix("acknowledged ") {
                last = number.parse().expect("a number");
            }
            if last >= 400 {
                child.kill().expect("killed");
            }
        }
        child.wait().expect("ended");
        last
    });
    let acknowledged: i64 =
        tokio::time::timeout(Duration::from_secs(60), reading).await.expect("in time").expect("no panic");
    assert!(acknowledged >= 400, "{acknowledged}");
    let mut settings = database.settings();
    settings.spool_dir = Some(folder.path().to_owned());
    let exporter = exporter(settings);
    let handle = exporter.handle();
    eventually("the spool is replayed", async || {
        let status = handle.status();
        status.replayed > acknowledged as u64 && status.spool.batches == 0
    })
    .await;
    let stored = database.sequences().await;
    // A batch may be on disk whose answer nobody heard.
    assert_eq!(stored, all(0..stored.len() as i64));
    assert!(stored.len() as i64 > acknowledged, "{} stored, {acknowledged} acknowledged", stored.len());
}
