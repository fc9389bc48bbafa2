//! `migrate` and `health`.

use std::io::Write;

use opentelemetry_pgvector::TraceStore;
use opentelemetry_pgvector::store::SCHEMA_VERSION;

use crate::args::HealthOptions;
use crate::failure::{Failure, Outcome};
use crate::human::{count, thousands};
use crate::terminal::{Paint, stdout};

pub async fn migrate(store: TraceStore) -> Outcome {
    let applied = store.migrate().await?;
    let schema = &store.settings().schema;
    let mut out = stdout();
    match applied {
        0 => writeln!(out, "schema {schema}: is up to date, version {SCHEMA_VERSION}")?,
        _ => {
            let applied = count(applied as u64, "migration");
            writeln!(out, "schema {schema}: applied {applied}, version {SCHEMA_VERSION}")?;
        }
    }
    Ok(out.flush()?)
}

pub async fn health(store: TraceStore, options: &HealthOptions) -> Outcome {
    let health = store.health_check().await;
    let mut out = stdout();
    if options.json {
        serde_json::to_writer(&mut out, &health).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        let paint = Paint::stdout();
        let state = if health.healthy { paint.bold("healthy") } else { paint.red("not healthy") };
        writeln!(out, "state        {state}")?;
        if let Some(error) = &health.error {
            writeln!(out, "reason       {error}")?;
        }
        writeln!(out, "database     {}", store.settings().target())?;
        let unknown = || "unknown".to_owned();
        writeln!(out, "PostgreSQL   {}", health.server_version.clone().unwrap_or_else(unknown))?;
        writeln!(out, "pgvector     {}", health.pgvector_version.clone().unwrap_or_else(unknown))?;
        writeln!(out, "schema       {}, version {}", store.settings().schema, health.schema_version)?;
        writeln!(out, "traces       {}", thousands(health.total_traces))?;
        writeln!(out, "spans        {}", thousands(health.total_spans))?;
        let waiting = match health.documents_waiting {
            0 => String::new(),
            waiting => format!(", {} wait to be embedded", thousands(waiting)),
        };
        writeln!(out, "documents    {}{waiting}", thousands(health.documents))?;
        let model = health.model.clone().unwrap_or_else(|| "none yet".to_owned());
        writeln!(out, "model        {model}")?;
        writeln!(out, "cached       {}", count(health.cache_size, "embedding"))?;
        if health.nuls_replaced > 0 {
            writeln!(out, "NULs         {} replaced", thousands(health.nuls_replaced))?;
        }
    }
    out.flush()?;
    if health.healthy { Ok(()) } else { Err(Failure::Reported) }
}
