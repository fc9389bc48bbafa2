//! The command line: what there is, and how it is explained.

use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Parser, Subcommand, ValueEnum};
use opentelemetry::trace::TraceId;
use opentelemetry_pgvector::settings::SettingsLoader;
use opentelemetry_pgvector::{Result, Settings, TraceStore};

use crate::args_export::ExportCommand;
use crate::args_import::ImportCommand;
use crate::time;

const AFTER_HELP: &str = "\
Settings come from the defaults, then the section `otel_storage` of --config, then
environment variables such as OTEL_STORAGE_CONNECTION_STRING, then --set, then the
options above; the later wins. NO_COLOR turns colour off; without a terminal there is none.

Exit codes:
    0  done
    1  failed, or done with records that were rejected, or not healthy
    2  the command line or a setting is wrong
    3  there is no such trace
  130  interrupted

Examples:
  export OTEL_STORAGE_CONNECTION_STRING=postgresql://app@db/otel_traces
  otel-pgvector migrate
  otel-pgvector import otlp traces.jsonl.gz
  otel-pgvector import jaeger http://jaeger:16686 --since 2d
  otel-pgvector search 'payment declined for an expired card' --since 2h
  otel-pgvector trace 4bf92f3577b34da6a3ce929d0e0e4736";

/// Traces in PostgreSQL, found by meaning.
///
/// Imports recorded traces, finds them again by what they mean, and shows them.
#[derive(Parser)]
#[command(name = "otel-pgvector", version, after_help = AFTER_HELP, max_term_width = 110)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,

    #[command(flatten)]
    settings: SettingsOptions,
}

#[derive(clap::Args, Clone)]
#[command(next_help_heading = "Settings")]
pub struct SettingsOptions {
    /// A YAML file with a section `otel_storage`.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Where the database is. A password in it is visible to other users of this machine: prefer the environment.
    #[arg(long, global = true, value_name = "URL")]
    connection_string: Option<String>,

    /// The database schema that holds the tables; `otel` by default.
    #[arg(long, global = true, value_name = "NAME")]
    schema: Option<String>,

    /// The embedding model: its name, or the folder that holds it.
    #[arg(long, global = true, value_name = "MODEL")]
    embedding_model: Option<String>,

    /// Any other setting, such as `similarity_threshold=0.3`. May be given several times.
    #[arg(long = "set", global = true, value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
}

#[derive(Subcommand)]
pub enum Command {
    /// Create the tables, or bring them up to date.
    Migrate(MigrateOptions),
    /// Say how the database is, and what it holds. Ends with 1 when spans cannot be stored.
    Health(HealthOptions),
    /// Store traces from files, or from a running Jaeger or Tempo.
    #[command(subcommand)]
    Import(ImportCommand),
    /// Write traces as OTLP.
    #[command(subcommand)]
    Export(ExportCommand),
    /// Find traces by what they mean.
    Search(SearchOptions),
    /// Show a trace, as a waterfall or as OTLP JSON.
    Trace(TraceOptions),
}

/// Create the tables, or bring them up to date.
///
/// With roles, the schema and its tables belong to the group role SCHEMA_owner; SCHEMA_writer may do what an exporter
/// and an import need, without reading attributes of spans; SCHEMA_reader may read and search.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  otel-pgvector migrate --roles
  otel-pgvector migrate --print-roles | psql postgresql://postgres@db/otel_traces
  psql postgresql://postgres@db/otel_traces -c 'GRANT otel_writer TO checkout'")]
pub struct MigrateOptions {
    /// Make the group roles SCHEMA_owner, SCHEMA_writer and SCHEMA_reader, too, and give them their rights. It takes a
    /// superuser, or the database's owner with CREATEROLE.
    #[arg(long)]
    pub roles: bool,

    /// Print the SQL that makes the roles, to read it or to let an administrator run it; connect to nothing.
    #[arg(long, conflicts_with = "roles")]
    pub print_roles: bool,
}

