//! Stores of millions of spans, multiplied within the server from some thousand that were exported.

use std::time::Instant;

use opentelemetry_pgvector::TraceStore;
use tokio_postgres::Client;

use super::database::TestDatabase;
use super::marketplace::Marketplace;
use super::random::Random;

/// When the spans end, in seconds since 1970, and over how many days they are spread: a partition a day.
pub const END: i64 = 1_760_054_400;
pub const DAYS: i64 = 30;
/// Spans that are exported and then multiplied, and how many spans a trace has: one in a hundred is long.
const BASE: usize = 20_000;
const SHORT: usize = 10;
pub const LONG: usize = 50;

/// A database with so many spans of so many documents.
///
/// Where `OTEL_BENCH_DATABASE` is a name, the database is called so with both numbers behind, stays, and is found again.
pub async fn store(spans: usize, documents: usize) -> TestDatabase {
    let name = std::env::var("OTEL_BENCH_DATABASE").ok();
    let name = name.map(|name| format!("{name}_{spans}_{documents}"));
    if let Some(name) = &name
        && let Some(database) = TestDatabase::find(name).await
    {
        return database;
    }
    let begun = Instant::now();
    let database = TestDatabase::create().await;
    export(&database).await;
    let client = database.client().await;
    let run =
        async |sql: &str| client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    run("SET maintenance_work_mem = '2GB'; SET max_parallel_maintenance_workers = 4; SET work_mem = '64MB'")
        .await;
    run("SET search_path = otel, public; SET synchronous_commit = off").await;
    // Indexes that are made at once are made faster, and are as if they had grown.
    let indexes = take_indexes(&client).await;
    add_documents(&client, documents).await;
    let copies = spans / BASE;
    run(&format!(
        "CREATE UNLOGGED TABLE bench_rows AS SELECT * FROM span_rows; TRUNCATE span_rows; {}",
        partitions()
    ))
    .await;
    for first in (0..copies).step_by(10) {
        run(&add_rows(first, (first + 10).min(copies), copies)).await;
    }
    for index in indexes {
        run(&index).await;
    }
    run("DROP TABLE bench_rows, bench_base, bench_noise, bench_words").await;
    run("VACUUM (FREEZE, ANALYZE)").await;
    run("CHECKPOINT").await;
    eprintln!("{spans} spans of {documents} documents were made in {:.0} s", begun.elapsed().as_secs_f64());
    match name {
        Some(name) => database.keep(&name).await,
        None => database,
    }
}

/// What is multiplied, stored as an exporter does it.
async fn export(database: &TestDatabase) {
    let mut settings = database.settings();
    settings.flush_timeout_seconds = 300;
    let store = TraceStore::new(settings).expect("valid settings");
    let (mut marketplace, mut spans, mut traces) = (Marketplace::new(END - DAYS * 86_400), Vec::new(), 0);
    while spans.len() < BASE {
        let left = BASE - spans.len();
        marketplace.trace(&mut spans, if traces % 100 == 0 { LONG } else { SHORT }.min(left));
        traces += 1;
    }
    for batch in spans.chunks(512) {
        store.batch_store(batch).await.expect("the batch is stored");
    }
    store.flush().await.expect("the documents are embedded");
}

/// Drops the indexes that no constraint needs; returns what makes them.
async fn take_indexes(client: &Client) -> Vec<String> {
    let sql = "SELECT indexrelid::regclass::text, replace(pg_get_indexdef(indexrelid), ' ON ONLY ', ' ON ') \
               FROM pg_index WHERE indrelid IN ('span_rows'::regclass, 'span_documents'::regclass) AND NOT indisunique";
    let indexes = client.query(sql, &[]).await.expect("the indexes");
    for index in &indexes {
        client
            .batch_execute(&format!("DROP INDEX {}", index.get::<_, &str>(0)))
            .await
            .expect("the index is dropped");
    }
    indexes.iter().map(|index| index.get(1)).collect()
}

