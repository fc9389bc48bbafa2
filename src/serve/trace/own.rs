//! The time that spans take for themselves.

use super::tree::Tree;
use crate::span::Span;

/// How many nanoseconds of each span none of its children was under way.
pub fn own_times(spans: &[Span<'_>], tree: &Tree) -> Vec<i128> {
    let own = |(at, span): (usize, &Span<'_>)| {
        // Children come by their start: what is before `until` is theirs already.
        let (mut until, mut own) = (span.start, 0);
        for &child in &tree.children[at] {
            let (start, end) = (spans[child].start.min(span.end), spans[child].end.min(span.end));
            own += (start.0 - until.0).max(0);
            until = until.max(end);
        }
        own + (span.end.0 - until.0).max(0)
    };
    spans.iter().enumerate().map(own).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tree::tests::span;
    use super::*;

    #[test]
    fn what_children_do_together_counts_once() {
        let own = |spans: &[Span<'_>]| own_times(spans, &Tree::of(spans));
        assert_eq!(own(&[span(1, 0, 0, 100), span(2, 1, 10, 60), span(3, 1, 20, 40)]), [50, 50, 20]);
        // One that began before its parent, one that ended after it, one that is not within it at all.
        assert_eq!(own(&[span(1, 0, 10, 100), span(2, 1, 0, 20), span(3, 1, 90, 500)])[0], 70);
        assert_eq!(own(&[span(1, 0, 0, 100), span(2, 1, 200, 300)])[0], 100);
        // A clock that went back.
        assert_eq!(own(&[span(1, 0, 100, 0), span(2, 1, 10, 20)]), [0, 10]);
    }
}
