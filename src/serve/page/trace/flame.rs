//! The flame graph: calls of the same operation on the same way from the root are one block.
//!
//! A block is as wide as the time of its spans for themselves and of all blocks below it. So it shows where work was done, not
//! when: what ran at the same time stands side by side.

use std::collections::HashMap;
use std::time::Duration;

use maud::{Markup, html};
use xxhash_rust::xxh3::xxh3_64;

use super::look::Look;
use super::whole::Whole;
use super::{find, head};
use crate::serve::human;
use crate::serve::page::show;
use crate::serve::trace::undirected;

/// Blocks that are narrower than this share of the width are not drawn, and of the others no more than so many.
const NARROW: f64 = 0.001;
const MOST: usize = 1_500;
/// How many rows are drawn.
const DEEP: usize = 60;
/// A row's height in pixels.
const HEIGHT: usize = 24;
/// How many operations the list has.
const LISTED: usize = 15;

/// Spans of an operation on the same way from the root.
struct Block<'a> {
    /// What it is called in addresses: a hash of the way.
    id: u64,
    parent: Option<usize>,
    children: Vec<usize>,
    service: &'a str,
    name: &'a str,
    spans: u64,
    errors: u64,
    /// Nanoseconds of the spans for themselves.
    own: i128,
    /// And of what is below them.
    whole: i128,
}

pub(super) fn flame(whole: &Whole, look: &Look) -> Markup {
    let blocks = blocks(whole, &look.find);
    // The first is the whole trace.
    let zoomed = look.zoom.and_then(|zoom| blocks.iter().position(|block| block.id == zoom));
    let top = zoomed.unwrap_or(0);
    if blocks.len() < 2 {
        return head::nothing_found(whole, look);
    }
    let mut ancestors: Vec<usize> =
        std::iter::successors(blocks[top].parent, |&at| blocks[at].parent).collect();
    ancestors.reverse();
    let (drawn, hidden) = drawn(&blocks, top, ancestors.len());
    let rows = drawn.iter().map(|block| block.row).max().unwrap_or(0) + 1;
    html! {
        p.hint.quiet.small {
            "Calls of one operation on the same way from the root are one block. It is as wide as the time that its spans took for themselves, and all that they called: "
            "what ran at the same time stands side by side. Choose a block to look into it."
            span.with-script { " " kbd { "↑" } " " kbd { "↓" } " " kbd { "←" } " " kbd { "→" } " move between blocks." }
        }
        @if zoomed.is_none() && look.zoom.is_some() { div.note { "The block that the address names is not in this trace." } }
        div.card.flame #flame role="group" aria-label="Flame graph" {
            svg width="100%" height=(rows * HEIGHT) {
                @for (row, at) in ancestors.iter().enumerate() {
                    (draw(whole, look, &blocks, Drawn { at: *at, row, x: 0.0, width: 1.0 }, true))
                }
                @for each in drawn { (draw(whole, look, &blocks, each, false)) }
            }
        }
        @if hidden > 0 { p.quiet.small { (human::count(hidden as u64, "block")) " too narrow or too deep to be drawn: look into a wider one." } }
        (operations(whole, look))
    }
}

/// The blocks, parents before their children; the first is above all.
fn blocks<'a>(whole: &'a Whole, find: &str) -> Vec<Block<'a>> {
    let block = |id, parent, service, name| Block {
        id,
        parent,
        children: Vec::new(),
        service,
        name,
        spans: 0,
        errors: 0,
        own: 0,
        whole: 0,
    };
    let mut blocks = vec![block(0, None, "", "whole trace")];
    let mut known: HashMap<(usize, &str, &str), usize> = HashMap::new();
    // The blocks of the ancestors of a line.
    let mut way: Vec<usize> = Vec::new();
    let mut depths: Vec<usize> = Vec::new();
    for shown in find::shown(whole, find) {
        let line = &whole.lines[shown.line];
        while depths.last().is_some_and(|depth| *depth >= line.depth) {
            depths.pop();
            way.pop();
        }
        let parent = way.last().copied().unwrap_or(0);
        let span = &whole.spans[line.span];
        let (service, name) = (span.resource.service_name(), span.name.as_ref());
        let at = *known.entry((parent, service, name)).or_insert_with(|| {
            let text = format!("{:x}/{service}\0{name}", blocks[parent].id);
            blocks.push(block(xxh3_64(text.as_bytes()), Some(parent), service, name));
            let at = blocks.len() - 1;
            blocks[parent].children.push(at);
            at
        });
        way.push(at);
        depths.push(line.depth);
        if shown.matches {
            blocks[at].spans += 1;
            blocks[at].errors += u64::from(span.is_error());
            blocks[at].own += whole.own[line.span];
        }
    }
    for at in (0..blocks.len()).rev() {
        blocks[at].whole += blocks[at].own;
        if let Some(parent) = blocks[at].parent {
            blocks[parent].whole += blocks[at].whole;
        }
    }
    blocks
}

/// Where a block is drawn; `x` and `width` are shares of the graph's width.
#[derive(Clone, Copy)]
struct Drawn {
    at: usize,
    row: usize,
    x: f64,
    width: f64,
}

