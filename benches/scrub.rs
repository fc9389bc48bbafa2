//! What redaction costs: the default rules over spans of eight attributes, none of which is a secret, and one of which is.
//!
//! `cargo bench --bench scrub [-- --quick]`. No database is needed, so this is what to profile.

mod support;

use std::borrow::Cow;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_pgvector::Settings;
use opentelemetry_pgvector::span::{Resource, Scopes, Scrubber, Span, resource_from_sdk, span_from_sdk};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use support::figure::{Round, print_rounds};
use support::process::work_time;
use support::traffic::BATCH;

const BATCHES: usize = 200;

fn main() {
    let scrubber = Scrubber::new(&Settings::default()).expect("valid settings");
    let resource = Arc::new(resource_from_sdk(&opentelemetry_sdk::Resource::builder().build()));
    for (bench, last) in [
        ("scrub, no secret", KeyValue::new("user_agent.original", "curl/8.5.0")),
        ("scrub, a URL with a query", KeyValue::new("url.full", "https://shop.example/orders?id=7&page=2")),
        ("scrub, one secret", KeyValue::new("http.request.header.authorization", "Bearer abc")),
    ] {
        let batch: Vec<SpanData> = (0..BATCH as u64).map(|id| span(id + 1, last.clone())).collect();
        let rounds: Vec<Round> = (0..if support::is_quick() { 2 } else { 9 })
            .map(|_| round(&scrubber, &resource, &batch))
            .collect();
        // The first round decides the keys.
        print_rounds(bench, "ns/span", "conversion from SpanData of 8 attributes", &rounds[1..]);
    }
}

fn round(scrubber: &Scrubber, resource: &Arc<Resource>, batch: &[SpanData]) -> Round {
    let (mut converting, mut scrubbing) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..BATCHES {
        let start = work_time();
        let mut spans = convert(batch, resource);
        converting += work_time().saturating_sub(start);
        let start = work_time();
        scrub(scrubber, &mut spans);
        scrubbing += work_time().saturating_sub(start);
        black_box(spans);
    }
    let nanoseconds = |time: Duration| time.as_nanos() as f64 / (BATCHES * BATCH) as f64;
    Round { value: nanoseconds(scrubbing), against: nanoseconds(converting) }
}

// Not inlined, so that a profile shows the two.
#[inline(never)]
fn convert<'a>(batch: &'a [SpanData], resource: &Arc<Resource>) -> Vec<Span<'a>> {
    let mut scopes = Scopes::default();
    batch.iter().map(|data| span_from_sdk(data, resource, &mut scopes)).collect()
}

#[inline(never)]
fn scrub(scrubber: &Scrubber, spans: &mut [Span<'_>]) {
    black_box(scrubber.scrub(spans));
}

fn span(id: u64, last: KeyValue) -> SpanData {
    let context = SpanContext::new(
        TraceId::from(u128::from(id)),
        SpanId::from(id),
        TraceFlags::SAMPLED,
        false,
        TraceState::NONE,
    );
    let end_time = std::time::SystemTime::now();
    SpanData {
        span_context: context,
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Server,
        name: Cow::Borrowed("GET /orders/{id}"),
        start_time: end_time - Duration::from_millis(3),
        end_time,
        attributes: vec![
            KeyValue::new("http.request.method", "GET"),
            KeyValue::new("http.response.status_code", 200),
            KeyValue::new("http.route", "/orders/{id}"),
            KeyValue::new("server.address", "shop.example"),
            KeyValue::new("server.port", 443),
            KeyValue::new("network.protocol.version", "1.1"),
            KeyValue::new("client.address", "203.0.113.7"),
            last,
        ],
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::builder("bench").build(),
    }
}
