//! The exporter under the SDK's real processors, in every kind of runtime and none.

use std::time::{Duration, Instant};

use crate::support::database::{TestDatabase, eventually};
use opentelemetry::trace::{
    Span as _, SpanContext, SpanId, Status, TraceContextExt, TraceFlags, TraceId, Tracer as _,
    TracerProvider as _,
};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_pgvector::span::{Scopes, resource_from_sdk, span_from_sdk};
use opentelemetry_pgvector::{Error, SpanExporter, TraceStore, tracer_provider};
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, SdkTracerProvider, SpanData, SpanExporter as _, SpanProcessor,
    span_processor_with_async_runtime,
};
use opentelemetry_sdk::{Resource, runtime};

/// Makes one trace of two spans, and returns its id.
fn trace(provider: &SdkTracerProvider) -> TraceId {
    let tracer = provider.tracer("test");
    let parent = tracer.start("check out");
    let id = parent.span_context().trace_id();
    let context = Context::new().with_span(parent);
    let mut child = tracer.start_with_context("authorize card", &context);
    child.set_attribute(KeyValue::new("card.network", "visa"));
    child.set_status(Status::error("card declined"));
    child.end();
    context.span().end();
    id
}

fn exporter(database: &TestDatabase) -> SpanExporter {
    SpanExporter::from_settings(database.settings()).expect("built")
}

async fn assert_stored(store: &TraceStore, id: TraceId) {
    eventually("both spans are stored", async || store.get_trace(id).await.expect("read").len() == 2).await;
}

/// Runs a test's async parts where the test itself must not be in a runtime.
fn outside<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

#[test]
fn it_works_under_the_thread_based_batch_processor_without_a_runtime() {
    let database = outside(TestDatabase::create());
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter(&database)).build();
    let id = trace(&provider);
    provider.shutdown().expect("shut down");
    outside(assert_stored(&database.store(), id));
}

#[test]
fn it_works_under_the_simple_processor_without_a_runtime() {
    let database = outside(TestDatabase::create());
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter(&database)).build();
    let id = trace(&provider);
    provider.shutdown().expect("shut down");
    outside(assert_stored(&database.store(), id));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_works_under_every_processor_in_a_multi_thread_runtime() {
    works_under_every_processor().await;
}

#[tokio::test(flavor = "current_thread")]
async fn it_works_under_every_processor_in_a_current_thread_runtime() {
    works_under_every_processor().await;
}

/// A task of tokio has a budget of 128 polls until it yields, and a processor that blocks does not yield.
#[tokio::test(flavor = "current_thread")]
async fn the_simple_processor_takes_many_spans_without_a_pause_in_a_current_thread_runtime() {
    let database = TestDatabase::create().await;
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter(&database)).build();
    let (done, hear) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            for _ in 0..150 {
                trace(&provider);
            }
        });
        provider.shutdown().expect("shut down");
        let _ = done.send(());
    });
    hear.recv_timeout(Duration::from_secs(60)).expect("it does not hang");
    assert_eq!(database.store().health_check().await.total_spans, 300);
}

