//! The schema: made by whoever starts first, wherever it may be made, and explained where it may not.

use std::time::{Duration, Instant};

use crate::support::database::{TestDatabase, eventually};
use crate::support::spans::{DAY, at};
use crate::support::tiny_model::Tiny;
use crate::support::{arbitrary, former, shared};
use opentelemetry_pgvector::span::Span;
use opentelemetry_pgvector::store::SCHEMA_VERSION;
use opentelemetry_pgvector::{Error, Settings, TraceStore};

fn store(settings: Settings) -> TraceStore {
    TraceStore::new(settings).expect("valid settings")
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_processes_that_start_at_once_make_one_schema() {
    let database = TestDatabase::create_bare().await;
    let starts: Vec<_> = (0..16)
        .map(|_| {
            let store = database.store();
            tokio::spawn(async move { store.migrate().await })
        })
        .collect();
    let mut applied = 0;
    for start in starts {
        applied += start.await.expect("no panic").expect("migrated");
    }
    assert_eq!(applied as i32, SCHEMA_VERSION, "each migration is applied once");
    assert_eq!(
        database.value::<i64>("SELECT count(*) FROM otel.migrations").await,
        i64::from(SCHEMA_VERSION)
    );
    assert_eq!(database.store().migrate().await.expect("again"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_waited_while_another_made_the_schema_sees_it() {
    let database = TestDatabase::create().await;
    let first = database.client().await;
    let lock = "BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('opentelemetry-pgvector otel', 0))";
    first.batch_execute(lock).await.expect("locked");
    let starts: Vec<_> = (0..2)
        .map(|_| {
            let store = database.store();
            tokio::spawn(async move { store.batch_store(&arbitrary::sample(1)).await })
        })
        .collect();
    // Both have seen that there is no schema.
    eventually("both wait for their turn", async || {
        let waiting = "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database \
                       WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()";
        database.value::<i64>(waiting).await == 2
    })
    .await;
    first.batch_execute("ROLLBACK").await.expect("unlocked");
    for start in starts {
        start.await.expect("no panic").expect("stored");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_that_look_before_they_migrate_make_one_schema() {
    for _ in 0..5 {
        let database = TestDatabase::create_bare().await;
        let starts: Vec<_> = (0..8)
            .map(|_| {
                let store = database.store();
                tokio::spawn(async move { store.batch_store(&arbitrary::sample(1)).await })
            })
            .collect();
        for start in starts {
            start.await.expect("no panic").expect("stored");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_that_are_made_at_once_share_one_extension() {
    let database = TestDatabase::create_bare().await;
    let starts: Vec<_> = (0..4)
        .map(|number| {
            let mut settings = database.settings();
            settings.schema = format!("otel_{number}");
            let store = store(settings);
            tokio::spawn(async move { store.migrate().await })
        })
        .collect();
    for start in starts {
        start.await.expect("no panic").expect("migrated");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_database_without_the_extension_is_no_matter_of_rights() {
    let database = TestDatabase::create_bare().await;
    database.alter("SET default_transaction_read_only = on").await;
    let error = database.store().migrate().await.expect_err("read-only");
    assert!(error.is_transient() && !error.to_string().contains("may not install"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_behind_a_long_query_lets_others_go_on_and_tries_again() {
    let database = TestDatabase::create().await;
    former::make(&database, 4).await;
    let reader = database.client().await;
    reader.batch_execute("BEGIN; SELECT count(*) FROM otel.span_documents").await.expect("read");
    let store = database.store();
    let migration = tokio::spawn(async move { store.migrate().await });
    eventually("the migration waits for the query", async || {
        let waiting = "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database \
                       WHERE locktype = 'relation' AND NOT granted AND datname = current_database()";
        database.value::<i64>(waiting).await == 1
    })
    .await;
    let begun = Instant::now();
    database.execute("SELECT count(*) FROM otel.span_documents").await;
    assert!(begun.elapsed() < Duration::from_secs(5), "the next query waited {:?}", begun.elapsed());
    reader.batch_execute("ROLLBACK").await.expect("ended");
    let applied = migration.await.expect("no panic").expect("migrated at a later attempt");
    assert_eq!(applied as i32, SCHEMA_VERSION - 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_start_and_store_at_once_where_transactions_are_serializable_by_default() {
    let database = TestDatabase::create_bare().await;
    database.alter("SET default_transaction_isolation = serializable").await;
    let spans = arbitrary::sample(1);
    let starts: Vec<_> = (0..8)
        .map(|number| {
            let mut settings = database.settings();
            settings.prepared_statements = number % 2 == 0;
            let (store, spans) = (store(settings), spans.clone());
            tokio::spawn(async move {
                store.migrate().await?;
                store.batch_store(&spans).await
            })
        })
        .collect();
    for start in starts {
        start.await.expect("no panic").expect("migrated and stored");
    }
    let stored: i64 = database.value("SELECT count(*) FROM otel.span_rows").await;
    assert_eq!(stored, 8 * spans.len() as i64);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_migrate_a_missing_schema_is_an_error_that_says_what_to_run() {
    let database = TestDatabase::create().await;
    let mut settings = database.settings();
    settings.migrate = false;
    let spans = arbitrary::sample(1);
    let error = store(settings.clone()).batch_store(&spans).await.expect_err("no schema");
    assert!(
        matches!(error, Error::Schema(_)) && error.to_string().contains("otel-pgvector migrate"),
        "{error}"
    );
    assert!(!error.is_transient());
    database.store().migrate().await.expect("migrated");
    store(settings).batch_store(&spans).await.expect("stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_extension_is_an_error_with_the_sql_to_run() {
    let database = TestDatabase::create_bare().await;
    let role = database.create_role().await;
    database.execute(&format!("GRANT CREATE ON DATABASE {} TO {}", database.name(), role)).await;
    let error = store(database.settings_as(&role)).migrate().await.expect_err("no extension");
    assert!(error.to_string().contains("CREATE EXTENSION vector;"), "{error}");
    database.execute("CREATE EXTENSION vector").await;
    store(database.settings_as(&role)).migrate().await.expect("migrated");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_another_encoding_is_an_error_that_says_what_to_create() {
    let options = "ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0";
    let database = TestDatabase::create_with(options).await;
    let error = database.store().migrate().await.expect_err("no UTF8");
    let text = error.to_string();
    assert!(matches!(error, Error::Schema(_)) && text.contains("LATIN1"), "{text}");
    assert!(text.contains("ENCODING 'UTF8' TEMPLATE template0"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_is_an_error_with_the_sql_to_run() {
    let database = TestDatabase::create().await;
    let role = database.create_role().await;
    let error = store(database.settings_as(&role)).migrate().await.expect_err("no right");
    assert!(error.to_string().contains("CREATE SCHEMA IF NOT EXISTS \"otel\" AUTHORIZATION"), "{error}");
    database.execute(&format!("CREATE SCHEMA otel AUTHORIZATION {}", role)).await;
    store(database.settings_as(&role))
        .migrate()
        .await
        .expect("migrated in a schema that an administrator made");
}

#[tokio::test(flavor = "multi_thread")]
async fn any_schema_and_any_place_of_the_extension_will_do() {
    let database = TestDatabase::create_bare().await;
    database
        .execute("CREATE SCHEMA \"Shared Extensions\"; CREATE EXTENSION vector SCHEMA \"Shared Extensions\"")
        .await;
    let mut settings = database.settings();
    settings.schema = "Ödd \"schema\"; --".into();
    let store = store(settings);
    let spans = arbitrary::sample(3);
    store.batch_store(&spans).await.expect("stored");
    store.flush().await.expect("embedded");
    store.search_traces("anything").await.expect("searched");
    assert!(store.get_trace(spans[0].trace_id).await.expect("read").contains(&spans[0]));
    let health = store.health_check().await;
    assert!(health.healthy && health.error.is_none(), "{health:?}");
    assert_eq!(health.documents_waiting, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_whose_schema_leaves_no_room_for_roles_is_healthy() {
    let database = TestDatabase::create().await;
    for length in [57, 63] {
        let mut settings = database.settings();
        settings.schema = "s".repeat(length);
        let store = store(settings);
        store.batch_store(&arbitrary::sample(3)).await.expect("stored");
        let health = store.health_check().await;
        assert!(health.healthy && health.error.is_none(), "{health:?}");
        assert!(health.roles.is_some_and(|roles| roles.is_empty()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_functions_of_a_renamed_schema_leave_one_of_its_former_name_alone() {
    let database = TestDatabase::create().await;
    let (odd, mut renamed) = (at(-DAY, 3), database.settings());
    database.store().batch_store(&odd).await.expect("stored");
    database.execute("ALTER SCHEMA otel RENAME TO \"Former \"\"otel\"\"\"").await;
    database.store().batch_store(&odd).await.expect("stored in a schema of the former name");
    renamed.schema = "Former \"otel\"".into();
    renamed.retention_days = 1;

    renamed.migrate = false;
    let error = store(renamed.clone()).maintain().await.expect_err("a renamed schema").to_string();
    assert!(error.contains("was renamed") && error.contains("otel-pgvector migrate --schema"), "{error}");
    renamed.migrate = true;
    let done = store(renamed.clone()).maintain().await.expect("maintained");
    assert_eq!(done.spans_deleted, 3, "{done:?}");
    let left = "SELECT (SELECT count(*) FROM otel.span_rows) - (SELECT count(*) FROM \"Former \"\"otel\"\"\".span_rows)";
    assert_eq!(database.value::<i64>(left).await, 3);

    renamed.migrate = false;
    store(renamed).batch_store(&odd).await.expect("stored without a right to migrate");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_mend_a_renamed_schema_hears_what_to_run() {
    let database = TestDatabase::create().await;
    let role = database.create_role().await;
    database.store().migrate().await.expect("migrated");
    database.execute("ALTER SCHEMA otel RENAME TO former").await;
    database
        .execute(&format!(
            "GRANT USAGE ON SCHEMA former TO {role}; GRANT SELECT ON ALL TABLES IN SCHEMA former TO {role}"
        ))
        .await;
    let mut settings = database.settings_as(&role);
    settings.schema = "former".into();
    let error = store(settings).batch_store(&arbitrary::sample(1)).await.expect_err("no owner").to_string();
    assert!(error.contains("otel-pgvector migrate --schema former"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_with_tables_of_another_program_is_an_error_that_names_the_setting() {
    for table in ["migrations (id integer, migration text)", "documents (id integer)"] {
        let database = TestDatabase::create().await;
        database.execute(&format!("CREATE TABLE public.{table}")).await;
        let mut settings = database.settings();
        settings.schema = "public".into();
        let error = store(settings.clone()).migrate().await.expect_err("a name is taken").to_string();
        assert!(error.contains("\"public\"") && error.contains("setting `schema`"), "{error}");
        settings.schema = "otel".into();
        store(settings).migrate().await.expect("migrated beside it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_a_later_release_is_left_alone() {
    let database = TestDatabase::create().await;
    database.store().migrate().await.expect("migrated");
    for least_client in ["NULL", "999", &(SCHEMA_VERSION + 1).to_string()] {
        database
            .execute(&format!(
                "DELETE FROM otel.migrations WHERE version = 999; \
                 INSERT INTO otel.migrations (version, name, least_client) VALUES (999, 'later', {least_client})"
            ))
            .await;
        let error = database.store().batch_store(&arbitrary::sample(1)).await.expect_err("refused");
        assert!(error.to_string().contains("upgrade opentelemetry-pgvector"), "{least_client}: {error}");
        assert!(database.store().migrate().await.is_err(), "{least_client}");
        let health = database.store().health_check().await;
        assert!(!health.healthy && health.schema_version == 999, "{least_client}: {health:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_a_later_release_that_takes_this_one_is_written_and_read() {
    let database = TestDatabase::create().await;
    database.store().migrate().await.expect("migrated");
    let newest = "SELECT least_client FROM otel.migrations ORDER BY version DESC LIMIT 1";
    assert!(database.value::<i32>(newest).await <= SCHEMA_VERSION);
    // A release between that broke nothing, either.
    database
        .execute(&format!(
            "INSERT INTO otel.migrations (version, name, least_client) \
             VALUES (998, 'between', NULL), (999, 'later', {SCHEMA_VERSION})"
        ))
        .await;
    let store = database.store();
    assert_eq!(store.migrate().await.expect("nothing to do"), 0);
    let spans = arbitrary::sample(3);
    store.batch_store(&spans).await.expect("stored");
    store.flush().await.expect("embedded");
    assert!(!store.get_trace(spans[0].trace_id).await.expect("read").is_empty());
    store.search_traces("anything").await.expect("searched");
    let health = store.health_check().await;
    assert!(health.healthy && health.schema_version == 999, "{health:?}");
    store.maintain().await.expect("maintained");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_dimension_is_made_at_first_and_later_spans_are_stored_without_embeddings() {
    let database = TestDatabase::create().await;
    let mut settings = database.settings();
    settings.embedding_dimension = 512;
    store(settings).migrate().await.expect("migrated");
    let store = database.store();
    store.batch_store(&arbitrary::sample(1)).await.expect("stored");
    let error = store.flush().await.expect_err("384 are not 512");
    assert!(error.to_string().contains("embedding_dimension: 512"), "{error}");
    assert!(error.to_string().contains("otel-pgvector reembed"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_in_the_schema_is_commented() {
    let database = TestDatabase::create().await;
    database.store().migrate().await.expect("migrated");
    let bare: Vec<String> = database
        .value(
            "SELECT coalesce(array_agg(relname::text), '{}') FROM pg_class \
             WHERE relnamespace = 'otel'::regnamespace AND relkind IN ('r', 'p', 'v') AND obj_description(oid) IS NULL",
        )
        .await;
    assert_eq!(bare, Vec::<String>::new());
    let bare: Vec<String> = database
        .value(
            "SELECT coalesce(array_agg(relname || '.' || attname), '{}') FROM pg_attribute \
             JOIN pg_class c ON c.oid = attrelid \
             WHERE relnamespace = 'otel'::regnamespace AND relkind IN ('r', 'p', 'v') AND NOT relispartition \
               AND attnum > 0 AND col_description(attrelid, attnum) IS NULL",
        )
        .await;
    assert_eq!(bare, Vec::<String>::new());
    let bare: Vec<String> = database
        .value(
            "SELECT coalesce(array_agg(proname::text), '{}') FROM pg_proc \
             WHERE pronamespace = 'otel'::regnamespace AND obj_description(oid) IS NULL",
        )
        .await;
    assert_eq!(bare, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn people_s_queries_use_indexes() {
    let Some(messages) = shared::messages("datasette") else { return };
    let spans: Vec<Span<'_>> = shared::spans(&messages);
    let database = TestDatabase::create().await;
    let store = database.store();
    for batch in spans.chunks(5000) {
        store.batch_store(batch).await.expect("stored");
    }
    database.execute("VACUUM ANALYZE otel.span_rows, otel.span_documents, otel.span_resources").await;

    let trace = spans[0].trace_id;
    // Tables without spans are read as they are.
    let day: String =
        database.value("SELECT partition::text FROM otel.partitions ORDER BY spans DESC LIMIT 1").await;
    let day = day.trim_start_matches("otel.");
    for view in ["spans", "traces"] {
        let plan = database.plan(&format!("SELECT * FROM otel.{view} WHERE trace_id = '{trace}'")).await;
        assert!(
            plan.contains(&format!("{day}_encode_idx")) && !plan.contains(&format!("Seq Scan on {day}")),
            "{plan}"
        );
    }
    // Roots are looked for of the traces that are shown, not of all.
    let newest = "SELECT trace_id, root_service, root_name FROM otel.traces ORDER BY start_time DESC LIMIT 3";
    let plan = database.explain("ANALYZE, COSTS OFF, TIMING OFF", newest).await;
    let roots: Vec<&str> = plan
        .lines()
        .zip(plan.lines().skip(1))
        .filter(|(line, _)| line.contains("SubPlan"))
        .map(|(_, node)| node)
        .collect();
    assert!(roots.len() == 2 && roots.iter().all(|node| node.contains("loops=3")), "{plan}");
    // And spans are decoded when they are sorted and limited.
    let slowest = "SELECT trace_id, name, attributes FROM otel.spans ORDER BY duration DESC LIMIT 10";
    let plan = database.explain("VERBOSE, COSTS OFF", slowest).await;
    let (above, below) = plan.split_once("Sort Key").expect("they are sorted");
    assert!(above.contains("span_body") && !below.contains("span_body"), "{plan}");
    let newest: String = database.value("SELECT max(start_time)::text FROM otel.spans").await;
    let plan = database
        .plan(&format!(
            "SELECT * FROM otel.spans WHERE service = 'report-builder' \
             AND start_time > timestamptz '{newest}' - interval '1 minute' AND status = 'error'"
        ))
        .await;
    assert!(plan.contains("Index") && !plan.contains(&format!("Seq Scan on {day}")), "{plan}");
    for view in ["spans", "traces"] {
        let plan = database.plan(&format!("SELECT count(*) FROM otel.{view}")).await;
        assert!(!plan.contains("span_documents") && !plan.contains("SubPlan"), "counting decodes: {plan}");
    }
    let counted: i64 = database.value("SELECT sum(spans)::bigint FROM otel.documents").await;
    assert_eq!(counted as usize, spans.len(), "the documents know how often they are used");
}

#[tokio::test(flavor = "multi_thread")]
async fn embeddings_that_went_with_the_extension_are_made_again_by_who_runs_what_the_errors_name() {
    let database = TestDatabase::create().await;
    let schema = database.schema_with_roles();
    let folder = tempfile::tempdir().expect("a folder");
    let model = Tiny::new(128, 1);
    model.write(folder.path());
    let mut settings = model.settings(folder.path(), &database.settings());
    settings.schema.clone_from(&schema);
    let running = store(settings.clone());
    running.create_roles().await.expect("roles");
    running.batch_store(&arbitrary::sample(20)).await.expect("stored");
    running.flush().await.expect("embedded");
    let of_embeddings = format!(
        "SELECT string_agg(line, ' ' ORDER BY line) FROM (\
           SELECT indexdef FROM pg_indexes WHERE schemaname = '{schema}' AND tablename = 'span_documents' \
           UNION ALL SELECT concat(format_type(atttypid, atttypmod), attacl::text, col_description(attrelid, attnum)) \
             FROM pg_attribute WHERE attrelid = '{schema}.span_documents'::regclass AND attname = 'embedding' \
           UNION ALL SELECT concat(pg_get_viewdef(oid), relacl::text, relowner::regrole, obj_description(oid)) \
             FROM pg_class WHERE oid = to_regclass('{schema}.documents')) AS lines (line)"
    );
    let before: String = database.value(&of_embeddings).await;
    let query = "check out";

    database.execute("DROP EXTENSION vector CASCADE").await;
    let error = store(settings.clone()).health_check().await.error.expect("not healthy");
    assert!(error.contains("CREATE EXTENSION vector;") && error.contains("otel-pgvector migrate"), "{error}");
    database.execute("CREATE EXTENSION vector").await;
    let remedy = format!("otel-pgvector migrate --schema {schema}");
    for store in [&running, &store(settings.clone())] {
        store.batch_store(&arbitrary::sample(5)).await.expect("spans are stored without embeddings");
        for error in [
            store.search_traces(query).await.expect_err("no embeddings").to_string(),
            store.flush().await.expect_err("no embeddings").to_string(),
            store.health_check().await.error.expect("not healthy"),
        ] {
            assert!(error.contains("DROP EXTENSION vector CASCADE") && error.contains(&remedy), "{error}");
        }
    }

    store(settings).migrate().await.expect("made again");
    running.flush().await.expect("embedded");
    let health = running.health_check().await;
    assert!(health.healthy && health.documents > 0 && health.documents_waiting == 0, "{health:?}");
    running.search_traces(query).await.expect("searched");
    assert_eq!(database.value::<String>(&of_embeddings).await, before);
}
