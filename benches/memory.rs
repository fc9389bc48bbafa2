//! Memory that the exporter adds to a service: idle, under 20,000 spans a second, and while the database is away and the
//! queue is full. Against the same service with an exporter that throws spans away.
//!
//! `cargo bench --bench memory [-- --quick]`, on the server that `OTEL_TEST_DATABASE_URL` names. Linux only.

mod support;

use std::time::{Duration, Instant};

use opentelemetry::Context;
use opentelemetry::trace::{Span as _, SpanBuilder, Tracer as _, TracerProvider as _};
use opentelemetry_pgvector::SpanExporter as StoringExporter;
use opentelemetry_pgvector::exporter::ExporterHandle;
use opentelemetry_pgvector::settings::Settings;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SdkTracer, SdkTracerProvider, SpanData, SpanExporter};
use support::child::{self, Child};
use support::database::TestDatabase;
use support::figure::{Figure, rounded};
use support::is_quick;
use support::process::resident_mib;
use support::sdk::ToSdk;
use support::shop::{Shop, resource};

const SPANS_PER_SECOND: usize = 20_000;
/// Spans end in bursts of this length.
const TICK: Duration = Duration::from_millis(10);

fn main() {
    if resident_mib().is_none() {
        eprintln!("skipped: only Linux tells how much memory a process has");
        return;
    }
    if let Some((role, settings)) = child::role() {
        return Service::new(&role, settings).serve();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let database = runtime.block_on(TestDatabase::create());
    let bound = Settings::default().queue_mebibytes as f64;
    let mut without = Child::start("none", &database.url());
    let mut with = Child::start("exporter", &database.url());
    for (phase, allowed) in [("started", 0.0), ("idle", 0.0), ("load", 0.0), ("outage", bound)] {
        if phase == "outage" {
            runtime.block_on(database.take_away());
        }
        let without: f64 = without.ask(phase);
        let with: f64 = with.ask(phase);
        Figure {
            bench: &format!("memory/{phase}"),
            value: rounded(with - without - allowed),
            unit: "MiB",
            against: &format!(
                "the same service with a no-op exporter, {without:.0} MiB, and the queue's bound, {allowed} MiB"
            ),
            ratio: rounded(with / (without + allowed)),
            spread: None,
        }
        .print();
    }
    runtime.block_on(database.bring_back());
}

/// Throws spans away.
#[derive(Debug)]
struct NoExporter;

impl SpanExporter for NoExporter {
    async fn export(&self, _batch: Vec<SpanData>) -> OTelSdkResult {
        Ok(())
    }
}

/// A service that does nothing but end spans.
struct Service {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    handle: Option<ExporterHandle>,
    /// The spans of some seconds; few, since what their making frees would be there for the exporter to use.
    spans: Vec<SpanData>,
    next: usize,
}

impl Service {
    fn new(role: &str, settings: Settings) -> Service {
        let (mut shop, mut spans) = (Shop::default(), Vec::new());
        while spans.len() < 2_000 {
            shop.trace(&mut spans);
        }
        let mut to_sdk = ToSdk::default();
        let attributes = to_sdk.attributes(&resource("shop").attributes);
        let spans = spans.iter().map(|span| to_sdk.span(span)).collect();
        let builder = SdkTracerProvider::builder()
            .with_resource(opentelemetry_sdk::Resource::builder_empty().with_attributes(attributes).build());
        let (builder, handle) = if role == "none" {
            (builder.with_span_processor(BatchSpanProcessor::builder(NoExporter).build()), None)
        } else {
            let processor = StoringExporter::processor(settings).expect("valid settings");
            let handle = processor.handle();
            (builder.with_span_processor(processor), Some(handle))
        };
        let provider = builder.build();
        Service { tracer: provider.tracer("shop"), provider, handle, spans, next: 0 }
    }

    /// Answers with the most memory, in MiB, that the phase took.
    fn serve(mut self) {
        let seconds = if is_quick() { 5 } else { 30 };
        child::answer_each(|phase| match phase {
            "started" => resident_mib(),
            // Every operation was there, is stored and embedded.
            "idle" => {
                self.end_spans(self.spans.len());
                self.provider.force_flush().expect("the database answers");
                std::thread::sleep(Duration::from_secs(1));
                resident_mib()
            }
            "load" => self.work_for(Duration::from_secs(seconds)),
            _ => {
                let queue_fills = Instant::now();
                while self.handle.as_ref().is_some_and(|handle| handle.status().dropped == 0) {
                    self.work_for(Duration::from_millis(500));
                    assert!(queue_fills.elapsed() < Duration::from_secs(60), "the queue does not fill");
                }
                self.work_for(Duration::from_secs(seconds))
            }
        });
        // What waits has nowhere to go.
        std::process::exit(0);
    }

    /// Ends spans at the given rate; returns the most memory meanwhile.
    fn work_for(&mut self, time: Duration) -> Option<f64> {
        let (start, mut most) = (Instant::now(), 0.0_f64);
        for tick in 1.. {
            self.end_spans(SPANS_PER_SECOND * TICK.as_millis() as usize / 1000);
            most = most.max(resident_mib().unwrap_or(0.0));
            if start.elapsed() >= time {
                break;
            }
            std::thread::sleep((TICK * tick).saturating_sub(start.elapsed()));
        }
        Some(most)
    }

    fn end_spans(&mut self, count: usize) {
        for _ in 0..count {
            let span = &self.spans[self.next % self.spans.len()];
            self.next += 1;
            let builder = SpanBuilder::from_name(span.name.clone())
                .with_kind(span.span_kind.clone())
                .with_attributes(span.attributes.clone());
            self.tracer.build_with_context(builder, &Context::new()).end();
        }
    }
}
