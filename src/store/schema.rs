//! The schema: numbered migrations, compiled in.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::{otel_info, otel_warn};
use tokio_postgres::error::SqlState;

use super::TraceStore;
use super::columns::Columns;
use super::connection::Connection;
use super::partition::is_lock_timeout;
use super::roles::Roles;
use super::sql::quoted;
use crate::error::{Error, Result};
use crate::settings::Settings;

/// The migrations, in their order; a migration's number is its place.
const MIGRATIONS: &[(&str, &str)] = &[
    ("tables", include_str!("../../sql/0001_tables.sql")),
    ("views", include_str!("../../sql/0002_views.sql")),
    ("ledger", include_str!("../../sql/0003_ledger.sql")),
    ("words", include_str!("../../sql/0004_words.sql")),
    ("filters", include_str!("../../sql/0005_filters.sql")),
    ("reembed", include_str!("../../sql/0006_reembed.sql")),
    ("partitions", include_str!("../../sql/0007_partitions.sql")),
    ("dependencies", include_str!("../../sql/0008_dependencies.sql")),
    ("prune dependencies", include_str!("../../sql/0009_prune_dependencies.sql")),
    ("maintenance", include_str!("../../sql/0010_maintenance.sql")),
    ("least client", include_str!("../../sql/0011_least_client.sql")),
    ("calls once", include_str!("../../sql/0012_calls_once.sql")),
    ("traces", include_str!("../../sql/0013_traces.sql")),
    ("span body", include_str!("../../sql/0014_span_body.sql")),
    ("calls without roots", include_str!("../../sql/0015_calls_without_roots.sql")),
];

/// The version of the schema that this crate makes, writes and reads: the number of its last migration. It works with a later
/// one, too, where the migrations there say so.
pub const SCHEMA_VERSION: i32 = MIGRATIONS.len() as i32;

/// The version of the oldest clients that work with this schema: they go on while others are upgraded. A migration that
/// changes what clients write, read or call raises it to its own number; one that only adds leaves it.
const LEAST_CLIENT: i32 = 11;

/// The oldest pgvector that works: 0.7 brought HNSW's parallel build and the types that search relies on.
const PGVECTOR: (u32, u32) = (0, 7);
/// The oldest server that works, as in `server_version_num`.
const SERVER: i32 = 140_000;

/// How long a migration waits for a lock on a table: everyone else waits behind it, and an export hands over after two seconds.
pub(super) const LOCK_TIMEOUT: &str = "1s";
/// How long everyone else goes on until each of the next attempts.
pub(super) const PAUSES: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];
/// What is being done where the lock of processes that migrate was not to be had in time.
const TURN: &str = "waiting for another process that migrates the schema";
/// What is being done where a table's was not.
const IN_USE: &str =
    "migrating the schema, which a query, a dump or another transaction uses (pg_stat_activity shows it)";

/// Ends a transaction that failed and waits until it may be tried again, where it waited too long for a lock or ended in a
/// deadlock.
///
/// # Errors
/// The transaction's own, where it fails for another reason or there is no further pause.
pub(super) async fn try_again(connection: &Connection, error: Error, pause: Option<&Duration>) -> Result<()> {
    // The first error is the one to report; if this fails too, the connection is closed anyway.
    let _ = connection.batch_execute("ROLLBACK").await;
    match pause {
        Some(pause) if is_lock_timeout(&error) && !matches!(error, Error::Database { doing: TURN, .. }) => {
            tokio::time::sleep(*pause).await;
            Ok(())
        }
        _ => Err(error),
    }
}

/// Where the migrations that were applied are noted.
const MIGRATIONS_TABLE: &str = "\
    CREATE TABLE migrations (version integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now()); \
    COMMENT ON TABLE migrations IS 'Migrations of this schema that were applied.'; \
    COMMENT ON COLUMN migrations.version IS 'The migration''s number.'; \
    COMMENT ON COLUMN migrations.name IS 'What it brought.'; \
    COMMENT ON COLUMN migrations.applied_at IS 'When it was applied.'";

