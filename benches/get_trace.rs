//! How long it takes to read a trace of 50 spans, against one round trip to the server.
//!
//! `cargo bench --bench get_trace` among ten million spans; with `-- --quick` among 200,000. `OTEL_BENCH_DATABASE=name`
//! keeps the database for the next run.
//!
//! Cold is the first time that a new store reads the trace, with its connection open: what it remembers of documents and the
//! server's buffers hold none or little of it, the operating system's cache may. Warm is the next time.

mod support;

use std::time::Instant;

use opentelemetry::trace::TraceId;
use opentelemetry_pgvector::TraceStore;
use support::big::{self, LONG};
use support::figure::{Figure, rounded};

const TRACES: usize = 200;

#[tokio::main]
async fn main() {
    let (spans, documents) = if support::is_quick() { (200_000, 2_000) } else { (10_000_000, 10_000) };
    let database = big::store(spans, documents).await;
    let client = database.client().await;
    let find = format!(
        "SELECT trace_id::text FROM otel.span_rows GROUP BY trace_id HAVING count(*) = {LONG} \
         ORDER BY md5(trace_id::text) LIMIT {TRACES}"
    );
    let ids: Vec<TraceId> = client
        .query(&find, &[])
        .await
        .expect("traces")
        .iter()
        .map(|row| TraceId::from_hex(&row.get::<_, String>(0).replace('-', "")).expect("an id"))
        .collect();
    let store = TraceStore::new(database.settings()).expect("valid settings");
    // Connects, and prepares the statements.
    for _ in 0..10 {
        store.get_trace(TraceId::from(1)).await.expect("no trace");
    }
    let mut round_trips = Vec::new();
    for _ in 0..TRACES {
        let begun = Instant::now();
        client.query_one("SELECT 1", &[]).await.expect("an answer");
        round_trips.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    round_trips.sort_by(f64::total_cmp);
    let round_trip = quantile(&round_trips, 0.5);
    for temperature in ["cold", "warm"] {
        let mut times = Vec::new();
        for id in &ids {
            let begun = Instant::now();
            let trace = store.get_trace(*id).await.expect("a trace");
            times.push(begun.elapsed().as_secs_f64() * 1e3);
            assert_eq!(trace.len(), LONG);
        }
        times.sort_by(f64::total_cmp);
        for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
            let (value, bench) =
                (quantile(&times, share), format!("get_trace/{spans} spans/{temperature}/{name}"));
            let ratio = rounded(value / round_trip);
            let against = "a round trip, p50";
            Figure { bench: &bench, value: rounded(value), unit: "ms", against, ratio, spread: None }.print();
        }
    }
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}
