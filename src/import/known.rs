//! Which spans of the traces that an import is at are stored, so that the database is asked once for each trace and not
//! for each group of its spans.

use std::collections::HashSet;

use opentelemetry::trace::{SpanId, TraceId};

use crate::span::{Span, stored_start};

/// What tells spans apart. Zipkin's have one id for both sides of a call, so an id alone does not.
pub(super) type Identity = (TraceId, SpanId, i64);

/// Spans that are remembered, some 30 MB, besides those of the last group's traces.
const REMEMBERED: usize = 500_000;

/// What is stored of the last traces, by this import or before it.
#[derive(Default)]
pub(super) struct Known {
    traces: HashSet<TraceId>,
    spans: HashSet<Identity>,
}

impl Known {
    /// Those of the traces of which it is not known what is stored, each once. Older traces are forgotten where there are
    /// too many.
    pub(super) fn unknown(&mut self, spans: &[Span<'_>]) -> Vec<TraceId> {
        let traces: HashSet<TraceId> = spans.iter().map(|span| span.trace_id).collect();
        if self.spans.len() > REMEMBERED {
            self.traces.retain(|trace| traces.contains(trace));
            self.spans.retain(|(trace, ..)| traces.contains(trace));
        }
        traces.into_iter().filter(|trace| !self.traces.contains(trace)).collect()
    }

    /// What is stored of these traces.
    pub(super) fn learn(&mut self, traces: Vec<TraceId>, stored: HashSet<Identity>) {
        self.traces.extend(traces);
        self.spans.extend(stored);
    }

    /// Whether the span is not stored yet; it counts as stored then.
    pub(super) fn is_new(&mut self, span: &Span<'_>) -> bool {
        self.spans.insert((span.trace_id, span.span_id, stored_start(span)))
    }

    /// As at the beginning: somebody else stores spans of these traces.
    pub(super) fn forget(&mut self) {
        *self = Known::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::otlp_json::read_spans;

    fn spans(trace: u128, ids: std::ops::Range<u64>) -> Vec<Span<'static>> {
        let span = |id| format!(r#"{{"traceId":"{trace:032x}","spanId":"{id:016x}"}}"#);
        let spans = ids.map(span).collect::<Vec<_>>().join(",");
        let text = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{spans}]}}]}}]}}"#);
        read_spans(text.as_bytes()).expect("OTLP").into_iter().flatten().collect()
    }

    fn stored(trace: u128, ids: std::ops::Range<u64>) -> HashSet<Identity> {
        ids.map(|id| (TraceId::from(trace), SpanId::from(id), 0)).collect()
    }

    #[test]
    fn a_trace_is_asked_for_once_until_it_is_forgotten() {
        let mut known = Known::default();
        let (first, second) = (spans(1, 1..4), spans(2, 1..2));
        let traces = known.unknown(&first);
        assert_eq!(traces, [TraceId::from(1)]);
        known.learn(traces, stored(1, 1..2));
        assert_eq!(first.iter().map(|span| known.is_new(span)).collect::<Vec<_>>(), [false, true, true]);
        assert!(!known.is_new(&first[2]), "it was stored by this import");
        assert!(known.unknown(&spans(1, 4..9)).is_empty());
        assert_eq!(known.unknown(&[first, second].concat()), [TraceId::from(2)]);
        known.forget();
        assert_eq!(known.unknown(&spans(1, 4..9)), [TraceId::from(1)]);
    }

    #[test]
    fn beyond_what_is_remembered_only_the_traces_at_hand_are_kept() {
        let mut known = Known::default();
        for trace in 1..3 {
            known.learn(vec![TraceId::from(trace)], stored(trace, 0..1 + REMEMBERED as u64 / 2));
        }
        assert!(known.unknown(&spans(2, 0..1)).is_empty());
        assert_eq!(known.unknown(&spans(1, 0..1)), [TraceId::from(1)]);
        assert!(!known.is_new(&spans(2, 0..1)[0]));
    }
}
