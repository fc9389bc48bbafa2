//! Spans as Jaeger's JSON has them (`internal/uimodel/model.go`), translated as the OpenTelemetry collector does.
//!
//! It is the way back of `import jaeger`.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use opentelemetry::trace::{SpanId, TraceId};
use serde::Serialize;
use serde_json::{Map, Value as Json, json};

use crate::span::{Attribute, Distinct, Event, Link, Resource, Span, StatusCode, Timestamp, Value};

/// The largest integer that a number of JavaScript holds, and so the largest that is written as a number.
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;
/// What a process is called that has no name.
const NO_SERVICE: &str = "OTLPResourceNoServiceName";

#[derive(Serialize)]
pub(super) struct Trace {
    #[serde(rename = "traceID")]
    trace_id: String,
    spans: Vec<JaegerSpan>,
    processes: BTreeMap<String, Process>,
    warnings: Option<Vec<String>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JaegerSpan {
    #[serde(rename = "traceID")]
    trace_id: String,
    #[serde(rename = "spanID")]
    span_id: String,
    #[serde(skip_serializing_if = "is_zero")]
    flags: u32,
    operation_name: String,
    references: Vec<Reference>,
    start_time: u64,
    duration: u64,
    tags: Vec<Tag>,
    logs: Vec<Log>,
    #[serde(rename = "processID")]
    process_id: String,
    warnings: Option<Vec<String>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    ref_type: &'static str,
    #[serde(rename = "traceID")]
    trace_id: String,
    #[serde(rename = "spanID")]
    span_id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Process {
    service_name: String,
    tags: Vec<Tag>,
}

#[derive(Serialize)]
struct Log {
    timestamp: u64,
    fields: Vec<Tag>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Tag {
    key: String,
    #[serde(rename = "type")]
    kind: &'static str,
    value: Json,
}

/// A trace of its spans.
pub(super) fn trace(trace_id: TraceId, spans: &[Span<'_>]) -> Trace {
    let mut resources = Distinct::default();
    let mut processes = BTreeMap::new();
    let spans = spans
        .iter()
        .map(|span| {
            let at = resources.number(&span.resource);
            if at == processes.len() {
                processes.insert(process_id(at), process(&span.resource));
            }
            self::span(span, process_id(at))
        })
        .collect();
    Trace { trace_id: self::trace_id(trace_id), spans, processes, warnings: None }
}

fn process_id(number: usize) -> String {
    format!("p{}", number + 1)
}

fn span(span: &Span<'_>, process_id: String) -> JaegerSpan {
    let mut warnings = Vec::new();
    let attributes = span.attributes.iter().filter(|(key, value)| {
        let Value::Array(texts) = value else { return true };
        let is_warnings = key == "@jaeger@warnings";
        if is_warnings {
            warnings.extend(texts.iter().map(|text| self::text(text)));
        }
        !is_warnings
    });
    let mut tags = Vec::new();
    for (key, value) in [("otel.scope.name", &span.scope.name), ("otel.scope.version", &span.scope.version)] {
        if !value.is_empty() {
            tags.push(Tag::text(key, value));
        }
    }
    tags.extend(attributes.map(Tag::new));
    if let Some(kind) = kind(span.kind) {
        tags.push(Tag::text("span.kind", kind));
    }
    match span.status.code {
        StatusCode::OK => tags.push(Tag::text("otel.status_code", "OK")),
        StatusCode::ERROR => {
            tags.push(Tag::text("otel.status_code", "ERROR"));
            tags.push(Tag { key: "error".into(), kind: "bool", value: true.into() });
        }
        _ => {}
    }
    for (key, value) in
        [("otel.status_description", &span.status.message), ("w3c.tracestate", &span.trace_state)]
    {
        if !value.is_empty() {
            tags.push(Tag::text(key, value));
        }
    }
    JaegerSpan {
        trace_id: trace_id(span.trace_id),
        span_id: span.span_id.to_string(),
        flags: span.flags & 0xff,
        operation_name: span.name.to_string(),
        references: references(span),
        start_time: microseconds(span.start),
        duration: u64::try_from((span.end.0 - span.start.0) / 1000).unwrap_or(0),
        tags,
        logs: span.events.iter().map(log).collect(),
        process_id,
        warnings: (!warnings.is_empty()).then_some(warnings),
    }
}

/// The parent first, then what the span is linked to.
fn references(span: &Span<'_>) -> Vec<Reference> {
    let parent = (span.parent_span_id != SpanId::INVALID).then(|| Reference {
        ref_type: "CHILD_OF",
        trace_id: trace_id(span.trace_id),
        span_id: span.parent_span_id.to_string(),
    });
    let link = |link: &Link<'_>| {
        let is_child = link.attributes.iter().any(|(key, value)| {
            key == "opentracing.ref_type" && matches!(value, Value::String(kind) if kind == "child_of")
        });
        Reference {
            ref_type: if is_child { "CHILD_OF" } else { "FOLLOWS_FROM" },
            trace_id: trace_id(link.trace_id),
            span_id: link.span_id.to_string(),
        }
    };
    parent.into_iter().chain(span.links.iter().map(link)).collect()
}

fn log(event: &Event<'_>) -> Log {
    let name = (!event.name.is_empty()).then(|| Tag::text("event", &event.name));
    Log {
        timestamp: microseconds(event.time),
        fields: name.into_iter().chain(event.attributes.iter().map(Tag::new)).collect(),
    }
}

fn process(resource: &Resource) -> Process {
    let name = resource.service_name();
    let tags = resource.attributes.iter().filter(|(key, _)| key != "service.name").map(Tag::new).collect();
    Process { service_name: if name.is_empty() { NO_SERVICE } else { name }.to_owned(), tags }
}

impl Tag {
    fn text(key: &str, value: &str) -> Self {
        Tag { key: key.to_owned(), kind: "string", value: value.into() }
    }

    fn new((key, value): &Attribute<'_>) -> Self {
        let (kind, value) = match value {
            Value::Bool(value) => ("bool", Json::from(*value)),
            Value::Int(value) if value.unsigned_abs() > MAX_SAFE_INTEGER => {
                ("int64", value.to_string().into())
            }
            Value::Int(value) => ("int64", Json::from(*value)),
            // JSON has neither NaN nor infinities.
            Value::Double(value) if !value.is_finite() => ("float64", value.to_string().into()),
            Value::Double(value) => ("float64", Json::from(*value)),
            Value::Bytes(bytes) => ("binary", BASE64_STANDARD.encode(bytes).into()),
            other => ("string", text(other).into()),
        };
        Tag { key: key.to_string(), kind, value }
    }
}

/// A value as text: lists and maps as JSON.
fn text(value: &Value<'_>) -> String {
    match value {
        Value::String(text) => text.to_string(),
        Value::Empty => String::new(),
        other => json_of(other).to_string(),
    }
}

fn json_of(value: &Value<'_>) -> Json {
    match value {
        Value::Empty => Json::Null,
        Value::Bool(value) => json!(value),
        Value::Int(value) => json!(value),
        Value::Double(value) if !value.is_finite() => json!(value.to_string()),
        Value::Double(value) => json!(value),
        Value::String(value) => json!(value),
        Value::Bytes(value) => json!(BASE64_STANDARD.encode(value)),
        Value::Array(values) => values.iter().map(json_of).collect(),
        Value::KeyValues(pairs) => Json::Object(
            pairs.iter().map(|(key, value)| (key.to_string(), json_of(value))).collect::<Map<_, _>>(),
        ),
    }
}

/// The kinds by their numbers.
const KINDS: [&str; 6] = ["unspecified", "internal", "server", "client", "producer", "consumer"];

/// The name of a kind; `None` where it is unspecified or unknown.
pub(in crate::serve) fn kind(kind: i32) -> Option<&'static str> {
    usize::try_from(kind).ok().filter(|at| *at > 0).and_then(|at| KINDS.get(at).copied())
}

/// The number of a kind by its name.
pub(super) fn kind_number(name: &str) -> Option<i16> {
    (0..).zip(KINDS).find(|(_, known)| *known == name).map(|(number, _)| number)
}

/// 16 digits for an id of 64 bits, 32 for others.
fn trace_id(id: TraceId) -> String {
    let digits = id.to_string();
    match digits.strip_prefix("0000000000000000") {
        Some(short) => short.to_owned(),
        None => digits,
    }
}

/// Microseconds since 1970, within what Jaeger can say.
fn microseconds(time: Timestamp) -> u64 {
    u64::try_from(time.0 / 1000).unwrap_or(0)
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    #[test]
    fn every_type_is_written_as_jaeger_does() {
        let tag = |value: Value<'static>| {
            let tag = Tag::new(&(Cow::Borrowed("k"), value));
            (tag.kind, tag.value)
        };
        assert_eq!(tag(Value::String("a".into())), ("string", json!("a")));
        assert_eq!(tag(Value::Bool(true)), ("bool", json!(true)));
        assert_eq!(tag(Value::Int(7)), ("int64", json!(7)));
        assert_eq!(tag(Value::Int(9_007_199_254_740_993)), ("int64", json!("9007199254740993")));
        assert_eq!(tag(Value::Int(i64::MIN)), ("int64", json!("-9223372036854775808")));
        assert_eq!(tag(Value::Double(1.5)), ("float64", json!(1.5)));
        assert_eq!(tag(Value::Double(f64::NAN)), ("float64", json!("NaN")));
        assert_eq!(tag(Value::Bytes(vec![0, 255].into())), ("binary", json!("AP8=")));
        assert_eq!(
            tag(Value::Array(vec![Value::Int(1), Value::String("a".into())])),
            ("string", json!("[1,\"a\"]"))
        );
        assert_eq!(
            tag(Value::KeyValues(vec![("a".into(), Value::Empty)])),
            ("string", json!("{\"a\":null}"))
        );
        assert_eq!(tag(Value::Empty), ("string", json!("")));
    }

    #[test]
    fn ids_of_64_bits_have_16_digits() {
        assert_eq!(trace_id(TraceId::from(255_u128)), "00000000000000ff");
        assert_eq!(trace_id(TraceId::from(1_u128 << 64)), "00000000000000010000000000000000");
    }
}
