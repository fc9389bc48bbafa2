//! What a process that runs for long says of itself.

use std::io::stderr;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;

/// Writes the library's own warnings and errors to the standard error, a line each, without colour.
pub fn to_stderr() {
    let ours = Targets::new().with_target(env!("CARGO_PKG_NAME"), LevelFilter::WARN);
    let lines = fmt::layer().with_ansi(false).with_writer(stderr).with_filter(ours);
    // Nothing else in this process installs one.
    let _ = tracing_subscriber::registry().with(lines).try_init();
}
