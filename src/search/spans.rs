//! Rows of spans that were found, and decoding those that a result shows.

use std::time::Duration;

use opentelemetry::trace::{SpanId, TraceId};
use tokio_postgres::Row;

use super::SpanHit;
use super::conditions::{BIN, Parameters, asks_each_row, columns, on_documents, on_rows, within};
use super::filter::Filter;
use crate::error::{Error, Result};
use crate::span::Timestamp;
use crate::store::{Columns, Connection, Microseconds, TraceStore};

/// A span that was found. Decoding it takes longer than finding it: [`shown`] does so for what a result shows.
#[derive(Clone)]
pub(super) struct FoundSpan {
    pub document: i32,
    pub trace_id: TraceId,
    pub span_id: SpanId,
    pub start: Timestamp,
    duration: Duration,
    fillers: String,
}

/// What [`FoundSpan`] is read from, of a row `r`.
pub(super) const COLUMNS: &str =
    "r.document_id, r.trace_id, r.span_id, r.start_time, r.start_ns, r.duration_ns, r.fillers";

/// What a [`SpanHit`] is read from besides: of its document, and of what it decodes to.
pub(super) const SHOWN: &str = "r.service, r.status_code, r.decoded ->> 'name', \
    coalesce(nullif(r.decoded ->> 'status_message', ''), \
             jsonb_path_query_first(r.decoded, 'lax $.events[*].attributes.\"exception.message\"') #>> '{}')";

/// Of how many rows of a ranked document it is asked whether they pass, where each may differ: its newest ones.
const ASKED: usize = 500;

/// The order of spans that are not ranked.
pub(super) const NEWEST_FIRST: &str = "r.start_time DESC, r.start_ns DESC, r.trace_id, r.span_id";

/// Documents of which spans are read, in the statements below: `wanted`, with the document's columns and a `place`.
pub(super) enum Documents {
    /// These, in this order.
    Ranked(Vec<i32>),
    /// All that the filter lets through up to an id, in no order.
    All(i32),
}

/// The newest spans that pass the filter, at most `per_document` of each document and `limit` in all: in the order of the
/// documents, or the newest first where these have none.
///
/// On a Citus cluster, that is at most `per_document` of each part of the table. The ORDER BY around each document's LIMIT
/// changes nothing but that Citus does not refuse to leave the LIMIT to the parts.
pub(super) async fn newest(
    store: &TraceStore,
    connection: &Connection,
    documents: &Documents,
    filter: &Filter,
    per_document: usize,
    limit: usize,
) -> Result<Vec<FoundSpan>> {
    let schema = &store.sql().schema;
    let mut parameters = Parameters::default();
    let (wanted, order) = match documents {
        Documents::Ranked(ids) => (
            format!(
                "SELECT d.*, place{} FROM unnest({}::integer[]) WITH ORDINALITY AS ranked (id, place) \
                 JOIN {schema}.span_documents d USING (id) OFFSET 0",
                columns(filter, &mut parameters),
                parameters.bind(ids.clone())
            ),
            "d.place, r.start_time DESC, r.start_ns DESC",
        ),
        Documents::All(last) => (
            format!(
                "SELECT d.*{} FROM {schema}.span_documents d WHERE d.id <= {} AND {} OFFSET 0",
                columns(filter, &mut parameters),
                parameters.bind(*last),
                on_documents(filter, schema, &mut parameters)
            ),
            NEWEST_FIRST,
        ),
    };
    let period = within(filter, &mut parameters);
    let rows = on_rows(filter, schema, &mut parameters);
    let (per_document, limit) = (parameters.bind(per_document as i64), parameters.bind(limit as i64));
    let of_document = format!("{schema}.span_rows r WHERE r.document_id = d.id AND {period}");
    let of_document = match documents {
        Documents::Ranked(_) if asks_each_row(filter) => {
            format!(
                "(SELECT r.* FROM {of_document} \
                 ORDER BY {BIN} DESC, r.start_time DESC, r.start_ns DESC LIMIT {ASKED}) AS r WHERE {rows}"
            )
        }
        _ => format!("{of_document} AND {rows}"),
    };
    let sql = format!(
        "SELECT {COLUMNS} FROM ({wanted}) AS d CROSS JOIN LATERAL (SELECT * FROM ( \
             SELECT r.* FROM {of_document} \
             ORDER BY {BIN} DESC, r.start_time DESC, r.start_ns DESC LIMIT {per_document}) AS r \
             ORDER BY r.start_time DESC) AS r \
         ORDER BY {order} LIMIT {limit}"
    );
    read(connection, &sql, filter, &parameters).await
}

