//! Which traces: their ids, from a cursor.

use opentelemetry::trace::TraceId;

use crate::error::{Error, Result};
use crate::search::{Filter, Parameters, ids_of_traces};
use crate::store::{Columns, Connection, TraceStore};

const CURSOR: &str = "opentelemetry_pgvector_export";

/// Which traces are exported, whole: those with a span that passes the conditions. An empty one is all traces.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// The conditions.
    pub filter: Filter,
    /// At most so many traces.
    pub limit: Option<u64>,
}

impl From<Filter> for Selection {
    fn from(filter: Filter) -> Self {
        Selection { filter, limit: None }
    }
}

/// The ids of selected traces, a page after the other.
pub(super) struct Ids {
    connection: Connection,
}

impl Ids {
    /// Opens the cursor; it sees what was committed by now.
    pub(super) async fn open(store: &TraceStore, selection: &Selection) -> Result<Self> {
        let (connection, _) = store.connection().await?;
        let mut parameters = Parameters::default();
        let mut select = ids_of_traces(&selection.filter, &store.sql().schema, &mut parameters);
        if let Some(limit) = selection.limit {
            let limit = parameters.bind(i64::try_from(limit).unwrap_or(i64::MAX));
            select += &format!(" LIMIT {limit}");
        }
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
        connection.query(&declare, &parameters.as_slice()).await.map_err(doing())?;
        Ok(Ids { connection })
    }

    /// The next so many ids; none at the end.
    pub(super) async fn next(&mut self, count: usize) -> Result<Vec<TraceId>> {
        let fetch = format!("FETCH {count} FROM {CURSOR}");
        let rows = self.connection.query(&fetch, &[]).await.map_err(Error::database("selecting traces"))?;
        rows.iter().map(|row| row.trace_id(0)).collect()
    }

    pub(super) async fn close(self) -> Result<()> {
        self.connection.batch_execute("COMMIT").await.map_err(Error::database("selecting traces"))?;
        self.connection.give_back();
        Ok(())
    }
}
