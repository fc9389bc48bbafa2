//! The payment service, traced through OpenTelemetry's own API, without `tracing`.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::post;
use axum::{Json, Router};
use opentelemetry::trace::{FutureExt, SpanKind, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue, global};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use serde::Deserialize;

#[derive(Deserialize)]
struct Charge {
    order: i64,
    cents: i64,
    card: String,
}

pub fn router(provider: &SdkTracerProvider) -> Router {
    Router::new()
        .route("/charges", post(charge))
        .route("/refunds", post(async || StatusCode::NO_CONTENT))
        .layer(from_fn_with_state(provider.tracer("payments"), server_span))
}

/// A server span that continues the caller's trace. If the caller does not wait for the answer, the span ends there.
async fn server_span(State(tracer): State<SdkTracer>, request: Request, next: Next) -> Response {
    let caller = global::get_text_map_propagator(|w3c| w3c.extract(&HeaderExtractor(request.headers())));
    let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
    let span = tracer
        .span_builder(format!("{method} {path}"))
        .with_kind(SpanKind::Server)
        .with_attributes([
            KeyValue::new("http.request.method", method),
            KeyValue::new("http.route", path.clone()),
            KeyValue::new("url.path", path),
            KeyValue::new("url.scheme", "http"),
        ])
        .start_with_context(&tracer, &caller);
    let context = caller.with_span(span);
    let response = next.run(request).with_context(context.clone()).await;
    let status = i64::from(response.status().as_u16());
    context.span().set_attribute(KeyValue::new("http.response.status_code", status));
    response
}

/// The bank's answer; test cards say what it is.
async fn charge(Json(charge): Json<Charge>) -> Result<StatusCode, (StatusCode, String)> {
    let context = Context::current();
    context.span().set_attributes([
        KeyValue::new("order.id", charge.order),
        KeyValue::new("payment.amount_cents", charge.cents),
    ]);
    let reason = match charge.card.as_str() {
        "expired" => "the card has expired",
        "declined" => "the bank refuses the card",
        "slow" => {
            context.span().add_event("bank is slow to answer", vec![]);
            tokio::time::sleep(Duration::from_secs(2)).await;
            return Ok(StatusCode::NO_CONTENT);
        }
        _ => return Ok(StatusCode::NO_CONTENT),
    };
    let exception =
        vec![KeyValue::new("exception.type", "CardRefused"), KeyValue::new("exception.message", reason)];
    context.span().add_event("exception", exception);
    Err((StatusCode::PAYMENT_REQUIRED, reason.into()))
}
