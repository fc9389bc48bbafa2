//! Pages: together they are the whole, and what they show does not depend on their size.

use std::time::{Duration, SystemTime};

use super::filters::{now, span};
use crate::support::database::TestDatabase;
use futures_util::TryStreamExt;
use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_pgvector::search::{Filter, Kind, SearchQuery};
use opentelemetry_pgvector::span::Timestamp;

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_the_whole_without_doubles_also_while_spans_are_stored() {
    let database = TestDatabase::create().await;
    let store = database.store();
    let old: Vec<_> = (0..95u128).map(|number| span(number + 1, |_| {})).collect();
    store.batch_store(&old).await.expect("stored");
    store.flush().await.expect("embedded");
    let meaning = SearchQuery::new("shop cart").similarity_threshold(0.0);
    for query in [SearchQuery::filtered(Filter::default()), meaning] {
        let mut query = query.limit(10);
        let mut seen = Vec::new();
        loop {
            let page = store.search_traces(query.clone()).await.expect("a page");
            seen.extend(page.iter().map(|hit| hit.trace_id));
            // What is stored meanwhile started later, and does not shift the pages.
            let mut late = span(1000 + seen.len() as u128, |_| {});
            late.start = Timestamp::from(SystemTime::now() + Duration::from_secs(3600));
            late.end = late.start;
            store.batch_store(&[late]).await.expect("stored");
            let Some(next) = page.next else { break };
            query = query.page(next.to_string().parse().expect("a page"));
        }
        let mut ids: Vec<_> = seen.iter().filter(|id| old.iter().any(|span| span.trace_id == **id)).collect();
        ids.sort_unstable_by_key(|id| id.to_bytes());
        ids.dedup();
        assert_eq!(ids.len(), 95);
        let mut all = seen.clone();
        all.sort_unstable_by_key(|id| id.to_bytes());
        all.dedup();
        assert_eq!(all.len(), seen.len(), "no trace comes twice");
        database.execute("DELETE FROM otel.span_rows WHERE start_time > now()").await;
    }
    let streamed: Vec<_> = store
        .stream_traces(SearchQuery::filtered(Filter::default()).limit(20))
        .try_collect()
        .await
        .expect("streamed");
    assert_eq!(streamed.len(), 95);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_have_no_hole_where_clocks_are_ahead() {
    let database = TestDatabase::create().await;
    let store = database.store();
    let ahead: Vec<_> = (0..30u64)
        .map(|number| {
            let mut span = span(u128::from(number) + 1, |_| {});
            span.start = Timestamp::from(
                SystemTime::now() + Duration::from_secs(3600 * number) - Duration::from_secs(36_000),
            );
            span.end = span.start;
            span
        })
        .collect();
    store.batch_store(&ahead).await.expect("stored");
    let query = SearchQuery::filtered(Filter::default()).limit(4);
    let streamed: Vec<_> = store.stream_traces(query).try_collect().await.expect("streamed");
    let ids: Vec<_> = streamed.iter().map(|hit| u128::from_be_bytes(hit.trace_id.to_bytes())).collect();
    assert_eq!(ids, (1..=30).rev().collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_shows_the_same_spans_and_times_whatever_the_size_of_the_page_is() {
    let database = TestDatabase::create().await;
    let store = database.store();
    let mut all: Vec<_> = (1..=40u128).map(|trace| span(trace, |_| {})).collect();
    // Two more spans of the newest trace, one as old as any, and the last to end.
    for (number, of) in [(100, 30), (101, 40)] {
        let mut more = span(of, |span| span.trace_id = TraceId::from(1));
        more.span_id = SpanId::from(number);
        more.start.0 += 500;
        more.end.0 = more.start.0 + 600_000_000_123;
        all.push(more);
    }
    store.batch_store(&all).await.expect("stored");
    store.flush().await.expect("embedded");
    let conditions = SearchQuery::filtered(Filter::default().kind(Kind::Server));
    let meaning = SearchQuery::new("shop cart").similarity_threshold(0.0);
    for query in [conditions.clone().limit(1), conditions.limit(1000), meaning.limit(1000)] {
        let found = store.search_traces(query).await.expect("found");
        let trace = found.iter().find(|hit| hit.trace_id == TraceId::from(1)).expect("the trace");
        let mut ids: Vec<_> = trace.spans.iter().map(|span| span.span_id.to_bytes()).collect();
        ids.sort_unstable();
        assert_eq!(ids, [1, 100, 101].map(u64::to_be_bytes));
        assert_eq!(trace.start, all[41].start);
        assert_eq!(trace.duration.as_nanos() as i128, all[40].end.0 - all[41].start.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_do_not_shift_where_the_end_was_given_as_so_long_ago() {
    let database = TestDatabase::create().await;
    let store = database.store();
    let spans: Vec<_> = (1..=20u128).map(|trace| span(trace, |_| {})).collect();
    store.batch_store(&spans).await.expect("stored");
    let until = |seconds| {
        let filter = Filter::default().until(now() - Duration::from_secs(seconds));
        SearchQuery::filtered(filter).limit(4)
    };
    let first = store.search_spans(until(100)).await.expect("a page");
    // A minute later the same words mean a later time.
    let next = first.next.expect("another page");
    let second = store.search_spans(until(40).page(next)).await.expect("a page");
    let traces = first.iter().chain(&second).map(|hit| u128::from_be_bytes(hit.trace_id.to_bytes()));
    assert_eq!(traces.collect::<Vec<_>>(), (11..=18).collect::<Vec<_>>());
}
