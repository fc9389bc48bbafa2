//! The server: OTLP in, answers out.

mod api;
mod jaeger;
mod limits;
mod outages;
mod page_ops;
mod page_search;
mod page_trace;
mod receive;
mod roles;
mod stall;
#[path = "../support/mod.rs"]
mod support;
