//! What a batch and a span cost the server: the figures by which `otel-pgvector plan` calculates.
//!
//! `cargo bench --bench capacity [-- --quick] [-- --generated]`, on the server that `OTEL_TEST_DATABASE_URL` names. CPU is
//! that of the connections' processes; it is told on Linux, where that server runs on the same machine.

mod support;

use std::time::Duration;

use opentelemetry_pgvector::TraceStore;
use opentelemetry_pgvector::span::Span;
use support::database::TestDatabase;
use support::figure::{Figure, median, rounded};
use support::process::cpu_time_of;
use support::shop::Shop;
use support::{has_flag, is_quick, shared};
use tokio_postgres::Client;

/// Spans of a batch: two sizes tell what a batch costs, and what a span does.
const SMALL: usize = 50;
const LARGE: usize = 1000;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let spans = spans();
    let database = TestDatabase::create().await;
    let client = database.client().await;
    let store = TraceStore::new(database.settings()).expect("valid settings");
    // Makes the documents, and fills the caches.
    store_all(&store, &spans, LARGE).await;
    if let Err(error) = store.flush().await {
        eprintln!("documents are not embedded: {error}");
    }
    let rounds = if is_quick() { 1 } else { 5 };
    let mut costs = [const { Vec::new() }; 4];
    for _ in 0..rounds {
        client.batch_execute("TRUNCATE otel.span_rows").await.expect("emptied");
        for (at, size) in [SMALL, LARGE].into_iter().enumerate() {
            let cost = cost(&client, &store, &spans, size).await;
            costs[at].extend(cost.cpu_us);
            costs[2 + at].push(cost.wal);
        }
    }
    let [small_cpu, large_cpu, small_wal, large_wal] = costs;
    report("wal", "B", small_wal, large_wal);
    report("server_cpu", "us", small_cpu, large_cpu);

    let entries: i64 = database.value("SELECT count(*) FROM otel.batches").await;
    let bytes: i64 = database.value("SELECT pg_total_relation_size('otel.batches')").await;
    let each = bytes as f64 / entries as f64;
    print("ledger", each, "B/batch", "the 28 bytes of an entry", each / 28.0);
    store.close().await;
}

/// The recorded spans, or invented ones.
fn spans() -> Vec<Span<'static>> {
    let wanted = if is_quick() { 5_000 } else { 80_000 };
    let messages = if has_flag("--generated") { None } else { shared::messages("datasette") };
    let mut spans: Vec<Span<'static>> = match &messages {
        Some(messages) => shared::spans(messages).into_iter().map(Span::into_owned).collect(),
        None => {
            let (mut shop, mut spans) = (Shop::default(), Vec::new());
            while spans.len() < wanted {
                shop.trace(&mut spans);
            }
            spans
        }
    };
    spans.truncate(wanted);
    spans
}

async fn store_all(store: &TraceStore, spans: &[Span<'_>], batch: usize) {
    for batch in spans.chunks(batch) {
        store.batch_store(batch).await.expect("the batch is stored");
    }
}

/// What a span takes in batches of one size.
struct Cost {
    cpu_us: Option<f64>,
    wal: f64,
}

async fn cost(client: &Client, store: &TraceStore, spans: &[Span<'_>], batch: usize) -> Cost {
    client.batch_execute("CHECKPOINT").await.expect("a checkpoint");
    let (cpu, wal) = (server_cpu(client).await, wal_bytes(client).await);
    store_all(store, spans, batch).await;
    let used = server_cpu(client).await.zip(cpu).and_then(|(after, before)| after.checked_sub(before));
    let number = spans.len() as f64;
    Cost {
        cpu_us: used.map(|used| used.as_secs_f64() * 1e6 / number),
        wal: (wal_bytes(client).await - wal) / number,
    }
}

/// CPU time of the processes behind this database's connections.
async fn server_cpu(client: &Client) -> Option<Duration> {
    let sql = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'";
    let processes: Vec<i32> =
        client.query(sql, &[]).await.expect("processes").iter().map(|row| row.get(0)).collect();
    cpu_time_of(&processes)
}

/// All WAL that the server has written: nobody else is to write meanwhile.
async fn wal_bytes(client: &Client) -> f64 {
    let sql = "SELECT (pg_current_wal_insert_lsn() - '0/0')::float8";
    client.query_one(sql, &[]).await.expect("a position").get(0)
}

/// Of what a span costs in small and in large batches, what a batch costs and what a span does.
fn report(what: &str, unit: &str, mut small: Vec<f64>, mut large: Vec<f64>) {
    if small.is_empty() || large.is_empty() {
        return;
    }
    let (small, large) = (median(&mut small), median(&mut large));
    let (fewer, more) = (1.0 / LARGE as f64, 1.0 / SMALL as f64);
    let batch = (small - large) / (more - fewer);
    let span = large - batch * fewer;
    let against = format!("a span in batches of {SMALL}: {small:.2}");
    print(&format!("{what}/span"), span, &format!("{unit}/span"), &against, span / small);
    print(&format!("{what}/batch"), batch, &format!("{unit}/batch"), &against, batch / small);
}

fn print(what: &str, value: f64, unit: &str, against: &str, ratio: f64) {
    let bench = format!("capacity/{what}");
    Figure { bench: &bench, value: rounded(value), unit, against, ratio: rounded(ratio), spread: None }
        .print();
}
