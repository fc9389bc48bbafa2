//! A route of our own: `/api/search?q=`, traces by meaning, with their scores and the spans that matched.

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::Api;
use super::answer::{failure, json_response, v3_error};
use crate::search::{Filter, Page, SearchQuery, SpanHit, TraceHit};
use crate::serve::parameters::{Parameters, rfc3339};

/// How many traces are found unless it is said.
const LIMIT: usize = 20;

pub(super) async fn search(State(api): State<Api>, RawQuery(query): RawQuery) -> Response {
    let query = match read(&Parameters::of(query.as_deref()), api.limits.traces) {
        Ok(query) => query,
        Err(reason) => return v3_error(StatusCode::BAD_REQUEST, &reason),
    };
    match api.store.search_traces(query).await {
        Ok(found) => {
            let next = found.next.map(|page| page.to_string());
            let traces: Vec<Value> = found.hits.iter().map(trace).collect();
            json_response(StatusCode::OK, &json!({"traces": traces, "next": next}))
        }
        Err(error) => {
            let (status, message) = failure(&error);
            v3_error(status, &message)
        }
    }
}

fn read(parameters: &Parameters, most: usize) -> Result<SearchQuery, String> {
    let wrong = |name: &str, reason: String| format!("malformed parameter {name}: {reason}");
    let time = |name: &'static str| {
        parameters.get(name).map(rfc3339).transpose().map_err(|reason| wrong(name, reason))
    };
    let mut filter = Filter::default();
    filter.services.extend(parameters.all("service").filter(|name| !name.is_empty()).map(str::to_owned));
    filter.operation = parameters.get("operation").map(str::to_owned);
    filter.since = time("since")?;
    filter.until = time("until")?;
    if let Some(status) = parameters.get("status") {
        let status = status.parse();
        filter.status = Some(status.map_err(|error: crate::Error| wrong("status", error.to_string()))?);
    }
    for condition in parameters.all("attribute") {
        let condition = condition.parse();
        filter
            .attributes
            .push(condition.map_err(|error: crate::Error| wrong("attribute", error.to_string()))?);
    }
    let limit = match parameters.get("limit") {
        Some(text) => text.parse().map_err(|_| wrong("limit", format!("expected a number, not {text:?}")))?,
        None => LIMIT,
    };
    let mut query = SearchQuery::new(parameters.get("q").unwrap_or_default()).filter(filter);
    if let Some(page) = parameters.get("page") {
        let page: Page = page.parse().map_err(|error: crate::Error| wrong("page", error.to_string()))?;
        query = query.page(page);
    }
    Ok(query.limit(limit.clamp(1, most)))
}

fn trace(hit: &TraceHit) -> Value {
    json!({
        "traceId": hit.trace_id.to_string(),
        "score": hit.score,
        "rootService": hit.root_service,
        "rootName": hit.root_name,
        "startTimeUnixNano": hit.start.to_otlp().to_string(),
        "durationNanos": hit.duration.as_nanos().to_string(),
        "spanCount": hit.span_count,
        "errorSpanCount": hit.error_count,
        "spans": hit.spans.iter().map(span).collect::<Vec<_>>(),
    })
}

fn span(hit: &SpanHit) -> Value {
    json!({
        "spanId": hit.span_id.to_string(),
        "score": hit.score,
        "service": hit.service,
        "name": hit.name,
        "isError": hit.is_error,
        "message": hit.message,
        "startTimeUnixNano": hit.start.to_otlp().to_string(),
        "durationNanos": hit.duration.as_nanos().to_string(),
    })
}