/// What is drawn of a block and of those below it, and how many are not.
fn drawn(blocks: &[Block<'_>], top: usize, row: usize) -> (Vec<Drawn>, usize) {
    let all = blocks[top].whole.max(1) as f64;
    let mut drawn = vec![Drawn { at: top, row, x: 0.0, width: 1.0 }];
    let (mut next, mut hidden) = (0, 0);
    while let Some(&Drawn { at, row, mut x, .. }) = drawn.get(next) {
        next += 1;
        for &child in &blocks[at].children {
            let width = blocks[child].whole as f64 / all;
            if width < NARROW || drawn.len() >= MOST || row + 1 >= DEEP {
                hidden += 1;
            } else {
                drawn.push(Drawn { at: child, row: row + 1, x, width });
            }
            x += width;
        }
    }
    (drawn, hidden)
}

fn draw(whole: &Whole, look: &Look, blocks: &[Block<'_>], drawn: Drawn, is_above: bool) -> Markup {
    let block = &blocks[drawn.at];
    let zoom = Some(block.id).filter(|_| block.parent.is_some());
    let link = Look { zoom, page: None, ..look.clone() }.path(whole.id);
    let hue = if block.parent.is_some() { show::hue(block.service) } else { String::new() };
    let class = format!("{hue}{}", if is_above { " above" } else { "" });
    let percent = |share: f64| format!("{:.3}%", share * 100.0);
    let label = undirected(&format!("{} {}", show::cut(block.service, 100), show::cut(block.name, 100)));
    let errors =
        if block.errors > 0 { format!(", {}", human::count(block.errors, "error")) } else { String::new() };
    let about = format!(
        "{label}: {}, {} for itself, {}{errors}",
        duration(block.whole),
        duration(block.own),
        human::count(block.spans, "span")
    );
    html! {
        a href=(link) class=(class) aria-label=(about) data-row=(drawn.row) {
            title { (about) }
            svg x=(percent(drawn.x)) y=(drawn.row * HEIGHT) width=(percent(drawn.width)) height=(HEIGHT - 2) {
                rect width="100%" height="100%" rx="2" class=[(block.errors > 0).then_some("failed")] {}
                @if drawn.width > 0.015 { text x="6" y="15.5" { (label.trim()) } }
            }
        }
    }
}

/// Where the time went, by operation.
fn operations(whole: &Whole, look: &Look) -> Markup {
    #[derive(Default)]
    struct Sum {
        spans: u64,
        errors: u64,
        own: i128,
        longest: i128,
    }
    let mut sums: HashMap<(&str, &str), Sum> = HashMap::new();
    for shown in find::shown(whole, &look.find).iter().filter(|shown| shown.matches) {
        let at = whole.lines[shown.line].span;
        let span = &whole.spans[at];
        let sum = sums.entry((span.resource.service_name(), &span.name)).or_default();
        sum.spans += 1;
        sum.errors += u64::from(span.is_error());
        sum.own += whole.own[at];
        sum.longest = sum.longest.max(span.end.0 - span.start.0);
    }
    let all: i128 = sums.values().map(|sum| sum.own).sum();
    let count = sums.len();
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by(|a, b| b.1.own.cmp(&a.1.own).then(a.0.cmp(&b.0)));
    html! {
        h2 { "Operations that took the most time for themselves" }
        div.scroll tabindex="0" role="region" aria-label="Operations" {
            table {
                thead { tr {
                    th scope="col" { "Service" } th scope="col" { "Operation" } th.num scope="col" { "Spans" } th.num scope="col" { "Errors" }
                    th.num scope="col" { "Self time" } th.num scope="col" { "Longest" } th scope="col" { "Share" }
                } }
                tbody {
                    @for ((service, name), sum) in sums.iter().take(LISTED) {
                        tr {
                            td { (show::service(service)) }
                            td { (show::text(name)) }
                            td.num { (human::thousands(sum.spans)) }
                            td.num { @if sum.errors > 0 { span.error { (human::thousands(sum.errors)) } } @else { "0" } }
                            td.num { (duration(sum.own)) }
                            td.num { (duration(sum.longest)) }
                            td { (show::bar(sum.own as f64 / all.max(1) as f64, &format!("{:.1} % of all", sum.own as f64 * 100.0 / all.max(1) as f64))) }
                        }
                    }
                }
            }
        }
        @if count > LISTED { p.quiet.small { "and " (human::count((count - LISTED) as u64, "more operation")) } }
    }
}

fn duration(nanoseconds: i128) -> String {
    human::duration(Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TraceId;

    use super::*;
    use crate::serve::trace::tests::span;
    use crate::span::Span;

    fn named(id: u64, parent: u64, start: i128, end: i128, name: &'static str) -> Span<'static> {
        Span { name: name.into(), ..span(id, parent, start, end) }
    }

    #[test]
    fn calls_on_the_same_way_are_one_block_as_wide_as_what_is_in_it() {
        let spans = vec![
            named(1, 0, 0, 100, "root"),
            named(2, 1, 0, 40, "read"),
            named(3, 1, 40, 90, "read"),
            named(4, 3, 50, 60, "query"),
            named(5, 2, 10, 30, "query"),
            named(6, 1, 90, 95, "write"),
        ];
        let whole = Whole::of(TraceId::from(1), spans, 100);
        let all = blocks(&whole, "");
        let sums: Vec<_> =
            all.iter().map(|block| (block.name, block.spans, block.own, block.whole)).collect();
        assert_eq!(
            sums,
            [
                ("whole trace", 0, 0, 100),
                ("root", 1, 5, 100),
                ("read", 2, 60, 90),
                ("query", 2, 30, 30),
                ("write", 1, 5, 5)
            ]
        );
        let (drawn, hidden) = drawn(&all, 0, 0);
        let places: Vec<_> = drawn.iter().map(|each| (each.at, each.row, (each.x * 100.0).round())).collect();
        assert_eq!(places, [(0, 0, 0.0), (1, 1, 0.0), (2, 2, 0.0), (4, 2, 90.0), (3, 3, 0.0)]);
        assert_eq!(hidden, 0);
    }
}
