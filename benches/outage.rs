//! What an export costs while the database is away: held in memory, and spooled; against storing the same batch.
//!
//! `cargo bench --bench outage [-- --quick]`, on the server that `OTEL_TEST_DATABASE_URL` names.

mod support;

use std::time::{Duration, Instant};

use opentelemetry_pgvector::SpanExporter;
use opentelemetry_pgvector::exporter::BreakerState;
use opentelemetry_sdk::trace::SpanExporter as _;
use support::database::TestDatabase;
use support::figure::{Figure, median, rounded};
use support::is_quick;
use support::traffic::{BATCH, Traffic};
use tokio::runtime::Runtime;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let traffic = Traffic::open();
    let batches = if is_quick() { 20 } else { 200 };
    let database = runtime.block_on(TestDatabase::create());
    let folder = tempfile::tempdir().expect("a folder");
    let mut with_spool = database.settings();
    with_spool.spool_dir = Some(folder.path().to_owned());
    let mut in_memory = SpanExporter::from_settings(database.settings()).expect("valid settings");
    let mut spooled = SpanExporter::from_settings(with_spool).expect("valid settings");
    in_memory.set_resource(&traffic.resource);
    spooled.set_resource(&traffic.resource);
    for number in 0..batches {
        runtime.block_on(in_memory.export(traffic.batch(number))).expect("stored");
    }
    let stored = measure(&runtime, &in_memory, &traffic, batches);
    runtime.block_on(database.take_away());
    for (bench, exporter) in [("export_held", &in_memory), ("export_spooled", &spooled)] {
        // The first ones find out that it is away.
        while exporter.handle().status().breaker == BreakerState::Closed {
            let _ = runtime.block_on(exporter.export(traffic.batch(0)));
        }
        let value = measure(&runtime, exporter, &traffic, batches);
        Figure {
            bench,
            value: rounded(value.as_secs_f64() * 1e6),
            unit: "µs/batch",
            against: "storing the batch",
            ratio: rounded(value.as_secs_f64() / stored.as_secs_f64()),
            spread: None,
        }
        .print();
    }
    eprintln!("batches of {BATCH} spans, stored in {:.0} µs", stored.as_secs_f64() * 1e6);
}

/// The median time of an export.
fn measure(runtime: &Runtime, exporter: &SpanExporter, traffic: &Traffic, batches: usize) -> Duration {
    let mut seconds: Vec<f64> = (0..batches)
        .map(|number| {
            let batch = traffic.batch(number);
            let begin = Instant::now();
            // Held in memory, it is an error.
            let _ = runtime.block_on(exporter.export(batch));
            begin.elapsed().as_secs_f64()
        })
        .collect();
    Duration::from_secs_f64(median(&mut seconds))
}
