//! How fast spans are committed: by the exporter, by bare COPY, and into a table with a vector in each row.
//!
//! `cargo bench --bench export [-- --quick] [-- --generated]`, on the server that `OTEL_TEST_DATABASE_URL` names. Two things
//! that are compared are measured in turns, so that the machine's moods meet both.

mod support;

use std::future::Future;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream::{self, StreamExt};
use opentelemetry_pgvector::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use support::database::TestDatabase;
use support::figure::{Round, print_rounds};
use support::process::cpu_time;
use support::random::Random;
use support::table::{COLUMNS, copy_in, encode, encode_with, read_rows};
use support::traffic::{BATCH, Traffic};
use support::{cold, is_quick};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, Statement};

const DIMENSION: usize = 384;

fn main() {
    // One thread for the client that is compared with: waking another one would only slow it down.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let traffic = Traffic::open();
    let (rounds, batches, vector_batches) = if is_quick() { (1, 20, 2) } else { (5, 200, 40) };
    let database = runtime.block_on(TestDatabase::create());
    let client = runtime.block_on(database.client());
    let mut exporter = SpanExporter::from_settings(database.settings()).expect("valid settings");
    exporter.set_resource(&traffic.resource);
    let bench = Bench { runtime: &runtime, client: &client, exporter: &exporter, traffic: &traffic };
    bench.make_tables();
    // Makes the documents, and fills the caches.
    (0..batches).for_each(|number| bench.export(number, &mut Spent::default()));
    if let Err(error) = exporter.force_flush() {
        eprintln!("documents are not embedded: {error}");
    }
    bench.against_copy(rounds, batches);
    bench.against_row_vectors(if is_quick() { 1 } else { 2 }, vector_batches);
    let one_connection = {
        let mut settings = database.settings();
        settings.pool_size = 1;
        let mut exporter = SpanExporter::from_settings(settings).expect("valid settings");
        exporter.set_resource(&traffic.resource);
        exporter
    };
    Bench { exporter: &one_connection, ..bench }.two_at_once_against_copy(rounds, batches);
    drop((client, exporter, one_connection, database));
    export_cold(&runtime, if is_quick() { 2 } else { 12 });
}

/// What it took to store some batches, without the making of them.
#[derive(Default)]
struct Spent {
    time: Duration,
    cpu: Option<Duration>,
    spans: usize,
}

impl Spent {
    /// Measures one batch.
    fn on(&mut self, spans: usize, work: impl FnOnce()) {
        let cpu = cpu_time();
        let start = Instant::now();
        work();
        self.time += start.elapsed();
        self.spans += spans;
        if let Some(used) = cpu_time().zip(cpu).and_then(|(after, before)| after.checked_sub(before)) {
            *self.cpu.get_or_insert_default() += used;
        }
    }

    fn spans_per_second(&self) -> f64 {
        self.spans as f64 / self.time.as_secs_f64()
    }

    /// CPU time of this process, without the server's.
    fn client_us_per_span(&self) -> Option<f64> {
        Some(self.cpu?.as_secs_f64() * 1e6 / self.spans as f64)
    }
}

struct Bench<'a> {
    runtime: &'a Runtime,
    client: &'a Client,
    exporter: &'a SpanExporter,
    traffic: &'a Traffic,
}

