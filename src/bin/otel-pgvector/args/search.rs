//! `search`, `similar`, `new`, `tail`, and the conditions that these share.

use std::time::{Duration, SystemTime};

use clap::ValueEnum;
use opentelemetry::trace::TraceId;
use opentelemetry_pgvector::Result;
use opentelemetry_pgvector::search::{Condition, Filter, Kind, Page, SearchQuery, Status};

use super::values::{kind, score, status, trace_id};
use crate::time;

/// Find traces by what they mean, by words, by conditions.
///
/// The query is plain language; it need not have a word in common with the spans. Text "in double quotes" has to be in the
/// span as it stands, such as an id or an error code. Conditions hold together, for one and the same span. Without a query
/// the newest come first.
///
/// Each trace is shown with its score, which is that of its best span (up to 1), and the spans that match, with the words
/// of the query in bold. Where nothing is found, the standard error says which condition hides results; the exit code is 0.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  otel-pgvector search 'card was rejected' --service checkout --since 1h
  otel-pgvector search '\"E-1042\" while paying'
  otel-pgvector search --status error --min-duration 2s -a 'http.response.status_code>=500'
  otel-pgvector search 'slow database query' --by operation --limit 20
  otel-pgvector search 'time-out' --json | jq -r .trace_id")]
pub struct SearchOptions {
    /// What happened, in words; filters may stand among them, as in the page's search box: `service:checkout`,
    /// `status:error`, `>500ms`, `http.route=/cart`, `last:1h`.
    pub query: Option<String>,

    /// Only spans that started since then: 90s, 15m, 1h, 2d or 1w ago, or a time such as 2026-01-31T12:00:00Z.
    #[arg(long, value_name = "WHEN", value_parser = time::parse, help_heading = CONDITIONS)]
    pub since: Option<SystemTime>,

    /// Only spans that started before then; as --since.
    #[arg(long, value_name = "WHEN", value_parser = time::parse, help_heading = CONDITIONS)]
    pub until: Option<SystemTime>,

    /// Only spans of this trace. May be given several times.
    #[arg(long, value_name = "ID", value_parser = trace_id, help_heading = CONDITIONS)]
    pub trace_id: Vec<TraceId>,

    /// What a result is: a trace, a kind of span with its newest example, or a span.
    #[arg(long, value_enum, default_value_t = By::Trace, value_name = "WHAT")]
    pub by: By,

    /// The most results.
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,

    /// The page that an earlier search named as the next one; the rest of the command line is to be the same.
    #[arg(long, value_name = "TOKEN")]
    pub page: Option<Page>,

    /// The lowest score, 0 to 1; by default the setting similarity_threshold.
    #[arg(long, value_name = "SCORE", value_parser = score)]
    pub min_score: Option<f64>,

    /// Say why each span is a result.
    #[arg(long)]
    pub explain: bool,

    /// Show what was never seen before then, as the command `new` does.
    #[arg(
        long,
        value_name = "WHEN",
        value_parser = time::parse,
        conflicts_with_all = ["query", "operation", "kind", "status", "since", "until", "min_duration", "max_duration",
            "attribute", "resource", "exception", "no_exception", "trace_id", "by", "page", "min_score", "explain"],
    )]
    pub new_since: Option<SystemTime>,

    /// One JSON object a line, best first; each has trace_id, span_id and score.
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub filter: FilterOptions,
}

const CONDITIONS: &str = "Conditions";

/// What spans are limited to.
#[derive(clap::Args)]
#[command(next_help_heading = CONDITIONS)]
pub struct FilterOptions {
    /// Only spans of this service. May be given several times, for any of them.
    #[arg(long, value_name = "NAME")]
    pub service: Vec<String>,

    /// Only spans of this name, with `…` for what varies, as `otel-pgvector operations` lists them.
    #[arg(long, value_name = "NAME")]
    pub operation: Option<String>,

    /// Only spans of this kind.
    #[arg(long, value_name = "KIND", value_parser = kind(), ignore_case = true)]
    pub kind: Option<Kind>,

    /// Only spans with this status.
    #[arg(long, value_name = "STATUS", value_parser = status(), ignore_case = true)]
    pub status: Option<Status>,

    /// Only spans that took at least so long: 100us, 500ms, 1.5s, 2m, 1h.
    #[arg(long, value_name = "DURATION", value_parser = time::parse_duration)]
    pub min_duration: Option<Duration>,