/// What is known of the database's schema once it was checked.
pub(crate) struct SchemaInfo {
    /// The vector type, qualified with its schema.
    pub vector: String,
    /// The operator of cosine distance, qualified.
    pub distance: String,
    /// The operator class of indexes for it, qualified.
    pub cosine: String,
    pub store_embeddings: String,
    /// Version of pgvector.
    pub pgvector: String,
    /// Whether the tables are spread over a Citus cluster.
    pub distributed: bool,
}

impl TraceStore {
    /// Makes sure that the schema is there: migrates it, or checks it when `migrate` is off. Once it is known to be
    /// there, this costs nothing.
    pub(super) async fn ready(&self) -> Result<Arc<SchemaInfo>> {
        if let Some(known) = self.known_schema().clone() {
            return Ok(known);
        }
        let _one_at_a_time = self.inner.preparing.lock().await;
        if let Some(known) = self.known_schema().clone() {
            return Ok(known);
        }
        let connection = self.any_connection().await?;
        if self.inner.settings.migrate
            && (self.version(&connection).await? < SCHEMA_VERSION || self.is_renamed(&connection).await?)
        {
            self.migrate_on(&connection).await?;
        }
        let info = Arc::new(self.check(&connection).await?);
        connection.give_back();
        *self.known_schema() = Some(Arc::clone(&info));
        Ok(info)
    }

    /// Brings the schema to [`SCHEMA_VERSION`], and makes partitions for the next days; returns how many migrations it
    /// took. Does nothing where nothing is to do, and is safe with many processes at once.
    ///
    /// # Errors
    /// [`Error::Schema`] with the SQL to run where the extension or a right is missing; [`Error::Connect`].
    pub async fn migrate(&self) -> Result<usize> {
        let connection = self.any_connection().await?;
        let applied = self.timed("migrating the schema", self.migrate_on(&connection)).await?;
        self.check(&connection).await?;
        connection.give_back();
        // Whoever stores spans makes partitions, too; until then, and where this fails, the default one takes them.
        if let Err(error) = self.make_days_ahead().await {
            otel_warn!(name: "TraceStore.PartitionsNotMadeAhead", reason = error.to_string());
        }
        Ok(applied)
    }

    async fn migrate_on(&self, connection: &Connection) -> Result<usize> {
        let mut pauses = PAUSES.iter();
        loop {
            match self.apply(connection).await {
                Err(error) => try_again(connection, error, pauses.next()).await?,
                applied => return applied,
            }
        }
    }

    async fn apply(&self, connection: &Connection) -> Result<usize> {
        let doing = || Error::database("migrating the schema");
        connection.batch_execute("BEGIN").await.map_err(doing())?;
        // Processes that start at the same time take turns.
        let lock = format!("opentelemetry-pgvector {}", self.inner.settings.schema);
        connection
            .query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", &[&lock])
            .await
            .map_err(Error::database(TURN))?;
        let version = self.version(connection).await?;
        if version >= SCHEMA_VERSION {
            self.check_least_client(connection, version).await?;
            if self.is_renamed(connection).await? {
                self.become_owner(connection).await?;
                self.follow_rename(connection).await?;
            }
            if self.are_embeddings_gone(connection).await? {
                let extension_schema = self.extension(connection).await?.0;
                let has_roles = self.become_owner(connection).await?;
                self.set_path(connection, &extension_schema).await?;
                self.make_embeddings_again(connection).await?;
                self.complete(connection, has_roles).await?;
            }
            connection.batch_execute("COMMIT").await.map_err(doing())?;
            return Ok(0);
        }
        self.check_encoding(connection).await?;
        let extension_schema = self.extension(connection).await?.0;
        self.create_schema(connection).await?;
        let has_roles = self.become_owner(connection).await?;
        self.set_path(connection, &extension_schema).await?;
        if version == 0 {
            connection.batch_execute(MIGRATIONS_TABLE).await.map_err(|error| self.denied(error, version))?;
        }
        for (number, (name, text)) in (1..).zip(MIGRATIONS).skip(version as usize) {
            let text =
                text.replace("vector(384)", &format!("vector({})", self.inner.settings.embedding_dimension));
            connection.batch_execute(&text).await.map_err(|error| self.denied(error, version))?;
            connection
                .execute("INSERT INTO migrations (version, name) VALUES ($1, $2)", &[&number, name])
                .await
                .map_err(doing())?;
        }
        let leave = "UPDATE migrations SET least_client = $1 WHERE version = $2";
        connection.execute(leave, &[&LEAST_CLIENT, &SCHEMA_VERSION]).await.map_err(doing())?;
        self.follow_rename(connection).await?;
        self.complete(connection, has_roles).await?;
        connection.batch_execute("COMMIT").await.map_err(doing())?;
        otel_info!(name: "TraceStore.Migrated", schema = self.inner.settings.schema.as_str(), from = version, to = SCHEMA_VERSION);
        Ok((SCHEMA_VERSION - version) as usize)
    }

