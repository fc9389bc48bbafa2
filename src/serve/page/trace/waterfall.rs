//! The waterfall: spans below their parents, each with a bar where it was under way.

use maud::{Markup, html};

use super::look::{Look, SpanKey};
use super::rows::{self, PAGE, Row};
use super::whole::Whole;
use super::{find, head};
use crate::serve::human;
use crate::serve::page::show;
use crate::serve::trace::{MAX_DEPTH, between, message};

/// How far each depth is indented, and how high a row is, in pixels.
const INDENT: usize = 14;
const HEIGHT: usize = 28;

pub(super) fn waterfall(whole: &Whole, look: &Look) -> Markup {
    let shown = find::shown(whole, &look.find);
    let rows = rows::rows(whole, &shown, look);
    let page = rows::page_of(&rows, whole, look);
    let on_page = rows.get(page * PAGE..).unwrap_or_default();
    let on_page = &on_page[..on_page.len().min(PAGE)];
    let data = rows_path(whole, look);
    if rows.is_empty() {
        return head::nothing_found(whole, look);
    }
    html! {
        p.hint.quiet.small {
            span.legend { span.key {} " bar: under way" }
            span.legend { span.key.critical {} " line: on the critical path" }
            span.with-script { kbd { "↑" } " " kbd { "↓" } " move, " kbd { "←" } " " kbd { "→" } " close and open, "
                kbd { "Enter" } " details, " kbd { "/" } " find" }
        }
        div.waterfall #waterfall role="treegrid" aria-label="Spans below their parents" aria-rowcount=(rows.len() + 1)
            data-rows=(data) {
            div.span.heads role="row" aria-rowindex="1" {
                div.name role="columnheader" {
                    "Service and operation"
                    span.with-script.tools {
                        button.plain.small type="button" data-open="all" { "Open all" }
                        button.plain.small type="button" data-open="none" { "Close all" }
                    }
                }
                div.when role="columnheader" { span.visually-hidden { "When" } (axis(whole)) }
                div.took role="columnheader" { "Duration" }
            }
            div.rows role="rowgroup" {
                @for (at, row) in on_page.iter().enumerate() { (span(whole, look, row, page * PAGE + at + 2)) }
            }
        }
        (pages(whole, look, page, rows.len()))
        template #row { (blank()) }
    }
}

/// Where the script has its rows from.
fn rows_path(whole: &Whole, look: &Look) -> String {
    let path = format!("/traces/{}/rows", whole.id);
    if look.find.is_empty() { path } else { show::link(&path, &[("find", &look.find)]) }
}

/// Five times from the begin to the end.
fn axis(whole: &Whole) -> Markup {
    let at = |quarter: u32| human::duration(whole.duration() * quarter / 4);
    html! {
        svg.axis width="100%" height="20" aria-hidden="true" {
            @for (quarter, x, anchor) in [(0, "0%", "start"), (1, "25%", "middle"), (2, "50%", "middle"), (3, "75%", "middle"), (4, "100%", "end")] {
                text x=(x) y="14" text-anchor=(anchor) { (at(quarter)) }
            }
        }
    }
}

fn span(whole: &Whole, look: &Look, row: &Row, place: usize) -> Markup {
    let (span, key) = (&whole.spans[row.span], whole.key(row.span));
    let is_orphan = row.depth == 0 && crate::serve::trace::has_parent(span);
    let class = format!(
        "span {}{}{}",
        show::hue(span.resource.service_name()),
        if span.is_error() { " failed" } else { "" },
        if row.matches { "" } else { " bystander" }
    );
    let after = between(whole.start, span.start);
    html! {
        div class=(class) role="row" data-key=(key) aria-rowindex=(place) aria-level=(row.depth + 1)
            aria-expanded=[row.is_open] aria-selected=((look.span == Some(key)).to_string()) {
            div.name role="gridcell" {
                (rails(row.rails, row.depth))
                @match row.is_open {
                    Some(is_open) => a.toggle href=(look.toggled(key).path(whole.id)) aria-label=(if is_open { "Close" } else { "Open" }) { (chevron()) },
                    None => span.toggle {},
                }
                a.open href={ (look.at(key).path(whole.id)) "#span" } {
                    @if span.is_error() { span.sign title="Failed" { "!" span.visually-hidden { " failed: " } } }
                    @if is_orphan { span.sign.orphan title="Its parent is not stored" { "?" span.visually-hidden { " without its parent: " } } }
                    bdi.of { (show::cut(span.resource.service_name(), 200)) }
                    bdi.operation { (show::cut(&span.name, 200)) }
                    @if let Some(why) = message(span) { bdi.why { (show::cut(&why, 200)) } }
                }
            }
            div.when role="gridcell" {
                svg.bars width="100%" height="14" aria-hidden="true" {
                    (bar("whole", whole, span.start.0 - whole.start.0, span.end.0 - span.start.0))
                    @for (from, length) in rows::critical(whole, row.span) { (bar("critical", whole, from, length)) }
                }
                span.visually-hidden { "after " (human::duration(after)) }
            }
            div.took role="gridcell" { (human::duration(between(span.start, span.end))) }
        }
    }
}

