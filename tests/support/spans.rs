//! Spans as the SDK hands them over.

use std::time::SystemTime;

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::SpanData;

/// A span with ids of its own and a number in its attribute `load.sequence`.
pub fn numbered(sequence: i64) -> SpanData {
    let id = uuid::Uuid::new_v4().as_u128();
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
