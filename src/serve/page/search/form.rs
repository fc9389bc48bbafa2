//! The search box, the filters that hold, and what is wrong with them.

use maud::{Markup, html};

use super::address;
use crate::search::{Mistake, QueryText, Term};
use crate::serve::page::show::{cut, link};

/// The box. Its suggestions come by script, which makes a combobox of it.
pub(super) fn search_box(typed: &str) -> Markup {
    html! {
        form.search role="search" action="/" method="get" {
            label.visually-hidden for="q" { "Words and filters" }
            div.search-line {
                div.search-field {
                    svg viewBox="0 0 20 20" fill="none" stroke="currentColor" stroke-width="2" aria-hidden="true" {
                        circle cx="9" cy="9" r="5.5" {}
                        path d="m13 13 4.5 4.5" stroke-linecap="round" {}
                    }
                    input #q name="q" type="text" inputmode="search" enterkeyhint="search" dir="auto" value=(typed)
                        autocomplete="off" autocapitalize="off" autocorrect="off" spellcheck="false"
                        maxlength="4000" placeholder="payment declined service:checkout status:error >500ms"
                        aria-describedby="q-help";
                    kbd aria-hidden="true" { "/" }
                    ul #suggestions role="listbox" aria-label="Suggestions" hidden {}
                }
                button type="submit" { "Search" }
            }
            p #q-help .search-help.quiet.small {
                "Words find by meaning. Filters: "
                code { "service:" } " " code { "operation:" } " " code { "status:error" } " " code { ">500ms" } " "
                code { "http.route=/cart" } " " code { "last:1h" } " " code { "\"exact text\"" }
            }
        }
        p #suggestions-count .visually-hidden role="status" {}
    }
}

/// A note on what was asked.
pub(super) fn note(reason: &str) -> Markup {
    html! { div.note.warning role="status" { p { bdi { (reason) } } } }
}

/// What is not understood, with links to what may be meant.
pub(super) fn correct(typed: &str, mistake: &Mistake) -> Markup {
    html! {
        div.note.error role="alert" {
            p {
                "Not understood: " code { bdi { (cut(&mistake.token, 200)) } } " – " (reason(&mistake.reason)) "."
            }
            @if !mistake.instead.is_empty() {
                p.row {
                    "Search instead:"
                    @for instead in &mistake.instead {
                        a.chip href=(link("/", &[("q", &typed.replacen(&mistake.token, instead, 1))])) {
                            bdi { (cut(instead, 200)) }
                        }
                    }
                }
            }
        }
    }
}

/// A reason, with what it quotes as code.
fn reason(text: &str) -> Markup {
    html! {
        @for (at, part) in text.split('`').enumerate() {
            @if at % 2 == 1 { code { bdi { (cut(part, 200)) } } } @else { (part) }
        }
    }
}

/// The filters that hold, each as a link that takes it away.
pub(super) fn applied(text: &QueryText) -> Markup {
    let filters = || text.terms().iter().filter(|term| !matches!(term, Term::Word(_)));
    html! {
        @if filters().next().is_some() {
            ul.chips.applied aria-label="Filters that hold" {
                @for term in filters() {
                    @let shown = term.to_string();
                    li {
                        a.chip href=(address(&text.without(|other| other == term))) title={ "Remove " (cut(&shown, 2000)) } {
                            span.visually-hidden { "Remove " }
                            bdi.cut { (cut(&shown, 80)) @if cut(&shown, 80).len() < shown.len() { "…" } }
                            span.remove aria-hidden="true" { "×" }
                        }
                    }
                }
            }
        }
    }
}
