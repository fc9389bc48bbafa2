//! How fast `import otlp` commits spans of known documents from a file of protobuf, against COPY of the same rows.
//!
//! `cargo bench --bench ingest_otlp [-- --quick] [-- --generated]`, on the server that `OTEL_TEST_DATABASE_URL` names. Read, decoded, split,
//! copied in two transactions at a time, committed, entered into the ledger: as the command does it, without its start.

mod support;

use std::path::Path;
use std::time::Instant;

use opentelemetry_pgvector::import::{Importer, Input};
use opentelemetry_pgvector::span::spans_to_otlp;
use opentelemetry_pgvector::{TraceStore, span::Span};
use prost::Message;
use support::database::TestDatabase;
use support::figure::{Round, print_rounds};
use support::process::cpu_time;
use support::shop::Shop;
use support::table::{COLUMNS, copy_in, encode, read_rows};
use support::{has_flag, is_quick, shared};

/// Spans in a transaction of the importer.
const BATCH: usize = 2000;

#[tokio::main]
async fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("spans.pb");
    let origin = write(&file);
    let database = TestDatabase::create().await;
    let client = database.client().await;
    let store = TraceStore::new(database.settings()).expect("valid settings");
    // Makes the tables, the documents and the rows to copy.
    let spans = import(&store, &file).await;
    if let Err(error) = store.flush().await {
        eprintln!("documents are not embedded: {error}");
    }
    let rows = read_rows(&client, &format!("SELECT {COLUMNS} FROM otel.span_rows")).await;
    assert_eq!(rows.len(), spans, "every span is stored");
    let copy = format!("COPY otel.span_rows ({COLUMNS}) FROM STDIN (FORMAT binary)");
    let copy = client.prepare(&copy).await.expect("COPY is prepared");

    let empty = async || {
        database.execute("TRUNCATE otel.span_rows, otel.batches").await;
        database.execute("CHECKPOINT").await;
    };
    let (mut speeds, mut costs) = (Vec::new(), Vec::new());
    for _ in 0..if is_quick() { 3 } else { 9 } {
        empty().await;
        let batches: Vec<_> = rows.chunks(BATCH).map(encode).collect();
        let start = Instant::now();
        for batch in batches {
            copy_in(&client, &copy, batch).await;
        }
        let against = spans as f64 / start.elapsed().as_secs_f64();

        empty().await;
        let (start, cpu) = (Instant::now(), cpu_time());
        import(&store, &file).await;
        let seconds = start.elapsed().as_secs_f64();
        speeds.push(Round { value: spans as f64 / seconds, against });
        if let Some(cpu) = cpu_time().zip(cpu).map(|(after, before)| (after - before).as_secs_f64()) {
            costs.push(Round { value: cpu * 1e6 / spans as f64, against: seconds * 1e6 / spans as f64 });
        }
    }
    let against = format!("COPY of the same rows by one connection, {BATCH} a transaction ({origin})");
    print_rounds("ingest_otlp", "spans/s", &against, &speeds);
    if !costs.is_empty() {
        print_rounds("ingest_otlp/client_cpu", "us/span", "the time that it takes", &costs);
    }
}

/// Imports the file; returns how many spans it has.
async fn import(store: &TraceStore, file: &Path) -> usize {
    let importer = Importer::new(store.clone()).with_batch_size(BATCH);
    let imported = importer.otlp(Input::open(file).expect("the file")).await.expect("it is imported");
    assert_eq!((imported.already_there, imported.rejected), (0, 0), "all spans are new");
    imported.stored as usize
}

/// Writes a recording as protobuf, or where there is none an invented one; returns where it is from.
fn write(file: &Path) -> &'static str {
    let messages = if has_flag("--generated") { None } else { shared::messages("datasette") };
    // Messages that stand behind each other are one.
    let write = |messages: &mut dyn Iterator<Item = Vec<u8>>| {
        std::fs::write(file, messages.collect::<Vec<_>>().concat()).expect("the file is written");
    };
    match messages {
        Some(messages) => {
            write(&mut messages.iter().map(Message::encode_to_vec));
            "Datasette recording"
        }
        None => {
            let mut shop = Shop::default();
            write(&mut (0..200).map(|_| {
                let mut spans: Vec<Span<'_>> = Vec::new();
                while spans.len() < 512 {
                    shop.trace(&mut spans);
                }
                spans_to_otlp(&spans).encode_to_vec()
            }));
            "generated shop"
        }
    }
}
