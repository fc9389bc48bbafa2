//! Known hangs of the ecosystem, each proven absent: nothing waits longer than it may, in whatever runtime.
//!
//! The numbers are those of issues and pull requests of opentelemetry-rust.
#![cfg(target_os = "linux")]

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::database::TestDatabase;
use crate::support::load::{SEQUENCE, span};
use crate::support::proxy::Proxy;
use crate::support::worker;
use opentelemetry::KeyValue;
use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};
use opentelemetry_pgvector::{Settings, SpanExporter};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::runtime;
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, SdkTracerProvider, SpanExporter as _, span_processor_with_async_runtime,
};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Every limit of the settings, and what a shutdown is given.
const LIMIT: Duration = Duration::from_secs(1);
/// What the SDK gives a provider that is dropped.
const SDK_SHUTDOWN: Duration = Duration::from_secs(5);
/// What a busy machine may take beyond it.
const GRACE: Duration = Duration::from_secs(3);
/// After this a thread is taken to hang.
const WATCHDOG: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Processor {
    Simple,
    Batch,
    /// This crate's own, around the SDK's batch processor.
    Pgvector,
    /// The SDK's async processor on the service's runtime.
    Tokio,
    /// The SDK's async processor on a thread of its own.
    TokioCurrentThread,
}

const PROCESSORS: [Processor; 5] = [
    Processor::Simple,
    Processor::Batch,
    Processor::Pgvector,
    Processor::Tokio,
    Processor::TokioCurrentThread,
];

/// The service's runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flavour {
    None,
    CurrentThread,
    OneWorker,
    MultiThread,
}

const FLAVOURS: [Flavour; 4] =
    [Flavour::None, Flavour::CurrentThread, Flavour::OneWorker, Flavour::MultiThread];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Shutdown,
    ForceFlush,
    Drop,
}

const OPERATIONS: [Operation; 3] = [Operation::Shutdown, Operation::ForceFlush, Operation::Drop];

impl Processor {
    fn provider(self, settings: &Settings) -> SdkTracerProvider {
        let builder = SdkTracerProvider::builder();
        let exporter = || SpanExporter::from_settings(settings.clone()).expect("built");
        let config = settings.batch_config();
        match self {
            Processor::Simple => builder.with_simple_exporter(exporter()),
            Processor::Batch => builder.with_span_processor(
                BatchSpanProcessor::builder(exporter()).with_batch_config(config).build(),
            ),
            Processor::Pgvector => {
                builder.with_span_processor(SpanExporter::processor(settings.clone()).expect("built"))
            }
            Processor::Tokio => builder.with_span_processor(
                span_processor_with_async_runtime::BatchSpanProcessor::builder(exporter(), runtime::Tokio)
                    .with_batch_config(config)
                    .build(),
            ),
            Processor::TokioCurrentThread => builder.with_span_processor(
                span_processor_with_async_runtime::BatchSpanProcessor::builder(
                    exporter(),
                    runtime::TokioCurrentThread,
                )
                .with_batch_config(config)
                .build(),
            ),
        }
        .build()
    }

    /// How long an operation may take. A provider that is dropped is given 5 s by the SDK, which are used to store what
    /// waits in memory; the SDK's async processors export first, whatever time a shutdown was given.
    fn limit(self, operation: Operation) -> Duration {
        let is_async = matches!(self, Processor::Tokio | Processor::TokioCurrentThread);
        match operation {
            Operation::ForceFlush if self == Processor::Simple => Duration::ZERO,
            Operation::Shutdown if !is_async => LIMIT,
            Operation::Drop => LIMIT + SDK_SHUTDOWN,
            _ => LIMIT * 2,
        }
    }
}

