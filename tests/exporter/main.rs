//! The exporter, in front of a real server that is killed, frozen, full or far away.

mod batches;
mod clock;
mod connections;
mod delivery;
mod faults;
mod flights;
mod hangs;
mod load;
mod pgbouncer;
mod processors;
mod replay;
mod server_faults;
#[path = "../support/mod.rs"]
mod support;
mod telemetry;
mod tls;
