//! JSON to spans.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use opentelemetry::trace::{SpanId, TraceId};
use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::scalar::{Double, Integer, SpanKind, StatusCode, nullable};
use crate::span::{self, Attribute, Scope, Span, Status, Timestamp, Value};

/// The spans of a text with one or more `TracesData` (or `ExportTraceServiceRequest`, which looks the same).
///
/// A span that cannot be is an `Err` that says why; the others are not affected.
///
/// # Errors
/// Where the text is not JSON, or has other types than OTLP: nothing of it is read then.
pub fn read_spans(text: &[u8]) -> Result<Vec<Result<Span<'static>, String>>, String> {
    let mut spans = Vec::new();
    for document in serde_json::Deserializer::from_slice(text).into_iter::<TracesData>() {
        let document = document.map_err(|error| error.to_string())?;
        // Protobuf writes a message with nothing in it as `{}`; anything else without this field is something else.
        let Some(resource_spans) = document.resource_spans else {
            if text.iter().all(|byte| byte.is_ascii_whitespace() || matches!(byte, b'{' | b'}')) {
                continue;
            }
            return Err("has no field resourceSpans, so it is not OTLP traces".into());
        };
        resource_spans.into_iter().for_each(|message| spans_of(message, &mut spans));
    }
    Ok(spans)
}

/// Messages as in OTLP's protobuf, each field with its name there; serde knows it in camelCase, too.
macro_rules! messages {
    ($($message:ident { $($field:ident = $name:literal: $type:ty,)+ })+) => {$(
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct $message {
            $(#[serde(alias = $name, deserialize_with = "nullable")] $field: $type,)+
        }
    )+};
}

messages! {
    TracesData {
        resource_spans = "resource_spans": Option<Vec<ResourceSpans>>,
    }
    ResourceSpans {
        resource = "resource": ResourceMessage,
        scope_spans = "scope_spans": Vec<ScopeSpans>,
        schema_url = "schema_url": String,
    }
    ResourceMessage {
        attributes = "attributes": Vec<KeyValue>,
        dropped_attributes_count = "dropped_attributes_count": Integer<u32>,
    }
    ScopeSpans {
        scope = "scope": ScopeMessage,
        spans = "spans": Vec<SpanMessage>,
        schema_url = "schema_url": String,
    }
    ScopeMessage {
        name = "name": String,
        version = "version": String,
        attributes = "attributes": Vec<KeyValue>,
        dropped_attributes_count = "dropped_attributes_count": Integer<u32>,
    }
    SpanMessage {
        trace_id = "trace_id": String,
        span_id = "span_id": String,
        trace_state = "trace_state": String,
        parent_span_id = "parent_span_id": String,
        flags = "flags": Integer<u32>,
        name = "name": String,
        kind = "kind": SpanKind,
        start_time_unix_nano = "start_time_unix_nano": Integer<u64>,
        end_time_unix_nano = "end_time_unix_nano": Integer<u64>,
        attributes = "attributes": Vec<KeyValue>,
        dropped_attributes_count = "dropped_attributes_count": Integer<u32>,
        events = "events": Vec<Event>,
        dropped_events_count = "dropped_events_count": Integer<u32>,
        links = "links": Vec<Link>,
        dropped_links_count = "dropped_links_count": Integer<u32>,
        status = "status": StatusMessage,
    }
    Event {
        time_unix_nano = "time_unix_nano": Integer<u64>,
        name = "name": String,
        attributes = "attributes": Vec<KeyValue>,
        dropped_attributes_count = "dropped_attributes_count": Integer<u32>,
    }
    Link {
        trace_id = "trace_id": String,
        span_id = "span_id": String,
        trace_state = "trace_state": String,
        attributes = "attributes": Vec<KeyValue>,
        dropped_attributes_count = "dropped_attributes_count": Integer<u32>,
        flags = "flags": Integer<u32>,
    }
    StatusMessage {
        message = "message": String,
        code = "code": StatusCode,
    }
    KeyValue {
        key = "key": String,
        value = "value": AnyValue,
    }
    List {
        values = "values": Vec<AnyValue>,
    }
    KeyValueList {
        values = "values": Vec<KeyValue>,
    }
}

struct AnyValue(Value<'static>);

impl Default for AnyValue {
    fn default() -> Self {
        AnyValue(Value::Empty)
    }
}

impl<'de> Deserialize<'de> for AnyValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(AnyValueVisitor)
    }
}

struct AnyValueVisitor;

