//! How fast 1, 2, 4 and 8 processes together commit spans of known documents into one server, each over one connection.
//!
//! `cargo bench --bench writers [-- --quick] [-- --generated]`, on the server that `OTEL_TEST_DATABASE_URL` names. The cores
//! that were busy meanwhile, with the server's part, say whether there were free ones. Linux alone tells them.

mod support;

use std::time::{Duration, Instant};

use opentelemetry::trace::{SpanContext, TraceId};
use opentelemetry_pgvector::SpanExporter;
use opentelemetry_pgvector::settings::Settings;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use serde::{Deserialize, Serialize};
use support::child::{self, Child};
use support::database::TestDatabase;
use support::figure::{Figure, Round, median, print_rounds, rounded};
use support::is_quick;
use support::picture::{Series, draw};
use support::process::{busy_time, cpu_time};
use support::traffic::{BATCH, Traffic};

const PROCESSES: [usize; 4] = [1, 2, 4, 8];

fn main() {
    let batches = if is_quick() { 60 } else { 200 };
    if let Some((role, settings)) = child::role() {
        return write(role.parse().expect("a number"), settings, batches);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let database = runtime.block_on(TestDatabase::create());
    let mut writers: Vec<Child> = (0..PROCESSES[PROCESSES.len() - 1])
        .map(|number| Child::start(&number.to_string(), &database.url()))
        .collect();
    // One after another: the first makes the tables and the documents, and all know them before the first round.
    for writer in &mut writers {
        let _: Written = writer.ask("write");
    }
    let rounds: Vec<[Measured; 4]> = (0..if is_quick() { 2 } else { 5 })
        .map(|_| {
            PROCESSES.map(|count| {
                runtime.block_on(database.execute("TRUNCATE otel.span_rows, otel.batches"));
                runtime.block_on(database.execute("CHECKPOINT"));
                measure(&mut writers[..count], batches * BATCH)
            })
        })
        .collect();
    report(&rounds);
}

/// What a process says when it has written its spans.
#[derive(Serialize, Deserialize)]
struct Written {
    cpu_seconds: f64,
}

/// One process: writes the same batches whenever it is told, in traces of its own.
fn write(number: usize, settings: Settings, batches: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let traffic = if is_quick() { Traffic::generated() } else { Traffic::open() };
    let mut exporter = SpanExporter::from_settings(settings).expect("valid settings");
    exporter.set_resource(&traffic.resource);
    let mut flush = true;
    child::answer_each(|_| {
        let cpu = cpu_time().unwrap_or_default();
        for at in 0..batches {
            let batch = traffic.batch(at).into_iter().map(|span| in_trace_of(number, span)).collect();
            runtime.block_on(exporter.export(batch)).expect("the batch is exported");
        }
        // Embedding would disturb the first round.
        if std::mem::take(&mut flush)
            && let Err(error) = exporter.force_flush()
        {
            eprintln!("documents are not embedded: {error}");
        }
        Written { cpu_seconds: (cpu_time().unwrap_or_default() - cpu).as_secs_f64() }
    });
}

/// The span in another trace, of this process alone.
fn in_trace_of(number: usize, mut span: SpanData) -> SpanData {
    let context = &span.span_context;
    let trace_id = u128::from_be_bytes(context.trace_id().to_bytes()) ^ (number as u128) << 64;
    span.span_context = SpanContext::new(
        TraceId::from_bytes(trace_id.to_be_bytes()),
        context.span_id(),
        context.trace_flags(),
        context.is_remote(),
        context.trace_state().clone(),
    );
    span
}

struct Measured {
    spans_per_second: f64,
    /// Cores that were busy on average, and those of them that the writers kept busy.
    busy_cores: Option<(f64, f64)>,
}

fn measure(writers: &mut [Child], spans_each: usize) -> Measured {
    let (start, busy) = (Instant::now(), busy_time());
    writers.iter_mut().for_each(|writer| writer.tell("write"));
    let of_writers: f64 = writers.iter_mut().map(|writer| writer.answer::<Written>().cpu_seconds).sum();
    let seconds = start.elapsed().as_secs_f64();
    let busy = busy_time().zip(busy).map(|(after, before)| after.saturating_sub(before));
    Measured {
        spans_per_second: (writers.len() * spans_each) as f64 / seconds,
        busy_cores: busy.map(|busy: Duration| (busy.as_secs_f64() / seconds, of_writers / seconds)),
    }
}

fn report(rounds: &[[Measured; 4]]) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    let mut points = Vec::new();
    for (at, count) in PROCESSES.into_iter().enumerate() {
        let speed = |round: &[Measured; 4], at: usize| round[at].spans_per_second;
        let ratios: Vec<Round> =
            rounds.iter().map(|round| Round { value: speed(round, at), against: speed(round, 0) }).collect();
        print_rounds(&format!("writers/{count}"), "spans/s", "one process", &ratios);
        points.push((count as f64, median(&mut ratios.iter().map(|round| round.value).collect::<Vec<_>>())));
        let busy: Option<Vec<_>> = rounds.iter().map(|round| round[at].busy_cores).collect();
        if let Some(busy) = busy {
            let all = median(&mut busy.iter().map(|(all, _)| *all).collect::<Vec<_>>());
            let of_writers = median(&mut busy.iter().map(|(_, of_writers)| *of_writers).collect::<Vec<_>>());
            for (part, value) in [("busy_cores", all), ("busy_cores_of_writers", of_writers)] {
                let bench = &format!("writers/{count}/{part}");
                let against = "all cores of the machine";
                Figure {
                    bench,
                    value: rounded(value),
                    unit: "cores",
                    against,
                    ratio: rounded(value / cores),
                    spread: None,
                }
                .print();
            }
        }
    }
    draw("writers", "processes", "spans/s", &[Series { name: "spans/s", points }]);
}
