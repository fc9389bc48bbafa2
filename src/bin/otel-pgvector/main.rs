//! The command `otel-pgvector`: traces in PostgreSQL, from the terminal.
#![warn(clippy::disallowed_methods)]

mod args;
mod catalog;
mod config;
mod explain;
mod export;
mod failure;
mod health;
mod hits;
mod import;
mod import_progress;
mod import_source;
mod interrupt;
mod log;
mod maintain;
mod manual;
mod migrate;
mod new;
mod nothing;
mod plan;
mod reembed;
mod search;
mod serve;
mod show;
mod similar;
mod sql;
mod suggest;
mod tail;
mod terminal;
mod time;
mod waterfall;
mod whole_file;

use std::process::ExitCode;

use opentelemetry_pgvector::serve::human;

use args::{Args, Command, ExportCommand};
use failure::Outcome;

fn main() -> ExitCode {
    let args = Args::read();
    terminal::choose_colour(args.color);
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return failure::exit_code(Err(error.into())),
    };
    let outcome = runtime.block_on(run(args));
    // What still runs behind it, such as embedding, can be done later; nobody should wait for it.
    runtime.shutdown_background();
    failure::exit_code(outcome)
}

async fn run(args: Args) -> Outcome {
    let settings = args.settings();
    match args.command {
        Command::Search(options) => search::search(settings.open(false)?, &options).await,
        Command::Trace(options) => show::trace(settings.open(false)?, &options).await,
        Command::Services(options) => catalog::services(settings.open(false)?, &options).await,
        Command::Operations(options) => catalog::operations(settings.open(false)?, &options).await,
        Command::Similar(options) => similar::similar(settings.open(false)?, &options).await,
        Command::New(options) => new::new(settings.open(false)?, &options).await,
        Command::Tail(options) => tail::tail(settings.open(false)?, &options).await,
        Command::Sql(options) => sql::sql(&settings.open(false)?, &options),
        Command::Import(what) => import::import(settings, what).await,
        Command::Export(ExportCommand::Otlp(options)) => export::otlp(settings.open(false)?, &options).await,
        Command::Migrate(options) if options.print_roles => migrate::print_roles(&settings.schema()?),
        Command::Migrate(options) => migrate::migrate(settings.open(true)?, &options).await,
        Command::Serve(options) => serve::serve(settings, &options).await,
        Command::Maintain(options) => {
            maintain::maintain(settings.retaining(options.retention_days).open(false)?, &options).await
        }
        Command::Health(options) => health::health(settings.open(false)?, &options).await,
        Command::Plan(options) => plan::plan(settings, &options).await,
        Command::Config(options) => config::config(&settings.loaded()?, &options),
        Command::Completions(options) => manual::completions(&options),
        Command::Man(options) => manual::man(&options),
        Command::Reembed(options) => {
            reembed::reembed(settings.open_to_reembed(!options.dry_run)?, &options).await
        }
    }
}
