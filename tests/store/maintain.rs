//! Maintenance: nothing is lost or doubled, nobody waits for long, and a span never lacks its document.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use crate::support::database::{TestDatabase, eventually};
use crate::support::former;
use crate::support::spans::{self, DAY, at, on_day};
use opentelemetry_pgvector::settings::Maintenance;
use opentelemetry_pgvector::{Error, Settings, SpanExporter, TraceStore};
use opentelemetry_sdk::trace::SpanExporter as _;

async fn database() -> (TestDatabase, TraceStore) {
    let database = TestDatabase::create().await;
    let store = database.store();
    store.migrate().await.expect("migrated");
    (database, store)
}

fn retaining(settings: Settings, days: u32) -> TraceStore {
    let mut settings = settings;
    settings.retention_days = days;
    TraceStore::new(settings).expect("valid settings")
}

async fn in_default(database: &TestDatabase) -> i64 {
    database.value("SELECT count(*) FROM otel.span_rows_default").await
}

/// Inserts rows of documents that are there, from so many days before today on.
async fn insert(database: &TestDatabase, days_ago: i32, count: i32) {
    database
        .execute(&format!(
            "INSERT INTO otel.span_rows SELECT gen_random_uuid(), n, 0, \
             ((now() AT TIME ZONE 'UTC')::date - {days_ago})::timestamp AT TIME ZONE 'UTC' + n * interval '1 s', n, 1, 1, 0, 0, '' \
             FROM generate_series(1, {count}) AS n"
        ))
        .await;
}

/// Waits until every transaction on the server that is older than the rows has ended, also those of other databases.
async fn settled(database: &TestDatabase) {
    let settled = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint > max(xmin::text::bigint) FROM otel.span_rows";
    eventually("older transactions have ended", async || database.value(settled).await).await;
}