    /// Only spans that took at most so long.
    #[arg(long, value_name = "DURATION", value_parser = time::parse_duration)]
    pub max_duration: Option<Duration>,

    /// Only spans with this attribute: `key=value`, `key!=value`, `key~regex`, `key!~regex`, `key>number`, `>=`, `<`,
    /// `<=`, or `key` alone for any value. May be given several times, for all of them.
    #[arg(long, short, value_name = "CONDITION")]
    pub attribute: Vec<Condition>,

    /// The same for an attribute of the resource, such as `deployment.environment.name=production`.
    #[arg(long, value_name = "CONDITION")]
    pub resource: Vec<Condition>,

    /// Only spans with an exception among their events.
    #[arg(long, conflicts_with = "no_exception")]
    pub exception: bool,

    /// Only spans without one.
    #[arg(long)]
    pub no_exception: bool,
}

impl FilterOptions {
    pub fn filter(&self) -> Filter {
        self.and(Filter::default())
    }

    /// These conditions and others; of what there is one of, the option's.
    fn and(&self, mut filter: Filter) -> Filter {
        filter.services.extend_from_slice(&self.service);
        filter.operation = self.operation.clone().or(filter.operation);
        filter.kind = self.kind.or(filter.kind);
        filter.status = self.status.or(filter.status);
        filter.min_duration = self.min_duration.or(filter.min_duration);
        filter.max_duration = self.max_duration.or(filter.max_duration);
        filter.attributes.extend_from_slice(&self.attribute);
        filter.resource.extend_from_slice(&self.resource);
        filter.exception =
            (self.exception || self.no_exception).then_some(self.exception).or(filter.exception);
        filter
    }
}

impl SearchOptions {
    /// The query, with its own filters and those of the options.
    pub fn query(&self) -> Result<SearchQuery> {
        let query = SearchQuery::parse(self.query.as_deref().unwrap_or_default())?;
        let mut filter = self.filter.and(query.conditions().clone());
        filter.since = self.since.or(filter.since);
        filter.until = self.until.or(filter.until);
        filter.trace_ids.extend_from_slice(&self.trace_id);
        // The query has them already.
        filter.phrases.clear();
        Ok(query.filter(filter))
    }
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum By {
    Trace,
    Operation,
    Span,
}

/// Find traces like another one.
///
/// Traces are alike that have the same operations, of which rare ones count more: 1 is the same, 0 has nothing in common.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  otel-pgvector similar 4bf92f3577b34da6a3ce929d0e0e4736
  otel-pgvector similar 4bf92f3577b34da6a3ce929d0e0e4736 --json | jq -r 'select(.score > 0.9) | .trace_id'")]
pub struct SimilarOptions {
    /// The trace's id: 32 hexadecimal digits, in either case, with or without dashes.
    #[arg(value_name = "ID", value_parser = trace_id)]
    pub id: TraceId,

    /// The most results.
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,

    /// One JSON object a line, the most similar first.
    #[arg(long)]
    pub json: bool,
}

/// Show operations that were never seen before, such as since a deploy.
///
/// What resembles nothing from before comes first. Each is shown with the nearest older operation and their similarity
/// (up to 1), and with its newest span. First seen is when the first span was stored, not when it started.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  otel-pgvector new --since 1h
  otel-pgvector new --since 2026-01-31T12:00:00Z --service checkout")]
pub struct NewOptions {
    /// Since when: 90s, 15m, 1h, 2d or 1w ago, or a time such as 2026-01-31T12:00:00Z.
    #[arg(long, value_name = "WHEN", value_parser = time::parse, default_value = "1d")]
    pub since: SystemTime,

    /// Only operations of this service.
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,

    /// The most results.
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,

    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
}

/// Show spans as they are stored.
///
/// The newest that there are, then each that comes, until Ctrl-C. The database is asked once a second. Spans are stored
/// when they have ended: those that began longer before than --window are not noticed.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  otel-pgvector tail --status error
  otel-pgvector tail --service checkout -a 'http.route=/cart' --min-duration 200ms
  otel-pgvector tail --json | jq -r .name")]
pub struct TailOptions {
    /// How many of the spans that are there already are shown first.
    #[arg(long, short = 'n', default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub lines: u32,

    /// How long a span may have begun before it is stored.
    #[arg(long, default_value = "1m", value_name = "DURATION", value_parser = time::parse_duration)]
    pub window: Duration,

    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub filter: FilterOptions,
}
