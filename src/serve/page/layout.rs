//! What all pages have: head, navigation, and the headers that keep a browser from running what a span brings.

use axum::extract::Request;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

use super::assets::{Asset, SCRIPT, STYLE, THEME};

/// Nothing but the server's own files: no other host, no script or style within a page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The pages that the navigation leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Search,
    New,
    Operations,
    Map,
    Health,
    /// Beside those of the navigation.
    Other,
}

const SECTIONS: [(Section, &str, &str); 5] = [
    (Section::Search, "/", "Search"),
    (Section::New, "/new", "New"),
    (Section::Operations, "/operations", "Operations"),
    (Section::Map, "/map", "Map"),
    (Section::Health, "/health", "Health"),
];

/// A page with its title, its main part, and files of its own beside those of all pages. The title is text.
pub(super) fn page(section: Section, title: &str, assets: &[&Asset], main: Markup) -> Response {
    respond_with(StatusCode::OK, section, title, assets, main)
}

pub(super) fn respond(status: StatusCode, section: Section, title: &str, main: Markup) -> Response {
    respond_with(status, section, title, &[], main)
}

fn respond_with(
    status: StatusCode,
    section: Section,
    title: &str,
    assets: &[&Asset],
    main: Markup,
) -> Response {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                // Before the style: the page is drawn in its theme from the beginning.
                script src=(THEME.path()) {}
                title { (title) " · otel-pgvector" }
                link rel="icon" href="data:,";
                link rel="stylesheet" href=(STYLE.path());
                script src=(SCRIPT.path()) defer {}
                @for asset in assets {
                    @if asset.is_style() { link rel="stylesheet" href=(asset.path()); } @else { script src=(asset.path()) defer {} }
                }
            }
            body {
                a.skip href="#main" { "Skip to content" }
                header.top {
                    a.brand href="/" { (mark()) span { "otel-pgvector" } }
                    nav aria-label="Pages" {
                        @for (at, path, name) in SECTIONS {
                            a href=(path) aria-current=[(at == section).then_some("page")] { (name) }
                        }
                    }
                    button #theme type="button" aria-label="Theme" hidden { (half_moon()) }
                }
                main #main tabindex="-1" { (main) }
            }
        }
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (status, headers, markup.into_string()).into_response()
}

/// Spans below each other, as the program's sign.
fn mark() -> Markup {
    html! {
        svg viewBox="0 0 20 20" fill="currentColor" aria-hidden="true" {
            rect x="1" y="3" width="18" height="4" rx="1.5" {}
            rect x="4" y="8.5" width="10" height="4" rx="1.5" opacity="0.7" {}
            rect x="9" y="14" width="8" height="4" rx="1.5" opacity="0.45" {}
        }
    }
}

fn half_moon() -> Markup {
    html! {
        svg viewBox="0 0 20 20" fill="none" stroke="currentColor" stroke-width="1.6" aria-hidden="true" {
            circle cx="10" cy="10" r="7" {}
            path d="M10 3a7 7 0 0 1 0 14z" fill="currentColor" {}
        }
    }
}

/// Adds the headers of every answer.
pub(super) async fn secure(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers: [(HeaderName, &'static str); 4] = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
