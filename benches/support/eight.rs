//! Spans with eight attributes, as a web server makes them.

use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::random::Random;

const ROUTES: [&str; 4] = ["/orders/{id}", "/orders", "/customers/{id}/orders", "/health"];

/// The attributes of one request.
pub fn attributes(random: &mut Random) -> Vec<KeyValue> {
    let route = *random.one_of(&ROUTES);
    let path = route.replace("{id}", &random.below(1_000_000).to_string());
    vec![
        KeyValue::new("http.request.method", "GET"),
        KeyValue::new("http.route", route),
        KeyValue::new("url.path", path),
        KeyValue::new("http.response.status_code", 200),
        KeyValue::new("server.address", "shop.example"),
        KeyValue::new("server.port", 443),
        KeyValue::new("client.address", format!("10.0.0.{}", random.below(256))),
        KeyValue::new("enduser.id", format!("user-{}", random.below(100_000))),
    ]
}

/// Finished spans of some traces.
pub fn spans(random: &mut Random, count: usize) -> Vec<SpanData> {
    let scope = InstrumentationScope::builder("http").with_version("1.0").build();
    (0..count)
        .map(|_| {
            let start = SystemTime::now();
            SpanData {
                span_context: SpanContext::new(
                    TraceId::from_bytes(random.uuid().into_bytes()),
                    SpanId::from_bytes(random.number().to_be_bytes()),
                    TraceFlags::SAMPLED,
                    false,
                    TraceState::NONE,
                ),
                parent_span_id: SpanId::from_bytes(random.number().to_be_bytes()),
                parent_span_is_remote: true,
                span_kind: SpanKind::Server,
                name: "GET".into(),
                start_time: start,
                end_time: start + Duration::from_micros(random.below(100_000)),
                attributes: attributes(random),
                dropped_attributes_count: 0,
                events: SpanEvents::default(),
                links: SpanLinks::default(),
                status: Status::Unset,
                instrumentation_scope: scope.clone(),
            }
        })
        .collect()
}
