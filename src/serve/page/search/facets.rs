//! What the counted spans have in common; each a link that adds a filter.

use maud::{Markup, html};

use super::address;
use crate::search::{
    AttributeCount, Condition, CountScope, DurationCount, Overview, QueryText, Status, Term,
};
use crate::serve::human;
use crate::serve::page::show::{cut, hue};

/// How many names are shown, how many attributes, and how many values of each.
const NAMES: usize = 8;
const KEYS: usize = 6;
const VALUES: usize = 5;

/// A value to narrow a search by.
struct Facet {
    name: String,
    /// The class of its colour.
    hue: Option<String>,
    terms: Vec<Term>,
    spans: u64,
}

pub(super) fn aside(text: &QueryText, overview: &Overview) -> Markup {
    let groups = [
        ("Status", statuses(overview)),
        ("Service", services(overview)),
        ("Operation", operations(overview)),
        ("Duration", durations(overview)),
    ];
    html! {
        aside #facets .facets tabindex="-1" aria-label="Narrow the search" {
            @for (title, facets) in &groups { (group(text, overview, title, facets)) }
            @for (key, facets) in attributes(&overview.attributes, overview.spans) {
                (group(text, overview, &key, &facets))
            }
            p.quiet.small { (counted(overview)) }
        }
    }
}

/// The way to the facets where they are below the results.
pub(super) fn jump() -> Markup {
    html! { a.to-facets href="#facets" { "Filters" } }
}

/// Which spans the numbers are of.
fn counted(overview: &Overview) -> String {
    let spans = human::count(overview.spans, "span");
    match overview.scope {
        CountScope::Sample(share) => format!("Estimated from {spans}, {:.1} % of the period.", share * 100.0),
        CountScope::Best => format!("Counted over {spans} of the operations that fit best."),
        CountScope::All => format!("Counted over {spans}."),
    }
}

fn group(text: &QueryText, overview: &Overview, title: &str, facets: &[Facet]) -> Markup {
    html! {
        @if !facets.is_empty() {
            section.facet {
                h3 { bdi title=(title) { (cut(title, 60)) } }
                ul { @for facet in facets { li { (entry(text, overview, facet)) } } }
            }
        }
    }
}

fn entry(text: &QueryText, overview: &Overview, facet: &Facet) -> Markup {
    let holds = facet.terms.iter().all(|term| text.terms().contains(term));
    let narrowed = match holds {
        true => text.without(|term| facet.terms.contains(term)),
        false => facet.terms.iter().fold(text.clone(), |text, term| text.with(term.clone())),
    };
    let share = facet.spans as f64 / overview.spans.max(1) as f64;
    html! {
        a href=(address(&narrowed)) aria-current=[holds.then_some("true")] title=(cut(&facet.name, 2_000)) {
            svg.share viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true" {
                rect width=(format!("{:.1}", share.min(1.0) * 100.0)) height="1" {}
            }
            @if let Some(hue) = &facet.hue {
                span class={ "service cut " (hue) } { bdi { (cut(&facet.name, 100)) } }
            } @else {
                bdi.cut { (cut(&facet.name, 100)) }
            }
            " "
            span.count { (estimate(facet.spans, overview)) }
        }
    }
}

/// How many spans there are of those that were counted.
pub(super) fn estimate(spans: u64, overview: &Overview) -> String {
    match overview.scope {
        CountScope::Sample(share) if share > 0.0 => format!("~{}", rounded(spans as f64 / share)),
        _ => human::thousands(spans),
    }
}

/// Two digits: more are not known.
fn rounded(number: f64) -> String {
    let digits = number.max(1.0).log10().floor() - 1.0;
    let unit = 10_f64.powf(digits.max(0.0));
    human::thousands(((number / unit).round() * unit) as u64)
}

fn statuses(overview: &Overview) -> Vec<Facet> {
    let facet = |(status, spans): &(Status, u64)| Facet {
        name: status.name().into(),
        hue: None,
        terms: vec![Term::Status(*status)],
        spans: *spans,
    };
    overview.statuses.iter().rev().map(facet).collect()
}

fn services(overview: &Overview) -> Vec<Facet> {
    let services = overview.services.iter().take(NAMES);
    let facet = |service: &crate::search::NameCount| Facet {
        name: service.name.clone(),
        hue: Some(hue(&service.name)),
        terms: vec![Term::Service(service.name.clone())],
        spans: service.spans,
    };
    services.map(facet).collect()
}

fn operations(overview: &Overview) -> Vec<Facet> {
    let operations = overview.operations.iter().take(NAMES);
    let facet = |operation: &crate::search::OperationCount| Facet {
        name: operation.name.clone(),
        hue: Some(hue(&operation.service)),
        terms: vec![Term::Service(operation.service.clone()), Term::Operation(operation.name.clone())],
        spans: operation.spans,
    };
    operations.map(facet).collect()
}

fn durations(overview: &Overview) -> Vec<Facet> {
    let facet = |class: &DurationCount| {
        let least = (!class.from.is_zero()).then_some(Term::LongerThan(class.from));
        let terms: Vec<Term> = least.into_iter().chain(class.to.map(Term::ShorterThan)).collect();
        let name = match class.to {
            Some(to) if class.from.is_zero() => format!("< {}", short(to)),
            Some(to) => format!("{} – {}", short(class.from), short(to)),
            None => format!("> {}", short(class.from)),
        };
        Facet { name, hue: None, terms, spans: class.spans }
    };
    overview.durations.iter().map(facet).collect()
}

/// A bound between classes: whole milliseconds or seconds.
fn short(duration: std::time::Duration) -> String {
    match duration.as_millis() {
        ms @ 0..1000 => format!("{ms} ms"),
        ms => format!("{} s", ms / 1000),
    }
}

/// The attributes that tell spans apart: of several values, none of which all spans have.
fn attributes(counts: &[AttributeCount], spans: u64) -> Vec<(String, Vec<Facet>)> {
    let mut keys: Vec<(String, Vec<Facet>)> = Vec::new();
    for AttributeCount { key, value, spans: count } in counts.iter().filter(|count| !is_technical(&count.key))
    {
        let facet = Facet {
            name: value.clone(),
            hue: None,
            terms: vec![Term::Attribute(Condition::is(key, value))],
            spans: *count,
        };
        match keys.iter_mut().find(|(known, _)| known == key) {
            Some((_, facets)) => facets.push(facet),
            None => keys.push((key.clone(), vec![facet])),
        }
    }
    keys.retain(|(_, facets)| facets.len() > 1 || facets.iter().any(|facet| facet.spans < spans));
    keys.truncate(KEYS);
    keys.iter_mut().for_each(|(_, facets)| facets.truncate(VALUES));
    keys
}

/// Whether an attribute tells of the program, not of what it did.
fn is_technical(key: &str) -> bool {
    ["code.", "thread.", "telemetry.", "otel.", "busy_ns", "idle_ns", "target", "level", "net.", "network."]
        .iter()
        .any(|beginning| key.starts_with(beginning))
}
