//! From OTLP's messages, and back to them.

use std::borrow::Cow;
use std::sync::Arc;

use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value::Value as Any,
};
use opentelemetry_proto::tonic::resource::v1::Resource as OtlpResource;
use opentelemetry_proto::tonic::trace::v1 as otlp;

use super::distinct::Distinct;
use super::model::{Attribute, Event, Link, Resource, Scope, Span, Status, StatusCode, Timestamp, Value};

/// The spans of an OTLP message; its texts are borrowed.
///
/// A span whose ids are neither absent nor of the right length is an `Err` that says so; the others are not affected.
pub fn spans_from_otlp(message: &otlp::ResourceSpans) -> Vec<Result<Span<'_>, String>> {
    let resource = Arc::new(resource(message));
    let mut spans = Vec::with_capacity(message.scope_spans.iter().map(|scope| scope.spans.len()).sum());
    for scope_spans in &message.scope_spans {
        let scope = Arc::new(scope(scope_spans));
        spans.extend(scope_spans.spans.iter().map(|span| self::span(span, &resource, &scope)));
    }
    spans
}

/// Spans as one OTLP message: the spans of a resource and scope are together, in the order of their first span.
///
/// Times that OTLP cannot hold (before 1970, after 2554) are limited to what it can.
pub fn spans_to_otlp(spans: &[Span<'_>]) -> otlp::TracesData {
    let mut resources = Distinct::default();
    let mut messages: Vec<(Distinct<'_, Scope>, otlp::ResourceSpans)> = Vec::new();
    for span in spans {
        let resource = resources.number(&span.resource);
        if resource == messages.len() {
            messages.push((Distinct::default(), resource_spans(&span.resource)));
        }
        let Some((scopes, message)) = messages.get_mut(resource) else { continue };
        let scope = scopes.number(&span.scope);
        if scope == message.scope_spans.len() {
            message.scope_spans.push(otlp::ScopeSpans {
                scope: Some(scope_to_otlp(&span.scope)),
                spans: Vec::new(),
                schema_url: span.scope.schema_url.clone(),
            });
        }
        if let Some(scope_spans) = message.scope_spans.get_mut(scope) {
            scope_spans.spans.push(span_to_otlp(span));
        }
    }
    otlp::TracesData { resource_spans: messages.into_iter().map(|(_, message)| message).collect() }
}

fn resource(message: &otlp::ResourceSpans) -> Resource {
    let (attributes, dropped) = match &message.resource {
        Some(resource) => (attributes(&resource.attributes), resource.dropped_attributes_count),
        None => (Vec::new(), 0),
    };
    Resource {
        attributes: super::model::owned_attributes(attributes),
        dropped_attributes_count: dropped,
        schema_url: message.schema_url.clone(),
    }
}

fn scope(message: &otlp::ScopeSpans) -> Scope {
    let empty = InstrumentationScope::default();
    let scope = message.scope.as_ref().unwrap_or(&empty);
    Scope {
        name: scope.name.clone(),
        version: scope.version.clone(),
        attributes: super::model::owned_attributes(attributes(&scope.attributes)),
        dropped_attributes_count: scope.dropped_attributes_count,
        schema_url: message.schema_url.clone(),
    }
}

fn span<'a>(span: &'a otlp::Span, resource: &Arc<Resource>, scope: &Arc<Scope>) -> Result<Span<'a>, String> {
    Ok(Span {
        resource: Arc::clone(resource),
        scope: Arc::clone(scope),
        trace_id: TraceId::from_bytes(id("traceId", &span.trace_id)?),
        span_id: SpanId::from_bytes(id("spanId", &span.span_id)?),
        parent_span_id: SpanId::from_bytes(id("parentSpanId", &span.parent_span_id)?),
        trace_state: Cow::Borrowed(&span.trace_state),
        flags: span.flags,
        name: Cow::Borrowed(&span.name),
        kind: span.kind,
        start: Timestamp::from(span.start_time_unix_nano),
        end: Timestamp::from(span.end_time_unix_nano),
        attributes: attributes(&span.attributes),
        dropped_attributes_count: span.dropped_attributes_count,
        events: span
            .events
            .iter()
            .map(|event| Event {
                time: Timestamp::from(event.time_unix_nano),
                name: Cow::Borrowed(&event.name),
                attributes: attributes(&event.attributes),
                dropped_attributes_count: event.dropped_attributes_count,
            })
            .collect(),
        dropped_events_count: span.dropped_events_count,
        links: span.links.iter().map(link).collect::<Result<_, _>>()?,
        dropped_links_count: span.dropped_links_count,
        status: match &span.status {
            Some(status) => {
                Status { code: StatusCode(status.code), message: Cow::Borrowed(status.message.as_str()) }
            }
            None => Status::default(),
        },
    })
}

fn link(link: &otlp::span::Link) -> Result<Link<'_>, String> {
    Ok(Link {
        trace_id: TraceId::from_bytes(id("traceId of a link", &link.trace_id)?),
        span_id: SpanId::from_bytes(id("spanId of a link", &link.span_id)?),
        trace_state: Cow::Borrowed(&link.trace_state),
        flags: link.flags,
        attributes: attributes(&link.attributes),
        dropped_attributes_count: link.dropped_attributes_count,
    })
}