    /// Lets names be those of the schema and of the extension, and limits how long others wait behind a migration.
    async fn set_path(&self, connection: &Connection, extension_schema: &str) -> Result<()> {
        let path = format!(
            "SET LOCAL search_path TO {}, {}, pg_temp; SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'",
            self.inner.sql.schema,
            quoted(extension_schema)
        );
        connection.batch_execute(&path).await.map_err(Error::database("migrating the schema"))
    }

    /// Spreads what was made over the cluster, and gives the roles their rights on it.
    async fn complete(&self, connection: &Connection, has_roles: bool) -> Result<()> {
        if self.is_distributed(connection).await? {
            self.spread(connection).await?;
        }
        if has_roles {
            self.grant_to_roles(connection).await?;
        }
        Ok(())
    }

    /// Creates the schema unless it is there, as where an administrator made it for a role that may not.
    async fn create_schema(&self, connection: &Connection) -> Result<()> {
        let schema = &self.inner.sql.schema;
        let exists = connection
            .query_opt("SELECT FROM pg_namespace WHERE nspname = $1", &[&self.inner.settings.schema])
            .await
            .map_err(Error::database("looking for the schema"))?;
        if exists.is_none() {
            let create = format!("CREATE SCHEMA {schema}");
            connection.batch_execute(&create).await.map_err(|error| self.denied(error, 0))?;
        }
        Ok(())
    }

    /// The schema's version, 0 where there is none.
    pub(super) async fn version(&self, connection: &Connection) -> Result<i32> {
        let schema = &self.inner.sql.schema;
        // By itself to_regclass answers from what the connection remembers, which is out of date once another process
        // had its turn; a table in FROM makes it look again.
        let there = connection
            .query_one(
                "SELECT to_regclass($1) IS NOT NULL FROM pg_catalog.pg_namespace LIMIT 1",
                &[&format!("{schema}.migrations")],
            )
            .await
            .map_err(|error| self.may_not_use(error))?;
        if !there.column::<bool>(0)? {
            return Ok(0);
        }
        let row = connection
            .query_one(&format!("SELECT coalesce(max(version), 0) FROM {schema}.migrations"), &[])
            .await
            .map_err(|error| self.may_not_use(error))?;
        row.column(0)
    }

    /// Refuses a schema of a later release that does not say that this one still works with it.
    async fn check_least_client(&self, connection: &Connection, version: i32) -> Result<()> {
        if version <= SCHEMA_VERSION {
            return Ok(());
        }
        let least = format!(
            "SELECT coalesce(least_client, version) FROM {}.migrations ORDER BY version DESC LIMIT 1",
            self.inner.sql.schema
        );
        let row = connection
            .query_one(&least, &[])
            .await
            .map_err(Error::database("reading the schema's version"))?;
        match row.column::<i32>(0)? {
            least if least > SCHEMA_VERSION => Err(Error::Schema(format!(
                "the schema has version {version} and takes clients from version {least} on, newer than version \
                 {SCHEMA_VERSION} of this crate: upgrade opentelemetry-pgvector"
            ))),
            _ => Ok(()),
        }
    }

