//! Calls of the payment service: a client span each, whose trace goes on at the other end.

use std::net::SocketAddr;
use std::time::Duration;

use opentelemetry::global;
use opentelemetry_http::HeaderInjector;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tracing::{Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::error::{Result, ShopError};
use crate::telemetry::in_span;

#[derive(Clone)]
pub struct Payments {
    http: reqwest::Client,
    address: SocketAddr,
}

impl Payments {
    pub fn new(address: SocketAddr) -> reqwest::Result<Self> {
        let http = reqwest::Client::builder().timeout(Duration::from_millis(300)).build()?;
        Ok(Payments { http, address })
    }

    pub async fn charge(&self, order: i64, cents: i64, card: &str) -> Result<()> {
        self.post("/charges", order, json!({ "order": order, "cents": cents, "card": card })).await
    }

    pub async fn refund(&self, order: i64, cents: i64) -> Result<()> {
        self.post("/refunds", order, json!({ "order": order, "cents": cents })).await
    }

    async fn post(&self, path: &str, order: i64, body: Value) -> Result<()> {
        let url = format!("http://{}{path}", self.address);
        let span = info_span!(
            "call",
            otel.name = format!("POST {path}"),
            otel.kind = "client",
            http.request.method = "POST",
            url.full = url,
            server.address = %self.address.ip(),
            server.port = i64::from(self.address.port()),
        );
        in_span(span, async {
            let request = self.http.post(&url).headers(trace_headers()).json(&body);
            let answer = request.send().await.map_err(|error| match error.is_timeout() {
                true => ShopError::PaymentTimeout { order },
                false => error.into(),
            })?;
            let status = i64::from(answer.status().as_u16());
            Span::current().set_attribute("http.response.status_code", status);
            if answer.status() == StatusCode::PAYMENT_REQUIRED {
                return Err(ShopError::PaymentDeclined { order, reason: answer.text().await? });
            }
            answer.error_for_status()?;
            Ok(())
        })
        .await
    }
}

/// The W3C header `traceparent` of the current span.
fn trace_headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    let context = Span::current().context();
    global::get_text_map_propagator(|w3c| w3c.inject_context(&context, &mut HeaderInjector(&mut headers)));
    headers
}
