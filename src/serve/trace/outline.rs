//! The order and the depth of a trace's spans.

use super::tree::{Tree, has_parent};
use crate::span::{Span, Timestamp};

/// Where a span stands in the tree.
#[derive(Debug, PartialEq)]
pub struct Line {
    /// Its place among the spans.
    pub span: usize,
    /// How many ancestors are above it.
    pub depth: usize,
    /// Whether it has a parent that is not in the trace.
    pub orphan: bool,
    /// Whether no other child of its parent follows.
    pub last: bool,
    /// Whether children follow.
    pub has_children: bool,
    /// One bit for each of the outer ancestors that are shown: whether another child of its parent follows.
    pub rails: u64,
}

/// Deeper spans are not indented further.
pub const MAX_DEPTH: usize = 20;

/// Every span once: children below their parents, by start time. Roots come first, with them spans whose parent is
/// missing; spans that are their own ancestors follow, from the earliest of each cycle.
pub fn lines(spans: &[Span<'_>], tree: &Tree) -> Vec<Line> {
    let mut seen = vec![false; spans.len()];
    let mut lines = Vec::with_capacity(spans.len());
    for &top in tree.tops.iter().chain(&tree.by_start) {
        let mut stack = vec![(top, 0, true, 0)];
        while let Some((at, depth, last, rails)) = stack.pop() {
            if std::mem::replace(&mut seen[at], true) {
                continue;
            }
            let children = &tree.children[at];
            let has_children = !children.is_empty();
            let orphan = depth == 0 && has_parent(&spans[at]);
            lines.push(Line { span: at, depth, orphan, last, has_children, rails });
            // A top has no rail: nothing leads to it.
            let own = u64::from(!last && (1..=MAX_DEPTH).contains(&depth)) << depth.min(MAX_DEPTH);
            let below = children.iter().enumerate().rev();
            stack.extend(
                below.map(|(place, &child)| (child, depth + 1, place + 1 == children.len(), rails | own)),
            );
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

#[cfg(test)]
mod tests {
    use super::super::tree::tests::span;
    use super::*;

    #[test]
    fn rails_lead_from_parents_to_children() {
        let spans =
            [span(1, 0, 0, 100), span(2, 1, 1, 50), span(3, 2, 2, 3), span(4, 1, 60, 70), span(5, 4, 61, 62)];
        let lines = lines(&spans, &Tree::of(&spans));
        let shape: Vec<_> =
            lines.iter().map(|line| (line.depth, line.last, line.has_children, line.rails)).collect();
        assert_eq!(
            shape,
            [
                (0, true, true, 0),
                (1, false, true, 0),
                (2, true, false, 0b10),
                (1, true, true, 0),
                (2, true, false, 0)
            ]
        );
    }

    #[test]
    fn every_span_has_its_line_also_in_a_cycle_or_without_its_parent() {
        let spans = [span(1, 2, 0, 9), span(2, 1, 1, 5), span(3, 3, 2, 3), span(4, 77, 3, 4)];
        let lines = lines(&spans, &Tree::of(&spans));
        let shape: Vec<_> = lines.iter().map(|line| (line.span, line.depth, line.orphan)).collect();
        assert_eq!(shape, [(2, 0, true), (3, 0, true), (0, 0, true), (1, 1, false)]);
    }
}
