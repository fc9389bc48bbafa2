//! A trace with all that its views need.

use std::collections::HashMap;
use std::time::Duration;

use opentelemetry::trace::{SpanId, TraceId};

use super::look::SpanKey;
use crate::serve::trace::{
    Line, Segment, Tree, between, critical_path, has_parent, lines, own_times, period,
};
use crate::span::{Span, Timestamp};

pub(super) struct Whole {
    pub(super) id: TraceId,
    pub(super) spans: Vec<Span<'static>>,
    /// Whether more spans are stored than are here.
    pub(super) is_cut: bool,
    pub(super) tree: Tree,
    pub(super) lines: Vec<Line>,
    /// The periods of each span that are on the critical path.
    pub(super) critical: Vec<Vec<Segment>>,
    /// The nanoseconds of each span in which none of its children was under way.
    pub(super) own: Vec<i128>,
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    /// Of spans with the same id, which one it is.
    nth: Vec<u32>,
}

/// What is odd about a trace.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Oddities {
    /// Spans whose parent is not among the trace's.
    pub(super) orphans: u64,
    /// Whether no span is without a parent.
    pub(super) has_no_root: bool,
    /// Spans without a parent beyond the first.
    pub(super) more_roots: u64,
    /// Spans that start before their parent: clocks that differ.
    pub(super) early: u64,
    /// By how much at most.
    pub(super) earliest: Duration,
    /// Spans that end before they start.
    pub(super) backward: u64,
    /// Spans with an id that another one has.
    pub(super) twins: u64,
}

impl Whole {
    /// A trace of its spans, of which at most so many are shown.
    pub(super) fn of(id: TraceId, mut spans: Vec<Span<'static>>, most: usize) -> Self {
        let is_cut = spans.len() > most;
        spans.truncate(most);
        let tree = Tree::of(&spans);
        let (start, end) = period(&spans);
        let mut count: HashMap<SpanId, u32> = HashMap::with_capacity(spans.len());
        let mut nth = |span: &Span<'_>| {
            let next = count.entry(span.span_id).or_default();
            *next += 1;
            *next - 1
        };
        Whole {
            id,
            is_cut,
            lines: lines(&spans, &tree),
            critical: critical_path(&spans, &tree),
            own: own_times(&spans, &tree),
            start,
            end,
            nth: spans.iter().map(&mut nth).collect(),
            tree,
            spans,
        }
    }

    pub(super) fn key(&self, at: usize) -> SpanKey {
        SpanKey { id: self.spans[at].span_id, nth: self.nth[at] }
    }

    /// The place of a span among the spans.
    pub(super) fn place(&self, key: SpanKey) -> Option<usize> {
        (0..self.spans.len()).find(|&at| self.key(at) == key)
    }

    pub(super) fn parent(&self, at: usize) -> Option<usize> {
        let parent = self.spans[at].parent_span_id;
        let is_there = has_parent(&self.spans[at]);
        self.place(SpanKey { id: parent, nth: 0 }).filter(|_| is_there)
    }

    pub(super) fn duration(&self) -> Duration {
        between(self.start, self.end)
    }

    /// How much of the trace's time so many nanoseconds are, in percent.
    pub(super) fn percent(&self, nanoseconds: i128) -> f64 {
        nanoseconds as f64 * 100.0 / (self.end.0 - self.start.0).max(1) as f64
    }

    pub(super) fn errors(&self) -> u64 {
        self.spans.iter().filter(|span| span.is_error()).count() as u64
    }

    /// Services with the number of their spans, those with the most first.
    pub(super) fn services(&self) -> Vec<(&str, u64)> {
        let mut count: HashMap<&str, u64> = HashMap::new();
        for span in &self.spans {
            *count.entry(span.resource.service_name()).or_default() += 1;
        }
        let mut services: Vec<_> = count.into_iter().collect();
        services.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        services
    }

    pub(super) fn oddities(&self) -> Oddities {
        let mut odd = Oddities { has_no_root: true, ..Oddities::default() };
        let mut roots = 0_u64;
        for span in &self.spans {
            if !has_parent(span) {
                odd.has_no_root = false;
                roots += 1;
            }
            odd.backward += u64::from(span.end < span.start);
        }
        odd.more_roots = roots.saturating_sub(1);
        odd.orphans = self.lines.iter().filter(|line| line.orphan).count() as u64;
        odd.twins = self.nth.iter().filter(|&&nth| nth > 0).count() as u64;
        for (parent, children) in self.spans.iter().zip(&self.tree.children) {
            for &child in children {
                let early = between(self.spans[child].start, parent.start);
                odd.early += u64::from(!early.is_zero());
                odd.earliest = odd.earliest.max(early);
            }
        }
        odd
    }
}
