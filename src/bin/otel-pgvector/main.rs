//! The command `otel-pgvector`: traces in PostgreSQL, from the terminal.

mod args;
mod failure;
mod health;
mod human;
mod import;
mod migrate;
mod reembed;
mod search;
mod show;
mod terminal;
mod time;
mod waterfall;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};
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
        Command::Import(args::ImportCommand::Otlp(options)) => {
            import::otlp(settings.open(true)?, options).await
        }
        Command::Search(options) => search::search(settings.open(false)?, &options).await,
        Command::Reembed(options) => {
            reembed::reembed(settings.open_to_reembed(!options.dry_run)?, &options).await
        }
        Command::Trace(options) => show::trace(settings.open(false)?, &options).await,
    }
}
