//! Tags: keys with typed values.

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::Value as Json;

use crate::import::otlp_json::scalar::nullable;
use crate::span::{Attribute, Value};

/// Levels of lists in one another: as OTLP JSON, which takes four for one, they stay within the 128 that are read.
const DEPTH: usize = 24;

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Tag {
    #[serde(deserialize_with = "nullable")]
    pub key: String,
    #[serde(rename = "type", deserialize_with = "nullable")]
    kind: String,
    value: Json,
}

pub(super) fn attributes(tags: Vec<Tag>) -> Vec<Attribute<'static>> {
    tags.into_iter().map(|tag| (Cow::Owned(tag.key), value(&tag.kind, tag.value))).collect()
}

/// The value with its declared type. Jaeger's storages write numbers as texts, too. What does not fit its declared type
/// keeps the one that it has.
fn value(kind: &str, json: Json) -> Value<'static> {
    match (kind, &json) {
        ("int64", Json::String(text)) => text.trim().parse().ok().map(Value::Int),
        // As protobuf allows; a double has no home in an integer only where it has a fraction.
        ("int64", Json::Number(number)) => number.as_i64().map(Value::Int),
        ("float64", Json::String(text)) => text.trim().parse().ok().map(Value::Double),
        ("float64", Json::Number(number)) => number.as_f64().map(Value::Double),
        ("float64", Json::Null) => Some(Value::Double(f64::NAN)),
        ("bool", Json::String(text)) => text.trim().parse().ok().map(Value::Bool),
        ("binary", Json::String(text)) => {
            BASE64_STANDARD.decode(text).ok().map(|bytes| Value::Bytes(Cow::Owned(bytes)))
        }
        ("string", Json::Number(_) | Json::Bool(_)) => Some(Value::String(Cow::Owned(json.to_string()))),
        _ => None,
    }
    .unwrap_or_else(|| untyped(json, DEPTH))
}

