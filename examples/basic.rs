//! Spans through OpenTelemetry's own API, found again by meaning.
//!
//! ```sh
//! make setup && eval "$(make -s env)"
//! cargo run --example basic
//! ```

use std::error::Error;
use std::io;

use opentelemetry::KeyValue;
use opentelemetry::trace::{Span, SpanKind, Status, TraceContextExt, Tracer, TracerProvider};
use opentelemetry_pgvector::search::{Filter, SearchQuery};
use opentelemetry_pgvector::{Settings, TraceStore, tracer_provider};
use opentelemetry_sdk::Resource;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let settings = Settings::from_env()?; // OTEL_STORAGE_CONNECTION_STRING and others
    let provider = tracer_provider(settings.clone())?
        .with_resource(Resource::builder().with_service_name("checkout").build())
        .build();
    let tracer = provider.tracer("basic");

    tracer.in_span("place order", |context| {
        context.span().set_attribute(KeyValue::new("order.id", 4711));
        tracer.in_span("reserve stock", |context| {
            context.span().add_event("stock reserved", vec![KeyValue::new("items", 3)]);
        });
        charge_card(&tracer);
    });

    // Returns when the spans are stored and their embeddings computed.
    provider.shutdown()?;

    let store = TraceStore::new(settings)?;
    let query = SearchQuery::new("card was declined").filter(Filter::default().service("checkout")).limit(3);
    for trace in store.search_traces(query).await? {
        println!("{}  {:.2}  {}: {}", trace.trace_id, trace.score, trace.root_service, trace.root_name);
        for span in &trace.spans {
            println!("    {:.2}  {}  {}", span.score, span.name, span.message.as_deref().unwrap_or(""));
        }
    }
    Ok(())
}

/// A span that is not the current one of its thread, and fails.
fn charge_card(tracer: &impl Tracer) {
    let mut span = tracer.span_builder("charge card").with_kind(SpanKind::Client).start(tracer);
    span.set_attribute(KeyValue::new("payment.method", "card"));
    let error = io::Error::other("the bank refused the card");
    span.record_error(&error);
    span.set_status(Status::error(error.to_string()));
    span.end();
}
