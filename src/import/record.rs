//! From a record to spans.

use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, TracesData};
use prost::Message;

use super::document;
use super::frames::{Frame, Kind};
use super::otlp_json::surrogates;
use super::reason::shortened;
use crate::span::{Span, spans_from_otlp};

type Spans = Result<Vec<Result<Span<'static>, String>>, String>;

/// The spans of a record, each with the reason where it cannot be one.
///
/// # Errors
/// Where the record as a whole cannot be read.
pub(super) fn spans(frame: &Frame) -> Spans {
    let resource_spans = match frame.kind {
        Kind::Json => return json(&frame.bytes, document::spans),
        Kind::JsonResourceSpans => return json(&frame.bytes, document::resource_spans),
        Kind::TracesData => TracesData::decode(&*frame.bytes).map(|message| message.resource_spans),
        Kind::ResourceSpans => ResourceSpans::decode(&*frame.bytes).map(|message| vec![message]),
        Kind::Broken(reason) => return Err(reason.to_owned()),
    }
    .map_err(|error| error.to_string())?;
    Ok(resource_spans.iter().flat_map(spans_from_otlp).map(|span| span.map(Span::into_owned)).collect())
}

/// What is not read is read once more where it has halves of characters.
fn json(text: &[u8], read: fn(&[u8]) -> Spans) -> Spans {
    let spans = read(text);
    if spans.as_ref().is_ok_and(|spans| spans.iter().all(Result::is_ok)) {
        return spans;
    }
    let spans = surrogates::mended(text).map_or(spans, |text| read(&text)).map_err(shortened)?;
    Ok(spans.into_iter().map(|span| span.map_err(shortened)).collect())
}
