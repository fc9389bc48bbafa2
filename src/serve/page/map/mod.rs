//! `/map`: which service calls which.

mod draw;
mod layout;

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use super::failure::{explain, failed};
use super::layout::{self as page_layout, Section};
use super::operations::percent;
use super::{Pages, assets, period, show};
use crate::search::Dependency;
use crate::serve::human::{count, thousands};
use crate::serve::parameters::Parameters;
use crate::serve::period::{Asked, Period};

/// How far back unless it is said.
const LAST: (&str, Duration) = ("24h", Duration::from_secs(24 * 3600));
/// More services than these are not drawn.
const MOST_DRAWN: usize = 100;
const MOST_ROWS: usize = 1_000;

pub(super) async fn page(State(pages): State<Pages>, RawQuery(query): RawQuery) -> Response {
    let parameters = Parameters::of(query.as_deref());
    match Asked::of(&parameters) {
        Ok(asked) => view(&pages, &parameters, &asked).await.unwrap_or_else(|error| failed(&error)),
        Err(reason) => explain(StatusCode::BAD_REQUEST, &reason),
    }
}

async fn view(pages: &Pages, parameters: &Parameters, asked: &Asked) -> crate::Result<Response> {
    let period = asked.resolve(&pages.store, LAST.1).await?;
    let all = pages.store.dependencies(period.since, period.until).await?;
    let chosen = parameters.get("service");
    let is_shown = |call: &&Dependency| chosen.is_none_or(|name| call.parent == name || call.child == name);
    let calls: Vec<&Dependency> = all.iter().filter(is_shown).collect();
    let shown: BTreeSet<&str> = calls.iter().flat_map(|call| [&*call.parent, &*call.child]).collect();
    let kept: Vec<(&str, &str)> = ["since", "until", "last"]
        .into_iter()
        .filter_map(|name| Some((name, parameters.get(name)?)))
        .collect();
    // To the operations of the service, in the period of the link.
    let link = |service: &str| {
        show::link("/operations", &[("service", service)].iter().chain(&kept).copied().collect::<Vec<_>>())
    };
    let services: BTreeSet<&str> = all.iter().flat_map(|call| [&*call.parent, &*call.child]).collect();
    let drawn = !calls.is_empty() && shown.len() <= MOST_DRAWN;
    let main = html! {
        h1 { "Service map" }
        (period::form("/map", services, chosen, &kept, LAST.0))
        (counted(&calls, shown.len(), period))
        @if calls.is_empty() {
            (nothing())
        } @else {
            @if drawn {
                (draw::map(&calls, &all, link))
            } @else {
                div.note.warning role="status" {
                    "So many services do not fit into a picture: choose one to see whom it calls and who calls it."
                }
            }
            (table(&calls, link))
        }
    };
    let files: [&assets::Asset; 3] = [&assets::FIGURES, &assets::MAP_STYLE, &assets::MAP];
    Ok(page_layout::page(Section::Map, "Service map", &files, main))
}

fn counted(calls: &[&Dependency], services: usize, period: Period) -> Markup {
    let total = calls.iter().map(|call| call.calls).sum();
    html! {
        p.quiet {
            (count(total, "call")) " between " (count(services as u64, "service"))
            " in all hours of " (period::times(period)) ". A call is a span whose parent is a span of another service."
        }
    }
}

fn nothing() -> Markup {
    html! {
        div.empty.card {
            h2 { "No calls" }
            p {
                "None were counted in this period. They are counted every minute by a server that receives, and about every hour "
                "by one of the exporters; " code { "otel-pgvector maintain" } " counts them now."
            }
        }
    }
}

fn table(calls: &[&Dependency], link: impl Fn(&str) -> String) -> Markup {
    let mut calls = calls.to_vec();
    calls.sort_by_key(|call| Reverse(call.calls));
    let shown = calls.len().min(MOST_ROWS);
    html! {
        h2 { "Calls" }
        div.scroll tabindex="0" role="region" aria-label="Calls" {
            table.stats {
                thead {
                    tr {
                        th scope="col" { "From" }
                        th scope="col" { "To" }
                        th.num scope="col" { "Calls" }
                        th.num scope="col" { "Errors" }
                        th.num scope="col" { "Failing" }
                    }
                }
                tbody {
                    @for call in &calls[..shown] {
                        tr {
                            th scope="row" { a.plain-link href=(link(&call.parent)) { (show::service(&call.parent)) } }
                            td.to data-label="To" { a.plain-link href=(link(&call.child)) { (show::service(&call.child)) } }
                            td.num data-label="Calls" { (thousands(call.calls)) }
                            @if call.errors > 0 {
                                td.num data-label="Errors" { span.error { (thousands(call.errors)) } }
                                td.num data-label="Failing" { span.error { (percent(call.errors as f64 / call.calls.max(1) as f64)) } }
                            } @else {
                                td.num data-label="Errors" { span.quiet { "0" } }
                                td.num data-label="Failing" { span.quiet { "0 %" } }
                            }
                        }
                    }
                }
            }
        }
        @if shown < calls.len() {
            p.quiet { "The first " (thousands(shown as u64)) " of " (thousands(calls.len() as u64)) " are shown." }
        }
    }
}
