//! From ranked documents, or conditions alone, to traces and spans.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future;
use opentelemetry::trace::TraceId;

use super::by_time::newest_passing;
use super::compared::planned_once;
use super::conditions::asks_documents;
use super::filter::Filter;
use super::query::{Found, SearchQuery, trace_id};
use super::ranked::{Ranked, end, ranked};
use super::repeated::PerDocument;
use super::score::Document;
use super::spans::{FoundSpan, newest_of_each_trace, refuse_malformed, shown};
use super::whole::{Best, complete, summaries, whole};
use super::{SpanHit, TraceHit};
use crate::error::{Error, Result};
use crate::span::Timestamp;
use crate::store::{Columns, Connection, SchemaInfo, TraceIds, TraceStore, of_traces};

/// The most matched spans that a trace shows.
const SPANS_PER_TRACE: usize = 5;
/// How many spans a trace has as a rule: so many are read for each at first, where they are read by time.
const SPANS_OF_MOST: usize = 16;
/// The most spans that are read for one page.
pub(super) const MAX_SPANS: usize = 1_000_000;

pub(super) async fn traces(store: &TraceStore, query: &SearchQuery) -> Result<Found<TraceHit>> {
    let query = &with_trace_ids(store, query).await?;
    if query.text.is_empty() {
        return traces_by_conditions(store, query).await;
    }
    let traces = |_: &[Document], spans: &[FoundSpan]| {
        spans.iter().map(|span| span.trace_id).collect::<HashSet<TraceId>>().len()
    };
    let Ranked { connection, documents, spans, newest, last } =
        ranked(store, query, PerDocument::traces(query), traces).await?;
    let Found { hits: traces, next } = query.paged(grouped(spans, query.wanted()), newest, last);
    let mut hits: Vec<TraceHit> = traces.iter().map(|spans| found(spans)).collect();
    // A trace shows all its spans that match, not only those it was found by.
    let filter = query.bounded_filter();
    let of_query = documents.iter().map(|document| document.id).collect();
    let best = Best { documents: of_query, filter: &filter, per_trace: SPANS_PER_TRACE };
    let (summaries, spans) = whole(store, &connection, &hits, best).await?;
    complete(&mut hits, scored(spans, &documents), summaries);
    end(connection);
    Ok(Found { hits, next })
}

/// Some traces have many spans that pass: it takes more spans until there are enough traces, without those of the traces that
/// fill the page of spans.
async fn traces_by_conditions(store: &TraceStore, query: &SearchQuery) -> Result<Found<TraceHit>> {
    let (connection, info, last) = begin(store).await?;
    let (mut filter, to) = (query.bounded_filter(), last.min(query.page.document));
    let per_trace = if asks_documents(&filter) { 4 } else { SPANS_OF_MOST };
    let (mut count, mut known) = (query.wanted() * per_trace, Vec::new());
    let mut newest = None;
    let (traces, are_all) = loop {
        let spans = newest_passing(store, &connection, &info, &filter, to, count).await?;
        newest = newest.max(newest_start(&spans));
        let are_all = spans.len() < count;
        filter.apart_from.extend(large(&spans));
        known.extend(grouped(spans, query.wanted()));
        known.sort_by_key(|spans| newest_first(spans));
        known.truncate(query.wanted());
        if are_all || count >= MAX_SPANS || known.len() >= query.wanted() {
            break (known, are_all);
        }
        known.retain(|spans| spans.first().is_some_and(|span| filter.apart_from.contains(&span.trace_id)));
        count *= 8;
    };
    let Found { hits: mut traces, next } = query.paged(traces, newest, last);
    let mut hits: Vec<TraceHit> = traces.iter().map(|spans| found(spans)).collect();
    let (spans, summaries) = planned_once(&connection, &info, async {
        let shown = async {
            if !are_all {
                add_older(store, &connection, &filter, &mut traces).await?;
            }
            shown(store, &connection, traces.into_iter().flatten().collect()).await
        };
        future::try_join(shown, summaries(store, &connection, &hits)).await
    })
    .await?;
    complete(&mut hits, spans, summaries);
    connection.give_back();
    Ok(Found { hits, next })
}

