//! A server that is killed, frozen, full, read-only or crowded: what is acknowledged is there exactly once.
#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use crate::support::database::{TestDatabase, eventually};
use crate::support::disk::SmallDisk;
use crate::support::load::{Outcome, Random, SEQUENCE, Tally, connect, letters, span, spans};
use crate::support::server::PrivateServer;
use crate::support::worker;
use futures_util::future::join_all;
use opentelemetry::KeyValue;
use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};
use opentelemetry_pgvector::exporter::ExporterHandle;
use opentelemetry_pgvector::{Settings, SpanExporter};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::runtime;
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, SdkTracerProvider, SpanExporter as _, span_processor_with_async_runtime,
};

/// Three services under load: one with each of the SDK's processors.
struct Load {
    tally: Tally,
    exporters: Vec<ExporterHandle>,
    created: Arc<AtomicI64>,
    stopping: Arc<AtomicBool>,
    services: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(settings: &Settings) -> Self {
        let mut load = Load {
            tally: Tally::default(),
            exporters: Vec::new(),
            created: Arc::default(),
            stopping: Arc::default(),
            services: Vec::new(),
        };
        let mut exporter = || {
            let exporter = SpanExporter::from_settings(settings.clone()).expect("built");
            load.exporters.push(exporter.handle());
            load.tally.recording(exporter)
        };
        let simple = SdkTracerProvider::builder().with_simple_exporter(exporter());
        let batch =
            BatchSpanProcessor::builder(exporter()).with_batch_config(settings.batch_config()).build();
        let asynchronous =
            span_processor_with_async_runtime::BatchSpanProcessor::builder(exporter(), runtime::Tokio)
                .with_batch_config(settings.batch_config())
                .build();
        let batch = SdkTracerProvider::builder().with_span_processor(batch);
        let asynchronous = SdkTracerProvider::builder().with_span_processor(asynchronous);
        for (name, builder) in [("simple", simple), ("batch", batch), ("async batch", asynchronous)] {
            let resource = Resource::builder().with_service_name(name).build();
            let provider = builder.with_resource(resource).build();
            let (created, stopping) = (Arc::clone(&load.created), Arc::clone(&load.stopping));
            load.services.push(std::thread::spawn(move || serve(provider, &created, &stopping)));
        }
        load
    }

    /// Waits until so many more spans are acknowledged: what waits in memory for long would not count.
    async fn progress(&self, spans: usize) {
        let before = self.tally.count(Outcome::Acknowledged);
        eventually("spans come through", async || self.tally.count(Outcome::Acknowledged) >= before + spans)
            .await;
    }

    /// Ends the services in order, and compares: every span that was made was exported, none was refused or dropped, and
    /// each is in the table exactly once.
    async fn finish(self, server: &PrivateServer) {
        self.stopping.store(true, Ordering::Release);
        for service in self.services {
            tokio::task::spawn_blocking(move || service.join()).await.expect("no panic").expect("no panic");
        }
        let created = self.created.load(Ordering::Acquire);
        let context = format!("{created} spans: {}", self.tally);
        self.tally.assert_stored_in_the_end(&server.config(), &context).await;
        println!("{context}");
        assert_eq!(self.tally.promised(), created as usize, "{context}");
        for exporter in &self.exporters {
            let status = exporter.status();
            assert_eq!((status.dropped, status.rejected, status.waiting), (0, 0, 0), "{status:?}");
        }
    }
}

/// Makes spans at up to 500 a second until it is told to stop, then shuts down.
fn serve(provider: SdkTracerProvider, created: &AtomicI64, stopping: &AtomicBool) {
    let tracer = provider.tracer("load");
    while !stopping.load(Ordering::Acquire) {
        let sequence = created.fetch_add(1, Ordering::AcqRel);
        let name = format!("step {}", letters(sequence as u64 % 50));
        let mut span = tracer.start(name);
        span.set_attribute(KeyValue::new(SEQUENCE, sequence));
        span.end();
        std::thread::sleep(Duration::from_millis(2));
    }
    let result = provider.shutdown_with_timeout(Duration::from_secs(20));
    // The async processor tells of its last export, which may wait in memory, and stores it in the shutdown after that.
    let is_held = |error: &OTelSdkError| error.to_string().contains("wait in memory");
    assert!(result.as_ref().err().is_none_or(is_held), "{result:?}");
}

