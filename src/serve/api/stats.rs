//! `/api/stats/…`: rate, errors and durations of services and of their operations; and which calls which.

use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::answer::{Answer, Failures, number, respond, time};
use crate::search;
use crate::serve::jaeger::kind;
use crate::serve::parameters::Parameters;
use crate::serve::period::Asked;

/// How far back unless it is said.
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// The most parts of a period.
const MOST_STEPS: usize = 200;

/// What was counted of a period.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Services {
    #[serde(flatten)]
    counted: Counted,
    /// By name.
    services: Vec<Service>,
}

/// What was counted of a period.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Operations {
    #[serde(flatten)]
    counted: Counted,
    /// By name.
    operations: Vec<Operation>,
}

/// The period that was counted.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Counted {
    /// Its begin: later than was asked for where that has more than about two million spans.
    #[schema(format = DateTime)]
    since: String,
    /// Its end.
    #[schema(format = DateTime)]
    until: String,
    /// Whether it is all of the period that was asked for.
    is_whole: bool,
    /// How many spans it has.
    span_count: u64,
}

/// How a service does.
#[derive(Serialize, ToSchema)]
struct Service {
    /// The service.
    service: String,
    #[serde(flatten)]
    figures: Figures,
}

/// How an operation does.
#[derive(Serialize, ToSchema)]
struct Operation {
    /// The spans' name, with `…` for what varies.
    name: String,
    /// internal, server, client, producer or consumer; null where it is unspecified.
    kind: Option<&'static str>,
    #[serde(flatten)]
    figures: Figures,
}

/// Spans in numbers. Durations are at most a twentieth too long.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Figures {
    /// How many spans.
    span_count: u64,
    /// How many of them failed.
    error_span_count: u64,
    /// Spans a second.
    spans_per_second: f64,
    /// Half of them took no longer, in nanoseconds.
    p50_nanos: String,
    /// 95 of 100 took no longer.
    p95_nanos: String,
    /// 99 of 100 took no longer.
    p99_nanos: String,
    /// By part of the period, the first first.
    steps: Vec<Step>,
}

/// Spans of a part of the period.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Step {
    /// How many spans.
    span_count: u64,
    /// How many of them failed.
    error_span_count: u64,
}

/// Which service calls which.
#[derive(Serialize, ToSchema)]
pub(super) struct Dependencies {
    /// The period; of its hours all calls are counted.
    #[schema(format = DateTime)]
    since: String,
    /// Its end.
    #[schema(format = DateTime)]
    until: String,
    /// By the names of the services.
    dependencies: Vec<Dependency>,
}

/// Calls from one service to another: spans whose parent is the other's.
#[derive(Serialize, ToSchema)]
struct Dependency {
    /// The service that calls.
    parent: String,
    /// The service that is called.
    child: String,
    /// How many calls.
    calls: u64,
    /// How many of them failed.
    errors: u64,
}

/// Rate, errors and durations of all services.
#[utoipa::path(get, path = "/api/stats/services", tag = "statistics",
    params(
        ("since" = Option<String>, Query, description = "RFC 3339; an hour before `until` by default", format = DateTime),
        ("until" = Option<String>, Query, description = "RFC 3339; with the newest trace by default", format = DateTime),
        ("last" = Option<String>, Query, description = "The length before `until`, or all, instead of `since`", example = "15m"),
        ("steps" = Option<u64>, Query, description = "Parts of the period, up to 200; 30 by default", minimum = 1),
    ),
    responses((status = 200, description = "Figures", body = Services), Failures))]
pub(super) async fn services(State(api): State<Api>, RawQuery(query): RawQuery) -> Response {
    let count = async || {
        let figures = figures(&api, None, &Parameters::of(query.as_deref())).await?;
        let service = |figure: &search::Figure| Service {
            service: figure.service.clone(),
            figures: Figures::of(figure, &figures),
        };
        Ok(Services { counted: (&figures).into(), services: figures.rows.iter().map(service).collect() })
    };
    respond(count().await)
}