impl Flavour {
    /// Runs a service that blocks, on a thread of this runtime that other tasks need as well; the multi-thread runtime
    /// is told so, as its documentation asks.
    fn run<T: Send + 'static>(self, service: impl FnOnce() -> T + Send + 'static) -> T {
        let mut builder = match self {
            Flavour::None => return service(),
            Flavour::CurrentThread => tokio::runtime::Builder::new_current_thread(),
            Flavour::OneWorker | Flavour::MultiThread => tokio::runtime::Builder::new_multi_thread(),
        };
        let workers = if self == Flavour::OneWorker { 1 } else { 2 };
        let runtime = builder.worker_threads(workers).enable_all().build().expect("a runtime");
        let service = async move {
            match self {
                Flavour::MultiThread => tokio::task::block_in_place(service),
                _ => service(),
            }
        };
        runtime.block_on(async { tokio::spawn(service).await.expect("no panic") })
    }

    /// Whether the SDK's processor `Tokio` works when this runtime's threads are blocked: its own documentation says
    /// that it does not (#3176), and no exporter can help it.
    fn serves(self, processor: Processor) -> bool {
        processor != Processor::Tokio || self == Flavour::MultiThread
    }
}

/// Runs something on a thread of its own, and fails when it does not return.
fn watched<T: Send + 'static>(what: &str, task: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, wait) = channel();
    let thread = thread::spawn(move || {
        let _ = done.send(task());
    });
    match wait.recv_timeout(WATCHDOG) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => panic!("{what} hangs: it is not over after {WATCHDOG:?}"),
        Err(RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => unreachable!("it sends before it ends"),
        },
    }
}

fn settings(url: &str) -> Settings {
    let mut settings = Settings::default();
    settings.connection_string = url.to_owned();
    settings.embedding_model = "/nonexistent/model".into();
    settings.embedding_budget_milliseconds = 0;
    settings.connect_timeout_seconds = 1;
    settings.statement_timeout_seconds = 1;
    settings.export_timeout_seconds = 1;
    settings.flush_timeout_seconds = 1;
    settings.max_retries = 1;
    settings
}

fn make_span(provider: &SdkTracerProvider, sequence: i64) {
    let mut span = provider.tracer("hangs").start("wait");
    span.set_attribute(KeyValue::new(SEQUENCE, sequence));
    span.end();
}

/// A service that made a span, and how long the operation took after it.
fn measure(operation: Operation, provider: SdkTracerProvider) -> (Duration, Duration) {
    let begin = Instant::now();
    make_span(&provider, 0);
    let made = begin.elapsed();
    let begin = Instant::now();
    match operation {
        // Whether it worked is not the question.
        Operation::Shutdown => drop(provider.shutdown_with_timeout(LIMIT)),
        Operation::ForceFlush => drop(provider.force_flush()),
        Operation::Drop => drop(provider),
    }
    (made, begin.elapsed())
}

/// Every processor, runtime and operation.
fn cases() -> Vec<(Processor, Flavour, Operation)> {
    let mut cases = Vec::new();
    for processor in PROCESSORS {
        for flavour in FLAVOURS {
            for operation in OPERATIONS {
                if flavour.serves(processor) {
                    cases.push((processor, flavour, operation));
                }
            }
        }
    }
    cases
}

/// Runs every case on an endpoint that stores nothing.
fn nothing_waits_for(endpoint: &'static str, settings: Settings) {
    nothing_waits_after(endpoint, settings, |_| {});
}

