//! `/api/spans/{traceId}` and `/api/similar/{traceId}`: what a trace is made of, and which are like it.

use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use serde_json::{Map, Value as Json, json};
use utoipa::ToSchema;

use super::Api;
use super::answer::{Answer, Failure, Failures, Refused, number, respond};
use super::search;
use crate::serve::jaeger::kind;
use crate::serve::parameters::{Parameters, trace_id};
use crate::serve::slots::beside;
use crate::span::{self, Attribute, StatusCode, Value};

/// How many traces are like one unless it is said.
const LIMIT: usize = 20;
/// The largest integer that a number of JavaScript holds.
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// The spans of a trace.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Trace {
    /// 32 hexadecimal digits.
    trace_id: String,
    /// By start time.
    spans: Vec<Span>,
}

/// A span as it was exported. Attributes are objects of JSON; integers that a number of JavaScript does not hold are
/// text, and bytes are base64.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Span {
    /// 16 hexadecimal digits.
    span_id: String,
    /// The parent; null where there is none.
    parent_span_id: Option<String>,
    /// The service.
    service: String,
    /// The name.
    name: String,
    /// internal, server, client, producer or consumer; null where it is unspecified.
    kind: Option<&'static str>,
    /// Nanoseconds since 1970.
    start_time_unix_nano: String,
    /// Nanoseconds.
    duration_nanos: String,
    /// unset, ok or error.
    status: &'static str,
    /// What was said of the status; may be empty.
    status_message: String,
    /// The span's attributes.
    #[schema(value_type = Object)]
    attributes: Json,
    /// The attributes of the resource.
    #[schema(value_type = Object)]
    resource: Json,
    /// The name of the instrumentation scope; may be empty.
    scope: String,
    /// In their order.
    events: Vec<Event>,
    /// In their order.
    links: Vec<Link>,
}

/// Something that happened during a span.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Event {
    /// Nanoseconds since 1970.
    time_unix_nano: String,
    /// The name; `exception` for exceptions.
    name: String,
    /// The event's attributes.
    #[schema(value_type = Object)]
    attributes: Json,
}

/// A reference to another span.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Link {
    /// 32 hexadecimal digits.
    trace_id: String,
    /// 16 hexadecimal digits.
    span_id: String,
    /// The link's attributes.
    #[schema(value_type = Object)]
    attributes: Json,
}

/// Traces that are like another one.
#[derive(Serialize, ToSchema)]
pub(super) struct Similar {
    /// The most similar first, then the newest.
    traces: Vec<SimilarTrace>,
}

/// A trace that is like another one.
#[derive(Serialize, ToSchema)]
pub(super) struct SimilarTrace {
    /// The trace; its score is the likeness, up to 1 for the same documents.
    #[serde(flatten)]
    trace: search::Trace,
    /// How many documents both have.
    shared: u64,
    /// How many documents only the other one has.
    missing: u64,
    /// How many documents only this one has.
    additional: u64,
}

/// All spans of a trace.
#[utoipa::path(get, path = "/api/spans/{traceId}", tag = "traces",
    params(("traceId" = String, Path, description = "Up to 32 hexadecimal digits, or base64")),
    responses((status = 200, description = "The trace", body = Trace), Failures,
              (status = 404, description = "There is no such trace", body = Failure)))]
pub(super) async fn spans(State(api): State<Api>, Path(id): Path<String>) -> Response {
    read(&api, &id).await.unwrap_or_else(|refused| respond(Answer::<()>::Err(refused)))
}

async fn read(api: &Api, id: &str) -> Answer<Response> {
    let id = trace_id(id).map_err(|reason| format!("malformed parameter traceId: {reason}"))?;
    let spans = api.store.get_trace(id).await?;
    if spans.is_empty() {
        return Err(Refused::not_found("trace"));
    }
    let made = beside(move || {
        respond(Ok(Trace { trace_id: id.to_string(), spans: spans.iter().map(Span::from).collect() }))
    });
    Ok(made.await?)
}

/// Traces that have the same documents, of which rare ones count more.
#[utoipa::path(get, path = "/api/similar/{traceId}", tag = "traces",
    params(("traceId" = String, Path, description = "Up to 32 hexadecimal digits, or base64"),
           ("limit" = Option<u64>, Query, description = "How many traces, up to 1000; 20 by default", minimum = 1)),
    responses((status = 200, description = "Traces; none where there is no such trace", body = Similar), Failures))]
pub(super) async fn similar(
    State(api): State<Api>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    respond(find(&api, &id, &Parameters::of(query.as_deref())).await)
}

async fn find(api: &Api, id: &str, parameters: &Parameters) -> Answer<Similar> {
    let id = trace_id(id).map_err(|reason| format!("malformed parameter traceId: {reason}"))?;
    let limit = number(parameters, "limit", LIMIT, api.limits.traces)?;
    let traces = api.store.similar_traces(id, limit).await?;
    let traces = traces.iter().map(|like| SimilarTrace {
        trace: (&like.trace).into(),
        shared: like.shared as u64,
        missing: like.missing as u64,
        additional: like.additional as u64,
    });
    Ok(Similar { traces: traces.collect() })
}

impl From<&span::Span<'_>> for Span {
    fn from(span: &span::Span<'_>) -> Self {
        let duration = (span.end.0 - span.start.0).max(0);
        Span {
            span_id: span.span_id.to_string(),
            parent_span_id: (span.parent_span_id != opentelemetry::trace::SpanId::INVALID)
                .then(|| span.parent_span_id.to_string()),
            service: span.resource.service_name().to_owned(),
            name: span.name.to_string(),
            kind: kind(span.kind),
            start_time_unix_nano: span.start.to_otlp().to_string(),
            duration_nanos: duration.to_string(),
            status: match span.status.code {
                StatusCode::ERROR => "error",
                StatusCode::OK => "ok",
                _ => "unset",
            },
            status_message: span.status.message.to_string(),
            attributes: object(&span.attributes),
            resource: object(&span.resource.attributes),
            scope: span.scope.name.to_string(),
            events: span
                .events
                .iter()
                .map(|event| Event {
                    time_unix_nano: event.time.to_otlp().to_string(),
                    name: event.name.to_string(),
                    attributes: object(&event.attributes),
                })
                .collect(),
            links: span
                .links
                .iter()
                .map(|link| Link {
                    trace_id: link.trace_id.to_string(),
                    span_id: link.span_id.to_string(),
                    attributes: object(&link.attributes),
                })
                .collect(),
        }
    }
}

fn object(attributes: &[Attribute<'_>]) -> Json {
    let pairs = attributes.iter().map(|(key, value)| (key.to_string(), json_of(value)));
    Json::Object(pairs.collect::<Map<_, _>>())
}

fn json_of(value: &Value<'_>) -> Json {
    match value {
        Value::Empty => Json::Null,
        Value::String(text) => json!(text),
        Value::Bool(value) => json!(value),
        Value::Int(number) if number.unsigned_abs() <= MAX_SAFE_INTEGER => json!(number),
        Value::Int(number) => json!(number.to_string()),
        Value::Double(number) if number.is_finite() => json!(number),
        Value::Double(number) => json!(number.to_string()),
        Value::Bytes(bytes) => json!(BASE64_STANDARD.encode(bytes)),
        Value::Array(values) => Json::Array(values.iter().map(json_of).collect()),
        Value::KeyValues(pairs) => object(pairs),
    }
}