async fn works_under_every_processor() {
    let database = TestDatabase::create().await;
    let store = database.store();
    let simple = SdkTracerProvider::builder().with_simple_exporter(exporter(&database)).build();
    assert_stored(&store, trace(&simple)).await;
    simple.shutdown().expect("shut down");

    let batch = SdkTracerProvider::builder().with_batch_exporter(exporter(&database)).build();
    let id = trace(&batch);
    batch.force_flush().expect("flushed");
    assert_stored(&store, id).await;
    batch.shutdown().expect("shut down");

    let processor =
        span_processor_with_async_runtime::BatchSpanProcessor::builder(exporter(&database), runtime::Tokio)
            .build();
    let asynchronous = SdkTracerProvider::builder().with_span_processor(processor).build();
    let id = trace(&asynchronous);
    // This processor's flush waits for a task, which needs the thread of a current_thread runtime.
    let flushing = asynchronous.clone();
    tokio::task::spawn_blocking(move || flushing.force_flush()).await.expect("no panic").expect("flushed");
    assert_stored(&store, id).await;
    tokio::task::spawn_blocking(move || asynchronous.shutdown()).await.expect("no panic").expect("shut down");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_call_installs_it_and_its_flush_waits_for_the_embeddings() {
    let database = TestDatabase::create().await;
    let provider = tracer_provider(database.settings())
        .expect("built")
        .with_resource(Resource::builder().with_service_name("shop").build())
        .build();
    let id = trace(&provider);
    provider.force_flush().expect("flushed");
    let store = database.store();
    assert_eq!(store.health_check().await.documents_waiting, 0);
    let hits = store.search_traces("credit card was refused").await.expect("searched");
    assert_eq!(hits[0].trace_id, id);
    assert_eq!(hits[0].root_service, "shop");
    provider.shutdown().expect("shut down");
}

#[tokio::test(flavor = "multi_thread")]
async fn force_flush_returns_when_everything_is_stored_and_embedded() {
    let database = TestDatabase::create().await;
    let mut settings = database.settings();
    settings.embedding_budget_milliseconds = 0;
    let exporter = SpanExporter::from_settings(settings).expect("built");
    let batch: Vec<SpanData> =
        (0..100).map(|number| span_data(&format!("step {}", letters(number)))).collect();
    exporter.export(batch).await.expect("exported");
    tokio::task::block_in_place(|| exporter.force_flush()).expect("flushed");
    let health = database.store().health_check().await;
    assert_eq!((health.total_spans, health.documents_waiting), (100, 0));
    assert!(health.documents > 50, "{health:?}");
}

/// A provider of this crate's processor whose flush may take so long.
fn flushing_within(seconds: u64, database: &TestDatabase) -> SdkTracerProvider {
    let mut settings = database.settings();
    settings.flush_timeout_seconds = seconds;
    settings.embedding_model = "/nonexistent/model".into();
    settings.embedding_budget_milliseconds = 0;
    let processor = SpanExporter::processor(settings).expect("built");
    SdkTracerProvider::builder().with_span_processor(processor).build()
}

/// Whether everything is stored, but for the model that is missing here.
fn is_stored(flushed: &Result<(), OTelSdkError>) -> bool {
    flushed.as_ref().is_err_and(|error| error.to_string().contains("embedding model"))
}

/// The SDK's flush gives up after five seconds.
#[tokio::test(flavor = "multi_thread")]
async fn force_flush_waits_for_a_slow_database_for_as_long_as_the_setting_says() {
    let database = TestDatabase::create().await;
    database.store().migrate().await.expect("migrated");
    let (patient, hasty) = (flushing_within(30, &database), flushing_within(1, &database));
    let holder = database.client().await;
    holder.batch_execute("BEGIN; LOCK TABLE otel.batches").await.expect("locked");
    let ids = [trace(&patient), trace(&hasty)];
    let flush = |provider: SdkTracerProvider| {
        tokio::task::spawn_blocking(move || {
            let begin = Instant::now();
            (provider.force_flush(), begin.elapsed())
        })
    };
    let patient = flush(patient);
    let (flushed, took) = flush(hasty.clone()).await.expect("no panic");
    assert!(flushed.is_err() && !is_stored(&flushed), "the database takes nothing: {flushed:?}");
    assert!(took < Duration::from_secs(3), "it may take 1 s: {took:?}");
    tokio::time::sleep(Duration::from_secs(6)).await;
    holder.batch_execute("ROLLBACK").await.expect("unlocked");
    let (flushed, took) = patient.await.expect("no panic");
    assert!(is_stored(&flushed), "after {took:?}: {flushed:?}");
    assert!(took > Duration::from_secs(5), "the database was not slow: {took:?}");
    assert_eq!(database.store().get_trace(ids[0]).await.expect("read").len(), 2);
    assert_stored(&database.store(), ids[1]).await;
    tokio::task::block_in_place(|| hasty.shutdown()).expect("shut down");
}

#[tokio::test(flavor = "multi_thread")]
async fn force_flush_waits_for_what_an_outage_keeps_in_memory() {
    let database = TestDatabase::create().await;
    database.store().migrate().await.expect("migrated");
    let provider = flushing_within(30, &database);
    database.take_away().await;
    let id = trace(&provider);
    let flushing = tokio::task::spawn_blocking(move || provider.force_flush());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!flushing.is_finished(), "the spans are not stored");
    database.bring_back().await;
    let flushed = flushing.await.expect("no panic");
    assert!(is_stored(&flushed), "{flushed:?}");
    assert_eq!(database.store().get_trace(id).await.expect("read").len(), 2);
}

