//! The order, depth and bars of a trace's spans.

use std::collections::HashMap;

use opentelemetry::trace::SpanId;
use opentelemetry_pgvector::span::{Span, Timestamp};

/// Where a span stands in the tree.
#[derive(Debug, PartialEq)]
pub struct Line {
    /// Its place among the spans.
    pub span: usize,
    /// How many ancestors are above it.
    pub depth: usize,
    /// Whether it has a parent that is not in the trace.
    pub orphan: bool,
}

/// Every span once: children below their parents, by start time. Roots come first, with them spans whose parent is
/// missing; spans that are their own ancestors follow, from the earliest of each cycle.
pub fn lines(spans: &[Span<'_>]) -> Vec<Line> {
    let mut by_start: Vec<usize> = (0..spans.len()).collect();
    by_start.sort_by_key(|&at| spans.get(at).map(|span| span.start));

    // Of spans with the same id, the first is the parent of the children of all.
    let mut places: HashMap<SpanId, usize> = HashMap::new();
    for &at in &by_start {
        places.entry(spans[at].span_id).or_insert(at);
    }
    let parent = |at: usize| places.get(&spans[at].parent_span_id).copied().filter(|&parent| parent != at);
    let has_parent = |at: usize| spans[at].parent_span_id != SpanId::INVALID;
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); spans.len()];
    let mut tops = Vec::new();
    for &at in &by_start {
        match parent(at).filter(|_| has_parent(at)) {
            Some(parent) => children[parent].push(at),
            None => tops.push(at),
        }
    }

    let mut seen = vec![false; spans.len()];
    let mut lines = Vec::with_capacity(spans.len());
    for top in tops.into_iter().chain(by_start) {
        let mut stack = vec![(top, 0)];
        while let Some((at, depth)) = stack.pop() {
            if std::mem::replace(&mut seen[at], true) {
                continue;
            }
            lines.push(Line { span: at, depth, orphan: depth == 0 && has_parent(at) });
            stack.extend(children[at].iter().rev().map(|&child| (child, depth + 1)));
        }
    }
    lines
}

/// From the first start to the last end.
pub fn period(spans: &[Span<'_>]) -> (Timestamp, Timestamp) {
    let start = spans.iter().map(|span| span.start).min().unwrap_or_default();
    let end = spans.iter().map(|span| span.end.max(span.start)).max().unwrap_or_default();
    (start, end)
}

/// When a span was, on the axis of its trace, in so many columns; at least a sliver.
pub fn bar(span: &Span<'_>, start: Timestamp, end: Timestamp, columns: usize) -> String {
    let whole = (end.0 - start.0).max(1) as f64;
    let at =
        |time: Timestamp| ((time.0 - start.0) as f64 / whole * columns as f64).clamp(0.0, columns as f64);
    let from = (at(span.start) as usize).min(columns.saturating_sub(1));
    let to = at(span.end.max(span.start)).round() as usize;
    let length = to.saturating_sub(from);
    let drawn = if length == 0 { "▏".to_owned() } else { "━".repeat(length) };
    let drawn_length = length.max(1);
    format!("{}{drawn}{}", " ".repeat(from), " ".repeat(columns.saturating_sub(from + drawn_length)))
}
