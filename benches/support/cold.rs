//! Spans that have nothing in common.

use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::random::Random;

/// Spans of which each has a name and a statement that no other has, so that each is a document.
pub fn batch(random: &mut Random, spans: usize) -> Vec<SpanData> {
    let trace_id = TraceId::from_bytes(random.uuid().into_bytes());
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_750_000_000);
    (0..spans)
        .map(|at| {
            let (table, column) = (random.word(7), random.word(5));
            let statement = format!("select {column}, total from {table} where id = {at}");
            SpanData {
                span_context: SpanContext::new(
                    trace_id,
                    SpanId::from_bytes(random.number().to_be_bytes()),
                    TraceFlags::SAMPLED,
                    false,
                    TraceState::NONE,
                ),
                parent_span_id: SpanId::INVALID,
                parent_span_is_remote: false,
                span_kind: SpanKind::Client,
                name: format!("SELECT {table}").into(),
                start_time: start + Duration::from_millis(at as u64),
                end_time: start + Duration::from_millis(at as u64 + 3),
                attributes: vec![
                    KeyValue::new("db.system.name", "postgresql"),
                    KeyValue::new("db.operation.name", "SELECT"),
                    KeyValue::new("db.collection.name", table),
                    KeyValue::new("db.query.text", statement),
                ],
                dropped_attributes_count: 0,
                events: SpanEvents::default(),
                links: SpanLinks::default(),
                status: Status::Unset,
                instrumentation_scope: InstrumentationScope::builder("cold").build(),
            }
        })
        .collect()
}
