//! Searching traces.

use axum::extract::State;
use axum::response::Response;
use maud::html;

use super::Pages;
use super::failure::failed;
use super::layout::{self, Section};

pub(super) async fn page_of(pages: &Pages) -> crate::Result<Response> {
    let services = pages.store.services().await?;
    let main = html! {
        h1 { "Search traces" }
        form.search role="search" action="/" method="get" {
            label for="q" { "Words and filters" }
            input #q name="q" type="search" autocomplete="off";
            button type="submit" { "Search" }
        }
        p { (services.len()) " services" }
    };
    Ok(layout::page(Section::Search, "Search traces", main))
}

pub(super) async fn page(State(pages): State<Pages>) -> Response {
    page_of(&pages).await.unwrap_or_else(|error| failed(&error))
}