    /// The schema and the version of the extension, which is installed where it is missing and may be.
    async fn extension(&self, connection: &Connection) -> Result<(String, String)> {
        if let Some(found) = self.find_extension(connection).await? {
            return Ok(found);
        }
        let denied = |source: tokio_postgres::Error| {
            let lacking = source.code() == Some(&SqlState::FEATURE_NOT_SUPPORTED);
            let reason = crate::error::database_message(&source);
            let error = Error::Database { doing: "installing the extension pgvector", source };
            // What passes by itself, such as a standby that has no extension yet, needs no administrator.
            if error.is_transient() && !lacking {
                return error;
            }
            Error::Schema(format!(
                "the extension pgvector is not installed in this database and this role may not install it ({reason}). Ask an \
                 administrator to install pgvector on the server and to run, in this database: CREATE EXTENSION vector;"
            ))
        };
        // Who makes another schema takes no turns with this one, and may have installed it meanwhile.
        connection
            .batch_execute(
                "DO $$ BEGIN CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public; \
                 EXCEPTION WHEN unique_violation OR duplicate_object THEN NULL; END $$",
            )
            .await
            .map_err(denied)?;
        self.find_extension(connection).await?.ok_or_else(|| {
            Error::Schema("the extension pgvector did not appear; run: CREATE EXTENSION vector;".into())
        })
    }

    async fn find_extension(&self, connection: &Connection) -> Result<Option<(String, String)>> {
        let row = connection
            .query_opt(
                "SELECT n.nspname::text, e.extversion FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace \
                 WHERE e.extname = 'vector'",
                &[],
            )
            .await
            .map_err(Error::database("looking for the extension pgvector"))?;
        row.map(|row| Ok((row.column(0)?, row.column(1)?))).transpose()
    }

    /// Spans have any character.
    async fn check_encoding(&self, connection: &Connection) -> Result<()> {
        let row = connection
            .query_one("SELECT current_setting('server_encoding'), current_database()::text", &[])
            .await
            .map_err(Error::database("looking for the database's encoding"))?;
        let (encoding, database): (String, String) = (row.column(0)?, row.column(1)?);
        if encoding == "UTF8" {
            return Ok(());
        }
        Err(Error::Schema(format!(
            "the database {database} has the encoding {encoding}, which cannot store every span: UTF8 is needed. Create one \
             and set it in connection_string: CREATE DATABASE <name> ENCODING 'UTF8' TEMPLATE template0;"
        )))
    }

    /// Checks that server, extension and schema fit. The model is checked where embeddings are read or written: spans are
    /// stored whatever it is.
    async fn check(&self, connection: &Connection) -> Result<SchemaInfo> {
        let version = self.version(connection).await?;
        self.check_least_client(connection, version).await?;
        if version < SCHEMA_VERSION {
            let state = if version == 0 { "is missing".into() } else { format!("has version {version}") };
            return Err(Error::Schema(format!(
                "schema \"{}\" {state}, version {SCHEMA_VERSION} is needed. Run: {}",
                self.inner.settings.schema,
                self.migrate_command()
            )));
        }
        if self.is_renamed(connection).await? {
            return Err(Error::Schema(self.renamed()));
        }
        let doing = || Error::database("checking the schema");
        let row = connection
            .query_one(
                "SELECT current_setting('server_version_num')::integer, current_setting('server_version')",
                &[],
            )
            .await
            .map_err(doing())?;
        let (number, server): (i32, String) = (row.column(0)?, row.column(1)?);
        if number < SERVER {
            return Err(Error::Schema(format!(
                "PostgreSQL {server} is too old: version 14 or later is needed"
            )));
        }
        self.check_encoding(connection).await?;
        let Some((extension_schema, pgvector)) = self.find_extension(connection).await? else {
            return Err(Error::Schema(format!(
                "the extension pgvector is gone. Run: CREATE EXTENSION vector; and then, as the schema's owner: {}",
                self.migrate_command()
            )));
        };
        let parts: Vec<u32> = pgvector.split('.').map(|part| part.parse().unwrap_or(0)).collect();
        if (parts.first().copied().unwrap_or(0), parts.get(1).copied().unwrap_or(0)) < PGVECTOR {
            return Err(Error::Schema(format!(
                "pgvector {pgvector} is too old: install 0.7 or later, then run: ALTER EXTENSION vector UPDATE;"
            )));
        }
        let extension_schema = quoted(&extension_schema);
        let vector = format!("{extension_schema}.vector");
        Ok(SchemaInfo {
            store_embeddings: self.inner.sql.store_embeddings(&vector),
            distance: format!("OPERATOR({extension_schema}.<=>)"),
            cosine: format!("{extension_schema}.vector_cosine_ops"),
            vector,
            pgvector,
            distributed: self.is_distributed(connection).await?,
        })
    }

