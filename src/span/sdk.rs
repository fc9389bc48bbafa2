//! From the SDK's `SpanData`.

use std::borrow::Cow;
use std::sync::Arc;

use opentelemetry::trace::{SpanKind, Status as SdkStatus, TraceState};
use opentelemetry::{Array, InstrumentationScope, KeyValue, Value as SdkValue};
use opentelemetry_sdk::trace::SpanData;

use super::model::{Attribute, Event, Link, Resource, Scope, Span, Status, StatusCode, Timestamp, Value};

/// The scopes of a batch, each converted once.
#[derive(Debug, Default)]
pub struct Scopes(Vec<(InstrumentationScope, Arc<Scope>)>);

impl Scopes {
    fn get(&mut self, scope: &InstrumentationScope) -> Arc<Scope> {
        if let Some((_, known)) =
            self.0.iter().rev().find(|(known, _)| known == scope && attributes_equal(known, scope))
        {
            return Arc::clone(known);
        }
        let converted = Arc::new(Scope {
            name: scope.name().to_owned(),
            version: scope.version().unwrap_or_default().to_owned(),
            attributes: super::model::owned_attributes(scope.attributes().map(attribute).collect()),
            dropped_attributes_count: 0,
            schema_url: scope.schema_url().unwrap_or_default().to_owned(),
        });
        self.0.push((scope.clone(), Arc::clone(&converted)));
        converted
    }
}

/// The SDK leaves the attributes' order out of its equality.
fn attributes_equal(a: &InstrumentationScope, b: &InstrumentationScope) -> bool {
    a.attributes().eq(b.attributes())
}

/// The SDK's resource. The SDK keeps no order of attributes; here they are sorted by key.
pub fn resource_from_sdk(resource: &opentelemetry_sdk::Resource) -> Resource {
    let mut attributes: Vec<Attribute<'static>> = resource
        .iter()
        .map(|(key, value)| (Cow::Owned(key.as_str().to_owned()), self::value(value).into_owned()))
        .collect();
    attributes.sort_by(|(a, _), (b, _)| a.cmp(b));
    Resource {
        attributes,
        dropped_attributes_count: 0,
        schema_url: resource.schema_url().unwrap_or_default().to_owned(),
    }
}

/// A finished span; its texts are borrowed.
pub fn span_from_sdk<'a>(data: &'a SpanData, resource: &Arc<Resource>, scopes: &mut Scopes) -> Span<'a> {
    Span {
        resource: Arc::clone(resource),
        scope: scopes.get(&data.instrumentation_scope),
        trace_id: data.span_context.trace_id(),
        span_id: data.span_context.span_id(),
        parent_span_id: data.parent_span_id,
        trace_state: trace_state(data.span_context.trace_state()),
        flags: flags(data.span_context.trace_flags().to_u8(), data.parent_span_is_remote),
        name: Cow::Borrowed(&data.name),
        kind: match data.span_kind {
            SpanKind::Internal => 1,
            SpanKind::Server => 2,
            SpanKind::Client => 3,
            SpanKind::Producer => 4,
            SpanKind::Consumer => 5,
        },
        start: Timestamp::from(data.start_time),
        end: Timestamp::from(data.end_time),
        attributes: data.attributes.iter().map(attribute).collect(),
        dropped_attributes_count: data.dropped_attributes_count,
        events: data
            .events
            .iter()
            .map(|event| Event {
                time: Timestamp::from(event.timestamp),
                name: Cow::Borrowed(&event.name),
                attributes: event.attributes.iter().map(attribute).collect(),
                dropped_attributes_count: event.dropped_attributes_count,
            })
            .collect(),
        dropped_events_count: data.events.dropped_count,
        links: data
            .links
            .iter()
            .map(|link| Link {
                trace_id: link.span_context.trace_id(),
                span_id: link.span_context.span_id(),
                trace_state: trace_state(link.span_context.trace_state()),
                flags: flags(link.span_context.trace_flags().to_u8(), link.span_context.is_remote()),
                attributes: link.attributes.iter().map(attribute).collect(),
                dropped_attributes_count: link.dropped_attributes_count,
            })
            .collect(),
        dropped_links_count: data.links.dropped_count,
        status: match &data.status {
            SdkStatus::Unset => Status::default(),
            SdkStatus::Ok => Status { code: StatusCode::OK, message: Cow::Borrowed("") },
            SdkStatus::Error { description } => {
                Status { code: StatusCode::ERROR, message: Cow::Borrowed(description) }
            }
        },
    }
}

/// OTLP's flags: bit 8 says that bit 9 is known, bit 9 that the parent or linked span is remote.
fn flags(trace_flags: u8, is_remote: bool) -> u32 {
    u32::from(trace_flags) | 0x100 | if is_remote { 0x200 } else { 0 }
}

fn trace_state(state: &TraceState) -> Cow<'static, str> {
    if *state == TraceState::NONE { Cow::Borrowed("") } else { Cow::Owned(state.header()) }
}

fn attribute(pair: &KeyValue) -> Attribute<'_> {
    (Cow::Borrowed(pair.key.as_str()), value(&pair.value))
}

fn value(value: &SdkValue) -> Value<'_> {
    match value {
        SdkValue::Bool(value) => Value::Bool(*value),
        SdkValue::I64(value) => Value::Int(*value),
        SdkValue::F64(value) => Value::Double(*value),
        SdkValue::String(value) => Value::String(Cow::Borrowed(value.as_str())),
        SdkValue::Array(Array::Bool(values)) => {
            Value::Array(values.iter().copied().map(Value::Bool).collect())
        }
        SdkValue::Array(Array::I64(values)) => Value::Array(values.iter().copied().map(Value::Int).collect()),
        SdkValue::Array(Array::F64(values)) => {
            Value::Array(values.iter().copied().map(Value::Double).collect())
        }
        SdkValue::Array(Array::String(values)) => {
            Value::Array(values.iter().map(|text| Value::String(Cow::Borrowed(text.as_str()))).collect())
        }
        // The API's enums may grow: a type that is not known yet is kept as its text.
        other => Value::String(Cow::Owned(other.to_string())),
    }
}
