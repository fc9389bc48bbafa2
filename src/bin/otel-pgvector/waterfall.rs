//! A trace's tree and time axis, drawn with letters.

use opentelemetry_pgvector::serve::trace::{Line, MAX_DEPTH, Segment};
use opentelemetry_pgvector::span::Timestamp;

/// What leads to the span, in at most so many columns.
pub fn branch(line: &Line, columns: usize) -> String {
    if line.depth == 0 {
        return String::new();
    }
    let depth = line.depth.min(shown(columns));
    ancestors(line, depth) + if line.last { "└ " } else { "├ " }
}

/// What goes on below the span, beside its details.
pub fn below(line: &Line, columns: usize) -> String {
    let depth = line.depth.min(shown(columns));
    let mut text = ancestors(line, depth);
    if line.depth > 0 {
        text += if line.last { "  " } else { "│ " };
    }
    text + if line.has_children { "│ " } else { "  " }
}

/// The rails of the ancestors between the top and the span.
fn ancestors(line: &Line, depth: usize) -> String {
    (1..depth).map(|level| if line.rails >> level & 1 == 1 { "│ " } else { "  " }).collect()
}

fn shown(columns: usize) -> usize {
    (columns / 2).clamp(1, MAX_DEPTH)
}

/// The time axis of a trace, in so many columns.
pub struct Axis {
    pub start: Timestamp,
    pub end: Timestamp,
    pub columns: usize,
}

impl Axis {
    /// When a span was: `█` where it is on the critical path, `━` elsewhere; at least a sliver.
    pub fn bar(&self, (start, end): Segment, critical: &[Segment]) -> String {
        let mut cells = vec![' '; self.columns];
        let (from, to) = self.cells(start, end.max(start));
        match cells.get_mut(from..to) {
            Some([cell]) if end <= start => *cell = '▏',
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

    #[test]
    fn rails_lead_from_parents_to_children() {
        let line = |depth, last, has_children, rails| Line {
            span: 0,
            depth,
            orphan: false,
            last,
            has_children,
            rails,
        };
        let lines = [
            line(0, true, true, 0),
            line(1, false, true, 0),
            line(2, true, false, 0b10),
            line(1, true, true, 0),
            line(2, true, false, 0),
        ];
        let branches: Vec<String> = lines.iter().map(|line| branch(line, 40)).collect();
        assert_eq!(branches, ["", "├ ", "│ └ ", "└ ", "  └ "]);
        let below: Vec<String> = lines.iter().map(|line| below(line, 40)).collect();
        assert_eq!(below, ["│ ", "│ │ ", "│     ", "  │ ", "      "]);
        // In few columns the outer levels are left.
        assert_eq!(branch(&lines[4], 2), "└ ");
    }

    #[test]
    fn bars_show_when_and_what_is_critical() {
        let axis = Axis { start: Timestamp(0), end: Timestamp(100), columns: 10 };
        let segment = |from, to| (Timestamp(from), Timestamp(to));
        let bar = |from, to, critical: &[Segment]| axis.bar(segment(from, to), critical);
        assert_eq!(bar(0, 100, &[segment(80, 100), segment(0, 20)]), "██━━━━━━██");
        assert_eq!(bar(50, 51, &[]), "     ━    ");
        assert_eq!(bar(100, 100, &[]), "         ▏");
        // A clock that went back, and one cell for what is shorter.
        assert_eq!(bar(50, 10, &[]), "     ▏    ");
        assert_eq!(bar(0, 100, &[segment(42, 43)]), "━━━━█━━━━━");
    }
}
