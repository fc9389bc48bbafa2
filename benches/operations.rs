//! How long it takes to count rate, errors and durations of services and of operations, in a store of a million spans.
//!
//! `cargo bench --bench operations`; making the store takes half a minute. Counting is compared with grouping the same spans by
//! the names of their documents, and with an hour of one service, which is what the page shows first.
//! `OTEL_BENCH_DATABASE=name` keeps the database for the next run.

mod support;

use std::time::{Duration, Instant, SystemTime};

use support::big::{self, DAYS, END};
use support::figure::{Round, print_rounds};

const SPANS: usize = 1_000_000;
const DOCUMENTS: usize = 10_000;

#[tokio::main]
async fn main() {
    let database = big::store(SPANS, DOCUMENTS).await;
    let store = database.store();
    let client = database.client().await;
    let until = SystemTime::UNIX_EPOCH + Duration::from_secs(END as u64);
    let all = until - Duration::from_secs(DAYS as u64 * 86_400);
    let hour = until - Duration::from_secs(3600);
    let service = store.services().await.expect("services").into_iter().next().expect("a service");
    let by_text = format!(
        "SELECT d.service, d.name, d.kind, floor(extract(epoch FROM r.start_time)::float8 / {})::integer, \
                ceil(ln(greatest(r.duration_ns, 1)::float8) / ln(1.05))::integer, d.status_code, count(*) \
         FROM otel.span_documents d JOIN otel.span_rows r ON r.document_id = d.id GROUP BY 1, 2, 3, 4, 5, 6",
        DAYS * 86_400 / 40
    );
    let (mut counting, mut first) = (Vec::new(), Vec::new());
    for _ in 0..if support::is_quick() { 3 } else { 11 } {
        let whole = timed(async || {
            let figures = store.figures(None, all, until, 40).await.expect("counted");
            assert!(figures.is_whole && figures.spans > SPANS as u64 * 9 / 10, "{} spans", figures.spans);
        })
        .await;
        let text = timed(async || drop(client.query(&by_text, &[]).await.expect("counted"))).await;
        let short = timed(async || {
            let figures = store.figures(Some(&service), hour, until, 40).await.expect("counted");
            assert!(figures.is_whole);
        })
        .await;
        counting.push(Round { value: whole, against: text });
        first.push(Round { value: short, against: whole });
    }
    print_rounds("figures of all services, 1M spans", "ms", "grouping the same spans by text", &counting);
    print_rounds("figures of one service, an hour", "ms", "figures of all services, 1M spans", &first);
}

/// Milliseconds.
async fn timed(call: impl AsyncFnOnce()) -> f64 {
    let begun = Instant::now();
    call().await;
    begun.elapsed().as_secs_f64() * 1e3
}
