//! The traces that were found.

use maud::{Markup, html};

use crate::search::{SearchQuery, SpanHit, TraceHit};
use crate::serve::highlight::Words;
use crate::serve::human;
use crate::serve::page::show::{ago, bar, cut, duration, errors, hue, link, text, time};

/// How many of a trace's spans are shown, and how many characters of a message.
const SPANS: usize = 3;
const MESSAGE: usize = 300;

pub(super) fn list(query: &SearchQuery, hits: &[TraceHit]) -> Markup {
    let words = Words::of(query);
    let is_scored = !query.text().is_empty();
    html! {
        ol.traces {
            @for hit in hits { li { (card(hit, &words, is_scored)) } }
        }
    }
}

fn card(hit: &TraceHit, words: &Words, is_scored: bool) -> Markup {
    let best = hit.spans.first();
    let failed = if hit.error_count > 0 { " failed" } else { "" };
    html! {
        article class={ "card trace" (failed) } {
            div.trace-head {
                h3 {
                    a href=(address(hit, best)) {
                        span class={ "service " (hue(&hit.root_service)) } { (text(&hit.root_service)) }
                        " "
                        span.root { (marked(words, &hit.root_name)) }
                    }
                }
                @if is_scored {
                    span.score { (bar(hit.score, &format!("score {:.2}", hit.score))) span aria-hidden="true" { (format!("{:.2}", hit.score)) } }
                }
            }
            p.trace-facts {
                strong { (duration(hit.duration)) }
                span { (human::count(hit.span_count, "span")) }
                (errors(hit.error_count))
                span.when { (ago(hit.start)) span.quiet { " · " (time(hit.start)) } }
            }
            @if !hit.spans.is_empty() {
                ul.spans {
                    @for span in hit.spans.iter().take(SPANS) { li { (matched(hit, span, words)) } }
                }
            }
        }
    }
}

fn matched(hit: &TraceHit, span: &SpanHit, words: &Words) -> Markup {
    // The words of the query, and those that are near to them by their meaning.
    let near = span.explanation.iter().flat_map(|why| &why.matched);
    let words = words.and(near.map(|pair| pair.document.as_str()));
    html! {
        a.span href=(address(hit, Some(span))) {
            @if span.is_error { span.badge.error { "error" } " " }
            span class={ "service " (hue(&span.service)) } { (marked(&words, &span.service)) }
            " "
            span.name { (marked(&words, &span.name)) }
            " "
            span.quiet.took { (duration(span.duration)) }
        }
        @if let Some(message) = &span.message {
            p class=(if span.is_error { "message error" } else { "message" }) { (marked(&words, message)) }
        }
    }
}

fn address(hit: &TraceHit, span: Option<&SpanHit>) -> String {
    let path = format!("/traces/{}", hit.trace_id);
    match span {
        Some(span) => link(&path, &[("span", &span.span_id.to_string())]),
        None => path,
    }
}

/// A text with its words marked; where it is long, its beginning.
fn marked(words: &Words, whole: &str) -> Markup {
    let beginning = cut(whole, MESSAGE);
    let is_cut = beginning.len() < whole.len();
    html! {
        bdi title=[is_cut.then(|| cut(whole, 2_000))] {
            @for (part, is_word) in words.parts(beginning) {
                @if is_word { mark { (part) } } @else { (part) }
            }
            @if is_cut { "…" }
        }
    }
}
