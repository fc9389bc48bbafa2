//! `plan`.

use super::values::{amount, days};

/// Say what a load takes: disk, processors, memory, connections.
///
/// It connects to nothing, unless --from-database lets it take the bytes of a span and of a document, and the number of
/// documents, from the traces that are there. Without that they are those of two recordings that were measured; your own
/// spans may be larger. The settings in force say how long the ledger remembers and how long a batch waits to fill.
///
/// The figures are averages over a day. Processors and disk are recommended with room for peaks, searches and vacuum.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  otel-pgvector plan --spans-per-second 2000 --retention 30d --services 40
  otel-pgvector plan --spans-per-second 2000 --retention 30d --from-database
  otel-pgvector plan --spans-per-second 50000 --retention 7d --services 300 --json | jq .disk_bytes")]
pub struct PlanOptions {
    /// How many spans are exported in a second, on average over a day.
    #[arg(long, value_name = "NUMBER", value_parser = |text: &str| amount(text, 1e-3, 1e8))]
    pub spans_per_second: f64,

    /// How long spans are kept: days or weeks, such as 30d or 4w.
    #[arg(long, value_name = "DAYS", value_parser = days)]
    pub retention: u32,

    /// How many processes export.
    #[arg(long, default_value_t = 10, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub services: u64,

    /// How many documents there will be: kinds of spans, by service, name, status, attributes of few values. By default
    /// 100 a service.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(0..=1_000_000_000))]
    pub documents: Option<u64>,

    /// How many bytes a span takes with its indexes; about 140 where attributes are few and repeat.
    #[arg(long, value_name = "BYTES", value_parser = |text: &str| amount(text, 1.0, 1e7))]
    pub bytes_per_span: Option<f64>,

    /// Take bytes and documents from the database, where they are not given.
    #[arg(long)]
    pub from_database: bool,

    /// One JSON object instead of text; bytes and numbers as they are.
    #[arg(long)]
    pub json: bool,
}
