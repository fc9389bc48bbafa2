//! Traces like another one.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use opentelemetry::trace::TraceId;

use super::Pages;
use super::assets::TRACE_STYLE;
use super::failure::{explain, failed};
use super::layout::{self, Section};
use super::{show, trace};
use crate::error::Result;
use crate::search::SimilarTrace;
use crate::serve::human;
use crate::serve::parameters::trace_id;

/// How many are shown.
const LIMIT: usize = 30;

pub(super) async fn page(State(pages): State<Pages>, Path(id): Path<String>) -> Response {
    match trace_id(&id) {
        Ok(id) => page_of(&pages, id).await.unwrap_or_else(|error| failed(&error)),
        Err(_) => explain(StatusCode::BAD_REQUEST, "A trace's id has up to 32 hexadecimal digits."),
    }
}

async fn page_of(pages: &Pages, id: TraceId) -> Result<Response> {
    let Some(of) = pages.store.summaries(&[id]).await?.into_iter().next() else {
        return Ok(trace::unknown(id));
    };
    let found = pages.store.similar_traces(id, LIMIT).await?;
    let name = if of.root_name.is_empty() { id.to_string() } else { of.root_name.clone() };
    let main = html! {
        h1 { "Traces like " a href={ "/traces/" (id) } { (show::text(&name)) } }
        p.quiet { "Those with the same operations come first; operations that few traces have count more. Then the newest." }
        @if found.is_empty() {
            div.card.empty { h2 { "No other trace has an operation in common with it" } p { a.button href={ "/traces/" (id) } { "Back to the trace" } } }
        }
        ul.hits { @for each in &found { li { (card(each)) } } }
    };
    Ok(layout::page(Section::Other, "Traces like one", &[&TRACE_STYLE], main))
}

fn card(similar: &SimilarTrace) -> Markup {
    let hit = &similar.trace;
    let likeness = format!("{:.0} % alike", hit.score * 100.0);
    html! {
        article.card.hit {
            div.spread {
                h2 { a href={ "/traces/" (hit.trace_id) } { (show::service(&hit.root_service)) " " (show::text(&hit.root_name)) } }
                span.row { (show::bar(hit.score, &likeness)) span.small { (likeness) } }
            }
            div.row {
                strong { (show::duration(hit.duration)) }
                span { (human::count(hit.span_count, "span")) }
                (show::errors(hit.error_count))
                (show::time(hit.start))
                span.quiet { (show::ago(hit.start)) }
            }
            div.row.small {
                span.badge.accent { (human::count(similar.shared as u64, "operation")) " in common" }
                @if similar.missing > 0 { span.badge.warning { (human::thousands(similar.missing as u64)) " missing here" } }
                @if similar.additional > 0 { span.badge { (human::thousands(similar.additional as u64)) " only here" } }
            }
        }
    }
}
