//! Spans of documents, read as far as a result shows them.

use std::time::Duration;

use opentelemetry::trace::{SpanId, TraceId};
use tokio_postgres::Row;
use uuid::Uuid;

use super::SpanHit;
use super::conditions::{BIN, Parameters, columns, on_documents, on_rows, within};
use super::filter::Filter;
use super::recent::newest_root;
use crate::error::{Error, Result};
use crate::span::Timestamp;
use crate::store::{Connection, Microseconds, TraceStore};

/// Documents of which spans are read, in the statements below: `wanted`, with the document's columns and a `place`.
pub(super) enum Documents {
    /// These, in this order.
    Ranked(Vec<i32>),
    /// All that the filter lets through up to an id, in no order.
    All(i32),
}

/// The newest spans that pass the filter, at most `per_document` of each document and `limit` in all: in the order of the
/// documents, or the newest first where these have none. Each comes with its document's id.
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
) -> Result<Vec<(i32, SpanHit)>> {
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
            "place, start_time DESC, start_ns DESC",
        ),
        Documents::All(last) => (
            format!(
                "SELECT d.*, 0 AS place{} FROM {schema}.span_documents d WHERE d.id <= {} AND {} OFFSET 0",
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
    let found = format!(
        "SELECT d.id, d.service, d.status_code, d.body, d.place, r.* \
         FROM ({wanted}) AS d CROSS JOIN LATERAL (SELECT * FROM ( \
             SELECT r.* FROM {schema}.span_rows r \
             WHERE r.document_id = d.id AND {period} AND {rows} \
             ORDER BY {BIN} DESC, r.start_time DESC, r.start_ns DESC LIMIT {per_document}) AS r \
             ORDER BY r.start_time DESC) AS r"
    );
    read(store, connection, &found, order, &limit, &parameters).await.map_err(reading(filter))
}

/// The newest spans that pass a filter that asks nothing of documents, by ever longer periods back from the newest root.
pub(super) async fn newest_of_all(
    store: &TraceStore,
    connection: &Connection,
    filter: &Filter,
    limit: usize,
) -> Result<Vec<(i32, SpanHit)>> {
    let schema = &store.sql().schema;
    let newest = newest_root(store, connection, filter).await?;
    let mut length = Duration::from_secs(1);
    loop {
        let since = newest.and_then(|newest| newest.checked_sub(length));
        let since = since.filter(|since| filter.since.is_none_or(|given| given < *since));
        // A year covers what is usual; what is older is read at once.
        let since = since.filter(|_| length < Duration::from_secs(400 * 24 * 3600));
        let mut parameters = Parameters::default();
        let recent = Filter { since: since.or(filter.since), ..filter.clone() };
        let period = within(&recent, &mut parameters);
        let rows = on_rows(filter, schema, &mut parameters);
        let limit_parameter = parameters.bind(limit as i64);
        let found = format!(
            "SELECT d.id, d.service, d.status_code, d.body, r.* \
             FROM {schema}.span_rows r JOIN {schema}.span_documents d ON d.id = r.document_id \
             WHERE {period} AND {rows}"
        );
        let spans = read(store, connection, &found, NEWEST_FIRST, &limit_parameter, &parameters)
            .await
            .map_err(reading(filter))?;
        if spans.len() >= limit || since.is_none() {
            return Ok(spans);
        }
        length *= 10;
    }
}

/// The newest spans of some traces that pass the filter, which names these: by the index on the traces' ids.
pub(super) async fn newest_of_traces(
    store: &TraceStore,
    connection: &Connection,
    filter: &Filter,
    limit: usize,
) -> Result<Vec<(i32, SpanHit)>> {
    let schema = &store.sql().schema;
    let mut parameters = Parameters::default();
    let columns = columns(filter, &mut parameters);
    let documents = on_documents(filter, schema, &mut parameters);
    let (period, rows) = (within(filter, &mut parameters), on_rows(filter, schema, &mut parameters));
    let limit = parameters.bind(limit as i64);
    let found = format!(
        "SELECT d.id, d.service, d.status_code, d.body, r.* \
         FROM {schema}.span_rows r \
         JOIN (SELECT d.*{columns} FROM {schema}.span_documents d WHERE {documents}) AS d ON d.id = r.document_id \
         WHERE {period} AND {rows}"
    );
    read(store, connection, &found, NEWEST_FIRST, &limit, &parameters).await.map_err(reading(filter))
}

/// The order of spans that are not ranked.
const NEWEST_FIRST: &str = "start_time DESC, start_ns DESC, trace_id, span_id";

/// The first spans of a query for rows with their documents' columns. They are decoded when it is known which are shown.
async fn read(
    store: &TraceStore,
    connection: &Connection,
    found: &str,
    order: &str,
    limit: &str,
    parameters: &Parameters,
) -> Result<Vec<(i32, SpanHit)>, tokio_postgres::Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM ({found} ORDER BY {order} LIMIT {limit}) AS f, \
         LATERAL (SELECT {schema}.span_body(f.body, f.fillers) AS decoded) AS b ORDER BY {order}",
        schema = store.sql().schema
    );
    let rows = connection.query_prepared(&sql, &parameters.as_slice()).await?;
    Ok(rows.iter().map(|row| (row.get(0), span_hit(row))).collect())
}

/// What [`span_hit`] reads, of a row `f` with its document's columns, and `b.decoded`.
const COLUMNS: &str = "f.id, f.trace_id, f.span_id, f.start_time, f.start_ns, f.duration_ns, f.service, f.status_code, \
     b.decoded ->> 'name', \
     coalesce(nullif(b.decoded ->> 'status_message', ''), \
              jsonb_path_query_first(b.decoded, 'lax $.events[*].attributes.\"exception.message\"') #>> '{}')";

fn span_hit(row: &Row) -> SpanHit {
    SpanHit {
        trace_id: TraceId::from_bytes(row.get::<_, Uuid>(1).into_bytes()),
        span_id: SpanId::from_bytes(row.get::<_, i64>(2).to_be_bytes()),
        score: 1.0,
        explanation: None,
        service: row.get(6),
        name: row.get::<_, Option<String>>(8).unwrap_or_default(),
        is_error: row.get::<_, i16>(7) == 2,
        message: row.get(9),
        start: start(row, 3, 4),
        duration: Duration::from_nanos(row.get::<_, i64>(5).max(0) as u64),
    }
}

/// A start, of its columns in microseconds and the nanoseconds to add.
pub(super) fn start(row: &Row, microseconds: usize, nanoseconds: usize) -> Timestamp {
    let microseconds = i128::from(row.get::<_, Microseconds>(microseconds).0);
    Timestamp(microseconds * 1000 + i128::from(row.get::<_, i16>(nanoseconds)))
}

/// An error of the database; of the one who asks where a regular expression is malformed.
pub(super) fn reading(filter: &Filter) -> impl FnOnce(tokio_postgres::Error) -> Error {
    let expressions: Vec<String> = filter.expressions().map(str::to_owned).collect();
    move |error| match error.as_db_error() {
        Some(refused) if refused.code().code() == "2201B" => Error::Input {
            origin: format!("regular expression `{}`", expressions.join("`, `")),
            reason: refused.message().to_owned(),
        },
        _ => Error::Database { doing: "reading spans", source: error },
    }
}
