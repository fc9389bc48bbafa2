//! Traces that were found, by one look at all their rows: root, times and counts, and the spans that match.

use std::collections::HashMap;
use std::time::Duration;

use opentelemetry::trace::TraceId;
use tokio_postgres::Row;

use super::conditions::{Parameters, columns, on_rows, within};
use super::filter::Filter;
use super::spans::{COLUMNS, SHOWN, found, reading, span_hit};
use super::summary::{START, nanoseconds};
use super::{SpanHit, TraceHit};
use crate::error::{Error, Result};
use crate::span::Timestamp;
use crate::store::{Columns, Connection, TraceIds, TraceStore, of_traces};

/// Which spans of a trace match: those of the first documents, the newest of each first.
pub(super) struct Best<'a> {
    /// The documents, the best first.
    pub documents: Vec<i32>,
    /// What the spans have to pass.
    pub filter: &'a Filter,
    /// How many of a trace are wanted at most.
    pub per_trace: usize,
}

/// What all spans of a trace tell.
pub(super) struct Summary {
    root_service: String,
    root_name: String,
    start: Timestamp,
    duration: Duration,
    span_count: u64,
    error_count: u64,
}

/// Summaries of traces, of which no spans are looked for.
pub(super) async fn summaries(
    store: &TraceStore,
    connection: &Connection,
    traces: &[TraceHit],
) -> Result<HashMap<TraceId, Summary>> {
    let ids = TraceIds::new(traces.iter().map(|trace| trace.trace_id));
    let sql = format!(
        "SELECT w.trace_id, d.service, {schema}.span_body(d.body, f.fillers) ->> 'name', \
                trunc(w.first_start)::text, trunc(w.last_end)::text, w.spans, w.errors \
         FROM (SELECT r.trace_id, min({START}) AS first_start, max({START} + r.duration_ns) AS last_end, \
                      count(*) AS spans, count(*) FILTER (WHERE d.status_code = 2) AS errors \
               FROM {schema}.span_rows r JOIN {schema}.span_documents d ON d.id = r.document_id \
               WHERE {of_traces} GROUP BY r.trace_id) AS w \
         JOIN (SELECT DISTINCT ON (trace_id) trace_id, document_id, fillers \
               FROM {schema}.span_rows WHERE {of_traces} \
               ORDER BY trace_id, parent_span_id <> 0, start_time, start_ns) AS f ON f.trace_id = w.trace_id \
         JOIN {schema}.span_documents d ON d.id = f.document_id",
        schema = store.sql().schema,
        of_traces = of_traces("$1", "$2"),
    );
    let rows = connection
        .query_prepared(&sql, &ids.as_parameters())
        .await
        .map_err(Error::database("summarizing traces"))?;
    rows.iter()
        .map(|row| {
            let root_name = row.column::<Option<String>>(2)?.unwrap_or_default();
            Ok((row.trace_id(0)?, summary(row.column(1)?, root_name, row, 3)?))
        })
        .collect()
}