/// What tells whether any row was lost, doubled or changed.
async fn all_rows(database: &TestDatabase) -> (i64, String) {
    let rows =
        "SELECT count(*), coalesce(sum(hashtextextended(r::text, 0)), 0)::text FROM otel.span_rows AS r";
    let row = database.client().await.query_one(rows, &[]).await.expect("rows");
    (row.get(0), row.get(1))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_one_partition_gets_its_days() {
    let database = TestDatabase::create().await;
    former::make(&database, 6).await;
    for (days_ago, count) in [(0, 300), (1, 2000), (3, 25_000), (400, 10)] {
        insert(&database, days_ago, count).await;
    }
    insert(&database, 300_000, 3).await;
    insert(&database, -2_000_000, 4).await;
    let before = all_rows(&database).await;

    let store = database.store();
    store.migrate().await.expect("migrated");
    assert_eq!(all_rows(&database).await, before);
    let maintained = store.maintain().await.expect("maintained");
    assert_eq!(all_rows(&database).await, before);
    assert_eq!(
        (maintained.spans_moved, maintained.left.len()),
        (27_010, 0),
        "today's were moved as it migrated"
    );
    assert_eq!(in_default(&database).await, 7, "of no day that may be");
    let days: i64 = database.value("SELECT count(DISTINCT tableoid) FROM otel.span_rows").await;
    assert_eq!(days, 5);
    let again = store.maintain().await.expect("maintained");
    assert_eq!(again, Default::default(), "nothing is left to do");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_was_interrupted_is_taken_up_again() {
    let (database, store) = database().await;
    insert(&database, 50, 20_000).await;
    settled(&database).await;
    let copy = "SELECT otel.copy_day((now() AT TIME ZONE 'UTC')::date - 50)";
    assert_eq!(database.value::<i64>(copy).await, 20_000);
    assert_eq!(database.value::<i64>(copy).await, 0, "it is there");
    // The process was killed here. Readers see nothing of the copy, and writers go on.
    insert(&database, 50, 500).await;
    let before = all_rows(&database).await;
    assert_eq!(before.0, 20_500);
    let maintained = store.maintain().await.expect("maintained");
    assert_eq!((maintained.spans_moved, maintained.left.len()), (20_500, 0), "{maintained:?}");
    assert_eq!(all_rows(&database).await, before);
    assert_eq!(in_default(&database).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_locked_are_counted_by_the_next_maintenance() {
    let (database, store) = database().await;
    let client = database.client().await;
    client.batch_execute("BEGIN; LOCK TABLE otel.service_dependencies").await.expect("locked");
    let maintained = store.maintain().await.expect("maintained");
    assert!(maintained.left.len() == 1 && maintained.left[0].contains("calls"), "{maintained:?}");
    client.batch_execute("ROLLBACK").await.expect("open again");
    let maintained = store.maintain().await.expect("maintained");
    assert!(maintained.left.is_empty(), "{maintained:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_while_it_is_moved_does_not_come_back() {
    let (database, store) = database().await;
    insert(&database, 50, 20_000).await;
    settled(&database).await;
    let copy = "SELECT otel.copy_day((now() AT TIME ZONE 'UTC')::date - 50)";
    assert_eq!(database.value::<i64>(copy).await, 20_000);
    database.execute("DELETE FROM otel.span_rows WHERE span_id = 7").await;
    let before = all_rows(&database).await;
    let maintained = store.maintain().await.expect("maintained");
    assert_eq!(maintained.left.len(), 1, "{maintained:?}");
    assert_eq!(all_rows(&database).await, before);
    let maintained = store.maintain().await.expect("maintained");
    assert_eq!((maintained.spans_moved, maintained.left.len()), (19_999, 0), "{maintained:?}");
    assert_eq!((all_rows(&database).await, in_default(&database).await), (before, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_has_a_day_s_name_is_left_alone() {
    let (database, store) = database().await;
    insert(&database, 50, 10).await;
    let name: String = database
        .value("SELECT to_char((now() AT TIME ZONE 'UTC')::date - 50, '\"span_rows_\"YYYY_MM_DD')")
        .await;
    database.execute(&format!("CREATE TABLE otel.{name} AS SELECT 1 AS mine")).await;
    let maintained = store.maintain().await.expect("maintained");
    assert!(maintained.left[0].contains("another table has its name"), "{maintained:?}");
    assert_eq!(in_default(&database).await, 10);
    assert_eq!(database.value::<i32>(&format!("SELECT mine FROM otel.{name}")).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn older_days_are_dropped_and_what_only_they_used_is_deleted() {
    let (database, store) = database().await;
    let (mut old, mut odd) = (on_day(-40, 3), at(-DAY, 5));
    old.iter_mut().for_each(|span| span.name = "of old".into());
    odd.iter_mut().for_each(|span| span.name = "of an odd clock".into());
    for spans in [&old, &odd, &on_day(-31, 2), &on_day(-30, 2), &on_day(0, 2)] {
        store.batch_store(spans).await.expect("stored");
    }
    database.execute("UPDATE otel.span_documents SET last_seen = now() - interval '39 days'").await;
    let unused = "SELECT count(*) FROM otel.span_documents d WHERE NOT EXISTS ( \
                      SELECT FROM otel.span_rows r WHERE r.document_id = d.id AND start_time > now() - interval '30 days 12 hours')";
    let unused: i64 = database.value(unused).await;
    let everything = all_rows(&database).await;
    assert_eq!(store.maintain().await.expect("maintained").partitions_dropped.len(), 0, "retention is off");
    assert_eq!(all_rows(&database).await, everything);

    let strict = retaining(database.settings(), 30);
    let plan = strict.plan_maintain().await.expect("planned");
    assert_eq!((plan.partitions_dropped.len(), plan.documents_deleted), (2, 0));
    assert_eq!(all_rows(&database).await, everything, "a plan changes nothing");

    let done = strict.maintain().await.expect("maintained");
    assert_eq!(done.partitions_dropped, plan.partitions_dropped);
    assert_eq!((done.spans_deleted, done.documents_deleted), (5, unused as u64), "{done:?}");
    assert!(unused >= 2, "{unused}");
    let orphans =
        "SELECT count(*) FROM otel.span_rows WHERE document_id NOT IN (SELECT id FROM otel.span_documents)";
    assert_eq!(database.value::<i64>(orphans).await, 0, "spans whose document is gone");
    assert!(done.bytes_freed > 0);
    assert_eq!(all_rows(&database).await.0, 4, "of today, and of 30 days ago");
    let names: i64 = database.value("SELECT count(*) FROM otel.span_documents WHERE name LIKE 'of %'").await;
    assert_eq!(names, 0);
    // The process knows the day that was dropped.
    store.batch_store(&on_day(-40, 1)).await.expect("stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_at_once_drop_each_partition_once() {
    let (database, store) = database().await;
    let spans: Vec<_> = (40..52).flat_map(|days_ago| on_day(-days_ago, 1)).collect();
    store.batch_store(&spans).await.expect("stored");
    let runs: Vec<_> = (0..4)
        .map(|_| {
            let store = retaining(database.settings(), 30);
            tokio::spawn(async move { store.maintain().await })
        })
        .collect();
    let mut dropped = 0;
    for run in runs {
        dropped += run.await.expect("no panic").expect("maintained").partitions_dropped.len() as i64;
    }
    let left = "SELECT count(*) FROM otel.partitions WHERE to_time < now() - interval '31 days'";
    assert_eq!(dropped + database.value::<i64>(left).await, 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_fails_leaves_the_others_to_be_done() {
    let (database, store) = database().await;
    let mut old = on_day(-100, 2);
    old[1].name = "of old".into();
    store.batch_store(&old).await.expect("stored");
    insert(&database, 50, 20_000).await;
    database
        .execute(
            "CREATE OR REPLACE FUNCTION otel.copy_day(day date) RETURNS bigint LANGUAGE plpgsql AS
             $$BEGIN RAISE 'no space left on device' USING ERRCODE = '53100'; END$$;
             CREATE OR REPLACE FUNCTION otel.prune_default_partition(days integer, at_most bigint) RETURNS bigint LANGUAGE plpgsql AS
             $$BEGIN RAISE 'out of time' USING ERRCODE = '57014'; END$$;
             UPDATE otel.span_documents SET last_seen = now() - interval '100 days'",
        )
        .await;
    let done = retaining(database.settings(), 90).maintain().await.expect("maintained");
    assert_eq!(done.partitions_dropped.len(), 1, "{done:?}");
    assert_eq!(done.documents_deleted, 1, "{done:?}");
    let [pruned, moved] = &done.left[..] else { panic!("{done:?}") };
    assert!(pruned.contains("default partition") && pruned.contains("out of time"), "{pruned}");
    assert!(moved.contains("the spans of 20") && moved.contains("no space left"), "{moved}");
    assert_eq!(in_default(&database).await, 20_000);
}

/// Documents are collected as soon as no span has them, whatever the processes that store them know.
#[tokio::test(flavor = "multi_thread")]
async fn no_span_lacks_its_document_while_documents_are_collected() {
    let (database, _) = database().await;
    let ends = Arc::new(AtomicBool::new(false));
    let written = Arc::new(AtomicI64::new(0));
    let writers: Vec<_> = (0..4_u8)
        .map(|writer| {
            let (store, ends, written) = (database.store(), Arc::clone(&ends), Arc::clone(&written));
            tokio::spawn(async move {
                // Each of the documents is in use now and then only.
                for name in (b'a'..=b'z').cycle().skip(usize::from(writer) * 6) {
                    if ends.load(Ordering::Acquire) {
                        break;
                    }
                    let mut spans = on_day(0, 3);
                    for (span, second) in spans.iter_mut().zip(b'a'..) {
                        span.name = format!("step {}{}", char::from(name), char::from(second)).into();
                    }
                    store.batch_store(&spans).await.expect("stored");
                    written.fetch_add(1, Ordering::AcqRel);
                }
            })
        })
        .collect();
    let store = database.store();
    let collected = AtomicU64::new(0);
    eventually("documents were collected, and stored anew, ten times", async || {
        // All spans so far go, and their documents look as if nobody had used them for long.
        database.execute("DELETE FROM otel.span_rows; UPDATE otel.span_documents SET last_seen = now() - interval '60 days'").await;
        let done = store.maintain().await.expect("maintained");
        let before = written.load(Ordering::Acquire);
        eventually("the writers go on", async || written.load(Ordering::Acquire) > before + 8).await;
        let orphans: i64 = database
            .value("SELECT count(*) FROM otel.span_rows r WHERE NOT EXISTS (SELECT FROM otel.span_documents d WHERE d.id = r.document_id)")
            .await;
        assert_eq!(orphans, 0);
        collected.fetch_add(done.documents_deleted, Ordering::AcqRel) + done.documents_deleted >= 10
    })
    .await;
    ends.store(true, Ordering::Release);
    for writer in writers {
        writer.await.expect("no panic");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_and_readers_go_on_while_days_are_made_moved_and_dropped() {
    let (database, _) = database().await;
    for days_ago in 20..30 {
        insert(&database, days_ago, 2000).await;
    }
    insert(&database, 5, 30_000).await;
    for days_ago in 100..110 {
        let day = format!("(now() AT TIME ZONE 'UTC')::date - {days_ago}");
        database.execute(&format!("SELECT otel.make_partition({day}, 0)")).await;
        insert(&database, days_ago, 10).await;
    }
    let kept = 10 * 2000 + 30_000;
    let ends = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..4_i128)
        .map(|writer| {
            let (store, ends) = (database.store(), Arc::clone(&ends));
            tokio::spawn(async move {
                let mut stored = 0;
                for round in 0_i128.. {
                    if ends.load(Ordering::Acquire) {
                        break;
                    }
                    // Of today, of a day that is moved, of a new day, and of none.
                    let mut spans = on_day(0, 5);
                    spans.extend(on_day(-20 - round % 10, 5));
                    spans.extend(on_day(-40 - (round + writer) % 20, 5));
                    spans.extend(at(50_000 * DAY, 1));
                    store.batch_store(&spans).await.expect("no statement is ended");
                    stored += spans.len() as i64;
                }
                stored
            })
        })
        .collect();
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (store, ends) = (database.store(), Arc::clone(&ends));
            tokio::spawn(async move {
                while !ends.load(Ordering::Acquire) {
                    let spans = on_day(0, 1);
                    store.batch_store(&spans).await.expect("stored");
                    let trace = store.get_trace(spans[0].trace_id).await.expect("no statement is ended");
                    assert_eq!(trace.len(), 1);
                }
            })
        })
        .collect();
    let store = retaining(database.settings(), 90);
    let mut dropped = 0;
    for _ in 0..5 {
        dropped += store.maintain().await.expect("maintained").partitions_dropped.len();
    }
    ends.store(true, Ordering::Release);
    let mut expected = kept;
    for writer in writers {
        expected += writer.await.expect("no panic");
    }
    for reader in readers {
        reader.await.expect("no panic");
    }
    let done = store.maintain().await.expect("maintained");
    assert!(done.left.is_empty(), "{done:?}");
    assert_eq!(dropped + done.partitions_dropped.len(), 10);
    let read = "SELECT count(*) FROM otel.batches WHERE spans = 1";
    let read: i64 = database.value(read).await;
    assert_eq!(all_rows(&database).await.0, expected + read, "each span once");
    let odd: i64 =
        database.value("SELECT count(*) FROM otel.span_rows_default WHERE start_time < now()").await;
    assert_eq!(odd, 0, "each span that has a day is in its day");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_all_exporters_one_does_it() {
    let (database, _) = database().await;
    let claims: Vec<_> = (0..8)
        .map(|_| {
            let database = database.client();
            async move {
                let claim = "SELECT otel.claim_maintenance(55)";
                database.await.query_one(claim, &[]).await.expect("claimed").get::<_, bool>(0)
            }
        })
        .collect();
    let elected = futures_util::future::join_all(claims).await.into_iter().filter(|claimed| *claimed).count();
    assert_eq!(elected, 1);

    database.execute("UPDATE otel.maintenance SET started_at = now() - interval '1 hour'").await;
    insert(&database, 9, 20).await;
    let exporters: Vec<_> = (0..2)
        .map(|_| {
            let mut settings = database.settings();
            settings.maintenance = Maintenance::Auto;
            SpanExporter::from_settings(settings).expect("valid settings")
        })
        .collect();
    for exporter in &exporters {
        exporter.export(spans::batch(0..2)).await.expect("exported");
    }
    eventually("one of them has moved the spans", async || in_default(&database).await == 0).await;
    for exporter in &exporters {
        let exporter = tokio::task::block_in_place(|| exporter.shutdown());
        exporter.expect("shut down");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn maintenance_that_fails_disturbs_no_export() {
    let (database, _) = database().await;
    database.execute("DROP FUNCTION otel.days_to_move").await;
    let mut settings = database.settings();
    settings.maintenance = Maintenance::Auto;
    let exporter = SpanExporter::from_settings(settings).expect("valid settings");
    exporter.export(spans::batch(0..2)).await.expect("exported");
    eventually("it has begun", async || {
        database.value("SELECT started_at > '-infinity' FROM otel.maintenance").await
    })
    .await;
    exporter.export(spans::batch(2..4)).await.expect("exported");
    assert_eq!(all_rows(&database).await.0, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_maintain_hears_what_to_run() {
    let database = TestDatabase::create().await;
    let schema = database.schema_with_roles();
    let mut settings = database.settings();
    settings.schema.clone_from(&schema);
    let superuser = TraceStore::new(settings).expect("valid settings");
    superuser.create_roles().await.expect("roles");
    superuser.migrate().await.expect("migrated");
    let member = async |group: &str| {
        let role = database.create_role().await;
        database.execute(&format!("GRANT {schema}_{group} TO {role}")).await;
        let mut settings = database.settings_as(&role);
        settings.schema.clone_from(&schema);
        (role, settings)
    };
    let (_, reader) = member("reader").await;
    let error = TraceStore::new(reader).expect("valid settings").maintain().await.expect_err("refused");
    assert!(matches!(error, Error::Schema(_)) && error.to_string().contains("_writer"), "{error}");

    let (role, writer) = member("writer").await;
    let store = TraceStore::new(writer.clone()).expect("valid settings");
    store.batch_store(&on_day(-40, 2)).await.expect("stored");
    store.maintain().await.expect("a writer maintains");
    let store = retaining(writer, 30);
    let error = store.maintain().await.expect_err("refused");
    let grant = format!(
        "GRANT EXECUTE ON FUNCTION \"{schema}\".drop_partition, \"{schema}\".prune_default_partition, \
         \"{schema}\".prune_dependencies TO <role>"
    );
    assert!(matches!(error, Error::Schema(_)) && error.to_string().contains(&grant), "{error}");
    database.execute(&grant.replace("<role>", &role)).await;
    assert_eq!(store.maintain().await.expect("maintained").partitions_dropped.len(), 1);

    let (_, owner) = member("owner").await;
    retaining(owner, 30).maintain().await.expect("the owner maintains");
}

#[test]
fn settings_that_cannot_be_are_explained() {
    for (variable, value, allowed) in [
        ("OTEL_STORAGE_MAINTENANCE", "sometimes", "`manual` or `auto`"),
        ("OTEL_STORAGE_RETENTION_DAYS", "36501", "0 to 36500"),
        ("OTEL_STORAGE_RETENTION_DAYS", "-1", "0 to 36500"),
        ("OTEL_STORAGE_RETENTION_DAYS", "a week", "0 to 36500"),
    ] {
        let error = Settings::loader().with_env([(variable, value)]).load().expect_err("not allowed");
        let text = error.to_string();
        assert!(text.contains(value) && text.contains(allowed), "{text}");
    }
    let env = [
        ("OTEL_STORAGE_MAINTENANCE", "auto"),
        ("OTEL_STORAGE_RETENTION_DAYS", "30"),
        ("OTEL_STORAGE_ENABLED", "false"),
    ];
    let settings = Settings::loader().with_env(env).load().expect("allowed");
    assert_eq!((settings.maintenance, settings.retention_days), (Maintenance::Auto, 30));
    assert_eq!(
        (Settings::default().maintenance, Settings::default().retention_days),
        (Maintenance::Manual, 0)
    );
}

#[cfg(feature = "cli")]
#[tokio::test(flavor = "multi_thread")]
async fn the_command_says_what_it_did() {
    let (database, store) = database().await;
    store.batch_store(&on_day(-40, 3)).await.expect("stored");
    insert(&database, 9, 20).await;
    let run = |arguments: &[&str]| tokio::task::block_in_place(|| database.run(arguments));
    let plan = run(&["maintain", "--retention-days", "30", "--dry-run"]).ok().stdout;
    assert!(plan.contains("would be moved:   20 spans"), "{plan}");
    assert!(plan.contains("would be dropped: 1 partition"), "{plan}");
    let done = run(&["maintain", "--retention-days", "30", "--json"]).ok().json();
    assert_eq!((&done["spans_moved"], &done["dry_run"]), (&20.into(), &false.into()), "{done}");
    assert_eq!(done["partitions_dropped"].as_array().map(Vec::len), Some(1), "{done}");
    let nothing = run(&["maintain", "--set", "retention_days=30"]).ok().stdout;
    assert!(nothing.contains("made:    0 partitions\n"), "{nothing}");
    assert_eq!(run(&["maintain", "--retention-days", "40000"]).code, Some(2));

    let reader = database.client().await;
    reader.batch_execute("BEGIN; SELECT FROM otel.span_rows").await.expect("reads");
    insert(&database, 50, 2).await;
    let held = run(&["maintain"]);
    assert_eq!(held.code, Some(1));
    assert!(held.stderr.contains("left to the next run"), "{held:?}");
}
