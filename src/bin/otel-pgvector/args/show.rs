//! `trace`, `services`, `operations`.

use opentelemetry::trace::TraceId;

use super::values::trace_id;

/// Show a trace, as a waterfall or as OTLP JSON.
///
/// A line a span, children below their parents, each with a bar for when it ran. `█` marks the critical path: at each
/// moment the span without which the trace would have ended sooner. `━` is the rest of a span, `✗` a span that failed,
/// `↯` one whose parent is not stored.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  otel-pgvector trace 4bf92f3577b34da6a3ce929d0e0e4736
  otel-pgvector trace 4bf92f3577b34da6a3ce929d0e0e4736 -v --color always | less -R
  otel-pgvector trace 4bf92f3577b34da6a3ce929d0e0e4736 --json > trace.json")]
pub struct TraceOptions {
    /// The trace's id: 32 hexadecimal digits, in either case, with or without dashes.
    #[arg(value_name = "ID", value_parser = trace_id)]
    pub id: TraceId,

    /// Show ids, attributes, events and links, too.
    #[arg(long, short)]
    pub verbose: bool,

    /// OTLP JSON in one line, exactly as it was exported.
    #[arg(long, conflicts_with = "verbose")]
    pub json: bool,
}

/// List the services that have spans.
#[derive(clap::Args)]
pub struct ServicesOptions {
    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
}

/// List the operations of a service.
///
/// Spans of one name and kind, with what varies in a name as `…`: in how many forms (by status, attributes, exceptions)
/// they come, whether one of these is a failure (`✗`), when the first was stored, and when it was last in use, to about a
/// day. Ends with 3 where there is no such service.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  otel-pgvector operations checkout
  otel-pgvector operations checkout --json | jq -r 'select(.fails) | .name'")]
pub struct OperationsOptions {
    /// The service.
    #[arg(value_name = "SERVICE")]
    pub service: String,

    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
}
