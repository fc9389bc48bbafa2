//! Spans and traces are found again.

mod filters;
mod meaning;
mod newest;
mod pages;
mod summaries;
#[path = "../support/mod.rs"]
mod support;