#[derive(clap::Args)]
pub struct HealthOptions {
    /// One JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Find traces by what they mean.
///
/// The query is plain language; it need not have a word in common with the spans. Each trace is shown with its score,
/// the score of its best span (up to 1), and the spans that matched.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  otel-pgvector search 'card was rejected' --service checkout --since 1h
  otel-pgvector search 'slow database query' --by operation --limit 20
  otel-pgvector search 'time-out' --json | jq -r .trace_id")]
pub struct SearchOptions {
    /// What happened, in words.
    pub query: String,

    /// The most results.
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,

    /// Only spans of this service.
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,

    /// Only spans that started since then: 90s, 15m, 1h, 2d or 1w ago, or a time such as 2026-01-31T12:00:00Z.
    #[arg(long, value_name = "WHEN", value_parser = time::parse)]
    pub since: Option<SystemTime>,

    /// Only spans that started before then; as --since.
    #[arg(long, value_name = "WHEN", value_parser = time::parse)]
    pub until: Option<SystemTime>,

    /// The lowest score, 0 to 1; by default the setting similarity_threshold.
    #[arg(long, value_name = "SCORE", value_parser = score)]
    pub min_score: Option<f64>,

    /// What a result is: a trace, or a kind of span with its newest example.
    #[arg(long, value_enum, default_value_t = By::Trace, value_name = "WHAT")]
    pub by: By,

    /// One JSON object a line, best first; each has trace_id, span_id and score.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum By {
    Trace,
    Operation,
}

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  otel-pgvector trace 4bf92f3577b34da6a3ce929d0e0e4736
  otel-pgvector trace 4bf92f3577b34da6a3ce929d0e0e4736 --json > trace.json")]
pub struct TraceOptions {
    /// The trace's id: 32 hexadecimal digits, in either case, with or without dashes.
    #[arg(value_name = "ID", value_parser = trace_id)]
    pub id: TraceId,

    /// Show attributes and events, too.
    #[arg(long, short)]
    pub verbose: bool,

    /// OTLP JSON in one line, exactly as it was exported.
    #[arg(long, conflicts_with = "verbose")]
    pub json: bool,
}

/// The settings of the command line, over those of the library's other layers.
pub struct CommandSettings(SettingsLoader);

impl Args {
    pub fn settings(&self) -> CommandSettings {
        let options = &self.settings;
        let mut loader = Settings::loader();
        if let Some(file) = &options.config {
            loader = loader.with_yaml_file(file);
        }
        for (key, value) in &options.set {
            loader = loader.set(key, value.as_str());
        }
        let named = [
            ("connection_string", &options.connection_string),
            ("schema", &options.schema),
            ("embedding_model", &options.embedding_model),
        ];
        for (key, value) in named {
            if let Some(value) = value {
                loader = loader.set(key, value.as_str());
            }
        }
        CommandSettings(loader)
    }
}

impl CommandSettings {
    /// The store; a command that only reads does not create tables.
    pub fn open(self, writes: bool) -> Result<TraceStore> {
        let mut settings = self.0.load()?;
        settings.migrate &= writes;
        TraceStore::new(settings)
    }

    /// The schema alone, which needs no database.
    pub fn schema(self) -> Result<String> {
        Ok(self.0.set("enabled", false).load()?.schema)
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

fn score(text: &str) -> Result<f64, String> {
    let score: f64 = text.parse().map_err(|_| "expected a number from 0 to 1")?;
    if (0.0..=1.0).contains(&score) { Ok(score) } else { Err("expected a number from 0 to 1".into()) }
}

pub fn trace_id(text: &str) -> Result<TraceId, String> {
    let digits = text.replace('-', "");
    // `from_hex` alone would accept a sign and fewer digits.
    if digits.len() != 32 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err("expected 32 hexadecimal digits".into());
    }
    TraceId::from_hex(&digits).map_err(|error| error.to_string())
}
