//! Allocations a span on the way from the processor to the commit, against opentelemetry-otlp over gRPC.
//!
//! `cargo bench --bench allocations [-- --quick]`, on the server that `OTEL_TEST_DATABASE_URL` names.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry_otlp::WithExportConfig;
use opentelemetry_pgvector::SpanExporter;
use opentelemetry_sdk::trace::SpanExporter as Exporter;
use support::database::TestDatabase;
use support::figure::{Round, print_rounds};
use support::random::Random;
use support::sink::{Sink, was_sink};
use support::traffic::{BATCH, Traffic};
use support::{eight, is_quick};
use tokio::runtime::Runtime;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is the system's own, with its own arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn main() {
    if was_sink() {
        return;
    }
    let runtime = Runtime::new().expect("a runtime");
    let batches = if is_quick() { 10 } else { 50 };
    let sink = Sink::start();
    let database = runtime.block_on(TestDatabase::create());
    let mut settings = database.settings();
    // The model's allocations are a document's, not a span's.
    settings.embedding_model = "/nonexistent/model".into();
    settings.embedding_budget_milliseconds = 0;
    let mut exporter = SpanExporter::from_settings(settings).expect("valid settings");
    let _inside = runtime.enter();
    let otlp = opentelemetry_otlp::SpanExporter::builder().with_tonic().with_endpoint(&sink.grpc);
    let otlp = otlp.build().expect("an exporter");
    let traffic = Traffic::open();
    let mut random = Random(7);
    let eight: Vec<_> = (0..batches).map(|_| eight::spans(&mut random, BATCH)).collect();
    let recorded: Vec<_> = (0..batches).map(|number| traffic.batch(number)).collect();
    let recorded_name = format!("allocations/{}", traffic.origin.replace(' ', "_"));
    exporter.set_resource(&traffic.resource);
    for (bench, spans) in [("allocations", eight), (&recorded_name, recorded)] {
        let run = |exporter: &dyn Fn(Vec<_>)| {
            let spans = spans.clone();
            let before = ALLOCATIONS.load(Ordering::Relaxed);
            spans.into_iter().for_each(exporter);
            (ALLOCATIONS.load(Ordering::Relaxed) - before) as f64 / (batches * BATCH) as f64
        };
        let ours = |spans| export(&runtime, &exporter, spans);
        let others = |spans| export(&runtime, &otlp, spans);
        // Documents become known, connections are opened.
        run(&ours);
        run(&others);
        let rounds: Vec<Round> = (0..3).map(|_| Round { value: run(&ours), against: run(&others) }).collect();
        print_rounds(bench, "allocations/span", "opentelemetry-otlp over gRPC", &rounds);
    }
}

fn export(runtime: &Runtime, exporter: &impl Exporter, spans: Vec<opentelemetry_sdk::trace::SpanData>) {
    runtime.block_on(exporter.export(spans)).expect("the batch is exported");
}
