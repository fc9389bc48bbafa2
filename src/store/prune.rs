//! Pruning the ledger: a batch is recognised for `ledger_days`, which is longer than anybody sends it again.

use opentelemetry::otel_debug;

use super::TraceStore;
use super::columns::Columns;
use crate::error::{Error, Result};

/// Entries that are deleted in one transaction.
const CHUNK: i32 = 10_000;

impl TraceStore {
    /// Deletes the ledger's entries of batches that were stored more than `ledger_days` ago, by the server's clock, and
    /// returns how many. A store that writes does this about every hour by itself.
    ///
    /// Only ids of version 7 whose time is as old are deleted, as the exporter makes them: an import recognises its
    /// batches for good. While another process prunes, this does nothing. No writer waits for it.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Database`], [`Error::Timeout`], [`Error::Schema`].
    pub async fn prune_ledger(&self) -> Result<u64> {
        let mut pruned = 0;
        loop {
            let chunk = self.timed("pruning the ledger", self.prune_chunk()).await?;
            pruned += chunk;
            if chunk < CHUNK as u64 {
                break;
            }
        }
        if pruned > 0 {
            otel_debug!(name: "TraceStore.LedgerPruned", entries = pruned);
        }
        Ok(pruned)
    }

    async fn prune_chunk(&self) -> Result<u64> {
        let doing = || Error::database("pruning the ledger");
        let (connection, _) = self.connection().await?;
        let sql = &self.inner.sql;
        let lock = format!("opentelemetry-pgvector ledger {}", self.inner.settings.schema);
        let days = self.inner.settings.ledger_days as i32;
        let rows =
            connection.query_prepared(&sql.prune_ledger, &[&lock, &days, &CHUNK]).await.map_err(doing())?;
        connection.give_back();
        // Null: another process prunes.
        let pruned = rows.first().map_or(Ok(None), |row| row.column::<Option<i64>>(0))?;
        Ok(pruned.unwrap_or(0).max(0).unsigned_abs())
    }
}
