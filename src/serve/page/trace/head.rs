//! What is above each view of a trace.

use maud::{Markup, html};

use super::look::{Look, View};
use super::waterfall::link_to;
use super::whole::Whole;
use crate::search::{Status, Term};
use crate::serve::human;
use crate::serve::page::show;
use crate::serve::trace::total;

/// How many services have a chip.
const SERVICES: usize = 12;
/// How many spans of the critical path are listed, and how many of them where the list is closed.
const LISTED: usize = 20;
const NAMED: usize = 3;

pub(super) fn head(whole: &Whole, look: &Look) -> Markup {
    let root = whole.tree.root(&whole.spans).and_then(|at| whole.spans.get(at));
    let (service, name) = root.map_or(("", ""), |span| (span.resource.service_name(), span.name.as_ref()));
    let find = |find: String| look.finding(&find).path(whole.id);
    let services = whole.services();
    let errors = whole.errors();
    html! {
        div.trace-head {
            h1 { (show::service(service)) " " (show::text(name)) }
            div.row.facts-line {
                span { (show::time(whole.start)) }
                strong { (show::duration(whole.duration())) }
                span { (human::count(whole.spans.len() as u64, "span")) @if whole.is_cut { " and more" } }
                @if errors > 0 {
                    a.badge.error href=(find(Term::Status(Status::Error).to_string())) title="Show what failed" { (human::count(errors, "error")) }
                } @else {
                    span.badge.good { "no errors" }
                }
                span.copyable { code.value { (whole.id) } (copy("trace id")) }
            }
            div.row.services {
                @for (name, count) in services.iter().take(SERVICES) {
                    a.chip href=(find(Term::Service((*name).to_owned()).to_string())) title="Show its spans" { (show::service(name)) span.quiet { (human::thousands(*count)) } }
                }
                @if services.len() > SERVICES { span.quiet { "and " (human::count((services.len() - SERVICES) as u64, "more service")) } }
            }
            (oddities(whole))
            (critical_path(whole, look))
        }
        div.toolbar.spread {
            nav.tabs aria-label="Views" {
                @for ((view, _), name) in View::ALL.into_iter().zip(["Waterfall", "Flame graph", "Table"]) {
                    a href=(Look { view, page: None, ..look.clone() }.path(whole.id)) aria-current=[(view == look.view).then_some("page")] { (name) }
                }
            }
            form.find role="search" aria-label="Find in this trace" action={ "/traces/" (whole.id) } method="get" {
                @for (name, value) in look.finding("").nowhere().parameters() { input type="hidden" name=(name) value=(value); }
                input #q name="find" type="search" maxlength="4000" value=(look.find) placeholder="Find in this trace" aria-label="Find in this trace" autocomplete="off" spellcheck="false";
                button type="submit" { "Find" }
                @if !look.find.is_empty() { a.button href=(find(String::new())) { "Show all" } }
            }
            div.row.links {
                a href={ "/traces/" (whole.id) "/similar" } { "Traces like this" }
                a href={ "/api/v3/traces/" (whole.id) } download={ (whole.id) ".otlp.json" } { "OTLP" }
                a href={ "/api/traces/" (whole.id) } download={ (whole.id) ".jaeger.json" } { "Jaeger JSON" }
            }
        }
    }
}

/// A button that copies the `.value` of the `.copyable` it is in. Without a script there is none.
pub(super) fn copy(what: &str) -> Markup {
    html! {
        button.copy.with-script type="button" aria-label={ "Copy " (what) } title={ "Copy " (what) } {
            svg viewBox="0 0 16 16" width="14" height="14" aria-hidden="true" {
                path d="M5.5 5.5v-3h8v8h-3M2.5 5.5h8v8h-8z" {}
            }
        }
    }
}

