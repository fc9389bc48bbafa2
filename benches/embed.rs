//! How fast documents' texts become vectors, against ONNX Runtime used plainly: batches of 32 in arrival order, padded.
//!
//! `cargo bench --bench embed [-- --quick] [-- --generated]`. Texts are those of a recording's documents, or of the invented shop's, and of an
//! invented fleet's, whose lengths hardly differ; each text comes once, so that no cache helps. Tokens are theirs, without
//! padding, and time is CPU time, so a figure is for one core. The plain side runs the same model, in a process of its own
//! since a process has one ONNX Runtime; `OTEL_BENCH_PLAIN_GRAPH` names another graph for it. The variant that
//! `scripts/int8_model.py` makes is measured where it is there.

mod support;

use std::path::Path;

use opentelemetry_pgvector::embedding::{Embedder, Vector};
use opentelemetry_pgvector::span::Span;
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
/// The model that is run plainly, and its variant.
const PLAIN: &str = ".local/models/all-MiniLM-L6-v2";
const INT8: &str = ".local/models/all-MiniLM-L6-v2-int8";

/// What the plain side answers.
#[derive(Serialize, Deserialize)]
struct Answer {
    tokens: usize,
    seconds: f64,
    vectors: Vec<Vec<f32>>,
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    if let Some((_, settings)) = child::role() {
        return answer(runtime.block_on(texts(&settings)));
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
async fn store(spans: &[Span<'_>]) -> TestDatabase {
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

/// The texts of a database's documents, each once, in the order in which they came.
async fn texts(settings: &Settings) -> Vec<String> {
    let (client, connection) = tokio_postgres::connect(&settings.connection_string, tokio_postgres::NoTls)
        .await
        .expect("a connection");
    tokio::spawn(connection);
    let sql = "SELECT text FROM otel.span_documents GROUP BY text ORDER BY min(id)";
    client.query(sql, &[]).await.expect("documents").iter().map(|row| row.get(0)).collect()
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
    let texts = runtime.block_on(texts(&settings));
    let mut plain = Child::start("plain", &settings.connection_string);
    against_plain(&format!("embed/{origin}"), settings.clone(), &texts, &mut plain);
    if Path::new(INT8).exists() {
        let mut int8 = settings;
        int8.embedding_model = INT8.into();
        against_plain(&format!("embed/{origin}/int8"), int8, &texts, &mut plain);
    }
}

fn against_plain(bench: &str, settings: Settings, texts: &[String], plain: &mut Child) {
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    // It keeps the model, which the embedders of the rounds share; their caches are new.
    let loaded = Embedder::new(&settings);
    loaded.load().expect("the model loads");
    let (mut rounds, mut least) = (Vec::new(), 1.0_f32);
    for _ in 0..if support::is_quick() { 2 } else { 7 } {
        let answer: Answer = plain.ask("embed");
        let embedder = Embedder::new(&settings);
        let before = work_time();
        let embed = |chunk| embedder.embed(chunk).expect("vectors");
        let vectors: Vec<Vector> = texts.chunks(CHUNK).flat_map(embed).collect();
        let seconds = (work_time() - before).as_secs_f64();
        let tokens = answer.tokens as f64;
        rounds.push(Round { value: tokens / seconds, against: tokens / answer.seconds });
        for (ours, plain) in vectors.iter().zip(&answer.vectors) {
            least = least.min(ours.iter().zip(plain).map(|(a, b)| a * b).sum());
        }
    }
    let count = texts.len();
    let what =
        format!("one core of plain ONNX Runtime, padded batches of 32 in arrival order, {count} texts");
    print_rounds(bench, "tokens/s", &what, &rounds);
    Figure {
        bench: &format!("{bench}/cosine"),
        value: (f64::from(least) * 1e6).round() / 1e6,
        unit: "cosine at worst",
        against: "the vectors of the plain side",
        ratio: rounded(least.into()),
        spread: None,
    }
    .print();
}