/// Runs every case, each after a preparation of its provider.
fn nothing_waits_after(
    endpoint: &'static str,
    settings: Settings,
    prepare: impl Fn(&SdkTracerProvider) + Clone + Send + 'static,
) {
    let begin = Instant::now();
    let cases = cases();
    let count = cases.len();
    let running = cases.into_iter().map(|(processor, flavour, operation)| {
        let (settings, prepare) = (settings.clone(), prepare.clone());
        thread::spawn(move || {
            let case = format!("{endpoint}: {operation:?} of {processor:?} in {flavour:?}");
            let (made, took) = watched(&case, move || {
                flavour.run(move || {
                    let provider = processor.provider(&settings);
                    prepare(&provider);
                    measure(operation, provider)
                })
            });
            let may_make = if processor == Processor::Simple { LIMIT } else { Duration::ZERO };
            let may_take = processor.limit(operation);
            (made > may_make + GRACE || took > may_take + GRACE).then(|| {
                format!("{case}: the span took {made:?} (limit {may_make:?}), the rest {took:?} (limit {may_take:?})")
            })
        })
    });
    let running: Vec<_> = running.collect();
    let wrong: Vec<String> = running
        .into_iter()
        .filter_map(|case| case.join().unwrap_or_else(|_| Some("a case panicked".into())))
        .collect();
    assert!(wrong.is_empty(), "{} of {count} cases:\n{}", wrong.len(), wrong.join("\n"));
    println!("{endpoint}: {count} cases in {:?}", begin.elapsed());
}

fn url(address: SocketAddr) -> String {
    format!("host={} port={} user=nobody dbname=nothing", address.ip(), address.port())
}

#[test]
fn a_server_that_accepts_and_never_answers_holds_nobody_up() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    thread::spawn({
        let listener = listener.try_clone().expect("the same listener");
        move || listener.incoming().collect::<Vec<_>>()
    });
    nothing_waits_for("hung", settings(&url(listener.local_addr().expect("an address"))));
}

#[test]
fn a_server_that_refuses_connections_holds_nobody_up() {
    // Bound, so that nobody else takes the port, but not listening.
    use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};
    let closed = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&closed, &"127.0.0.1:0".parse::<SocketAddr>().expect("an address")).expect("a port");
    let address = SocketAddr::try_from(getsockname(&closed).expect("its address")).expect("an address");
    nothing_waits_for("dead", settings(&url(address)));
}

#[test]
fn a_network_that_swallows_every_packet_holds_nobody_up() {
    // With its queue full, the system drops the first packet of every further connection.
    use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};
    let full = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&full, &"127.0.0.1:0".parse::<SocketAddr>().expect("an address")).expect("a port");
    listen(&full, 0).expect("a listener");
    let address = SocketAddr::try_from(getsockname(&full).expect("its address")).expect("an address");
    let mut queue = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        queue.push(stream);
    }
    nothing_waits_for("black hole", settings(&url(address)));
}

#[test]
fn a_server_that_falls_silent_holds_nobody_up() {
    let (runtime, database) = database();
    let proxy = runtime.block_on(async { Proxy::start(database.address().await).await });
    runtime.block_on(database.store().migrate()).expect("migrated");
    let mut settings = settings(&database.url_through(proxy.port()));
    settings.pool_size = 1;
    settings.connect_timeout_seconds = 20;
    // Everybody's connection is in use when the server falls silent.
    let connected = Arc::new(Barrier::new(cases().len()));
    let proxy = Arc::new(proxy);
    nothing_waits_after("silent", settings, move |provider| {
        make_span(provider, -1);
        let _ = provider.force_flush();
        connected.wait();
        proxy.partition();
    });
}

#[test]
fn a_name_that_does_not_exist_holds_nobody_up() {
    nothing_waits_for("unknown name", settings("host=something.invalid user=nobody dbname=nothing"));
}

const SLOW_NAMES: &str = "OTEL_TEST_SLOW_NAMES";

