//! The spans as a table, in the order that the reader wants.

use maud::{Markup, html};

use super::look::{Look, Sort};
use super::rows::PAGE;
use super::waterfall::{link_to, pages};
use super::whole::Whole;
use super::{find, head};
use crate::serve::human;
use crate::serve::page::show;
use crate::serve::trace::{between, message};
use crate::span::Timestamp;

pub(super) fn table(whole: &Whole, look: &Look) -> Markup {
    let mut spans: Vec<usize> = find::shown(whole, &look.find)
        .iter()
        .filter(|shown| shown.matches)
        .map(|shown| whole.lines[shown.line].span)
        .collect();
    if spans.is_empty() {
        return head::nothing_found(whole, look);
    }
    let service = |at: &usize| whole.spans[*at].resource.service_name();
    let took = |at: &usize| whole.spans[*at].end.0 - whole.spans[*at].start.0;
    spans.sort_by_key(|at| whole.spans[*at].start);
    match look.sort {
        Sort::Start => {}
        Sort::Service => spans.sort_by_key(service),
        Sort::Operation => spans.sort_by_key(|at| &whole.spans[*at].name),
        Sort::Duration => spans.sort_by_key(took),
        Sort::Own => spans.sort_by_key(|at| whole.own[*at]),
    }
    if look.descending {
        spans.reverse();
    }
    let page = look.page.unwrap_or(0).min((spans.len() - 1) / PAGE);
    html! {
        div.scroll tabindex="0" role="region" aria-label="Spans" {
            table.spans {
                thead { tr {
                    @for ((sort, _), name) in Sort::ALL.into_iter().zip(["Service", "Operation", "Start", "Duration", "Self time"]) {
                        (column(whole, look, sort, name))
                    }
                    th scope="col" { "Share" }
                } }
                tbody {
                    @for at in spans.iter().skip(page * PAGE).take(PAGE) { (row(whole, look, *at)) }
                }
            }
        }
        (pages(whole, look, page, spans.len()))
    }
}

/// A column's head, which is a link: the first click sorts numbers from the largest, texts from A.
fn column(whole: &Whole, look: &Look, sort: Sort, name: &str) -> Markup {
    let is_number = matches!(sort, Sort::Duration | Sort::Own);
    let is_sorted = look.sort == sort;
    let descending = if is_sorted { !look.descending } else { is_number };
    let link = Look { sort, descending, page: None, ..look.clone() }.path(whole.id);
    let order = if look.descending { "descending" } else { "ascending" };
    html! {
        th scope="col" class=[(is_number || sort == Sort::Start).then_some("num")] aria-sort=[is_sorted.then_some(order)] {
            a href=(link) { (name) @if is_sorted { span aria-hidden="true" { @if look.descending { " ↓" } @else { " ↑" } } } }
        }
    }
}

fn row(whole: &Whole, look: &Look, at: usize) -> Markup {
    let (span, key) = (&whole.spans[at], whole.key(at));
    let duration = |nanoseconds: i128| human::duration(between(Timestamp(0), Timestamp(nanoseconds)));
    let took = (span.end.0 - span.start.0).max(0);
    html! {
        tr class=[(look.span == Some(key)).then_some("chosen")] {
            td { (show::service(span.resource.service_name())) }
            td.operation {
                (link_to(whole, look, key, &span.name))
                @if let Some(why) = message(span) { div.error.small { (show::text(&why)) } } @else if span.is_error() { " " span.badge.error { "error" } }
            }
            td.num { (duration(span.start.0 - whole.start.0)) }
            td.num { (duration(took)) }
            td.num { (duration(whole.own[at])) }
            td { (show::bar(whole.percent(took) / 100.0, &format!("{:.1} % of the trace", whole.percent(took)))) }
        }
    }
}
