//! The newest spans of ranked documents: those of the last days first, which a partition or two hold.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use tokio_postgres::Row;

use super::conditions::{Parameters, asks_each_row, within};
use super::filter::Filter;
use super::spans::{Documents, FoundSpan, newest, reading};
use super::traces::MAX_SPANS;
use crate::error::Result;
use crate::span::Timestamp;
use crate::store::{Columns, Connection, Microseconds, TraceStore};

/// How far back from the newest trace spans are looked for at first. What is found there needs no look into the index of
/// every older partition.
const RECENT: Duration = Duration::from_secs(2 * 24 * 3600);
/// How many of the newest traces tell how far back spans are read at first, and how many rows that may be.
const ROOTS: u32 = 20;
const ROWS: u64 = 10_000;

/// When the newest trace in a filter's period started, by the index on roots; `None` where there is none.
pub(super) async fn newest_root(
    store: &TraceStore,
    connection: &Connection,
    filter: &Filter,
) -> Result<Option<SystemTime>> {
    let mut parameters = Parameters::default();
    let sql = format!(
        "SELECT max(r.start_time) FROM {}.span_rows r WHERE r.parent_span_id = 0 AND {}",
        store.sql().schema,
        within(filter, &mut parameters)
    );
    let rows = connection.query_prepared(&sql, &parameters.as_slice()).await.map_err(reading(filter))?;
    rows.first().map_or(Ok(None), |row| time(row, 0))
}

/// The newest traces of a period.
pub(super) struct Roots {
    /// When the newest one started.
    pub newest: SystemTime,
    /// How they lie in time; `None` where they are few, or where too many rows started meanwhile.
    pub spread: Option<Spread>,
}

/// How [`ROOTS`] traces lie in time.
pub(super) struct Spread {
    /// From the start of the oldest one to that of the newest.
    pub all: Duration,
    /// Twice as long as the older half of them took: some clocks may be ahead.
    pub dense: Duration,
}

/// The newest traces of a filter's period; `None` where there is none.
pub(super) async fn newest_roots(
    store: &TraceStore,
    connection: &Connection,
    filter: &Filter,
) -> Result<Option<Roots>> {
    let mut parameters = Parameters::default();
    let (schema, period) = (&store.sql().schema, within(filter, &mut parameters));
    let sql = format!(
        "WITH roots AS MATERIALIZED ( \
             SELECT r.start_time FROM {schema}.span_rows r WHERE r.parent_span_id = 0 AND {period} \
             ORDER BY r.start_time DESC LIMIT {ROOTS}), \
         ends AS MATERIALIZED (SELECT max(start_time) AS newest, min(start_time) AS oldest FROM roots) \
         SELECT newest, (SELECT start_time FROM roots ORDER BY start_time OFFSET {ROOTS} / 2 LIMIT 1), oldest, \
             (SELECT count(*) FROM ( \
                 SELECT FROM {schema}.span_rows r \
                 WHERE r.start_time BETWEEN (SELECT oldest FROM ends) AND (SELECT newest FROM ends) \
                 LIMIT {ROWS} + 1) AS rows) FROM ends"
    );
    let rows = connection.query_prepared(&sql, &parameters.as_slice()).await.map_err(reading(filter))?;
    let Some(row) = rows.first() else { return Ok(None) };
    let (Some(newest), middle, Some(oldest)) = (time(row, 0)?, time(row, 1)?, time(row, 2)?) else {
        return Ok(None);
    };
    let since_oldest = |time: SystemTime| time.duration_since(oldest).unwrap_or_default();
    let is_little = row.count(3)? <= ROWS;
    let spread = middle
        .filter(|_| is_little)
        .map(|middle| Spread { all: since_oldest(newest), dense: 2 * since_oldest(middle) });
    Ok(Some(Roots { newest, spread }))
}

fn time(row: &Row, at: usize) -> Result<Option<SystemTime>> {
    let time = row.column::<Option<Microseconds>>(at)?;
    Ok(time.and_then(|time| Timestamp(i128::from(time.0) * 1000).to_system_time()))
}

/// The newest spans of documents that pass the filter, at most `per_document` of each, in the order of the documents.
/// `newest_root` is that of the filter.
pub(super) async fn newest_of_documents(
    store: &TraceStore,
    connection: &Connection,
    ids: Vec<i32>,
    filter: &Filter,
    newest_root: Option<SystemTime>,
    per_document: usize,
) -> Result<Vec<FoundSpan>> {
    let read = async |ids: Vec<i32>, filter: &Filter| {
        newest(store, connection, &Documents::Ranked(ids), filter, per_document, MAX_SPANS).await
    };
    // Where each row is asked something, the last days seldom have enough that pass.
    let newest_root = newest_root.filter(|_| !asks_each_row(filter));
    let bound = newest_root.and_then(|newest| newest.checked_sub(RECENT));
    let Some(bound) = bound.filter(|bound| filter.since.is_none_or(|since| since < *bound)) else {
        return read(ids, filter).await;
    };
    let (recent, older) = (filter.clone().since(bound), filter.clone().until(bound));
    let mut found: HashMap<i32, Vec<FoundSpan>> = HashMap::new();
    for span in read(ids.clone(), &recent).await? {
        found.entry(span.document).or_default().push(span);
    }
    let is_short = |id: &&i32| found.get(id).is_none_or(|spans| spans.len() < per_document);
    let short: Vec<i32> = ids.iter().filter(is_short).copied().collect();
    if !short.is_empty() {
        for span in read(short, &older).await? {
            let spans = found.entry(span.document).or_default();
            if spans.len() < per_document {
                spans.push(span);
            }
        }
    }
    Ok(ids.into_iter().flat_map(|id| found.remove(&id).unwrap_or_default()).collect())
}
