//! A span with all that it brought.

use std::borrow::Cow;

use maud::{Markup, html};
use opentelemetry::trace::TraceId;

use super::head::copy;
use super::look::{Look, SpanKey};
use super::place::{Place, text};
use super::waterfall::link_to;
use super::whole::Whole;
use crate::search::{Condition, QueryText, Term};
use crate::serve::human;
use crate::serve::page::show;
use crate::serve::trace::{between, has_parent, kind, total};
use crate::span::{Attribute, Event, Span, StatusCode, Timestamp, Value};

/// How many characters of a value are shown, and of a stack trace; the whole is a click away.
const LONG: usize = 2_000;
const LONG_STACK: usize = 20_000;
/// How many characters of a key are shown.
const KEY: usize = 200;
/// Longer values are not searched for: an address would not hold them.
const SEARCHED: usize = 300;
/// How many children are listed, and how many events and links.
const CHILDREN: usize = 20;
const EVENTS: usize = 200;

/// The keys of an event's attributes that tell of an exception.
const TYPE: &str = "exception.type";
const MESSAGE: &str = "exception.message";
const STACK: &str = "exception.stacktrace";

/// The details of a span, which stand beside the view.
pub(super) fn detail(whole: &Whole, at: usize, look: &Look) -> Markup {
    let (span, key) = (&whole.spans[at], whole.key(at));
    let about = About { trace: whole.id, key };
    let duration = |from, to| human::duration(between(from, to));
    let nanoseconds = |time: i128| duration(Timestamp(0), Timestamp(time));
    let children = &whole.tree.children[at];
    html! {
        header.detail-head {
            div {
                (show::service(span.resource.service_name()))
                h2 #span-name tabindex="-1" { (about.value(Place::Name, &span.name, 200)) }
            }
            a.close href=(look.nowhere().path(whole.id)) aria-label="Close the details" title="Close" { "×" }
        }
        div.row {
            @match span.status.code {
                StatusCode::ERROR => span.badge.error { "error" },
                StatusCode::OK => span.badge.good { "ok" },
                _ => {},
            }
            span.badge { (kind(span.kind)) }
            span.copyable.small { code.value { (span.span_id) } (copy("span id")) }
        }
        @if !span.status.message.is_empty() {
            div.note.error { (about.value(Place::Status, &span.status.message, LONG)) }
        }
        dl.figures {
            div { dt { "duration" } dd { (duration(span.start, span.end)) } }
            div { dt { "self" } dd { (nanoseconds(whole.own[at])) } }
            div { dt { "critical path" } dd { (nanoseconds(total(&whole.critical[at]))) } }
            div { dt { "after" } dd { (duration(whole.start, span.start)) } }
        }
        p.small { "Started " (show::time(span.start)) @if span.end < span.start { ", and ended before it: a clock was set back" } }
        @for (number, event) in span.events.iter().enumerate().filter(|(_, event)| is_exception(event)).take(EVENTS) {
            (exception(&about, span, number, event))
        }
        (attributes(&about, "Attributes", &span.attributes, span.dropped_attributes_count, Place::Attribute, Search::Span))
        (events(&about, span))
        (links(&about, span))
        h3 { "Relatives" }
        dl.facts.small {
            dt { "parent" }
            dd {
                @match whole.parent(at) {
                    Some(parent) => (link_to(whole, look, whole.key(parent), &whole.spans[parent].name)),
                    None if has_parent(span) => { code { (span.parent_span_id) } " is not stored" },
                    None => "none: it is a root",
                }
            }
            dt { "children" }
            dd {
                @if children.is_empty() { "none" }
                @for (place, child) in children.iter().take(CHILDREN).enumerate() {
                    @if place > 0 { ", " }
                    (link_to(whole, look, whole.key(*child), &whole.spans[*child].name))
                }
                @if children.len() > CHILDREN { " and " (human::count((children.len() - CHILDREN) as u64, "more span")) }
            }
        }
        (attributes(&about, "Resource", &span.resource.attributes, span.resource.dropped_attributes_count, Place::Resource, Search::Resource))
        @if !span.scope.name.is_empty() || !span.scope.attributes.is_empty() {
            h3 { "Scope" }
            p.small { (show::text(&span.scope.name)) " " span.quiet { (show::text(&span.scope.version)) } }
            (values(&about, &span.scope.attributes, Place::Scope, Search::No))
        }
        @if !span.trace_state.is_empty() { h3 { "Trace state" } p.small { (show::text(&span.trace_state)) } }
    }
}

