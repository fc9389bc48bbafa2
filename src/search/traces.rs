//! From ranked documents, or conditions alone, to traces and spans.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::{SpanId, TraceId};
use uuid::Uuid;

use super::candidates::near;
use super::compare::{self, Begun};
use super::compared::Reach;
use super::conditions::{asks_documents, asks_each_row};
use super::query::{Found, Page, SearchQuery, trace_id};
use super::rank::nearest;
use super::recent::newest_of_documents;
use super::score::Document;
use super::spans::{Documents, newest, newest_of_all, newest_of_traces};
use super::{SpanHit, TraceHit};
use crate::error::{Error, Result};
use crate::span::Timestamp;
use crate::store::{Connection, Microseconds, TraceStore};

/// How many spans of one document are looked at, at least; twice as many as a page has results, when that is more.
const SPANS_PER_DOCUMENT: usize = 20;
/// The most matched spans that a trace shows.
const SPANS_PER_TRACE: usize = 5;
/// How many documents' spans are read at a time: as a rule the best ones are enough.
const DOCUMENTS: usize = 40;
/// How many at first, where each of their rows has to be looked at; then twice as many.
const FILTERED_DOCUMENTS: usize = 10;
/// The most spans that are read for one page.
pub(super) const MAX_SPANS: usize = 1_000_000;

pub(super) async fn traces(store: &TraceStore, query: &SearchQuery) -> Result<Found<TraceHit>> {
    let (mut connection, last) = begin(store).await?;
    let query = &with_trace_ids(store, &connection, query).await?;
    let mut reach = query.page.reach;
    let (mut hits, places) = if query.text.is_empty() {
        // Some traces have many spans that pass: it takes more spans until there are enough traces.
        let mut count = query.wanted() * 4;
        loop {
            let spans = by_conditions(store, &connection, query, count).await?;
            let all = spans.len() < count || count >= MAX_SPANS;
            let traces = grouped(spans.into_iter().map(|(_, span)| span), query.wanted());
            if all || traces.0.len() >= query.wanted() {
                break traces;
            }
            count *= 8;
        }
    } else {
        let traces = |_: &[Document], spans: &[(i32, SpanHit)]| {
            spans.iter().map(|(_, span)| span.trace_id).collect::<HashSet<TraceId>>().len()
        };
        let ranked = ranked(store, connection, query, last, per_document(query), traces).await?;
        (connection, reach) = (ranked.connection, ranked.reach);
        grouped(ranked.spans.into_iter().map(|(_, span)| span), query.wanted())
    };
    summarize(store, &connection, &mut hits, &places).await?;
    end(connection, query).await?;
    Ok(query.paged(hits, last, reach))
}

pub(super) async fn spans(store: &TraceStore, query: &SearchQuery) -> Result<Found<SpanHit>> {
    let (mut connection, last) = begin(store).await?;
    let query = &with_trace_ids(store, &connection, query).await?;
    let mut reach = query.page.reach;
    let spans = if query.text.is_empty() {
        by_conditions(store, &connection, query, query.wanted()).await?
    } else {
        let ranked =
            ranked(store, connection, query, last, per_document(query), |_, spans| spans.len()).await?;
        (connection, reach) = (ranked.connection, ranked.reach);
        ranked.spans
    };
    end(connection, query).await?;
    Ok(query.paged(spans.into_iter().map(|(_, span)| span).take(query.wanted()).collect(), last, reach))
}

/// A connection, and the last document that there is now.
pub(super) async fn begin(store: &TraceStore) -> Result<(Connection, i32)> {
    let (connection, _) = store.connection().await?;
    let sql = format!("SELECT coalesce(max(id), 0) FROM {}.span_documents", store.sql().schema);
    let rows = connection.query_prepared(&sql, &[]).await.map_err(Error::database("searching"))?;
    Ok((connection, rows.first().map_or(0, |row| row.get(0))))
}

/// The query with phrases that are ids of traces as such: these have an index.
pub(super) async fn with_trace_ids(
    store: &TraceStore,
    connection: &Connection,
    query: &SearchQuery,
) -> Result<SearchQuery> {
    let mut query = query.clone();
    let ids: Vec<TraceId> = query.filter.phrases.iter().filter_map(|phrase| trace_id(phrase)).collect();
    if !ids.is_empty() {
        let sql = format!(
            "SELECT DISTINCT trace_id FROM {}.span_rows \
             WHERE encode(uuid_send(trace_id), 'hex') COLLATE \"C\" = ANY($1)",
            store.sql().schema
        );
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let rows =
            connection.query_prepared(&sql, &[&ids]).await.map_err(Error::database("looking for traces"))?;
        let stored: Vec<TraceId> =
            rows.iter().map(|row| TraceId::from_bytes(row.get::<_, Uuid>(0).into_bytes())).collect();
        query.filter.phrases.retain(|phrase| trace_id(phrase).is_none_or(|id| !stored.contains(&id)));
        query.filter.trace_ids.extend(stored);
    }
    Ok(query)
}

