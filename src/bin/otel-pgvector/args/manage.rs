//! `migrate`, `maintain`, `reembed`, `health`, `sql`, `config`, `completions`, `man`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap_complete::Shell;

/// Create the tables, or bring them up to date.
///
/// With roles, the schema and its tables belong to the group role SCHEMA_owner; SCHEMA_writer may do what an exporter
/// and an import need, without reading attributes of spans; SCHEMA_reader may read and search.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  otel-pgvector migrate --roles
  otel-pgvector migrate --print-roles | psql postgresql://postgres@db/otel_traces
  otel-pgvector migrate --citus
  psql postgresql://postgres@db/otel_traces -c 'GRANT otel_writer TO checkout'")]
pub struct MigrateOptions {
    /// Make the group roles SCHEMA_owner, SCHEMA_writer and SCHEMA_reader, too, and give them their rights. It takes a
    /// superuser, or the database's owner with CREATEROLE.
    #[arg(long)]
    pub roles: bool,

    /// Print the SQL that makes the roles, to read it or to let an administrator run it; connect to nothing.
    #[arg(long, conflicts_with = "roles")]
    pub print_roles: bool,

    /// Spread the tables over the nodes of a Citus cluster, too: spans by trace, the ledger by batch, all else on every
    /// node. It may be run again, and on tables with data; later migrations spread what they make by themselves.
    #[arg(long, conflicts_with = "print_roles")]
    pub citus: bool,

    /// One JSON object instead of text.
    #[arg(long, conflicts_with = "print_roles")]
    pub json: bool,
}

/// Make partitions ahead, drop old ones, and delete what nobody uses.
///
/// It drops partitions of days older than retention_days (by default none), makes those of the next days, moves spans from
/// the default partition to their days, deletes documents that no span has, and entries of the ledger that are older than
/// ledger_days. Applications go on storing, and searches are answered meanwhile.
///
/// It is meant to be run daily or hourly, by cron or the like; with the setting maintenance=auto, applications do it. It
/// may be interrupted, and several may run at once. It takes the rights of SCHEMA_writer, and to drop partitions those of
/// SCHEMA_owner. Where something could not be done, as for a lock, the exit code is 1, and the next run tries it again.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  otel-pgvector maintain
  otel-pgvector maintain --retention-days 30 --dry-run
  0 3 * * *  otel-pgvector maintain --retention-days 30")]
pub struct MaintainOptions {
    /// Keep spans for so many whole days, instead of what the setting retention_days says; 0 keeps them for good.
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(0..=36500))]
    pub retention_days: Option<u32>,

    /// Say what would be done to partitions and spans, and change nothing.
    #[arg(long)]
    pub dry_run: bool,

    /// The summary as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Change the embedding model: embed everything again, while writers and searches go on.
///
/// The model is that of the settings embedding_model and embedding_dimension. What is embedded is one text for each kind
/// of span, so this takes minutes. Applications go on storing, and searches are answered with the old model until the
/// change, which is a moment; from then on they need the settings of the new one.
///
/// It may be interrupted, and goes on when it is run again; several may run at once. With the model that the schema has,
/// it ends a change that was begun. It takes the rights of the tables' owner.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  otel-pgvector reembed --embedding-model /models/bge-base --set embedding_dimension=768 --dry-run
  otel-pgvector reembed --embedding-model /models/bge-base --set embedding_dimension=768")]
pub struct ReembedOptions {
    /// Say what would be done, and change nothing.
    #[arg(long)]
    pub dry_run: bool,

    /// The summary as one JSON object: from, to, documents, embedded, left, needed, changed, dry_run, elapsed_s.
    #[arg(long)]
    pub json: bool,
}

/// Say how the database is, and what it holds.
///
/// Ends with 1 when spans cannot be stored. The number of traces and spans is an estimate beyond a million spans.
#[derive(clap::Args)]
pub struct HealthOptions {
    /// One JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Open psql on the traces, or run SQL.
///
/// psql gets the connection of the settings, the password through its environment, and the schema in front of its search
/// path: `SELECT * FROM traces` finds the view. Its exit code is that of this command.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  otel-pgvector sql
  otel-pgvector sql -c 'SELECT service, count(*) FROM spans GROUP BY service'
  otel-pgvector sql -c 'TABLE traces LIMIT 5' -- --csv
  otel-pgvector sql -- -f report.sql")]
pub struct SqlOptions {
    /// Run this instead of asking for input, without the start-up file. May be given several times; the first that fails
    /// ends it.
    #[arg(long, short, value_name = "SQL")]
    pub command: Vec<String>,

    /// Each statement's rows as JSON, an object a line.
    #[arg(long, requires = "command")]
    pub json: bool,

    /// Further options for psql.
    #[arg(last = true, value_name = "OPTION")]
    pub options: Vec<OsString>,
}

/// Show the settings, and where each comes from.
///
/// Passwords and keys are hidden. It connects to nothing.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  otel-pgvector config
  otel-pgvector config pool_size --verbose
  otel-pgvector config --json | jq -r 'select(.layer != \"defaults\") | .key'")]
pub struct ConfigOptions {
    /// Only these settings.
    #[arg(value_name = "KEY")]
    pub keys: Vec<String>,

    /// Say what each is for, and what is allowed.
    #[arg(long, short)]
    pub verbose: bool,

    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
}

/// Print a shell's completions of this command line.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  otel-pgvector completions bash > ~/.local/share/bash-completion/completions/otel-pgvector
  otel-pgvector completions zsh > ~/.zfunc/_otel-pgvector
  otel-pgvector completions fish > ~/.config/fish/completions/otel-pgvector.fish")]
pub struct CompletionsOptions {
    /// The shell.
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Print the manual, or write all its pages to a folder.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  otel-pgvector man search | man -l -
  otel-pgvector man --dir /usr/local/share/man/man1")]
pub struct ManOptions {
    /// The page of this command, such as `search` or `import otlp`.
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    pub page: Vec<String>,

    /// Write a file for every page into this folder, which is made where it is missing.
    #[arg(long, value_name = "FOLDER")]
    pub dir: Option<PathBuf>,
}