/// Whose values they are.
struct About {
    trace: TraceId,
    key: SpanKey,
}

/// Which traces a value leads to.
#[derive(Clone, Copy, PartialEq)]
enum Search {
    Span,
    Resource,
    No,
}

impl About {
    /// A text of the span, of which the beginning is shown where it is long.
    fn value(&self, place: Place, text: &str, most: usize) -> Markup {
        let beginning = show::cut(text, most);
        let whole = format!("/traces/{}/spans/{}/{place}", self.trace, self.key);
        html! {
            @if beginning.len() < text.len() {
                bdi.value data-whole=(whole) { (beginning) }
                "… " a.nowrap href=(whole) { "all " (human::bytes(text.len() as u64)) }
            } @else {
                bdi.value { (text) }
            }
        }
    }
}

/// Whether an event tells of an exception.
pub(super) fn is_exception(event: &Event<'_>) -> bool {
    event.name == "exception" || [TYPE, MESSAGE, STACK].iter().any(|key| find(event, key).is_some())
}

/// An attribute's number and text.
fn find<'a>(event: &'a Event<'_>, key: &str) -> Option<(usize, Cow<'a, str>)> {
    let at = event.attributes.iter().position(|(known, _)| known == key)?;
    event.attributes.get(at).map(|(_, value)| (at, text(value)))
}

fn exception(about: &About, span: &Span<'_>, number: usize, event: &Event<'_>) -> Markup {
    let part = |key: &str, most: usize| {
        find(event, key)
            .filter(|(_, text)| !text.is_empty())
            .map(|(at, text)| about.value(Place::Event(number, at), &text, most))
    };
    let (kind, message, stack) = (part(TYPE, LONG), part(MESSAGE, LONG), part(STACK, LONG_STACK));
    html! {
        section.exception aria-label="Exception" {
            div.spread {
                h3.error { @if let Some(kind) = kind { (kind) } @else { "Exception" } }
                span.quiet.small { "after " (human::duration(between(span.start, event.time))) }
            }
            @if let Some(message) = message { p { (message) } }
            @if let Some(stack) = stack {
                div.copyable.stack { pre tabindex="0" aria-label="Stack trace" { (stack) } (copy("the stack trace")) }
            }
            (rest(about, number, event))
        }
    }
}

