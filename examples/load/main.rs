//! Makes spans at a rate and tells what became of them, to test delivery from outside.
//!
//! ```sh
//! make setup && eval "$(make -s env)"
//! cargo run --example load -- --spans 10000 --rate 5000
//! ```
//!
//! Each span has the attributes `load.sequence` (0 to N - 1) and `load.run` (the seed), so what is stored can be compared
//! with the one line of JSON that it prints: `created`, `acknowledged` (stored, or durably spooled and not given up there:
//! what is in the table once the spool is replayed), `dropped` (all others), `spooled` (acknowledged, and still in the
//! spool), `elapsed_s` and `max_rss_mb`. SIGTERM and Ctrl-C end it early.
//!
//! With `--otlp http://127.0.0.1:4318/v1/traces` the official exporter sends the spans to `otel-pgvector serve --receive`
//! instead, and `acknowledged` are those that the server acknowledged.

mod sender;
mod spans;

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use opentelemetry::trace::TracerProvider;
use opentelemetry_pgvector::exporter::ExporterHandle;
use opentelemetry_pgvector::{Settings, SpanExporter};
use opentelemetry_sdk::trace::{
    BatchConfig, BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, TracerProviderBuilder,
    span_processor_with_async_runtime,
};
use opentelemetry_sdk::{Resource, runtime as sdk_runtime};
use sender::Sender;
use spans::Maker;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

/// Makes spans at a rate, exports them with the settings of OTEL_STORAGE_*, and prints what became of them.
#[derive(Parser)]
struct Load {
    /// How many spans to make
    #[arg(long, default_value_t = 10_000)]
    spans: u64,
    /// Spans a second; 0 makes them as fast as it goes
    #[arg(long, default_value_t = 1_000)]
    rate: u64,
    /// The SDK's processor
    #[arg(long, value_enum, default_value_t = Processor::Batch)]
    processor: Processor,
    /// The tokio runtime that the spans are made in
    #[arg(long, value_enum, default_value_t = Runtime::None)]
    runtime: Runtime,
    /// Send the spans by OTLP/HTTP to this URL, such as http://127.0.0.1:4318/v1/traces, and store none
    #[arg(long, value_name = "URL", conflicts_with_all = ["processor", "runtime"])]
    otlp: Option<String>,
    /// Determines what is in the spans, and is their attribute load.run
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Processor {
    Batch,
    BatchAsync,
    Simple,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Runtime {
    None,
    CurrentThread,
    MultiThread,
}

fn main() -> Result<(), Box<dyn Error>> {
    let load = Load::parse();
    log_to_stderr();
    let stop = stop_on_signal()?;
    let begin = Instant::now();
    let created = match load.runtime {
        Runtime::None => run(&load, &stop)?,
        Runtime::CurrentThread => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(run_in_runtime(load, stop))?
        }
        Runtime::MultiThread => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(run_in_runtime(load, stop))?
        }
    };
    created.report(begin.elapsed());
    Ok(())
}

/// What was made, and who knows what became of it.
struct Created {
    spans: u64,
    by: Delivery,
}

/// Who brings the spans to the table.
enum Delivery {
    Exporter(ExporterHandle),
    /// A server, which acknowledged so many.
    Server(Arc<AtomicU64>),
}

impl Created {
    fn report(&self, elapsed: Duration) {
        let (acknowledged, spooled) = match &self.by {
            Delivery::Exporter(handle) => {
                let status = handle.status();
                (status.acknowledged(), status.spool.own_spans)
            }
            Delivery::Server(acknowledged) => (acknowledged.load(Ordering::Relaxed), 0),
        };
        println!(
            "{{\"created\":{},\"acknowledged\":{acknowledged},\"dropped\":{},\"spooled\":{spooled},\
             \"elapsed_s\":{:.3},\"max_rss_mb\":{:.1}}}",
            self.spans,
            self.spans.saturating_sub(acknowledged),
            elapsed.as_secs_f64(),
            max_rss_mb()
        );
    }
}

/// As an application without tokio does it.
fn run(load: &Load, stop: &AtomicBool) -> Result<Created, Box<dyn Error>> {
    let (provider, by) = provider(load)?;
    let mut maker = Maker::new(provider.tracer("load"), load.seed);
    let mut pace = Pace::new(load);
    while !stop.load(Ordering::Relaxed)
        && let Some(due) = pace.due(maker.made())
    {
        maker.make(due);
        std::thread::sleep(PAUSE);
    }
    end(&provider);
    Ok(Created { spans: maker.made(), by })
}

