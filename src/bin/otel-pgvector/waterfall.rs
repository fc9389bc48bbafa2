//! The order, depth and bars of a trace's spans.

use opentelemetry_pgvector::span::{Span, Timestamp};

use crate::critical::Segment;
use crate::tree::{Tree, has_parent};

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
    last: bool,
    /// Whether children follow.
    has_children: bool,
    /// One bit for each of the outer ancestors that are shown: whether another child of its parent follows.
    rails: u64,
}

/// Deeper spans are not indented further.
const MAX_DEPTH: usize = 20;

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

impl Line {
    /// What leads to the span, in at most so many columns.
    pub fn branch(&self, columns: usize) -> String {
        if self.depth == 0 {
            return String::new();
        }
        let depth = self.depth.min(shown(columns));
        self.ancestors(depth) + if self.last { "└ " } else { "├ " }
    }

    /// What goes on below the span, beside its details.
    pub fn below(&self, columns: usize) -> String {
        let depth = self.depth.min(shown(columns));
        let mut text = self.ancestors(depth);
        if self.depth > 0 {
            text += if self.last { "  " } else { "│ " };
        }
        text + if self.has_children { "│ " } else { "  " }
    }

    /// The rails of the ancestors between the top and the span.
    fn ancestors(&self, depth: usize) -> String {
        (1..depth).map(|level| if self.rails >> level & 1 == 1 { "│ " } else { "  " }).collect()
    }
}

fn shown(columns: usize) -> usize {
    (columns / 2).clamp(1, MAX_DEPTH)
}

/// From the first start to the last end.
pub fn period(spans: &[Span<'_>]) -> (Timestamp, Timestamp) {
    let start = spans.iter().map(|span| span.start).min().unwrap_or_default();
    let end = spans.iter().map(|span| span.end.max(span.start)).max().unwrap_or_default();
    (start, end)
}

/// The time axis of a trace, in so many columns.
pub struct Axis {
    pub start: Timestamp,
    pub end: Timestamp,
    pub columns: usize,
}

impl Axis {
    /// When a span was: `█` where it is on the critical path, `━` elsewhere; at least a sliver.
    pub fn bar(&self, span: &Span<'_>, critical: &[Segment]) -> String {
        let mut cells = vec![' '; self.columns];
        let (from, to) = self.cells(span.start, span.end.max(span.start));
        match cells.get_mut(from..to) {
            Some([cell]) if span.end <= span.start => *cell = '▏',
            Some(drawn) => drawn.fill('━'),
            None => {}
        }
        for &(start, end) in critical {
            let (from, to) = self.cells(start, end);
            if let Some(drawn) = cells.get_mut(from..to) {
                drawn.fill('█');
            }
        }
        cells.into_iter().collect()
    }

    /// The cells of a period, at least one.
    fn cells(&self, start: Timestamp, end: Timestamp) -> (usize, usize) {
        let whole = (self.end.0 - self.start.0).max(1) as f64;
        let columns = self.columns as f64;
        let at = |time: Timestamp| ((time.0 - self.start.0) as f64 / whole * columns).clamp(0.0, columns);
        let from = (at(start) as usize).min(self.columns.saturating_sub(1));
        (from, (at(end).round() as usize).clamp(from + 1, self.columns.max(from + 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::span;

    #[test]
    fn rails_lead_from_parents_to_children() {
        let spans =
            [span(1, 0, 0, 100), span(2, 1, 1, 50), span(3, 2, 2, 3), span(4, 1, 60, 70), span(5, 4, 61, 62)];
        let lines = lines(&spans, &Tree::of(&spans));
        let branches: Vec<String> = lines.iter().map(|line| line.branch(40)).collect();
        assert_eq!(branches, ["", "├ ", "│ └ ", "└ ", "  └ "]);
        let below: Vec<String> = lines.iter().map(|line| line.below(40)).collect();
        assert_eq!(below, ["│ ", "│ │ ", "│     ", "  │ ", "      "]);
        // In few columns the outer levels are left.
        assert_eq!(lines[4].branch(2), "└ ");
    }

    #[test]
    fn bars_show_when_and_what_is_critical() {
        let axis = Axis { start: Timestamp(0), end: Timestamp(100), columns: 10 };
        let segment = |from, to| (Timestamp(from), Timestamp(to));
        assert_eq!(axis.bar(&span(1, 0, 0, 100), &[segment(80, 100), segment(0, 20)]), "██━━━━━━██");
        assert_eq!(axis.bar(&span(1, 0, 50, 51), &[]), "     ━    ");
        assert_eq!(axis.bar(&span(1, 0, 100, 100), &[]), "         ▏");
        // A clock that went back, and one cell for what is shorter.
        assert_eq!(axis.bar(&span(1, 0, 50, 10), &[]), "     ▏    ");
        assert_eq!(axis.bar(&span(1, 0, 0, 100), &[segment(42, 43)]), "━━━━█━━━━━");
    }
}
