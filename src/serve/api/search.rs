//! `/api/search?q=`: traces by meaning, with their scores and the spans that matched.

use std::time::SystemTime;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::answer::{Answer, Failures, number, respond};
use crate::search::{Filter, Page, SearchQuery, SpanHit, TraceHit};
use crate::serve::parameters::Parameters;
use crate::serve::period::Asked;

/// How many traces are found unless it is said.
const LIMIT: usize = 20;

/// What was found.
#[derive(Serialize, ToSchema)]
pub(super) struct Found {
    /// Best first; without words, the newest first.
    traces: Vec<Trace>,
    /// The parameter `page` of a request for more; null at the end.
    next: Option<String>,
}

/// A trace that was found.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = FoundTrace)]
pub(super) struct Trace {
    /// 32 hexadecimal digits.
    trace_id: String,
    /// How well its best span fits, up to 1; 1 where there was nothing to rank by.
    score: f64,
    /// The service of the root, or of the first span where there is no root.
    root_service: String,
    /// The name of the root.
    root_name: String,
    /// Nanoseconds since 1970, as text, since a number of JavaScript does not hold them.
    start_time_unix_nano: String,
    /// From the first start to the last end, in nanoseconds.
    duration_nanos: String,
    /// How many spans it has.
    span_count: u64,
    /// How many of them failed.
    error_span_count: u64,
    /// The spans that matched, best first.
    spans: Vec<Span>,
}

/// A span that matched.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MatchedSpan)]
pub(super) struct Span {
    /// 16 hexadecimal digits.
    span_id: String,
    /// How well it fits, up to 1.
    score: f64,
    /// The service.
    service: String,
    /// The name, as it was exported.
    name: String,
    /// Whether it failed.
    is_error: bool,
    /// The status message or, where there is none, the message of its first exception.
    message: Option<String>,
    /// Nanoseconds since 1970.
    start_time_unix_nano: String,
    /// Nanoseconds.
    duration_nanos: String,
}

/// Traces by meaning, by words and by conditions.
#[utoipa::path(get, path = "/api/search", tag = "traces",
    params(
        ("q" = Option<String>, Query, description = "Words, and \"letters as they are\" in quotes", example = "payment declined"),
        ("service" = Option<Vec<String>>, Query, description = "Of one of these services"),
        ("operation" = Option<String>, Query, description = "With this span name"),
        ("status" = Option<String>, Query, description = "unset, ok or error", example = "error"),
        ("attribute" = Option<Vec<String>>, Query, description = "Conditions such as http.response.status_code>=500, which all hold"),
        ("since" = Option<String>, Query, description = "Started then or later; RFC 3339", format = DateTime),
        ("until" = Option<String>, Query, description = "Started before; RFC 3339", format = DateTime),
        ("last" = Option<String>, Query, description = "The length before `until`, or before the newest trace, or all; instead of `since`", example = "24h"),
        ("limit" = Option<u64>, Query, description = "How many traces, up to 1000; 20 by default", minimum = 1),
        ("page" = Option<String>, Query, description = "`next` of the answer before"),
    ),
    responses((status = 200, description = "Traces, best first", body = Found), Failures))]
pub(super) async fn search(State(api): State<Api>, RawQuery(query): RawQuery) -> Response {
    respond(find(&api, &Parameters::of(query.as_deref())).await)
}

async fn find(api: &Api, parameters: &Parameters) -> Answer<Found> {
    let bounds = Asked::of(parameters)?.bounds(&api.store).await?;
    let found = api.store.search_traces(read(parameters, bounds, api.limits.traces)?).await?;
    let next = found.next.map(|page| page.to_string());
    Ok(Found { traces: found.hits.iter().map(Trace::from).collect(), next })
}

fn read(
    parameters: &Parameters,
    (since, until): (Option<SystemTime>, Option<SystemTime>),
    most: usize,
) -> Result<SearchQuery, String> {
    let wrong = |name: &str, error: crate::Error| format!("malformed parameter {name}: {error}");
    let mut filter = Filter { since, until, ..Filter::default() };
    filter.services.extend(parameters.all("service").filter(|name| !name.is_empty()).map(str::to_owned));
    filter.operation = parameters.get("operation").map(str::to_owned);
    if let Some(status) = parameters.get("status") {
        filter.status = Some(status.parse().map_err(|error| wrong("status", error))?);
    }
    for condition in parameters.all("attribute") {
        filter.attributes.push(condition.parse().map_err(|error| wrong("attribute", error))?);
    }
    let limit = number(parameters, "limit", LIMIT, most)?;
    let mut query = SearchQuery::new(parameters.get("q").unwrap_or_default()).filter(filter);
    if let Some(page) = parameters.get("page") {
        let page: Page = page.parse().map_err(|error| wrong("page", error))?;
        query = query.page(page);
    }
    Ok(query.limit(limit))
}

impl From<&TraceHit> for Trace {
    fn from(hit: &TraceHit) -> Self {
        Trace {
            trace_id: hit.trace_id.to_string(),
            score: hit.score,
            root_service: hit.root_service.clone(),
            root_name: hit.root_name.clone(),
            start_time_unix_nano: hit.start.to_otlp().to_string(),
            duration_nanos: hit.duration.as_nanos().to_string(),
            span_count: hit.span_count,
            error_span_count: hit.error_count,
            spans: hit.spans.iter().map(Span::from).collect(),
        }
    }
}

impl From<&SpanHit> for Span {
    fn from(hit: &SpanHit) -> Self {
        Span {
            span_id: hit.span_id.to_string(),
            score: hit.score,
            service: hit.service.clone(),
            name: hit.name.clone(),
            is_error: hit.is_error,
            message: hit.message.clone(),
            start_time_unix_nano: hit.start.to_otlp().to_string(),
            duration_nanos: hit.duration.as_nanos().to_string(),
        }
    }
}
