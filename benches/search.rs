//! How long a search takes, against the time of embedding its words.
//!
//! `cargo bench --bench search` in stores of one and ten million spans of 10,000 documents, and in one of ten million spans of a
//! million documents; making them takes seven minutes, and 8 GB. With `-- --quick` among 200,000 spans of 2,000 documents.
//! `OTEL_BENCH_STORES=1000000/10000` names other stores, by their spans and documents. `OTEL_BENCH_DATABASE=name` keeps the
//! databases for the next run, `OTEL_BENCH_CASE=newest` measures one kind of search.
//!
//! Each query is another one, so that neither vectors nor results are remembered. It is embedded alone by an embedder of
//! its own, right before or after it is searched for.

mod support;

use std::time::{Duration, Instant, SystemTime};

use opentelemetry_pgvector::TraceStore;
use opentelemetry_pgvector::embedding::Embedder;
use opentelemetry_pgvector::search::{Condition, Filter, SearchQuery, Status};
use support::big::{self, END};
use support::figure::{Figure, rounded};
use support::marketplace::Marketplace;
use support::random::Random;

/// What is searched for.
struct Case {
    name: &'static str,
    words: bool,
    filter: Filter,
}

fn cases() -> Vec<Case> {
    let at = |seconds: i64| SystemTime::UNIX_EPOCH + Duration::from_secs((END - seconds) as u64);
    let filter = Filter::default;
    let case = |name, words, filter| Case { name, words, filter };
    vec![
        case("words", true, filter()),
        case("words, service", true, filter().service("payment-service")),
        case("words, a day", true, filter().since(at(5 * 86_400)).until(at(4 * 86_400))),
        case("words, status", true, filter().status(Status::Error)),
        case(
            "words, constant attribute",
            true,
            filter().attribute(Condition::is("http.response.status_code", "500")),
        ),
        case("words, varying attribute", true, filter().attribute(Condition::is("user.id", "u77"))),
        case("words, duration", true, filter().longer_than(Duration::from_micros(3_100))),
        case("service, status", false, filter().service("payment-service").status(Status::Error)),
        case("varying attribute", false, filter().attribute(Condition::is("user.id", "u77"))),
        case("a day", false, filter().since(at(5 * 86_400)).until(at(4 * 86_400))),
        case("newest", false, filter()),
    ]
}

#[tokio::main]
async fn main() {
    let only = std::env::var("OTEL_BENCH_CASE").ok();
    let (searches, limit) = match support::is_quick() {
        true => (100, Duration::from_secs(3)),
        false => (300, Duration::from_secs(15)),
    };
    let mut medians: Vec<Vec<f64>> = Vec::new();
    let stores = stores();
    for &(spans, documents) in &stores {
        let database = big::store(spans, documents).await;
        let store = TraceStore::new(database.settings()).expect("valid settings");
        let embedder = Embedder::new(store.settings());
        embedder.load().expect("the model");
        let mut all = Vec::new();
        for (number, case) in cases().iter().enumerate() {
            if only.as_ref().is_some_and(|only| only != case.name) {
                continue;
            }
            let [searched, embedded] = measure(&store, &embedder, (number, case), searches, limit).await;
            let embedding = quantile(&embedded, 0.5);
            for (quantile_name, share) in [("p50", 0.5), ("p99", 0.99)] {
                let value = quantile(&searched, share);
                let bench =
                    format!("search/{spans} spans, {documents} documents/{}/{quantile_name}", case.name);
                Figure {
                    bench: &bench,
                    value: rounded(value),
                    unit: "ms",
                    against: "embedding the query, p50",
                    ratio: rounded(value / embedding),
                    spread: None,
                }
                .print();
            }
            if let Some(first) = medians.first()
                && only.is_none()
            {
                let (value, first) = (quantile(&searched, 0.5), first[number]);
                let bench = format!("search/{spans} spans, {documents} documents/{}/growth", case.name);
                let against = format!("{} spans, {} documents, p50", stores[0].0, stores[0].1);
                Figure {
                    bench: &bench,
                    value: rounded(value),
                    unit: "ms",
                    against: &against,
                    ratio: rounded(value / first),
                    spread: None,
                }
                .print();
            }
            all.push(quantile(&searched, 0.5));
        }
        medians.push(all);
    }
}

/// How many spans and documents the stores have.
fn stores() -> Vec<(usize, usize)> {
    let number = |text: &str| text.parse::<usize>().expect("a number in OTEL_BENCH_STORES");
    match std::env::var("OTEL_BENCH_STORES") {
        Ok(text) => text
            .split(',')
            .map(|store| store.split_once('/').expect("SPANS/DOCUMENTS in OTEL_BENCH_STORES"))
            .map(|(spans, documents)| (number(spans), number(documents)))
            .collect(),
        Err(_) if support::is_quick() => vec![(200_000, 2_000)],
        Err(_) => vec![(1_000_000, 10_000), (10_000_000, 10_000), (10_000_000, 1_000_000)],
    }
}

/// Milliseconds of so many searches, or of those that fit into the limit, and of embedding their queries, each in order.
async fn measure(
    store: &TraceStore,
    embedder: &Embedder,
    (number, case): (usize, &Case),
    searches: usize,
    limit: Duration,
) -> [Vec<f64>; 2] {
    let begun = Instant::now();
    let mut random = Random(100 + number as u64);
    let (mut searched, mut embedded) = (Vec::new(), Vec::new());
    // The first ones connect, prepare and load.
    for at in 0..searches + 10 {
        if begun.elapsed() > limit && at > 20 {
            break;
        }
        let question = format!("{} {at}", Marketplace::question(&mut random));
        let text = if case.words { question.as_str() } else { "" };
        let query = SearchQuery::new(text).filter(case.filter.clone());
        let embed = || timed(async { drop(embedder.embed(&[question.as_str()]).expect("a vector")) });
        let search = || timed(async { drop(store.search_traces(query.clone()).await.expect("a search")) });
        let (one, other) = match at % 2 {
            0 => (embed().await, search().await),
            _ => {
                let search = search().await;
                (embed().await, search)
            }
        };
        if at >= 10 {
            embedded.push(one);
            searched.push(other);
        }
    }
    searched.sort_by(f64::total_cmp);
    embedded.sort_by(f64::total_cmp);
    [searched, embedded]
}

async fn timed(work: impl Future<Output = ()>) -> f64 {
    let begun = Instant::now();
    work.await;
    begun.elapsed().as_secs_f64() * 1e3
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}
