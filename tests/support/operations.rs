//! Spans of hundreds of operations, each with a document of its own.

use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_pgvector::span::{Resource, Span, StatusCode, Timestamp, Value};

/// More documents than are asked for their rows one by one.
const OPERATIONS: usize = 300;
const YEAR: u64 = 365 * 24 * 3600;

/// A span a trace. They are the denser the newer, with a gap of two years, and one clock is wrong by thirty.
pub fn spans() -> Vec<Span<'static>> {
    (0..2_000u64).map(|number| span(number, ago(number))).collect()
}

fn ago(number: u64) -> i64 {
    match number {
        777 => -(30 * YEAR as i64),
        0..1_000 => number as i64,
        1_000..1_900 => (number * number / 10) as i64,
        _ => (2 * YEAR + 100 * number) as i64,
    }
}

pub fn span(number: u64, ago: i64) -> Span<'static> {
    let now = Timestamp::from(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
    let start = Timestamp(now.0 - i128::from(ago) * 1_000_000_000);
    let operation = number as usize % OPERATIONS;
    let mut span = Span {
        resource: std::sync::Arc::new(Resource {
            attributes: vec![("service.name".into(), text("shop"))],
            ..Resource::default()
        }),
        trace_id: TraceId::from(u128::from(number) + 1),
        span_id: SpanId::from(number + 1),
        name: format!("{} {}", word(operation / 20), word(20 + operation % 20)).into(),
        start,
        end: Timestamp(start.0 + 5_000_000),
        attributes: vec![("user.id".into(), text(&format!("u{}", number % 70)))],
        ..Span::default()
    };
    if number % 20 < 7 {
        span.status.code = StatusCode::ERROR;
    }
    span
}

/// Words that are not taken for values.
fn word(number: usize) -> String {
    const SYLLABLES: [&str; 6] = ["ka", "lo", "mi", "nu", "pe", "ra"];
    let at = |place: u32| SYLLABLES[number / 6usize.pow(place) % 6];
    format!("{}{}{}s", at(0), at(1), at(0))
}

fn text(text: &str) -> Value<'static> {
    Value::String(text.to_owned().into())
}
