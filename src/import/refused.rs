//! A record without the spans that were accepted, so that it can be mended and imported again.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::trace::v1::TracesData;
use prost::Message;
use serde::de::Error as _;
use serde_json::value::{RawValue, to_raw_value};

use super::frames::Frame;

/// What leads to the spans, in the order in which a reader looks for it.
const CONTAINERS: [&str; 11] = [
    "resourceSpans",
    "resource_spans",
    "batches",
    "data",
    "result",
    "trace",
    "spans",
    "scopeSpans",
    "scope_spans",
    "instrumentationLibrarySpans",
    "instrumentation_library_spans",
];

/// How many lists and objects lead to a span: any that were read have far fewer, and each takes of the stack.
const DEEPEST: usize = 64;

/// The record with those of its spans that are `refused`, in the order in which they were read. `None` where they are not
/// found again.
pub(super) fn only(frame: &Frame, refused: &[bool]) -> Option<Vec<u8>> {
    let mut flags = refused.iter().copied();
    let document = frame.document();
    let rest = if frame.kind.is_json() {
        json(&document, &mut flags)?
    } else {
        let mut message = TracesData::decode(&*document).ok()?;
        for resource_spans in &mut message.resource_spans {
            for scope_spans in &mut resource_spans.scope_spans {
                scope_spans.spans.retain(|_| flags.next().unwrap_or(true));
            }
            resource_spans.scope_spans.retain(|scope_spans| !scope_spans.spans.is_empty());
        }
        message.resource_spans.retain(|resource_spans| !resource_spans.scope_spans.is_empty());
        message.encode_to_vec()
    };
    flags.next().is_none().then_some(rest)
}

fn json(text: &[u8], refused: &mut impl Iterator<Item = bool>) -> Option<Vec<u8>> {
    let mut rest = Vec::new();
    for document in serde_json::Deserializer::from_slice(text).into_iter::<&RawValue>() {
        if let Some(document) = rest_of(document.ok()?.get(), false, 0, refused).ok()? {
            rest.push(document.get().to_owned());
        }
    }
    Some(rest.join("\n").into_bytes())
}