pub(super) async fn spans(store: &TraceStore, query: &SearchQuery) -> Result<Found<SpanHit>> {
    let query = &with_trace_ids(store, query).await?;
    if query.text.is_empty() {
        let (connection, info, last) = begin(store).await?;
        let (filter, to) = (query.bounded_filter(), last.min(query.page.document));
        let spans = newest_passing(store, &connection, &info, &filter, to, query.wanted()).await?;
        let newest = newest_start(&spans);
        let Found { hits, next } = query.paged(spans, newest, last);
        let hits = shown(store, &connection, hits).await?;
        connection.give_back();
        return Ok(Found { hits: hits.into_iter().map(|(_, span)| span).collect(), next });
    }
    let Ranked { connection, documents, mut spans, newest, last } =
        ranked(store, query, PerDocument::spans(query), |_, spans| spans.len()).await?;
    spans.truncate(query.wanted());
    let Found { hits, next } = query.paged(spans, newest, last);
    let hits = scored(shown(store, &connection, hits).await?, &documents);
    end(connection);
    Ok(Found { hits: hits.into_iter().map(|(_, span)| span).collect(), next })
}

/// A connection, and the last document that there is now.
pub(super) async fn begin(store: &TraceStore) -> Result<(Connection, Arc<SchemaInfo>, i32)> {
    let (connection, info) = store.connection().await?;
    let last = last_document(store, &connection).await?;
    Ok((connection, info, last))
}

/// The last document that there is now, 0 where there is none.
pub(super) async fn last_document(store: &TraceStore, connection: &Connection) -> Result<i32> {
    let sql = format!("SELECT coalesce(max(id), 0) FROM {}.span_documents", store.sql().schema);
    let rows = connection.query_prepared(&sql, &[]).await.map_err(Error::database("searching"))?;
    rows.first().map_or(Ok(0), |row| row.column(0))
}

/// The query with phrases that are ids of traces as such: these have an index.
///
/// # Errors
/// [`Error::Input`] where it has a malformed regular expression.
pub(super) async fn with_trace_ids(store: &TraceStore, query: &SearchQuery) -> Result<SearchQuery> {
    refuse_malformed(store, &query.filter).await?;
    let mut query = query.clone();
    let ids: Vec<TraceId> = query.filter.phrases.iter().filter_map(|phrase| trace_id(phrase)).collect();
    if !ids.is_empty() {
        let sql = format!(
            "SELECT DISTINCT r.trace_id FROM {}.span_rows r WHERE {}",
            store.sql().schema,
            of_traces("$1", "$2")
        );
        let ids = TraceIds::new(ids);
        let (connection, _) = store.connection().await?;
        let rows = connection
            .query_prepared(&sql, &ids.as_parameters())
            .await
            .map_err(Error::database("looking for traces"))?;
        connection.give_back();
        let stored = rows.iter().map(|row| row.trace_id(0)).collect::<Result<Vec<_>>>()?;
        query.filter.phrases.retain(|phrase| trace_id(phrase).is_none_or(|id| !stored.contains(&id)));
        query.filter.trace_ids.extend(stored);
    }
    Ok(query)
}

/// Spans with the scores of their documents.
pub(super) fn scored(mut spans: Vec<(i32, SpanHit)>, documents: &[Document]) -> Vec<(i32, SpanHit)> {
    let mut by_id: HashMap<i32, &Document> = HashMap::with_capacity(documents.len());
    for document in documents {
        by_id.entry(document.id).or_insert(document);
    }
    for (id, span) in &mut spans {
        if let Some(document) = by_id.get(id) {
            span.score = document.score;
            span.explanation = Some(Arc::clone(&document.explanation));
        }
    }
    spans
}

