//! When the counted spans were: bars that are links to their time. The script adds what the mouse and the arrow keys do.

use std::time::SystemTime;

use maud::{Markup, html};

use super::address;
use super::facets::estimate;
use crate::search::{CountScope, Overview, QueryText, Term, TimeCount};
use crate::serve::human;
use crate::serve::page::show::time;
use crate::span::Timestamp;

/// The picture's size: it is stretched to the page's width.
const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 100.0;
/// The lowest bar, and the gap between two.
const LOWEST: f64 = 3.0;
const GAP: f64 = 1.5;

/// The bars' times.
struct Scale {
    first: i128,
    step: i128,
    steps: i128,
}

impl Scale {
    fn of(text: &QueryText, overview: &Overview) -> Option<Self> {
        let step = i128::try_from(overview.step.as_nanos()).ok().filter(|step| *step > 0)?;
        let (first, last) = (overview.times.first()?.start.0, overview.times.last()?.start.0);
        // A period that was asked for is shown as a whole, as far as there can be bars.
        let (mut since, mut until) = (first, last + step);
        for term in text.terms() {
            match term {
                Term::Since(time) => since = since.min(Timestamp::from(*time).0),
                Term::Until(time) => until = until.max(Timestamp::from(*time).0),
                _ => {}
            }
        }
        let begin = since.div_euclid(step) * step;
        let steps = (until - begin + step - 1) / step;
        Some(Scale { first: begin, step, steps }).filter(|scale| scale.steps <= 200)
    }

    fn x(&self, time: i128) -> f64 {
        (time - self.first) as f64 / (self.step * self.steps) as f64 * WIDTH
    }
}

pub(super) fn card(text: &QueryText, overview: &Overview) -> Markup {
    let Some(scale) = Scale::of(text, overview) else { return html! {} };
    let most = overview.times.iter().map(|time| time.spans).max().unwrap_or(1).max(1);
    let end = scale.first + scale.step * scale.steps;
    let zoomed = |term: &Term| matches!(term, Term::Since(_) | Term::Until(_) | Term::Last(_));
    let basis = text.without(zoomed);
    let about = if matches!(overview.scope, CountScope::Best) { " of the best operations" } else { "" };
    html! {
        section.card.histogram aria-labelledby="histogram-title" {
            div.spread {
                h2 #histogram-title { "Spans over time" }
                p.legend.small {
                    span.key { (estimate(overview.spans, overview)) " spans" (about) }
                    span.key.failing { (estimate(overview.errors, overview)) " failing" }
                    span.quiet { (human::length(overview.step)) " a bar" }
                    @if basis != *text { a href=(address(&basis)) { "All times" } }
                }
            }
            svg.bars viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) preserveAspectRatio="none" role="group"
                aria-label="Spans over time: choose a bar to see its time alone"
                data-basis=(basis) data-first=(scale.first / 1_000_000) data-last=(end / 1_000_000) {
                @for count in &overview.times { (bar(text, overview, &scale, count, most)) }
            }
            div.axis.small.quiet {
                (time(Timestamp(scale.first)))
                span.hint { "drag to choose a period" }
                (time(Timestamp(end)))
            }
        }
    }
}

fn bar(text: &QueryText, overview: &Overview, scale: &Scale, count: &TimeCount, most: u64) -> Markup {
    let start = count.start.0.div_euclid(scale.step) * scale.step;
    let (left, right) = (scale.x(start), scale.x(start + scale.step));
    let height = |spans: u64| match spans {
        0 => 0.0,
        _ => (spans as f64 / most as f64 * HEIGHT).max(LOWEST),
    };
    let (spans, errors) = (height(count.spans), height(count.errors));
    let label = format!(
        "{}: {} spans, {} failing",
        human::utc(Timestamp(start)),
        estimate(count.spans, overview),
        estimate(count.errors, overview)
    );
    let number = |value: f64| format!("{value:.2}");
    html! {
        a href=(address(&within(text, start, scale.step))) aria-label=(label) {
            title { (label) }
            rect.hit x=(number(left)) width=(number(right - left)) height=(HEIGHT) {}
            rect.value x=(number(left)) width=(number((right - left - GAP).max(0.5))) y=(number(HEIGHT - spans)) height=(number(spans)) {}
            @if count.errors > 0 {
                rect.failing x=(number(left)) width=(number((right - left - GAP).max(0.5))) y=(number(HEIGHT - errors)) height=(number(errors)) {}
            }
        }
    }
}

/// The search within a time.
fn within(text: &QueryText, start: i128, length: i128) -> QueryText {
    let at = |time: i128| Timestamp(time).to_system_time();
    match (at(start), at(start + length)) {
        (Some(since), Some(until)) => text.with(Term::Since(since)).with(Term::Until(until)),
        _ => text.clone(),
    }
}

/// For the home page: the present begins where a step does.
pub(super) fn rounded(since: SystemTime) -> SystemTime {
    let whole = Timestamp::from(since).0.div_euclid(1_000_000_000) * 1_000_000_000;
    Timestamp(whole).to_system_time().unwrap_or(since)
}