#[test]
fn a_name_that_resolves_slowly_holds_nobody_up() {
    if std::env::var_os(SLOW_NAMES).is_some() {
        let settings = settings("host=something.invalid user=nobody dbname=nothing");
        let begin = Instant::now();
        let exporter = SpanExporter::from_settings(settings.clone()).expect("built");
        futures_executor::block_on(exporter.export(vec![span("slow", 0)])).expect_err("no server");
        assert!(begin.elapsed() >= LIMIT, "the name was not slow: {:?}", begin.elapsed());
        drop(exporter);
        nothing_waits_for("slow name", settings);
        return;
    }
    // A name server that never answers, for a process with a resolv.conf of its own.
    let silent = UdpSocket::bind("127.0.0.77:53");
    let folder = tempfile::tempdir().expect("a folder");
    let resolv = folder.path().join("resolv.conf");
    std::fs::write(&resolv, "nameserver 127.0.0.77\noptions timeout:10 attempts:2\n").expect("written");
    let itself =
        worker::command(module_path!(), "a_name_that_resolves_slowly_holds_nobody_up", SLOW_NAMES, "1");
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\""]);
    command.arg(&resolv).arg(itself.get_program()).args(itself.get_args()).env(SLOW_NAMES, "1");
    let may = Command::new("unshare")
        .args(["--mount", "true"])
        .output()
        .is_ok_and(|output| output.status.success());
    if silent.is_err() || !may {
        assert!(std::env::var_os("CI").is_none(), "a name server cannot be made under CI, which takes root");
        eprintln!("skipped: a name server of the test's own takes root");
        return;
    }
    print!("{}", worker::run(command, WATCHDOG));
}

/// A database, and the runtime that the test's own connections need.
fn database() -> (tokio::runtime::Runtime, TestDatabase) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let database = runtime.block_on(TestDatabase::create());
    (runtime, database)
}

/// Settings with which a busy machine stores its spans.
fn patient(database: &TestDatabase) -> Settings {
    let mut settings = settings(&database.url());
    settings.connect_timeout_seconds = 10;
    settings.statement_timeout_seconds = 10;
    settings.export_timeout_seconds = 20;
    settings
}

const TRACED: &str = "OTEL_TEST_TRACED";

/// A service whose every event and span goes through a global subscriber into the exporter, those of the exporter too.
fn traced_service(database: &str, processor: Processor, flavour: Flavour) {
    let mut settings = settings(database);
    settings.export_timeout_seconds = 20;
    settings.statement_timeout_seconds = 10;
    settings.connect_timeout_seconds = 10;
    let service = move || {
        let provider = processor.provider(&settings);
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("service"));
        tracing_subscriber::registry().with(layer).init();
        for number in 0..20_i64 {
            let span = tracing::info_span!("request", load.sequence = number);
            span.in_scope(|| tracing::info!("handled"));
        }
        // What the exporter does after this must not make spans either.
        provider.shutdown_with_timeout(Duration::from_secs(20)).expect("shut down");
    };
    flavour.run(service);
}

#[test]
fn issue_2715_a_service_within_a_spawned_task_does_not_deadlock_and_exporting_traces_nothing() {
    if let Ok(case) = std::env::var(TRACED) {
        let mut words = case.splitn(3, ' ');
        let mut number = || words.next().expect("a word").parse::<usize>().expect("a number");
        let (processor, flavour) = (PROCESSORS[number()], FLAVOURS[number()]);
        traced_service(words.next().expect("a database"), processor, flavour);
        return;
    }
    let cases = (0..PROCESSORS.len())
        .flat_map(|processor| (0..FLAVOURS.len()).map(move |flavour| (processor, flavour)));
    for (processor, flavour) in
        cases.filter(|&(processor, flavour)| FLAVOURS[flavour].serves(PROCESSORS[processor]))
    {
        let (runtime, database) = database();
        let value = format!("{processor} {flavour} {}", database.url());
        let test =
            "issue_2715_a_service_within_a_spawned_task_does_not_deadlock_and_exporting_traces_nothing";
        worker::run(worker::command(module_path!(), test, TRACED, &value), WATCHDOG);
        let case = format!("{:?} in {:?}", PROCESSORS[processor], FLAVOURS[flavour]);
        let stored: i64 = runtime.block_on(database.value("SELECT count(*) FROM otel.spans"));
        assert_eq!(stored, 20, "{case}: the service's own spans and no others");
    }
}

