//! The command line: what there is, and how it is explained.

mod export;
mod import;
mod manage;
mod plan;
mod search;
mod serve;
mod settings;
mod show;
mod values;

use clap::builder::Resettable;
use clap::{Arg, CommandFactory, FromArgMatches, Parser, Subcommand};

pub use export::{ExportCommand, ExportOptions, OutputFormat};
pub use import::{HttpOptions, ImportCommand, ImportOptions};
pub use manage::{
    CompletionsOptions, ConfigOptions, HealthOptions, MaintainOptions, ManOptions, MigrateOptions,
    ReembedOptions, SqlOptions,
};
pub use plan::PlanOptions;
pub use search::{By, NewOptions, SearchOptions, SimilarOptions, TailOptions};
pub use serve::ServeOptions;
pub use settings::{CommandSettings, WRITER, layer};
pub use show::{OperationsOptions, ServicesOptions, TraceOptions};

use crate::terminal::Colour;
use settings::SettingsOptions;

const AFTER_HELP: &str = "\
Settings come from the defaults, then the section `otel_storage` of --config, then
environment variables such as OTEL_STORAGE_CONNECTION_STRING, then --set, then the
options above; the later wins. `otel-pgvector config` shows them, and where each is from.

Results go to the standard output, everything else to the standard error. There is no
pager: `otel-pgvector trace ID --color always | less -R`.

Exit codes:
    0  done; a search or an export that finds nothing is done, too
    1  failed, or done with records that were rejected, or not healthy
    2  the command line or a setting is wrong
    3  there is no such trace, service, setting (config) or page (man)
  130  interrupted

Examples:
  export OTEL_STORAGE_CONNECTION_STRING=postgresql://app@db/otel_traces
  otel-pgvector migrate
  otel-pgvector import otlp traces.jsonl.gz
  otel-pgvector import jaeger http://jaeger:16686 --since 2d
  otel-pgvector search 'payment declined for an expired card' --since 2h
  otel-pgvector trace 4bf92f3577b34da6a3ce929d0e0e4736
  otel-pgvector new --since 1h
  otel-pgvector tail --status error";

/// Traces in PostgreSQL, found by meaning.
///
/// Imports recorded traces, finds them again by what they mean, and shows them.
#[derive(Parser)]
#[command(name = "otel-pgvector", version, after_help = AFTER_HELP, max_term_width = 110)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,

    /// Whether text is coloured. By itself it is on a terminal, unless NO_COLOR is set or TERM is `dumb`.
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto, value_name = "WHEN")]
    pub color: Colour,

    #[command(flatten)]
    settings: SettingsOptions,
}

// Each is explained where its options are.
#[derive(Subcommand)]
pub enum Command {
    Search(SearchOptions),
    Trace(TraceOptions),
    Services(ServicesOptions),
    Operations(OperationsOptions),
    Similar(SimilarOptions),
    New(NewOptions),
    Tail(TailOptions),
    Sql(SqlOptions),
    /// Store traces from files, or from a running Jaeger or Tempo.
    #[command(subcommand)]
    Import(ImportCommand),
    /// Write traces as OTLP.
    #[command(subcommand)]
    Export(ExportCommand),
    Migrate(MigrateOptions),
    Maintain(MaintainOptions),
    Reembed(ReembedOptions),
    Serve(ServeOptions),
    Health(HealthOptions),
    Plan(PlanOptions),
    Config(ConfigOptions),
    Completions(CompletionsOptions),
    Man(ManOptions),
}

impl Args {
    /// The command line, with the environment. An empty variable is none: a container's file cannot leave one out.
    pub fn read() -> Self {
        let with_env = |arg: Arg| match arg.get_env().and_then(std::env::var_os) {
            Some(value) if value.is_empty() => arg.env(Resettable::Reset),
            _ => arg,
        };
        let command = Args::command().mut_subcommands(|command| command.mut_args(with_env));
        Args::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
    }

    pub fn settings(&self) -> CommandSettings {
        self.settings.layered()
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn each_option_of_the_server_has_an_environment_variable() {
        let command = super::Args::command();
        let serve = command.find_subcommand("serve").expect("it is there");
        for option in serve.get_arguments() {
            let name = option.get_long().expect("a name").replace('-', "_").to_uppercase();
            let variable = option.get_env().and_then(|variable| variable.to_str());
            assert_eq!(variable, Some(format!("OTEL_PGVECTOR_SERVE_{name}").as_str()));
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        super::Args::command().debug_assert();
    }
}
