//! What varies from span to span, as the columns of a row.

use std::ops::Range;

use super::model::{Span, Timestamp};

/// One row of the table of spans; its document and resource are still named by the splitter's own keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The trace's id.
    pub trace_id: [u8; 16],
    /// The span's id, its bytes read as a big-endian number.
    pub span_id: i64,
    /// The parent's id, 0 when there is none.
    pub parent_span_id: i64,
    /// The start in microseconds since 1970, rounded down.
    pub start_us: i64,
    /// The rest of the start, 0–999 ns.
    pub start_ns: i16,
    /// End minus start, in nanoseconds.
    pub duration_ns: i64,
    /// OTLP's flags; 0 when they need more than 15 bits, and then they stand in the fillers.
    pub flags: i16,
    /// The document, by [`super::Document::key`].
    pub document: u128,
    /// The index of the resource in [`super::Halves::resources`].
    pub resource: usize,
    /// Where the fillers stand in [`super::Halves::fillers`].
    pub fillers: Range<usize>,
}

impl Row {
    pub(crate) fn new(span: &Span<'_>, document: u128, resource: usize, fillers: Range<usize>) -> Self {
        let time = time_parts(span);
        Row {
            trace_id: span.trace_id.to_bytes(),
            span_id: i64::from_be_bytes(span.span_id.to_bytes()),
            parent_span_id: i64::from_be_bytes(span.parent_span_id.to_bytes()),
            start_us: time.start_us,
            start_ns: time.start_ns,
            duration_ns: time.duration_ns,
            flags: i16::try_from(span.flags).unwrap_or(0),
            document,
            resource,
            fillers,
        }
    }
}

/// A span's times as PostgreSQL can hold them, and exactly where it cannot.
pub(crate) struct TimeParts {
    pub start_us: i64,
    pub start_ns: i16,
    pub duration_ns: i64,
    pub exact_start: Option<Timestamp>,
    pub exact_end: Option<Timestamp>,
}

/// 0001-01-01 and 10000-01-01 in seconds since 1970: between them `timestamptz` and an interval added to it never overflow.
const YEARS_1_TO_9999: Range<i128> = -62_135_596_800..253_402_300_800;

pub(crate) fn time_parts(span: &Span<'_>) -> TimeParts {
    let limit = |seconds: i128| seconds * 1_000_000_000;
    let (first, last) = (limit(YEARS_1_TO_9999.start), limit(YEARS_1_TO_9999.end) - 1);
    let start = span.start.0.clamp(first, last);
    let duration = span.end.0 - span.start.0;
    let stored = i64::try_from(duration).unwrap_or(if duration < 0 { i64::MIN } else { i64::MAX });
    TimeParts {
        start_us: start.div_euclid(1000) as i64,
        start_ns: start.rem_euclid(1000) as i16,
        duration_ns: stored,
        exact_start: (start != span.start.0).then_some(span.start),
        exact_end: (i128::from(stored) != duration).then_some(span.end),
    }
}

/// The start in microseconds since 1970, as it is stored.
#[cfg(feature = "import")]
pub(crate) fn stored_start(span: &Span<'_>) -> i64 {
    time_parts(span).start_us
}
