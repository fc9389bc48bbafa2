//! The newest spans of ranked documents: those of the last days first, which a partition or two hold.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

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
    let newest = rows.first().map_or(Ok(None), |row| row.column::<Option<Microseconds>>(0))?;
    Ok(newest.and_then(|newest| Timestamp(i128::from(newest.0) * 1000).to_system_time()))
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
