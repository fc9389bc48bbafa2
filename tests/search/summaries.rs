//! Traces and services in numbers are what their spans say.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use crate::filters::{now, span};
use crate::support::arbitrary;
use crate::support::database::TestDatabase;
use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_pgvector::span::{Span, StatusCode};

/// What rows hold of times, in nanoseconds: the years 1 to 9999.
const FIRST: i128 = -62_135_596_800 * 1_000_000_000;
const LAST: i128 = 253_402_300_800 * 1_000_000_000 - 1;

fn start(span: &Span<'_>) -> i128 {
    span.start.0.clamp(FIRST, LAST)
}

fn end(span: &Span<'_>) -> i128 {
    let duration = span.end.0 - span.start.0;
    start(span) + duration.clamp(i64::MIN.into(), i64::MAX.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn summaries_are_what_the_spans_say() {
    let database = TestDatabase::create().await;
    let store = database.store();
    let mut spans = arbitrary::sample(120);
    for (number, span) in (1_u64..).zip(&mut spans) {
        span.trace_id = TraceId::from(u128::from(number % 3 + 1));
        // Some share an id, and some parents are not there.
        span.span_id = SpanId::from(number / 2);
        span.parent_span_id = SpanId::from(number % 5 * 20);
    }
    store.batch_store(&spans).await.expect("stored");
    let ids = [3_u128, 9, 1, 2].map(TraceId::from);
    let summaries = store.summaries(&ids).await.expect("summaries");
    assert_eq!(
        summaries.iter().map(|summary| summary.trace_id).collect::<Vec<_>>(),
        [ids[0], ids[2], ids[3]]
    );
    for summary in summaries {
        let spans: Vec<&Span<'_>> = spans.iter().filter(|span| span.trace_id == summary.trace_id).collect();
        let failed = |span: &&&Span<'_>| span.status.code == StatusCode::ERROR;
        let there: HashSet<SpanId> = spans.iter().map(|span| span.span_id).collect();
        let is_orphan = |span: &&&Span<'_>| {
            span.parent_span_id != SpanId::INVALID && !there.contains(&span.parent_span_id)
        };
        let mut services: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for span in &spans {
            let service = services.entry(span.resource.service_name().replace('\0', "\u{2400}")).or_default();
            service.0 += 1;
            service.1 += u64::from(failed(&span));
        }
        let root =
            spans.iter().filter(|span| span.parent_span_id == SpanId::INVALID).min_by_key(|span| start(span));
        assert_eq!(summary.spans, spans.len() as u64);
        assert_eq!(summary.errors, spans.iter().filter(failed).count() as u64);
        assert_eq!(summary.orphans, spans.iter().filter(is_orphan).count() as u64);
        assert_eq!(Some(summary.start.0), spans.iter().map(|span| start(span)).min());
        assert_eq!(Some(summary.end.0), spans.iter().map(|span| end(span)).max());
        assert_eq!(
            Some((summary.root_service, summary.root_name)),
            root.map(|root| (root.resource.service_name().replace('\0', "\u{2400}"), root.name.to_string()))
        );
        let found =
            summary.services.into_iter().map(|(name, service)| (name, (service.spans, service.errors)));
        assert_eq!(found.collect::<BTreeMap<_, _>>(), services);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_of_which_a_period_has_too_many_are_refused() {
    let database = TestDatabase::create().await;
    let store = database.store();
    store.batch_store(&[span(1, |_| {})]).await.expect("stored");
    let counted = async |step| {
        store.count_spans(&["shop".into()], &[2], now() - Duration::from_secs(60), now(), step).await
    };
    assert_eq!(counted(Duration::from_secs(1)).await.expect("counted").len(), 1);
    assert_eq!(counted(Duration::from_micros(1)).await.expect("counted").len(), 1);
    let error = counted(Duration::from_nanos(1)).await.expect_err("too many").to_string();
    assert!(error.contains("step") && error.contains("make them longer"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_root_is_stored_the_period_and_the_newest_traces_are_those_of_all_spans() {
    let database = TestDatabase::create().await;
    let store = database.store();
    assert_eq!(store.stored_period().await.expect("none"), None);
    let orphan = |span: &mut Span<'static>| span.parent_span_id = SpanId::from(99);
    store.batch_store(&[span(1, orphan), span(2, orphan), span(3, orphan)]).await.expect("stored");
    let ago = |seconds| now() - Duration::from_secs(seconds);
    assert_eq!(store.stored_period().await.expect("a period"), Some((ago(30), ago(10))));
    let newest: Vec<_> = store.newest_traces(2).await.expect("traces");
    let newest: Vec<_> = newest.iter().map(|trace| (trace.trace_id, trace.span_count)).collect();
    assert_eq!(newest, [(TraceId::from(1), 1), (TraceId::from(2), 1)]);
    // Roots tell more cheaply, and a period is of traces as a rule.
    store.batch_store(&[span(2, |_| {})]).await.expect("stored");
    assert_eq!(store.stored_period().await.expect("a period"), Some((ago(20), ago(20))));
}
