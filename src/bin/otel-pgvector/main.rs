//! The command `otel-pgvector`: traces in PostgreSQL, from the terminal.

mod args;
mod args_export;
mod args_import;
mod export;
mod failure;
mod health;
mod human;
mod import;
mod import_progress;
mod import_source;
mod migrate;
mod search;
mod show;
mod terminal;
mod time;
mod waterfall;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};
use args_export::ExportCommand;
use failure::Outcome;

fn main() -> ExitCode {
    let args = Args::parse();
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
        Command::Migrate(options) if options.print_roles => migrate::print_roles(&settings.schema()?),
        Command::Migrate(options) => migrate::migrate(settings.open(true)?, &options).await,
        Command::Health(options) => health::health(settings.open(false)?, &options).await,
        Command::Import(what) => import::import(settings, what).await,
        Command::Export(ExportCommand::Otlp(options)) => export::otlp(settings.open(false)?, &options).await,
        Command::Search(options) => search::search(settings.open(false)?, &options).await,
        Command::Trace(options) => show::trace(settings.open(false)?, &options).await,
    }
}
