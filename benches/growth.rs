//! How fast spans of known documents are committed when so many are stored already: all in the partition of the day that is
//! written, and in those of twenty days.
//!
//! `cargo bench --bench growth [-- --quick] [-- --one-day | --days]`, on the server that `OTEL_TEST_DATABASE_URL` names. A store
//! that grows and one that stays small get the same batches in turns, so that the machine's moods and the server's checkpoints
//! meet both. What is stored already are copies of the exported rows, later or earlier and in traces of their own, made
//! within the server.

mod support;

use std::time::{Duration, Instant};

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
        (&[200_000, 500_000, 1_000_000], 200)
    } else {
        (&[1_000_000, 5_000_000, 10_000_000, 20_000_000], 800)
    };
    let traffic = Traffic::generated();
    let mut series = Vec::new();
    for (name, flag, days) in [("in one day", "--one-day", 1), ("over 20 days", "--days", 20)] {
        if !["--one-day", "--days"].into_iter().any(has_flag) || has_flag(flag) {
            let store = || Store::new(&runtime, &traffic, days, levels[levels.len() - 1], batches);
            series.push(Series { name, points: measure(name, levels, store(), store()) });
        }
    }
    draw("growth", "spans stored already", "speed (1: a store that stays small)", &series);
}

/// Prints how fast a store is at each level, compared with one that has been at the first level at the same time.
fn measure(name: &str, levels: &[i64], mut small: Store, mut grown: Store) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = Vec::new();
    for &level in levels {
        small.fill(levels[0]);
        grown.fill(level);
        // So that neither the server's own vacuum nor a checkpoint falls into some measurements only.
        small.execute("VACUUM ANALYZE otel.span_rows");
        grown.execute("VACUUM ANALYZE otel.span_rows");
        grown.execute("CHECKPOINT");
        let (mut of_small, mut of_grown) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..grown.batches {
            of_small += small.export();
            of_grown += grown.export();
        }
        let speed = (grown.batches * BATCH) as f64 / of_grown.as_secs_f64();
        let ratio = of_small.as_secs_f64() / of_grown.as_secs_f64();
        points.push((level as f64, ratio));
        let bench = match level == levels[levels.len() - 1] {
            true => format!("growth/{name}"),
            false => format!("growth/{name}/{level}"),
        };
        Figure {
            bench: &bench,
            value: rounded(speed),
            unit: "spans/s",
            against: &format!("with {} spans stored, batch by batch in turns", levels[0]),
            ratio: rounded(ratio),
            spread: None,
        }
        .print();
    }
    for store in [small, grown] {
        let default: i64 = store.value("SELECT count(*) FROM ONLY otel.span_rows_default");
        assert_eq!(default, 0, "each span is in its day's partition");
    }
    points
}

/// A database, and an exporter that writes into it.
struct Store<'a> {
    runtime: &'a Runtime,
    traffic: &'a Traffic,
    exporter: SpanExporter,
    database: TestDatabase,
    /// Seconds from a copy of the exported rows back to the next one.
    step: f64,
    copies: u32,
    batches: usize,
    next_batch: usize,
}

impl<'a> Store<'a> {
    fn new(runtime: &'a Runtime, traffic: &'a Traffic, days: u32, most: i64, batches: usize) -> Self {
        let database = runtime.block_on(TestDatabase::create());
        let mut exporter = SpanExporter::from_settings(database.settings()).expect("valid settings");
        exporter.set_resource(&traffic.resource);
        // The generated spans begin in the afternoon: half a day before is the same day.
        let period = 86_400.0 * if days == 1 { 0.5 } else { f64::from(days - 1) };
        let step = period / (most as f64 / (batches * BATCH) as f64);
        let mut store =
            Store { runtime, traffic, exporter, database, step, copies: 0, batches, next_batch: 0 };
        // Makes the documents, fills the caches, and is what is copied.
        for _ in 0..batches {
            store.export();
        }
        if let Err(error) = store.exporter.force_flush() {
            eprintln!("documents are not embedded: {error}");
        }
        store.execute("CREATE TABLE pattern AS TABLE otel.span_rows");
        store.execute(&format!(
            "SELECT otel.make_partition(min(start_time)::date - day, 0) FROM pattern, generate_series(0, {days}) AS day GROUP BY day"
        ));
        store
    }

    /// Copies the pattern until there are so many rows, at least.
    fn fill(&mut self, level: i64) {
        let (begin, step) = (Instant::now(), self.step);
        let mut stored: i64 = self.value("SELECT count(*) FROM otel.span_rows");
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
        eprintln!("{stored} spans are stored, after {:.0} s", begin.elapsed().as_secs_f64());
    }

    /// Exports a batch; returns the time, without the making of the batch.
    fn export(&mut self) -> Duration {
        let batch = self.traffic.batch(self.next_batch);
        self.next_batch += 1;
        let start = Instant::now();
        self.runtime.block_on(self.exporter.export(batch)).expect("the batch is exported");
        start.elapsed()
    }

    fn execute(&self, sql: &str) {
        self.runtime.block_on(self.database.execute(sql));
    }

    fn value(&self, sql: &str) -> i64 {
        self.runtime.block_on(self.database.value(sql))
    }
}
