//! Moving from Jaeger: one exporter takes the place of another, and nothing else changes.
//!
//! ```sh
//! cargo run --example swap_from_jaeger jaeger      # Jaeger's OTLP port, http://localhost:4318
//! cargo run --example swap_from_jaeger pgvector    # make setup && eval "$(make -s env)"
//! ```

use std::error::Error;

use opentelemetry::trace::{Tracer, TracerProvider};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;

/// Before.
fn jaeger() -> Result<SdkTracerProvider, Box<dyn Error>> {
    let exporter = opentelemetry_otlp::SpanExporter::builder().with_http().build()?;
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource()).build())
}

/// After.
fn pgvector() -> Result<SdkTracerProvider, Box<dyn Error>> {
    let exporter = opentelemetry_pgvector::SpanExporter::builder().build()?;
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource()).build())
}

fn main() -> Result<(), Box<dyn Error>> {
    let provider = match std::env::args().nth(1).as_deref() {
        Some("jaeger") => jaeger()?,
        Some("pgvector") => pgvector()?,
        _ => return Err("say where the spans go: jaeger or pgvector".into()),
    };
    let tracer = provider.tracer("library");
    tracer.in_span("lend a book", |_| {
        tracer.in_span("look up the reader", |_| {});
        tracer.in_span("remind of overdue books", |_| {});
    });
    provider.shutdown()?;
    Ok(())
}

fn resource() -> Resource {
    Resource::builder().with_service_name("library").build()
}
