//! What there is to say of a trace without showing its spans.

use std::collections::{BTreeMap, HashMap, HashSet};

use opentelemetry::trace::TraceId;
use tokio_postgres::Row;

use super::spans::start;
use crate::error::{Error, Result};
use crate::span::Timestamp;
use crate::store::{Columns, TraceStore};

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
        let sql = format!(
            "SELECT r.trace_id, r.span_id, r.parent_span_id, r.start_time, r.start_ns, r.duration_ns, d.service, \
                    d.status_code, \
                    CASE r.parent_span_id WHEN 0 THEN {schema}.span_body(d.body, r.fillers) ->> 'name' END \
             FROM {schema}.span_rows r JOIN {schema}.span_documents d ON d.id = r.document_id \
             WHERE encode(uuid_send(r.trace_id), 'hex') COLLATE \"C\" = ANY($1)",
            schema = self.sql().schema
        );
        let ids: Vec<String> = trace_ids.iter().map(TraceId::to_string).collect();
        let rows = self
            .timed("summarizing traces", async {
                let (connection, _) = self.connection().await?;
                let rows = connection
                    .query_prepared(&sql, &[&ids])
                    .await
                    .map_err(Error::database("summarizing traces"))?;
                connection.give_back();
                Ok(rows)
            })
            .await?;
        let mut traces: HashMap<TraceId, Vec<&Row>> = HashMap::new();
        for row in &rows {
            traces.entry(row.trace_id(0)?).or_default().push(row);
        }
        let stored = trace_ids.iter().filter_map(|id| Some((*id, traces.get(id)?)));
        stored.map(|(id, rows)| summary(id, rows)).collect()
    }
}

fn summary(trace_id: TraceId, rows: &[&Row]) -> Result<TraceSummary> {
    let ids = rows.iter().map(|row| row.column(1)).collect::<Result<HashSet<i64>>>()?;
    let mut trace = TraceSummary {
        trace_id,
        root_service: String::new(),
        root_name: String::new(),
        start: Timestamp(i128::MAX),
        end: Timestamp(i128::MIN),
        spans: 0,
        errors: 0,
        orphans: 0,
        services: BTreeMap::new(),
    };
    let mut root_start = None;
    for row in rows {
        let start = start(row, 3, 4)?;
        let end = Timestamp(start.0 + i128::from(row.column::<i64>(5)?));
        trace.start = trace.start.min(start);
        trace.end = trace.end.max(end);
        trace.spans += 1;
        let failed = u64::from(row.column::<i16>(7)? == 2);
        trace.errors += failed;
        let name: String = row.column(6)?;
        let parent: i64 = row.column(2)?;
        if parent != 0 {
            trace.orphans += u64::from(!ids.contains(&parent));
        } else if root_start.is_none_or(|first| start < first) {
            root_start = Some(start);
            trace.root_service.clone_from(&name);
            trace.root_name = row.column::<Option<String>>(8)?.unwrap_or_default();
        }
        let service = trace.services.entry(name).or_default();
        service.spans += 1;
        service.errors += failed;
    }
    Ok(trace)
}
