//! The newest spans that pass a filter: where many documents pass, by time.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use opentelemetry::trace::TraceId;

use super::conditions::{Parameters, asks_documents, asks_each_row, columns, on_documents, on_rows, within};
use super::filter::Filter;
use super::held::{Held, held};
use super::recent::{newest_root, newest_roots};
use super::spans::{
    COLUMNS, Documents, FoundSpan, NEWEST_FIRST, newest, newest_of_traces, read, read_once, reading,
};
use crate::error::Result;
use crate::store::{Columns, Connection, SchemaInfo, TraceStore};

/// Up to so many documents have their rows read by the index on documents, which takes a look for each partition.
const FEW: usize = 200;
/// The first period that is read, at least.
const FIRST: Duration = Duration::from_secs(1);
/// What is older than so long periods is read at once.
const LONGEST: Duration = Duration::from_secs(400 * 24 * 3600);
/// A row's document is looked up for each row of a period until a period takes so long, or so long for each document that
/// there is: a fourth of reading all documents, since the next period is four times as long.
const PATIENCE: Duration = Duration::from_millis(50);
const PATIENCE_PER_DOCUMENT: Duration = Duration::from_nanos(500);

/// The newest spans of documents up to `last` that pass the filter, at most `limit`.
pub(super) async fn newest_passing(
    store: &TraceStore,
    connection: &Connection,
    info: &SchemaInfo,
    filter: &Filter,
    last: i32,
    limit: usize,
) -> Result<Vec<FoundSpan>> {
    if !filter.trace_ids.is_empty() {
        return newest_of_traces(store, connection, filter, limit).await;
    }
    let few = few(store, connection, filter, last).await?;
    let of_documents = async |filter: &Filter, limit| {
        newest(store, connection, &Documents::All(last), filter, limit, limit).await
    };
    // Most rows of a document that may have an operation's name have it.
    let asked = Filter { operation: None, ..filter.clone() };
    if few.is_some() && !asks_each_row(&asked) {
        return of_documents(filter, limit).await;
    }
    let held = match few {
        None if !info.distributed => held(store, connection, filter, last).await?,
        _ => None,
    };
    let patience = PATIENCE.max(PATIENCE_PER_DOCUMENT.saturating_mul(last.max(0).unsigned_abs()));
    let by_time = ByTime { store, connection, info, filter, last, few: few.as_deref(), held, patience };
    let (mut spans, left) = by_time.newest(limit).await?;
    if let Some(older) = left {
        spans.extend(of_documents(&older, limit - spans.len()).await?);
    }
    Ok(spans)
}

/// The same, and more that are of other traces, until they are of `traces` traces or there are no more to be had.
pub(super) async fn newest_of_several_traces(
    store: &TraceStore,
    connection: &Connection,
    info: &SchemaInfo,
    filter: &Filter,
    last: i32,
    (limit, traces): (usize, usize),
) -> Result<Vec<FoundSpan>> {
    let (mut all, mut seen): (Vec<FoundSpan>, HashSet<TraceId>) = Default::default();
    for limit in [limit, 4 * limit, 16 * limit] {
        let filter = Filter { apart_from: seen.iter().copied().collect(), ..filter.clone() };
        let spans = newest_passing(store, connection, info, &filter, last, limit).await?;
        let is_all = spans.len() < limit;
        seen.extend(spans.iter().map(|span| span.trace_id));
        all.extend(spans);
        if is_all || seen.len() >= traces {
            break;
        }
    }
    Ok(all)
}

/// The documents that may pass, where they are few.
pub(super) async fn few(
    store: &TraceStore,
    connection: &Connection,
    filter: &Filter,
    last: i32,
) -> Result<Option<Vec<i32>>> {
    // Of phrases only rows tell.
    if !asks_documents(&Filter { phrases: Vec::new(), ..filter.clone() }) {
        return Ok(None);
    }
    let schema = &store.sql().schema;
    let mut parameters = Parameters::default();
    let sql = format!(
        "SELECT d.id FROM {schema}.span_documents d WHERE {} AND d.id <= {} LIMIT {}",
        on_documents(filter, schema, &mut parameters),
        parameters.bind(last),
        FEW + 1
    );
    let rows = connection.query_prepared(&sql, &parameters.as_slice()).await.map_err(reading(filter))?;
    (rows.len() <= FEW).then(|| rows.iter().map(|row| row.column(0)).collect()).transpose()
}

struct ByTime<'a> {
    store: &'a TraceStore,
    connection: &'a Connection,
    info: &'a SchemaInfo,
    filter: &'a Filter,
    last: i32,
    few: Option<&'a [i32]>,
    held: Option<Held>,
    patience: Duration,
}