impl Bench<'_> {
    fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    fn execute(&self, sql: &str) {
        self.wait(self.client.batch_execute(sql)).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// A schema like the exporter's, made in the same way, for whoever it is compared with.
    fn make_tables(&self) {
        let store = self.exporter.store().expect("the exporter is enabled");
        let mut settings = store.settings().clone();
        settings.schema = "copied".into();
        let mut twin = SpanExporter::from_settings(settings).expect("valid settings");
        twin.set_resource(&self.traffic.resource);
        self.wait(twin.export(self.traffic.batch(0))).expect("the batch is exported");
        self.execute(
            "CREATE TABLE row_vectors (LIKE copied.span_rows, embedding vector(384) NOT NULL); \
             CREATE INDEX ON row_vectors USING hnsw (embedding vector_cosine_ops)",
        );
        // Its documents do not matter, and embedding them would only disturb.
        let _ = twin.shutdown_with_timeout(Duration::ZERO);
    }

    /// Leaves the same state behind for both sides.
    fn empty(&self) {
        self.execute("TRUNCATE otel.span_rows, otel.batches, copied.span_rows, row_vectors");
        self.execute("CHECKPOINT");
    }

    fn export(&self, number: usize, spent: &mut Spent) {
        let batch = self.traffic.batch(number);
        spent.on(batch.len(), || {
            self.wait(self.exporter.export(batch)).expect("the batch is exported");
        });
    }

    fn stored_rows(&self) -> Vec<Bytes> {
        self.wait(read_rows(self.client, &format!("SELECT {COLUMNS} FROM otel.span_rows")))
    }

    fn prepare_copy(&self, table: &str, columns: &str) -> Statement {
        let sql = format!("COPY {table} ({columns}) FROM STDIN (FORMAT binary)");
        self.wait(self.client.prepare(&sql)).expect("COPY is prepared")
    }

    fn copy(&self, statement: &Statement, rows: usize, chunk: Bytes, spent: &mut Spent) {
        spent.on(rows, || self.wait(copy_in(self.client, statement, chunk)));
    }

    /// The exporter against COPY of the rows that it writes, into a table like that into which it writes them.
    fn against_copy(&self, rounds: usize, batches: usize) {
        let statement = self.prepare_copy("copied.span_rows", COLUMNS);
        let rows = self.stored_rows();
        assert_eq!(rows.len(), batches * BATCH, "the first round has stored everything");
        let (mut speeds, mut costs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            self.empty();
            let (mut exported, mut copied) = (Spent::default(), Spent::default());
            for (number, chunk) in rows.chunks(BATCH).enumerate() {
                let encoded = encode(chunk);
                self.export(number, &mut exported);
                self.copy(&statement, chunk.len(), encoded, &mut copied);
            }
            speeds.push(Round { value: exported.spans_per_second(), against: copied.spans_per_second() });
            if let Some((value, against)) = exported.client_us_per_span().zip(copied.client_us_per_span()) {
                costs.push(Round { value, against });
            }
        }
        let origin = self.traffic.origin;
        let against = format!("binary COPY of the same rows into the same kind of table ({origin})");
        print_rounds("export_vs_copy", "spans/s", &against, &speeds);
        if !costs.is_empty() {
            let against = format!("CPU of the client that copies the same rows ({origin})");
            print_rounds("export_vs_copy/client_cpu", "us/span", &against, &costs);
        }
    }

    /// Two exports at once by one connection, as an asynchronous processor makes them: the spans of one are split while
    /// the server copies those of the other. COPY comes in rows that are ready.
    fn two_at_once_against_copy(&self, rounds: usize, batches: usize) {
        const TURN: usize = 20;
        let statement = self.prepare_copy("copied.span_rows", COLUMNS);
        let rows = self.stored_rows();
        // Learns the documents.
        (0..batches).for_each(|number| self.export(number, &mut Spent::default()));
        let mut speeds = Vec::new();
        for _ in 0..rounds {
            self.empty();
            let (mut exported, mut copied) = (Spent::default(), Spent::default());
            let chunks: Vec<&[Bytes]> = rows.chunks(BATCH).collect();
            for (turn, chunks) in chunks.chunks(TURN).enumerate() {
                let made =
                    (0..chunks.len()).map(|at| self.traffic.batch(turn * TURN + at)).collect::<Vec<_>>();
                exported.on(made.iter().map(Vec::len).sum(), || {
                    let exports = stream::iter(made).map(|batch| self.exporter.export(batch));
                    let results: Vec<_> = self.wait(exports.buffer_unordered(2).collect());
                    results.into_iter().for_each(|result| result.expect("the batch is exported"));
                });
                for chunk in chunks {
                    self.copy(&statement, chunk.len(), encode(chunk), &mut copied);
                }
            }
            speeds.push(Round { value: exported.spans_per_second(), against: copied.spans_per_second() });
        }
        let against =
            format!("binary COPY of the same rows, one batch after another ({})", self.traffic.origin);
        print_rounds("export_vs_copy/two_at_once", "spans/s", &against, &speeds);
    }

    /// The exporter against a table in which every row has its vector.
    fn against_row_vectors(&self, rounds: usize, batches: usize) {
        let statement = self.prepare_copy("row_vectors", &format!("{COLUMNS}, embedding"));
        let mut random = Random(3);
        let mut add = |buffer: &mut BytesMut| {
            buffer.put_i32(4 + 4 * DIMENSION as i32);
            buffer.put_i16(DIMENSION as i16);
            buffer.put_i16(0);
            random.unit_vector(DIMENSION).into_iter().for_each(|value| buffer.put_f32(value));
        };
        let rows = self.stored_rows();
        let mut speeds = Vec::new();
        for _ in 0..rounds {
            self.empty();
            let (mut exported, mut copied) = (Spent::default(), Spent::default());
            for (number, chunk) in rows.chunks(BATCH).take(batches).enumerate() {
                let encoded = encode_with(chunk, 1, &mut add);
                self.export(number, &mut exported);
                self.copy(&statement, chunk.len(), encoded, &mut copied);
            }
            speeds.push(Round { value: exported.spans_per_second(), against: copied.spans_per_second() });
        }
        let against = format!(
            "COPY of one row a span with vector(384) and HNSW, {} rows ({})",
            batches * BATCH,
            self.traffic.origin
        );
        print_rounds("export_vs_row_vectors", "spans/s", &against, &speeds);
    }
}

/// Spans of which each has a document of its own, against the same spans once their documents are known.
fn export_cold(runtime: &Runtime, rounds: usize) {
    for (bench, budget) in [("export_cold", 0), ("export_cold/budget_100_ms", 100)] {
        let database = runtime.block_on(TestDatabase::create());
        let mut settings = database.settings();
        settings.embedding_budget_milliseconds = budget;
        let mut exporter = SpanExporter::from_settings(settings).expect("valid settings");
        let mut export = |service: &str, batch: Vec<SpanData>| {
            let resource = Resource::builder_empty().with_service_name(service.to_owned()).build();
            exporter.set_resource(&resource);
            let mut spent = Spent::default();
            spent.on(batch.len(), || {
                runtime.block_on(exporter.export(batch)).expect("the batch is exported");
            });
            spent.spans_per_second()
        };
        let mut random = Random(5);
        // The first batch makes the tables, and loads the model.
        export("warm-up", cold::batch(&mut random, BATCH));
        let mut speeds = Vec::new();
        for round in 0..rounds {
            // Services are guarded one by one: a new one may have as many documents as the last.
            let service = format!("service-{round}");
            let batch = cold::batch(&mut random, BATCH);
            let value = export(&service, batch.clone());
            let against = export(&service, batch);
            speeds.push(Round { value, against });
        }
        let documents: i64 = runtime.block_on(database.value("SELECT count(*) FROM otel.span_documents"));
        let spans = ((rounds + 1) * BATCH) as i64;
        if documents != spans {
            eprintln!("{bench}: {spans} spans made {documents} documents only");
        }
        print_rounds(bench, "spans/s", "the same spans with known documents", &speeds);
    }
}
