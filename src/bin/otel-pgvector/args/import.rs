//! `import`.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Subcommand)]
pub enum ImportCommand {
    /// OTLP files: JSON, JSON lines, or protobuf.
    ///
    /// The form is recognised by the content: JSON documents of TracesData or ExportTraceServiceRequest, one a line or
    /// pretty-printed; a protobuf message; a stream of protobuf messages behind their lengths (varint, or four bytes as
    /// the OpenTelemetry collector writes them). Each may be gzipped. Files of any size take little memory, except for
    /// pretty-printed JSON.
    ///
    /// An import may be interrupted and repeated: nothing is stored twice, also when the file has grown since.
    ///
    /// A record that is not understood is reported with its place, the others are stored, and the exit code is 1.
    #[command(after_help = "\
Examples:
  otel-pgvector import otlp traces.jsonl.gz more.pb
  kubectl exec collector -- cat /data/traces.jsonl | otel-pgvector import otlp -")]
    Otlp(ImportOptions),
}

#[derive(clap::Args)]
pub struct ImportOptions {
    /// The files; `-` is the standard input.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,

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
