//! Counting, in one statement.

use std::sync::Arc;
use std::time::Duration;

use super::super::by_time::few;
use super::super::compare;
use super::super::compared::Reach;
use super::super::conditions::{BIN, Parameters, asks_documents, columns, on_documents, on_rows, within};
use super::super::figures::estimated;
use super::super::filter::Filter;
use super::super::held::held;
use super::super::query::SearchQuery;
use super::super::rank::nearest;
use super::super::spans::reading;
use super::super::time::Time;
use super::CountScope;
use crate::error::{Error, Result};
use crate::span::Timestamp;
use crate::store::{Columns, Connection, SchemaInfo, TraceStore};
use tokio_postgres::Row;

/// How many documents that fit the words best have their spans counted, and how many spans of each.
const BEST: usize = 40;
const SPANS_PER_BEST: i64 = 500;
/// How many spans are counted one by one that are found by their documents. Of more, a part of the period's is.
const MOST: i64 = 20_000;
/// How many spans of a period are read as a whole; of more, about so many are drawn, of at most so many that the
/// partitions hold.
const WHOLE: f64 = 100_000.0;
const DRAWN: f64 = 40_000.0;
const DRAWN_FROM: f64 = 400_000.0;

/// What is read of a row.
const COUNTED: &str = "r.document_id, r.start_time, r.duration_ns";

/// How long the steps of time may be, in seconds, and how many there are at most.
const STEPS: [f64; 27] = [
    1e-6,
    1e-5,
    1e-4,
    1e-3,
    1e-2,
    0.1,
    0.5,
    1.0,
    2.0,
    5.0,
    10.0,
    30.0,
    60.0,
    120.0,
    300.0,
    600.0,
    1800.0,
    3600.0,
    7200.0,
    14_400.0,
    43_200.0,
    86_400.0,
    172_800.0,
    604_800.0,
    2_592_000.0,
    31_536_000.0,
    3_153_600_000.0,
];
const MAX_STEPS: i32 = 72;

/// The bounds between classes of duration.
pub(super) const CLASSES: [Duration; 6] = [
    Duration::from_millis(1),
    Duration::from_millis(10),
    Duration::from_millis(100),
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(60),
];

/// Which spans are counted.
pub(super) enum Spans {
    /// Of these documents, in a transaction of a search.
    OfBest(Connection, Vec<i32>),
    /// Of the documents that pass the conditions, or all of the period.
    Passing(Connection, Arc<SchemaInfo>),
}

impl Spans {
    pub(super) async fn of(store: &TraceStore, query: &SearchQuery, filter: &Filter) -> Result<Self> {
        if query.text.is_empty() {
            let (connection, info) = store.connection().await?;
            return Ok(Spans::Passing(connection, info));
        }
        let reach = Reach::first(filter);
        let begun = compare::begin(store, query, reach).await?;
        let documents = nearest(store, &begun, query).await?;
        let ids = documents.iter().take(BEST).map(|document| document.id).collect();
        Ok(Spans::OfBest(begun.connection, ids))
    }
}

pub(super) async fn count(
    store: &TraceStore,
    spans: Spans,
    filter: &Filter,
) -> Result<(Vec<Row>, CountScope)> {
    match spans {
        Spans::OfBest(connection, ids) => {
            let mut parameters = Parameters::default();
            let counted = of_documents(store, filter, Some(ids), &mut parameters);
            let rows = run(store, &connection, filter, &counted, parameters).await?;
            connection.batch_execute("COMMIT").await.map_err(Error::database("counting spans"))?;
            connection.give_back();
            Ok((rows, CountScope::Best))
        }
        Spans::Passing(connection, info) => {
            let passing = passing(store, &connection, &info, filter).await?;
            connection.give_back();
            Ok(passing)
        }
    }
}

