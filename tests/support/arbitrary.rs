//! Arbitrary spans: every type and every limit.
//!
//! Strategies are boxed: one within another, by value, they take more than a test thread's whole stack.

use std::borrow::Cow;
use std::sync::Arc;

use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_pgvector::span::{
    Attribute, Event, Link, Resource, Scope, Span, Status, StatusCode, Timestamp, Value,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

/// Texts: names, literals, format signs, control characters, other scripts; no NUL.
pub fn text() -> BoxedStrategy<String> {
    prop_oneof![
        10 => Just(String::new()),
        10 => "[a-zA-Z ./_-]{1,20}",
        10 => "[ -~]{0,40}",
        10 => "(select|update) [a-z]{1,5} where id = [0-9]{1,9} and x = '[a-z ']{0,8}'",
        10 => "https?://[a-z]{1,8}/[a-z0-9]{0,6}/[0-9]{1,6}\\?[a-z]=[a-z0-9%+]{0,9}&b=2",
        10 => "\\PC{0,12}",
        10 => "[%$1s{}\"\\\\\u{1}-\u{1f}\u{7f}…]{0,12}",
        10 => "[a-z]{3}@[a-z]{3}\\.org",
        10 => Just("%s %1$s %% %".to_owned()),
        1 => Just("x".repeat(100_000)),
    ]
    .boxed()
}

fn key() -> BoxedStrategy<String> {
    prop_oneof![
        Just("http.request.method".to_owned()),
        Just("http.response.status_code".to_owned()),
        Just("db.query.text".to_owned()),
        Just("url.full".to_owned()),
        Just("exception.message".to_owned()),
        Just("exception.stacktrace".to_owned()),
        Just("user.id".to_owned()),
        Just("$double".to_owned()),
        "[a-c]",
        text(),
    ]
    .boxed()
}

fn double() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        Just(f64::NAN),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        Just(-0.0),
        Just(1.0),
        Just(f64::MIN_POSITIVE),
        Just(5e-324),
        Just(f64::MAX),
    ]
}

pub fn value() -> BoxedStrategy<Value<'static>> {
    let leaf = prop_oneof![
        Just(Value::Empty),
        any::<bool>().prop_map(Value::Bool),
        prop_oneof![any::<i64>(), Just(i64::MIN), Just(i64::MAX), Just(1)].prop_map(Value::Int),
        double().prop_map(Value::Double),
        text().prop_map(|text| Value::String(Cow::Owned(text))),
        proptest::collection::vec(any::<u8>(), 0..20).prop_map(|bytes| Value::Bytes(Cow::Owned(bytes))),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            proptest::collection::vec((key().prop_map(Cow::Owned), inner), 0..4).prop_map(Value::KeyValues),
        ]
    })
    .boxed()
}

pub fn attributes() -> BoxedStrategy<Vec<Attribute<'static>>> {
    proptest::collection::vec((key().prop_map(Cow::Owned), value()), 0..6).boxed()
}

/// Times at, around and far from the epoch.
pub fn time() -> BoxedStrategy<Timestamp> {
    prop_oneof![
        (1_600_000_000_000_000_000i128..1_900_000_000_000_000_000).prop_map(Timestamp),
        any::<u64>().prop_map(Timestamp::from),
        any::<i64>().prop_map(|time| Timestamp(time.into())),
        Just(Timestamp(0)),
        Just(Timestamp(-1)),
        (any::<i64>(), 0..1_000_000_000i128)
            .prop_map(|(seconds, rest)| Timestamp(i128::from(seconds) * 1_000_000_000 + rest)),
    ]
    .boxed()
}

fn count() -> impl Strategy<Value = u32> {
    prop_oneof![4 => Just(0), 1 => any::<u32>()]
}

fn flags() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), Just(0x101), Just(0x301), any::<u32>()]
}

fn event() -> BoxedStrategy<Event<'static>> {
    (time(), prop_oneof![Just("exception".to_owned()), text()], attributes(), count())
        .prop_map(|(time, name, attributes, dropped_attributes_count)| Event {
            time,
            name: name.into(),
            attributes,
            dropped_attributes_count,
        })
        .boxed()
}

fn link() -> BoxedStrategy<Link<'static>> {
    (any::<[u8; 16]>(), any::<[u8; 8]>(), text(), flags(), attributes(), count())
        .prop_map(|(trace_id, span_id, trace_state, flags, attributes, dropped_attributes_count)| Link {
            trace_id: TraceId::from_bytes(trace_id),
            span_id: SpanId::from_bytes(span_id),
            trace_state: trace_state.into(),
            flags,
            attributes,
            dropped_attributes_count,
        })
        .boxed()
}

fn resource() -> BoxedStrategy<Arc<Resource>> {
    (text(), attributes(), count(), text())
        .prop_map(|(service, mut attributes, dropped_attributes_count, schema_url)| {
            attributes.insert(0, ("service.name".into(), Value::String(service.into())));
            Arc::new(Resource { attributes, dropped_attributes_count, schema_url })
        })
        .boxed()
}

fn scope() -> BoxedStrategy<Arc<Scope>> {
    (text(), text(), attributes(), count(), text())
        .prop_map(|(name, version, attributes, dropped_attributes_count, schema_url)| {
            Arc::new(Scope { name, version, attributes, dropped_attributes_count, schema_url })
        })
        .boxed()
}

fn status() -> BoxedStrategy<Status<'static>> {
    (prop_oneof![0..3, any::<i32>()], prop_oneof![Just(String::new()), text()])
        .prop_map(|(code, message)| Status { code: StatusCode(code), message: message.into() })
        .boxed()
}

fn id<const N: usize>() -> impl Strategy<Value = [u8; N]>
where
    [u8; N]: Arbitrary,
{
    prop_oneof![4 => any::<[u8; N]>(), 1 => Just([0; N]), 1 => Just([0xff; N])]
}

/// Some arbitrary spans of different traces, the same in every run but for the traces' ids.
pub fn sample(count: usize) -> Vec<Span<'static>> {
    let mut runner = TestRunner::deterministic();
    let tree = proptest::collection::vec(span(), count).new_tree(&mut runner).expect("spans");
    let mut spans = tree.current();
    for span in &mut spans {
        span.trace_id = TraceId::from(uuid::Uuid::new_v4().as_u128());
    }
    spans
}

/// A span of anything that the SDK or OTLP can carry.
pub fn span() -> BoxedStrategy<Span<'static>> {
    let identity = (resource(), scope(), id::<16>(), id::<8>(), id::<8>(), text(), flags());
    let body = (text(), prop_oneof![0..6, any::<i32>()], time(), time(), attributes(), status());
    let parts = (proptest::collection::vec(event(), 0..7), proptest::collection::vec(link(), 0..3));
    (identity, body, parts, [count(), count(), count()])
        .prop_map(|(identity, body, (events, links), dropped)| {
            let (resource, scope, trace_id, span_id, parent_span_id, trace_state, flags) = identity;
            let (name, kind, start, end, attributes, status) = body;
            Span {
                resource,
                scope,
                trace_id: TraceId::from_bytes(trace_id),
                span_id: SpanId::from_bytes(span_id),
                parent_span_id: SpanId::from_bytes(parent_span_id),
                trace_state: trace_state.into(),
                flags,
                name: name.into(),
                kind,
                start,
                end,
                attributes,
                dropped_attributes_count: dropped[0],
                events,
                dropped_events_count: dropped[1],
                links,
                dropped_links_count: dropped[2],
                status,
            }
        })
        .boxed()
}
