//! `/api/new`: operations that were first seen after a time, each beside the nearest older one.

use std::time::{Duration, SystemTime};

use axum::extract::{RawQuery, State};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::answer::{Answer, Failures, number, respond, time};
use crate::search;
use crate::serve::parameters::Parameters;
use crate::serve::period::{Asked, Last};

/// How many operations unless it is said.
const LIMIT: usize = 50;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What is new.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct New {
    /// Since when.
    #[schema(format = DateTime)]
    since: String,
    /// What resembles nothing from before first.
    operations: Vec<Operation>,
}

/// An operation that was first seen after a time.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = NewOperation)]
struct Operation {
    /// The operation in words.
    text: String,
    /// When its first span was stored.
    #[schema(format = DateTime)]
    first_seen: String,
    /// The service.
    service: String,
    /// The name of its newest span.
    name: String,
    /// Whether that failed.
    is_error: bool,
    /// The newest span's trace.
    trace_id: String,
    /// The newest span.
    span_id: String,
    /// The nearest operation from before; null where there is none, or no embedding yet.
    nearest: Option<Nearest>,
}

/// An operation from before.
#[derive(Serialize, ToSchema)]
struct Nearest {
    /// The service.
    service: String,
    /// The operation in words.
    text: String,
    /// The cosine similarity of both, up to 1.
    similarity: f64,
}

/// Operations that were first seen after a time, each beside the nearest older one.
#[utoipa::path(get, path = "/api/new", tag = "statistics",
    params(
        ("since" = Option<String>, Query, description = "First stored then or later; RFC 3339; a day ago by default", format = DateTime),
        ("last" = Option<String>, Query, description = "The length before now, instead of `since`", example = "24h"),
        ("service" = Option<String>, Query, description = "Of this service"),
        ("limit" = Option<u64>, Query, description = "How many operations, up to 1000; 50 by default", minimum = 1),
    ),
    responses((status = 200, description = "Operations", body = New), Failures))]
pub(super) async fn new(State(api): State<Api>, RawQuery(query): RawQuery) -> Response {
    respond(find(&api, &Parameters::of(query.as_deref())).await)
}

async fn find(api: &Api, parameters: &Parameters) -> Answer<New> {
    let asked = Asked::of(parameters)?;
    let ago = match asked.last() {
        Some(Last::All) => None,
        Some(Last::Length(length)) => SystemTime::now().checked_sub(length),
        None => SystemTime::now().checked_sub(DAY),
    };
    let since = asked.times().0.or(ago).unwrap_or(SystemTime::UNIX_EPOCH);
    let limit = number(parameters, "limit", LIMIT, 1000)?;
    let operations = api.store.new_since(since, parameters.get("service"), limit).await?;
    Ok(New { since: time(since), operations: operations.into_iter().map(Operation::from).collect() })
}

impl From<search::NewOperation> for Operation {
    fn from(new: search::NewOperation) -> Self {
        let example = new.operation.example;
        Operation {
            text: new.operation.text,
            first_seen: new.first_seen.to_system_time().map(time).unwrap_or_default(),
            service: example.service,
            name: example.name,
            is_error: example.is_error,
            trace_id: example.trace_id.to_string(),
            span_id: example.span_id.to_string(),
            nearest: new.nearest.map(|nearest| Nearest {
                service: nearest.service,
                text: nearest.text,
                similarity: nearest.similarity,
            }),
        }
    }
}