/// What an exception brought beside what is shown of it.
fn rest(about: &About, number: usize, event: &Event<'_>) -> Markup {
    let shown = |key: &str| [TYPE, MESSAGE, STACK].contains(&key);
    let rest: Vec<(usize, &Attribute<'_>)> =
        event.attributes.iter().enumerate().filter(|(_, (key, _))| !shown(key)).collect();
    table(about, &rest, |at| Place::Event(number, at), Search::No)
}

fn events(about: &About, span: &Span<'_>) -> Markup {
    let others: Vec<_> = span.events.iter().enumerate().filter(|(_, event)| !is_exception(event)).collect();
    html! {
        @if !others.is_empty() || span.dropped_events_count > 0 {
            h3 { "Events " span.quiet { (others.len()) } (dropped(span.dropped_events_count)) }
            @for (number, event) in others.iter().take(EVENTS) {
                section.event {
                    div.spread { strong { (show::text(&event.name)) } span.quiet.small { "after " (human::duration(between(span.start, event.time))) } }
                    (values(about, &event.attributes, |at| Place::Event(*number, at), Search::No))
                }
            }
            @if others.len() > EVENTS { p.quiet.small { "and " (human::count((others.len() - EVENTS) as u64, "more event")) } }
        }
    }
}

fn links(about: &About, span: &Span<'_>) -> Markup {
    html! {
        @if !span.links.is_empty() || span.dropped_links_count > 0 {
            h3 { "Links to other spans " span.quiet { (span.links.len()) } (dropped(span.dropped_links_count)) }
            @for (number, link) in span.links.iter().enumerate().take(EVENTS) {
                section.event {
                    a.mono href={ "/traces/" (link.trace_id) "?span=" (link.span_id) "#span" } { (link.trace_id) " " (link.span_id) }
                    (values(about, &link.attributes, |at| Place::Link(number, at), Search::No))
                }
            }
            @if span.links.len() > EVENTS { p.quiet.small { "and " (human::count((span.links.len() - EVENTS) as u64, "more link")) } }
        }
    }
}

fn dropped(count: u32) -> Markup {
    html! { @if count > 0 { " " span.badge.warning { (human::thousands(count.into())) " dropped" } } }
}

fn attributes(
    about: &About,
    title: &str,
    attributes: &[Attribute<'_>],
    dropped_count: u32,
    place: impl Fn(usize) -> Place,
    search: Search,
) -> Markup {
    html! {
        @if !attributes.is_empty() || dropped_count > 0 {
            h3 { (title) " " span.quiet { (attributes.len()) } (dropped(dropped_count)) }
            (values(about, attributes, place, search))
        }
    }
}

fn values(
    about: &About,
    attributes: &[Attribute<'_>],
    place: impl Fn(usize) -> Place,
    search: Search,
) -> Markup {
    let all: Vec<(usize, &Attribute<'_>)> = attributes.iter().enumerate().collect();
    table(about, &all, place, search)
}

fn table(
    about: &About,
    attributes: &[(usize, &Attribute<'_>)],
    place: impl Fn(usize) -> Place,
    search: Search,
) -> Markup {
    html! {
        @if !attributes.is_empty() {
            table.values {
                tbody {
                    @for (at, (key, value)) in attributes {
                        tr.copyable {
                            th scope="row" { (breakable(key)) }
                            td { (about.value(place(*at), &text(value), LONG)) @if let Value::Bytes(bytes) = value { " " span.quiet.small { (human::bytes(bytes.len() as u64)) ", base64" } } }
                            td.actions {
                                @if let Some(link) = search_for(key, value, search) {
                                    a.search href=(link) aria-label={ "Search traces with this " (show::cut(key, 100)) } title="Search traces with this" {
                                        svg viewBox="0 0 16 16" width="14" height="14" aria-hidden="true" { circle cx="7" cy="7" r="4.2" {} path d="m10.2 10.2 3.6 3.6" {} }
                                    }
                                }
                                (copy(show::cut(key, 100)))
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A key that may be broken behind its dots.
fn breakable(key: &str) -> Markup {
    let parts = show::cut(key, KEY).split_inclusive('.');
    html! { bdi title=[(key.len() > KEY).then_some(show::cut(key, LONG))] { @for part in parts { (part) wbr; } } }
}

/// The search for spans with this value.
fn search_for(key: &str, value: &Value<'_>, search: Search) -> Option<String> {
    let value = match value {
        Value::String(_) | Value::Bool(_) | Value::Int(_) | Value::Double(_) => text(value),
        _ => return None,
    };
    if search == Search::No || value.is_empty() || key.len() + value.len() > SEARCHED {
        return None;
    }
    let term = match (search, key) {
        (Search::Resource, "service.name") => Term::Service(value.into_owned()),
        (Search::Resource, _) => Term::Resource(Condition::is(key, value)),
        _ => Term::Attribute(Condition::is(key, value)),
    };
    Some(show::link("/", &[("q", &QueryText::from(vec![term]).to_string())]))
}
