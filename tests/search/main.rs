//! Spans and traces are found again.

mod filters;
mod meaning;
mod newest;
#[path = "../support/mod.rs"]
mod support;
