//! Which traces: their ids, from a cursor.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::trace::TraceId;
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::store::{Connection, TraceStore, literal};

const CURSOR: &str = "opentelemetry_pgvector_export";

/// Which traces are exported: those with a span that meets all conditions. An empty one is all traces.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// These traces.
    pub trace_ids: Vec<TraceId>,
    /// With a span of one of these services.
    pub services: Vec<String>,
    /// With a span that started then or later.
    pub since: Option<SystemTime>,
    /// With a span that started before then.
    pub until: Option<SystemTime>,
    /// At most so many.
    pub limit: Option<u64>,
}

impl Selection {
    /// The query for the ids, in their order.
    fn sql(&self, schema: &str) -> String {
        let mut conditions = Vec::new();
        if !self.trace_ids.is_empty() {
            let ids: Vec<_> = self.trace_ids.iter().map(|id| literal(&id.to_string())).collect();
            conditions
                .push(format!("encode(uuid_send(r.trace_id), 'hex') COLLATE \"C\" IN ({})", ids.join(", ")));
        }
        if !self.services.is_empty() {
            let services: Vec<_> = self.services.iter().map(|service| literal(service)).collect();
            conditions.push(format!(
                "r.document_id IN (SELECT id FROM {schema}.span_documents WHERE service IN ({}))",
                services.join(", ")
            ));
        }
        conditions.extend(self.since.map(|time| format!("r.start_time >= {}", timestamp(time))));
        conditions.extend(self.until.map(|time| format!("r.start_time < {}", timestamp(time))));
        let conditions = if conditions.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", conditions.join(" AND "))
        };
        let limit = self.limit.map(|limit| format!(" LIMIT {limit}")).unwrap_or_default();
        format!("SELECT DISTINCT r.trace_id FROM {schema}.span_rows r{conditions} ORDER BY r.trace_id{limit}")
    }
}

fn timestamp(time: SystemTime) -> String {
    let microseconds = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_micros() as i128,
        Err(before) => -(before.duration().as_micros() as i128),
    };
    format!("'epoch'::timestamptz + {microseconds} * interval '1 microsecond'")
}

/// The ids of selected traces, a page after the other.
pub(super) struct Ids {
    connection: Connection,
}

impl Ids {
    /// Opens the cursor; it sees what was committed by now.
    pub(super) async fn open(store: &TraceStore, selection: &Selection) -> Result<Self> {
        let (connection, _) = store.connection().await?;
        let select = selection.sql(&store.sql().schema);
        let doing = || Error::database("selecting traces");
        // Finding the first may take as long as reading the table, and whoever reads the output may be slow.
        connection.batch_execute("BEGIN READ ONLY").await.map_err(doing())?;
        connection
            .batch_execute(
                "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0",
            )
            .await
            .map_err(doing())?;
        let declare = format!("DECLARE {CURSOR} NO SCROLL CURSOR FOR {select}");
        connection.batch_execute(&declare).await.map_err(doing())?;
        Ok(Ids { connection })
    }

    /// The next so many ids; none at the end.
    pub(super) async fn next(&mut self, count: usize) -> Result<Vec<TraceId>> {
        let fetch = format!("FETCH {count} FROM {CURSOR}");
        let rows = self.connection.query(&fetch, &[]).await.map_err(Error::database("selecting traces"))?;
        Ok(rows.iter().map(|row| TraceId::from_bytes(row.get::<_, Uuid>(0).into_bytes())).collect())
    }

    pub(super) async fn close(self) -> Result<()> {
        self.connection.batch_execute("COMMIT").await.map_err(Error::database("selecting traces"))?;
        self.connection.give_back();
        Ok(())
    }
}