/// A word of its own for each number, so that each makes a document.
fn letters(number: u32) -> String {
    [number / 26, number % 26].iter().filter_map(|&letter| char::from_u32('a' as u32 + letter)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_sdk_exports_comes_back_exactly() {
    let database = TestDatabase::create().await;
    let mut exporter = exporter(&database);
    let resource = Resource::builder_empty()
        .with_service_name("shop")
        .with_attribute(KeyValue::new("host.name", "web-1"))
        .with_attribute(KeyValue::new("replica", 3))
        .build();
    exporter.set_resource(&resource);
    let mut data = span_data("GET /orders/42");
    data.start_time = std::time::UNIX_EPOCH - Duration::new(5, 1);
    data.end_time = std::time::UNIX_EPOCH + Duration::new(20_000_000_000, 999_999_999);
    data.parent_span_is_remote = true;
    data.attributes = vec![
        KeyValue::new("one", 1),
        KeyValue::new("one point", 1.0),
        KeyValue::new("nan", f64::NAN),
        KeyValue::new("infinite", f64::NEG_INFINITY),
        KeyValue::new("limit", i64::MIN),
        KeyValue::new("list", opentelemetry::Value::Array(vec![1.5, f64::INFINITY].into())),
        KeyValue::new("text", "x".repeat(1_000_000)),
    ];
    data.events.dropped_count = 7;
    let expected =
        span_from_sdk(&data, &std::sync::Arc::new(resource_from_sdk(&resource)), &mut Scopes::default())
            .into_owned();
    exporter.export(vec![data.clone()]).await.expect("exported");
    let stored = database.store().get_trace(data.span_context.trace_id()).await.expect("read");
    assert_eq!(stored, [expected]);
}

fn span_data(name: &str) -> SpanData {
    let id = uuid::Uuid::new_v4().as_u128();
    SpanData {
        span_context: SpanContext::new(
            TraceId::from(id),
            SpanId::from(id as u64),
            TraceFlags::SAMPLED,
            false,
            "vendor=1,other=a:b".parse().expect("a trace state"),
        ),
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: opentelemetry::trace::SpanKind::Server,
        name: name.to_owned().into(),
        start_time: std::time::SystemTime::now(),
        end_time: std::time::SystemTime::now(),
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: Default::default(),
        links: Default::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::builder("test")
            .with_version("1.2")
            .with_attributes([KeyValue::new("scope", true)])
            .build(),
    }
}

#[test]
fn a_wrong_setting_is_an_error_at_once() {
    let error = SpanExporter::builder()
        .with_connection_string("postgresql://app@db/otel_traces")
        .with_setting("batch_size", 9)
        .build()
        .expect_err("out of range");
    assert!(matches!(&error, Error::Setting { key, .. } if key == "batch_size"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_wait_for_a_database_that_starts_later() {
    let database = TestDatabase::create().await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = closed.local_addr().expect("an address").port();
    drop(closed);
    let mut settings = database.settings();
    let real = database.config().get_ports()[0];
    settings.connection_string =
        settings.connection_string.replace(&format!("port={real}"), &format!("port={port}"));
    let exporter = SpanExporter::from_settings(settings).expect("built without a database");
    let data = span_data("patient");
    let id = data.span_context.trace_id();
    let exporting = tokio::spawn(async move {
        let result = exporter.export(vec![data]).await;
        tokio::task::spawn_blocking(move || drop(exporter)).await.expect("dropped");
        result
    });
    // The first attempt has failed by the time that this connection is refused as well.
    assert!(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err());
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.expect("the port");
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            let Ok(mut to) = tokio::net::TcpStream::connect(("127.0.0.1", real)).await else { return };
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut from, &mut to).await });
        }
    });
    exporting.await.expect("no panic").expect("exported");
    assert_eq!(database.store().get_trace(id).await.expect("read").len(), 1);
}

