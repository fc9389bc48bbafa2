//! A program that uses `tracing`, exported through `tracing-opentelemetry`.
//!
//! ```sh
//! make setup && eval "$(make -s env)"
//! cargo run --example tracing
//! ```

use std::error::Error;
use std::num::ParseIntError;

use opentelemetry::trace::TracerProvider;
use opentelemetry_pgvector::{Settings, tracer_provider};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::level_filters::LevelFilter;
use tracing::{info, instrument, warn};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

fn main() -> Result<(), Box<dyn Error>> {
    let provider = tracer_provider(Settings::from_env()?)?
        .with_resource(Resource::builder().with_service_name("thermostat").build())
        .build();
    subscribe(&provider);

    for reading in ["21", "48", "warm"] {
        if regulate(reading).is_err() {
            println!("left out: {reading}");
        }
    }

    // Without this, the last seconds of a program are lost.
    provider.shutdown()?;
    println!(
        "stored: psql \"$OTEL_STORAGE_CONNECTION_STRING\" -c 'select name, status, events from otel.spans'"
    );
    Ok(())
}

fn subscribe(provider: &SdkTracerProvider) {
    // Exported is what this crate itself traces. An allow-list: drivers and HTTP clients, this exporter's among them, are
    // instrumented with `tracing` too, and their spans would bury your own.
    let own = Targets::new().with_target(module_path!(), LevelFilter::INFO);
    let export = tracing_opentelemetry::layer().with_tracer(provider.tracer("thermostat"));
    // On the terminal, warnings of everybody: the exporter reports its failures here.
    let terminal = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    tracing_subscriber::registry()
        .with(export.with_filter(own))
        .with(terminal.with_filter(LevelFilter::WARN))
        .init();
}

/// A span with the argument as its attribute.
#[instrument]
fn regulate(reading: &str) -> Result<(), ParseIntError> {
    let celsius = parse(reading)?;
    if celsius > 40 {
        // An event of the span, named by its message, with `celsius` as an attribute.
        warn!(celsius, "room is overheating");
    }
    switch(celsius < 20);
    Ok(())
}

/// With `err`, an error becomes an event `exception` and the status of the span.
#[instrument(name = "parse reading", err)]
fn parse(reading: &str) -> Result<i64, ParseIntError> {
    reading.parse()
}

/// `otel.kind` and `otel.name` set the kind and the name instead of an attribute.
#[instrument(fields(otel.kind = "client", otel.name = if on { "switch heating on" } else { "switch heating off" }))]
fn switch(on: bool) {
    info!("relay answered");
}
