//! Traces in from files, Jaeger and Tempo, and out again.

mod export;
mod files;
mod jaeger;
#[path = "../support/mod.rs"]
mod support;
mod tempo;
