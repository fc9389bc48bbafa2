//! What waits in the spool, and what keeps it from being replayed.
#![cfg(unix)]

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::support::database::{TestDatabase, eventually};
#[cfg(target_os = "linux")]
use crate::support::disk::SmallDisk;
use crate::support::relay::Relay;
use crate::support::spans::{batch, spool_file};
use crate::support::worker;
use opentelemetry_pgvector::exporter::{BreakerState, ExporterHandle, ExporterStatus};
use opentelemetry_pgvector::settings::WhenFull;
use opentelemetry_pgvector::span::{Scopes, Span, span_from_sdk};
use opentelemetry_pgvector::{Settings, SpanExporter};
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use uuid::Uuid;

/// A database with the schema.
async fn database() -> TestDatabase {
    let database = TestDatabase::create().await;
    database.store().migrate().await.expect("migrated");
    database
}

/// An exporter with a spool in a folder.
fn exporter(database: &TestDatabase, folder: &Path, change: impl FnOnce(&mut Settings)) -> SpanExporter {
    let mut settings = database.settings();
    settings.spool_dir = Some(folder.to_owned());
    change(&mut settings);
    SpanExporter::from_settings(settings).expect("built")
}

/// An exporter that has learned that the number of a span is a filler.
async fn learned(database: &TestDatabase, folder: &Path, change: impl FnOnce(&mut Settings)) -> SpanExporter {
    let exporter = exporter(database, folder, change);
    exporter.export(batch(0..100)).await.expect("stored");
    database.execute("TRUNCATE otel.span_rows").await;
    exporter
}

fn all(range: std::ops::Range<i64>) -> Vec<i64> {
    range.collect()
}

/// Makes PostgreSQL refuse rows of some spans, with an error that may be mended.
async fn raise_for(database: &TestDatabase, sequence: i64) {
    database
        .execute(&format!(
            "CREATE FUNCTION raise() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not now'; END $$; \
             CREATE TRIGGER raise BEFORE INSERT ON otel.span_rows FOR EACH ROW \
             WHEN (split_part(NEW.fillers, E'\\x1f', 1) = '{sequence}') EXECUTE FUNCTION raise()"
        ))
        .await;
}

/// Makes PostgreSQL refuse spans for what is in them.
async fn refuse(database: &TestDatabase, condition: &str) {
    database
        .execute(&format!(
            "ALTER TABLE otel.span_rows ADD CONSTRAINT refused CHECK (NOT split_part(fillers, E'\\x1f', 1)::int {condition})"
        ))
        .await;
}

#[track_caller]
fn assert_adds_up(status: &ExporterStatus) {
    let known = status.stored + status.spooled + status.waiting + status.rejected + status.dropped;
    assert_eq!(status.received, known, "{status:?}");
}

/// Once everything is replayed, the table holds what is acknowledged.
async fn assert_acknowledged(database: &TestDatabase, handle: &ExporterHandle) -> Vec<i64> {
    eventually("everything is replayed", async || {
        let status = handle.status();
        status.waiting == 0 && status.spool.batches == 0
    })
    .await;
    let (stored, status) = (database.sequences().await, handle.status());
    assert!(stored.windows(2).all(|pair| pair[0] < pair[1]), "nothing is stored twice");
    assert_eq!(stored.len() as u64, status.acknowledged(), "{status:?}");
    assert_adds_up(&status);
    stored
}

async fn shut_down(exporter: SpanExporter, timeout: Duration) -> Result<(), OTelSdkError> {
    tokio::task::spawn_blocking(move || exporter.shutdown_with_timeout(timeout)).await.expect("no panic")
}

async fn flush(exporter: SpanExporter) -> SpanExporter {
    let flush = move || {
        exporter.force_flush().expect("flushed");
        exporter
    };
    tokio::task::spawn_blocking(flush).await.expect("no panic")
}

