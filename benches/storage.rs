//! How many bytes a stored span takes, heap and each index, against one wide row a span with everything in jsonb.
//!
//! `cargo bench --bench storage [-- --generated]`, on the server that `OTEL_TEST_DATABASE_URL` names, with the recordings
//! of `../shared` or an invented shop.

mod support;

use support::figure::{Figure, rounded};
use support::recordings;
use tokio_postgres::Client;

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
    recordings::for_each(async |name, spans| {
        let (database, store) = recordings::store(spans).await;
        if let Err(error) = store.flush().await {
            eprintln!("documents are measured without their vectors: {error}");
        }
        database.execute(WIDE).await;
        database.execute("VACUUM ANALYZE").await;
        report(name, spans.len() as f64, &database.client().await).await;
    })
    .await;
}

async fn report(name: &str, spans: f64, client: &Client) {
    let wide = Sizes::of(client, "wide").await;
    let rows = Sizes::of(client, "otel.span_rows").await;
    let against_wide = |what: &str, value: f64, unit: &str, against: &str| {
        print(&format!("storage/{name}{what}"), value, unit, against, value / wide.total * spans);
    };
    against_wide("", rows.total / spans, "B/span", "one wide jsonb row a span with an index on its trace");
    rows.print_parts(&format!("storage/{name}"), spans, "B/span");
    wide.print_parts(&format!("storage/{name}/wide"), spans, "B/span");
    for table in ["span_documents", "span_resources"] {
        let count =
            client.query_one(&format!("SELECT count(*) FROM otel.{table}"), &[]).await.expect("a count");
        let count = count.get::<_, i64>(0) as f64;
        let sizes = Sizes::of(client, &format!("otel.{table}")).await;
        print(&format!("storage/{name}/{table}/rows"), count, "rows", "spans", count / spans);
        against_wide(&format!("/{table}"), sizes.total / count, "B/row", "one wide jsonb row");
        sizes.print_parts(&format!("storage/{name}/{table}"), count, "B/row");
    }
}

/// The bytes of a table, by part.
struct Sizes {
    parts: Vec<(String, f64)>,
    total: f64,
}

impl Sizes {
    async fn of(client: &Client, table: &str) -> Sizes {
        let rows = client.query(SIZES, &[&table]).await.expect("sizes");
        let parts: Vec<_> = rows.iter().map(|row| (row.get(0), row.get::<_, i64>(1) as f64)).collect();
        let total = parts.iter().map(|(_, bytes)| bytes).sum();
        Sizes { parts, total }
    }

    /// Prints each part in relation to all.
    fn print_parts(&self, bench: &str, count: f64, unit: &str) {
        for (part, bytes) in &self.parts {
            print(&format!("{bench}/{part}"), bytes / count, unit, "all of the table", bytes / self.total);
        }
    }
}

fn print(bench: &str, value: f64, unit: &str, against: &str, ratio: f64) {
    Figure { bench, value: rounded(value), unit, against, ratio: rounded(ratio), spread: None }.print();
}