/// The spans of each trace, at most so many, in the order of the traces' first spans; at most `limit` traces.
fn grouped(spans: Vec<FoundSpan>, limit: usize) -> Vec<Vec<FoundSpan>> {
    let mut traces: Vec<Vec<FoundSpan>> = Vec::new();
    let mut places: HashMap<TraceId, usize> = HashMap::new();
    for span in spans {
        match places.get(&span.trace_id) {
            Some(&at) if traces[at].len() < SPANS_PER_TRACE => traces[at].push(span),
            Some(_) => {}
            None if traces.len() < limit => {
                places.insert(span.trace_id, traces.len());
                traces.push(vec![span]);
            }
            None => {}
        }
    }
    traces
}

/// Traces that more than a sixteenth of the spans are of, and more than a trace shows.
fn large(spans: &[FoundSpan]) -> Vec<TraceId> {
    let mut counts: HashMap<TraceId, usize> = HashMap::new();
    for span in spans {
        *counts.entry(span.trace_id).or_default() += 1;
    }
    counts.retain(|_, count| *count > SPANS_PER_TRACE.max(spans.len() / 16));
    counts.into_keys().collect()
}

/// The order of traces that are not ranked: by their newest span, as spans are.
fn newest_first(spans: &[FoundSpan]) -> (Reverse<Option<Timestamp>>, [u8; 16]) {
    (Reverse(newest_start(spans)), spans.first().map_or([0; 16], |span| span.trace_id.to_bytes()))
}

/// Adds what passes of the traces and is older than what was read: a trace shows the same spans whatever the page's size is.
async fn add_older(
    store: &TraceStore,
    connection: &Connection,
    filter: &Filter,
    traces: &mut [Vec<FoundSpan>],
) -> Result<()> {
    let short = traces.iter_mut().filter(|spans| spans.len() < SPANS_PER_TRACE);
    let short: Vec<(TraceId, &mut Vec<FoundSpan>)> =
        short.filter_map(|spans| Some((spans.first()?.trace_id, spans))).collect();
    if short.is_empty() {
        return Ok(());
    }
    let of_these = Filter { trace_ids: short.iter().map(|(id, _)| *id).collect(), ..filter.clone() };
    let mut newest: HashMap<TraceId, Vec<FoundSpan>> = HashMap::new();
    for span in newest_of_each_trace(store, connection, &of_these, SPANS_PER_TRACE).await? {
        newest.entry(span.trace_id).or_default().push(span);
    }
    for (id, spans) in short {
        // Those that are gone meanwhile stay as they were found.
        if let Some(newest) = newest.remove(&id) {
            *spans = newest;
        }
    }
    Ok(())
}

/// When the newest of these spans started.
pub(super) fn newest_start(spans: &[FoundSpan]) -> Option<Timestamp> {
    spans.iter().map(|span| span.start).max()
}

/// A trace that was found by spans, of which nothing else is known yet.
fn found(spans: &[FoundSpan]) -> TraceHit {
    let first = spans.first();
    let id = first.map_or(TraceId::INVALID, |span| span.trace_id);
    TraceHit { start: first.map_or(Timestamp(0), |span| span.start), ..hit(id, 1.0) }
}

/// A trace of which nothing else is known yet.
fn hit(trace_id: TraceId, score: f64) -> TraceHit {
    TraceHit {
        trace_id,
        score,
        root_service: String::new(),
        root_name: String::new(),
        start: Timestamp(0),
        duration: Duration::ZERO,
        span_count: 0,
        error_count: 0,
        spans: Vec::new(),
    }
}

/// Traces with these scores, in this order.
pub(super) async fn summarized(
    store: &TraceStore,
    connection: &Connection,
    scores: Vec<(TraceId, f64)>,
) -> Result<Vec<TraceHit>> {
    let mut hits: Vec<TraceHit> = scores.into_iter().map(|(id, score)| hit(id, score)).collect();
    let summaries = summaries(store, connection, &hits).await?;
    complete(&mut hits, Vec::new(), summaries);
    Ok(hits)
}
