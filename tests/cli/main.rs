//! The command `otel-pgvector`.

mod command;
mod plan;
mod search;
mod serve;
#[path = "../support/mod.rs"]
mod support;
