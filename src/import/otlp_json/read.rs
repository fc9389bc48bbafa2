//! JSON to spans.

use std::borrow::Cow;
use std::sync::Arc;

use opentelemetry::trace::{SpanId, TraceId};
use serde::Deserialize;

use super::any_value::{KeyValue, attributes, base64};
use super::scalar::{Integer, SpanKind, StatusCode, nullable};
use super::surrogates;
use crate::import::reason::shortened;
use crate::span::{self, Scope, Span, Status, Timestamp};

/// The spans of a text with one or more `TracesData` (or `ExportTraceServiceRequest`, which looks the same).
///
/// A span that cannot be is an `Err` that says why; the others are not affected. Half a character, which JavaScript writes
/// where it cuts a text (`"\ud83d"`), becomes U+FFFD.
///
/// # Errors
/// Where the text is not JSON, or has other types than OTLP: nothing of it is read then.
pub fn read_spans(text: &[u8]) -> Result<Vec<Result<Span<'static>, String>>, String> {
    read(text)
        .or_else(|reason| surrogates::mended(text).map_or(Err(reason), |text| read(&text)))
        .map(|spans| spans.into_iter().map(|span| span.map_err(shortened)).collect())
        .map_err(shortened)
}

fn read(text: &[u8]) -> Result<Vec<Result<Span<'static>, String>>, String> {
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

/// Messages as in OTLP's protobuf, each field with its name there, and with those that it had before 1.0; serde knows it
/// in camelCase, too.
macro_rules! messages {
    ($($message:ident { $($field:ident = $($name:literal)|+: $type:ty,)+ })+) => {$(
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        pub(in crate::import) struct $message {
            $(#[serde($(alias = $name),+, deserialize_with = "nullable")] $field: $type,)+
        }
    )+};
}

messages! {
    TracesData {
        resource_spans = "resource_spans" | "batches": Option<Vec<ResourceSpans>>,
    }
    ResourceSpans {
        resource = "resource": ResourceMessage,
        scope_spans = "scope_spans" | "instrumentationLibrarySpans" | "instrumentation_library_spans": Vec<ScopeSpans>,
        schema_url = "schema_url": String,
    }
    ResourceMessage {
        attributes = "attributes": Vec<KeyValue>,
        dropped_attributes_count = "dropped_attributes_count": Integer<u32>,
    }
    ScopeSpans {
        scope = "scope" | "instrumentationLibrary" | "instrumentation_library": ScopeMessage,
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
}

pub(in crate::import) fn spans_of(message: ResourceSpans, spans: &mut Vec<Result<Span<'static>, String>>) {
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

/// An absent id is the invalid one, all zero. OTLP has ids in hexadecimal; protobuf's JSON mapping by itself, and so
/// Tempo, in base64, which has another length.
fn id<const N: usize>(field: &str, text: &str) -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    if text.is_empty() {
        return Ok(bytes);
    }
    let wrong = || format!("{field} {text:?} is not {} hexadecimal digits", 2 * N);
    let digits = text.as_bytes().chunks_exact(2);
    if text.len() != 2 * N {
        return base64(text).and_then(|id| id.try_into().ok()).ok_or_else(wrong);
    }
    for (byte, pair) in bytes.iter_mut().zip(digits) {
        let digit =
            |at: usize| pair.get(at).and_then(|&digit| char::from(digit).to_digit(16)).ok_or_else(wrong);
        *byte = (digit(0)? << 4 | digit(1)?) as u8;
    }
    Ok(bytes)
}
