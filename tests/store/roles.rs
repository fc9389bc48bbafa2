//! Group roles: an owner that migrates, a writer that reads no span, a reader that writes nothing.

use crate::support::arbitrary;
use crate::support::database::{TestDatabase, eventually};
use opentelemetry_pgvector::search::SearchQuery;
use opentelemetry_pgvector::span::Span;
use opentelemetry_pgvector::store::{SCHEMA_VERSION, roles_sql};
use opentelemetry_pgvector::{Error, ErrorClass, Settings, TraceStore};
use tokio_postgres::{Client, NoTls};

/// A schema with roles, and a login role in each.
struct Traces {
    database: TestDatabase,
    schema: String,
    owner: String,
    writer: String,
    reader: String,
}

impl Traces {
    /// Roles by a superuser, then tables by a member of the owner.
    async fn create() -> Self {
        let database = TestDatabase::create().await;
        let schema = database.schema_with_roles();
        let traces = Traces {
            owner: database.create_role().await,
            writer: database.create_role().await,
            reader: database.create_role().await,
            database,
            schema,
        };
        traces.superuser().create_roles().await.expect("roles");
        traces.admit("owner", &traces.owner).await;
        traces.admit("writer", &traces.writer).await;
        traces.admit("reader", &traces.reader).await;
        traces.store(&traces.owner).migrate().await.expect("migrated");
        traces
    }

    async fn admit(&self, group: &str, role: &str) {
        self.database.execute(&format!("GRANT {}_{group} TO {role}", self.schema)).await;
    }

    fn superuser(&self) -> TraceStore {
        let mut settings = self.database.settings();
        settings.schema.clone_from(&self.schema);
        TraceStore::new(settings).expect("valid settings")
    }

    fn settings(&self, role: &str) -> Settings {
        let mut settings = self.database.settings_as(role);
        settings.schema.clone_from(&self.schema);
        settings
    }

    fn store(&self, role: &str) -> TraceStore {
        TraceStore::new(self.settings(role)).expect("valid settings")
    }

    /// A connection with the schema in its search path.
    async fn client(&self, role: &str) -> Client {
        let mut config = self.database.config();
        config.user(role).password("secret").options(format!("-c search_path={},public", self.schema));
        let (client, connection) = config.connect(NoTls).await.expect("connected");
        tokio::spawn(connection);
        client
    }

    async fn value<T: tokio_postgres::types::FromSqlOwned>(&self, sql: &str) -> T {
        self.database.value(&sql.replace("otel.", &format!("{}.", self.schema))).await
    }

    async fn execute(&self, sql: &str) {
        self.database.execute(&sql.replace("otel.", &format!("{}.", self.schema))).await;
    }
}

fn spans() -> Vec<Span<'static>> {
    arbitrary::sample(3)
}

