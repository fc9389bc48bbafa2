//! The spans that are exported: a recording where there is one, invented ones otherwise.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanContext, TraceId};
use opentelemetry_pgvector::span::Span;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;

use super::sdk::ToSdk;
use super::shop::Shop;
use super::{has_flag, shared};

/// Spans in a batch: what the SDK's batch processor exports at most by default.
pub const BATCH: usize = 512;

/// Spans of one process, without end: after the last one they begin again, later and in other traces.
pub struct Traffic {
    /// Where the spans are from, for people.
    pub origin: &'static str,
    pub resource: Resource,
    spans: Vec<SpanData>,
    lasts: Duration,
}

impl Traffic {
    /// The recorded web application, or with `--generated` or without `../shared` the invented shop.
    pub fn open() -> Self {
        let messages = if has_flag("--generated") { None } else { shared::messages("datasette") };
        match messages {
            Some(messages) => Self::new("Datasette recording", &shared::spans(&messages)),
            None => Self::generated(),
        }
    }

    /// The invented shop.
    pub fn generated() -> Self {
        let (mut shop, mut spans) = (Shop::default(), Vec::new());
        while spans.len() < 50_000 {
            shop.trace(&mut spans);
        }
        Self::new("generated shop", &spans)
    }

    fn new(origin: &'static str, spans: &[Span<'_>]) -> Self {
        let mut to_sdk = ToSdk::default();
        let resource: Vec<KeyValue> = to_sdk.attributes(&spans[0].resource.attributes);
        let spans: Vec<SpanData> = spans.iter().map(|span| to_sdk.span(span)).collect();
        let first = spans.iter().map(|span| span.start_time).min();
        let last = spans.iter().map(|span| span.end_time).max();
        let lasts = first.zip(last).and_then(|(first, last)| last.duration_since(first).ok());
        Traffic {
            origin,
            resource: Resource::builder_empty().with_attributes(resource).build(),
            spans,
            lasts: lasts.unwrap_or_default(),
        }
    }

    /// One batch of many: the same number gives the same spans.
    pub fn batch(&self, number: usize) -> Vec<SpanData> {
        (number * BATCH..(number + 1) * BATCH).map(|at| self.span(at)).collect()
    }

    fn span(&self, at: usize) -> SpanData {
        let repetition = at / self.spans.len();
        let mut span = self.spans[at % self.spans.len()].clone();
        let context = &span.span_context;
        let trace_id = u128::from_be_bytes(context.trace_id().to_bytes()) ^ repetition as u128;
        span.span_context = SpanContext::new(
            TraceId::from_bytes(trace_id.to_be_bytes()),
            context.span_id(),
            context.trace_flags(),
            context.is_remote(),
            context.trace_state().clone(),
        );
        span.start_time += self.lasts * repetition as u32;
        span.end_time += self.lasts * repetition as u32;
        span
    }
}
