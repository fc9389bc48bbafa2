//! Version 3 of the API, which today's jaeger-ui calls.

use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use opentelemetry::trace::TraceId;
use serde_json::{Map, Value, json};

use super::Api;
use super::answer::v3_error;
use super::legacy::operations_of;
use super::query;
use crate::error::{Error, Result};
use crate::import::otlp_json::write_spans;
use crate::search::TraceSummary;
use crate::serve::answer::{bytes_response, failure, json_response};
use crate::serve::parameters::{Parameters, trace_id};
use crate::serve::slots::beside;
use crate::span::Span;

pub(super) async fn services(State(api): State<Api>) -> Response {
    match api.store.services().await {
        Ok(services) => json_response(StatusCode::OK, &json!({"services": services})),
        Err(error) => failed(&error),
    }
}

pub(super) async fn operations(State(api): State<Api>, RawQuery(query): RawQuery) -> Response {
    let parameters = Parameters::of(query.as_deref());
    let kind = parameters.first(&["spanKind", "span_kind"]).map(|(_, kind)| kind);
    match operations_of(&api, parameters.get("service").unwrap_or_default(), kind).await {
        Ok(operations) => {
            // As Jaeger: what says nothing of its kind is internal.
            let named = |kind: &'static str| if kind.is_empty() { "internal" } else { kind };
            let operations =
                operations.iter().map(|(name, kind)| json!({"name": name, "spanKind": named(kind)}));
            json_response(StatusCode::OK, &json!({"operations": operations.collect::<Vec<_>>()}))
        }
        Err(error) => failed(&error),
    }
}

pub(super) async fn summaries(State(api): State<Api>, RawQuery(query): RawQuery) -> Response {
    let query = match query::v3(&Parameters::of(query.as_deref()), api.limits.traces) {
        Ok(query) => query,
        Err(reason) => return v3_error(StatusCode::BAD_REQUEST, &reason),
    };
    let summaries = async { api.store.summaries(&api.found(query).await?).await };
    match summaries.await {
        Ok(summaries) => {
            let summaries: Vec<Value> = summaries.iter().map(summary).collect();
            json_response(StatusCode::OK, &json!({"summaries": summaries}))
        }
        Err(error) => failed(&error),
    }
}

/// As protobuf's JSON has it: times as texts.
fn summary(trace: &TraceSummary) -> Value {
    let services = trace.services.iter().map(
        |(name, service)| json!({"name": name, "spanCount": service.spans, "errorSpanCount": service.errors}),
    );
    let mut fields = Map::new();
    fields.insert("traceId".into(), trace.trace_id.to_string().into());
    fields.insert("rootServiceName".into(), trace.root_service.as_str().into());
    fields.insert("rootOperationName".into(), trace.root_name.as_str().into());
    fields.insert("minStartTimeUnixNano".into(), trace.start.to_otlp().to_string().into());
    fields.insert("maxEndTimeUnixNano".into(), trace.end.to_otlp().to_string().into());
    fields.insert("spanCount".into(), trace.spans.into());
    fields.insert("errorSpanCount".into(), trace.errors.into());
    fields.insert("orphanSpanCount".into(), trace.orphans.into());
    fields.insert("services".into(), services.collect());
    fields.into()
}

pub(super) async fn find(State(api): State<Api>, RawQuery(query): RawQuery) -> Response {
    let query = match query::v3(&Parameters::of(query.as_deref()), api.limits.traces) {
        Ok(query) => query,
        Err(reason) => return v3_error(StatusCode::BAD_REQUEST, &reason),
    };
    match traces(&api, query).await {
        Ok(spans) => otlp(spans, "No traces found").await,
        Err(error) => failed(&error),
    }
}

async fn traces(api: &Api, query: crate::search::SearchQuery) -> Result<Vec<Span<'static>>> {
    let ids: Vec<TraceId> = api.found(query).await?;
    Ok(api.read(&ids).await?.into_iter().flat_map(|(_, spans)| spans).collect())
}

pub(super) async fn trace(State(api): State<Api>, Path(id): Path<String>) -> Response {
    let id = match trace_id(&id) {
        Ok(id) => id,
        Err(reason) => {
            return v3_error(StatusCode::BAD_REQUEST, &format!("malformed parameter trace_id: {reason}"));
        }
    };
    match api.store.get_trace(id).await {
        Ok(spans) => otlp(spans, "trace not found").await,
        Err(error) => failed(&error),
    }
}

/// Spans in the envelope of a stream of gRPC's.
async fn otlp(spans: Vec<Span<'static>>, nothing: &str) -> Response {
    if spans.is_empty() {
        return v3_error(StatusCode::NOT_FOUND, nothing);
    }
    let made = beside(move || {
        let mut body = b"{\"result\":".to_vec();
        match write_spans(&mut body, &spans) {
            Ok(()) => {
                body.push(b'}');
                bytes_response(StatusCode::OK, body)
            }
            Err(error) => v3_error(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        }
    });
    made.await.unwrap_or_else(|error| failed(&error))
}

fn failed(error: &Error) -> Response {
    let (status, message) = failure(error);
    v3_error(status, &message)
}