/// As an application within tokio does it. What blocks runs on a thread of its own.
async fn run_in_runtime(load: Load, stop: Arc<AtomicBool>) -> Result<Created, Box<dyn Error>> {
    let (provider, by) = provider(&load)?;
    let mut maker = Maker::new(provider.tracer("load"), load.seed);
    let mut pace = Pace::new(&load);
    while !stop.load(Ordering::Relaxed)
        && let Some(due) = pace.due(maker.made())
    {
        maker.make(due);
        tokio::time::sleep(PAUSE).await;
    }
    tokio::task::spawn_blocking(move || end(&provider)).await?;
    Ok(Created { spans: maker.made(), by })
}

fn end(provider: &SdkTracerProvider) {
    for (doing, result) in [("flush", provider.force_flush()), ("shutdown", provider.shutdown())] {
        if let Err(error) = result {
            eprintln!("{doing}: {error}");
        }
    }
}

/// A tracer provider with the processor that was asked for, and a view of what delivers its spans.
fn provider(load: &Load) -> Result<(SdkTracerProvider, Delivery), Box<dyn Error>> {
    let resource = Resource::builder().with_service_name("load").build();
    let builder = SdkTracerProvider::builder().with_resource(resource);
    let settings = match &load.otlp {
        None => Settings::from_env()?,
        // Its sizes are those of the defaults: it needs no database.
        Some(_) => Settings::default(),
    };
    let config = batch_config(&settings, load.rate);
    let (builder, by) = match &load.otlp {
        None => {
            let exporter = SpanExporter::from_settings(settings)?;
            let handle = exporter.handle();
            (with_processor(builder, load, exporter, config), Delivery::Exporter(handle))
        }
        Some(url) => {
            let sender = Sender::new(url)?;
            let acknowledged = sender.acknowledged();
            (with_processor(builder, load, sender, config), Delivery::Server(acknowledged))
        }
    };
    Ok((builder.build(), by))
}

fn with_processor(
    builder: TracerProviderBuilder,
    load: &Load,
    exporter: impl opentelemetry_sdk::trace::SpanExporter + 'static,
    config: BatchConfig,
) -> TracerProviderBuilder {
    match load.processor {
        Processor::Simple => builder.with_simple_exporter(exporter),
        Processor::Batch => builder
            .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(config).build()),
        Processor::BatchAsync if load.runtime == Runtime::MultiThread => builder.with_span_processor(
            span_processor_with_async_runtime::BatchSpanProcessor::builder(exporter, sdk_runtime::Tokio)
                .with_batch_config(config)
                .build(),
        ),
        Processor::BatchAsync => builder.with_span_processor(
            span_processor_with_async_runtime::BatchSpanProcessor::builder(
                exporter,
                sdk_runtime::TokioCurrentThread,
            )
            .with_batch_config(config)
            .build(),
        ),
    }
}

/// The sizes of the settings, with a queue that holds what comes while an export waits for a database that hangs.
fn batch_config(settings: &Settings, rate: u64) -> BatchConfig {
    let while_it_hangs = rate.saturating_mul(2 * settings.hand_over_seconds).clamp(16_384, 262_144);
    BatchConfigBuilder::default()
        .with_max_export_batch_size(settings.batch_size)
        .with_scheduled_delay(Duration::from_secs(settings.batch_interval_seconds))
        .with_max_queue_size(while_it_hangs as usize)
        .build()
}

/// Between looks at the clock.
const PAUSE: Duration = Duration::from_millis(1);

/// Tells how many spans are due.
struct Pace {
    begin: Instant,
    rate: u64,
    spans: u64,
}

impl Pace {
    fn new(load: &Load) -> Self {
        Pace { begin: Instant::now(), rate: load.rate, spans: load.spans }
    }

    /// How many spans to make now; `None` when all are made.
    fn due(&mut self, made: u64) -> Option<u64> {
        if made >= self.spans {
            return None;
        }
        let left = self.spans - made;
        if self.rate == 0 {
            return Some(left.min(1_000));
        }
        let due = (self.begin.elapsed().as_secs_f64() * self.rate as f64) as u64;
        Some(due.saturating_sub(made).min(left))
    }
}

/// The exporter's own events, without those of the SDK, which repeats every failed batch.
fn log_to_stderr() {
    let ours = Targets::new().with_target("opentelemetry-pgvector", LevelFilter::INFO);
    tracing_subscriber::registry()
        .with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_filter(ours))
        .init();
}

fn stop_on_signal() -> std::io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let stopping = Arc::clone(&stop);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            if signal().await.is_ok() {
                stopping.store(true, Ordering::Relaxed);
            }
        });
    })?;
    Ok(stop)
}

#[cfg(unix)]
async fn signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed,
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn signal() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}

/// The most memory that the process had, in MB; 0 where the system does not tell.
fn max_rss_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    peak.and_then(|kilobytes| kilobytes.trim().parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}
