//! What the exporter adds to spans on the application's threads: their CPU time from the start to the end of a span, with a
//! batch processor before this exporter, and before one that does nothing.
//!
//! `cargo bench --bench hot_path [-- --quick]`, on the server that `OTEL_TEST_DATABASE_URL` names.

mod support;

use std::time::Duration;

use opentelemetry::trace::{SpanBuilder, SpanKind, Tracer, TracerProvider};
use opentelemetry_pgvector::SpanExporter;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, SdkTracerProvider, SpanData, SpanExporter as Exporter, SpanProcessor,
};
use support::database::TestDatabase;
use support::figure::{Round, print_rounds};
use support::process::thread_time;
use support::random::Random;
use support::{eight, is_quick};

/// Spans that end in a burst, and the pause after it: some 50,000 spans/s.
const BURST: usize = 256;
const PAUSE: Duration = Duration::from_millis(5);

fn main() {
    let (rounds, bursts) = if is_quick() { (3, 100) } else { (9, 800) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let database = runtime.block_on(TestDatabase::create());
    let mut settings = database.settings();
    settings.batch_size = 512;
    let config = || settings.batch_config();
    let plain = SpanExporter::from_settings(settings.clone()).expect("valid settings");
    let processor = SpanExporter::processor(settings.clone()).expect("valid settings");
    let nothing = BatchSpanProcessor::builder(Nothing).with_batch_config(config()).build();
    let nothing = provider(nothing);
    let sides = [
        ("hot_path", provider(processor)),
        (
            "hot_path/batch_exporter",
            provider(BatchSpanProcessor::builder(plain).with_batch_config(config()).build()),
        ),
    ];
    for (bench, ours) in &sides {
        // Documents become known.
        nanoseconds(ours, 20);
        let _ = ours.force_flush();
        let rounds: Vec<Round> = (0..rounds)
            .map(|_| Round { value: nanoseconds(ours, bursts), against: nanoseconds(&nothing, bursts) })
            .collect();
        print_rounds(bench, "ns/span", "an exporter that does nothing, behind the same processor", &rounds);
    }
}

fn provider(processor: impl SpanProcessor + 'static) -> SdkTracerProvider {
    SdkTracerProvider::builder().with_span_processor(processor).build()
}

/// CPU time of this thread from the start to the end of a span with eight attributes.
fn nanoseconds(provider: &SdkTracerProvider, bursts: usize) -> f64 {
    let tracer = provider.tracer("http");
    let mut random = Random(11);
    let mut spent = Duration::ZERO;
    for _ in 0..bursts {
        let attributes: Vec<_> = (0..BURST).map(|_| eight::attributes(&mut random)).collect();
        let begin = thread_time();
        for attributes in attributes {
            let builder = SpanBuilder::from_name("GET").with_kind(SpanKind::Server);
            drop(tracer.build(builder.with_attributes(attributes)));
        }
        spent += thread_time() - begin;
        std::thread::sleep(PAUSE);
    }
    spent.as_nanos() as f64 / (bursts * BURST) as f64
}

#[derive(Debug)]
struct Nothing;

impl Exporter for Nothing {
    async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
        Ok(())
    }
}
