//! What an operator wants to know of the store.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use serde::Serialize;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

use super::TraceStore;
use super::columns::Columns;
use super::connection::Connection;
use super::roles::Roles;
use crate::error::{Error, Result};

/// The state of the store, from one look at the database.
///
/// What is `None` may not be read by this role, or there is none of it. Times are RFC 3339 in UTC, to the second.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// Whether spans can be stored: database, schema and extension are there, and the server is not read-only.
    pub healthy: bool,
    /// How many traces are stored; beyond a million spans an estimate, the number of roots.
    pub total_traces: u64,
    /// How many spans are stored; beyond a million the planner's estimate.
    pub total_spans: u64,
    /// How many documents are stored.
    pub documents: u64,
    /// How many documents wait for their embedding.
    pub documents_waiting: u64,
    /// When the first of these was stored; none while none waits.
    pub waiting_since: Option<String>,
    /// How many texts' embeddings are cached in this process.
    pub cache_size: u64,
    /// The server's version.
    pub server_version: Option<String>,
    /// The version of pgvector.
    pub pgvector_version: Option<String>,
    /// The version of the schema; 0 where it is missing.
    pub schema_version: i32,
    /// The model that made the embeddings; none while there are none.
    pub model: Option<String>,
    /// How many NULs this process has replaced in texts.
    pub nuls_replaced: u64,
    /// When the oldest span started; beyond a million spans, the oldest root.
    pub oldest_span: Option<String>,
    /// When the newest span started; beyond a million spans, the newest root.
    pub newest_span: Option<String>,
    /// How many batches the ledger knows; beyond a million the planner's estimate.
    pub ledger_entries: Option<u64>,
    /// When the first of them was stored; none beyond a million.
    pub ledger_oldest: Option<String>,
    /// For how many days beginning with today there are partitions; fewer than three mean that they are not made ahead.
    pub days_ahead: Option<u64>,
    /// How many spans the default partition has, by the server's statistics: those of impossible clocks, and those that
    /// `otel-pgvector maintain` would move to their days.
    pub default_spans: Option<u64>,
    /// How many partitions there are, with the default one.
    pub partitions: Option<u64>,
    /// With so many, days before last week get no more: what the server has locks for, at most 1,500.
    pub partition_limit: Option<u64>,
    /// When the oldest day begins that has a partition.
    pub oldest_partition: Option<String>,
    /// When maintenance last began.
    pub maintained: Option<String>,
    /// Bytes on disk of the schema's tables with their TOAST, without indexes.
    pub table_bytes: Option<u64>,
    /// Bytes on disk of the schema's indexes.
    pub index_bytes: Option<u64>,
    /// Connections to this database by `application_name`.
    pub connections: Option<BTreeMap<String, u64>>,
    /// Whether the server takes no writes now: it recovers, is a standby, or was set so.
    pub read_only: Option<bool>,
    /// The role that looked.
    pub role: Option<String>,
    /// The schema's group roles that are there, each with its members.
    pub roles: Option<BTreeMap<String, Vec<String>>>,
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

const READ_ONLY: &str = "the server is read-only: it recovers, is a standby, or was set so";

/// Up to so many rows everything is counted exactly.
const COUNTED: i64 = 1_000_000;

/// The planner's estimate of the rows of a table with its partitions, by the parameter $1.
const ESTIMATE: &str = "SELECT coalesce(sum(greatest(reltuples, 0)), 0)::bigint FROM pg_class \
     WHERE oid = to_regclass($1) AND relkind = 'r' \
        OR oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = to_regclass($1))";