impl ByTime<'_> {
    /// The newest spans, by ever longer periods back from the newest root, and what is left to be read of the few documents.
    ///
    /// Where a period has no spans, the next one ends at the newest root that is left, so that one wrong clock does not lead
    /// to reading everything.
    async fn newest(&self, limit: usize) -> Result<(Vec<FoundSpan>, Option<Filter>)> {
        let newest_root = async |until| {
            newest_root(self.store, self.connection, &Filter { until, ..self.filter.clone() }).await
        };
        let (mut until, mut length, mut spans) = (self.filter.until, FIRST, Vec::new());
        let (mut root, spread) = match self.info.distributed {
            true => (newest_root(until).await?, None),
            false => {
                let roots = newest_roots(self.store, self.connection, self.filter).await?;
                roots.map_or((None, None), |roots| (Some(roots.newest), roots.spread))
            }
        };
        let mut dense = None;
        // Of a clock that is years ahead nothing is to be learned.
        if let Some(spread) = spread.filter(|spread| spread.all < LONGEST) {
            (length, dense) = (spread.all.max(FIRST), Some(spread.dense.max(FIRST)));
        }
        let mut row_by_row = !self.info.distributed;
        loop {
            let since = root.and_then(|root| root.checked_sub(length)).filter(|_| length < LONGEST);
            let since = since.filter(|since| self.filter.since.is_none_or(|given| given < *since));
            let period = Filter { since: since.or(self.filter.since), until, ..self.filter.clone() };
            if self.few.is_some() && !row_by_row {
                return Ok((spans, Some(Filter { since: self.filter.since, ..period })));
            }
            let begun = Instant::now();
            let known = spans.len();
            spans.extend(self.of_period(&period, row_by_row, limit - known).await?);
            let found = spans.len() - known;
            if spans.len() >= limit || since.is_none() {
                return Ok((spans, None));
            }
            (root, until) = (since, since);
            if found == 0 {
                root = newest_root(until).await?;
            }
            let spent = begun.elapsed();
            row_by_row &= spent < self.patience;
            // Going on in small steps saves reading too much, where a step takes any time.
            let most = if row_by_row && spent * 16 > self.patience { 4.0 } else { 16.0 };
            // As many as are missing, if they lie as dense as the last ones, and a fourth more.
            let missing = 1.25 * (limit - spans.len()) as f64 / found as f64;
            length = dense.take().unwrap_or(length).mul_f64(missing.clamp(0.25, most));
        }
    }

    /// The newest spans of a period.
    ///
    /// Where few rows may pass, these are read first, then their documents. Otherwise row by row, the newest first, it ends as
    /// soon as there are enough, but looks for the document of each row; or the documents are read once, which is more than a
    /// short period has rows.
    async fn of_period(&self, filter: &Filter, row_by_row: bool, limit: usize) -> Result<Vec<FoundSpan>> {
        let schema = &self.store.sql().schema;
        let mut parameters = Parameters::default();
        let found = match &self.held {
            Some(held) => held.select(COLUMNS, filter, self.last, schema, &mut parameters),
            None if row_by_row || self.info.distributed => self.select(filter, row_by_row, &mut parameters),
            // Fenced, since for a few of many rows the planner would compare each row with each document.
            None => {
                let found = self.select(filter, row_by_row, &mut parameters);
                format!("SELECT {COLUMNS} FROM ({found} OFFSET 0) AS r")
            }
        };
        let sql = format!("{found} ORDER BY {NEWEST_FIRST} LIMIT {}", parameters.bind(limit as i64));
        match row_by_row {
            true => read(self.connection, &sql, filter, &parameters).await,
            // Planned by its period, however long planning takes.
            false => read_once(self.connection, &sql, filter, &parameters).await,
        }
    }

    /// A query for the spans of a period, by the documents of its rows.
    fn select(&self, filter: &Filter, row_by_row: bool, parameters: &mut Parameters) -> String {
        let schema = &self.store.sql().schema;
        let columns = columns(filter, parameters);
        let documents = on_documents(filter, schema, parameters);
        let period = within(filter, parameters);
        let rows = on_rows(filter, schema, parameters);
        let few = match self.few {
            None => String::new(),
            Some(few) => format!(" AND r.document_id = ANY({}::integer[])", parameters.bind(few.to_vec())),
        };
        let last = parameters.bind(self.last);
        let documents = format!(
            "SELECT d.*{columns} FROM {schema}.span_documents d WHERE d.id <= {last} AND {documents}"
        );
        // Citus sends fenced documents around, and needs them so for what is asked of rows.
        let is_sent = asks_documents(filter) || asks_each_row(filter);
        let fence = if self.info.distributed && !is_sent { "" } else { " OFFSET 0" };
        let documents = match row_by_row {
            true => format!("CROSS JOIN LATERAL ({documents} AND d.id = r.document_id{fence}) AS d"),
            false => format!("JOIN ({documents}{fence}) AS d ON d.id = r.document_id"),
        };
        format!("SELECT {COLUMNS} FROM {schema}.span_rows r {documents} WHERE {period}{few} AND {rows}")
    }
}
