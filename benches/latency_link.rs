//! Export over a long way: spans committed per second, and round trips a batch, when a round trip takes 5, 20 and 80 ms.
//!
//! `cargo bench --bench latency_link [-- --quick]`, on the server that `OTEL_TEST_DATABASE_URL` names.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry_pgvector::SpanExporter;
use opentelemetry_sdk::trace::SpanExporter as _;
use support::database::TestDatabase;
use support::figure::{Figure, rounded};
use support::is_quick;
use support::link::Link;
use support::traffic::{BATCH, Traffic};

#[tokio::main]
async fn main() {
    let traffic = Arc::new(Traffic::open());
    let batches = if is_quick() { 8 } else { 48 };
    let database = TestDatabase::create().await;
    let server = database.address().await;
    for milliseconds in [5, 20, 80] {
        let round_trip = Duration::from_millis(milliseconds);
        for at_once in [1, 4, 8] {
            let link = Link::start(server, round_trip).await;
            let mut settings = database.settings();
            settings.connection_string = database.url_through(link.port);
            settings.pool_size = at_once;
            // What is measured here comes before the embeddings.
            settings.embedding_model = "/nonexistent/model".into();
            settings.embedding_budget_milliseconds = 0;
            let mut exporter = SpanExporter::from_settings(settings).expect("valid settings");
            exporter.set_resource(&traffic.resource);
            let exporter = Arc::new(exporter);
            // Makes the documents known, and opens the connections.
            export(&exporter, &traffic, 1, batches).await;
            export(&exporter, &traffic, at_once, batches.max(at_once * 2)).await;
            export(&exporter, &traffic, at_once, batches.max(at_once * 2)).await;
            let (before, begin) = (link.round_trips(), Instant::now());
            export(&exporter, &traffic, at_once, batches).await;
            let seconds = begin.elapsed().as_secs_f64();
            let trips = (link.round_trips() - before) as f64 / batches as f64;
            let value = (batches * BATCH) as f64 / seconds;
            let ideal = (at_once * BATCH) as f64 / (2.0 * round_trip.as_secs_f64());
            Figure {
                bench: &format!("latency_link/{milliseconds}_ms/{at_once}_at_once"),
                value: rounded(value),
                unit: "spans/s",
                against: "a batch of 512 in two round trips, and no other time",
                ratio: rounded(value / ideal),
                spread: None,
            }
            .print();
            Figure {
                bench: &format!("latency_link/{milliseconds}_ms/{at_once}_at_once/round_trips"),
                value: rounded(trips),
                unit: "round trips/batch",
                against: "two",
                ratio: rounded(trips / 2.0),
                spread: None,
            }
            .print();
        }
    }
}

/// Exports so many batches, some of them at the same time.
async fn export(exporter: &Arc<SpanExporter>, traffic: &Arc<Traffic>, at_once: usize, batches: usize) {
    let mut exports = tokio::task::JoinSet::new();
    for first in 0..at_once {
        let (exporter, traffic) = (Arc::clone(exporter), Arc::clone(traffic));
        exports.spawn(async move {
            for number in (first..batches).step_by(at_once) {
                exporter.export(traffic.batch(number)).await.expect("the batch is exported");
            }
        });
    }
    exports.join_all().await;
}
