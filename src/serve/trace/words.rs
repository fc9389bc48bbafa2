//! A span's fields as text.

use std::borrow::Cow;
use std::time::Duration;

use crate::span::{Span, Timestamp, Value};

/// The name of a kind's number.
pub fn kind(number: i32) -> &'static str {
    ["unspecified", "internal", "server", "client", "producer", "consumer"]
        .get(usize::try_from(number).unwrap_or(0))
        .unwrap_or(&"unspecified")
}

/// From one time to a later one; nothing where the clock went back.
pub fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::from_nanos(u64::try_from((to.0 - from.0).max(0)).unwrap_or(u64::MAX))
}

/// Why a span failed: its status message or, where there is none, that of its first exception.
pub fn message<'a>(span: &'a Span<'_>) -> Option<Cow<'a, str>> {
    if !span.is_error() {
        return None;
    }
    if !span.status.message.is_empty() {
        return Some(Cow::Borrowed(&span.status.message));
    }
    let mut attributes = span.events.iter().flat_map(|event| &event.attributes);
    attributes.find(|(key, _)| key == "exception.message").map(|(_, value)| text(value))
}

/// A text for where nothing can end its writing direction: without the characters that set one.
pub fn undirected(text: &str) -> String {
    let sets = |character: &char| matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().filter(|character| !sets(character)).collect()
}

/// A value as people read it.
pub fn text<'a>(value: &'a Value<'_>) -> Cow<'a, str> {
    match value {
        Value::Empty => Cow::Borrowed(""),
        Value::Bool(value) => value.to_string().into(),
        Value::Int(value) => value.to_string().into(),
        Value::Double(value) => value.to_string().into(),
        Value::String(value) => Cow::Borrowed(value),
        Value::Bytes(value) => format!("{} bytes", value.len()).into(),
        Value::Array(values) => {
            format!("[{}]", values.iter().map(text).collect::<Vec<_>>().join(", ")).into()
        }
        Value::KeyValues(pairs) => {
            let pairs: Vec<_> = pairs.iter().map(|(key, value)| format!("{key}: {}", text(value))).collect();
            format!("{{{}}}", pairs.join(", ")).into()
        }
    }
}