/// The newest spans of some traces that pass the filter, which names these: by the index on the traces' ids.
pub(super) async fn newest_of_traces(
    store: &TraceStore,
    connection: &Connection,
    filter: &Filter,
    limit: usize,
) -> Result<Vec<FoundSpan>> {
    let mut parameters = Parameters::default();
    let passing = of_traces_that_pass(store, filter, &mut parameters);
    let limit = parameters.bind(limit as i64);
    let sql = format!("SELECT {COLUMNS} FROM {passing} ORDER BY {NEWEST_FIRST} LIMIT {limit}");
    read(connection, &sql, filter, &parameters).await
}

/// The newest spans of each of some traces that pass the filter, which names these.
pub(super) async fn newest_of_each_trace(
    store: &TraceStore,
    connection: &Connection,
    filter: &Filter,
    per_trace: usize,
) -> Result<Vec<FoundSpan>> {
    let mut parameters = Parameters::default();
    let passing = of_traces_that_pass(store, filter, &mut parameters);
    let per_trace = parameters.bind(per_trace as i64);
    let sql = format!(
        "SELECT {COLUMNS} FROM ( \
             SELECT r.*, row_number() OVER (PARTITION BY r.trace_id ORDER BY {NEWEST_FIRST}) AS number FROM {passing}) AS r \
         WHERE r.number <= {per_trace} ORDER BY {NEWEST_FIRST}"
    );
    read(connection, &sql, filter, &parameters).await
}

/// What rows `r` of some traces are selected from that pass the filter, which names these.
fn of_traces_that_pass(store: &TraceStore, filter: &Filter, parameters: &mut Parameters) -> String {
    let schema = &store.sql().schema;
    let columns = columns(filter, parameters);
    let documents = on_documents(filter, schema, parameters);
    let (period, rows) = (within(filter, parameters), on_rows(filter, schema, parameters));
    format!(
        "{schema}.span_rows r \
         JOIN (SELECT d.*{columns} FROM {schema}.span_documents d WHERE {documents}) AS d ON d.id = r.document_id \
         WHERE {period} AND {rows}"
    )
}

/// Spans that a statement finds, which is prepared once a connection.
pub(super) async fn read(
    connection: &Connection,
    sql: &str,
    filter: &Filter,
    parameters: &Parameters,
) -> Result<Vec<FoundSpan>> {
    let rows = connection.query_prepared(sql, &parameters.as_slice()).await.map_err(reading(filter))?;
    rows.iter().map(found).collect()
}

/// The same, planned for these parameters.
pub(super) async fn read_once(
    connection: &Connection,
    sql: &str,
    filter: &Filter,
    parameters: &Parameters,
) -> Result<Vec<FoundSpan>> {
    let rows = connection.query(sql, &parameters.as_slice()).await.map_err(reading(filter))?;
    rows.iter().map(found).collect()
}

/// A span of [`COLUMNS`].
pub(super) fn found(row: &Row) -> Result<FoundSpan> {
    Ok(FoundSpan {
        document: row.column(0)?,
        trace_id: row.trace_id(1)?,
        span_id: SpanId::from_bytes(row.column::<i64>(2)?.to_be_bytes()),
        start: start(row, 3, 4)?,
        duration: Duration::from_nanos(row.column::<i64>(5)?.max(0).unsigned_abs()),
        fillers: row.column(6)?,
    })
}