/// Summaries of traces, and their spans that match, the best of each trace first, with their documents.
pub(super) async fn whole(
    store: &TraceStore,
    connection: &Connection,
    traces: &[TraceHit],
    Best { documents, filter, per_trace }: Best<'_>,
) -> Result<(HashMap<TraceId, Summary>, Vec<(i32, SpanHit)>)> {
    let schema = &store.sql().schema;
    let mut parameters = Parameters::default();
    let TraceIds { text, ids } = TraceIds::new(traces.iter().map(|trace| trace.trace_id));
    let of_traces = of_traces(&parameters.bind(text), &parameters.bind(ids));
    let columns = columns(filter, &mut parameters);
    let place = format!("array_position({}::integer[], r.document_id)", parameters.bind(documents));
    let (rows, period) = (on_rows(filter, schema, &mut parameters), within(filter, &mut parameters));
    let place = format!("CASE WHEN {place} IS NOT NULL AND {period} AND {rows} THEN {place} END");
    // Only the root and what is shown are decoded.
    let sql = format!(
        "SELECT {COLUMNS}, {SHOWN}, r.is_root, r.is_best, \
                trunc(r.first_start)::text, trunc(r.last_end)::text, r.spans, r.errors \
         FROM (SELECT r.*, r.place IS NOT NULL AND r.number <= {per_trace} AS is_best, \
                      d.service, d.status_code, {schema}.span_body(d.body, r.fillers) AS decoded \
               FROM (SELECT r.*, \
                         row_number() OVER (PARTITION BY r.trace_id \
                                            ORDER BY r.place, r.start_time DESC, r.start_ns DESC) AS number, \
                         row_number() OVER (PARTITION BY r.trace_id \
                                            ORDER BY r.parent_span_id <> 0, r.start_time, r.start_ns) = 1 AS is_root, \
                         min({START}) OVER whole AS first_start, max({START} + r.duration_ns) OVER whole AS last_end, \
                         count(*) OVER whole AS spans, count(*) FILTER (WHERE r.failed) OVER whole AS errors \
                     FROM (SELECT r.*, d.status_code = 2 AS failed, {place} AS place \
                           FROM {schema}.span_rows r \
                           JOIN (SELECT d.*{columns} FROM {schema}.span_documents d) AS d ON d.id = r.document_id \
                           WHERE {of_traces}) AS r \
                     WINDOW whole AS (PARTITION BY r.trace_id)) AS r \
               JOIN {schema}.span_documents d ON d.id = r.document_id) AS r \
         WHERE r.is_root OR r.is_best ORDER BY r.trace_id, r.number",
        per_trace = parameters.bind(per_trace as i64),
    );
    let rows = connection.query_prepared(&sql, &parameters.as_slice()).await.map_err(reading(filter))?;
    let (mut summaries, mut spans) = (HashMap::with_capacity(traces.len()), Vec::new());
    for row in &rows {
        let span = found(row)?;
        let hit = span_hit(&span, row, 7)?;
        if row.column(11)? {
            summaries.insert(span.trace_id, summary(hit.service.clone(), hit.name.clone(), row, 13)?);
        }
        if row.column(12)? {
            spans.push((span.document, hit));
        }
    }
    Ok((summaries, spans))
}

/// What a row tells of its trace from this column on: first start, last end, spans, errors.
fn summary(root_service: String, root_name: String, row: &Row, at: usize) -> Result<Summary> {
    let (start, end) = (nanoseconds(row, at)?, nanoseconds(row, at + 1)?);
    Ok(Summary {
        root_service,
        root_name,
        start,
        duration: between(start, end),
        span_count: row.count(at + 2)?,
        error_count: row.count(at + 3)?,
    })
}

/// How long it is from a time to a later one, which may be more than 2^64 nanoseconds where clocks are wrong.
fn between(start: Timestamp, end: Timestamp) -> Duration {
    let nanoseconds = (end.0 - start.0).max(0);
    let seconds = u64::try_from(nanoseconds / 1_000_000_000).unwrap_or(u64::MAX);
    Duration::new(seconds, (nanoseconds % 1_000_000_000) as u32)
}

/// Adds their spans to traces, of which the first has the trace's score, and root, times and counts.
pub(super) fn complete(
    hits: &mut [TraceHit],
    spans: Vec<(i32, SpanHit)>,
    mut summaries: HashMap<TraceId, Summary>,
) {
    let places: HashMap<TraceId, usize> =
        hits.iter().enumerate().map(|(at, hit)| (hit.trace_id, at)).collect();
    for (_, span) in spans {
        let Some(hit) = places.get(&span.trace_id).and_then(|&at| hits.get_mut(at)) else { continue };
        if hit.spans.is_empty() {
            hit.score = span.score;
        }
        hit.spans.push(span);
    }
    for hit in hits {
        let Some(summary) = summaries.remove(&hit.trace_id) else { continue };
        hit.root_service = summary.root_service;
        hit.root_name = summary.root_name;
        hit.start = summary.start;
        hit.duration = summary.duration;
        hit.span_count = summary.span_count;
        hit.error_count = summary.error_count;
    }
}