/// What was found by a query's text.
pub(super) struct Ranked {
    /// In a transaction.
    pub connection: Connection,
    /// The documents' newest spans, of the best document first.
    pub spans: Vec<(i32, SpanHit)>,
    /// How the first page was found.
    pub reach: Reach,
}

fn per_document(query: &SearchQuery) -> usize {
    SPANS_PER_DOCUMENT.max(2 * query.wanted_first())
}

/// The newest spans of the documents that fit the query's text, until `count` of them is as many as results are wanted; `last`
/// is the last document. It takes a connection and gives another, so that a search needs one at a time.
///
/// Where the best documents have too few, a first page begins again among all. A later page adds what they have: what
/// the pages before it showed stays in its place.
pub(super) async fn ranked(
    store: &TraceStore,
    mut connection: Connection,
    query: &SearchQuery,
    last: i32,
    per_document: usize,
    count: impl Fn(&[Document], &[(i32, SpanHit)]) -> usize,
) -> Result<Ranked> {
    let is_first = query.page == Page::FIRST;
    let mut reach = if is_first { Reach::first(&query.filter) } else { query.page.reach };
    let (mut documents, mut spans) = (Vec::new(), Vec::new());
    loop {
        connection.give_back();
        let begun = compare::begin(store, query, reach).await?;
        let nearest = nearest(store, &begun, query, reach).await?;
        add(&mut spans, of_documents(store, &begun, &nearest, query, per_document, &count).await?);
        documents.extend(nearest);
        let enough = count(&documents, &spans) >= query.wanted();
        connection = begun.connection;
        if enough || !reach.is_short(&query.bounded_filter(), &begun.passing, last, near(query)) {
            let reach = if is_first { reach } else { query.page.reach };
            return Ok(Ranked { connection, spans, reach });
        }
        end_transaction(&connection).await?;
        reach = Reach::Rows;
        if is_first {
            (documents, spans) = (Vec::new(), Vec::new());
        }
    }
}

/// Adds those spans that are not there yet.
fn add(spans: &mut Vec<(i32, SpanHit)>, more: Vec<(i32, SpanHit)>) {
    let mut seen: HashSet<(TraceId, SpanId)> =
        spans.iter().map(|(_, span)| (span.trace_id, span.span_id)).collect();
    spans.extend(more.into_iter().filter(|(_, span)| seen.insert((span.trace_id, span.span_id))));
}

/// Gives back the connection of a search, which is in a transaction where the query has a text.
pub(super) async fn end(connection: Connection, query: &SearchQuery) -> Result<()> {
    if !query.text.is_empty() {
        end_transaction(&connection).await?;
    }
    connection.give_back();
    Ok(())
}

async fn end_transaction(connection: &Connection) -> Result<()> {
    connection.batch_execute("COMMIT").await.map_err(Error::database("searching documents"))
}

/// The newest spans that pass the conditions.
pub(super) async fn by_conditions(
    store: &TraceStore,
    connection: &Connection,
    query: &SearchQuery,
    count: usize,
) -> Result<Vec<(i32, SpanHit)>> {
    let filter = query.bounded_filter();
    if !filter.trace_ids.is_empty() {
        return newest_of_traces(store, connection, &filter, count).await;
    }
    if !asks_documents(&filter) {
        return newest_of_all(store, connection, &filter, count).await;
    }
    newest(store, connection, &Documents::All(query.page.document), &filter, count, count).await
}

