//! From a record to spans.

use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, TracesData};
use prost::Message;

use super::document;
use super::frames::{Frame, Kind};
use crate::span::{Span, spans_from_otlp};

/// The spans of a record, each with the reason where it cannot be one.
///
/// # Errors
/// Where the record as a whole cannot be read.
pub(super) fn spans(frame: &Frame) -> Result<Vec<Result<Span<'static>, String>>, String> {
    let resource_spans = match frame.kind {
        Kind::Json => return document::spans(&frame.bytes),
        Kind::JsonResourceSpans => return document::resource_spans(&frame.bytes),
        Kind::TracesData => TracesData::decode(&*frame.bytes).map(|message| message.resource_spans),
        Kind::ResourceSpans => ResourceSpans::decode(&*frame.bytes).map(|message| vec![message]),
    }
    .map_err(|error| error.to_string())?;
    Ok(resource_spans.iter().flat_map(spans_from_otlp).map(|span| span.map(Span::into_owned)).collect())
}
