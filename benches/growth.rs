//! How fast spans of known documents are committed when so many are stored already: all in the partition of the day that is
//! written, and in those of twenty days.
//!
//! `cargo bench --bench growth [-- --quick] [-- --one-day | --days]`, on the server that `OTEL_TEST_DATABASE_URL` names. What is
//! stored already are copies of the exported rows, later or earlier and in traces of their own, made within the server.

mod support;

use std::time::Instant;

use opentelemetry_pgvector::SpanExporter;
use opentelemetry_sdk::trace::SpanExporter as _;
use support::database::TestDatabase;
use support::figure::{Figure, rounded};
use support::picture::{Series, draw};
use support::table::COLUMNS;
use support::traffic::{BATCH, Traffic};
use support::{has_flag, is_quick};
use tokio::runtime::Runtime;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (levels, batches): (&[i64], usize) = if is_quick() {
        (&[100_000, 300_000, 600_000], 100)
    } else {
        (&[1_000_000, 5_000_000, 10_000_000, 20_000_000], 600)
    };
    let mut series = Vec::new();
    for (name, flag, days) in [("in one day", "--one-day", 1), ("over 20 days", "--days", 20)] {
        if !["--one-day", "--days"].into_iter().any(has_flag) || has_flag(flag) {
            let mut growth = Growth::new(&runtime, days, levels[levels.len() - 1], batches);
            series.push(Series { name, points: growth.measure(name, levels) });
        }
    }
    draw("growth", "spans stored already", "spans/s", &series);
}

struct Growth<'a> {
    runtime: &'a Runtime,
    traffic: Traffic,
    exporter: SpanExporter,
    database: TestDatabase,
    /// Seconds from a copy of the exported rows back to the next one.
    step: f64,
    copies: u32,
    batches: usize,
    next_batch: usize,
}

impl<'a> Growth<'a> {
    fn new(runtime: &'a Runtime, days: u32, most: i64, batches: usize) -> Self {
        let database = runtime.block_on(TestDatabase::create());
        let traffic = Traffic::generated();
        let mut exporter = SpanExporter::from_settings(database.settings()).expect("valid settings");
        exporter.set_resource(&traffic.resource);
        // The generated spans begin in the afternoon: half a day before is the same day.
        let period = 86_400.0 * if days == 1 { 0.5 } else { f64::from(days - 1) };
        let step = period / (most as f64 / (batches * BATCH) as f64);
        let mut growth =
            Growth { runtime, traffic, exporter, database, step, copies: 0, batches, next_batch: 0 };
        // Makes the documents, fills the caches, and is what is copied.
        growth.export();
        if let Err(error) = growth.exporter.force_flush() {
            eprintln!("documents are not embedded: {error}");
        }
        growth.execute("CREATE TABLE pattern AS TABLE otel.span_rows");
        growth.execute(&format!(
            "SELECT otel.make_partition(min(start_time)::date - day, 0) FROM pattern, generate_series(0, {days}) AS day GROUP BY day"
        ));
        growth
    }

    fn measure(&mut self, name: &str, levels: &[i64]) -> Vec<(f64, f64)> {
        let mut points: Vec<(f64, f64)> = Vec::new();
        for &level in levels {
            self.fill(level);
            self.execute("CHECKPOINT");
            let speed = self.export();
            points.push((level as f64, speed));
            let first = points[0].1;
            let bench = match level == levels[levels.len() - 1] {
                true => format!("growth/{name}"),
                false => format!("growth/{name}/{level}"),
            };
            Figure {
                bench: &bench,
                value: rounded(speed),
                unit: "spans/s",
                against: &format!("with {} spans stored", levels[0]),
                ratio: rounded(speed / first),
                spread: None,
            }
            .print();
        }
        let default: i64 =
            self.runtime.block_on(self.database.value("SELECT count(*) FROM ONLY otel.span_rows_default"));
        assert_eq!(default, 0, "each span is in its day's partition");
        points
    }

    /// Copies the pattern until there are so many rows.
    fn fill(&mut self, level: i64) {
        let (begin, step) = (Instant::now(), self.step);
        let mut stored: i64 =
            self.runtime.block_on(self.database.value("SELECT count(*) FROM otel.span_rows"));
        let each = (self.batches * BATCH) as i64;
        while stored < level {
            self.copies += 1;
            let (copies, back) = (self.copies, f64::from(self.copies) * step);
            let count = each.min(level - stored);
            self.execute(&format!(
                "INSERT INTO otel.span_rows ({COLUMNS}) \
                 SELECT md5(trace_id::text || {copies})::uuid, span_id, parent_span_id, \
                        start_time - interval '{back} s', duration_ns, document_id, resource_id, start_ns, flags, fillers \
                 FROM pattern LIMIT {count}"
            ));
            stored += count;
        }
        eprintln!("{level} spans are stored, after {:.0} s", begin.elapsed().as_secs_f64());
    }

    /// Exports some batches; returns spans a second, without the making of them.
    fn export(&mut self) -> f64 {
        let mut seconds = 0.0;
        for _ in 0..self.batches {
            let batch = self.traffic.batch(self.next_batch);
            self.next_batch += 1;
            let start = Instant::now();
            self.runtime.block_on(self.exporter.export(batch)).expect("the batch is exported");
            seconds += start.elapsed().as_secs_f64();
        }
        (self.batches * BATCH) as f64 / seconds
    }

    fn execute(&self, sql: &str) {
        self.runtime.block_on(self.database.execute(sql));
    }
}
