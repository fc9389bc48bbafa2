//! Traces like another one: those that have the same documents.

use std::collections::{HashMap, HashSet};

use opentelemetry::trace::TraceId;

use super::TraceHit;
use super::traces::summarized;
use crate::error::{Error, Result};
use crate::store::{Columns, Connection, TraceIds, TraceStore, of_traces};

/// A trace that is like another one.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SimilarTrace {
    /// The trace; its score is the likeness, from 0 to 1 for the same documents, and its list of spans is empty.
    pub trace: TraceHit,
    /// How many documents both have.
    pub shared: usize,
    /// How many documents only the other one has.
    pub missing: usize,
    /// How many documents only this one has.
    pub additional: usize,
}

/// Rows of a document are counted up to here: what has more is common.
const COUNTED: i64 = 2_000;
/// How many of a document's newest traces are looked at, and how many traces in all.
const TRACES_PER_DOCUMENT: i64 = 100;
const MAX_TRACES: usize = 500;

impl TraceStore {
    /// Traces like this one, the most similar first, then the newest: those with the same documents, of which rare ones
    /// count more. At most `limit` (1 to 1000); empty where there is no such trace.
    ///
    /// Likeness is the weighted Jaccard index of the two sets of documents.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Database`], [`Error::Timeout`], [`Error::Schema`].
    pub async fn similar_traces(&self, trace_id: TraceId, limit: usize) -> Result<Vec<SimilarTrace>> {
        self.timed("looking for similar traces", async {
            let (connection, _) = self.connection().await?;
            let similar = similar(self, &connection, trace_id, limit.clamp(1, 1000)).await?;
            connection.give_back();
            Ok(similar)
        })
        .await
    }
}

async fn similar(
    store: &TraceStore,
    connection: &Connection,
    trace_id: TraceId,
    limit: usize,
) -> Result<Vec<SimilarTrace>> {
    let doing = || Error::database("looking for similar traces");
    let schema = &store.sql().schema;
    let id = trace_id.to_string();
    // ORDER BY around an inner LIMIT or count: see `newest`. Each part of a distributed table has its own count.
    let weigh = format!(
        "SELECT d.document_id, sum(counted)::bigint \
         FROM (SELECT DISTINCT document_id FROM {schema}.span_rows \
               WHERE encode(uuid_send(trace_id), 'hex') COLLATE \"C\" = $1 AND trace_id = $1::text::uuid) AS d \
         CROSS JOIN LATERAL (SELECT counted FROM ( \
             SELECT count(*) AS counted FROM ( \
                 SELECT FROM {schema}.span_rows o WHERE o.document_id = d.document_id LIMIT $2) AS few) AS part \
             ORDER BY counted) AS parts \
         GROUP BY d.document_id ORDER BY 2, 1"
    );
    let rows = connection.query_prepared(&weigh, &[&id, &COUNTED]).await.map_err(doing())?;
    // The rarest documents come first: their traces are the most alike.
    let rarest = rows.iter().map(|row| row.column(0)).collect::<Result<Vec<i32>>>()?;
    let counts = rows.iter().map(|row| row.column(1)).collect::<Result<Vec<i64>>>()?;
    let weights: HashMap<i32, f64> = rarest.iter().copied().zip(counts.into_iter().map(weight)).collect();
    let find = format!(
        "SELECT s.trace_id FROM unnest($1::integer[]) WITH ORDINALITY AS wanted (id, place) \
         CROSS JOIN LATERAL (SELECT * FROM ( \
             SELECT r.trace_id, r.start_time FROM {schema}.span_rows r WHERE r.document_id = wanted.id \
             ORDER BY date_bin('10 s', r.start_time, 'epoch') DESC LIMIT $2) AS r \
             ORDER BY r.start_time DESC) AS s \
         ORDER BY wanted.place"
    );
    let rows = connection.query_prepared(&find, &[&rarest, &TRACES_PER_DOCUMENT]).await.map_err(doing())?;
    let (mut candidates, mut seen) = (Vec::new(), HashSet::new());
    for row in &rows {
        let candidate = row.trace_id(0)?;
        if candidate != trace_id && candidates.len() < MAX_TRACES && seen.insert(candidate) {
            candidates.push(candidate);
        }
    }
    let documents = format!(
        "SELECT trace_id, array_agg(DISTINCT document_id), max(start_time) FROM {schema}.span_rows \
         WHERE {} GROUP BY trace_id \
         ORDER BY max(start_time) DESC",
        of_traces("$1", "$2")
    );
    let rows = connection
        .query_prepared(&documents, &TraceIds::new(candidates).as_parameters())
        .await
        .map_err(doing())?;
    let whole: f64 = weights.values().sum();
    let mut found: Vec<(f64, TraceId, [usize; 3])> = Vec::with_capacity(rows.len());
    for row in &rows {
        let documents: Vec<i32> = row.column(1)?;
        let shared: Vec<f64> =
            documents.iter().filter_map(|document| weights.get(document)).copied().collect();
        let additional = documents.len() - shared.len();
        let union = (whole + additional as f64).max(f64::MIN_POSITIVE);
        let likeness = (shared.iter().sum::<f64>() / union).min(1.0);
        found.push((likeness, row.trace_id(0)?, [shared.len(), weights.len() - shared.len(), additional]));
    }
    // Stable: among equals the newest stay first.
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    found.truncate(limit);
    let scores = found.iter().map(|(likeness, id, _)| (*id, *likeness)).collect();
    let traces = summarized(store, connection, scores).await?;
    Ok(traces
        .into_iter()
        .zip(found)
        .map(|(trace, (_, _, [shared, missing, additional]))| SimilarTrace {
            trace,
            shared,
            missing,
            additional,
        })
        .collect())
}

/// What a document counts for: 1 when it is common, up to 8 when this trace alone has it.
fn weight(rows: i64) -> f64 {
    1.0 + (COUNTED as f64 / rows.max(1) as f64).ln()
}
