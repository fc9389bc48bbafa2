//! How fast documents' texts become vectors, against ONNX Runtime used plainly: batches of 32 in arrival order, padded.
//!
//! `cargo bench --bench embed [-- --quick] [-- --generated]`. Tokens are those of the texts, without padding, and time is CPU time, so
//! a figure is for one core. The plain side runs the same model, in a process of its own since a process has one ONNX Runtime;
//! `OTEL_BENCH_PLAIN_GRAPH` names another graph for it, and `OTEL_STORAGE_EMBEDDING_MODEL` another model for the embedder.

mod support;

use opentelemetry_pgvector::embedding::{Embedder, Vector};
use opentelemetry_pgvector::{Settings, TraceStore};
use serde::{Deserialize, Serialize};
use support::child::{self, Child};
use support::database::TestDatabase;
use support::figure::{Figure, Round, print_rounds, rounded};
use support::fleet::Fleet;
use support::plain::Plain;
use support::process::work_time;
use support::recordings;
use support::traffic::BATCH;
use tokio::runtime::Runtime;

/// Documents that a store embeds at a time.
const CHUNK: usize = 64;
/// The folder of the model that is run plainly.
const PLAIN: &str = ".local/models/all-MiniLM-L6-v2";

/// What the plain side answers.
#[derive(Serialize, Deserialize)]
struct Answer {
    tokens: usize,
    seconds: f64,
    vectors: Vec<Vec<f32>>,
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    if let Some((origin, settings)) = child::role() {
        return answer(runtime.block_on(texts(&settings, &origin)));
    }
    let mut origins = Vec::new();
    runtime.block_on(recordings::for_each(async |name, spans| {
        origins.push((name.to_owned(), store(spans).await));
    }));
    let fleet = Fleet::new(20, 100);
    let spans: Vec<_> = fleet.each_once().collect();
    origins.push(("fleet".into(), runtime.block_on(store(&spans))));
    for (origin, database) in &origins {
        measure(&runtime, origin, database);
    }
}

/// A database with documents that nobody embeds.
async fn store(spans: &[opentelemetry_pgvector::span::Span<'_>]) -> TestDatabase {
    let database = TestDatabase::create().await;
    let mut settings = database.settings();
    settings.embedding_model = "none".into();
    let store = TraceStore::new(settings).expect("valid settings");
    for batch in spans.chunks(BATCH) {
        store.batch_store(batch).await.expect("the batch is stored");
    }
    store.close().await;
    database
}

/// The texts of a database's documents, in the order in which they came.
async fn texts(settings: &Settings, _origin: &str) -> Vec<String> {
    let (client, connection) = tokio_postgres::connect(&settings.connection_string, tokio_postgres::NoTls)
        .await
        .expect("it connects");
    let running = tokio::spawn(connection);
    let rows =
        client.query("SELECT text FROM otel.span_documents ORDER BY id", &[]).await.expect("documents");
    drop(client);
    let _ = running.await;
    rows.iter().map(|row| row.get(0)).collect()
}

fn answer(texts: Vec<String>) {
    let mut plain = Plain::load(PLAIN);
    let tokens = plain.tokens(&texts).iter().map(Vec::len).sum();
    child::answer_each(|_| {
        let before = work_time();
        let vectors = plain.embed(&texts);
        Answer { tokens, seconds: (work_time() - before).as_secs_f64(), vectors }
    });
}

fn measure(runtime: &Runtime, origin: &str, database: &TestDatabase) {
    let settings = database.settings();
    let texts = runtime.block_on(texts(&settings, origin));
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    // It keeps the model, which the embedders of the rounds share; their caches are new.
    let loaded = Embedder::new(&settings);
    loaded.load().expect("the model loads");
    let mut plain = Child::start(origin, &database.url());
    let (mut rounds, mut cosines) = (Vec::new(), Vec::new());
    for _ in 0..if support::is_quick() { 2 } else { 7 } {
        let answer: Answer = plain.ask("embed");
        let embedder = Embedder::new(&settings);
        let before = work_time();
        let vectors: Vec<Vector> =
            texts.chunks(CHUNK).flat_map(|chunk| embedder.embed(chunk).expect("vectors")).collect();
        let seconds = (work_time() - before).as_secs_f64();
        let tokens = answer.tokens as f64;
        rounds.push(Round { value: tokens / seconds, against: tokens / answer.seconds });
        cosines.extend(
            vectors
                .iter()
                .zip(&answer.vectors)
                .map(|(ours, plain)| ours.iter().zip(plain).map(|(a, b)| a * b).sum::<f32>()),
        );
    }
    let what = format!(
        "one core of plain ONNX Runtime, padded batches of 32 in arrival order ({origin}, {} texts)",
        texts.len()
    );
    print_rounds(&format!("embed/{origin}"), "tokens/s", &what, &rounds);
    let least = f64::from(cosines.iter().copied().fold(1.0, f32::min));
    Figure {
        bench: &format!("embed/{origin}/cosine"),
        value: (least * 1e6).round() / 1e6,
        unit: "cosine at worst",
        against: "the vectors of the plain side",
        ratio: rounded(least),
        spread: None,
    }
    .print();
}