fn under_load(settings: &mut Settings) {
    settings.batch_size = 50;
    settings.circuit_breaker_threshold = 20;
    settings.max_retries = 10;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_and_restarted_under_load_loses_nothing() {
    let Some(server) = PrivateServer::start(&[]).await else { return };
    let mut settings = server.settings();
    under_load(&mut settings);
    let load = Load::start(&settings);
    for round in 0..4 {
        load.progress(200).await;
        match round {
            0 | 1 => server.kill(),
            2 => server.stop_immediately(),
            _ => server.stop_fast(),
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        server.restart();
    }
    load.progress(200).await;
    load.finish(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_frozen_for_a_while_under_load_loses_nothing() {
    let Some(server) = PrivateServer::start(&[]).await else { return };
    let mut settings = server.settings();
    under_load(&mut settings);
    let load = Load::start(&settings);
    for _ in 0..2 {
        load.progress(200).await;
        server.freeze();
        // Attempts end meanwhile, and their transactions are still on the server when it goes on.
        tokio::time::sleep(Duration::from_millis(3500)).await;
        server.thaw();
    }
    load.progress(200).await;
    load.finish(&server).await;
}

/// Exports while the server refuses, then after; compares.
async fn outage(
    server: &PrivateServer,
    exporter: &SpanExporter,
    begin: impl AsyncFnOnce(),
    end: impl AsyncFnOnce(),
    sqlstate: &str,
) {
    let tally = Tally::default();
    let export = async |first: i64, count: i64| {
        let result =
            exporter.export(spans(&format!("step {}", letters(first as u64)), first..first + count)).await;
        tally.record(first..first + count, Outcome::of(&result));
        result
    };
    export(0, 10).await.expect("before");
    begin().await;
    // More than fits into the pages that the tables have.
    let during = export(1000, 5000).await;
    let error = during.expect_err("the server refuses").to_string();
    assert!(error.contains(sqlstate) || error.contains("wait in memory"), "{error}");
    end().await;
    let after = export(9000, 10).await;
    assert!(Outcome::of(&after) != Outcome::Refused, "{after:?}");
    tally.assert_stored(&server.config(), &tally).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_reported_and_room_ends_it() {
    let Some(server) = PrivateServer::start(&[]).await else { return };
    let folder = server.home().join("small");
    let Some(disk) = SmallDisk::mount(&folder, 24) else { return };
    server.give(&folder);
    let client = connect(&server.config()).await;
    let sql = format!("CREATE TABLESPACE small LOCATION '{}'", folder.display());
    client.batch_execute(&sql).await.expect("a tablespace");
    client
        .batch_execute("CREATE SCHEMA otel; ALTER ROLE postgres SET default_tablespace = small")
        .await
        .expect("set");
    drop(client);
    let mut settings = server.settings();
    settings.max_retries = 2;
    let exporter = SpanExporter::from_settings(settings).expect("built");
    outage(&server, &exporter, async || disk.fill(), async || disk.make_room(), "53100").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_room_for_its_log_crashes_and_comes_back() {
    let Some(server) = PrivateServer::start(&["min_wal_size=32MB", "max_wal_size=48MB"]).await else {
        return;
    };
    let folder = server.home().join("small");
    let Some(disk) = SmallDisk::mount(&folder, 40) else { return };
    server.give(&folder);
    // The write-ahead log moves to the small disk.
    server.stop_fast();
    let wal = server.home().join("data/pg_wal");
    let copied = Command::new("cp").arg("-a").arg(&wal).arg(&folder).status().expect("cp");
    assert!(copied.success());
    std::fs::rename(&wal, server.home().join("old_wal")).expect("moved");
    std::os::unix::fs::symlink(folder.join("pg_wal"), &wal).expect("a link");
    server.restart();
    let tally = Tally::default();
    let mut settings = server.settings();
    settings.max_retries = 1;
    settings.export_timeout_seconds = 4;
    let exporter = SpanExporter::from_settings(settings).expect("built");
    disk.fill();
    // Until the segments that were there are used up.
    let deadline = Instant::now() + Duration::from_secs(60);
    for batch in 0.. {
        let first = batch * 5000;
        let result = exporter.export(spans("step", first..first + 5000)).await;
        tally.record(first..first + 5000, Outcome::of(&result));
        if result.is_err() {
            break;
        }
        assert!(Instant::now() < deadline, "the disk is never full");
    }
    disk.make_room();
    server.kill();
    server.restart();
    let first = 50_000_000;
    let result = exporter.export(spans("step", first..first + 10)).await;
    assert!(Outcome::of(&result) != Outcome::Refused, "{result:?}");
    tally.record(first..first + 10, Outcome::of(&result));
    tally.assert_stored(&server.config(), &tally).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_server_is_reported_and_its_end_noticed() {
    let Some(server) = PrivateServer::start(&[]).await else { return };
    let mut settings = server.settings();
    settings.export_timeout_seconds = 4;
    let exporter = SpanExporter::from_settings(settings).expect("built");
    let set = async |value: &str| {
        let client = connect(&server.config()).await;
        let sql = format!("ALTER SYSTEM SET default_transaction_read_only = {value}");
        client.batch_execute(&sql).await.expect("set");
        client.batch_execute("SELECT pg_reload_conf()").await.expect("reloaded");
        let shown = async || {
            let client = connect(&server.config()).await;
            let row = client.query_one("SHOW default_transaction_read_only", &[]).await.expect("shown");
            row.get::<_, String>(0) == value
        };
        eventually("the setting is in force", shown).await;
    };
    outage(&server, &exporter, async || set("on").await, async || set("off").await, "25006").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_free_connections_is_tried_until_there_are_some() {
    let Some(server) = PrivateServer::start(&["max_connections=6", "superuser_reserved_connections=1"]).await
    else {
        return;
    };
    let client = connect(&server.config()).await;
    client.batch_execute("CREATE ROLE app LOGIN SUPERUSER").await.expect("a role");
    client
        .batch_execute("ALTER ROLE app NOSUPERUSER; GRANT CREATE ON DATABASE postgres TO app")
        .await
        .expect("set");
    let mut settings = server.settings();
    settings.connection_string = server.url().replace("user=postgres", "user=app");
    settings.export_timeout_seconds = 4;
    let exporter = SpanExporter::from_settings(settings.clone()).expect("built");
    let tally = Tally::default();
    let mut crowd = Vec::new();
    let mut config = server.config();
    config.user("app");
    while let Ok((client, connection)) = config.connect(tokio_postgres::NoTls).await {
        tokio::spawn(connection);
        crowd.push(client);
    }
    let crowded = exporter.export(spans("step", 0..10)).await;
    let error = crowded.as_ref().expect_err("no connection is free").to_string();
    assert!(error.contains("53300") || error.contains("wait in memory"), "{error}");
    tally.record(0..10, Outcome::of(&crowded));
    let leaving = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        crowd.clear();
    };
    let (result, ()) = tokio::join!(exporter.export(spans("step", 100..110)), leaving);
    assert!(Outcome::of(&result) != Outcome::Refused, "{result:?}");
    tally.record(100..110, Outcome::of(&result));
    tally.assert_stored(&server.config(), &tally).await;
}

/// What a worker process needs to know.
const WORKER: &str = "OTEL_TEST_WORKER_DATABASE";
const WORKER_NUMBER: &str = "OTEL_TEST_WORKER_NUMBER";
const PROCESSES: i64 = 4;
const THREADS: i64 = 16;
const BATCHES: i64 = 6;
const SPANS: i64 = 5;

#[tokio::test(flavor = "multi_thread")]
async fn processes_and_threads_at_once_on_new_documents_store_each_span_once() {
    let database = TestDatabase::create().await;
    let begin = Instant::now();
    let workers = (0..PROCESSES).map(|number| {
        let mut worker = worker::command(module_path!(), "as_a_worker_process", WORKER, &database.url());
        worker.env(WORKER_NUMBER, number.to_string());
        worker.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut worker = worker.spawn().expect("a process");
        let stdout = BufReader::new(worker.stdout.take().expect("its output"));
        (worker, stdout)
    });
    let mut workers: Vec<_> = workers.collect();
    let read = |stdout: &mut dyn BufRead, prefix: &str| loop {
        let mut line = String::new();
        assert!(stdout.read_line(&mut line).expect("a line") > 0, "the worker ended before {prefix:?}");
        // The test harness writes its own words in front of what a test prints.
        if let Some((_, rest)) = line.split_once(prefix) {
            return rest.trim().to_owned();
        }
    };
    for (_, stdout) in &mut workers {
        read(stdout, "worker is ready");
    }
    for (worker, _) in &mut workers {
        worker.stdin.take().expect("its input").write_all(b"go\n").expect("it listens");
    }
    let tally = Tally::default();
    for (worker, stdout) in &mut workers {
        for _ in 0..THREADS * BATCHES {
            let line = read(stdout, "worker exported ");
            let (first, result) = line.split_once(' ').expect("two words");
            let first: i64 = first.parse().expect("a number");
            assert_eq!(result, "Ok(())");
            tally.record(first..first + SPANS, Outcome::Acknowledged);
        }
        assert!(worker.wait().expect("it ends").success());
    }
    tally.assert_stored_in_the_end(&database.config(), &tally).await;
    assert_eq!(tally.total() as i64, PROCESSES * THREADS * BATCHES * SPANS);
    assert_eq!(database.value::<i64>("SELECT count(*) FROM otel.documents").await, THREADS * BATCHES / 2);
    assert_no_deadlock(&database).await;
    println!("{tally} in {:?}", begin.elapsed());
}

/// A process of the test above; does nothing when it is not called by it.
#[test]
fn as_a_worker_process() {
    let Ok(url) = std::env::var(WORKER) else { return };
    let number: i64 = std::env::var(WORKER_NUMBER).expect("a number").parse().expect("a number");
    let mut settings = Settings::default();
    settings.connection_string = url;
    settings.embedding_model = "/nonexistent/model".into();
    settings.embedding_budget_milliseconds = 0;
    // A busy machine is no outage.
    settings.hand_over_seconds = 30;
    let exporter = SpanExporter::from_settings(settings).expect("built");
    println!("worker is ready");
    std::io::stdin().read_line(&mut String::new()).expect("the word to go");
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let exporter = &exporter;
            scope.spawn(move || {
                for batch in 0..BATCHES {
                    let first = ((number * THREADS + thread) * BATCHES + batch) * SPANS;
                    // All processes, and two threads of each, come upon the same new documents.
                    let name = letters((thread / 2 * BATCHES + batch) as u64);
                    let export = exporter.export(spans(&format!("step {name}"), first..first + SPANS));
                    let result = futures_executor::block_on(export);
                    println!("worker exported {first} {result:?}");
                }
            });
        }
    });
    drop(exporter);
}

async fn assert_no_deadlock(database: &TestDatabase) {
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(database.value::<i64>(deadlocks).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writers_of_the_same_new_documents_do_not_deadlock() {
    let seed = Random::seed();
    println!("OTEL_TEST_SEED={seed}");
    let database = TestDatabase::create().await;
    let tally = Tally::default();
    let exporters: Vec<SpanExporter> = (0..64)
        .map(|_| {
            let mut settings = database.settings();
            settings.embedding_model = "/nonexistent/model".into();
            settings.embedding_budget_milliseconds = 0;
            settings.pool_size = 1;
            SpanExporter::from_settings(settings).expect("built")
        })
        .collect();
    let exporting = exporters.iter().enumerate().map(async |(writer, exporter)| {
        let mut random = Random::new(seed.wrapping_add(writer as u64));
        let mut names: Vec<u64> = (0..20).collect();
        for at in (1..names.len()).rev() {
            names.swap(at, random.below(at as u64 + 1) as usize);
        }
        let first = writer as i64 * 20;
        let batch = names
            .iter()
            .zip(first..)
            .map(|(name, sequence)| span(&format!("step {}", letters(*name)), sequence));
        let result = exporter.export(batch.collect()).await;
        assert!(result.is_ok(), "OTEL_TEST_SEED={seed}, writer {writer}: {result:?}");
        tally.record(first..first + 20, Outcome::of(&result));
    });
    join_all(exporting).await;
    drop(exporters);
    tally.assert_stored_in_the_end(&database.config(), &format!("OTEL_TEST_SEED={seed}")).await;
    assert_eq!(database.value::<i64>("SELECT count(*) FROM otel.documents").await, 20);
    assert_no_deadlock(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_of_a_clock_that_jumps_are_stored_once() {
    let database = TestDatabase::create().await;
    let exporter = SpanExporter::from_settings(database.settings()).expect("built");
    let tally = Tally::default();
    let now = SystemTime::now();
    let far = Duration::from_secs(400 * 365 * 86_400);
    let times = [
        (now, now - Duration::from_secs(3600)),
        (now + far, now),
        (now, now + far),
        (SystemTime::UNIX_EPOCH, now),
        (SystemTime::UNIX_EPOCH - far, SystemTime::UNIX_EPOCH - far * 2),
        (now + Duration::from_nanos(1), now),
    ];
    for (sequence, (start, end)) in (0..).zip(times) {
        let mut data = span("jump", sequence);
        (data.start_time, data.end_time) = (start, end);
        let result = exporter.export(vec![data]).await;
        assert!(result.is_ok(), "from {start:?} to {end:?}: {result:?}");
        tally.record([sequence], Outcome::of(&result));
    }
    tally.assert_stored(&database.config(), &"after the jumps").await;
}

/// A wall clock that jumps would lengthen or cut short what is measured by it.
#[test]
fn no_time_out_is_measured_by_the_wall_clock() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = ["exporter", "store", "embedding"].map(|folder| source.join(folder)).to_vec();
    let mut wrong = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if wall_clock_measures(&std::fs::read_to_string(&path).expect("a source file")) {
                wrong.push(path);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:?} measure by the wall clock");
}

/// Whether a source file reads the wall clock for anything but to name a moment.
fn wall_clock_measures(text: &str) -> bool {
    text.lines()
        .any(|line| line.contains("SystemTime::now()") && !line.contains("duration_since(UNIX_EPOCH)"))
}