async fn assert_denied(client: &Client, sql: &str) {
    let error = client.batch_execute(sql).await.expect_err(sql);
    let code = error.code().map(|code| code.code());
    assert_eq!(code, Some("42501"), "{sql}: {error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_member_of_the_owner_makes_is_the_owners() {
    let traces = Traces::create().await;
    let others: i64 = traces
        .value(&format!(
            "SELECT (SELECT count(*) FROM pg_class WHERE relnamespace = '{0}'::regnamespace AND relowner <> '{0}_owner'::regrole) \
             + (SELECT count(*) FROM pg_proc WHERE pronamespace = '{0}'::regnamespace AND proowner <> '{0}_owner'::regrole)",
            traces.schema
        ))
        .await;
    assert_eq!(others, 0);
    let commented: i64 = traces
        .value(&format!(
            "SELECT count(shobj_description(oid, 'pg_authid')) FROM pg_roles WHERE rolname LIKE '{}\\_%' AND NOT rolcanlogin",
            traces.schema
        ))
        .await;
    assert_eq!(commented, 3);
    let client = traces.client(&traces.owner).await;
    client
        .batch_execute("DELETE FROM span_rows; REINDEX TABLE span_documents; ANALYZE span_rows")
        .await
        .expect("maintains");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_writer_does_all_that_an_exporter_does() {
    let traces = Traces::create().await;
    let store = traces.store(&traces.writer);
    assert!(store.settings().migrate, "the default");
    let (id, spans) = (uuid::Uuid::now_v7(), spans());
    assert!(store.batch_store_with_id(id, &spans).await.expect("stored").new);
    assert!(!store.batch_store_with_id(id, &spans).await.expect("recognised").new);
    store.flush().await.expect("embedded");
    let waiting: i64 = traces.value("SELECT count(*) FROM otel.span_documents WHERE embedding IS NULL").await;
    assert_eq!(waiting, 0);
    assert_eq!(store.migrate().await.expect("up to date"), 0);

    traces.execute("UPDATE otel.span_documents SET last_seen = now() - interval '3 days'").await;
    traces.execute("UPDATE otel.batches SET stored_at = now() - interval '30 days', id = '018bcfe5-6800-7000-8000-000000000001'").await;
    let store = traces.store(&traces.writer);
    store.batch_store(&spans).await.expect("stored again");
    let renewed: bool =
        traces.value("SELECT min(last_seen) > now() - interval '1 hour' FROM otel.span_documents").await;
    assert!(renewed, "documents that are used again are seen");
    // The store may have done it already, beside the batch.
    store.prune_ledger().await.expect("pruned");
    let old: i64 =
        traces.value("SELECT count(*) FROM otel.batches WHERE stored_at < now() - interval '1 day'").await;
    assert_eq!(old, 0);
    store.count_dependencies(std::time::Duration::ZERO).await.expect("counted");

    let health = store.health_check().await;
    assert!(health.healthy, "{health:?}");
    assert_eq!((health.total_spans, health.ledger_entries), (6, Some(1)));
    assert_eq!(health.role.as_deref(), Some(traces.writer.as_str()));
    let writers = &health.roles.expect("roles")[&format!("{}_writer", traces.schema)];
    assert_eq!(writers.join(" "), traces.writer);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_writer_reads_no_more_than_what_is_embedded_and_changes_nothing_that_is_stored() {
    let traces = Traces::create().await;
    let store = traces.store(&traces.writer);
    let spans = spans();
    store.batch_store(&spans).await.expect("stored");
    store.flush().await.expect("embedded");
    let client = traces.client(&traces.writer).await;
    for sql in [
        "SELECT fillers FROM span_rows",
        "SELECT * FROM span_rows",
        "SELECT fillers FROM span_rows_default",
        "COPY span_rows TO STDOUT",
        "SELECT body FROM span_documents",
        "SELECT name FROM span_documents",
        "SELECT words FROM span_documents",
        "SELECT body FROM span_resources",
        "SELECT service FROM span_resources",
        "SELECT * FROM spans",
        "SELECT attributes FROM spans",
        "SELECT * FROM traces",
        "SELECT * FROM documents",
        "UPDATE span_rows SET flags = 0",
        "UPDATE span_documents SET body = ''",
        "UPDATE span_documents SET embedding = NULL WHERE body = 'x'",
        "UPDATE span_resources SET service = ''",
        "UPDATE embedding_model SET name = 'other'",
        "UPDATE batches SET stored_at = now()",
        "INSERT INTO batches (id, spans, stored_at) VALUES (gen_random_uuid(), 1, now())",
        "INSERT INTO span_documents (hash, service, scope, name, kind, status_code, body, text) \
         VALUES (gen_random_uuid(), '', '', '', 0, 0, '', '') ON CONFLICT (hash) DO UPDATE SET body = excluded.body",
        "DELETE FROM batches",
        "DELETE FROM span_rows",
        "TRUNCATE span_rows",
        "DROP TABLE batches",
        "SELECT drop_partition('span_rows_default', 1)",
        "SELECT prune_default_partition(1, 1)",
        "SELECT prune_dependencies(1)",
        "UPDATE maintenance SET started_at = now()",
        "CREATE TABLE mine ()",
        "CREATE TRIGGER t AFTER INSERT ON span_rows EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "ALTER TABLE batches ADD COLUMN mine text",
        "INSERT INTO migrations (version, name) VALUES (99, '')",
    ] {
        if sql.starts_with("CREATE TABLE") {
            assert_denied(&client, &sql.replace("mine", &format!("{}.mine", traces.schema))).await;
        } else {
            assert_denied(&client, sql).await;
        }
    }
    let error = store.get_trace(spans[0].trace_id).await.expect_err("attributes");
    assert_eq!(error.class(), ErrorClass::Configuration);
    let error = store.search_traces("anything").await.expect_err("attributes");
    assert!(error.to_string().contains("42501"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reader_searches_and_writes_nothing() {
    let traces = Traces::create().await;
    let writer = traces.store(&traces.writer);
    let spans = spans();
    writer.batch_store(&spans).await.expect("stored");
    writer.flush().await.expect("embedded");

    let store = traces.store(&traces.reader);
    assert!(store.get_trace(spans[0].trace_id).await.expect("read").contains(&spans[0]));
    let everything = SearchQuery::new("anything").similarity_threshold(0.0);
    assert!(!store.search_traces(everything.clone()).await.expect("searched").is_empty());
    assert!(!store.search_operations(everything).await.expect("searched").is_empty());
    assert!(store.health_check().await.healthy);

    let client = traces.client(&traces.reader).await;
    for view in ["spans", "traces", "documents", "span_rows", "span_documents", "span_resources", "batches"] {
        let rows = client.query(&format!("SELECT * FROM {view}"), &[]).await.expect(view);
        assert!(!rows.is_empty(), "{view}");
    }
    client
        .batch_execute(
            "SELECT span_kind_name(1::smallint), span_status_name(2::smallint), span_body('{}', '')",
        )
        .await
        .expect("functions");
    for sql in [
        "INSERT INTO batches (id, spans) VALUES (gen_random_uuid(), 1)",
        "INSERT INTO embedding_model (name, dimension) VALUES ('x', 1)",
        "INSERT INTO span_rows SELECT * FROM span_rows",
        "UPDATE span_documents SET last_seen = now()",
        "UPDATE span_resources SET service = ''",
        "DELETE FROM span_rows",
        "DELETE FROM batches",
        "SELECT prune_ledger(1, 1)",
        "SELECT make_partition('2026-01-01', 1)",
        "SELECT drop_partition('span_rows_default', 1)",
        "SELECT collect_documents(1, 0, 1)",
        "SELECT * FROM span_documents FOR UPDATE",
        "TRUNCATE batches",
        "DROP VIEW spans",
    ] {
        assert_denied(&client, sql).await;
    }
    let error = store.batch_store(&spans).await.expect_err("only reads");
    assert_eq!(error.class(), ErrorClass::Configuration, "{error}");
    let error = store.prune_ledger().await.expect_err("only reads");
    assert_eq!(error.class(), ErrorClass::Configuration, "{error}");
}

/// What the writer may do with each column: select, insert, update. All else is not for it.
const WRITER: &[(&str, &str, &str)] = &[
    ("batches", "id", "si-"),
    ("batches", "spans", "si-"),
    ("batches", "stored_at", "s--"),
    ("dependencies_counted", "only_row", "s--"),
    ("dependencies_counted", "until", "s--"),
    ("embedding_model", "only_row", "s--"),
    ("embedding_model", "name", "si-"),
    ("embedding_model", "dimension", "si-"),
    ("embedding_model", "fingerprint", "si-"),
    ("embedding_next", "only_row", "s--"),
    ("embedding_next", "name", "s--"),
    ("embedding_next", "dimension", "s--"),
    ("embedding_next", "fingerprint", "s--"),
    ("embedding_next", "started_at", "s--"),
    ("maintenance", "only_row", "s--"),
    ("maintenance", "started_at", "s--"),
    ("migrations", "version", "s--"),
    ("migrations", "name", "s--"),
    ("migrations", "applied_at", "s--"),
    ("migrations", "least_client", "s--"),
    ("partitions", "partition", "s--"),
    ("partitions", "from_time", "s--"),
    ("partitions", "to_time", "s--"),
    ("partitions", "is_default", "s--"),
    ("partitions", "spans", "s--"),
    ("partitions", "bytes", "s--"),
    ("span_resources", "id", "s--"),
    ("span_resources", "hash", "si-"),
    ("span_resources", "service", "-i-"),
    ("span_resources", "body", "-i-"),
    ("span_documents", "id", "s--"),
    ("span_documents", "hash", "si-"),
    ("span_documents", "service", "-i-"),
    ("span_documents", "scope", "-i-"),
    ("span_documents", "name", "-i-"),
    ("span_documents", "kind", "-i-"),
    ("span_documents", "status_code", "-i-"),
    ("span_documents", "body", "-i-"),
    ("span_documents", "text", "si-"),
    ("span_documents", "attributes", "-i-"),
    ("span_documents", "embedding", "s-u"),
    ("span_documents", "first_seen", "s--"),
    ("span_documents", "last_seen", "s-u"),
    ("span_words", "word", "si-"),
    ("span_words", "embedding", "-i-"),
    ("span_rows", "trace_id", "si-"),
    ("span_rows", "span_id", "si-"),
    ("span_rows", "parent_span_id", "si-"),
    ("span_rows", "start_time", "si-"),
    ("span_rows", "duration_ns", "-i-"),
    ("span_rows", "document_id", "-i-"),
    ("span_rows", "resource_id", "-i-"),
    ("span_rows", "start_ns", "-i-"),
    ("span_rows", "flags", "-i-"),
    ("span_rows", "fillers", "-i-"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_column_has_the_rights_of_the_table_above() {
    let traces = Traces::create().await;
    let rows = traces
        .database
        .client()
        .await
        .query(
            "SELECT c.relname::text, attname::text, role = $2, \
                    concat(CASE WHEN has_column_privilege(role, c.oid, attnum, 'SELECT') THEN 's' ELSE '-' END, \
                           CASE WHEN has_column_privilege(role, c.oid, attnum, 'INSERT') THEN 'i' ELSE '-' END, \
                           CASE WHEN has_column_privilege(role, c.oid, attnum, 'UPDATE') THEN 'u' ELSE '-' END), \
                    has_any_column_privilege(role, c.oid, 'REFERENCES') OR has_table_privilege(role, c.oid, 'DELETE, TRUNCATE, TRIGGER') \
             FROM pg_attribute JOIN pg_class c ON c.oid = attrelid CROSS JOIN unnest(ARRAY[$2, $3]) AS role \
             WHERE relnamespace = to_regnamespace($1) AND relkind IN ('r', 'p', 'v') AND attnum > 0",
            &[&traces.schema, &traces.writer, &traces.reader],
        )
        .await
        .expect("rights");
    assert!(rows.len() > 150);
    for row in rows {
        let (table, column, is_writer): (&str, &str, bool) = (row.get(0), row.get(1), row.get(2));
        let expected = match is_writer {
            true => WRITER
                .iter()
                .find(|right| (right.0, right.1) == (table, column))
                .map_or("---", |right| right.2),
            false => "s--",
        };
        assert_eq!(row.get::<_, &str>(3), expected, "{table}.{column}, writer: {is_writer}");
        assert!(
            !row.get::<_, bool>(4),
            "{table}: no right to delete, to truncate, to make triggers or references"
        );
    }
    let forgotten: i64 = traces
        .value(&format!(
            "SELECT count(*) FROM pg_proc WHERE pronamespace = '{0}'::regnamespace AND prosecdef \
             AND (has_function_privilege('{0}_reader', oid, 'EXECUTE') OR proconfig IS NULL)",
            traces.schema
        ))
        .await;
    assert_eq!(
        forgotten, 0,
        "what runs as the owner is not for the reader, and has a search path of its own"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_hears_what_to_run_where_the_schema_is_missing_or_old() {
    let traces = Traces::create().await;
    // The migration after this one makes the function.
    let before = 9;
    traces
        .execute(&format!(
            "DELETE FROM otel.migrations WHERE version > {before}; DROP FUNCTION otel.collect_documents"
        ))
        .await;
    let error = traces.store(&traces.writer).batch_store(&spans()).await.expect_err("old");
    let text = error.to_string();
    assert!(matches!(error, Error::Schema(_)) && text.contains("otel-pgvector migrate"), "{text}");
    assert!(text.contains(&format!("has version {before}, version {SCHEMA_VERSION} is needed")), "{text}");
    traces.store(&traces.owner).migrate().await.expect("migrated");
    let writer = traces.store(&traces.writer);
    writer.batch_store(&spans()).await.expect("stored");
    writer.flush().await.expect("the migration gave the writer its rights");

    let mut settings = traces.settings(&traces.writer);
    settings.schema = "elsewhere".into();
    let error =
        TraceStore::new(settings).expect("valid settings").batch_store(&spans()).await.expect_err("missing");
    assert!(
        matches!(error, Error::Schema(_)) && error.to_string().contains("otel-pgvector migrate"),
        "{error}"
    );

    let stranger = traces.database.create_role().await;
    let error = traces.store(&stranger).batch_store(&spans()).await.expect_err("no right");
    let grant = format!("GRANT \"{}_writer\" TO <role>;", traces.schema);
    assert!(matches!(error, Error::Schema(_)) && error.to_string().contains(&grant), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_later_is_covered() {
    let traces = Traces::create().await;
    let owner = traces.client(&traces.owner).await;
    owner
        .batch_execute(&format!(
            "SET ROLE {}_owner; CREATE TABLE span_rows_all PARTITION OF span_rows FOR VALUES FROM ('-infinity') TO ('2000-01-01'); \
             CREATE TABLE later (id integer); CREATE VIEW later_view AS SELECT * FROM later",
            traces.schema
        ))
        .await
        .expect("maintenance");
    let spans = spans();
    traces.store(&traces.writer).batch_store(&spans).await.expect("stored in the new partition");
    let reader = traces.client(&traces.reader).await;
    for table in ["span_rows_all", "later", "later_view"] {
        reader.query(&format!("SELECT * FROM {table}"), &[]).await.expect(table);
        assert_denied(&reader, &format!("DELETE FROM {table}")).await;
    }
    let writer = traces.client(&traces.writer).await;
    assert_denied(&writer, "SELECT fillers FROM span_rows_all").await;
    assert!(!traces.store(&traces.reader).get_trace(spans[0].trace_id).await.expect("read").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_cannot_make_a_partition_and_its_owner_can() {
    let traces = Traces::create().await;
    traces.execute("DROP TABLE otel.span_rows_default").await;
    let error = traces.store(&traces.writer).batch_store(&spans()).await.expect_err("no partition");
    assert!(matches!(error, Error::Schema(_)) && error.to_string().contains("CREATE TABLE"), "{error}");
    traces.store(&traces.owner).batch_store(&spans()).await.expect("stored");
    let owner: String = traces
        .value(
            "SELECT relowner::regrole::text FROM pg_class WHERE oid = to_regclass('otel.span_rows_default')",
        )
        .await;
    assert_eq!(owner, format!("{}_owner", traces.schema));
    traces.store(&traces.writer).batch_store(&spans()).await.expect("stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_s_owner_may_make_roles() {
    let database = TestDatabase::create().await;
    let (schema, role) = (database.schema_with_roles(), database.create_role().await);
    database
        .execute(&format!("ALTER ROLE {role} CREATEROLE; ALTER DATABASE {} OWNER TO {role}", database.name()))
        .await;
    let mut settings = database.settings_as(&role);
    settings.schema.clone_from(&schema);
    let store = TraceStore::new(settings.clone()).expect("valid settings");
    store.create_roles().await.expect("roles");
    store.batch_store(&spans()).await.expect("migrated and stored");

    let nobody = database.create_role().await;
    settings.connection_string = database.url_as(&nobody, Some("secret"));
    settings.schema = "another".into();
    let error = TraceStore::new(settings).expect("valid settings").create_roles().await.expect_err("refused");
    assert!(matches!(error, Error::Schema(_)) && error.to_string().contains("--print-roles"), "{error}");
    // The role owns the database, which is dropped before the roles.
    database.execute(&format!("ALTER DATABASE {} OWNER TO CURRENT_USER", database.name())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_name_of_a_schema_that_leaves_room_for_the_roles_will_do() {
    let database = TestDatabase::create().await;
    let random = uuid::Uuid::new_v4().simple().to_string();
    let schema = format!("Ödd \"\\'; -- %I {}", &random[..12]);
    database.drop_roles_of(&schema);
    let mut settings = database.settings();
    settings.schema.clone_from(&schema);
    let store = TraceStore::new(settings.clone()).expect("valid settings");
    store.create_roles().await.expect("roles");
    store.migrate().await.expect("migrated");
    let writer = database.create_role().await;
    let grant = format!("GRANT \"{}_writer\" TO {writer}", schema.replace('"', "\"\""));
    database.execute(&grant).await;
    settings.connection_string = database.url_as(&writer, Some("secret"));
    TraceStore::new(settings.clone()).expect("valid settings").batch_store(&spans()).await.expect("stored");

    settings.connection_string = database.url();
    settings.schema = "x".repeat(57);
    let error =
        TraceStore::new(settings).expect("valid settings").create_roles().await.expect_err("too long");
    assert!(error.to_string().contains("at most 56"), "{error}");
}

/// The file itself, and what the command prints, by psql.
#[tokio::test(flavor = "multi_thread")]
async fn psql_runs_the_script() {
    if std::process::Command::new("psql").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "psql is missing");
        eprintln!("skipped: psql is missing");
        return;
    }
    let database = TestDatabase::create().await;
    let schema = database.schema_with_roles();
    let folder = tempfile::tempdir().expect("a folder");
    let printed = folder.path().join("printed.sql");
    std::fs::write(&printed, roles_sql(&schema)).expect("written");
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/sql/roles.sql");
    for (file, variable) in
        [(file, format!("schema={schema}")), (printed.to_str().expect("a path"), "x=y".into())]
    {
        let output = std::process::Command::new("psql")
            .args([&database.url(), "-Xq", "-v", "ON_ERROR_STOP=1", "-v", &variable, "-f", file])
            .output()
            .expect("psql runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty() && output.stdout.is_empty(), "{said}");
    }
    let members: i64 =
        database.value(&format!("SELECT count(*) FROM pg_roles WHERE rolname LIKE '{schema}\\_%'")).await;
    assert_eq!(members, 3);
}

#[cfg(feature = "cli")]
#[tokio::test(flavor = "multi_thread")]
async fn the_command_works_as_each_role() {
    use crate::support::command::{Run, command, file, line};
    let traces = Traces::create().await;
    let run = |role: &str, arguments: &[&str]| {
        let mut command = command(arguments);
        command.env("OTEL_STORAGE_CONNECTION_STRING", traces.database.url_as(role, Some("secret")));
        command.env("OTEL_STORAGE_SCHEMA", &traces.schema);
        Run::of(command.output().expect("the command runs"))
    };
    let (_folder, path) = file("traces.jsonl", (line(1, "") + "\n" + &line(2, "")).as_bytes());
    let path = path.to_str().expect("a path");
    for stored in [2, 0] {
        let summary = run(&traces.writer, &["import", "otlp", path, "--json"]).ok().json();
        assert_eq!(summary["stored"].as_u64().or(summary["spans"].as_u64()), Some(stored), "{summary}");
    }
    let health = run(&traces.writer, &["health"]).ok().stdout;
    for expected in
        ["ledger       1 batch,", "period       2023-", "connections  ", &format!("{}_writer", traces.schema)]
    {
        assert!(health.contains(expected), "{expected} in {health}");
    }
    let health = run(&traces.reader, &["health", "--json"]).ok().json();
    assert!(
        health["table_bytes"].as_u64() > Some(8192) && health["index_bytes"].as_u64() > Some(8192),
        "{health}"
    );
    assert_eq!(health["oldest_span"], "2023-11-14T22:13:20Z");
    assert_eq!(health["role"], traces.reader);
    let id = format!("{:032x}", 0xabc0_0001_u32);
    assert!(run(&traces.reader, &["trace", &id]).ok().stdout.contains("pay"));
    run(&traces.reader, &["search", "payment"]).ok();
    assert_eq!(run(&traces.writer, &["trace", &id]).code, Some(1));
    let (_folder, new) = file("new.jsonl", line(3, "").as_bytes());
    assert_eq!(run(&traces.reader, &["import", "otlp", new.to_str().expect("a path")]).code, Some(1));
    assert_eq!(run(&traces.writer, &["migrate", "--roles"]).code, Some(1));
    assert!(run(&traces.owner, &["migrate"]).ok().stdout.contains("up to date"));

    let mut print = command(&["migrate", "--print-roles", "--schema", "it's"]);
    let printed = Run::of(print.output().expect("the command runs")).ok().stdout;
    assert_eq!(printed, roles_sql("it's"), "it takes no connection string");
    assert!(printed.contains("= 'it''s';") && !printed.contains('\\'), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_batch_starts_the_pruning() {
    let traces = Traces::create().await;
    traces
        .execute("INSERT INTO otel.batches VALUES ('018bcfe5-6800-7000-8000-000000000001', 1, now() - interval '30 days')")
        .await;
    let store = traces.store(&traces.writer);
    store.batch_store(&spans()).await.expect("stored");
    eventually("the old entry is pruned", || async {
        traces.value::<i64>("SELECT count(*) FROM otel.batches").await == 1
    })
    .await;
}