/// Down to so many levels; what is deeper stays the text that it is.
fn untyped(json: Json, depth: usize) -> Value<'static> {
    match json {
        Json::Array(_) | Json::Object(_) if depth == 0 => Value::String(Cow::Owned(json.to_string())),
        Json::Null => Value::Empty,
        Json::Bool(value) => Value::Bool(value),
        Json::Number(number) => match number.as_i64() {
            Some(integer) => Value::Int(integer),
            None => Value::Double(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::String(Cow::Owned(text)),
        Json::Array(values) => {
            Value::Array(values.into_iter().map(|value| untyped(value, depth - 1)).collect())
        }
        Json::Object(pairs) => Value::KeyValues(
            pairs.into_iter().map(|(key, value)| (Cow::Owned(key), untyped(value, depth - 1))).collect(),
        ),
    }
}

/// Takes the first attribute of this name out.
pub(super) fn take(attributes: &mut Vec<Attribute<'static>>, name: &str) -> Option<Value<'static>> {
    let at = attributes.iter().position(|(key, _)| key == name)?;
    Some(attributes.remove(at).1)
}

/// Takes the first attribute of this name out where it is a text.
pub(super) fn take_text(attributes: &mut Vec<Attribute<'static>>, name: &str) -> Option<String> {
    let at = attributes.iter().position(|(key, value)| key == name && matches!(value, Value::String(_)))?;
    match attributes.remove(at).1 {
        Value::String(text) => Some(text.into_owned()),
        _ => None,
    }
}

pub(super) fn find<'a>(attributes: &'a [Attribute<'static>], name: &str) -> Option<&'a Value<'static>> {
    attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value)
}

pub(super) fn find_text<'a>(attributes: &'a [Attribute<'static>], name: &str) -> Option<&'a str> {
    match find(attributes, name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

/// Renames an attribute, unless there is one with the new name.
pub(super) fn rename(attributes: &mut [Attribute<'static>], name: &str, to: &'static str) {
    if find(attributes, to).is_none()
        && let Some((key, _)) = attributes.iter_mut().find(|(key, _)| key == name)
    {
        *key = Cow::Borrowed(to);
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::trace::v1::TracesData;
    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::import::document;
    use crate::import::otlp_json::{read_spans, write_spans};
    use crate::span::{Span, Splitter, Template, spans_to_otlp};

    #[test]
    fn every_type_is_read_as_jaeger_and_its_storages_write_it() {
        let text = |text: &'static str| Value::String(text.into());
        for (json, expected) in [
            (r#"{"type":"string","value":"a"}"#, text("a")),
            (r#"{"type":"string","value":7}"#, text("7")),
            (r#"{"type":"bool","value":true}"#, Value::Bool(true)),
            (r#"{"type":"bool","value":"false"}"#, Value::Bool(false)),
            (r#"{"type":"int64","value":-9223372036854775808}"#, Value::Int(i64::MIN)),
            (r#"{"type":"int64","value":"9007199254740993"}"#, Value::Int(9_007_199_254_740_993)),
            (r#"{"type":"int64","value":1.5}"#, Value::Double(1.5)),
            (r#"{"type":"int64","value":"many"}"#, text("many")),
            (r#"{"type":"float64","value":2}"#, Value::Double(2.0)),
            (r#"{"type":"float64","value":"NaN"}"#, Value::Double(f64::NAN)),
            (r#"{"type":"binary","value":"AP8="}"#, Value::Bytes(vec![0, 255].into())),
            (r#"{"type":"binary","value":"!"}"#, text("!")),
            (r#"{"value":3}"#, Value::Int(3)),
            (r#"{"value":[1,"a"]}"#, Value::Array(vec![Value::Int(1), text("a")])),
            (r#"{"type":"string"}"#, Value::Empty),
        ] {
            let tag: Tag = serde_json::from_str(json).expect("a tag");
            assert_eq!(value(&tag.kind, tag.value), expected, "{json}");
        }
    }

    /// As it comes back from the database.
    fn split_and_joined(span: &Span<'_>) -> Span<'static> {
        let halves = Splitter::default().split(std::slice::from_ref(span), |_| false);
        let row = &halves.rows[0];
        let stored = halves.stored(row);
        let template = Template::parse(&halves.documents[0].body).expect("a format string");
        template.join(&stored, &halves.resources[row.resource]).expect("the halves join")
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 50, ..ProptestConfig::default() })]

        #[test]
        fn a_value_of_any_depth_can_be_read_back(levels in proptest::collection::vec(0..3, 0..110)) {
            let nested = levels.iter().fold("1e-7".to_owned(), |inner, level| match level {
                0 => format!("[{inner}]"),
                1 => format!(r#"{{"a":{inner}}}"#),
                _ => format!(r#"{{"$a":{inner}}}"#),
            });
            let tags = format!(r#"[{{"key":"deep","value":{nested}}}]"#);
            let text = format!(
                r#"{{"traceID":"1","spanID":"2","tags":{tags},"logs":[{{"timestamp":1,"fields":{tags}}}],"process":{{"serviceName":"a","tags":{tags}}}}}"#
            );
            let spans: Vec<_> = document::spans(text.as_bytes()).expect("Jaeger's").into_iter().flatten().collect();
            prop_assert_eq!(spans.len(), 1);

            let mut otlp = Vec::new();
            write_spans(&mut otlp, &spans).expect("memory");
            let read: Vec<_> = read_spans(&otlp).expect("OTLP JSON").into_iter().flatten().collect();
            prop_assert_eq!(&read, &spans);
            let message = spans_to_otlp(&spans);
            prop_assert_eq!(&TracesData::decode(&*message.encode_to_vec()).expect("OTLP"), &message);
            let stored = split_and_joined(&spans[0]);
            prop_assert_eq!(&stored, &spans[0]);
        }
    }
}
