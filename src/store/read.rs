//! Reading traces back.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use moka::sync::Cache;
use opentelemetry::trace::{SpanId, TraceId};
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, Type};
use uuid::Uuid;

use super::TraceStore;
use super::columns::Columns;
use super::connection::Connection;
use super::copy::POSTGRES_EPOCH_US;
use super::trace_ids::TraceIds;
use crate::error::{Error, Result};
use crate::span::{Span, StoredRow, Template, resource_from_json};

/// A `timestamptz` as microseconds since 1970.
pub(crate) struct Microseconds(pub i64);

impl<'a> FromSql<'a> for Microseconds {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Microseconds(i64::from_be_bytes(raw.try_into()?).saturating_add(POSTGRES_EPOCH_US)))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TIMESTAMPTZ
    }
}

impl TraceStore {
    /// The spans of a trace as they were exported, by start time; empty when there are none.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Database`], [`Error::Timeout`], [`Error::Schema`]; [`Error::Corrupt`] where stored
    /// data was altered.
    pub async fn get_trace(&self, trace_id: TraceId) -> Result<Vec<Span<'static>>> {
        self.timed("reading a trace", async {
            let (connection, _) = self.connection().await?;
            let (find, id) = (&self.inner.sql.trace_rows, trace_id.to_string());
            let rows = connection.query_prepared(find, &[&id]).await.map_err(reading())?;
            let spans = self.join(&connection, &rows).await;
            connection.give_back();
            spans
        })
        .await
    }

    /// The spans of a trace as [`get_trace`](Self::get_trace) has them, but not more than the first so many.
    #[cfg(feature = "serve")]
    pub(crate) async fn first_spans(&self, trace_id: TraceId, limit: usize) -> Result<Vec<Span<'static>>> {
        self.timed("reading a trace", async {
            let (connection, _) = self.connection().await?;
            let find = format!("{} LIMIT $2", self.inner.sql.trace_rows);
            let (id, limit) = (trace_id.to_string(), i64::try_from(limit).unwrap_or(i64::MAX));
            let rows = connection.query_prepared(&find, &[&id, &limit]).await.map_err(reading())?;
            let spans = self.join(&connection, &rows).await;
            connection.give_back();
            spans
        })
        .await
    }

    /// Which of these spans are stored.
    pub(crate) async fn stored_of(&self, spans: &[(TraceId, SpanId)]) -> Result<HashSet<(TraceId, SpanId)>> {
        self.timed("looking for spans", async {
            let (connection, _) = self.connection().await?;
            let traces: HashSet<TraceId> = spans.iter().map(|(trace, _)| *trace).collect();
            let traces = TraceIds::new(traces);
            let [text, traces] = traces.as_parameters();
            let ids: Vec<i64> = spans.iter().map(|(_, id)| i64::from_be_bytes(id.to_bytes())).collect();
            let find = &self.inner.sql.find_spans;
            let rows = connection.query_prepared(find, &[text, traces, &ids]).await.map_err(reading())?;
            connection.give_back();
            let found =
                |row: &Row| Ok((row.trace_id(0)?, SpanId::from_bytes(row.column::<i64>(1)?.to_be_bytes())));
            rows.iter().map(found).collect()
        })
        .await
    }

    /// Which spans of these traces are stored: trace, span, and start in microseconds as
    /// [`stored_start`](crate::span::stored_start) has it.
    #[cfg(feature = "import")]
    pub(crate) async fn spans_of_traces(
        &self,
        trace_ids: &[TraceId],
    ) -> Result<std::collections::HashSet<(TraceId, SpanId, i64)>> {
        self.timed("looking for spans that are stored", async {
            let (connection, _) = self.connection().await?;
            let ids = TraceIds::new(trace_ids.iter().copied());
            let find = &self.inner.sql.spans_of_traces;
            let rows = connection.query_prepared(find, &ids.as_parameters()).await.map_err(reading())?;
            connection.give_back();
            let span = |row: &Row| {
                Ok((
                    row.trace_id(0)?,
                    SpanId::from_bytes(row.column::<i64>(1)?.to_be_bytes()),
                    row.column::<Microseconds>(2)?.0,
                ))
            };
            rows.iter().map(span).collect()
        })
        .await
    }

    /// The spans of several traces, by trace and start time.
    #[cfg(feature = "import")]
    pub(crate) async fn get_traces(&self, trace_ids: &[TraceId]) -> Result<Vec<Span<'static>>> {
        self.timed("reading traces", async {
            let (connection, _) = self.connection().await?;
            let ids = TraceIds::new(trace_ids.iter().copied());
            let find = &self.inner.sql.rows_of_traces;
            let rows = connection.query_prepared(find, &ids.as_parameters()).await.map_err(reading())?;
            let spans = self.join(&connection, &rows).await;
            connection.give_back();
            spans
        })
        .await
    }

    /// How many spans these traces have; without those that are not stored.
    #[cfg(feature = "serve")]
    pub(crate) async fn sizes_of_traces(
        &self,
        trace_ids: &[TraceId],
    ) -> Result<std::collections::HashMap<TraceId, u64>> {
        self.timed("counting the spans of traces", async {
            let (connection, _) = self.connection().await?;
            let ids = TraceIds::new(trace_ids.iter().copied());
            let count = &self.inner.sql.sizes_of_traces;
            let rows = connection.query_prepared(count, &ids.as_parameters()).await.map_err(reading())?;
            connection.give_back();
            rows.iter().map(|row| Ok((row.trace_id(0)?, row.count(1)?))).collect()
        })
        .await
    }

    /// Joins rows with the columns of `trace_rows` to spans.
    async fn join(&self, connection: &Connection, rows: &[Row]) -> Result<Vec<Span<'static>>> {
        let (mut documents, mut resources) = (BTreeSet::new(), BTreeSet::new());
        for row in rows {
            documents.insert(row.column::<i32>(5)?);
            resources.insert(row.column::<i32>(6)?);
        }
        let sql = &self.inner.sql;
        let templates =
            fetch(connection, &sql.document_bodies, documents, &self.inner.templates, Template::parse)
                .await?;
        let resources =
            fetch(connection, &sql.resource_bodies, resources, &self.inner.resource_bodies, |body| {
                resource_from_json(body).map_err(Error::Corrupt)
            })
            .await?;
        rows.iter()
            .map(|row| {
                let missing = |what: &str, id: i32| Error::Corrupt(format!("{what} {id} is missing"));
                let (document, resource): (i32, i32) = (row.column(5)?, row.column(6)?);
                let template = templates.get(&document).ok_or_else(|| missing("document", document))?;
                let resource = resources.get(&resource).ok_or_else(|| missing("resource", resource))?;
                template.join(&stored_row(row)?, resource)
            })
            .collect()
    }
}

