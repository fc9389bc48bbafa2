//! What makes traces: the providers, the subscriber, and a span around each request.

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use opentelemetry::trace::{Status, TracerProvider};
use opentelemetry::{KeyValue, global};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_pgvector::{Settings, tracer_provider};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::level_filters::LevelFilter;
use tracing::{Instrument, Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

use crate::error::{Result, ShopError};

pub fn provider(
    settings: &Settings,
    service: &'static str,
) -> opentelemetry_pgvector::Result<SdkTracerProvider> {
    let resource = Resource::builder().with_service_name(service).build();
    Ok(tracer_provider(settings.clone())?.with_resource(resource).build())
}

/// Exports the shop's own spans, and shows warnings, the exporter's among them, on the terminal.
pub fn install(provider: &SdkTracerProvider) {
    global::set_text_map_propagator(TraceContextPropagator::new());
    let export = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("shop"))
        .with_target(false)
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_filter(Targets::new().with_target("shop", LevelFilter::INFO));
    let terminal =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_filter(LevelFilter::WARN);
    tracing_subscriber::registry().with(export).with(terminal).init();
}

/// The server span of a request, by the semantic conventions for HTTP.
pub async fn server_span(request: Request, next: Next) -> Response {
    let method = request.method().as_str();
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let span = info_span!(
        "request",
        otel.name = format!("{method} {route}").trim_end(),
        otel.kind = "server",
        http.request.method = method,
        http.route = route,
        url.path = request.uri().path(),
        url.scheme = "http",
    );
    let caller = global::get_text_map_propagator(|w3c| w3c.extract(&HeaderExtractor(request.headers())));
    // Refused only where the span is not exported.
    let _ = span.set_parent(caller);
    let response = next.run(request).instrument(span.clone()).await;
    span.set_attribute("http.response.status_code", i64::from(response.status().as_u16()));
    response
}

/// Does some work within a span, and makes its failure the span's.
pub async fn in_span<T>(span: Span, work: impl Future<Output = Result<T>>) -> Result<T> {
    let result = work.instrument(span.clone()).await;
    if let Err(error) = &result {
        record_exception(&span, error);
        span.set_status(Status::error(error.to_string()));
        span.set_attribute("error.type", error.kind());
    }
    result
}

/// The event by which the semantic conventions record an error.
pub fn record_exception(span: &Span, error: &ShopError) {
    let attributes = vec![
        KeyValue::new("exception.type", error.kind()),
        KeyValue::new("exception.message", error.to_string()),
    ];
    span.add_event("exception", attributes);
}
