//! PostgreSQL, with a client span around each statement.

use std::error::Error;

use deadpool_postgres::{GenericClient, Manager, Object, Pool};
use tokio_postgres::types::ToSql;
use tokio_postgres::{NoTls, Row};
use tracing::info_span;

use crate::error::Result;
use crate::telemetry::in_span;

#[derive(Clone)]
pub struct Database(Pool);

impl Database {
    /// Connects, and creates the shop's tables where they are missing.
    pub async fn open(connection_string: &str) -> Result<Self, Box<dyn Error>> {
        let manager = Manager::new(connection_string.parse()?, NoTls);
        let pool = Pool::builder(manager).max_size(8).build()?;
        let client = pool.get().await?;
        client.batch_execute(include_str!("schema.sql")).await?;
        Ok(Database(pool))
    }

    pub async fn client(&self) -> Result<Object> {
        Ok(self.0.get().await?)
    }
}

/// Runs a statement on a table, within a span by the semantic conventions for databases.
pub async fn query(
    client: &impl GenericClient,
    table: &str,
    sql: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>> {
    let operation = sql.split_whitespace().next().unwrap_or_default();
    let span = info_span!(
        "query",
        otel.name = format!("{operation} {table}"),
        otel.kind = "client",
        db.system.name = "postgresql",
        db.operation.name = operation,
        db.collection.name = table,
        db.query.text = sql,
    );
    in_span(span, async {
        let statement = client.prepare_cached(sql).await?;
        Ok(client.query(&statement, parameters).await?)
    })
    .await
}
