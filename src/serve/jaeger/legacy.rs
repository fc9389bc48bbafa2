//! The API that older jaeger-uis and Grafana's data source call.

use std::collections::HashMap;

use axum::extract::{Path, RawQuery, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use opentelemetry::trace::TraceId;
use serde_json::json;

use super::answer::{legacy, legacy_error};
use super::query::{self, Wanted};
use super::{Api, model};
use crate::error::{Error, Result};
use crate::search::Kind;
use crate::serve::answer::failure;
use crate::serve::parameters::{Parameters, trace_id};
use crate::serve::slots::beside;
use crate::span::Span;

pub(super) async fn services(State(api): State<Api>) -> Response {
    match api.store.services().await {
        Ok(services) => legacy(&services, services.len()),
        Err(error) => failed(&error),
    }
}

pub(super) async fn operation_names(State(api): State<Api>, Path(service): Path<String>) -> Response {
    match api.store.operations(&service).await {
        Ok(operations) => {
            let mut names: Vec<&str> = operations.iter().map(|operation| operation.name.as_str()).collect();
            names.dedup();
            legacy(&names, names.len())
        }
        Err(error) => failed(&error),
    }
}

pub(super) async fn operations(State(api): State<Api>, RawQuery(query): RawQuery) -> Response {
    let parameters = Parameters::of(query.as_deref());
    let Some(service) = parameters.get("service") else {
        return legacy_error(StatusCode::BAD_REQUEST, "parameter 'service' is required");
    };
    match operations_of(&api, service, parameters.get("spanKind")).await {
        Ok(operations) => {
            let total = operations.len();
            let operation = |(name, kind): (String, &'static str)| json!({"name": name, "spanKind": kind});
            legacy(operations.into_iter().map(operation).collect::<Vec<_>>(), total)
        }
        Err(error) => failed(&error),
    }
}

/// Names and kinds; the kind is empty where it is unspecified.
pub(super) async fn operations_of(
    api: &Api,
    service: &str,
    kind: Option<&str>,
) -> Result<Vec<(String, &'static str)>> {
    let operations = api.store.operations(service).await?;
    let named = |kind: Option<Kind>| kind.and_then(|kind| model::kind(kind as i32)).unwrap_or("");
    let operations = operations.into_iter().map(|operation| (operation.name, named(operation.kind)));
    Ok(operations.filter(|(_, is)| kind.is_none_or(|wanted| wanted.eq_ignore_ascii_case(is))).collect())
}

pub(super) async fn find(State(api): State<Api>, RawQuery(query): RawQuery) -> Response {
    let parameters = Parameters::of(query.as_deref());
    let wanted = match query::legacy(&parameters, api.limits.traces) {
        Ok(wanted) => wanted,
        Err(reason) => return legacy_error(StatusCode::BAD_REQUEST, &reason),
    };
    match traces(&api, wanted).await {
        Ok(traces) => answer(traces).await,
        Err(error) => failed(&error),
    }
}

async fn traces(api: &Api, wanted: Wanted) -> Result<Vec<(TraceId, Vec<Span<'static>>)>> {
    let ids = match wanted {
        Wanted::Traces(ids) => ids,
        Wanted::Found(query) => api.found(*query).await?,
    };
    api.read(&ids).await
}

async fn answer(traces: Vec<(TraceId, Vec<Span<'static>>)>) -> Response {
    let made = beside(move || {
        let traces: Vec<_> = traces.iter().map(|(id, spans)| model::trace(*id, spans)).collect();
        legacy(traces, 0)
    });
    made.await.unwrap_or_else(|error| failed(&error))
}

pub(super) async fn trace(State(api): State<Api>, Path(id): Path<String>) -> Response {
    let id = match trace_id(&id) {
        Ok(id) => id,
        Err(reason) => return legacy_error(StatusCode::BAD_REQUEST, &reason),
    };
    match api.store.get_trace(id).await {
        Ok(spans) if spans.is_empty() => legacy_error(StatusCode::NOT_FOUND, "trace not found"),
        Ok(spans) => answer(vec![(id, spans)]).await,
        Err(error) => failed(&error),
    }
}

/// There is no such route.
pub(in crate::serve) fn unknown(uri: &Uri) -> Response {
    legacy_error(StatusCode::NOT_FOUND, &format!("there is no {}", uri.path()))
}

fn failed(error: &Error) -> Response {
    let (status, message) = failure(error);
    legacy_error(status, &message)
}

impl Api {
    /// The ids of traces that a search finds, in its order.
    pub(super) async fn found(&self, query: crate::search::SearchQuery) -> Result<Vec<TraceId>> {
        Ok(self.store.search_traces(query).await?.into_iter().map(|hit| hit.trace_id).collect())
    }

    /// The spans of traces, in this order and each trace once, until the answer has as many spans as it may.
    pub(super) async fn read(&self, ids: &[TraceId]) -> Result<Vec<(TraceId, Vec<Span<'static>>)>> {
        let sizes = self.store.sizes_of_traces(ids).await?;
        let mut left = self.limits.spans as u64;
        let mut wanted = Vec::new();
        for id in ids {
            let Some(size) = sizes.get(id) else { continue };
            if left == 0 || wanted.contains(id) {
                continue;
            }
            wanted.push(*id);
            left = left.saturating_sub(*size);
        }
        let mut spans: HashMap<TraceId, Vec<Span<'static>>> = HashMap::new();
        for span in self.store.get_traces(&wanted).await? {
            spans.entry(span.trace_id).or_default().push(span);
        }
        Ok(wanted.iter().filter_map(|id| spans.remove_entry(id)).collect())
    }
}