/// Rate, errors and durations of a service's operations.
#[utoipa::path(get, path = "/api/stats/operations", tag = "statistics",
    params(
        ("service" = String, Query, description = "The service"),
        ("since" = Option<String>, Query, description = "RFC 3339; an hour before `until` by default", format = DateTime),
        ("until" = Option<String>, Query, description = "RFC 3339; with the newest trace by default", format = DateTime),
        ("last" = Option<String>, Query, description = "The length before `until`, or all, instead of `since`", example = "15m"),
        ("steps" = Option<u64>, Query, description = "Parts of the period, up to 200; 30 by default", minimum = 1),
    ),
    responses((status = 200, description = "Figures; none where there is no such service", body = Operations), Failures))]
pub(super) async fn operations(State(api): State<Api>, RawQuery(query): RawQuery) -> Response {
    let count = async || {
        let parameters = Parameters::of(query.as_deref());
        // A service may have no name: it is asked for by an empty one.
        let service = parameters.all("service").next();
        let service = service.ok_or_else(|| "parameter service is required".to_owned())?;
        let figures = figures(&api, Some(service), &parameters).await?;
        let operation = |figure: &search::Figure| Operation {
            name: figure.operation.clone(),
            kind: figure.kind.and_then(|is| kind(is as i32)),
            figures: Figures::of(figure, &figures),
        };
        Ok(Operations {
            counted: (&figures).into(),
            operations: figures.rows.iter().map(operation).collect(),
        })
    };
    respond(count().await)
}

async fn figures(api: &Api, service: Option<&str>, parameters: &Parameters) -> Answer<search::Figures> {
    let (asked, steps) = (Asked::of(parameters)?, number(parameters, "steps", 30, MOST_STEPS)?);
    let period = asked.resolve(&api.store, HOUR).await?;
    Ok(api.store.figures(service, period.since, period.until, steps as u32).await?)
}

/// The service map.
#[utoipa::path(get, path = "/api/stats/dependencies", tag = "statistics",
    params(
        ("since" = Option<String>, Query, description = "RFC 3339; a day before `until` by default", format = DateTime),
        ("until" = Option<String>, Query, description = "RFC 3339; with the newest trace by default", format = DateTime),
        ("last" = Option<String>, Query, description = "The length before `until`, or all, instead of `since`", example = "24h"),
    ),
    responses((status = 200, description = "Calls, as far as they are counted", body = Dependencies), Failures))]
pub(super) async fn dependencies(State(api): State<Api>, RawQuery(query): RawQuery) -> Response {
    let read = async || {
        let asked = Asked::of(&Parameters::of(query.as_deref()))?;
        let period = asked.resolve(&api.store, DAY).await?;
        let dependencies = api.store.dependencies(period.since, period.until).await?;
        let dependencies = dependencies.into_iter().map(|link| Dependency {
            parent: link.parent,
            child: link.child,
            calls: link.calls,
            errors: link.errors,
        });
        Ok(Dependencies {
            since: time(period.since),
            until: time(period.until),
            dependencies: dependencies.collect(),
        })
    };
    respond(read().await)
}

impl From<&search::Figures> for Counted {
    fn from(figures: &search::Figures) -> Self {
        Counted {
            since: time(figures.since),
            until: time(figures.until),
            is_whole: figures.is_whole,
            span_count: figures.spans,
        }
    }
}

impl Figures {
    fn of(figure: &search::Figure, all: &search::Figures) -> Self {
        let seconds = all.until.duration_since(all.since).unwrap_or_default().as_secs_f64();
        Figures {
            span_count: figure.spans,
            error_span_count: figure.errors,
            spans_per_second: figure.spans as f64 / seconds.max(f64::MIN_POSITIVE),
            p50_nanos: figure.p50.as_nanos().to_string(),
            p95_nanos: figure.p95.as_nanos().to_string(),
            p99_nanos: figure.p99.as_nanos().to_string(),
            steps: figure
                .steps
                .iter()
                .map(|(spans, errors)| Step { span_count: *spans, error_span_count: *errors })
                .collect(),
        }
    }
}