#[test]
fn issue_3176_force_flush_in_a_current_thread_runtime_returns_and_everything_is_stored() {
    stores_with_all_threads_blocked(Flavour::CurrentThread, |provider| provider.force_flush());
}

#[test]
fn issue_3380_a_runtime_with_one_worker_that_is_blocked_stores_its_spans() {
    stores_with_all_threads_blocked(Flavour::OneWorker, |provider| provider.force_flush());
    stores_with_all_threads_blocked(Flavour::OneWorker, |provider| {
        provider.shutdown_with_timeout(LIMIT * 20)
    });
    stores_with_all_threads_blocked(Flavour::CurrentThread, |provider| {
        provider.shutdown_with_timeout(LIMIT * 20)
    });
}

fn stores_with_all_threads_blocked(flavour: Flavour, end: fn(&SdkTracerProvider) -> OTelSdkResult) {
    for processor in PROCESSORS.into_iter().filter(|&processor| flavour.serves(processor)) {
        let (runtime, database) = database();
        let mut settings = patient(&database);
        if processor == Processor::Pgvector {
            // Its flush is an error without a model.
            settings.embedding_model = database.settings().embedding_model;
            settings.flush_timeout_seconds = 20;
        }
        let case = format!("{processor:?} in {flavour:?}");
        let result = watched(&case, move || {
            flavour.run(move || {
                let provider = processor.provider(&settings);
                (0..10).for_each(|number| make_span(&provider, number));
                end(&provider)
            })
        });
        assert!(result.is_ok(), "{case}: {result:?}");
        let stored: i64 = runtime.block_on(database.value("SELECT count(*) FROM otel.spans"));
        assert_eq!(stored, 10, "{case}");
    }
}

#[test]
fn issue_2802_shutdown_and_flush_while_exports_hang_return_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut settings = settings(&url(listener.local_addr().expect("an address")));
    settings.export_timeout_seconds = 5;
    watched("everything at once", move || {
        let exporter = SpanExporter::from_settings(settings).expect("built");
        let (begun, wait) = channel();
        thread::scope(|scope| {
            for number in 0..8 {
                let (exporter, begun) = (&exporter, begun.clone());
                scope.spawn(move || {
                    let begin = Instant::now();
                    begun.send(()).expect("it is awaited");
                    let result = futures_executor::block_on(exporter.export(vec![span("hang", number)]));
                    assert!(result.is_err(), "{result:?}");
                    assert!(begin.elapsed() < LIMIT * 5 + GRACE, "an export took {:?}", begin.elapsed());
                });
            }
            (0..8).for_each(|_| wait.recv().expect("it begins"));
            let flushing = scope.spawn(|| {
                let begin = Instant::now();
                let _ = exporter.force_flush();
                begin.elapsed()
            });
            let begin = Instant::now();
            let _ = exporter.shutdown_with_timeout(LIMIT);
            assert!(begin.elapsed() < LIMIT + GRACE, "the shutdown took {:?}", begin.elapsed());
            let flush = flushing.join().expect("no panic");
            assert!(flush < LIMIT + GRACE, "the flush took {flush:?}");
        });
    });
}

#[test]
fn issue_1637_the_simple_processor_needs_no_runtime_and_minds_none() {
    for flavour in FLAVOURS {
        let (runtime, database) = database();
        let settings = patient(&database);
        let case = format!("the simple processor in {flavour:?}");
        watched(&case, move || {
            let provider = Processor::Simple.provider(&settings);
            let inside = provider.clone();
            flavour.run(move || make_span(&inside, 0));
            // Its runtime is gone by now; a thread never had one.
            make_span(&provider, 1);
            let outside = provider.clone();
            thread::spawn(move || make_span(&outside, 2)).join().expect("no panic");
            provider.shutdown().expect("shut down");
        });
        let stored: i64 = runtime.block_on(database.value("SELECT count(*) FROM otel.spans"));
        assert_eq!(stored, 3, "{case}");
    }
}
