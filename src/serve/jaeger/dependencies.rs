//! `/api/dependencies`: the service map.

use std::time::{Duration, SystemTime};

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::Api;
use super::answer::{legacy, legacy_error};
use crate::serve::answer::failure;
use crate::serve::parameters::{Parameters, milliseconds, milliseconds_long};

/// How far back unless it is said.
const LOOKBACK: Duration = Duration::from_secs(24 * 3600);

pub(super) async fn dependencies(State(api): State<Api>, RawQuery(query): RawQuery) -> Response {
    let parameters = Parameters::of(query.as_deref());
    let (since, until) = match period(&parameters, LOOKBACK) {
        Ok(period) => period,
        Err(reason) => return legacy_error(StatusCode::BAD_REQUEST, &reason),
    };
    match api.store.dependencies(since, until).await {
        Ok(mut dependencies) => {
            if let Some(service) = parameters.get("service") {
                dependencies.retain(|link| link.parent == service || link.child == service);
            }
            let links = dependencies
                .iter()
                .map(|link| json!({"parent": link.parent, "child": link.child, "callCount": link.calls}));
            legacy(links.collect::<Vec<_>>(), 0)
        }
        Err(error) => {
            let (status, message) = failure(&error);
            legacy_error(status, &message)
        }
    }
}

/// From `lookback` before `endTs` to `endTs`, both in milliseconds.
pub(super) fn period(
    parameters: &Parameters,
    otherwise: Duration,
) -> Result<(SystemTime, SystemTime), String> {
    let wrong = |name: &str, reason: String| format!("unable to parse param '{name}': {reason}");
    let until = match parameters.get("endTs") {
        Some(text) => milliseconds(text).map_err(|reason| wrong("endTs", reason))?,
        None => SystemTime::now(),
    };
    let lookback = match parameters.get("lookback") {
        Some(text) => milliseconds_long(text).map_err(|reason| wrong("lookback", reason))?,
        None => otherwise,
    };
    Ok((until.checked_sub(lookback).unwrap_or(SystemTime::UNIX_EPOCH), until))
}
