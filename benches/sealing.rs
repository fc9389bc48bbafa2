//! An experiment: spans packed by trace once their day is over, against the rows that they are now. Bytes, and what packing,
//! reading a trace and finding the newest spans of a document take.
//!
//! `cargo bench --bench sealing [-- --generated]`, on the server that `OTEL_TEST_DATABASE_URL` names.

mod support;

use std::time::Instant;

use support::database::TestDatabase;
use support::figure::{Figure, median, rounded};
use support::recordings;
use support::table::COLUMNS;
use tokio_postgres::Client;

const SEAL: &str = include_str!("sql/seal.sql");
const BYTES_OF_ROWS: &str =
    "SELECT sum(pg_total_relation_size(relid))::bigint FROM pg_partition_tree('otel.span_rows') WHERE isleaf";
/// Traces that are read, and documents whose spans are.
const READ: usize = 200;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    recordings::for_each(async |name, spans| {
        let (database, store) = recordings::store(spans).await;
        // Vectors would take time and are not looked at.
        store.close().await;
        let client = database.client().await;
        measure(&format!("sealing/{name}"), spans.len() as f64, &database, &client).await;
    })
    .await;
}

async fn measure(bench: &str, spans: f64, database: &TestDatabase, client: &Client) {
    let start = Instant::now();
    client.batch_execute(SEAL).await.expect("the rows are packed");
    let seconds = start.elapsed().as_secs_f64();
    client.batch_execute("VACUUM ANALYZE").await.expect("the tables are analysed");
    let lost = format!(
        "SELECT count(*) FROM (SELECT {COLUMNS} FROM otel.span_rows EXCEPT ALL SELECT {COLUMNS} FROM sealed_rows)"
    );
    assert_eq!(database.value::<i64>(&lost).await, 0, "every row comes back");

    let rows = database.value::<i64>(BYTES_OF_ROWS).await as f64 / spans;
    let sealed = database.value::<i64>("SELECT pg_total_relation_size('sealed')").await as f64 / spans;
    let print = |what: &str, value: f64, unit: &str, against: &str, ratio: f64| {
        let bench = &format!("{bench}{what}");
        Figure { bench, value: rounded(value), unit, against, ratio: rounded(ratio), spread: None }.print();
    };
    print("", sealed, "B/span", "rows with their indexes", sealed / rows);
    print("/packing", seconds * 1e6 / spans, "us/span", "itself", 1.0);

    let traces = format!("SELECT trace_id FROM otel.traces ORDER BY md5(trace_id) LIMIT {READ}");
    let trace = |table: &str| {
        format!("SELECT {COLUMNS} FROM {table} WHERE encode(uuid_send(trace_id), 'hex') COLLATE \"C\" = $1")
    };
    compare(client, &format!("{bench}/trace"), &traces, &trace("sealed_rows"), &trace("otel.span_rows"))
        .await;

    let documents = format!("SELECT id::text FROM otel.span_documents ORDER BY md5(id::text) LIMIT {READ}");
    let newest = |table: &str, and: &str| {
        format!(
            "SELECT {COLUMNS} FROM {table} WHERE document_id = $1::text::integer {and} \
             ORDER BY date_bin('10 s', start_time, 'epoch') DESC, start_time DESC LIMIT 20"
        )
    };
    let in_trace = "AND trace_document_ids @> ARRAY[$1::text::integer]";
    let (sealed, rows) = (newest("sealed_rows", in_trace), newest("otel.span_rows", ""));
    compare(client, &format!("{bench}/newest_of_document"), &documents, &sealed, &rows).await;
}

/// Runs two queries alternately with each of the parameters that a third one gives.
async fn compare(client: &Client, bench: &str, parameters: &str, value: &str, against: &str) {
    let value = client.prepare(value).await.expect("a query");
    let against = client.prepare(against).await.expect("a query");
    let time = async |statement, parameter: &String| {
        let start = Instant::now();
        client.query(statement, &[parameter]).await.expect("rows");
        start.elapsed().as_secs_f64() * 1e3
    };
    let (mut values, mut againsts) = (Vec::new(), Vec::new());
    for row in client.query(parameters, &[]).await.expect("parameters") {
        let parameter = row.get(0);
        values.push(time(&value, &parameter).await);
        againsts.push(time(&against, &parameter).await);
    }
    let (value, against) = (median(&mut values), median(&mut againsts));
    let ratio = rounded(value / against);
    Figure { bench, value: rounded(value), unit: "ms", against: "from rows", ratio, spread: None }.print();
}
