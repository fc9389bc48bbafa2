//! What a span costs the service: CPU time, and instructions, of its process from the processor to the acknowledgement, by
//! this exporter into PostgreSQL and by opentelemetry-otlp into a collector that only acknowledges.
//!
//! `cargo bench --bench client_cpu [-- --quick]`, on the server that `OTEL_TEST_DATABASE_URL` names. With `-- --callgrind`,
//! instructions instead of time: the bench runs itself under `valgrind --tool=callgrind`, with few and with more spans, and
//! prints the difference.

mod support;

use std::process::Command;

use opentelemetry_otlp::{Protocol, SpanExporter as Otlp, WithExportConfig};
use opentelemetry_pgvector::SpanExporter;
use opentelemetry_sdk::trace::{
    BatchConfig, BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanExporter as Exporter, SpanProcessor,
};
use support::database::TestDatabase;
use support::figure::{Figure, Round, print_rounds, rounded};
use support::process::work_time;
use support::random::Random;
use support::sink::{Sink, was_sink};
use support::{eight, has_flag, is_quick};
use tokio::runtime::Runtime;

const BATCH: usize = 512;
const EXPORTERS: [&str; 3] = ["pgvector", "grpc", "http"];

fn main() {
    if was_sink() {
        return;
    }
    match std::env::var(ONLY) {
        Ok(name) => run_one(&name),
        Err(_) if has_flag("--callgrind") => instructions(),
        Err(_) => time(),
    }
}

fn time() {
    let (rounds, batches) = if is_quick() { (3, 10) } else { (9, 40) };
    let place = Place::new();
    let processors = EXPORTERS.map(|name| place.processor(name));
    // Documents become known, connections are opened.
    for processor in &processors {
        cost(processor.as_ref(), 4);
    }
    let costs: Vec<[f64; 3]> =
        (0..rounds).map(|_| std::array::from_fn(|at| cost(processors[at].as_ref(), batches))).collect();
    for (at, bench, against) in [
        (1, "client_cpu", "opentelemetry-otlp over gRPC into a sink, 8 attributes"),
        (2, "client_cpu/http", "opentelemetry-otlp over HTTP/protobuf into a sink, 8 attributes"),
    ] {
        let rounds: Vec<Round> =
            costs.iter().map(|costs| Round { value: costs[0], against: costs[at] }).collect();
        print_rounds(bench, "us/span", against, &rounds);
    }
}

/// CPU time of this process in microseconds a span.
fn cost(processor: &dyn SpanProcessor, batches: usize) -> f64 {
    let spans = make(batches);
    let begin = work_time();
    export(processor, spans);
    (work_time() - begin).as_secs_f64() * 1e6 / (batches * BATCH) as f64
}

fn make(batches: usize) -> Vec<Vec<SpanData>> {
    let mut random = Random(13);
    (0..batches).map(|_| eight::spans(&mut random, BATCH)).collect()
}

fn export(processor: &dyn SpanProcessor, batches: Vec<Vec<SpanData>>) {
    for spans in batches {
        spans.into_iter().for_each(|span| processor.on_end(span));
        // One batch after the other, so that none is too many for the processor's queue.
        processor.force_flush().expect("the spans are exported");
    }
}

/// A database, a sink, and a runtime for the exporters that have none of their own.
struct Place {
    runtime: Runtime,
    database: TestDatabase,
    sink: Sink,
}

impl Place {
    fn new() -> Place {
        let runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = { runtime }.worker_threads(2).enable_all().build().expect("a runtime");
        let database = runtime.block_on(TestDatabase::create());
        Place { runtime, database, sink: Sink::start() }
    }

    /// The same processor before one exporter or the other.
    fn processor(&self, exporter: &str) -> Box<dyn SpanProcessor> {
        let _inside = (exporter == "grpc").then(|| self.runtime.enter());
        match exporter {
            "pgvector" => {
                let mut settings = self.database.settings();
                // Embeddings are a document's cost, not a span's.
                settings.embedding_model = "/nonexistent/model".into();
                settings.embedding_budget_milliseconds = 0;
                batching(SpanExporter::from_settings(settings).expect("valid settings"))
            }
            "grpc" => {
                let otlp = Otlp::builder().with_tonic().with_endpoint(&self.sink.grpc);
                batching(otlp.build().expect("an exporter"))
            }
            _ => {
                let otlp = Otlp::builder().with_http().with_protocol(Protocol::HttpBinary);
                batching(otlp.with_endpoint(&self.sink.http).build().expect("an exporter"))
            }
        }
    }
}

fn batching(exporter: impl Exporter + 'static) -> Box<dyn SpanProcessor> {
    let config: BatchConfig = BatchConfigBuilder::default()
        .with_max_export_batch_size(BATCH)
        .with_max_queue_size(4 * BATCH)
        .build();
    Box::new(BatchSpanProcessor::builder(exporter).with_batch_config(config).build())
}

const ONLY: &str = "OTEL_BENCH_ONLY";
const BATCHES: &str = "OTEL_BENCH_BATCHES";

/// What makes spans and does nothing with them.
const NOTHING: &str = "nothing";

/// So many batches by one exporter, for valgrind, which knows no clock of CPU time.
fn run_one(name: &str) {
    let batches = std::env::var(BATCHES).ok().and_then(|batches| batches.parse().ok()).unwrap_or(10);
    let place = Place::new();
    match name {
        NOTHING => std::mem::forget(make(batches)),
        name => export(place.processor(name).as_ref(), make(batches)),
    }
}

fn instructions() {
    let (few, many) = (8, 40);
    let spans = ((many - few) * BATCH) as f64;
    let collected = |name| (collected(name, many) - collected(name, few)) / spans;
    let making = collected(NOTHING);
    let costs = EXPORTERS.map(|name| collected(name) - making);
    for (at, bench, against) in [
        (1, "client_cpu/instructions", "opentelemetry-otlp over gRPC into a sink, 8 attributes"),
        (
            2,
            "client_cpu/instructions/http",
            "opentelemetry-otlp over HTTP/protobuf into a sink, 8 attributes",
        ),
    ] {
        let ratio = rounded(costs[0] / costs[at]);
        Figure { bench, value: rounded(costs[0]), unit: "instructions/span", against, ratio, spread: None }
            .print();
    }
}

/// Instructions of this bench with one exporter and so many batches.
fn collected(name: &str, batches: usize) -> f64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().expect("the bench's own path"))
        .envs([(ONLY, name), (BATCHES, &batches.to_string())])
        .output()
        .expect("valgrind is installed");
    let report = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{report}");
    let count = report.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    count.unwrap_or_else(|| panic!("valgrind: {report}"))
}