impl<'de> Visitor<'de> for AnyValueVisitor {
    type Value = AnyValue;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an attribute's value, such as {\"stringValue\": \"text\"}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<AnyValue, A::Error> {
        let mut any = Value::Empty;
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            let value = match key.as_ref() {
                "stringValue" | "string_value" => {
                    map.next_value::<Option<String>>()?.map(|text| Value::String(Cow::Owned(text)))
                }
                "boolValue" | "bool_value" => map.next_value::<Option<bool>>()?.map(Value::Bool),
                "intValue" | "int_value" => {
                    map.next_value::<Option<Integer<i64>>>()?.map(|number| Value::Int(number.0))
                }
                // Several exporters write a double that JSON has no number for as null.
                "doubleValue" | "double_value" => Some(Value::Double(
                    map.next_value::<Option<Double>>()?.map_or(f64::NAN, |number| number.0),
                )),
                "bytesValue" | "bytes_value" => {
                    map.next_value::<Option<Cow<'_, str>>>()?.map(|text| bytes(&text)).transpose()?
                }
                "arrayValue" | "array_value" => map
                    .next_value::<Option<List>>()?
                    .map(|list| Value::Array(list.values.into_iter().map(|any| any.0).collect())),
                "kvlistValue" | "kvlist_value" => map
                    .next_value::<Option<KeyValueList>>()?
                    .map(|list| Value::KeyValues(attributes(list.values))),
                _ => map.next_value::<IgnoredAny>().map(|_| None)?,
            };
            any = value.unwrap_or(any);
        }
        Ok(AnyValue(any))
    }
}

/// Base64 in either alphabet, with padding or without, as the mapping demands of a reader.
fn bytes<E: de::Error>(text: &str) -> Result<Value<'static>, E> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let alphabet = if text.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
    let decoded = GeneralPurpose::new(alphabet, config).decode(text);
    decoded
        .map(|bytes| Value::Bytes(Cow::Owned(bytes)))
        .map_err(|error| E::custom(format!("bytesValue: {error}")))
}

fn spans_of(message: ResourceSpans, spans: &mut Vec<Result<Span<'static>, String>>) {
    let resource = Arc::new(span::Resource {
        attributes: attributes(message.resource.attributes),
        dropped_attributes_count: message.resource.dropped_attributes_count.0,
        schema_url: message.schema_url,
    });
    for message in message.scope_spans {
        let scope = Arc::new(Scope {
            name: message.scope.name,
            version: message.scope.version,
            attributes: attributes(message.scope.attributes),
            dropped_attributes_count: message.scope.dropped_attributes_count.0,
            schema_url: message.schema_url,
        });
        spans.extend(message.spans.into_iter().map(|span| self::span(span, &resource, &scope)));
    }
}

fn span(
    span: SpanMessage,
    resource: &Arc<span::Resource>,
    scope: &Arc<Scope>,
) -> Result<Span<'static>, String> {
    Ok(Span {
        resource: Arc::clone(resource),
        scope: Arc::clone(scope),
        trace_id: TraceId::from_bytes(id("traceId", &span.trace_id)?),
        span_id: SpanId::from_bytes(id("spanId", &span.span_id)?),
        parent_span_id: SpanId::from_bytes(id("parentSpanId", &span.parent_span_id)?),
        trace_state: Cow::Owned(span.trace_state),
        flags: span.flags.0,
        name: Cow::Owned(span.name),
        kind: span.kind.0,
        start: Timestamp::from(span.start_time_unix_nano.0),
        end: Timestamp::from(span.end_time_unix_nano.0),
        attributes: attributes(span.attributes),
        dropped_attributes_count: span.dropped_attributes_count.0,
        events: span.events.into_iter().map(event).collect(),
        dropped_events_count: span.dropped_events_count.0,
        links: span.links.into_iter().map(link).collect::<Result<_, _>>()?,
        dropped_links_count: span.dropped_links_count.0,
        status: Status {
            code: span::StatusCode(span.status.code.0),
            message: Cow::Owned(span.status.message),
        },
    })
}

fn event(event: Event) -> span::Event<'static> {
    span::Event {
        time: Timestamp::from(event.time_unix_nano.0),
        name: Cow::Owned(event.name),
        attributes: attributes(event.attributes),
        dropped_attributes_count: event.dropped_attributes_count.0,
    }
}

fn link(link: Link) -> Result<span::Link<'static>, String> {
    Ok(span::Link {
        trace_id: TraceId::from_bytes(id("traceId of a link", &link.trace_id)?),
        span_id: SpanId::from_bytes(id("spanId of a link", &link.span_id)?),
        trace_state: Cow::Owned(link.trace_state),
        flags: link.flags.0,
        attributes: attributes(link.attributes),
        dropped_attributes_count: link.dropped_attributes_count.0,
    })
}

fn attributes(pairs: Vec<KeyValue>) -> Vec<Attribute<'static>> {
    pairs.into_iter().map(|pair| (Cow::Owned(pair.key), pair.value.0)).collect()
}

/// An absent id is the invalid one, all zero.
fn id<const N: usize>(field: &str, text: &str) -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    if text.is_empty() {
        return Ok(bytes);
    }
    let wrong = || format!("{field} {text:?} is not {} hexadecimal digits", 2 * N);
    let digits = text.as_bytes().chunks_exact(2);
    if text.len() != 2 * N {
        return Err(wrong());
    }
    for (byte, pair) in bytes.iter_mut().zip(digits) {
        let digit =
            |at: usize| pair.get(at).and_then(|&digit| char::from(digit).to_digit(16)).ok_or_else(wrong);
        *byte = (digit(0)? << 4 | digit(1)?) as u8;
    }
    Ok(bytes)
}