impl Health {
    /// Whether all that is wrong is that the server takes no writes: it can be searched.
    #[cfg(feature = "serve")]
    pub(crate) fn only_read_only(&self) -> bool {
        self.error.as_deref() == Some(READ_ONLY)
    }
}

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
            Ok(()) if health.read_only == Some(true) => {
                health.error = Some(READ_ONLY.into());
            }
            Ok(()) => health.healthy = true,
            Err(error) => health.error = Some(error.to_string()),
        }
        health
    }

    /// Looks whether spans can be stored: at the schema, at this role's rights, and whether the server takes writes.
    ///
    /// # Errors
    /// What keeps them from being stored.
    #[cfg(feature = "serve")]
    pub(crate) async fn check_writing(&self) -> Result<()> {
        const WRITTEN: [&str; 4] = ["batches", "span_documents", "span_resources", "span_rows"];
        let doing = "checking whether spans can be stored";
        let check = async {
            let (connection, _) = self.connection().await?;
            let tables = WRITTEN.map(|table| format!("{}.{table}", self.inner.sql.schema));
            let sql = "SELECT current_setting('transaction_read_only') = 'on', current_user::text, \
                       (SELECT string_agg(name, ', ') FROM unnest($1::text[]) AS name \
                        WHERE NOT has_any_column_privilege(name, 'INSERT'))";
            let row =
                connection.query_one(sql, &[&tables.as_slice()]).await.map_err(Error::database(doing))?;
            if row.column(0)? {
                return Err(Error::Schema(READ_ONLY.into()));
            }
            connection.give_back();
            match row.column::<Option<String>>(2)? {
                None => Ok(()),
                Some(tables) => Err(Error::Schema(format!(
                    "the role {} may not insert into {tables} (otel-pgvector migrate --print-roles prints the SQL that \
                     gives rights)",
                    row.column::<String>(1)?
                ))),
            }
        };
        self.timed(doing, check).await
    }

    async fn look(&self, health: &mut Health) -> Result<()> {
        let connection = self.any_connection().await?;
        self.look_at_server(&connection, health).await?;
        // There may be no other.
        connection.give_back();
        let (connection, _) = self.connection().await?;
        let doing = || Error::database("checking the store");
        let name = &self.inner.sql.schema;
        let row = connection
            .query_one(
                &format!(
                    "SELECT (SELECT count(*) FROM {name}.span_documents), count(*), {}, \
                     (SELECT name FROM {name}.embedding_model) \
                     FROM {name}.span_documents WHERE embedding IS NULL",
                    rfc3339("min(first_seen)")
                ),
                &[],
            )
            .await
            .map_err(doing())?;
        health.documents = row.count(0)?;
        health.documents_waiting = row.count(1)?;
        health.waiting_since = row.column(2)?;
        health.model = row.column(3)?;

        let estimate = estimate(&connection, &format!("{name}.span_rows")).await?;
        let (oldest, newest) = (rfc3339("min(start_time)"), rfc3339("max(start_time)"));
        let count = if estimate > COUNTED {
            format!(
                "SELECT {estimate}::bigint, count(*), {oldest}, {newest} FROM {name}.span_rows WHERE parent_span_id = 0"
            )
        } else {
            format!("SELECT count(*), count(DISTINCT trace_id), {oldest}, {newest} FROM {name}.span_rows")
        };
        let row = connection.query_one(&count, &[]).await.map_err(doing())?;
        health.total_spans = row.count(0)?;
        health.total_traces = row.count(1)?;
        health.oldest_span = row.column(2)?;
        health.newest_span = row.column(3)?;
        self.look_at_ledger(&connection, health).await?;
        self.look_at_partitions(&connection, health).await?;
        self.look_around(&connection, health).await?;
        // A connection that cannot write is of no use to anyone who stores.
        if health.read_only != Some(true) {
            connection.give_back();
        }
        Ok(())
    }

    /// What is known of a database without a schema, too.
    async fn look_at_server(&self, connection: &Connection, health: &mut Health) -> Result<()> {
        let row = connection
            .query_one(
                "SELECT current_setting('server_version'), current_user::text, \
                 current_setting('transaction_read_only') = 'on', \
                 (SELECT extversion FROM pg_extension WHERE extname = 'vector')",
                &[],
            )
            .await
            .map_err(Error::database("checking the store"))?;
        health.server_version = Some(row.column(0)?);
        health.role = Some(row.column(1)?);
        health.read_only = Some(row.column(2)?);
        health.pgvector_version = row.column(3)?;
        health.schema_version = self.version(connection).await?;
        Ok(())
    }

    async fn look_at_ledger(&self, connection: &Connection, health: &mut Health) -> Result<()> {
        let ledger = format!("{}.batches", self.inner.sql.schema);
        let estimate = estimate(connection, &ledger).await?;
        if estimate > COUNTED {
            health.ledger_entries = Some(estimate as u64);
            return Ok(());
        }
        let count = format!("SELECT count(*), {} FROM {ledger}", rfc3339("min(stored_at)"));
        if let Some(row) = rows(connection, &count, &[]).await?.and_then(|mut rows| rows.pop()) {
            health.ledger_entries = Some(row.count(0)?);
            health.ledger_oldest = row.column(1)?;
        }
        Ok(())
    }

    async fn look_at_partitions(&self, connection: &Connection, health: &mut Health) -> Result<()> {
        let schema = &self.inner.sql.schema;
        let look = format!(
            "SELECT count(*), coalesce(sum(spans) FILTER (WHERE is_default), 0)::bigint, \
                    count(*) FILTER (WHERE to_time > now() AND from_time < now() + interval '30 days'), \
                    {}, (SELECT {} FROM {schema}.maintenance WHERE started_at > '-infinity'), \
                    {schema}.partition_limit() \
             FROM {schema}.partitions",
            rfc3339("min(from_time)"),
            rfc3339("started_at")
        );
        if let Some(row) = rows(connection, &look, &[]).await?.and_then(|mut rows| rows.pop()) {
            health.partitions = Some(row.count(0)?);
            health.default_spans = Some(row.count(1)?);
            health.days_ahead = Some(row.count(2)?);
            health.oldest_partition = row.column(3)?;
            health.maintained = row.column(4)?;
            health.partition_limit = Some(row.count(5)?);
        }
        Ok(())
    }

    /// What the server knows beside the tables' content.
    async fn look_around(&self, connection: &Connection, health: &mut Health) -> Result<()> {
        let schema = &self.inner.settings.schema;
        let sizes = "SELECT sum(pg_table_size(c.oid))::bigint, sum(pg_indexes_size(c.oid))::bigint FROM pg_class c \
                     JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = $1 AND relkind = 'r'";
        if let Some(row) = rows(connection, sizes, &[schema]).await?.and_then(|mut rows| rows.pop()) {
            // Null where the tables were dropped meanwhile.
            health.table_bytes = row.column::<Option<i64>>(0)?.map(|bytes| bytes as u64);
            health.index_bytes = row.column::<Option<i64>>(1)?.map(|bytes| bytes as u64);
        }
        let connections = "SELECT coalesce(nullif(application_name, ''), 'unknown'), count(*) FROM pg_stat_activity \
                           WHERE datname = current_database() AND backend_type = 'client backend' GROUP BY 1";
        health.connections = rows(connection, connections, &[])
            .await?
            .map(|rows| rows.iter().map(|row| Ok((row.column(0)?, row.count(1)?))).collect())
            .transpose()?;
        let roles = "SELECT r.rolname::text, array_remove(array_agg(DISTINCT m.rolname::text), NULL) \
                     FROM pg_roles r LEFT JOIN pg_auth_members a ON a.roleid = r.oid \
                     LEFT JOIN pg_roles m ON m.oid = a.member WHERE r.rolname::text = ANY($1) GROUP BY 1";
        health.roles = rows(connection, roles, &[&Roles::of(schema).names()])
            .await?
            .map(|rows| rows.iter().map(|row| Ok((row.column(0)?, row.column(1)?))).collect())
            .transpose()?;
        Ok(())
    }
}

/// A timestamp, or null, as text.
fn rfc3339(time: &str) -> String {
    format!("to_char({time} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')")
}

async fn estimate(connection: &Connection, table: &str) -> Result<i64> {
    let row =
        connection.query_one(ESTIMATE, &[&table]).await.map_err(Error::database("checking the store"))?;
    row.column(0)
}

/// Rows, or `None` where this role may not read them.
async fn rows(
    connection: &Connection,
    sql: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Option<Vec<Row>>> {
    match connection.query(sql, parameters).await {
        Ok(rows) => Ok(Some(rows)),
        Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => Ok(None),
        Err(error) => Err(Error::database("checking the store")(error)),
    }
}