/// What a reader should know before trusting what is drawn.
fn oddities(whole: &Whole) -> Markup {
    let odd = whole.oddities();
    let (count, are) = (human::count, |count: u64| if count == 1 { "is" } else { "are" });
    let mut notes = Vec::new();
    if whole.is_cut {
        notes.push(format!(
            "The trace has more spans than a page may have: the first {} are shown.",
            human::thousands(whole.spans.len() as u64)
        ));
    }
    if odd.has_no_root {
        notes.push("Its root is not stored: it may be under way still, or was lost.".into());
    } else if odd.more_roots > 0 {
        notes.push(format!("{} without a parent, beside the first.", count(odd.more_roots, "span")));
    }
    if odd.orphans > 0 {
        notes.push(format!(
            "{} {} without their parent, which is not stored: they stand at the left.",
            count(odd.orphans, "span"),
            are(odd.orphans)
        ));
    }
    if odd.early > 0 {
        notes.push(format!(
            "Clocks differ: {} before the parent, by up to {}. Times are shown as they were recorded.",
            if odd.early == 1 {
                "1 span starts".into()
            } else {
                format!("{} start", count(odd.early, "span"))
            },
            human::duration(odd.earliest)
        ));
    }
    if odd.backward > 0 {
        notes.push(format!(
            "{} before the start: a clock was set back.",
            if odd.backward == 1 {
                "1 span ends".into()
            } else {
                format!("{} end", count(odd.backward, "span"))
            }
        ));
    }
    if odd.twins > 0 {
        notes.push(format!(
            "{} an id that another span has.",
            if odd.twins == 1 { "1 span has".into() } else { format!("{} have", count(odd.twins, "span")) }
        ));
    }
    html! {
        @if !notes.is_empty() {
            div.note.warning { ul { @for note in &notes { li { (note) } } } }
        }
    }
}

/// The spans that the trace waited for, those with the most time first.
fn critical_path(whole: &Whole, look: &Look) -> Markup {
    let mut spans: Vec<(i128, usize)> =
        whole.critical.iter().enumerate().map(|(at, segments)| (total(segments), at)).collect();
    spans.retain(|(time, _)| *time > 0);
    spans.sort_by_key(|(time, at)| (-time, *at));
    let duration = |time: i128| {
        human::duration(std::time::Duration::from_nanos(u64::try_from(time).unwrap_or(u64::MAX)))
    };
    let percent = |time: i128| format!("{:.0} %", whole.percent(time));
    html! {
        @if !spans.is_empty() {
            details.card.critical-path {
                summary {
                    strong { "Critical path" } " "
                    @for (place, (time, at)) in spans.iter().take(NAMED).enumerate() {
                        @if place > 0 { ", " }
                        (show::text(show::cut(&whole.spans[*at].name, 60))) " " span.quiet.nowrap { (percent(*time)) }
                    }
                    @if spans.len() > NAMED { span.quiet { ", and " (human::count((spans.len() - NAMED) as u64, "more span")) } }
                }
                p.quiet.small { "At each moment the span without which the trace would have ended sooner; the time is that on the path, not the span's whole." }
                table {
                    thead { tr { th scope="col" { "Service" } th scope="col" { "Operation" } th.num scope="col" { "Time on the path" } th scope="col" { "Share" } } }
                    tbody {
                        @for (time, at) in spans.iter().take(LISTED) {
                            tr {
                                td { (show::service(whole.spans[*at].resource.service_name())) }
                                td { (link_to(whole, look, whole.key(*at), &whole.spans[*at].name)) }
                                td.num { (duration(*time)) }
                                td.nowrap { (show::bar(whole.percent(*time) / 100.0, &format!("{} of the trace", percent(*time)))) " " span.small { (percent(*time)) } }
                            }
                        }
                    }
                }
                @if spans.len() > LISTED { p.quiet.small { "and " (human::count((spans.len() - LISTED) as u64, "more span")) } }
            }
        }
    }
}

/// In the place of a view that would be empty.
pub(super) fn nothing_found(whole: &Whole, look: &Look) -> Markup {
    html! {
        div.card.empty {
            h2 { "No span has " (show::text(&look.find)) }
            p { "Words are looked for in names, services, messages, attributes and events. The filters of the search work, too: " code { "status:error" } ", " code { ">100ms" } ", " code { "http.route=/cart" } "." }
            p { a.button href=(look.finding("").path(whole.id)) { "Show all spans" } }
        }
    }
}
