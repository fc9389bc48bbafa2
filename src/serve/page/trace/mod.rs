//! A trace: as a waterfall, as a flame graph and as a table, with the details of a span beside it.

mod detail;
mod find;
mod flame;
mod head;
mod look;
mod place;
mod rows;
mod table;
mod waterfall;
mod whole;

use axum::extract::{Path, RawQuery, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use maud::html;
use opentelemetry::otel_error;
use opentelemetry::trace::TraceId;

use super::Pages;
use super::assets::{TRACE_SCRIPT, TRACE_STYLE};
use super::failure::{explain, failed};
use super::layout::{self, Section};
use super::show;
use crate::serve::parameters::{Parameters, trace_id};
use crate::serve::slots::beside;
use crate::serve::trace::undirected;
use look::{Look, SpanKey, View};
use place::Place;
use whole::Whole;

/// A trace as its address says.
pub(super) async fn page(
    State(pages): State<Pages>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let look = match Look::of(&Parameters::of(query.as_deref())) {
        Ok(look) => look,
        Err(reason) => return explain(StatusCode::BAD_REQUEST, &reason),
    };
    with(&pages, &id, move |whole| draw(whole, &look)).await
}

/// All rows of the waterfall, for the script.
pub(super) async fn data(
    State(pages): State<Pages>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let find = match find::of(&Parameters::of(query.as_deref())) {
        Ok(find) => find,
        Err(reason) => return explain(StatusCode::BAD_REQUEST, &reason),
    };
    with(&pages, &id, move |whole| match rows::json(whole, &find::shown(whole, &find)) {
        Ok(json) => {
            ([(CONTENT_TYPE, HeaderValue::from_static("application/json")), NO_STORE], json).into_response()
        }
        Err(error) => broken(&error.to_string()),
    })
    .await
}

/// A span's details alone, for the script.
pub(super) async fn part(
    State(pages): State<Pages>,
    Path((id, key)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Response {
    let (key, look) = match (key.parse::<SpanKey>(), Look::of(&Parameters::of(query.as_deref()))) {
        (Ok(key), Ok(look)) => (key, look),
        (Err(reason), _) | (_, Err(reason)) => return explain(StatusCode::BAD_REQUEST, &reason),
    };
    with(&pages, &id, move |whole| match whole.place(key) {
        Some(at) => {
            let markup = detail::detail(whole, at, &look);
            (
                [(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")), NO_STORE],
                markup.into_string(),
            )
                .into_response()
        }
        None => explain(StatusCode::NOT_FOUND, NO_SPAN),
    })
    .await
}

/// A value of a span, whole, as nothing but text.
pub(super) async fn value(
    State(pages): State<Pages>,
    Path((id, key, place)): Path<(String, String, String)>,
) -> Response {
    let (key, place) = match (key.parse::<SpanKey>(), place.parse::<Place>()) {
        (Ok(key), Ok(place)) => (key, place),
        (Err(reason), _) | (_, Err(reason)) => return explain(StatusCode::BAD_REQUEST, &reason),
    };
    with(&pages, &id, move |whole| {
        let span = whole.place(key).and_then(|at| whole.spans.get(at));
        match span.and_then(|span| place.text(span)) {
            Some(text) => (
                [(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")), NO_STORE],
                text.into_owned(),
            )
                .into_response(),
            None => explain(StatusCode::NOT_FOUND, "There is no such value in this trace."),
        }
    })
    .await
}

const NO_STORE: (axum::http::HeaderName, HeaderValue) = (CACHE_CONTROL, HeaderValue::from_static("no-store"));
const NO_SPAN: &str = "There is no such span in this trace.";

/// Answers with what is made of a trace; it is made beside the requests, for large traces take their time.
async fn with(pages: &Pages, id: &str, make: impl FnOnce(&Whole) -> Response + Send + 'static) -> Response {
    let id = match trace_id(id) {
        Ok(id) => id,
        Err(_) => return explain(StatusCode::BAD_REQUEST, "A trace's id has up to 32 hexadecimal digits."),
    };
    let most = pages.limits.spans;
    let spans = match pages.store.first_spans(id, most.saturating_add(1)).await {
        Ok(spans) if spans.is_empty() => return unknown(id),
        Ok(spans) => spans,
        Err(error) => return failed(&error),
    };
    let made = beside(move || make(&Whole::of(id, spans, most))).await;
    made.unwrap_or_else(|error| failed(&error))
}

/// There is no such trace.
pub(super) fn unknown(id: TraceId) -> Response {
    let reason = format!("No trace {id} is stored. It may not have arrived yet, or its days are over.");
    explain(StatusCode::NOT_FOUND, &reason)
}

fn broken(reason: &str) -> Response {
    otel_error!(name: "Server.PageFailed", reason = reason);
    explain(StatusCode::INTERNAL_SERVER_ERROR, "The page cannot be shown; the server's log says why.")
}

fn draw(whole: &Whole, look: &Look) -> Response {
    let span = look.span.and_then(|key| whole.place(key));
    let root = whole.tree.root(&whole.spans).and_then(|at| whole.spans.get(at));
    let title = root.map_or_else(String::new, |span| undirected(show::cut(&span.name, 100)));
    let main = html! {
        (head::head(whole, look))
        @if look.span.is_some() && span.is_none() { div.note.warning role="alert" { (NO_SPAN) } }
        div.trace-body {
            div.view {
                @match look.view {
                    View::Waterfall => (waterfall::waterfall(whole, look)),
                    View::Flame => (flame::flame(whole, look)),
                    View::Table => (table::table(whole, look)),
                }
            }
            aside.detail.card #span aria-label="Span" data-spans={ "/traces/" (whole.id) "/spans/" } hidden[span.is_none()] {
                @if let Some(at) = span { (detail::detail(whole, at, look)) }
            }
        }
    };
    layout::page(Section::Other, &format!("{title} · trace"), &[&TRACE_STYLE, &TRACE_SCRIPT], main)
}
