//! Spans to JSON.

use std::io;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use opentelemetry::trace::SpanId;
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::span::{Attribute, Distinct, Event, Link, Resource, Scope, Span, Status, Timestamp, Value};

/// Writes spans as one `TracesData` in one line, without a line end.
///
/// The spans of a resource and scope are together, in the order of their first span. Times that OTLP cannot hold
/// (before 1970, after 2554) are limited to what it can.
///
/// # Errors
/// The writer's.
pub fn write_spans(writer: impl io::Write, spans: &[Span<'_>]) -> io::Result<()> {
    Ok(serde_json::to_writer(writer, &TracesData(spans))?)
}

/// A part of a message, written as OTLP has it.
struct Json<T>(T);

/// A message that is written as an array of messages; absent where there is none.
fn list<M: SerializeMap, T>(fields: &mut M, name: &'static str, items: &[T]) -> Result<(), M::Error>
where
    for<'a> Json<&'a T>: Serialize,
{
    if items.is_empty() {
        return Ok(());
    }
    fields.serialize_entry(name, &items.iter().map(Json).collect::<Vec<_>>())
}

/// A field that is absent when it has its default.
fn field<M, T>(fields: &mut M, name: &'static str, value: T) -> Result<(), M::Error>
where
    M: SerializeMap,
    T: Serialize + Default + PartialEq,
{
    if value == T::default() { Ok(()) } else { fields.serialize_entry(name, &value) }
}

type ScopeSpans<'a> = (&'a Scope, Vec<&'a Span<'a>>);
type ResourceSpans<'a> = (&'a Resource, Vec<ScopeSpans<'a>>);

struct TracesData<'a>(&'a [Span<'a>]);

impl Serialize for TracesData<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut resources: Vec<(ResourceSpans<'_>, Distinct<'_, Scope>)> = Vec::new();
        let mut known = Distinct::default();
        for span in self.0 {
            let at = known.number(&span.resource);
            if at == resources.len() {
                resources.push(((&span.resource, Vec::new()), Distinct::default()));
            }
            let ((_, scopes), known) = &mut resources[at];
            let at = known.number(&span.scope);
            if at == scopes.len() {
                scopes.push((&span.scope, Vec::new()));
            }
            scopes[at].1.push(span);
        }
        let resources: Vec<_> = resources.iter().map(|(resource, _)| Json(resource)).collect();
        let mut fields = serializer.serialize_map(None)?;
        fields.serialize_entry("resourceSpans", &resources)?;
        fields.end()
    }
}

impl Serialize for Json<&ResourceSpans<'_>> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (resource, scopes) = self.0;
        let mut fields = serializer.serialize_map(None)?;
        fields.serialize_entry("resource", &Json(*resource))?;
        list(&mut fields, "scopeSpans", scopes)?;
        field(&mut fields, "schemaUrl", resource.schema_url.as_str())?;
        fields.end()
    }
}

impl Serialize for Json<&Resource> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_map(None)?;
        list(&mut fields, "attributes", &self.0.attributes)?;
        field(&mut fields, "droppedAttributesCount", self.0.dropped_attributes_count)?;
        fields.end()
    }
}

impl Serialize for Json<&ScopeSpans<'_>> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (scope, spans) = self.0;
        let mut fields = serializer.serialize_map(None)?;
        fields.serialize_entry("scope", &Json(*scope))?;
        fields.serialize_entry("spans", &spans.iter().map(|span| Json(*span)).collect::<Vec<_>>())?;
        field(&mut fields, "schemaUrl", scope.schema_url.as_str())?;
        fields.end()
    }
}

impl Serialize for Json<&Scope> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_map(None)?;
        field(&mut fields, "name", self.0.name.as_str())?;
        field(&mut fields, "version", self.0.version.as_str())?;
        list(&mut fields, "attributes", &self.0.attributes)?;
        field(&mut fields, "droppedAttributesCount", self.0.dropped_attributes_count)?;
        fields.end()
    }
}

impl Serialize for Json<&Span<'_>> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let span = self.0;
        let mut fields = serializer.serialize_map(None)?;
        fields.serialize_entry("traceId", &span.trace_id.to_string())?;
        fields.serialize_entry("spanId", &span.span_id.to_string())?;
        field(&mut fields, "traceState", span.trace_state.as_ref())?;
        if span.parent_span_id != SpanId::INVALID {
            fields.serialize_entry("parentSpanId", &span.parent_span_id.to_string())?;
        }
        fields.serialize_entry("name", &span.name)?;
        fields.serialize_entry("kind", &span.kind)?;
        fields.serialize_entry("startTimeUnixNano", &Json(span.start))?;
        fields.serialize_entry("endTimeUnixNano", &Json(span.end))?;
        list(&mut fields, "attributes", &span.attributes)?;
        field(&mut fields, "droppedAttributesCount", span.dropped_attributes_count)?;
        list(&mut fields, "events", &span.events)?;
        field(&mut fields, "droppedEventsCount", span.dropped_events_count)?;
        list(&mut fields, "links", &span.links)?;
        field(&mut fields, "droppedLinksCount", span.dropped_links_count)?;
        fields.serialize_entry("status", &Json(&span.status))?;
        field(&mut fields, "flags", span.flags)?;
        fields.end()
    }
}

