//! Group roles: an owner that migrates, a writer that stores, a reader that searches.

use super::TraceStore;
use super::columns::Columns;
use super::connection::Connection;
use super::partition::is_locked;
use super::schema::{LOCK_TIMEOUT, PAUSES, try_again};
use super::sql::{literal, quoted};
use crate::error::{Error, Result, database_message};

/// What is being done where a table is not to be had in time.
const IN_USE: &str =
    "making roles; a query, a dump or another transaction uses the schema (pg_stat_activity shows it)";

const SCRIPT: &str = include_str!("../../sql/roles.sql");

/// The SQL that makes the group roles of a schema, such as `otel_owner`, `otel_writer` and `otel_reader`, and gives them
/// their rights; it may be run again. It is `sql/roles.sql` with the schema filled in, without commands of psql.
pub fn roles_sql(schema: &str) -> String {
    let lines = SCRIPT.lines().filter(|line| !line.starts_with('\\'));
    let schema = literal(schema);
    lines.map(|line| line.replace(":'schema'", &schema) + "\n").collect()
}

/// The names of a schema's group roles.
pub(super) struct Roles([String; 3]);

impl Roles {
    pub(super) fn of(schema: &str) -> Self {
        Roles(["owner", "writer", "reader"].map(|role| format!("{schema}_{role}")))
    }

    pub(super) fn owner(&self) -> &str {
        &self.0[0]
    }

    pub(super) fn names(&self) -> Vec<&str> {
        self.0.iter().map(String::as_str).collect()
    }

    pub(super) fn quoted(&self) -> [String; 3] {
        [quoted(&self.0[0]), quoted(&self.0[1]), quoted(&self.0[2])]
    }
}

impl TraceStore {
    /// Makes the schema's group roles and gives them their rights, by [`roles_sql`]. It creates the schema where it is
    /// missing; [`migrate`](Self::migrate) creates what is in it.
    ///
    /// # Errors
    /// [`Error::Schema`] where this role may not; [`Error::Connect`], [`Error::Database`], [`Error::Timeout`].
    pub async fn create_roles(&self) -> Result<()> {
        let connection = self.any_connection().await?;
        self.timed("making roles", self.create_roles_on(&connection)).await?;
        connection.give_back();
        Ok(())
    }

    /// Tables that get another owner are locked.
    async fn create_roles_on(&self, connection: &Connection) -> Result<()> {
        let begin = format!("BEGIN;\nSET LOCAL lock_timeout = '{LOCK_TIMEOUT}';");
        let sql = roles_sql(&self.inner.settings.schema).replacen("BEGIN;", &begin, 1);
        let refused = |error| match is_locked(&error) {
            true => Error::Database { doing: IN_USE, source: error },
            false => roles_denied(error),
        };
        let mut pauses = PAUSES.iter();
        loop {
            match connection.batch_execute(&sql).await.map_err(refused) {
                Err(error) => try_again(connection, error, pauses.next()).await?,
                made => return made,
            }
        }
    }

    /// Until the end of the transaction, acts as the tables' owner where the role may, so that what is made is the owner's.
    /// Returns whether that is the schema's own group role.
    pub(super) async fn become_owner(&self, connection: &Connection) -> Result<bool> {
        let doing = || Error::database("looking for the schema's owner");
        let schema = &self.inner.settings.schema;
        let row = connection
            .query_opt(
                // Who owns the tables, or where there are none, the schema.
                "SELECT pg_get_userbyid(owner)::text, pg_has_role(current_user, owner, \
                   CASE WHEN current_setting('server_version_num')::integer < 160000 THEN 'MEMBER' ELSE 'SET' END) \
                 FROM (SELECT coalesce(relowner, nspowner) AS owner FROM pg_namespace n \
                       LEFT JOIN pg_class c ON relnamespace = n.oid AND relname = 'migrations' \
                       WHERE nspname = $1) AS owners",
                &[schema],
            )
            .await
            .map_err(doing())?;
        let Some(row) = row else { return Ok(false) };
        let (owner, may): (&str, bool) = (row.column(0)?, row.column(1)?);
        if !may {
            return Ok(false);
        }
        connection.batch_execute(&format!("SET LOCAL ROLE {}", quoted(owner))).await.map_err(doing())?;
        Ok(owner == Roles::of(schema).owner())
    }

    /// Within a transaction of the owner's: gives the roles their rights on what a migration made.
    pub(super) async fn grant_to_roles(&self, connection: &Connection) -> Result<()> {
        let sql = roles_sql(&self.inner.settings.schema);
        let within: Vec<&str> = sql.lines().filter(|line| !matches!(*line, "BEGIN;" | "COMMIT;")).collect();
        connection.batch_execute(&within.join("\n")).await.map_err(roles_denied)
    }
}

fn roles_denied(error: tokio_postgres::Error) -> Error {
    Error::Schema(format!(
        "the roles could not be made ({}). Run as a superuser: otel-pgvector migrate --roles (or let psql run what \
         otel-pgvector migrate --print-roles prints)",
        database_message(&error)
    ))
}