/// The newest spans of ranked documents that pass the conditions, with the documents' scores, until `count` of them is as many
/// as results are wanted: of the best documents first. When they are through, it is their next older spans, for later pages.
async fn of_documents(
    store: &TraceStore,
    begun: &Begun,
    documents: &[Document],
    query: &SearchQuery,
    mut per_document: usize,
    count: impl Fn(&[Document], &[(i32, SpanHit)]) -> usize,
) -> Result<Vec<(i32, SpanHit)>> {
    let filter = query.bounded_filter();
    let most = DOCUMENTS.max(2 * query.wanted());
    let mut spans = Vec::new();
    loop {
        let mut size = if asks_each_row(&filter) { FILTERED_DOCUMENTS } else { most };
        let mut left = documents;
        while !left.is_empty() && count(documents, &spans) < query.wanted() {
            let (now, later) = left.split_at(size.min(left.len()));
            let ids = now.iter().map(|document| document.id).collect();
            let Begun { connection, newest_root, .. } = begun;
            let found =
                newest_of_documents(store, connection, ids, &filter, *newest_root, per_document).await?;
            add(&mut spans, scored(found, now));
            (left, size) = (later, (2 * size).min(most));
        }
        // One span of each is enough where they are operations.
        if count(documents, &spans) >= query.wanted()
            || per_document == 1
            || per_document >= 2 * query.wanted()
        {
            return Ok(spans);
        }
        per_document *= 8;
    }
}

fn scored(mut spans: Vec<(i32, SpanHit)>, documents: &[Document]) -> Vec<(i32, SpanHit)> {
    let by_id: HashMap<i32, &Document> = documents.iter().map(|document| (document.id, document)).collect();
    for (id, span) in &mut spans {
        if let Some(document) = by_id.get(id) {
            span.score = document.score;
            span.explanation = Some(Arc::clone(&document.explanation));
        }
    }
    spans
}

/// Traces in the order of their first spans, at most so many, and where each is.
fn grouped(spans: impl Iterator<Item = SpanHit>, limit: usize) -> (Vec<TraceHit>, HashMap<TraceId, usize>) {
    let mut hits: Vec<TraceHit> = Vec::new();
    let mut places: HashMap<TraceId, usize> = HashMap::new();
    for span in spans {
        match places.get(&span.trace_id) {
            Some(&at) if hits[at].spans.len() < SPANS_PER_TRACE => hits[at].spans.push(span),
            Some(_) => {}
            None if hits.len() < limit => {
                places.insert(span.trace_id, hits.len());
                hits.push(TraceHit {
                    start: span.start,
                    spans: vec![span.clone()],
                    ..hit(span.trace_id, span.score)
                });
            }
            None => {}
        }
    }
    (hits, places)
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
    let places = scores.iter().enumerate().map(|(at, (id, _))| (*id, at)).collect();
    let mut hits: Vec<TraceHit> = scores.into_iter().map(|(id, score)| hit(id, score)).collect();
    summarize(store, connection, &mut hits, &places).await?;
    Ok(hits)
}

/// Adds root, times and counts to the traces found.
async fn summarize(
    store: &TraceStore,
    connection: &Connection,
    hits: &mut [TraceHit],
    places: &HashMap<TraceId, usize>,
) -> Result<()> {
    let tables = &store.sql().schema;
    let sql = format!(
        "SELECT DISTINCT ON (r.trace_id) r.trace_id, d.service, {tables}.span_body(d.body, r.fillers) ->> 'name', \
                min(r.start_time) OVER whole, \
                extract(epoch FROM max(r.start_time + make_interval(secs => r.duration_ns / 1e9)) OVER whole \
                                   - min(r.start_time) OVER whole)::float8, \
                count(*) OVER whole, count(*) FILTER (WHERE d.status_code = 2) OVER whole \
         FROM {tables}.span_rows r JOIN {tables}.span_documents d ON d.id = r.document_id \
         WHERE encode(uuid_send(r.trace_id), 'hex') COLLATE \"C\" = ANY($1) AND r.trace_id = ANY($1::text[]::uuid[]) \
         WINDOW whole AS (PARTITION BY r.trace_id) \
         ORDER BY r.trace_id, r.parent_span_id <> 0, r.start_time, r.start_ns"
    );
    let doing = || Error::database("summarizing traces");
    let ids: Vec<String> = hits.iter().map(|hit| hit.trace_id.to_string()).collect();
    for row in connection.query_prepared(&sql, &[&ids]).await.map_err(doing())? {
        let trace_id = TraceId::from_bytes(row.get::<_, Uuid>(0).into_bytes());
        let Some(hit) = places.get(&trace_id).and_then(|&at| hits.get_mut(at)) else { continue };
        hit.root_service = row.get(1);
        hit.root_name = row.get::<_, Option<String>>(2).unwrap_or_default();
        hit.start = Timestamp(i128::from(row.get::<_, Microseconds>(3).0) * 1000);
        // Clocks that are wrong by thousands of years make a duration that is not worth an error.
        hit.duration = Duration::try_from_secs_f64(row.get(4)).unwrap_or_default();
        hit.span_count = row.get::<_, i64>(5) as u64;
        hit.error_count = row.get::<_, i64>(6) as u64;
    }
    Ok(())
}
