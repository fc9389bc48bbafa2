//! `sql`: psql on the store's database.

use std::ffi::OsString;
use std::io;
use std::process::Command;

use opentelemetry_pgvector::TraceStore;

use crate::args::SqlOptions;
use crate::failure::{Failure, Outcome};

pub fn sql(store: &TraceStore, options: &SqlOptions) -> Outcome {
    let mut psql = Command::new("psql");
    psql.args(arguments(options)).args(&options.options);
    // Other users of this machine see arguments, and no environment.
    for (name, value) in store.psql_environment()? {
        match value {
            Some(value) => psql.env(name, value),
            None => psql.env_remove(name),
        };
    }
    run(psql).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::Usage(
            "psql is not installed, or not in PATH: it comes with PostgreSQL's client (postgresql-client)"
                .into(),
        ),
        _ => Failure::Io(error),
    })?
}

fn arguments(options: &SqlOptions) -> Vec<OsString> {
    if options.command.is_empty() {
        return Vec::new();
    }
    let mut arguments: Vec<OsString> = ["-X", "-v", "ON_ERROR_STOP=1"].map(OsString::from).into();
    if options.json {
        arguments.push("-At".into());
    }
    for statement in &options.command {
        let statement = match options.json {
            true => format!("SELECT row_to_json(r) FROM ({}) AS r", statement.trim().trim_end_matches(';')),
            false => statement.clone(),
        };
        arguments.extend(["-c".into(), statement.into()]);
    }
    arguments
}

/// Becomes psql: a Ctrl-C is for that alone.
#[cfg(unix)]
fn run(mut psql: Command) -> io::Result<Outcome> {
    use std::os::unix::process::CommandExt;
    Err(psql.exec())
}

#[cfg(not(unix))]
fn run(mut psql: Command) -> io::Result<Outcome> {
    let status = psql.status()?;
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(if code == 0 { Ok(()) } else { Err(Failure::Code(code)) })
}
