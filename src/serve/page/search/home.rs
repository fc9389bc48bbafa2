//! Without a search: the newest traces, what there is at present, and searches to begin with.

use axum::response::Response;
use futures_util::future::try_join;
use maud::{Markup, html};

use super::{TRACES, address, cards, facets, histogram, shown, with_overview};
use crate::error::Result;
use crate::search::{Filter, Overview, QueryText, SearchQuery, Status, Term, TraceHit};
use crate::serve::highlight::words_of;
use crate::serve::page::Pages;
use crate::span::Timestamp;

pub(super) async fn page(pages: &Pages) -> Result<Response> {
    let overview = async {
        let since = pages.store.present().await?.map(histogram::rounded);
        let filter = since.map_or_else(Filter::default, |since| Filter::default().since(since));
        pages.store.overview(&SearchQuery::filtered(filter)).await
    };
    let (hits, overview) = try_join(pages.store.newest_traces(TRACES), overview).await?;
    if hits.is_empty() && overview.as_ref().is_some_and(|overview| overview.spans == 0) {
        return Ok(shown("", empty()));
    }
    let older = hits.iter().map(|hit| hit.start).min().and_then(Timestamp::to_system_time);
    let none = QueryText::default();
    let traces = html! {
        div.spread.results-head { h2 { "Newest traces" } (facets::jump()) }
        (cards::list(&SearchQuery::new(""), &hits))
        @if let Some(older) = older.filter(|_| hits.len() == TRACES) {
            p.more { a.button href=(address(&none.with(Term::Until(older)))) { "Older traces" } }
        }
    };
    let below = html! {
        @if let Some(overview) = &overview { (beginnings(&hits, overview)) }
        (with_overview(&none, overview.as_ref(), traces))
    };
    Ok(shown("", below))
}

/// Searches that find something in what there is at present.
fn beginnings(hits: &[TraceHit], overview: &Overview) -> Markup {
    let text = |terms: Vec<Term>| QueryText::from(terms);
    let slow = overview.durations.last().map(|class| class.from).filter(|from| !from.is_zero());
    let telling = |hit: &&TraceHit| hit.error_count > 0 && words_of(&hit.root_name).len() > 1;
    let failed = hits.iter().find(telling).or(hits.first());
    let mut all = Vec::new();
    if overview.errors > 0 {
        all.push(("Failing now", text(vec![Term::Status(Status::Error)])));
    }
    all.extend(slow.map(|slow| ("Slowest", text(vec![Term::LongerThan(slow)]))));
    if let Some(hit) = failed {
        let mut words = words_of(&hit.root_name);
        words.truncate(4);
        words.extend((hit.error_count > 0).then(|| "failed".to_owned()));
        all.push(("By meaning", text(words.into_iter().map(Term::Word).collect())));
    }
    if let Some(service) = overview.services.first() {
        all.push(("In a service", text(vec![Term::Service(service.name.clone())])));
    }
    all.retain(|(_, text)| !text.terms().is_empty());
    html! {
        @if !all.is_empty() {
            ul.chips.beginnings aria-label="Searches to begin with" {
                @for (name, text) in &all {
                    li { a.chip href=(address(text)) { span.quiet { (name) } " " bdi.mono { (text) } } }
                }
            }
        }
    }
}

/// Nothing is stored yet.
fn empty() -> Markup {
    html! {
        section.card.empty {
            h2 { "No traces yet" }
            p {
                "Install the exporter in a service, send OTLP to this server (" code { "otel-pgvector serve --receive" }
                "), or read a file with " code { "otel-pgvector import" } "."
            }
        }
    }
}
