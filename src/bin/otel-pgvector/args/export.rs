//! The command line of `export`.

use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Args, Subcommand, ValueEnum};
use opentelemetry::trace::TraceId;
use opentelemetry_pgvector::search::Filter;

use super::search::FilterOptions;
use super::values::trace_id;
use crate::time;

#[derive(Subcommand)]
pub enum ExportCommand {
    /// OTLP as JSON lines or protobuf, for any OpenTelemetry tool and for `import otlp`.
    ///
    /// A trace is exported as a whole when one of its spans meets all conditions; without conditions all traces are. They
    /// come in the order of their ids, with little memory, however many there are. What was redacted as it was stored is
    /// not there; everything else is exactly as it was exported.
    #[command(after_help = "\
Examples:
  otel-pgvector export otlp -o traces.otlp.jsonl.gz
  otel-pgvector export otlp --format protobuf --since 1d --service checkout > traces.pb
  otel-pgvector export otlp --trace-id 4bf92f3577b34da6a3ce929d0e0e4736 | jq .")]
    Otlp(ExportOptions),
}

#[derive(Args)]
pub struct ExportOptions {
    /// The file to write, packed where its name ends in .gz or .zst. By default the standard output. It is written as
    /// FILE.part and takes the place of an earlier one only when it is whole.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// The form of OTLP.
    #[arg(long, value_enum, default_value_t = OutputFormat::Json)]
    pub format: OutputFormat,

    /// Traces with a span that started since then: 15m, 1h, 2d or 1w ago, or a time such as 2026-01-31T12:00:00Z.
    #[arg(long, value_name = "WHEN", value_parser = time::parse)]
    since: Option<SystemTime>,

    /// Traces with a span that started before then; as --since.
    #[arg(long, value_name = "WHEN", value_parser = time::parse)]
    until: Option<SystemTime>,

    /// This trace; may be given several times.
    #[arg(long = "trace-id", value_name = "ID", value_parser = trace_id)]
    trace_ids: Vec<TraceId>,

    /// The most traces.
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,

    /// The summary, on the standard error, as one JSON object.
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    filter: FilterOptions,
}

impl ExportOptions {
    pub fn filter(&self) -> Filter {
        let mut filter = self.filter.filter();
        (filter.since, filter.until) = (self.since, self.until);
        filter.trace_ids.clone_from(&self.trace_ids);
        filter
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub enum OutputFormat {
    /// A TracesData in JSON a line, one a trace.
    Json,
    /// One protobuf TracesData.
    Protobuf,
    /// A protobuf TracesData a trace, each behind its length as a varint.
    ProtobufDelimited,
}