/// What the script makes rows of: every part that one may have.
fn blank() -> Markup {
    html! {
        div.span role="row" {
            div.name role="gridcell" {
                (rails(0, 1))
                a.toggle tabindex="-1" { (chevron()) }
                a.open tabindex="-1" {
                    span.sign title="Failed" { "!" span.visually-hidden { " failed: " } }
                    span.sign.orphan title="Its parent is not stored" { "?" span.visually-hidden { " without its parent: " } }
                    bdi.of {}
                    bdi.operation {}
                    bdi.why {}
                }
            }
            div.when role="gridcell" {
                svg.bars width="100%" height="14" aria-hidden="true" { rect.whole y="2" height="8" rx="1.5" {} rect.critical y="10" height="3" {} }
                span.visually-hidden {}
            }
            div.took role="gridcell" {}
        }
    }
}

fn bar(class: &str, whole: &Whole, from: i128, length: i128) -> Markup {
    let x = format!("{:.3}%", whole.percent(from).clamp(0.0, 100.0));
    // Nothing is drawn of what has no width, not even its edge.
    let width = format!("{:.3}%", whole.percent(length).clamp(0.01, 100.0));
    match class {
        "critical" => html! { rect.critical x=(x) width=(width) y="10" height="3" {} },
        _ => html! { rect.whole x=(x) width=(width) y="2" height="8" rx="1.5" {} },
    }
}

/// Lines from ancestors to what is below them.
fn rails(rails: u32, depth: usize) -> Markup {
    let depth = depth.min(MAX_DEPTH);
    let x = |level: usize| (level - 1) * INDENT + 9;
    let mut path = String::new();
    for level in (1..=depth).filter(|level| rails >> level & 1 == 1) {
        path += &format!("M{} 0v{HEIGHT}", x(level));
    }
    if depth > 0 {
        path += &format!("M{} 0v{}h7", x(depth), HEIGHT / 2);
    }
    html! {
        svg.rails width=(depth * INDENT) height=(HEIGHT) viewBox={ "0 0 " (depth * INDENT) " " (HEIGHT) } preserveAspectRatio="xMaxYMid slice" aria-hidden="true" {
            path d=(path) {}
        }
    }
}

fn chevron() -> Markup {
    html! { svg viewBox="0 0 12 12" width="12" height="12" aria-hidden="true" { path d="M2.5 4 6 8l3.5-4" {} } }
}

/// Links to the other pages.
pub(super) fn pages(whole: &Whole, look: &Look, page: usize, rows: usize) -> Markup {
    let last = rows.saturating_sub(1) / PAGE;
    let to = |page: usize| Look { page: Some(page), ..look.nowhere() }.path(whole.id);
    let from = page * PAGE;
    html! {
        @if last > 0 {
            nav.pages.row aria-label="Pages of spans" {
                @if page > 0 { a.button href=(to(page - 1)) rel="prev" { "Earlier" } }
                span { (human::thousands(from as u64 + 1)) "–" (human::thousands(rows.min(from + PAGE) as u64)) " of " (human::count(rows as u64, "span")) }
                @if page < last { a.button href=(to(page + 1)) rel="next" { "Later" } }
            }
        }
    }
}

/// A link to a span of the trace.
pub(super) fn link_to(whole: &Whole, look: &Look, key: SpanKey, text: &str) -> Markup {
    html! { a href={ (Look { page: None, ..look.at(key) }.path(whole.id)) "#span" } { (show::text(text)) } }
}
