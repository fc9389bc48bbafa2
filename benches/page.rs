//! How long the server takes for the pages, against a file of the page, for which it asks nothing of the store.
//!
//! `cargo bench --bench page --features serve` on a million spans, beside them a trace of 10,000; with `-- --quick` on 100,000.
//! `OTEL_BENCH_DATABASE=name` keeps the database for the next run. Each time is that of the whole answer over the loopback, packed
//! with gzip as for a browser.

mod support;

use std::net::Ipv4Addr;
use std::time::Instant;

use opentelemetry::trace::SpanId;
use opentelemetry_pgvector::TraceStore;
use opentelemetry_pgvector::serve::{Config, Server};
use support::big::{self, END};
use support::database::TestDatabase;
use support::figure::{Round, print_rounds};
use support::marketplace::Marketplace;

const LONG_TRACE: usize = 10_000;
const DOCUMENTS: usize = 2_000;

#[tokio::main]
async fn main() {
    let (spans, rounds) = if support::is_quick() { (100_000, 5) } else { (1_000_000, 30) };
    let database = big::store(spans, DOCUMENTS).await;
    let trace = long_trace(&database).await;
    let mut config = Config::new(database.settings());
    config.api = (Ipv4Addr::LOCALHOST, 0).into();
    let server = Server::bind(config).expect("a server");
    let root = format!("http://{}", server.addresses().api);
    tokio::spawn(server.run(std::future::pending()));
    let client = reqwest::Client::new();
    let fetch = async |path: &str| {
        let begun = Instant::now();
        let request = client.get(format!("{root}{path}")).header("accept-encoding", "gzip");
        let answer = request.send().await.expect("an answer");
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        let bytes = answer.bytes().await.expect("the whole answer").len();
        (begun.elapsed().as_secs_f64() * 1e3, bytes)
    };
    let first = client.get(&root).send().await.expect("an answer").text().await.expect("text");
    let style = first.split('"').find(|part| part.starts_with("/assets/style")).expect("a style sheet");
    let pages = [
        ("first page", "/".to_owned()),
        ("words and a filter", "/?q=payment+reject+failed+status%3Aerror".to_owned()),
        ("operations", "/operations".to_owned()),
        ("map", "/map".to_owned()),
        ("health", "/health".to_owned()),
        ("new", "/new".to_owned()),
        ("waterfall of 10,000 spans", format!("/traces/{trace}")),
        ("flame graph of 10,000 spans", format!("/traces/{trace}?view=flame")),
        ("table of 10,000 spans", format!("/traces/{trace}?view=table")),
    ];
    for (name, path) in &pages {
        let (_, bytes) = fetch(path).await;
        let mut times = Vec::new();
        for _ in 0..rounds {
            let (against, _) = fetch(style).await;
            let (value, _) = fetch(path).await;
            times.push(Round { value, against });
        }
        eprintln!("{name}: {} kB", bytes / 1024);
        print_rounds(&format!("page/{spans} spans/{name}"), "ms", "its style sheet", &times);
    }
}

/// Stores a long trace, unless it is there from the last run; returns its id.
async fn long_trace(database: &TestDatabase) -> String {
    let client = database.client().await;
    let find = "SELECT trace_id::text FROM otel.span_rows GROUP BY trace_id HAVING count(*) >= $1 LIMIT 1";
    let found = client.query_opt(find, &[&(LONG_TRACE as i64)]).await.expect("the traces");
    if let Some(row) = found {
        return row.get::<_, String>(0).replace('-', "");
    }
    let mut spans = Vec::new();
    Marketplace::new(END - 3600).trace(&mut spans, LONG_TRACE);
    // A tree with some branches at each span.
    let ids: Vec<SpanId> = spans.iter().map(|span| span.span_id).collect();
    for (at, span) in spans.iter_mut().enumerate().skip(1) {
        span.parent_span_id = ids[(at - 1) / 4];
    }
    let store = TraceStore::new(database.settings()).expect("valid settings");
    for batch in spans.chunks(500) {
        store.batch_store(batch).await.expect("the batch is stored");
    }
    store.flush().await.expect("the documents are embedded");
    spans[0].trace_id.to_string()
}
