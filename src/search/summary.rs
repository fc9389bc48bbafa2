//! What there is to say of a trace without showing its spans.

use std::collections::{BTreeMap, HashMap};

use futures_util::future;
use opentelemetry::trace::TraceId;
use tokio_postgres::Row;

use crate::error::{Error, Result};
use crate::span::Timestamp;
use crate::store::{Columns, TraceIds, TraceStore, of_traces};

/// A trace in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TraceSummary {
    /// The trace.
    pub trace_id: TraceId,
    /// The service of the first span without a parent; empty where there is none.
    pub root_service: String,
    /// Its name.
    pub root_name: String,
    /// The first start of a span.
    pub start: Timestamp,
    /// The last end of a span.
    pub end: Timestamp,
    /// How many spans it has.
    pub spans: u64,
    /// How many of them failed.
    pub errors: u64,
    /// How many of them have a parent that is not stored.
    pub orphans: u64,
    /// The services that took part, by name.
    pub services: BTreeMap<String, ServiceSummary>,
}

/// A service's part in a trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceSummary {
    /// How many spans it has.
    pub spans: u64,
    /// How many of them failed.
    pub errors: u64,
}

impl TraceStore {
    /// Summaries of traces, in the order of their ids; without those that are not stored.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Database`], [`Error::Timeout`], [`Error::Schema`].
    pub async fn summaries(&self, trace_ids: &[TraceId]) -> Result<Vec<TraceSummary>> {
        let [services, orphans, roots] = statements(&self.sql().schema);
        let ids = TraceIds::new(trace_ids.iter().copied());
        let (services, orphans, roots) = self
            .timed("summarizing traces", async {
                let (connection, _) = self.connection().await?;
                let ids = ids.as_parameters();
                let rows = future::try_join3(
                    connection.query_prepared(&services, &ids),
                    connection.query_prepared(&orphans, &ids),
                    connection.query_prepared(&roots, &ids),
                )
                .await
                .map_err(Error::database("summarizing traces"))?;
                connection.give_back();
                Ok(rows)
            })
            .await?;
        let mut traces = HashMap::with_capacity(trace_ids.len());
        for row in &services {
            let trace_id = row.trace_id(0)?;
            traces.entry(trace_id).or_insert_with(|| TraceSummary::new(trace_id)).add(row)?;
        }
        for row in &orphans {
            let Some(trace) = traces.get_mut(&row.trace_id(0)?) else { continue };
            trace.orphans = row.count(1)?;
        }
        for row in &roots {
            let Some(trace) = traces.get_mut(&row.trace_id(0)?) else { continue };
            trace.root_service = row.column(1)?;
            trace.root_name = row.column::<Option<String>>(2)?.unwrap_or_default();
        }
        Ok(trace_ids.iter().filter_map(|id| traces.get(id).cloned()).collect())
    }
}

/// What each service has of each trace, how many spans of each have a parent that is not there, and the first root of each.
/// However many spans there are, the server counts them, and joins none with others: that may take the square of their number.
fn statements(schema: &str) -> [String; 3] {
    let of_traces = of_traces("$1", "$2");
    let services = format!(
        "SELECT r.trace_id, d.service, count(*), count(*) FILTER (WHERE d.status_code = 2), \
                trunc(min(r.start))::text, trunc(max(r.start + r.duration_ns))::text \
         FROM (SELECT r.*, {START} AS start FROM {schema}.span_rows r WHERE {of_traces}) AS r \
         JOIN {schema}.span_documents d ON d.id = r.document_id \
         GROUP BY r.trace_id, d.service"
    );
    let orphans = format!(
        "SELECT trace_id, sum(children)::bigint \
         FROM (SELECT trace_id, id, sum(children) AS children \
               FROM (SELECT trace_id, span_id AS id, true AS is_there, 0 AS children \
                     FROM {schema}.span_rows WHERE {of_traces} \
                     UNION ALL \
                     SELECT trace_id, parent_span_id, false, 1 \
                     FROM {schema}.span_rows WHERE {of_traces} AND parent_span_id <> 0) AS ids \
               GROUP BY trace_id, id \
               HAVING NOT bool_or(is_there)) AS missing \
         GROUP BY trace_id"
    );
    let roots = format!(
        "SELECT r.trace_id, d.service, {schema}.span_body(d.body, r.fillers) ->> 'name' \
         FROM (SELECT DISTINCT ON (trace_id) trace_id, document_id, fillers \
               FROM {schema}.span_rows \
               WHERE {of_traces} AND parent_span_id = 0 \
               ORDER BY trace_id, start_time, start_ns) AS r \
         JOIN {schema}.span_documents d ON d.id = r.document_id"
    );
    [services, orphans, roots]
}

impl TraceSummary {
    fn new(trace_id: TraceId) -> Self {
        TraceSummary {
            trace_id,
            root_service: String::new(),
            root_name: String::new(),
            start: Timestamp(i128::MAX),
            end: Timestamp(i128::MIN),
            spans: 0,
            errors: 0,
            orphans: 0,
            services: BTreeMap::new(),
        }
    }

    /// Adds what a service has of it.
    fn add(&mut self, row: &Row) -> Result<()> {
        let service = ServiceSummary { spans: row.count(2)?, errors: row.count(3)? };
        self.spans += service.spans;
        self.errors += service.errors;
        self.start = self.start.min(nanoseconds(row, 4)?);
        self.end = self.end.max(nanoseconds(row, 5)?);
        self.services.insert(row.column(1)?, service);
        Ok(())
    }
}

/// When a row `r` starts, in nanoseconds since 1970, which no integer of PostgreSQL's holds for every year.
pub(super) const START: &str = "(extract(epoch FROM r.start_time) * 1000000000 + r.start_ns)";

/// Such a time, of which a statement makes a text.
pub(super) fn nanoseconds(row: &Row, at: usize) -> Result<Timestamp> {
    let text: &str = row.column(at)?;
    let time = text.parse().map_err(|_| Error::Corrupt(format!("`{text}` is no time in nanoseconds")))?;
    Ok(Timestamp(time))
}
