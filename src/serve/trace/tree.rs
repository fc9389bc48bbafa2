//! A trace's spans as a tree.

use std::collections::HashMap;

use crate::span::Span;
use opentelemetry::trace::SpanId;

/// Which spans are below which, by their places among the spans.
#[derive(Debug)]
pub struct Tree {
    /// The children of each span, by start time.
    pub children: Vec<Vec<usize>>,
    /// The spans without a parent that is there, by start time.
    pub tops: Vec<usize>,
    /// All spans by start time.
    pub by_start: Vec<usize>,
}

impl Tree {
    /// The tree of these spans.
    pub fn of(spans: &[Span<'_>]) -> Tree {
        let mut by_start: Vec<usize> = (0..spans.len()).collect();
        by_start.sort_by_key(|&at| spans.get(at).map(|span| span.start));

        // Of spans with the same id, the first is the parent of the children of all.
        let mut places: HashMap<SpanId, usize> = HashMap::new();
        for &at in &by_start {
            places.entry(spans[at].span_id).or_insert(at);
        }
        let mut tree =
            Tree { children: vec![Vec::new(); spans.len()], tops: Vec::new(), by_start: by_start.clone() };
        for at in by_start {
            let parent = places.get(&spans[at].parent_span_id).copied().filter(|&parent| parent != at);
            match parent.filter(|_| has_parent(&spans[at])) {
                Some(parent) => tree.children[parent].push(at),
                None => tree.tops.push(at),
            }
        }
        tree
    }

    /// Where the trace begins: its root or, where that is not stored, the first span without a parent.
    pub fn root(&self, spans: &[Span<'_>]) -> Option<usize> {
        let root = self.tops.iter().find(|&&at| !has_parent(&spans[at]));
        root.or(self.tops.first()).or(self.by_start.first()).copied()
    }
}

/// Whether it says that it has a parent.
pub fn has_parent(span: &Span<'_>) -> bool {
    span.parent_span_id != SpanId::INVALID
}

#[cfg(test)]
pub(in crate::serve) mod tests {

    use crate::span::Timestamp;
    use opentelemetry::trace::TraceId;

    use super::*;

    /// A span with an id, a parent (0 for none), a start and an end.
    pub(in crate::serve) fn span(id: u64, parent: u64, start: i128, end: i128) -> Span<'static> {
        Span {
            trace_id: TraceId::from(1),
            span_id: SpanId::from(id),
            parent_span_id: SpanId::from(parent),
            name: "work".into(),
            kind: 1,
            start: Timestamp(start),
            end: Timestamp(end),
            ..Span::default()
        }
    }
}