/// What is left of a value, as it is written but for the order of keys; `None` where nothing in it was refused.
fn rest_of(
    text: &str,
    is_span: bool,
    depth: usize,
    refused: &mut impl Iterator<Item = bool>,
) -> serde_json::Result<Option<Box<RawValue>>> {
    if depth > DEEPEST {
        return Err(serde_json::Error::custom("no spans are that deep"));
    }
    if text.starts_with('[') {
        let items: Vec<&RawValue> = serde_json::from_str(text)?;
        let rest =
            items.iter().filter_map(|item| rest_of(item.get(), is_span, depth + 1, refused).transpose());
        let rest = rest.collect::<serde_json::Result<Vec<_>>>()?;
        return if rest.is_empty() { Ok(None) } else { to_raw_value(&rest).map(Some) };
    }
    if is_span {
        return if refused.next().unwrap_or(true) { serde_json::from_str(text).map(Some) } else { Ok(None) };
    }
    let mut members: BTreeMap<String, Box<RawValue>> = serde_json::from_str(text)?;
    let has = |key: &str| members.get(key).is_some_and(|value| value.get() != "null");
    match CONTAINERS.into_iter().find(|key| has(key)) {
        // One of Jaeger's in Elasticsearch, which stands by itself.
        None | Some("spans") if has("spanID") => rest_of(text, true, depth + 1, refused),
        None => Ok(None),
        Some(key) => {
            let Some(value) = members.get_mut(key) else { return Ok(None) };
            let Some(rest) = rest_of(value.get(), key == "spans", depth + 1, refused)? else {
                return Ok(None);
            };
            *value = rest;
            to_raw_value(&members).map(Some)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::import::frames::{Frames, Kind};
    use crate::import::input::Input;
    use crate::import::{otlp_json, record};
    use crate::span::{Span, spans_from_otlp};

    fn frames(content: &[u8]) -> Vec<Frame> {
        let input = Input::reader("test", Cursor::new(content.to_vec()));
        let mut frames = Frames::new(input).expect("a recording");
        std::iter::from_fn(|| frames.next().expect("readable")).collect()
    }

    /// The names of the spans, and the reasons why there are none.
    fn read(frame: &Frame) -> Vec<Result<String, String>> {
        let name = |span: Span<'_>| span.name.into_owned();
        record::spans(frame).expect("a record").into_iter().map(|span| span.map(name)).collect()
    }

    fn spans(ids: &[&str]) -> String {
        let span =
            |id| format!(r#"{{"traceId":"{:032}","spanId":"{id}","name":"{id}","startTimeUnixNano":1}}"#, 7);
        ids.iter().map(span).collect::<Vec<_>>().join(",")
    }

    fn otlp() -> String {
        let [good, mixed] = [&["00000000000000a1"][..], &["b", "00000000000000b2", "c"]].map(spans);
        format!(
            r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{good}]}},{{"scope":{{"name":"s"}},"spans":[{mixed}]}}]}},
            {{"scopeSpans":[{{"spans":[{good}]}}]}}]}}"#
        )
        .replace('\n', "")
    }

    #[test]
    fn the_rest_has_the_refused_spans_only_and_is_a_recording_of_its_own() {
        let jaeger = r#"{"traceID":"7","spans":[{"spanID":"a","operationName":"a"},{"spanID":"?"},{"spanID":"!"}],"processes":{"p":{}}}"#;
        let of_elasticsearch = r#"{"traceID":"7","spanID":"?","spans":null}"#;
        let tempo = format!(r#"{{"trace":{}}}"#, otlp().replace("scopeSpans", "instrumentationLibrarySpans"));
        let pretty = otlp().replacen('{', "{\n", 1);
        for (content, refused) in [
            (otlp(), 2),
            (pretty, 2),
            (tempo, 2),
            (jaeger.to_owned(), 2),
            (format!(r#"{{"data":[{jaeger}]}}"#), 2),
            (of_elasticsearch.to_owned(), 1),
            (format!("{jaeger}{of_elasticsearch}"), 3),
        ] {
            let mut reasons = 0;
            for frame in frames(content.as_bytes()) {
                let before = read(&frame);
                let flags: Vec<bool> = before.iter().map(Result::is_err).collect();
                let rest = only(&frame, &flags).expect("the spans are found again");
                for frame in frames(&rest) {
                    let after = read(&frame);
                    assert!(after.iter().all(|span| before.contains(span) && span.is_err()), "{after:?}");
                    reasons += after.len();
                }
            }
            assert_eq!(reasons, refused, "{content}");
        }
    }

    #[test]
    fn of_protobuf_too() {
        let mut message = TracesData { resource_spans: Vec::new() };
        for ids in [[8, 3, 8, 4], [8, 8, 8, 8]] {
            let spans: Vec<_> =
                otlp_json::read_spans(otlp().as_bytes()).expect("OTLP").into_iter().flatten().collect();
            let mut one = crate::span::spans_to_otlp(&spans).resource_spans.remove(0);
            let scope_spans = one.scope_spans.last_mut().expect("a scope");
            let span = scope_spans.spans.first().expect("a span").clone();
            scope_spans.spans = ids
                .iter()
                .map(|length| opentelemetry_proto::tonic::trace::v1::Span {
                    span_id: vec![*length; usize::from(*length)],
                    ..span.clone()
                })
                .collect();
            message.resource_spans.push(one);
        }
        for kind in [Kind::TracesData, Kind::ResourceSpans] {
            let bytes = match kind {
                Kind::TracesData => message.encode_to_vec(),
                _ => message.resource_spans[0].encode_to_vec(),
            };
            let frame = Frame { kind, bytes, origin: "test".into(), batch: None };
            let flags: Vec<bool> =
                record::spans(&frame).expect("a record").iter().map(Result::is_err).collect();
            let rest = TracesData::decode(&*only(&frame, &flags).expect("found again")).expect("OTLP");
            assert_eq!(rest.resource_spans.len(), 1);
            let spans = rest.resource_spans.iter().flat_map(spans_from_otlp);
            assert_eq!(spans.filter(Result::is_err).count(), 2);
        }
    }
}