async fn passing(
    store: &TraceStore,
    connection: &Connection,
    info: &SchemaInfo,
    filter: &Filter,
) -> Result<(Vec<Row>, CountScope)> {
    if asks_documents(filter) && filter.trace_ids.is_empty() {
        let held = match few(store, connection, filter, i32::MAX).await? {
            None if !info.distributed => held(store, connection, filter, i32::MAX).await?,
            _ => None,
        };
        let mut parameters = Parameters::default();
        let counted = match held {
            Some(held) => {
                let rows = held.select(COUNTED, filter, i32::MAX, &store.sql().schema, &mut parameters);
                format!("{rows} LIMIT {}", MOST + 1)
            }
            None => of_documents(store, filter, None, &mut parameters),
        };
        let rows = run(store, connection, filter, &counted, parameters).await?;
        let mut spans = 0;
        for row in &rows {
            if row.column::<&str>(0)? == "time" {
                spans += row.count(5)?;
            }
        }
        if spans <= MOST as u64 {
            return Ok((rows, CountScope::All));
        }
    }
    let share = if filter.trace_ids.is_empty() { share(store, connection, filter).await? } else { 1.0 };
    let mut parameters = Parameters::default();
    let counted = of_period(store, filter, share, &mut parameters);
    let rows = run(store, connection, filter, &counted, parameters).await?;
    Ok((rows, if share < 1.0 { CountScope::Sample(share) } else { CountScope::All }))
}

/// Rows of documents: of these, or of those that pass the conditions.
fn of_documents(
    store: &TraceStore,
    filter: &Filter,
    ids: Option<Vec<i32>>,
    parameters: &mut Parameters,
) -> String {
    let schema = &store.sql().schema;
    let columns = columns(filter, parameters);
    let documents = match &ids {
        Some(ids) => format!("d.id = ANY({}::integer[])", parameters.bind(ids.clone())),
        None => on_documents(filter, schema, parameters),
    };
    let (period, rows) = (within(filter, parameters), on_rows(filter, schema, parameters));
    let newest = match ids {
        Some(_) => format!("ORDER BY {BIN} DESC LIMIT {SPANS_PER_BEST}"),
        None => format!("LIMIT {}", MOST + 1),
    };
    // ORDER BY around the LIMIT: see `newest`.
    format!(
        "SELECT {COUNTED} \
         FROM (SELECT d.*{columns} FROM {schema}.span_documents d WHERE {documents} OFFSET 0) AS d \
         CROSS JOIN LATERAL (SELECT * FROM ( \
             SELECT {COUNTED} FROM {schema}.span_rows r \
             WHERE r.document_id = d.id AND {period} AND {rows} {newest}) AS r \
             ORDER BY r.start_time) AS r \
         LIMIT {}",
        MOST + 1
    )
}

/// Rows of the period that pass the conditions: of a part of the table's pages, the same ones each time.
fn of_period(store: &TraceStore, filter: &Filter, share: f64, parameters: &mut Parameters) -> String {
    let schema = &store.sql().schema;
    let sample = match share < 1.0 {
        true => format!(
            " TABLESAMPLE SYSTEM ({}::float4) REPEATABLE (1)",
            parameters.bind((share * 100.0) as f32)
        ),
        false => String::new(),
    };
    let period = within(filter, parameters);
    if filter.is_empty_but_for_time() {
        return format!("SELECT {COUNTED} FROM {schema}.span_rows r{sample} WHERE {period}");
    }
    let columns = columns(filter, parameters);
    let documents = on_documents(filter, schema, parameters);
    let rows = on_rows(filter, schema, parameters);
    format!(
        "SELECT {COUNTED} FROM {schema}.span_rows r{sample} \
         JOIN (SELECT d.*{columns} FROM {schema}.span_documents d WHERE {documents} OFFSET 0) AS d ON d.id = r.document_id \
         WHERE {period} AND {rows}"
    )
}

/// Which part of the period's rows is read, as the planner estimates them; 1 for all of them.
async fn share(store: &TraceStore, connection: &Connection, filter: &Filter) -> Result<f64> {
    let rows = estimate(store, connection, filter).await?;
    if rows <= WHOLE {
        return Ok(1.0);
    }
    // A part of a day costs as much as the same part of the day's whole.
    let day = Duration::from_secs(86_400);
    let days = Filter {
        since: filter.since.and_then(|since| since.checked_sub(day)),
        until: filter.until.and_then(|until| until.checked_add(day)),
        ..Filter::default()
    };
    let of_days = estimate(store, connection, &days).await?.max(rows);
    Ok((DRAWN / rows).min(DRAWN_FROM / of_days))
}