impl Serialize for Json<Timestamp> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0.to_otlp())
    }
}

impl Serialize for Json<&Status<'_>> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_map(None)?;
        field(&mut fields, "message", self.0.message.as_ref())?;
        field(&mut fields, "code", self.0.code.0)?;
        fields.end()
    }
}

impl Serialize for Json<&Event<'_>> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_map(None)?;
        fields.serialize_entry("timeUnixNano", &Json(self.0.time))?;
        fields.serialize_entry("name", &self.0.name)?;
        list(&mut fields, "attributes", &self.0.attributes)?;
        field(&mut fields, "droppedAttributesCount", self.0.dropped_attributes_count)?;
        fields.end()
    }
}

impl Serialize for Json<&Link<'_>> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_map(None)?;
        fields.serialize_entry("traceId", &self.0.trace_id.to_string())?;
        fields.serialize_entry("spanId", &self.0.span_id.to_string())?;
        field(&mut fields, "traceState", self.0.trace_state.as_ref())?;
        list(&mut fields, "attributes", &self.0.attributes)?;
        field(&mut fields, "droppedAttributesCount", self.0.dropped_attributes_count)?;
        field(&mut fields, "flags", self.0.flags)?;
        fields.end()
    }
}

impl Serialize for Json<&Attribute<'_>> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (key, value) = self.0;
        let mut fields = serializer.serialize_map(Some(2))?;
        fields.serialize_entry("key", key)?;
        fields.serialize_entry("value", &Json(value))?;
        fields.end()
    }
}

/// An `AnyValue`: an object whose one key says the type.
impl Serialize for Json<&Value<'_>> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_map(None)?;
        match self.0 {
            Value::Empty => {}
            Value::Bool(value) => fields.serialize_entry("boolValue", value)?,
            Value::Int(value) => fields.serialize_entry("intValue", &value.to_string())?,
            Value::Double(value) if value.is_finite() => fields.serialize_entry("doubleValue", value)?,
            Value::Double(value) if value.is_nan() => fields.serialize_entry("doubleValue", "NaN")?,
            Value::Double(value) => {
                let infinity = if *value > 0.0 { "Infinity" } else { "-Infinity" };
                fields.serialize_entry("doubleValue", infinity)?;
            }
            Value::String(value) => fields.serialize_entry("stringValue", value)?,
            Value::Bytes(value) => fields.serialize_entry("bytesValue", &BASE64_STANDARD.encode(value))?,
            Value::Array(values) => fields.serialize_entry("arrayValue", &Values(values))?,
            Value::KeyValues(pairs) => fields.serialize_entry("kvlistValue", &Values(pairs))?,
        }
        fields.end()
    }
}

/// A list as a message of its own, as protobuf needs it.
struct Values<'a, T>(&'a [T]);

impl<T> Serialize for Values<'_, T>
where
    for<'a> Json<&'a T>: Serialize,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_map(None)?;
        fields.serialize_entry("values", &self.0.iter().map(Json).collect::<Vec<_>>())?;
        fields.end()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::import::otlp_json::read_spans;

    #[test]
    fn spans_of_equal_resources_and_scopes_are_together_however_many_there_are() {
        let text = r#"{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "00000000000000000000000000000001", "spanId": "0000000000000001"}]}]}]}"#;
        let any = read_spans(text.as_bytes()).expect("spans").remove(0).expect("a span");
        let span = |resource: u64, scope: &str, id: u64| {
            let name = ("service.instance.id".into(), Value::String(resource.to_string().into()));
            let resource = Resource { attributes: vec![name], ..Resource::default() };
            let scope = Scope { name: scope.to_owned(), ..Scope::default() };
            let (resource, scope) = (Arc::new(resource), Arc::new(scope));
            Span { span_id: SpanId::from(id), resource, scope, ..any.clone() }
        };
        // Comparing each resource with all others would take far longer than the rest of the tests.
        let count = 20_000;
        let mut spans: Vec<_> = (0..count).map(|at| span(at, "a", 2 * at + 1)).collect();
        spans.extend([span(count - 1, "b", 2), span(count - 1, "a", 4), span(0, "a", 6)]);
        let mut text = Vec::new();
        write_spans(&mut text, &spans).expect("memory is written");
        let written = String::from_utf8(text).expect("text");
        assert_eq!(written.matches("\"resource\":").count() as u64, count);
        assert_eq!(written.matches("\"scope\":").count() as u64, count + 1);
        let read = read_spans(written.as_bytes()).expect("spans");
        let ids: Vec<_> = read.into_iter().map(|span| span.expect("a span").span_id).collect();
        assert_eq!(ids[..3], [1, 6, 3].map(SpanId::from));
        assert_eq!(ids[ids.len() - 3..], [2 * count - 1, 4, 2].map(SpanId::from));
    }
}
