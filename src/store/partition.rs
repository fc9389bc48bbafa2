//! A span of any time finds a partition: where the default one is gone, it is made again.

use opentelemetry::otel_info;

use uuid::Uuid;

use super::write::Ahead;
use super::{Batch, Stored, TraceStore};
use crate::error::{Error, Result};

impl TraceStore {
    /// Sends a batch; when a row finds no partition, makes the default partition, if the role may, and sends it again.
    pub(super) async fn send_to_partitions(
        &self,
        entries: &[(Uuid, i32)],
        batch: &Batch,
        ahead: Ahead,
    ) -> Result<Stored> {
        match self.send_once(entries, batch, ahead).await {
            Err(error) if error.is_missing_partition() => {}
            result => return result,
        }
        // Another process may be faster, so whether this worked is told by the second attempt.
        let made = self.create_default_partition().await;
        match self.send_once(entries, batch, Ahead::Nothing).await {
            Err(error) if error.is_missing_partition() => Err(self.missing_partition(made.err())),
            result => result,
        }
    }

    async fn create_default_partition(&self) -> Result<()> {
        let connection = self.any_connection().await?;
        let schema = &self.inner.sql.schema;
        let doing = || Error::database("creating the default partition");
        connection.batch_execute("BEGIN").await.map_err(doing())?;
        self.become_owner(&connection).await?;
        let create = format!(
            "CREATE TABLE IF NOT EXISTS {schema}.span_rows_default PARTITION OF {schema}.span_rows DEFAULT; \
             COMMENT ON TABLE {schema}.span_rows_default IS 'Spans of times for which there is no partition of their own.'; \
             COMMIT"
        );
        connection.batch_execute(&create).await.map_err(Error::database("creating the default partition"))?;
        connection.give_back();
        otel_info!(name: "TraceStore.PartitionCreated", schema = self.inner.settings.schema.as_str());
        Ok(())
    }

    fn missing_partition(&self, reason: Option<Error>) -> Error {
        let schema = &self.inner.sql.schema;
        let reason = reason.map(|error| format!(" ({error})")).unwrap_or_default();
        Error::Schema(format!(
            "no partition of {schema}.span_rows takes the time of a span, and the default partition could not be made{reason}. \
             Run as the schema's owner: CREATE TABLE {schema}.span_rows_default PARTITION OF {schema}.span_rows DEFAULT; (or, \
             where it was detached: ALTER TABLE {schema}.span_rows ATTACH PARTITION {schema}.span_rows_default DEFAULT;)"
        ))
    }
}