#[tokio::test(flavor = "current_thread")]
async fn dropping_it_in_async_code_neither_panics_nor_blocks() {
    // A listener that never answers: the connection hangs.
    let hung = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = hung.local_addr().expect("an address").port();
    let exporter = SpanExporter::builder()
        .with_connection_string(format!("host=127.0.0.1 port={port} user=nobody"))
        .build()
        .expect("built");
    let export = exporter.export(vec![span_data("lost")]);
    // The batch is on its way while everything is dropped.
    assert!(tokio::time::timeout(Duration::from_millis(200), export).await.is_err());
    let begin = Instant::now();
    drop(exporter);
    assert!(begin.elapsed() < Duration::from_secs(1), "dropping took {:?}", begin.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_is_dropped_meanwhile_is_made_again() {
    let database = TestDatabase::create().await;
    let exporter = exporter(&database);
    exporter.export(vec![span_data("before")]).await.expect("exported");
    database.execute("DROP SCHEMA otel CASCADE").await;
    let data = span_data("after");
    let id = data.span_context.trace_id();
    exporter.export(vec![data]).await.expect("exported");
    let stored = database.store().get_trace(id).await.expect("read");
    assert_eq!(stored[0].name, "after", "the row has its document");
}

/// Leaves a document without embedding; a client that can keep it busy.
async fn with_a_document_that_waits(database: &TestDatabase) -> tokio_postgres::Client {
    let mut settings = database.settings();
    settings.embedding_model = "/nonexistent/model".into();
    let without_model = SpanExporter::from_settings(settings).expect("built");
    without_model.export(vec![span_data("waits")]).await.expect("exported");
    database.client().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_of_the_sdk_s_processor_succeeds_though_documents_still_wait() {
    let database = TestDatabase::create().await;
    let client = with_a_document_that_waits(&database).await;
    // The export takes some of the shutdown's five seconds.
    database
        .execute(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1); RETURN NULL; END'; \
             CREATE TRIGGER slow AFTER INSERT ON otel.batches FOR EACH STATEMENT EXECUTE FUNCTION slow()",
        )
        .await;
    client.batch_execute("BEGIN; SELECT FROM otel.span_documents FOR UPDATE").await.expect("kept busy");

    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter(&database)).build();
    let id = trace(&provider);
    tokio::task::block_in_place(|| provider.shutdown()).expect("nothing is lost");
    client.batch_execute("ROLLBACK").await.expect("free");
    assert_stored(&database.store(), id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_shutdown_exports_are_refused() {
    let database = TestDatabase::create().await;
    let exporter = exporter(&database);
    exporter.export(vec![span_data("one")]).await.expect("exported");
    tokio::task::block_in_place(|| exporter.shutdown_with_timeout(Duration::from_secs(20)))
        .expect("shut down");
    assert!(matches!(exporter.export(vec![span_data("two")]).await, Err(OTelSdkError::AlreadyShutdown)));
    assert!(matches!(exporter.shutdown(), Err(OTelSdkError::AlreadyShutdown)));
    assert_eq!(database.store().health_check().await.total_spans, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_that_a_shutdown_ends_says_so() {
    let database = TestDatabase::create().await;
    let client = with_a_document_that_waits(&database).await;
    client.batch_execute("BEGIN; SELECT FROM otel.span_documents FOR UPDATE").await.expect("kept busy");

    let exporter = exporter(&database);
    exporter.export(vec![span_data("waits")]).await.expect("exported");
    std::thread::scope(|scope| {
        let flush = scope.spawn(|| exporter.force_flush());
        // Waits for the same document for a second.
        exporter.shutdown_with_timeout(Duration::from_secs(2)).expect("nothing is lost");
        let flushed = flush.join().expect("no panic");
        assert!(matches!(flushed, Err(OTelSdkError::AlreadyShutdown)), "{flushed:?}");
    });
}

#[cfg(unix)]
#[test]
fn a_fork_of_the_process_is_refused_at_once_and_disturbs_nothing() {
    unsafe extern "C" {
        safe fn fork() -> i32;
        safe fn alarm(seconds: u32) -> u32;
        safe fn _exit(status: i32) -> !;
    }
    // Other tests' threads may hold locks that a fork would never see released: this one forks a program of its own.
    const ALONE: &str = "OTEL_TEST_FORKS_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let name = "processors::a_fork_of_the_process_is_refused_at_once_and_disturbs_nothing";
        let program = std::env::current_exe().expect("this program");
        let ran = std::process::Command::new(program).args(["--exact", name]).env(ALONE, "1").output();
        let ran = ran.expect("run");
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let database = outside(TestDatabase::create());
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter(&database)).build();
    trace(&provider);
    let child = fork();
    if child == 0 {
        // Ends a child that hangs.
        alarm(20);
        trace(&provider);
        _exit(i32::from(provider.shutdown().is_ok()));
    }
    let child = rustix::process::Pid::from_raw(child);
    let ended = rustix::process::waitpid(child, rustix::process::WaitOptions::empty()).expect("a child");
    assert_eq!(ended.and_then(|(_, status)| status.exit_status()), Some(0), "{ended:?}");
    trace(&provider);
    provider.shutdown().expect("shut down");
    assert_eq!(outside(database.value::<i64>("SELECT count(*) FROM otel.spans")), 4);
}

#[tokio::test]
async fn disabled_it_accepts_spans_and_needs_no_database() {
    let exporter = SpanExporter::builder().with_setting("enabled", false).build().expect("built");
    exporter.export(vec![span_data("dropped")]).await.expect("accepted");
    exporter.force_flush().expect("nothing to flush");
    assert!(exporter.store().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_model_spans_are_stored_and_the_flush_names_the_remedy() {
    let database = TestDatabase::create().await;
    let mut settings = database.settings();
    settings.embedding_model = "/nonexistent/model".into();
    let exporter = SpanExporter::from_settings(settings).expect("built without a model");
    exporter.export(vec![span_data("stored all the same")]).await.expect("exported");
    let error = tokio::task::block_in_place(|| exporter.force_flush()).expect_err("no model");
    assert!(error.to_string().contains("make setup"), "{error}");
    let health = database.store().health_check().await;
    assert_eq!((health.total_spans, health.documents_waiting), (1, 1));
    database.store().flush().await.expect("a process that has the model catches up");
}

#[test]
fn the_batch_processor_of_the_sdk_takes_the_settings_sizes() {
    let mut settings = opentelemetry_pgvector::Settings::default();
    settings.batch_size = 17;
    let text = format!("{:?}", settings.batch_config());
    assert!(text.contains("max_export_batch_size: 17"), "{text}");
    let exporter = SpanExporter::builder().with_setting("enabled", false).build().expect("built");
    let processor = BatchSpanProcessor::builder(exporter).with_batch_config(settings.batch_config()).build();
    processor.shutdown().expect("shut down");
}