/// An absent id is the invalid one, all zero.
fn id<const N: usize>(field: &str, bytes: &[u8]) -> Result<[u8; N], String> {
    if bytes.is_empty() {
        return Ok([0; N]);
    }
    bytes.try_into().map_err(|_| format!("{field} has {} bytes instead of {N}", bytes.len()))
}

fn attributes(pairs: &[KeyValue]) -> Vec<Attribute<'_>> {
    pairs.iter().map(|pair| (Cow::Borrowed(pair.key.as_str()), value(pair.value.as_ref()))).collect()
}

fn value(any: Option<&AnyValue>) -> Value<'_> {
    match any.and_then(|any| any.value.as_ref()) {
        Some(Any::BoolValue(value)) => Value::Bool(*value),
        Some(Any::IntValue(value)) => Value::Int(*value),
        Some(Any::DoubleValue(value)) => Value::Double(*value),
        Some(Any::StringValue(value)) => Value::String(Cow::Borrowed(value)),
        Some(Any::BytesValue(value)) => Value::Bytes(Cow::Borrowed(value)),
        Some(Any::ArrayValue(list)) => Value::Array(list.values.iter().map(|any| value(Some(any))).collect()),
        Some(Any::KvlistValue(list)) => Value::KeyValues(attributes(&list.values)),
        // Indices into a string table exist in profiles only; a span has no such table.
        Some(Any::StringValueStrindex(_)) | None => Value::Empty,
    }
}

fn resource_spans(resource: &Resource) -> otlp::ResourceSpans {
    otlp::ResourceSpans {
        resource: Some(OtlpResource {
            attributes: attributes_to_otlp(&resource.attributes),
            dropped_attributes_count: resource.dropped_attributes_count,
            entity_refs: Vec::new(),
        }),
        scope_spans: Vec::new(),
        schema_url: resource.schema_url.clone(),
    }
}

fn scope_to_otlp(scope: &Scope) -> InstrumentationScope {
    InstrumentationScope {
        name: scope.name.clone(),
        version: scope.version.clone(),
        attributes: attributes_to_otlp(&scope.attributes),
        dropped_attributes_count: scope.dropped_attributes_count,
    }
}

fn span_to_otlp(span: &Span<'_>) -> otlp::Span {
    otlp::Span {
        trace_id: span.trace_id.to_bytes().to_vec(),
        span_id: span.span_id.to_bytes().to_vec(),
        trace_state: span.trace_state.to_string(),
        parent_span_id: if span.parent_span_id == SpanId::INVALID {
            Vec::new()
        } else {
            span.parent_span_id.to_bytes().to_vec()
        },
        flags: span.flags,
        name: span.name.to_string(),
        kind: span.kind,
        start_time_unix_nano: span.start.to_otlp(),
        end_time_unix_nano: span.end.to_otlp(),
        attributes: attributes_to_otlp(&span.attributes),
        dropped_attributes_count: span.dropped_attributes_count,
        events: span
            .events
            .iter()
            .map(|event| otlp::span::Event {
                time_unix_nano: event.time.to_otlp(),
                name: event.name.to_string(),
                attributes: attributes_to_otlp(&event.attributes),
                dropped_attributes_count: event.dropped_attributes_count,
            })
            .collect(),
        dropped_events_count: span.dropped_events_count,
        links: span
            .links
            .iter()
            .map(|link| otlp::span::Link {
                trace_id: link.trace_id.to_bytes().to_vec(),
                span_id: link.span_id.to_bytes().to_vec(),
                trace_state: link.trace_state.to_string(),
                attributes: attributes_to_otlp(&link.attributes),
                dropped_attributes_count: link.dropped_attributes_count,
                flags: link.flags,
            })
            .collect(),
        dropped_links_count: span.dropped_links_count,
        status: Some(otlp::Status { message: span.status.message.to_string(), code: span.status.code.0 }),
    }
}

fn attributes_to_otlp(attributes: &[Attribute<'_>]) -> Vec<KeyValue> {
    attributes
        .iter()
        .map(|(key, value)| KeyValue {
            key: key.to_string(),
            value: Some(value_to_otlp(value)),
            key_strindex: 0,
        })
        .collect()
}

fn value_to_otlp(value: &Value<'_>) -> AnyValue {
    let value = match value {
        Value::Empty => None,
        Value::Bool(value) => Some(Any::BoolValue(*value)),
        Value::Int(value) => Some(Any::IntValue(*value)),
        Value::Double(value) => Some(Any::DoubleValue(*value)),
        Value::String(value) => Some(Any::StringValue(value.to_string())),
        Value::Bytes(value) => Some(Any::BytesValue(value.to_vec())),
        Value::Array(values) => {
            Some(Any::ArrayValue(ArrayValue { values: values.iter().map(value_to_otlp).collect() }))
        }
        Value::KeyValues(pairs) => Some(Any::KvlistValue(KeyValueList { values: attributes_to_otlp(pairs) })),
    };
    AnyValue { value }
}
