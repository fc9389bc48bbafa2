//! How many bytes a stored span takes, against one wide row a span with everything in jsonb.
//!
//! `cargo bench --bench storage`, on the server that `OTEL_TEST_DATABASE_URL` names, with the recordings of `../shared`.

mod support;

use opentelemetry_pgvector::TraceStore;
use support::database::TestDatabase;
use support::figure::{Figure, rounded};
use support::shared;
use tokio_postgres::Client;

/// What a batch of the SDK's processor holds by default.
const BATCH: usize = 512;

/// Everything that a span has, in the row itself, and the one index without which there is no tracing.
const WIDE: &str = "
CREATE TABLE wide (
    trace_id uuid NOT NULL, span_id bigint NOT NULL, parent_span_id bigint NOT NULL,
    start_time timestamptz NOT NULL, duration_ns bigint NOT NULL, span jsonb NOT NULL
);
CREATE INDEX wide_trace ON wide (trace_id);
INSERT INTO wide
SELECT r.trace_id, r.span_id, r.parent_span_id, r.start_time, r.duration_ns,
       otel.span_body(d.body, r.fillers) || jsonb_build_object('service', d.service, 'resource', s.body::jsonb)
FROM otel.span_rows r
JOIN otel.span_documents d ON d.id = r.document_id
JOIN otel.span_resources s ON s.id = r.resource_id;
";

/// Heap with TOAST, then each index, of all partitions together.
const SIZES: &str = "
WITH relations AS (
    SELECT oid AS id, 'heap' AS part FROM pg_class WHERE oid = $1::text::regclass
    UNION ALL
    SELECT indexrelid, 'index ' || indexrelid::regclass::name FROM pg_index WHERE indrelid = $1::text::regclass
)
SELECT part, sum(CASE part WHEN 'heap' THEN pg_table_size(leaf.relid) ELSE pg_relation_size(leaf.relid) END)::bigint
FROM relations, LATERAL (
    SELECT relid FROM pg_partition_tree(id) WHERE isleaf
    UNION SELECT id WHERE NOT EXISTS (SELECT FROM pg_partition_tree(id))
) leaf
GROUP BY part ORDER BY part
";

#[tokio::main(flavor = "current_thread")]
async fn main() {
    for name in ["datasette", "trainticket"] {
        if let Some(messages) = shared::messages(name) {
            let spans = shared::spans(&messages);
            let database = TestDatabase::create().await;
            let mut settings = database.settings();
            settings.flush_timeout_seconds = 300;
            let store = TraceStore::new(settings).expect("valid settings");
            for batch in spans.chunks(BATCH) {
                store.batch_store(batch).await.expect("the batch is stored");
            }
            if let Err(error) = store.flush().await {
                eprintln!("documents are measured without their vectors: {error}");
            }
            database.execute(WIDE).await;
            database.execute("VACUUM ANALYZE").await;
            report(name, spans.len(), &database.client().await).await;
        }
    }
}

async fn report(name: &str, spans: usize, client: &Client) {
    let wide = sizes(client, "wide").await;
    let wide_total: i64 = wide.iter().map(|(_, bytes)| bytes).sum();
    let wide_total = wide_total as f64 / spans as f64;
    let print = |what: &str, value: f64, unit: &str, against: &str, ratio: f64| {
        let bench = format!("storage/{name}/{what}");
        Figure { bench: &bench, value: rounded(value), unit, against, ratio: rounded(ratio), spread: None }
            .print();
    };
    for (table, label) in [("wide", "wide"), ("otel.span_rows", "rows")] {
        let parts = sizes(client, table).await;
        let total = parts.iter().map(|(_, bytes)| bytes).sum::<i64>() as f64 / spans as f64;
        for (part, bytes) in parts {
            let value = bytes as f64 / spans as f64;
            print(&format!("{label}/{part}"), value, "B/span", &format!("{label}/total"), value / total);
        }
        print(&format!("{label}/total"), total, "B/span", "wide/total", total / wide_total);
    }
    for table in ["span_documents", "span_resources"] {
        let count =
            client.query_one(&format!("SELECT count(*) FROM otel.{table}"), &[]).await.expect("a count");
        let count = count.get::<_, i64>(0) as f64;
        print(&format!("{table}/count"), count, "rows", "spans", count / spans as f64);
        let parts = sizes(client, &format!("otel.{table}")).await;
        let total = parts.iter().map(|(_, bytes)| bytes).sum::<i64>() as f64;
        for (part, bytes) in parts {
            let each = bytes as f64 / count;
            print(&format!("{table}/{part}"), each, "B/row", &format!("{table}/total"), bytes as f64 / total);
        }
        print(
            &format!("{table}/total"),
            total / count,
            "B/row",
            "wide/total a span",
            total / count / wide_total,
        );
        print(
            &format!("{table}/share"),
            total / spans as f64,
            "B/span",
            "wide/total",
            total / spans as f64 / wide_total,
        );
    }
}

async fn sizes(client: &Client, table: &str) -> Vec<(String, i64)> {
    let rows = client.query(SIZES, &[&table]).await.expect("sizes");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}
