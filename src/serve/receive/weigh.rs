//! What a request takes in memory when it is decoded, found without decoding it: an empty span is two bytes of protobuf,
//! and 400 times as much as a struct.

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// About what a span takes without its texts and lists, and while the list grows that it is in.
const SPAN: usize = 800;
/// About what anything else takes that a list may have.
const OTHER: usize = 100;
/// How deep messages may be in one another, which is what decoding allows.
const DEPTH: usize = 100;

/// The messages of a request in which something may be repeated.
#[derive(Clone, Copy)]
enum Message {
    Request,
    ResourceSpans,
    Resource,
    EntityRef,
    ScopeSpans,
    Scope,
    Span,
    Event,
    Link,
    KeyValue,
    AnyValue,
    /// An `AnyValue` of an array.
    Element,
    ArrayValue,
    KeyValueList,
    Text,
}

impl Message {
    /// What stands in the field with this tag.
    fn field(self, tag: u32) -> Option<Message> {
        Some(match (self, tag) {
            (Message::Request, 1) => Message::ResourceSpans,
            (Message::ResourceSpans, 1) => Message::Resource,
            (Message::ResourceSpans, 2) => Message::ScopeSpans,
            (Message::Resource, 3) => Message::EntityRef,
            (Message::EntityRef, 3 | 4) => Message::Text,
            (Message::ScopeSpans, 1) => Message::Scope,
            (Message::ScopeSpans, 2) => Message::Span,
            (Message::Span, 11) => Message::Event,
            (Message::Span, 13) => Message::Link,
            (Message::Resource | Message::KeyValueList, 1)
            | (Message::Scope | Message::Event, 3)
            | (Message::Span, 9)
            | (Message::Link, 4) => Message::KeyValue,
            (Message::KeyValue, 2) => Message::AnyValue,
            (Message::ArrayValue, 1) => Message::Element,
            (Message::AnyValue | Message::Element, 5) => Message::ArrayValue,
            (Message::AnyValue | Message::Element, 6) => Message::KeyValueList,
            _ => return None,
        })
    }

    fn weight(self) -> usize {
        match self {
            Message::ResourceSpans | Message::ScopeSpans | Message::Span => SPAN,
            // A part of its `KeyValue`.
            Message::AnyValue => 0,
            _ => OTHER,
        }
    }
}

/// About how many bytes an `ExportTraceServiceRequest` takes.
pub(super) fn protobuf(bytes: &[u8]) -> usize {
    bytes.len() + inside(bytes, Message::Request, DEPTH)
}

/// Up to what cannot be decoded.
fn inside(mut bytes: &[u8], message: Message, depth: usize) -> usize {
    let mut weight = 0;
    while let Ok((tag, wire_type)) = decode_key(&mut bytes) {
        if wire_type != WireType::LengthDelimited {
            if skip_field(wire_type, tag, &mut bytes, DecodeContext::default()).is_err() {
                break;
            }
            continue;
        }
        let length = decode_varint(&mut bytes).ok().and_then(|length| usize::try_from(length).ok());
        let Some((content, rest)) = length.and_then(|length| bytes.split_at_checked(length)) else { break };
        bytes = rest;
        if let Some(field) = message.field(tag) {
            weight += field.weight();
            if depth > 0 {
                weight += inside(content, field, depth - 1);
            }
        }
    }
    weight
}

/// The same of JSON: the objects down to the spans weigh as these, what is deeper as anything else.
pub(super) fn json(text: &[u8]) -> usize {
    /// Document, `ResourceSpans`, `ScopeSpans`, span.
    const SPANS: u32 = 4;
    let (mut weight, mut depth, mut in_string, mut escaped) = (text.len(), 0u32, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' => {
                depth = depth.saturating_add(1);
                weight += if depth <= SPANS { SPAN } else { OTHER };
            }
            b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    weight
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
    use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
    use prost::Message as _;

    use super::*;
    use crate::serve::receive::MOST_WEIGHT;

    const COUNT: usize = 1000;

    fn request(span: Span) -> ExportTraceServiceRequest {
        let scope_spans = ScopeSpans { spans: vec![span; COUNT], ..ScopeSpans::default() };
        let resource_spans = ResourceSpans { scope_spans: vec![scope_spans], ..ResourceSpans::default() };
        ExportTraceServiceRequest { resource_spans: vec![resource_spans] }
    }

    fn attribute() -> KeyValue {
        let value = Some(AnyValue { value: Some(Value::StringValue("GET".into())) });
        KeyValue { key: "http.method".into(), value, key_strindex: 0 }
    }

    /// As little as an exporter writes.
    fn real() -> Span {
        Span {
            trace_id: vec![7; 16],
            span_id: vec![7; 8],
            name: "GET /".into(),
            kind: 2,
            start_time_unix_nano: 1_700_000_000_000_000_000,
            end_time_unix_nano: 1_700_000_000_000_000_001,
            ..Span::default()
        }
    }

    #[test]
    fn real_spans_are_within_what_a_request_may_weigh() {
        let with_attributes = Span { attributes: vec![attribute(); 20], ..real() };
        for span in [real(), with_attributes] {
            let message = request(span);
            let bytes = message.encode_to_vec();
            assert!(protobuf(&bytes) <= MOST_WEIGHT * bytes.len(), "{}", protobuf(&bytes) / bytes.len());
            let text = serde_json::to_vec(&message).expect("JSON");
            assert!(json(&text) <= MOST_WEIGHT * text.len(), "{}", json(&text) / text.len());
        }
    }

    #[test]
    fn what_is_empty_weighs_what_it_takes() {
        let many = 3;
        for (span, least) in [
            (Span::default(), 0),
            (Span { events: vec![Event::default(); many], ..Span::default() }, size_of::<Event>()),
            (Span { links: vec![Link::default(); many], ..Span::default() }, size_of::<Link>()),
            (Span { attributes: vec![KeyValue::default(); many], ..Span::default() }, size_of::<KeyValue>()),
        ] {
            let least = COUNT * (size_of::<Span>() + many * least);
            assert!(protobuf(&request(span).encode_to_vec()) >= least, "{least}");
        }
        let spans =
            format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{}{{}}]}}]}}]}}"#, "{},".repeat(COUNT));
        assert!(json(spans.as_bytes()) >= COUNT * SPAN);
        assert!(json(br#"{"a":"{{{{\"{{{{"}"#) < 2 * SPAN, "a text has no objects");
    }

    #[test]
    fn what_cannot_be_decoded_ends_it() {
        let mut value = AnyValue::default().encode_to_vec();
        for _ in 0..500 {
            value = [&[0x0a][..], &length(value.len()), &value].concat();
        }
        protobuf(&value);
        for bytes in [&b"\xff\xff\xff"[..], b"\x0a\x05\x12", b"\x0b\x0b\x0b", b""] {
            assert_eq!(protobuf(bytes), bytes.len(), "{bytes:?}");
        }
    }

    fn length(length: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        prost::encoding::encode_varint(length as u64, &mut bytes);
        bytes
    }
}