/// Documents like those that are there: each with two other words, and a vector that leans towards two other directions.
async fn add_documents(client: &Client, documents: usize) {
    let run =
        async |sql: &str| client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    run("CREATE UNLOGGED TABLE bench_base AS SELECT *, max(id) OVER () + 1 AS stride FROM span_documents; \
         CREATE UNLOGGED TABLE bench_words AS SELECT row_number() OVER (ORDER BY word) - 1 AS number, word FROM span_words; \
         CREATE UNLOGGED TABLE bench_noise (number integer, noise vector(384))")
    .await;
    let mut random = Random(5);
    for _ in 0..8 {
        let values: Vec<String> = (0..128)
            .map(|_| {
                let numbers = random.unit_vector(384).into_iter().map(|number| (number * 0.3).to_string());
                format!("'[{}]'", numbers.collect::<Vec<_>>().join(","))
            })
            .collect();
        run(&format!(
            "INSERT INTO bench_noise SELECT (SELECT count(*) FROM bench_noise) + place - 1, noise::vector \
             FROM unnest(ARRAY[{}]) WITH ORDINALITY AS new (noise, place)",
            values.join(",")
        ))
        .await;
    }
    // Half of the noise is towards what other documents mean.
    run("INSERT INTO bench_noise \
         SELECT 1024 + row_number() OVER () - 1, embedding * array_fill(0.3::real, ARRAY[384])::vector \
         FROM (SELECT embedding FROM span_documents ORDER BY hash LIMIT 1024) AS few")
    .await;
    run(&format!(
        "INSERT INTO span_documents (id, hash, service, scope, name, kind, status_code, body, text, attributes, embedding) \
         OVERRIDING SYSTEM VALUE \
         SELECT id + stride * variant, gen_random_uuid(), service || '-' || variant, scope, name, kind, status_code, body, \
                text || ' ' || (SELECT word FROM bench_words WHERE number = mixed & 127) \
                     || ' ' || (SELECT word FROM bench_words WHERE number = (mixed >> 8) & 127), \
                attributes, l2_normalize(embedding + a.noise + b.noise) \
         FROM (SELECT *, hashint8(id * 1000003::bigint + variant) & 2147483647 AS mixed \
               FROM bench_base CROSS JOIN generate_series(1, {documents} / (SELECT count(*) FROM bench_base)) AS variant \
               ORDER BY variant LIMIT {documents} - (SELECT count(*) FROM bench_base)) AS new \
         JOIN bench_noise a ON a.number = mixed % (SELECT count(*) FROM bench_noise) \
         JOIN bench_noise b ON b.number = (mixed / 4096) % (SELECT count(*) FROM bench_noise)"
    ))
    .await;
    // Whoever stores spans beside them takes the ids behind them.
    run("SELECT setval(pg_get_serial_sequence('span_documents', 'id'), max(id)) FROM span_documents").await;
}

/// A partition for each day that has none of its own.
fn partitions() -> String {
    let start = END - DAYS * 86_400;
    format!(
        "DO $$ BEGIN FOR day IN 0..{DAYS} - 1 LOOP \
             BEGIN \
                 EXECUTE format('CREATE TABLE bench_day_%s PARTITION OF span_rows FOR VALUES FROM (%L) TO (%L)', \
                                day, to_timestamp({start} + day * 86400), to_timestamp({start} + (day + 1) * 86400)); \
             EXCEPTION WHEN invalid_object_definition THEN NULL; \
             END; \
         END LOOP; END $$"
    )
}

/// Copies of all traces, each with an id and a time of its own, and documents of which the first are the most common.
fn add_rows(first: usize, end: usize, copies: usize) -> String {
    let start = END - DAYS * 86_400;
    let step = (DAYS * 86_400) as f64 / copies as f64;
    format!(
        "INSERT INTO span_rows \
         SELECT trace, span_id, parent_span_id, \
                to_timestamp({start}) + ((copy + chance) * {step}) * interval '1 second' + (start_time - begun), \
                duration_ns, document_id + stride * floor(power(chance_of_document, 3) * variants)::integer, \
                resource_id, start_ns, flags, fillers \
         FROM (SELECT r.*, copy, stride, variants, min(start_time) OVER (PARTITION BY trace_id, copy) AS begun, \
                      md5(trace_id::text || copy)::uuid AS trace, \
                      (hashtextextended(trace_id::text, copy) & 65535) / 65536.0 AS chance, \
                      (hashtextextended(trace_id::text, copy + 7777) & 65535) / 65536.0 AS chance_of_document \
               FROM generate_series({first}, {end} - 1) AS copy CROSS JOIN bench_rows r \
               CROSS JOIN (SELECT min(stride) AS stride, (SELECT count(*) FROM span_documents) / count(*) AS variants \
                           FROM bench_base) AS all_documents) AS new \
         ORDER BY copy, chance"
    )
}
