//! The critical path: at each moment of a trace the span without which it would have ended sooner.

use crate::span::{Span, Timestamp};

use super::tree::Tree;

/// A period of a span, from and to.
pub type Segment = (Timestamp, Timestamp);

/// The periods of each span that are on the critical path, the latest first.
///
/// It walks back from the end of the root: within a span, the child that ends last before the current point is what the
/// span waited for; from that child's start the walk goes on. A child that outlives its parent was not waited for, unless it
/// is by so little that it may be the clocks.
pub fn critical_path(spans: &[Span<'_>], tree: &Tree) -> Vec<Vec<Segment>> {
    let mut path: Vec<Vec<Segment>> = vec![Vec::new(); spans.len()];
    let Some(root) = tree.root(spans) else { return path };
    let mut seen = vec![false; spans.len()];
    seen[root] = true;
    let mut stack = vec![Walk::new(spans, tree, root, spans[root].start, end(&spans[root]))];
    while let Some(walk) = stack.last_mut() {
        // Spans that are their own ancestors are walked through once.
        let child = walk.children.pop().filter(|child| child.start < walk.point && !seen[child.span]);
        match child {
            Some(child) if child.end <= walk.point => {
                keep(&mut path[walk.span], child.end, walk.point);
                walk.point = child.start;
                seen[child.span] = true;
                stack.push(Walk::new(spans, tree, child.span, child.start, child.end));
            }
            Some(_) => {}
            None if walk.children.is_empty() => {
                keep(&mut path[walk.span], walk.start, walk.point);
                stack.pop();
            }
            None => {}
        }
    }
    path
}

/// How many nanoseconds these periods are together.
pub fn total(segments: &[Segment]) -> i128 {
    segments.iter().map(|(from, to)| to.0 - from.0).sum()
}

/// A child may end later than its parent by this fraction of it: two machines' clocks are never the same.
const CLOCKS: i128 = 10;

/// The walk through a span.
struct Walk {
    span: usize,
    start: Timestamp,
    /// What is later was walked through.
    point: Timestamp,
    /// The children left, by their ends, the last of them at the end.
    children: Vec<Child>,
}

struct Child {
    span: usize,
    start: Timestamp,
    end: Timestamp,
}

impl Walk {
    fn new(spans: &[Span<'_>], tree: &Tree, span: usize, start: Timestamp, point: Timestamp) -> Walk {
        let parent = &spans[span];
        let latest = end(parent).0 + (end(parent).0 - parent.start.0) / CLOCKS;
        let was_waited_for = |child: &&usize| end(&spans[**child]).0 <= latest;
        let clamped = |&child: &usize| Child {
            span: child,
            start: spans[child].start.clamp(start, point),
            end: end(&spans[child]).clamp(start, point),
        };
        let mut children: Vec<Child> =
            tree.children[span].iter().filter(was_waited_for).map(clamped).collect();
        children.sort_by_key(|child| (child.end, child.start));
        Walk { span, start, point, children }
    }
}

fn end(span: &Span<'_>) -> Timestamp {
    span.end.max(span.start)
}

fn keep(segments: &mut Vec<Segment>, from: Timestamp, to: Timestamp) {
    if from < to {
        segments.push((from, to));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::tests::span;
    use super::*;

    /// The critical path of spans with an id, a parent, a start and an end.
    fn path(spans: &[(u64, u64, i128, i128)]) -> Vec<Vec<(i128, i128)>> {
        let spans: Vec<Span<'_>> =
            spans.iter().map(|&(id, parent, from, to)| span(id, parent, from, to)).collect();
        let path = critical_path(&spans, &Tree::of(&spans));
        path.into_iter().map(|all| all.into_iter().map(|(from, to)| (from.0, to.0)).collect()).collect()
    }

    #[test]
    fn children_one_after_the_other_are_on_the_path_and_gaps_are_the_parents() {
        let all = path(&[(1, 0, 0, 100), (2, 1, 10, 40), (3, 1, 50, 90), (4, 3, 60, 90)]);
        assert_eq!(all[0], [(90, 100), (40, 50), (0, 10)]);
        assert_eq!(all[1], [(10, 40)]);
        assert_eq!(all[2], [(50, 60)]);
        assert_eq!(all[3], [(60, 90)]);
        let whole: i128 = all.iter().flatten().map(|(from, to)| to - from).sum();
        assert_eq!(whole, 100);
    }

    #[test]
    fn of_children_side_by_side_the_one_that_ends_last_is_on_the_path() {
        let all = path(&[(1, 0, 0, 100), (2, 1, 10, 95), (3, 1, 10, 60), (4, 1, 2, 8)]);
        assert_eq!(all, [vec![(95, 100), (8, 10), (0, 2)], vec![(10, 95)], vec![], vec![(2, 8)]]);
    }

    #[test]
    fn a_child_counts_only_within_its_parent() {
        // Of a clock that is a little ahead, and of one that is behind.
        assert_eq!(path(&[(1, 0, 0, 100), (2, 1, 50, 104)]), [vec![(0, 50)], vec![(50, 100)]]);
        assert_eq!(path(&[(1, 0, 100, 200), (2, 1, 0, 150)]), [vec![(150, 200)], vec![(100, 150)]]);
        // One that goes on in the background: nobody waits for it.
        assert_eq!(path(&[(1, 0, 0, 100), (2, 1, 50, 400), (3, 1, 10, 20)])[1], []);
        // One that began after its parent had ended.
        assert_eq!(path(&[(1, 0, 0, 100), (2, 1, 150, 170)]), [vec![(0, 100)], vec![]]);
    }

    #[test]
    fn odd_traces_have_a_path_too() {
        assert!(path(&[]).is_empty());
        // A lost root, a span that is its own parent, a cycle, an end before the start.
        assert_eq!(path(&[(2, 1, 0, 10)]), [vec![(0, 10)]]);
        assert_eq!(path(&[(1, 1, 0, 10)]), [vec![(0, 10)]]);
        assert_eq!(path(&[(1, 2, 0, 10), (2, 1, 2, 5)]), [vec![(5, 10), (0, 2)], vec![(2, 5)]]);
        assert_eq!(path(&[(1, 0, 10, 0)]), [vec![]]);
        let chain: Vec<_> = (1..=50_000).map(|id| (id, id - 1, id as i128, 100_000)).collect();
        assert_eq!(path(&chain).iter().filter(|segments| segments.len() == 1).count(), 50_000);
    }
}
