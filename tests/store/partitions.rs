//! A day has a partition of its own, made ahead or with its first span; whatever happens, a span is stored.

use crate::support::database::{TestDatabase, eventually};
use crate::support::spans::{DAY, at, on_day};
use opentelemetry_pgvector::TraceStore;

async fn database() -> (TestDatabase, TraceStore) {
    let database = TestDatabase::create().await;
    let store = database.store();
    store.migrate().await.expect("migrated");
    (database, store)
}

/// How many spans stand in the default partition.
async fn in_default(database: &TestDatabase) -> i64 {
    database.value("SELECT count(*) FROM otel.span_rows_default").await
}

async fn stored(database: &TestDatabase) -> i64 {
    database.value("SELECT count(*) FROM otel.span_rows").await
}

/// How many partitions there are beside the default one.
async fn days(database: &TestDatabase) -> i64 {
    database.value("SELECT count(*) FROM otel.partitions WHERE NOT is_default").await
}

#[tokio::test(flavor = "multi_thread")]
async fn today_and_three_days_have_partitions_from_the_start() {
    let (database, store) = database().await;
    let names: Vec<String> = database
        .value(
            "SELECT array_agg(partition::text ORDER BY from_time) FROM otel.partitions WHERE NOT is_default",
        )
        .await;
    let expected: Vec<String> = database
        .value(
            "SELECT array_agg(format('otel.span_rows_%s', to_char((now() AT TIME ZONE 'UTC')::date + ahead, 'YYYY_MM_DD')) \
             ORDER BY ahead) FROM generate_series(0, 3) AS ahead",
        )
        .await;
    assert_eq!(names, expected);
    let comment: String =
        database.value(&format!("SELECT obj_description('{}'::regclass, 'pg_class')", names[0])).await;
    assert!(comment.starts_with("Spans that started on 20"), "{comment}");
    store.batch_store(&on_day(0, 5)).await.expect("stored");
    assert_eq!((in_default(&database).await, stored(&database).await), (0, 5));
    let health = store.health_check().await;
    assert_eq!((health.days_ahead, health.partitions), (Some(4), Some(5)), "{health:?}");
    assert!(health.oldest_partition.is_some(), "{health:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn days_begin_at_midnight_in_utc_whatever_style_of_dates_the_database_has() {
    let database = TestDatabase::create().await;
    // In this style a time in Kolkata ends with IST, which servers before PostgreSQL 18 read as Israel's.
    database.alter("SET datestyle = 'SQL, DMY'").await;
    database.alter("SET timezone = 'Asia/Kolkata'").await;
    for prepared in [true, false] {
        let mut settings = database.settings();
        (settings.prepared_statements, settings.schema) = (prepared, format!("prepared_{prepared}"));
        TraceStore::new(settings).expect("valid settings").migrate().await.expect("migrated");
        let client = database.client().await;
        client.batch_execute("SET datestyle = 'ISO'; SET timezone = 'UTC'").await.expect("set");
        let at_midnight = format!(
            "SELECT count(*) FROM prepared_{prepared}.partitions WHERE from_time = date_trunc('day', from_time)"
        );
        let days: i64 = client.query_one(&at_midnight, &[]).await.expect("counted").get(0);
        assert_eq!(days, 4, "prepared statements: {prepared}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_is_like_the_default_one() {
    let (database, _) = database().await;
    let indexes = "SELECT array_agg(regexp_replace(pg_get_indexdef(indexrelid), 'span_rows_(default|[0-9_]+)', '', 'g') ORDER BY 1) \
                   FROM pg_index WHERE indrelid = ";
    let default: Vec<String> = database.value(&format!("{indexes} 'otel.span_rows_default'::regclass")).await;
    let day: Vec<String> = database
        .value(&format!("{indexes} (SELECT partition FROM otel.partitions WHERE NOT is_default LIMIT 1)"))
        .await;
    let plain = |indexes: Vec<String>| -> Vec<String> {
        indexes.iter().map(|index| index.split(" USING ").last().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(plain(day), plain(default));
    let constraints: i64 = database
        .value("SELECT count(*) FROM pg_constraint WHERE contype = 'c' AND conname = 'of_one_day'")
        .await;
    assert_eq!(constraints, 0, "what spares the check at the attachment is not kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writers_at_once_make_the_days_of_their_spans() {
    let (database, _) = database().await;
    let writers: Vec<_> = (0..8)
        .map(|_| {
            let store = database.store();
            tokio::spawn(async move {
                for day in 1..=10 {
                    let mut spans = on_day(-day, 3);
                    spans.extend(on_day(-day - 1, 3));
                    store.batch_store(&spans).await.expect("stored");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("no panic");
    }
    assert_eq!(stored(&database).await, 8 * 10 * 6);
    // What came while a lock was not to be had is moved, when nobody else holds one, such as autovacuum.
    eventually("nothing is left", async || {
        let maintained = database.store().maintain().await.expect("maintained");
        maintained.left.is_empty()
    })
    .await;
    assert_eq!((in_default(&database).await, stored(&database).await), (0, 8 * 10 * 6));
    assert_eq!(days(&database).await, 11 + 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_data_spreads_into_its_days() {
    let (database, store) = database().await;
    // More days than one batch asks for.
    let spans: Vec<_> = (0..40).flat_map(|day| on_day(-900 - day, 2)).collect();
    store.batch_store(&spans).await.expect("stored");
    store.batch_store(&spans).await.expect("stored");
    let maintained = store.maintain().await.expect("maintained");
    assert!(maintained.left.is_empty(), "{maintained:?}");
    assert_eq!((in_default(&database).await, stored(&database).await), (0, 160));
    assert_eq!(days(&database).await, 40 + 4);
    let even: bool = database
        .value("SELECT bool_and(spans = 4) FROM (SELECT count(*) AS spans FROM otel.span_rows GROUP BY tableoid) AS days")
        .await;
    assert!(even, "each day in its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn impossible_clocks_make_no_partition_and_keep_none_from_being_made() {
    let (database, store) = database().await;
    let impossible =
        [i128::from(i64::MIN) * 1000, -60_000_000 * DAY / 1000, 0, 40_000 * DAY, i128::from(i64::MAX) * 1000];
    for start in impossible {
        store.batch_store(&at(start, 2)).await.expect("stored");
    }
    store.batch_store(&on_day(30, 2)).await.expect("stored");
    assert_eq!((days(&database).await, in_default(&database).await), (4, 12));
    store.batch_store(&on_day(-3, 2)).await.expect("stored");
    assert_eq!((days(&database).await, in_default(&database).await), (5, 12));
    let maintained = store.maintain().await.expect("maintained");
    assert_eq!((maintained.spans_moved, maintained.partitions_made.len()), (0, 0));
    assert_eq!(stored(&database).await, 14);
}

#[tokio::test(flavor = "multi_thread")]
async fn days_before_last_week_get_partitions_only_as_long_as_the_server_has_locks_for_them() {
    let (database, store) = database().await;
    let limit = "SELECT least(1500, current_setting('max_locks_per_transaction')::bigint \
                 * (current_setting('max_connections')::bigint + current_setting('max_prepared_transactions')::bigint) / 20)";
    let expected: i64 = database.value(limit).await;
    assert_eq!(store.health_check().await.partition_limit, Some(expected as u64));
    database
        .execute(
            "CREATE OR REPLACE FUNCTION otel.partition_limit() RETURNS bigint LANGUAGE sql STABLE RETURN 6",
        )
        .await;
    for days_ago in [30, 31, 32] {
        store.batch_store(&on_day(-days_ago, 1)).await.expect("stored");
    }
    assert_eq!((days(&database).await, in_default(&database).await), (5, 2), "the default one is the sixth");
    store.batch_store(&on_day(-7, 1)).await.expect("stored");
    let done = store.maintain().await.expect("maintained");
    assert_eq!((days(&database).await, in_default(&database).await), (6, 2), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_whose_spans_are_in_the_default_partition_takes_them_when_it_is_made() {
    let (database, store) = database().await;
    let name: String = database
        .value("SELECT partition::text FROM otel.partitions WHERE NOT is_default ORDER BY from_time LIMIT 1")
        .await;
    database.execute(&format!("DROP TABLE {name}")).await;
    store.batch_store(&on_day(1, 1)).await.expect("stored");
    database.execute("INSERT INTO otel.span_rows SELECT gen_random_uuid(), 1, 0, now(), 1, 1, 1, 0, 0, '' FROM generate_series(1, 50)").await;
    assert_eq!(in_default(&database).await, 50);
    database.store().batch_store(&on_day(0, 1)).await.expect("stored");
    assert_eq!((in_default(&database).await, stored(&database).await), (0, 52));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_for_long_keeps_no_span_from_being_stored() {
    let (database, store) = database().await;
    let reader = database.client().await;
    reader.batch_execute("BEGIN; SELECT count(*) FROM otel.span_rows_default").await.expect("reads");
    store.batch_store(&on_day(-20, 3)).await.expect("stored");
    assert_eq!((in_default(&database).await, days(&database).await), (3, 4));
    reader.batch_execute("COMMIT").await.expect("read");
    store.maintain().await.expect("maintained");
    assert_eq!((in_default(&database).await, days(&database).await), (0, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_somebody_made_by_hand_is_used() {
    let (database, store) = database().await;
    database
        .execute("CREATE TABLE otel.long_ago PARTITION OF otel.span_rows FOR VALUES FROM (MINVALUE) TO ('2005-01-01 00:00+00')")
        .await;
    store.batch_store(&at(12_000 * DAY, 2)).await.expect("stored");
    assert_eq!(database.value::<i64>("SELECT count(*) FROM otel.long_ago").await, 2);
    assert_eq!(days(&database).await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_function_s_right_spans_are_stored_as_before() {
    let (database, _) = database().await;
    let role = database.create_role().await;
    database
        .execute(&format!(
            "GRANT USAGE ON SCHEMA otel TO {role}; GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA otel TO {role}"
        ))
        .await;
    let store = TraceStore::new(database.settings_as(&role)).expect("valid settings");
    store.batch_store(&on_day(-20, 3)).await.expect("stored");
    store.batch_store(&on_day(0, 3)).await.expect("stored");
    assert_eq!((in_default(&database).await, days(&database).await), (3, 4));
}