fn stored_row(row: &Row) -> Result<StoredRow<'_>> {
    Ok(StoredRow {
        trace_id: row.column::<Uuid>(0)?.into_bytes(),
        span_id: row.column(1)?,
        parent_span_id: row.column(2)?,
        start_us: row.column::<Microseconds>(3)?.0,
        duration_ns: row.column(4)?,
        start_ns: row.column(7)?,
        flags: row.column(8)?,
        fillers: row.column(9)?,
    })
}

/// Parsed bodies by id, from the cache or the table.
async fn fetch<T: Send + Sync + 'static>(
    connection: &Connection,
    sql: &str,
    ids: BTreeSet<i32>,
    cache: &Cache<i32, Arc<T>>,
    parse: impl Fn(&str) -> Result<T>,
) -> Result<std::collections::HashMap<i32, Arc<T>>> {
    let mut found = std::collections::HashMap::with_capacity(ids.len());
    let mut missing = Vec::new();
    for id in ids {
        match cache.get(&id) {
            Some(known) => drop(found.insert(id, known)),
            None => missing.push(id),
        }
    }
    if !missing.is_empty() {
        for row in connection.query_prepared(sql, &[&missing]).await.map_err(reading())? {
            let (id, parsed) = (row.column(0)?, Arc::new(parse(row.column(1)?)?));
            cache.insert(id, Arc::clone(&parsed));
            found.insert(id, parsed);
        }
    }
    Ok(found)
}

fn reading() -> impl FnOnce(tokio_postgres::Error) -> Error {
    Error::database("reading a trace")
}