/// How many rows there are in a filter's period, as the planner sees it.
async fn estimate(store: &TraceStore, connection: &Connection, filter: &Filter) -> Result<f64> {
    let period = |time: Option<std::time::SystemTime>, otherwise| {
        time.map_or(otherwise, |time| Time::from(Timestamp::from(time)))
    };
    let sql = format!(
        "EXPLAIN SELECT FROM {}.span_rows r WHERE r.start_time >= $1 AND r.start_time < $2",
        store.sql().schema
    );
    let (since, until) = (period(filter.since, Time::MIN), period(filter.until, Time::MAX));
    let plan = connection
        .query_prepared(&sql, &[&since, &until])
        .await
        .map_err(Error::database("counting spans"))?;
    let Some(line) = plan.first() else { return Ok(WHOLE) };
    Ok(estimated(line.column(0)?).unwrap_or(WHOLE))
}

async fn run(
    store: &TraceStore,
    connection: &Connection,
    filter: &Filter,
    counted: &str,
    mut parameters: Parameters,
) -> Result<Vec<Row>> {
    let schema = &store.sql().schema;
    let bound = |time: Option<std::time::SystemTime>| time.map(|time| Time::from(Timestamp::from(time)));
    let (since, until) = (parameters.bind(bound(filter.since)), parameters.bind(bound(filter.until)));
    let steps = parameters.bind(STEPS.to_vec());
    let classes = parameters.bind(CLASSES.map(|bound| bound.as_nanos() as i64).to_vec());
    let sql = format!(
        "WITH counted AS MATERIALIZED ({counted}), \
         documents AS MATERIALIZED ( \
             SELECT d.id, d.service, d.name, d.status_code, d.status_code = 2 AS failed, c.spans, \
                    row_number() OVER (ORDER BY c.spans DESC, d.id) AS place \
             FROM (SELECT document_id, count(*) AS spans FROM counted GROUP BY document_id) AS c \
             JOIN {schema}.span_documents d ON d.id = c.document_id), \
         period AS ( \
             SELECT coalesce(nullif({since}::timestamptz, '-infinity'), min(start_time)) AS since, \
                    coalesce(nullif({until}::timestamptz, 'infinity'), max(start_time)) AS until FROM counted), \
         chosen AS MATERIALIZED ( \
             SELECT seconds, make_interval(secs => seconds) AS step FROM unnest({steps}::float8[]) AS seconds, period \
             WHERE seconds * {MAX_STEPS} >= extract(epoch FROM until - since) ORDER BY seconds LIMIT 1) \
         SELECT 'step', NULL, NULL, NULL::timestamptz, seconds, 0::bigint, 0::bigint FROM chosen \
         UNION ALL \
         (SELECT 'time', NULL, NULL, date_bin(step, r.start_time, 'epoch') AS start, NULL, count(*), \
                 count(*) FILTER (WHERE d.failed) \
          FROM counted r JOIN documents d ON d.id = r.document_id CROSS JOIN chosen GROUP BY start ORDER BY start) \
         UNION ALL \
         (SELECT 'service', service, NULL, NULL, NULL, sum(spans)::bigint, \
                 coalesce(sum(spans) FILTER (WHERE failed), 0)::bigint \
          FROM documents GROUP BY service ORDER BY sum(spans) DESC, service LIMIT 20) \
         UNION ALL \
         (SELECT 'operation', service, name, NULL, NULL, sum(spans)::bigint, \
                 coalesce(sum(spans) FILTER (WHERE failed), 0)::bigint \
          FROM documents GROUP BY service, name ORDER BY sum(spans) DESC, service, name LIMIT 20) \
         UNION ALL \
         (SELECT 'status', NULL, NULL, NULL, status_code, sum(spans)::bigint, 0 \
          FROM documents GROUP BY status_code ORDER BY status_code) \
         UNION ALL \
         (SELECT 'duration', NULL, NULL, NULL, width_bucket(duration_ns, {classes}::bigint[]) AS class, count(*), 0 \
          FROM counted GROUP BY class ORDER BY class) \
         UNION ALL \
         (SELECT 'attribute', key, value #>> '{{}}', NULL, NULL, sum(spans)::bigint, 0 \
          FROM documents JOIN {schema}.span_documents d USING (id) CROSS JOIN LATERAL jsonb_each(d.attributes) \
          WHERE place <= 200 AND jsonb_typeof(value) IN ('string', 'number', 'boolean') \
                AND length(value #>> '{{}}') BETWEEN 1 AND 100 AND length(key) <= 100 \
          GROUP BY key, value ORDER BY sum(spans) DESC, key, value #>> '{{}}' LIMIT 300)"
    );
    connection.query_prepared(&sql, &parameters.as_slice()).await.map_err(reading(filter))
}