/// The lock of a spool's folder, as a process that is stopped holds it.
fn hold_lock(folder: &Path) -> File {
    let lock = File::options().read(true).write(true).open(folder.join("spool.lock")).expect("the lock");
    lock.lock().expect("locked");
    lock
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_alone_fails_lets_the_others_through_and_waits() {
    for with_spool in [true, false] {
        let database = database().await;
        let folder = tempfile::tempdir().expect("a folder");
        let exporter = learned(&database, folder.path(), |settings| {
            settings.circuit_breaker_threshold = 3;
            if !with_spool {
                settings.spool_dir = None;
            }
        })
        .await;
        let handle = exporter.handle();
        raise_for(&database, 100).await;
        database.take_away().await;
        // The one that fails is the oldest of those that wait.
        for first in (100..150).step_by(10) {
            assert_eq!(exporter.export(batch(first..first + 10)).await.is_ok(), with_spool);
        }
        database.bring_back().await;
        eventually("the others are stored", async || database.sequences().await == all(110..150)).await;
        eventually("the breaker closes", async || handle.status().breaker == BreakerState::Closed).await;
        let opened = handle.status().breaker_opened;
        let begin = Instant::now();
        let mut next = 150;
        while begin.elapsed() < Duration::from_secs(4) {
            exporter.export(batch(next..next + 10)).await.expect("stored");
            next += 10;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let status = handle.status();
        assert_eq!((status.breaker, status.breaker_opened), (BreakerState::Closed, opened), "{status:?}");
        assert_eq!(database.sequences().await, all(110..next));
        assert_adds_up(&status);

        database.execute("DROP TRIGGER raise ON otel.span_rows").await;
        let _exporter = flush(exporter).await;
        assert_eq!(database.sequences().await, all(100..next));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_batches_that_fail_by_themselves_keep_no_breaker_open_and_no_flush_waiting() {
    let database = database().await;
    let folder = tempfile::tempdir().expect("a folder");
    let exporter = learned(&database, folder.path(), |settings| settings.circuit_breaker_threshold = 3).await;
    let handle = exporter.handle();
    database
        .execute(
            "CREATE FUNCTION raise() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE SQLSTATE '42501'; END $$; \
             CREATE TRIGGER raise BEFORE INSERT ON otel.span_rows FOR EACH ROW \
             WHEN (split_part(NEW.fillers, E'\\x1f', 1)::int BETWEEN 100 AND 111) EXECUTE FUNCTION raise()",
        )
        .await;
    database.take_away().await;
    for first in 100..113 {
        exporter.export(batch(first..first + 1)).await.expect("spooled");
    }
    database.bring_back().await;
    let next = AtomicI64::new(113);
    eventually("the others are stored", async || {
        let first = next.fetch_add(1, Ordering::Relaxed);
        exporter.export(batch(first..first + 1)).await.expect("stored, or spooled");
        let status = handle.status();
        status.breaker == BreakerState::Closed && status.spool.batches == 12
    })
    .await;
    let next = next.into_inner();
    assert_eq!(database.sequences().await, all(112..next));
    let flushing = move || (exporter.force_flush(), exporter);
    let (flushed, exporter) = tokio::task::spawn_blocking(flushing).await.expect("no panic");
    let error = flushed.expect_err("12 are left").to_string();
    assert!(error.contains("12 spans wait: their batches fail while others are stored"), "{error}");
    database.execute("DROP TRIGGER raise ON otel.span_rows").await;
    let _exporter = flush(exporter).await;
    assert_eq!(database.sequences().await, all(100..next));
}

/// Exports 50 spans that neither the database nor the spool takes; then the spool is free, and the database still away.
async fn fifty_wait_in_memory(database: &TestDatabase, folder: &Path, exporter: &SpanExporter) {
    database.take_away().await;
    let lock = hold_lock(folder);
    for first in (0..50).step_by(10) {
        exporter.export(batch(first..first + 10)).await.expect_err("it waits in memory");
    }
    drop(lock);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_in_memory_is_spooled_at_a_shutdown_and_replayed() {
    let database = database().await;
    let folder = tempfile::tempdir().expect("a folder");
    let exporter = exporter(&database, folder.path(), |settings| settings.export_timeout_seconds = 1);
    let handle = exporter.handle();
    fifty_wait_in_memory(&database, folder.path(), &exporter).await;
    shut_down(exporter, Duration::from_secs(10)).await.expect("nothing is lost");
    let status = handle.status();
    assert_eq!((status.spooled, status.dropped, status.spool.own_spans), (50, 0, 50), "{status:?}");
    assert_adds_up(&status);
    database.bring_back().await;
    let next = self::exporter(&database, folder.path(), |_| {});
    let handle = next.handle();
    eventually("it is replayed", async || handle.status().spool.batches == 0).await;
    assert_eq!(database.sequences().await, all(0..50));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_in_memory_is_spooled_once_the_spool_takes_it_and_a_shutdown_waits_for_no_database() {
    let database = database().await;
    let folder = tempfile::tempdir().expect("a folder");
    let exporter = exporter(&database, folder.path(), |settings| settings.export_timeout_seconds = 1);
    let handle = exporter.handle();
    fifty_wait_in_memory(&database, folder.path(), &exporter).await;
    eventually("it is spooled", async || handle.status().spooled == 50).await;
    assert_eq!(handle.status().waiting, 0);
    assert_adds_up(&handle.status());
    let shut_down = shut_down(exporter, Duration::from_secs(600));
    tokio::time::timeout(Duration::from_secs(120), shut_down).await.expect("ended").expect("nothing is lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_that_hangs_delays_one_export_by_its_time_and_a_shutdown_says_what_is_lost() {
    let database = database().await;
    let folder = tempfile::tempdir().expect("a folder");
    let exporter = exporter(&database, folder.path(), |settings| settings.export_timeout_seconds = 2);
    let handle = exporter.handle();
    database.take_away().await;
    let lock = hold_lock(folder.path());
    let begin = Instant::now();
    exporter.export(batch(0..10)).await.expect_err("it waits in memory");
    assert!(begin.elapsed() < Duration::from_millis(3500), "{:?}", begin.elapsed());
    let begin = Instant::now();
    for first in (10..50).step_by(10) {
        exporter.export(batch(first..first + 10)).await.expect_err("it waits in memory");
    }
    assert!(begin.elapsed() < Duration::from_millis(1500), "{:?}", begin.elapsed());
    let status = handle.status();
    assert_eq!((status.waiting, status.dropped), (50, 0), "{status:?}");
    assert_adds_up(&status);
    let begin = Instant::now();
    let error = shut_down(exporter, Duration::from_secs(2)).await.expect_err("spans are lost");
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    let error = error.to_string();
    assert!(error.contains("50 spans are lost") && error.contains("too short to spool them"), "{error}");
    assert_eq!(handle.status().dropped, 50);
    assert_adds_up(&handle.status());
    drop(lock);
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_that_are_refused_while_the_spool_hangs_hold_an_export_no_longer_than_its_time() {
    let database = database().await;
    let folder = tempfile::tempdir().expect("a folder");
    let exporter = learned(&database, folder.path(), |settings| settings.export_timeout_seconds = 8).await;
    refuse(&database, "BETWEEN 100 AND 107").await;
    let lock = hold_lock(folder.path());
    let begin = Instant::now();
    let error = exporter.export(batch(100..110)).await.expect_err("they are lost");
    assert!(begin.elapsed() < Duration::from_millis(9500), "{:?}", begin.elapsed());
    assert!(error.to_string().contains("8 of 10 spans are refused"), "{error}");
    assert_adds_up(&exporter.handle().status());
    assert_eq!(database.sequences().await, [108, 109]);
    drop(lock);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_was_taken_apart_is_never_stored_as_a_whole_again() {
    let database = database().await;
    let folder = tempfile::tempdir().expect("a folder");
    let exporter = learned(&database, folder.path(), |_| {}).await;
    let handle = exporter.handle();
    refuse(&database, "= 137").await;
    // Of the halves of halves, one of 13 spans fails as in an outage, when others are stored already.
    database
        .execute(
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not now'; END $$; \
             CREATE TRIGGER fail BEFORE INSERT ON otel.batches FOR EACH ROW WHEN (NEW.spans = 13) EXECUTE FUNCTION fail()",
        )
        .await;
    exporter.export(batch(100..200)).await.expect("spooled");
    let partly = database.sequences().await.len();
    assert!((1..99).contains(&partly), "{partly}");
    database
        .execute("ALTER TABLE otel.span_rows DROP CONSTRAINT refused; DROP TRIGGER fail ON otel.batches")
        .await;
    let exporter = flush(exporter).await;
    assert_eq!(database.sequences().await, all(100..200));
    let status = handle.status();
    assert_eq!((status.replayed, status.rejected, status.revoked), (100, 0, 0), "{status:?}");

    // Nor by anybody else.
    let find = "SELECT id FROM otel.batches WHERE spans = 0 ORDER BY stored_at LIMIT 1";
    let id: Uuid = database.value(find).await;
    let error = database.store().batch_store_with_id(id, &[]).await;
    assert!(error.is_ok(), "no spans, no attempt");
    let data = batch(100..101);
    let resource = std::sync::Arc::default();
    let span = span_from_sdk(&data[0], &resource, &mut Scopes::default());
    let error = database.store().batch_store_with_id(id, &[span]).await.expect_err("it is stored in parts");
    assert!(error.to_string().contains("in parts"), "{error}");
    drop(exporter);
}

/// Puts a batch into a spool as if it had waited for a month.
fn spool_month_old(folder: &Path, spans: &[Span<'_>]) {
    let month_ago = SystemTime::now() - Duration::from_secs(30 * 24 * 3600);
    let seconds = month_ago.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    let id = Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, 0));
    let content = spool_file(id, spans);
    let name = format!("{:020}-{id}-{}-{}.spool", seconds * 1_000_000, spans.len(), content.len());
    std::fs::write(folder.join("moving"), &content).expect("written");
    std::fs::rename(folder.join("moving"), folder.join(&name)).expect("moved in");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_batch_that_outlived_the_ledger_only_what_is_missing_is_stored() {
    for stored in [0..4, 4..10, 0..10, 3..7, 0..0] {
        let database = TestDatabase::create().await;
        let data: Vec<SpanData> = batch(0..10);
        let resource = std::sync::Arc::default();
        let spans: Vec<Span<'_>> =
            data.iter().map(|data| span_from_sdk(data, &resource, &mut Scopes::default())).collect();
        database.store().migrate().await.expect("migrated");
        database.store().batch_store(&spans[stored.clone()]).await.expect("stored");
        let folder = tempfile::tempdir().expect("a folder");
        spool_month_old(folder.path(), &spans);
        let exporter = exporter(&database, folder.path(), |_| {});
        let handle = exporter.handle();
        eventually("it is replayed", async || handle.status().replayed == 10).await;
        assert_eq!(database.sequences().await, all(0..10), "{stored:?} were stored");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_that_make_room_in_the_spool_are_no_longer_acknowledged() {
    let database = database().await;
    let folder = tempfile::tempdir().expect("a folder");
    let exporter = learned(&database, folder.path(), |settings| {
        settings.spool_mebibytes = 1;
        settings.when_full = WhenFull::DropOldest;
    })
    .await;
    // What it has stored is not in the table any more.
    let before = exporter.handle().status();
    let handle = exporter.handle();
    database.take_away().await;
    let mut first = 100;
    while handle.status().revoked < 1000 {
        exporter.export(batch(first..first + 500)).await.expect("spooled");
        first += 500;
        assert!(first < 100_000, "a mebibyte is full");
    }
    let status = handle.status();
    assert_eq!((status.dropped, status.spool.dropped.spans), (0, status.revoked), "{status:?}");
    assert_adds_up(&status);
    assert_eq!(status.spool.own_spans, status.spooled - status.revoked);
    database.bring_back().await;
    eventually("everything is replayed", async || handle.status().spool.batches == 0).await;
    let status = handle.status();
    assert_eq!(database.sequences().await.len() as u64, status.acknowledged() - before.stored, "{status:?}");
    assert_eq!(status.spool.own_spans, 0);
    assert_adds_up(&status);
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_that_are_refused_when_they_are_replayed_are_no_longer_acknowledged() {
    let database = TestDatabase::create().await;
    let folder = tempfile::tempdir().expect("a folder");
    let exporter = exporter(&database, folder.path(), |_| {});
    let handle = exporter.handle();
    exporter.export(batch(0..100)).await.expect("stored");
    refuse(&database, "IN (107, 133)").await;
    exporter.export(batch(100..110)).await.expect("the refused one is set aside");
    database.take_away().await;
    exporter.export(batch(110..150)).await.expect("spooled");
    database.bring_back().await;
    let stored = assert_acknowledged(&database, &handle).await;
    assert_eq!(stored.len(), 148);
    let status = handle.status();
    assert_eq!((status.rejected, status.revoked, status.replayed), (1, 1, 39), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_that_is_refused_costs_no_connection() {
    let database = database().await;
    let folder = tempfile::tempdir().expect("a folder");
    let relay = Relay::start(database.address().await.port()).await;
    let through = database.url_through(relay.port);
    let exporter = learned(&database, folder.path(), |settings| settings.connection_string = through).await;
    refuse(&database, "IN (107, 133)").await;
    exporter.export(batch(100..105)).await.expect("stored");
    let before = relay.accepted();
    exporter.export(batch(105..150)).await.expect("the refused ones are set aside");
    assert_eq!(exporter.handle().status().rejected, 2);
    assert_eq!(relay.accepted(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_takes_longer_than_an_attempt_for_its_refused_spans_is_finished_bit_by_bit() {
    let database = database().await;
    let folder = tempfile::tempdir().expect("a folder");
    let exporter = learned(&database, folder.path(), |settings| {
        settings.hand_over_seconds = 1;
        settings.export_timeout_seconds = 1;
    })
    .await;
    let handle = exporter.handle();
    refuse(&database, "BETWEEN 102 AND 117").await;
    database
        .execute(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.1); RETURN NEW; END $$; \
             CREATE TRIGGER slow BEFORE INSERT ON otel.batches FOR EACH ROW EXECUTE FUNCTION slow()",
        )
        .await;
    exporter.export(batch(100..120)).await.expect("spooled");
    eventually("it is finished", async || handle.status().spool.batches == 0).await;
    let status = handle.status();
    assert_eq!((status.replayed, status.revoked, status.spool.rejected), (4, 16, 16), "{status:?}");
    assert_eq!(database.sequences().await, [100, 101, 118, 119]);
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn what_a_full_disk_does_not_take_waits_in_memory_and_all_is_stored() {
    let database = database().await;
    let folder = tempfile::tempdir().expect("a folder");
    let mount = folder.path().join("small");
    let Some(disk) = SmallDisk::mount(&mount, 1) else { return };
    let exporter = exporter(&database, &mount.join("spool"), |_| {});
    let handle = exporter.handle();
    database.take_away().await;
    exporter.export(batch(0..10)).await.expect("spooled");
    disk.fill();
    exporter.export(batch(10..20)).await.expect_err("it waits in memory");
    let status = handle.status();
    assert_eq!((status.spooled, status.waiting, status.dropped), (10, 10, 0), "{status:?}");
    assert_adds_up(&status);
    database.bring_back().await;
    assert_eq!(assert_acknowledged(&database, &handle).await, all(0..20));
    shut_down(exporter, Duration::from_secs(5)).await.expect("nothing is lost");
}

/// Says where the process that is killed while it replays finds its spool and its database.
const REPLAYING: &str = "OTEL_TEST_REPLAYING";

/// Runs in a process of its own: replays a spool until it is killed.
#[tokio::test(flavor = "multi_thread")]
async fn replaying() {
    let Ok(value) = std::env::var(REPLAYING) else { return };
    let (folder, url) = value.split_once('|').expect("folder and URL");
    let mut settings = Settings::default();
    settings.connection_string = url.into();
    settings.spool_dir = Some(folder.into());
    let _exporter = SpanExporter::from_settings(settings).expect("built");
    tokio::time::sleep(Duration::from_secs(60)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_while_it_replays_neither_loses_nor_doubles() {
    let database = TestDatabase::create().await;
    database.store().migrate().await.expect("migrated");
    let folder = tempfile::tempdir().expect("a folder");
    database.take_away().await;
    let writer = exporter(&database, folder.path(), |_| {});
    for first in (0..2000).step_by(10) {
        writer.export(batch(first..first + 10)).await.expect("spooled");
    }
    shut_down(writer, Duration::from_secs(5)).await.expect("nothing is lost");
    database.bring_back().await;
    let value = format!("{}|{}", folder.path().display(), database.url());
    for round in 1..=3 {
        let mut child = worker::command(module_path!(), "replaying", REPLAYING, &value)
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("a process");
        let some = round * 200;
        eventually("some are replayed", async || database.sequences().await.len() > some).await;
        child.kill().expect("killed");
        child.wait().expect("ended");
    }
    let last = exporter(&database, folder.path(), |_| {});
    let handle = last.handle();
    eventually("the rest is replayed", async || handle.status().spool.batches == 0).await;
    assert_eq!(database.sequences().await, all(0..2000));
}
