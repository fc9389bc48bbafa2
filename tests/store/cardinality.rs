//! The number of documents is bounded, whatever a client puts into its spans.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_pgvector::span::{Resource, Span, Splitter, Timestamp, Value};

/// Fewer than the million of `benches/cardinality.rs`, and enough to pass every limit.
const SPANS: u64 = 30_000;
const BOUND: usize = 5_000;

/// A fresh value of a kind: what clients put where a constant belongs.
fn fresh(kind: &str, number: u64) -> String {
    // A permutation of the numbers, so that neighbours have nothing in common.
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d;
    let word: String = (0..10).map(|letter| char::from(b'a' + (mixed >> (letter * 5)) as u8 % 26)).collect();
    match kind {
        "uuid" => uuid::Uuid::from_u64_pair(mixed, number).to_string(),
        "number" => number.to_string(),
        "email" => format!("{word}@example.org"),
        _ => word,
    }
}

/// Where the fresh value goes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Name,
    Url,
    Sql,
    Attribute,
    Key,
    Event,
    Everywhere,
}

fn span(resource: &Arc<Resource>, place: Place, kind: &str, number: u64) -> Span<'static> {
    let value = |at: Place, salt: u64| {
        if place == at || place == Place::Everywhere {
            fresh(kind, number * 8 + salt)
        } else {
            "constant".to_owned()
        }
    };
    let text = |text: String| Value::String(Cow::Owned(text));
    Span {
        resource: Arc::clone(resource),
        trace_id: TraceId::from(u128::from(number)),
        span_id: SpanId::from(number),
        name: format!("process {}", value(Place::Name, 0)).into(),
        kind: 2,
        attributes: vec![
            (
                "url.full".into(),
                text(format!("http://host/{}/x?q={}", value(Place::Url, 1), value(Place::Url, 2))),
            ),
            (
                "db.query.text".into(),
                text(format!("select {0} from t where name = '{0}'", value(Place::Sql, 3))),
            ),
            ("note".into(), text(value(Place::Attribute, 4))),
            ("level.of.detail".into(), Value::Int(if place == Place::Attribute { number as i64 } else { 1 })),
            (format!("key {}", value(Place::Key, 5)).into(), Value::Bool(true)),
        ],
        events: vec![opentelemetry_pgvector::span::Event {
            time: Timestamp(number.into()),
            name: "exception".into(),
            attributes: vec![("exception.message".into(), text(format!("no {}", value(Place::Event, 6))))],
            dropped_attributes_count: 0,
        }],
        ..Span::default()
    }
}

#[test]
fn no_fresh_value_anywhere_makes_a_document_a_span() {
    let resource = Arc::new(Resource {
        attributes: vec![("service.name".into(), Value::String("careless".into()))],
        ..Resource::default()
    });
    use Place::{Attribute, Event, Everywhere, Key, Name, Sql, Url};
    for place in [Name, Url, Sql, Attribute, Key, Event, Everywhere] {
        for kind in ["uuid", "number", "email", "word"] {
            let mut splitter = Splitter::default();
            let mut documents = HashSet::new();
            for first in (0..SPANS).step_by(500) {
                let spans: Vec<_> =
                    (first..first + 500).map(|number| span(&resource, place, kind, number)).collect();
                let halves = splitter.split(&spans, |key| documents.contains(&key));
                documents.extend(halves.documents.iter().map(|document| document.key));
            }
            println!("{kind} in {place:?}: {} documents", documents.len());
            assert!(documents.len() < BOUND, "{kind} in {place:?}: {} documents", documents.len());
        }
    }
}
