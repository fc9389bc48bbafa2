//! Spans as the SDK hands them over.

use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_pgvector::span::{Resource, Span, Timestamp, Value, spans_to_otlp};
use opentelemetry_sdk::trace::SpanData;
use prost::Message;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_128;

/// A span with ids of its own and a number in its attribute `load.sequence`.
pub fn numbered(sequence: i64) -> SpanData {
    let id = Uuid::new_v4().as_u128();
    let now = SystemTime::now();
    SpanData {
        span_context: SpanContext::new(
            TraceId::from(id),
            SpanId::from(id as u64),
            TraceFlags::SAMPLED,
            false,
            TraceState::NONE,
        ),
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Server,
        name: "check out".into(),
        start_time: now,
        end_time: now,
        attributes: vec![KeyValue::new("load.sequence", sequence)],
        dropped_attributes_count: 0,
        events: Default::default(),
        links: Default::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::builder("test").build(),
    }
}

/// Numbered spans.
pub fn batch(sequence: std::ops::Range<i64>) -> Vec<SpanData> {
    sequence.map(numbered).collect()
}

/// A file as `docs/spool.md` describes it, written by nothing else.
pub fn spool_file(id: Uuid, spans: &[Span<'_>]) -> Vec<u8> {
    let message = spans_to_otlp(spans).encode_to_vec();
    let (spans, bytes) = (spans.len(), message.len());
    let described = format!("otel-pgvector spool 1 id={id} spans={spans:010} bytes={bytes:020}");
    let checksum = xxh3_128(&[described.as_bytes(), &message].concat());
    [format!("{described} xxh3={checksum:032x}\n").as_bytes(), &message].concat()
}

/// Nanoseconds of a day.
pub const DAY: i128 = 24 * 3600 * 1_000_000_000;

/// Spans with ids of their own that started at noon (UTC) so many days after today, or before.
pub fn on_day(day: i128, count: usize) -> Vec<Span<'static>> {
    let now = SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_nanos() as i128;
    at((now.div_euclid(DAY) + day) * DAY + DAY / 2, count)
}

/// Spans with ids of their own that started so many nanoseconds after 1970.
pub fn at(start: i128, count: usize) -> Vec<Span<'static>> {
    let started = |_| {
        let id = Uuid::new_v4().as_u128();
        Span {
            trace_id: TraceId::from(id),
            span_id: SpanId::from(id as u64),
            name: "check out".into(),
            start: Timestamp(start),
            end: Timestamp(start + 1000),
            ..Span::default()
        }
    };
    (0..count).map(started).collect()
}

/// A service's resource.
pub fn service(name: &str) -> Arc<Resource> {
    let name = ("service.name".into(), Value::String(name.to_owned().into()));
    Arc::new(Resource { attributes: vec![name], ..Resource::default() })
}

/// A server's span without a parent, or a client's with one, that began some milliseconds after a minute ago.
pub fn call(
    trace: u128,
    id: u64,
    parent: u64,
    resource: &Arc<Resource>,
    name: &str,
    at: i128,
    took: i128,
) -> Span<'static> {
    static BEGIN: LazyLock<i128> = LazyLock::new(|| {
        SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_nanos() as i128 - 60_000_000_000
    });
    let start = *BEGIN + at * 1_000_000;
    Span {
        resource: Arc::clone(resource),
        trace_id: TraceId::from(trace),
        span_id: SpanId::from(id),
        parent_span_id: SpanId::from(parent),
        name: name.to_owned().into(),
        kind: if parent == 0 { 2 } else { 3 },
        start: Timestamp(start),
        end: Timestamp(start + took * 1_000_000),
        ..Span::default()
    }
}