    /// What to type in a shell so that this schema is made or brought up to date.
    pub(super) fn migrate_command(&self) -> String {
        let name = &self.inner.settings.schema;
        if *name == Settings::default().schema {
            return "otel-pgvector migrate".to_owned();
        }
        let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let quoted = if is_plain { name.clone() } else { format!("'{}'", name.replace('\'', "'\\''")) };
        format!("otel-pgvector migrate --schema {quoted}")
    }

    /// An error while migrating from a version; for a missing right, with what to run.
    fn denied(&self, error: tokio_postgres::Error, version: i32) -> Error {
        if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) {
            return Error::Database { doing: IN_USE, source: error };
        }
        if error
            .code()
            .is_some_and(|code| [SqlState::DUPLICATE_TABLE, SqlState::DUPLICATE_FUNCTION].contains(code))
        {
            return self.taken(&error);
        }
        if error.code() != Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
            return Error::Database { doing: "migrating the schema", source: error };
        }
        let (schema, name) = (&self.inner.sql.schema, &self.inner.settings.schema);
        let reason = crate::error::database_message(&error);
        let command = self.migrate_command();
        Error::Schema(if version == 0 {
            format!(
                "schema \"{name}\" is missing, and this role may not create it with its tables ({reason}). Run as a role that \
                 may: {command}; or ask an administrator to run, in this database: CREATE SCHEMA IF NOT EXISTS \
                 {schema} AUTHORIZATION <role>; (or GRANT USAGE, CREATE ON SCHEMA {schema} TO <role>;)"
            )
        } else {
            format!(
                "schema \"{name}\" has version {version}, version {SCHEMA_VERSION} is needed, and this role may not migrate it \
                 ({reason}). Run as the schema's owner or a member of it: {command}"
            )
        })
    }

    /// The schema has something else of a name that its tables need, such as another program's table `migrations`.
    fn taken(&self, error: &tokio_postgres::Error) -> Error {
        Error::Schema(format!(
            "schema \"{}\" has a table or function of another program's, or of a dump that was restored without its rows ({}). \
             Name another schema with the setting `schema`, or drop what is left of the dump",
            self.inner.settings.schema,
            crate::error::database_message(error)
        ))
    }

    /// An error while looking into the schema; for a missing right, with the SQL that grants it.
    fn may_not_use(&self, error: tokio_postgres::Error) -> Error {
        if error.code() == Some(&SqlState::UNDEFINED_COLUMN) {
            return self.taken(&error);
        }
        if error.code() != Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
            return Error::Database { doing: "reading the schema's version", source: error };
        }
        let [_, writer, reader] = Roles::of(&self.inner.settings.schema).quoted();
        Error::Schema(format!(
            "this role may not use schema \"{}\" ({}). Ask its owner to run: GRANT {writer} TO <role>; (or {reader} for one \
             that only reads; sql/roles.sql makes both)",
            self.inner.settings.schema,
            crate::error::database_message(&error)
        ))
    }
}
