//! WAL a span: rows as the exporter writes them, with their indexes, by size of batch and by setting of the server.
//!
//! `cargo bench --bench wal [-- --quick]`, on the server that `OTEL_TEST_DATABASE_URL` names, as superuser. Everything that
//! the server writes meanwhile is counted, so nothing else should use it.

mod support;

use std::time::Instant;

use bytes::Bytes;
use opentelemetry_pgvector::SpanExporter;
use opentelemetry_sdk::trace::SpanExporter as _;
use support::database::TestDatabase;
use support::figure::{Figure, rounded};
use support::is_quick;
use support::table::{COLUMNS, copy_in, encode, read_rows};
use support::traffic::{BATCH, Traffic};
use tokio_postgres::Client;

/// One way to write the rows: what is measured, the session's settings, options of the tables, rows in a batch.
struct Way {
    name: &'static str,
    set: &'static str,
    fillfactor: u8,
    batch: usize,
}

const USUAL: Way = Way { name: "batch_512", set: "", fillfactor: 100, batch: 512 };
const WAYS: &[Way] = &[
    Way { name: "batch_64", batch: 64, ..USUAL },
    Way { name: "batch_2048", batch: 2048, ..USUAL },
    Way { name: "batch_4096", batch: 4096, ..USUAL },
    Way { name: "wal_compression_pglz", set: "SET wal_compression = pglz", ..USUAL },
    Way { name: "wal_compression_lz4", set: "SET wal_compression = lz4", ..USUAL },
    Way { name: "wal_compression_zstd", set: "SET wal_compression = zstd", ..USUAL },
    Way { name: "synchronous_commit_off", set: "SET synchronous_commit = off", ..USUAL },
    Way { name: "fillfactor_70", fillfactor: 70, ..USUAL },
];

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let traffic = Traffic::open();
    let batches = if is_quick() { 24 } else { 160 };
    let database = TestDatabase::create().await;
    let mut settings = database.settings();
    settings.embedding_model = "/nonexistent/model".into();
    settings.embedding_budget_milliseconds = 0;
    let mut exporter = SpanExporter::from_settings(settings).expect("valid settings");
    exporter.set_resource(&traffic.resource);
    for number in 0..batches {
        exporter.export(traffic.batch(number)).await.expect("the batch is exported");
    }
    let client = database.client().await;
    let rows = read_rows(&client, &format!("SELECT {COLUMNS} FROM otel.span_rows")).await;
    assert_eq!(rows.len(), batches * BATCH);
    drop(exporter);
    // The first time fills the caches.
    write(&client, &rows, &USUAL).await;
    let usual = write(&client, &rows, &USUAL).await;
    for (way, written) in std::iter::once((&USUAL, usual)).chain(measure_all(&client, &rows).await) {
        for (what, value, unit, against) in
            [("", written.bytes, "B/span", usual.bytes), ("/speed", written.speed, "spans/s", usual.speed)]
        {
            Figure {
                bench: &format!("wal/{}{what}", way.name),
                value: rounded(value),
                unit,
                against: "batches of 512 and the server's defaults",
                ratio: rounded(value / against),
                spread: None,
            }
            .print();
        }
    }
}

#[derive(Clone, Copy)]
struct Written {
    /// WAL a span.
    bytes: f64,
    /// Spans committed per second.
    speed: f64,
}

async fn measure_all(client: &Client, rows: &[Bytes]) -> Vec<(&'static Way, Written)> {
    let mut all = Vec::new();
    for way in WAYS {
        match client.batch_execute(way.set).await {
            Ok(()) => all.push((way, write(client, rows, way).await)),
            // A server may be built without a method of compression.
            Err(error) => eprintln!("{}: {error}", way.name),
        }
        client.batch_execute("RESET ALL").await.expect("RESET");
    }
    all
}

/// Writes the rows into a new table. The checkpoint comes first, so every page is in the WAL once as a whole.
async fn write(client: &Client, rows: &[Bytes], way: &Way) -> Written {
    let make = format!(
        "DROP TABLE IF EXISTS written; CREATE TABLE written (LIKE otel.span_rows INCLUDING ALL); \
         ALTER TABLE written SET (fillfactor = {}, autovacuum_enabled = off); CHECKPOINT",
        way.fillfactor
    );
    client.batch_execute(&make).await.expect("a table");
    let copy = format!("COPY written ({COLUMNS}) FROM STDIN (FORMAT binary)");
    let statement = client.prepare(&copy).await.expect("COPY is prepared");
    let batches: Vec<Bytes> = rows.chunks(way.batch).map(encode).collect();
    let before = position(client).await;
    let begin = Instant::now();
    for batch in batches {
        copy_in(client, &statement, batch).await;
    }
    let speed = rows.len() as f64 / begin.elapsed().as_secs_f64();
    let bytes = (position(client).await - before) as f64 / rows.len() as f64;
    Written { bytes, speed }
}

/// How much WAL there has been.
async fn position(client: &Client) -> i64 {
    let sql = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint";
    client.query_one(sql, &[]).await.expect("a position").get(0)
}
