//! The search: a box for words and filters, what is found, and what it has in common.

mod cards;
mod facets;
mod form;
mod histogram;
mod home;
mod nothing;

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};

use super::Pages;
use super::assets::{SEARCH_SCRIPT, SEARCH_STYLE};
use super::failure::failed;
use super::layout::{self, Section};
use super::show::link;
use crate::error::{Error, Result};
use crate::search::{Found, Overview, Page, QueryText, SearchQuery, Term, TraceHit};
use crate::serve::human;

/// How many traces a page has.
const TRACES: usize = 20;
/// The longest text of a search, in bytes: a link may not be much longer.
const LONGEST: usize = 4_000;

/// What is asked for.
struct Asked {
    text: QueryText,
    query: SearchQuery,
    /// Whether it is a later page.
    is_later: bool,
}

/// The address of a search.
fn address(text: &QueryText) -> String {
    match text.terms() {
        [] => "/".into(),
        _ => link("/", &[("q", &text.to_string())]),
    }
}

pub(super) async fn page(State(pages): State<Pages>, RawQuery(query): RawQuery) -> Response {
    let parameters: Vec<(String, String)> =
        form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect();
    let parameter = |name: &str| {
        let found = parameters.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value.trim())
    };
    let typed = parameter("q");
    if typed.len() > LONGEST {
        let reason = format!("A search has up to {} characters.", human::thousands(LONGEST as u64));
        return shown("", form::note(&reason));
    }
    let text = match QueryText::read(typed) {
        Ok(text) => text,
        Err(mistake) => return shown(typed, form::correct(typed, &mistake)),
    };
    let answered = match (text.terms().is_empty(), parameter("page")) {
        (true, _) => home::page(&pages).await,
        (false, token) => found(&pages, typed, text, token).await,
    };
    match answered {
        Ok(response) => response,
        // What is wrong with the search, such as with a regular expression.
        Err(Error::Input { origin, reason }) => shown(typed, form::note(&format!("{origin}: {reason}"))),
        Err(error) => failed(&error),
    }
}

/// A page with the search box, and below it what there is. That a search is not understood is an answer, too.
fn shown(typed: &str, below: Markup) -> Response {
    let title = if typed.is_empty() { "Search traces".to_owned() } else { format!("{typed} · Search") };
    let main = html! {
        h1.visually-hidden { "Search traces" }
        (form::search_box(typed))
        (below)
    };
    layout::page(Section::Search, &title, &[&SEARCH_STYLE, &SEARCH_SCRIPT], main)
}

async fn found(pages: &Pages, typed: &str, text: QueryText, token: &str) -> Result<Response> {
    let mut query = text.to_query().limit(TRACES);
    if !token.is_empty() {
        query = query.page(token.parse::<Page>()?);
    }
    if let Some(id) = trace_alone(&text)
        && !pages.store.summaries(&[id]).await?.is_empty()
    {
        return Ok(Redirect::to(&format!("/traces/{id}")).into_response());
    }
    let (found, overview) = futures_util::future::try_join(
        pages.store.search_traces(query.clone()),
        pages.store.overview(&query),
    )
    .await?;
    let asked = Asked { text, query, is_later: !token.is_empty() };
    let below = match found.hits.is_empty() && !asked.is_later {
        true => nothing::why(pages, &asked).await?,
        false => results(&asked, &found, overview.as_ref()),
    };
    let below = html! { (form::applied(&asked.text)) (below) };
    Ok(shown(typed, below))
}

/// The trace whose id is all that was typed.
fn trace_alone(text: &QueryText) -> Option<opentelemetry::trace::TraceId> {
    match text.terms() {
        [Term::Trace(id)] => Some(*id),
        [Term::Phrase(phrase)] => crate::search::trace_id(phrase),
        _ => None,
    }
}

fn results(asked: &Asked, found: &Found<TraceHit>, overview: Option<&Overview>) -> Markup {
    let order = if asked.query.text().is_empty() { "newest first" } else { "best match first" };
    let main = html! {
        div.spread.results-head {
            h2 { "Traces" span.quiet { " · " (order) } }
            span.row {
                @if asked.is_later { a href=(address(&asked.text)) { "First page" } }
                (facets::jump())
            }
        }
        @if found.hits.is_empty() { p.quiet { "There are no more." } }
        (cards::list(&asked.query, &found.hits))
        @if let Some(next) = found.next {
            p.more {
                a.button rel="next" href=(link("/", &[("q", &asked.text.to_string()), ("page", &next.to_string())])) {
                    "More traces"
                }
            }
        }
    };
    with_overview(&asked.text, overview, main)
}

/// Results, with the histogram above and facets beside them.
fn with_overview(text: &QueryText, overview: Option<&Overview>, main: Markup) -> Markup {
    html! {
        @match overview {
            Some(overview) => (histogram::card(text, overview)),
            None => (form::note("Counting took too long: name a service or a shorter period to see what there is.")),
        }
        div.columns {
            div.results { (main) }
            @if let Some(overview) = overview { (facets::aside(text, overview)) }
        }
    }
}
