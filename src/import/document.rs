//! A JSON document of any kind that is imported: OTLP, as a file, Tempo or Jaeger's newer API has it, or Jaeger's own.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::jaeger;
use super::otlp_json::read::{ResourceSpans, spans_of};
use super::otlp_json::read_spans;
use crate::span::Span;

type Spans = Vec<Result<Span<'static>, String>>;

/// How many lists and envelopes may be around one another: any real document has two or three, and each takes of the stack.
const DEEPEST: usize = 16;

/// Whatever may be there; most is absent.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Document<'a> {
    #[serde(borrow, rename = "traceID")]
    trace_id: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "spanID")]
    span_id: Option<&'a RawValue>,
    #[serde(borrow)]
    spans: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    processes: Option<HashMap<String, Option<&'a RawValue>>>,
    warnings: Option<Vec<String>>,
    #[serde(borrow, rename = "resourceSpans", alias = "resource_spans", alias = "batches")]
    resource_spans: Option<&'a RawValue>,
    /// The envelopes: of Jaeger's API, of its version 3, of Tempo's version 2.
    #[serde(borrow, alias = "result", alias = "trace")]
    data: Option<&'a RawValue>,
    errors: Option<Vec<ApiError>>,
}

/// An error in Jaeger's envelope.
#[derive(Deserialize)]
pub(super) struct ApiError {
    msg: Option<String>,
}

pub(super) fn errors_message(errors: Vec<ApiError>) -> String {
    let messages: Vec<_> = errors.into_iter().filter_map(|error| error.msg).collect();
    format!("the answer is an error: {}", messages.join(", "))
}

/// The spans of a text with one or more documents.
///
/// # Errors
/// Where the text is not JSON, or not traces: nothing of it is read then.
pub(super) fn spans(text: &[u8]) -> Result<Spans, String> {
    // What comes in quantity is read in one pass.
    if text.starts_with(b"{\"resourceSpans\"") {
        return read_spans(text);
    }
    let mut spans = Vec::new();
    for document in serde_json::Deserializer::from_slice(text).into_iter::<&RawValue>() {
        read(document.map_err(|error| error.to_string())?.get(), 0, &mut spans)?;
    }
    Ok(spans)
}

/// The spans of one `ResourceSpans`.
///
/// # Errors
/// Where it is none.
pub(super) fn resource_spans(text: &[u8]) -> Result<Spans, String> {
    let message: ResourceSpans = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let mut spans = Vec::new();
    spans_of(message, &mut spans);
    Ok(spans)
}

fn read(text: &str, depth: usize, spans: &mut Spans) -> Result<(), String> {
    if depth > DEEPEST {
        return Err(format!(
            "has more than {DEEPEST} lists or envelopes around its traces, so it is none of OTLP, Jaeger or Tempo"
        ));
    }
    let wrong = |error: serde_json::Error| error.to_string();
    if text.starts_with('[') {
        let items: Vec<&RawValue> = serde_json::from_str(text).map_err(wrong)?;
        return items.iter().try_for_each(|item| read(item.get(), depth + 1, spans));
    }
    let document: Document<'_> = serde_json::from_str(text).map_err(wrong)?;
    if let Some(errors) = document.errors.filter(|errors| !errors.is_empty()) {
        return Err(errors_message(errors));
    }
    if let Some(messages) = document.resource_spans {
        let messages: Option<Vec<ResourceSpans>> = serde_json::from_str(messages.get()).map_err(wrong)?;
        messages.into_iter().flatten().for_each(|message| spans_of(message, spans));
        return Ok(());
    }
    if let Some(data) = document.data {
        return if data.get() == "null" { Ok(()) } else { read(data.get(), depth + 1, spans) };
    }
    if document.span_id.is_some() {
        let raw: &RawValue = serde_json::from_str(text).map_err(wrong)?;
        spans.extend(jaeger::spans(jaeger::Trace {
            trace_id: None,
            spans: vec![raw],
            processes: HashMap::new(),
            warnings: Vec::new(),
        }));
        return Ok(());
    }
    let Some(of_trace) = document.spans else {
        // Protobuf writes a message with nothing in it as `{}`; anything else without one of the fields is something else.
        let empty = text.bytes().all(|byte| byte.is_ascii_whitespace() || matches!(byte, b'{' | b'}'));
        return if empty {
            Ok(())
        } else {
            Err("has no field resourceSpans, so it is not OTLP traces; nor has it Jaeger's spans or data"
                .into())
        };
    };
    spans.extend(jaeger::spans(jaeger::Trace {
        trace_id: document.trace_id,
        spans: of_trace,
        processes: document.processes.unwrap_or_default(),
        warnings: document.warnings.unwrap_or_default(),
    }));
    Ok(())
}
