//! The store: what is kept of spans, where, for how long, and who may touch it.

mod cardinality;
#[cfg(feature = "cli")]
mod citus;
mod dependencies;
mod errors;
mod maintain;
mod owners;
mod partitions;
mod redact;
mod reembed;
mod roles;
mod round_trip;
mod runtimes;
mod schema;
mod split;
#[path = "../support/mod.rs"]
mod support;
