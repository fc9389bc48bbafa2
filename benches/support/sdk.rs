//! Spans as the SDK hands them to an exporter.

use std::collections::HashMap;
use std::time::SystemTime;

use opentelemetry::trace::{Event, Link, SpanContext, SpanKind, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, Key, KeyValue, StringValue, Value as SdkValue};
use opentelemetry_pgvector::span::{Attribute, Scope, Span, StatusCode, Timestamp, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

/// Converts spans. Keys and scopes are `'static`, as instrumentations have them.
#[derive(Default)]
pub struct ToSdk(HashMap<String, &'static str>);

impl ToSdk {
    pub fn span(&mut self, span: &Span<'_>) -> SpanData {
        let mut events = SpanEvents::default();
        events.events = span
            .events
            .iter()
            .map(|event| {
                let attributes = self.attributes(&event.attributes);
                Event::new(
                    event.name.to_string(),
                    time(event.time),
                    attributes,
                    event.dropped_attributes_count,
                )
            })
            .collect();
        let mut links = SpanLinks::default();
        links.links = span
            .links
            .iter()
            .map(|link| {
                let context = SpanContext::new(
                    link.trace_id,
                    link.span_id,
                    TraceFlags::SAMPLED,
                    false,
                    TraceState::NONE,
                );
                Link::new(context, self.attributes(&link.attributes), link.dropped_attributes_count)
            })
            .collect();
        SpanData {
            span_context: SpanContext::new(
                span.trace_id,
                span.span_id,
                TraceFlags::SAMPLED,
                false,
                TraceState::NONE,
            ),
            parent_span_id: span.parent_span_id,
            parent_span_is_remote: span.flags & 0x200 != 0,
            span_kind: match span.kind {
                2 => SpanKind::Server,
                3 => SpanKind::Client,
                4 => SpanKind::Producer,
                5 => SpanKind::Consumer,
                _ => SpanKind::Internal,
            },
            name: span.name.to_string().into(),
            start_time: time(span.start),
            end_time: time(span.end),
            attributes: self.attributes(&span.attributes),
            dropped_attributes_count: span.dropped_attributes_count,
            events,
            links,
            status: match span.status.code {
                StatusCode::OK => Status::Ok,
                StatusCode::ERROR => Status::error(span.status.message.to_string()),
                _ => Status::Unset,
            },
            instrumentation_scope: self.scope(&span.scope),
        }
    }

    fn scope(&mut self, scope: &Scope) -> InstrumentationScope {
        let mut builder = InstrumentationScope::builder(self.interned(&scope.name));
        if !scope.version.is_empty() {
            builder = builder.with_version(self.interned(&scope.version));
        }
        builder.with_attributes(self.attributes(&scope.attributes)).build()
    }

    pub fn attributes(&mut self, attributes: &[Attribute<'_>]) -> Vec<KeyValue> {
        attributes
            .iter()
            .map(|(key, value)| KeyValue::new(Key::from_static_str(self.interned(key)), self::value(value)))
            .collect()
    }

    /// There are as few of these texts as an application has keys, so they may live for ever.
    fn interned(&mut self, text: &str) -> &'static str {
        match self.0.get(text) {
            Some(known) => known,
            None => {
                let leaked: &'static str = Box::leak(text.to_owned().into_boxed_str());
                self.0.insert(text.to_owned(), leaked);
                leaked
            }
        }
    }
}

/// The recordings hold texts, numbers and flags only; the SDK lacks types for the rest.
fn value(value: &Value<'_>) -> SdkValue {
    match value {
        Value::Bool(value) => SdkValue::Bool(*value),
        Value::Int(value) => SdkValue::I64(*value),
        Value::Double(value) => SdkValue::F64(*value),
        Value::String(text) => SdkValue::String(StringValue::from(text.to_string())),
        other => SdkValue::String(StringValue::from(format!("{other:?}"))),
    }
}

fn time(time: Timestamp) -> SystemTime {
    time.to_system_time().unwrap_or(SystemTime::UNIX_EPOCH)
}
