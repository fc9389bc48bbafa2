//! Why nothing was found, and what to change.

use maud::{Markup, html};

use super::{Asked, address};
use crate::error::Result;
use crate::search::{Hidden, QueryText, Term};
use crate::serve::human;
use crate::serve::page::Pages;
use crate::serve::page::show::{cut, service};

pub(super) async fn why(pages: &Pages, asked: &Asked) -> Result<Markup> {
    let hidden = pages.store.what_hides(&asked.query).await?;
    let names = pages.names.get().await?;
    let unknown: Vec<&String> =
        asked.query.conditions().services.iter().filter(|name| !names.services.contains(name)).collect();
    let threshold = pages.store.settings().similarity_threshold;
    // What a phrase finds is not measured by its score.
    let is_scored = !asked.query.text().is_empty() && asked.query.conditions().phrases.is_empty();
    let below = hidden.best_score.filter(|best| is_scored && *best < threshold);
    let is_explained = !unknown.is_empty() || !hidden.conditions.is_empty() || below.is_some();
    Ok(html! {
        section.card.empty {
            h2 { "Nothing found" }
            @for name in unknown {
                p { "There is no service " strong { bdi { (cut(name, 200)) } } "." }
                @let close = human::close(name, &names.services);
                @if !close.is_empty() {
                    ul.chips aria-label="Services with such a name" {
                        @for close in close {
                            li { a.chip href=(address(&renamed(&asked.text, name, close))) { (service(close)) } }
                        }
                    }
                }
            }
            (without(asked, &hidden))
            @if let Some(best) = below {
                p { "The nearest scores " (format!("{best:.2}")) ", and less than " (threshold) " is not shown: try other words." }
            }
            @if hidden.waiting > 0 {
                p { (human::count(hidden.waiting, "kind")) " of spans wait to be embedded, and are not found by words yet." }
            }
            @if !hidden.is_whole {
                p { "There was no time to look at all filters." }
            } @else if !is_explained {
                p { "No single filter hides results: take several away, or use other words." }
            }
            p { a href="/" { "Newest traces" } }
        }
    })
}

/// Links to the search without what hides results.
fn without(asked: &Asked, hidden: &Hidden) -> Markup {
    html! {
        @if !hidden.conditions.is_empty() {
            p { "There are results without one of these filters:" }
            ul.chips {
                @for condition in &hidden.conditions {
                    li {
                        a.chip href=(address(&asked.text.without(|term| term.is_named(condition)))) {
                            "without " bdi { (cut(&named(&asked.text, condition), 100)) }
                        }
                    }
                }
            }
        }
    }
}

/// A condition as it was typed.
fn named(text: &QueryText, condition: &str) -> String {
    let terms = text.terms().iter().filter(|term| term.is_named(condition));
    terms.map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn renamed(text: &QueryText, name: &str, close: &str) -> QueryText {
    let renamed = text.terms().iter().map(|term| match term {
        Term::Service(service) if service == name => Term::Service(close.to_owned()),
        term => term.clone(),
    });
    QueryText::from(renamed.collect::<Vec<_>>())
}