/// Decodes spans as far as a result shows them, in their order; those whose document is gone meanwhile are left out.
pub(super) async fn shown(
    store: &TraceStore,
    connection: &Connection,
    spans: Vec<FoundSpan>,
) -> Result<Vec<(i32, SpanHit)>> {
    if spans.is_empty() {
        return Ok(Vec::new());
    }
    let schema = &store.sql().schema;
    let sql = format!(
        "SELECT r.place, {SHOWN} \
         FROM (SELECT f.place, d.service, d.status_code, {schema}.span_body(d.body, f.fillers) AS decoded \
               FROM unnest($1::integer[], $2::text[]) WITH ORDINALITY AS f (id, fillers, place) \
               JOIN {schema}.span_documents d USING (id)) AS r ORDER BY r.place"
    );
    let documents: Vec<i32> = spans.iter().map(|span| span.document).collect();
    let fillers: Vec<&str> = spans.iter().map(|span| span.fillers.as_str()).collect();
    let rows = connection
        .query_prepared(&sql, &[&documents, &fillers])
        .await
        .map_err(Error::database("decoding spans"))?;
    let mut hits = Vec::with_capacity(rows.len());
    for row in &rows {
        let place = usize::try_from(row.column::<i64>(0)?).unwrap_or_default();
        if let Some(span) = place.checked_sub(1).and_then(|at| spans.get(at)) {
            hits.push((span.document, span_hit(span, row, 1)?));
        }
    }
    Ok(hits)
}

/// A span with what a row tells of it in the columns [`SHOWN`], from column `at` on.
pub(super) fn span_hit(span: &FoundSpan, row: &Row, at: usize) -> Result<SpanHit> {
    Ok(SpanHit {
        trace_id: span.trace_id,
        span_id: span.span_id,
        score: 1.0,
        explanation: None,
        service: row.column(at)?,
        name: row.column::<Option<String>>(at + 2)?.unwrap_or_default(),
        is_error: row.column::<i16>(at + 1)? == 2,
        message: row.column(at + 3)?,
        start: span.start,
        duration: span.duration,
    })
}

/// A start, of its columns in microseconds and the nanoseconds to add.
fn start(row: &Row, microseconds: usize, nanoseconds: usize) -> Result<Timestamp> {
    let microseconds = i128::from(row.column::<Microseconds>(microseconds)?.0);
    Ok(Timestamp(microseconds * 1000 + i128::from(row.column::<i16>(nanoseconds)?)))
}

/// Refuses a regular expression that PostgreSQL does not read, also where no row has anything to hold against it.
pub(super) async fn refuse_malformed(store: &TraceStore, filter: &Filter) -> Result<()> {
    if filter.expressions().next().is_none() {
        return Ok(());
    }
    let (connection, _) = store.connection().await?;
    for expression in filter.expressions() {
        connection
            .query_prepared("SELECT '' ~ $1", &[&expression])
            .await
            .map_err(malformed(&[expression]))?;
    }
    connection.give_back();
    Ok(())
}

/// An error of the database; of the one who asks where a regular expression is malformed.
pub(super) fn reading(filter: &Filter) -> impl FnOnce(tokio_postgres::Error) -> Error {
    malformed(&filter.expressions().collect::<Vec<_>>())
}

fn malformed(expressions: &[&str]) -> impl FnOnce(tokio_postgres::Error) -> Error + use<> {
    let origin = format!("regular expression `{}`", expressions.join("`, `"));
    move |error| match error.as_db_error() {
        Some(refused) if refused.code().code() == "2201B" => {
            Error::Input { origin, reason: refused.message().to_owned() }
        }
        _ => Error::Database { doing: "reading spans", source: error },
    }
}
