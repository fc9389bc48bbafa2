//! A schema that is spread over the nodes of a Citus cluster. Reading and writing know nothing of it.

use opentelemetry::otel_info;
use tokio_postgres::error::SqlState;

use super::TraceStore;
use super::columns::Columns;
use super::connection::Connection;
use super::schema::SchemaInfo;
use crate::error::{Error, Result, database_message};

const SCRIPT: &str = include_str!("../../sql/citus.sql");

impl SchemaInfo {
    /// How documents are locked while they are embedded, so that no two processes embed the same and none waits.
    ///
    /// Citus would lock the whole table, and whoever stores spans with new documents would wait: there nothing is locked.
    pub(super) fn lock_documents(&self) -> &'static str {
        if self.distributed { "" } else { "FOR NO KEY UPDATE SKIP LOCKED" }
    }
}

impl TraceStore {
    /// Whether this process may embed, until the end of the transaction: where documents cannot be locked one by one, one
    /// process at a time may.
    pub(super) async fn has_turn_to_embed(&self, connection: &Connection, info: &SchemaInfo) -> Result<bool> {
        if !info.distributed {
            return Ok(true);
        }
        let name = format!("opentelemetry-pgvector embedding {}", self.inner.settings.schema);
        let lock = "SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))";
        let row = connection
            .query_one(lock, &[&name])
            .await
            .map_err(Error::database("waiting for the turn to embed"))?;
        row.column(0)
    }

    /// Spreads the tables over the nodes of a Citus cluster, with what is in them: spans by the hash of their trace id,
    /// the ledger by that of a batch's, everything else as a copy on every node. [Migrates](Self::migrate) before.
    ///
    /// Returns how many tables were spread; 0 where all are already. Migrations after that spread what they make. While
    /// it copies, writers wait.
    ///
    /// # Errors
    /// [`Error::Schema`] where the extension citus is missing, this node is not the coordinator or the role may not;
    /// [`Error::Connect`], [`Error::Database`].
    pub async fn distribute(&self) -> Result<u64> {
        self.migrate().await?;
        let connection = self.any_connection().await?;
        if !has_citus(&connection).await? {
            return Err(Error::Schema(
                "the extension citus is not installed in this database, so there is no cluster to spread the schema over. \
                 Ask an administrator to have citus in shared_preload_libraries, and to run in this database of each node: \
                 CREATE EXTENSION citus; CREATE EXTENSION vector; and on the coordinator: SELECT citus_add_node('worker', 5432); \
                 for each worker"
                    .into(),
            ));
        }
        let spread = self.timed("spreading the schema", self.distribute_on(&connection)).await?;
        connection.give_back();
        Ok(spread)
    }

    async fn distribute_on(&self, connection: &Connection) -> Result<u64> {
        let doing = || Error::database("spreading the schema");
        connection.batch_execute("BEGIN").await.map_err(doing())?;
        self.become_owner(connection).await?;
        let path = format!("SET LOCAL search_path TO {}, pg_temp", self.inner.sql.schema);
        connection.batch_execute(&path).await.map_err(doing())?;
        let before = self.spread_tables(connection).await?;
        self.spread(connection).await?;
        let spread = self.spread_tables(connection).await? - before;
        connection.batch_execute("COMMIT").await.map_err(doing())?;
        otel_info!(name: "TraceStore.Distributed", schema = self.inner.settings.schema.as_str(), tables = spread);
        Ok(spread)
    }

    /// Whether the schema is spread over a cluster.
    pub(super) async fn is_distributed(&self, connection: &Connection) -> Result<bool> {
        Ok(has_citus(connection).await? && self.spread_tables(connection).await? > 0)
    }

    /// Spreads what is not spread yet, within a transaction of the owner's with the search path of a migration.
    pub(super) async fn spread(&self, connection: &Connection) -> Result<()> {
        connection.batch_execute(SCRIPT).await.map_err(refused)
    }

    async fn spread_tables(&self, connection: &Connection) -> Result<u64> {
        let sql = "SELECT count(*) FROM pg_dist_partition JOIN pg_class c ON c.oid = logicalrelid \
                   JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = $1 AND NOT relispartition";
        let row = connection
            .query_one(sql, &[&self.inner.settings.schema])
            .await
            .map_err(Error::database("looking for tables that are spread"))?;
        row.count(0)
    }
}

async fn has_citus(connection: &Connection) -> Result<bool> {
    let sql = "SELECT FROM pg_extension WHERE extname = 'citus'";
    let found =
        connection.query_opt(sql, &[]).await.map_err(Error::database("looking for the extension citus"))?;
    Ok(found.is_some())
}

fn refused(error: tokio_postgres::Error) -> Error {
    match error.code() {
        Some(&SqlState::INSUFFICIENT_PRIVILEGE) => Error::Schema(format!(
            "this role may not spread the schema over the cluster ({}). Run as the tables' owner, which may log in to all \
             nodes: otel-pgvector migrate --citus",
            database_message(&error)
        )),
        _ => Error::database("spreading the schema")(error),
    }
}
