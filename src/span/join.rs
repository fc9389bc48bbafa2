//! A document and a row become the span again.

use std::borrow::Cow;
use std::sync::Arc;

use opentelemetry::trace::{SpanId, TraceId};

use super::body::Body;
use super::encode::FILLER_END;
use super::model::{Resource, Scope, Span, Status, StatusCode, Timestamp};
use crate::error::{Error, Result};

/// A document's body, cut at its placeholders once and filled for many rows.
#[derive(Clone, Debug)]
pub struct Template {
    /// A constant text and the index of the filler behind it.
    parts: Vec<(String, usize)>,
    /// The constant text behind the last filler.
    tail: String,
}

/// The columns of a stored row that make up a span, besides document and resource.
#[derive(Clone, Copy, Debug)]
pub struct StoredRow<'a> {
    /// The trace's id.
    pub trace_id: [u8; 16],
    /// See [`super::Row::span_id`].
    pub span_id: i64,
    /// See [`super::Row::parent_span_id`].
    pub parent_span_id: i64,
    /// See [`super::Row::start_us`].
    pub start_us: i64,
    /// See [`super::Row::start_ns`].
    pub start_ns: i16,
    /// See [`super::Row::duration_ns`].
    pub duration_ns: i64,
    /// See [`super::Row::flags`].
    pub flags: i16,
    /// What fills the document's placeholders, each ended by U+001F.
    pub fillers: &'a str,
}

impl Template {
    /// Reads the format string that [`super::Document::body`] is.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where `%` is followed by something else than `%` or `1$s`, `2$s`, ….
    pub fn parse(body: &str) -> Result<Template> {
        let mut parts = Vec::new();
        let mut constant = String::new();
        let mut rest = body;
        while let Some((before, after)) = rest.split_once('%') {
            constant.push_str(before);
            if let Some(after) = after.strip_prefix('%') {
                constant.push('%');
                rest = after;
            } else if let Some((number, after)) = after.split_once("$s")
                && let Ok(number @ 1..) = number.parse::<usize>()
            {
                parts.push((std::mem::take(&mut constant), number - 1));
                rest = after;
            } else {
                return Err(Error::Corrupt(format!(
                    "a document's body has a foreign placeholder %{after:.8}"
                )));
            }
        }
        constant.push_str(rest);
        Ok(Template { parts, tail: constant })
    }

    /// The text with the fillers in their places, as PostgreSQL's `format()` makes it.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where a filler is missing.
    pub fn fill(&self, fillers: &str) -> Result<String> {
        let values: Vec<&str> = fillers.split_terminator(FILLER_END).collect();
        let constants: usize = self.parts.iter().map(|(constant, _)| constant.len()).sum();
        let mut text = String::with_capacity(constants + self.tail.len() + fillers.len());
        for (constant, index) in &self.parts {
            let value = values.get(*index).ok_or_else(|| {
                Error::Corrupt(format!("filler {} of {} is missing in a row", index + 1, self.parts.len()))
            })?;
            text.push_str(constant);
            text.push_str(value);
        }
        text.push_str(&self.tail);
        Ok(text)
    }

    /// The span that was split.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where document and row do not fit each other.
    pub fn join(&self, row: &StoredRow<'_>, resource: &Arc<Resource>) -> Result<Span<'static>> {
        let text = self.fill(row.fillers)?;
        let body: Body = serde_json::from_str(&text).map_err(|error| Error::Corrupt(error.to_string()))?;
        span_from(body, row, resource).map_err(Error::Corrupt)
    }
}

fn span_from(body: Body, row: &StoredRow<'_>, resource: &Arc<Resource>) -> Result<Span<'static>, String> {
    let exact = |text: Option<String>| {
        text.map(|text| text.parse().map(Timestamp).map_err(|_| format!("time {text:?}"))).transpose()
    };
    let start = exact(body.start_unix_nano)?
        .unwrap_or(Timestamp(i128::from(row.start_us) * 1000 + i128::from(row.start_ns)));
    let end = exact(body.end_unix_nano)?.unwrap_or(Timestamp(start.0 + i128::from(row.duration_ns)));
    Ok(Span {
        resource: Arc::clone(resource),
        scope: Arc::new(Scope::from(body.scope)),
        trace_id: TraceId::from_bytes(row.trace_id),
        span_id: SpanId::from_bytes(row.span_id.to_be_bytes()),
        parent_span_id: SpanId::from_bytes(row.parent_span_id.to_be_bytes()),
        trace_state: Cow::Owned(body.trace_state),
        flags: body.flags.unwrap_or(row.flags.unsigned_abs().into()),
        name: Cow::Owned(body.name),
        kind: body.kind,
        start,
        end,
        attributes: body.attributes.0,
        dropped_attributes_count: body.dropped_attributes_count,
        events: body.events.into_iter().map(|event| event.into_event(start)).collect::<Result<_, _>>()?,
        dropped_events_count: body.dropped_events_count,
        links: body.links.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
        dropped_links_count: body.dropped_links_count,
        status: Status { code: StatusCode(body.status_code), message: Cow::Owned(body.status_message) },
    })
}
