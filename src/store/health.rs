//! What an operator wants to know of the store.

use std::sync::atomic::Ordering;

use serde::Serialize;

use super::TraceStore;
use super::schema::SCHEMA_VERSION;
use crate::error::{Error, Result};

/// The state of the store, from one look at the database.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// Whether spans can be stored: database, schema and extension are there.
    pub healthy: bool,
    /// How many traces are stored; beyond a million spans an estimate, the number of roots.
    pub total_traces: u64,
    /// How many spans are stored; beyond a million the planner's estimate.
    pub total_spans: u64,
    /// How many documents are stored.
    pub documents: u64,
    /// How many documents wait for their embedding.
    pub documents_waiting: u64,
    /// How many texts' embeddings are cached in this process.
    pub cache_size: u64,
    /// The server's version.
    pub server_version: Option<String>,
    /// The version of pgvector.
    pub pgvector_version: Option<String>,
    /// The version of the schema.
    pub schema_version: i32,
    /// The model that made the embeddings; none while there are none.
    pub model: Option<String>,
    /// How many NULs this process has replaced in texts.
    pub nuls_replaced: u64,
    /// How many attributes this process has masked or hashed, as a whole or a parameter in them.
    pub attributes_redacted: u64,
    /// How many attributes this process has dropped, by a rule or a limit.
    pub attributes_dropped: u64,
    /// How many texts and byte arrays in attributes this process has cut.
    pub attributes_truncated: u64,
    /// How many events this process has dropped by the limit.
    pub events_dropped: u64,
    /// How many links this process has dropped by the limit.
    pub links_dropped: u64,
    /// Why it is not healthy, or what it lacks otherwise.
    pub error: Option<String>,
}

/// Up to so many spans everything is counted exactly.
const COUNTED: i64 = 1_000_000;

impl TraceStore {
    /// Looks at the database and says how it is. Never fails: what is wrong stands in [`Health::error`].
    pub async fn health_check(&self) -> Health {
        let scrubbed = self.inner.scrubbed.total();
        let mut health = Health {
            cache_size: self.inner.embedder.cache_size(),
            nuls_replaced: self.inner.nuls_replaced.load(Ordering::Relaxed),
            attributes_redacted: scrubbed.attributes_redacted,
            attributes_dropped: scrubbed.attributes_dropped,
            attributes_truncated: scrubbed.attributes_truncated,
            events_dropped: scrubbed.events_dropped,
            links_dropped: scrubbed.links_dropped,
            ..Health::default()
        };
        match self.timed("checking the store", self.look(&mut health)).await {
            Ok(()) => health.healthy = true,
            Err(error) => health.error = Some(error.to_string()),
        }
        health
    }

    async fn look(&self, health: &mut Health) -> Result<()> {
        let (connection, schema) = self.connection().await?;
        health.pgvector_version = Some(schema.pgvector.clone());
        health.schema_version = SCHEMA_VERSION;
        let doing = || Error::database("checking the store");
        let name = &self.inner.sql.schema;
        let row = connection
            .query_one(
                &format!(
                    "SELECT current_setting('server_version'), \
                     (SELECT count(*) FROM {name}.span_documents), \
                     (SELECT count(*) FROM {name}.span_documents WHERE embedding IS NULL), \
                     (SELECT name FROM {name}.embedding_model), \
                     (SELECT coalesce(sum(greatest(c.reltuples, 0)), 0)::bigint FROM pg_inherits i \
                      JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = to_regclass($1))"
                ),
                &[&format!("{name}.span_rows")],
            )
            .await
            .map_err(doing())?;
        health.server_version = Some(row.get(0));
        health.documents = row.get::<_, i64>(1) as u64;
        health.documents_waiting = row.get::<_, i64>(2) as u64;
        health.model = row.get(3);
        let estimate: i64 = row.get(4);
        let count = if estimate > COUNTED {
            format!("SELECT {estimate}::bigint, count(*) FROM {name}.span_rows WHERE parent_span_id = 0")
        } else {
            format!("SELECT count(*), count(DISTINCT trace_id) FROM {name}.span_rows")
        };
        let row = connection.query_one(&count, &[]).await.map_err(doing())?;
        health.total_spans = row.get::<_, i64>(0) as u64;
        health.total_traces = row.get::<_, i64>(1) as u64;
        connection.give_back();
        Ok(())
    }
}
