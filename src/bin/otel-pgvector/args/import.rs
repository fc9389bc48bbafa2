//! The command line of `import`.

use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Args, Subcommand};

use super::values::Pair;
use crate::time;

#[derive(Subcommand)]
pub enum ImportCommand {
    /// OTLP files: JSON, JSON lines, or protobuf.
    ///
    /// The form is recognised by the content: JSON documents of TracesData or ExportTraceServiceRequest, one a line or
    /// pretty-printed; a protobuf message; a stream of protobuf messages behind their lengths (varint, or four bytes as
    /// the OpenTelemetry collector writes them, compressed or not). Each may be packed with gzip or zstd. Of a folder, all
    /// files *.json, *.jsonl, *.pb, *.gz and *.zst are read. Files of any size take little memory.
    ///
    /// An import may be interrupted and repeated: nothing is stored twice, also when the file has grown since.
    ///
    /// A record that is not understood is reported with its place, the others are stored, and the exit code is 1.
    #[command(after_help = "\
Examples:
  otel-pgvector import otlp traces.jsonl.gz more.pb
  kubectl exec collector -- cat /data/traces.jsonl | otel-pgvector import otlp -")]
    Otlp(OtlpOptions),
    /// Traces of Jaeger: downloads of its UI, or a running Jaeger.
    ///
    /// A file is JSON as Jaeger's UI downloads it and its API answers, of any number of traces, or spans as its
    /// Elasticsearch storage has them. A URL is that of Jaeger's UI, such as http://jaeger:16686; its traces are read
    /// service by service in windows of time that are as narrow as it takes to leave nothing out.
    ///
    /// Each span is stored once, however often it comes: the import may be interrupted and repeated, with another time
    /// range, too, and brings what a trace has got since.
    #[command(after_help = "\
Examples:
  otel-pgvector import jaeger traces-1700000000.json downloads/
  otel-pgvector import jaeger http://jaeger:16686 --since 2d
  otel-pgvector import jaeger https://jaeger.example.org --service checkout --header \"Authorization: Bearer $TOKEN\"")]
    Jaeger(StoreOptions),
    /// Traces of Grafana Tempo: files of its API or command, or a running Tempo.
    ///
    /// A file is what /api/traces/ID answers or `tempo-cli query api trace-id` prints. A URL is that of Tempo's API, such
    /// as http://tempo:3200; traces are searched for in windows of time that are as narrow as it takes to leave nothing
    /// out.
    ///
    /// Each span is stored once, however often it comes, as with `import jaeger`.
    #[command(after_help = "\
Examples:
  otel-pgvector import tempo trace.json
  otel-pgvector import tempo http://tempo:3200 --since 7d --header 'X-Scope-OrgID: team-a'")]
    Tempo(StoreOptions),
}

#[derive(Args)]
pub struct OtlpOptions {
    /// The files, or folders of files; `-` is the standard input.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<String>,

    #[command(flatten)]
    pub common: ImportOptions,
}

#[derive(Args)]
pub struct StoreOptions {
    /// The files, folders of files, or URLs; `-` is the standard input.
    #[arg(required = true, value_name = "FILE|FOLDER|URL")]
    pub sources: Vec<String>,

    #[command(flatten)]
    pub http: HttpOptions,

    #[command(flatten)]
    pub common: ImportOptions,
}

/// What is asked of a URL.
#[derive(Args)]
#[command(next_help_heading = "Of a URL")]
pub struct HttpOptions {
    /// Traces since then: 15m, 1h, 2d or 1w ago, or a time such as 2026-01-31T12:00:00Z. By default 14 days ago.
    #[arg(long, value_name = "WHEN", value_parser = time::parse)]
    pub since: Option<SystemTime>,

    /// Traces until then; as --since. By default now.
    #[arg(long, value_name = "WHEN", value_parser = time::parse)]
    pub until: Option<SystemTime>,

    /// Traces of this service; may be given several times. By default of all.
    #[arg(long = "service", value_name = "NAME")]
    pub services: Vec<String>,

    /// A header of each request; may be given several times. It is visible to other users of this machine.
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = Pair(':'))]
    pub headers: Vec<(String, String)>,

    /// The most traces in one answer.
    #[arg(long, value_name = "TRACES", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub page_size: u32,
}

#[derive(Args)]
pub struct ImportOptions {
    /// Only count what is there: nothing is stored, and no database is needed.
    #[arg(long)]
    pub dry_run: bool,

    /// Write records that are not understood into this file: a line of JSON each, with origin, reason and record. The
    /// first replaces what the file had.
    #[arg(long, value_name = "FILE")]
    pub rejects: Option<PathBuf>,

    /// How many spans are stored in one transaction.
    #[arg(long, value_name = "SPANS", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub batch_size: u32,

    /// Do not wait until what is new is embedded, which makes it findable by meaning. An application that stores
    /// traces in the same schema embeds it then, and so does the next import.
    #[arg(long)]
    pub no_embedding: bool,

    /// The summary as one JSON object.
    #[arg(long)]
    pub json: bool,
}
