//! `migrate`: the tables, and the roles.

use std::io::Write;

use opentelemetry_pgvector::TraceStore;
use opentelemetry_pgvector::store::roles_sql;
use serde_json::json;

use crate::args::MigrateOptions;
use crate::failure::Outcome;
use crate::human::{count, thousands};
use crate::terminal::stdout;

pub async fn migrate(store: TraceStore, options: &MigrateOptions) -> Outcome {
    let schema = &store.settings().schema;
    let mut out = stdout();
    if options.roles {
        store.create_roles().await?;
        if !options.json {
            writeln!(out, "roles {schema}_owner, {schema}_writer, {schema}_reader: are there")?;
        }
    }
    let applied = store.migrate().await? as u64;
    // A later release may have been here, which takes this one.
    let version = store.health_check().await.schema_version;
    let distributed = if options.citus { Some(store.distribute().await?) } else { None };
    match applied {
        _ if options.json => {
            let done = json!({
                "schema": schema, "version": version, "applied": applied, "roles": options.roles,
                "distributed": distributed,
            });
            writeln!(out, "{done}")?;
        }
        0 => writeln!(out, "schema {schema}: is up to date, version {version}")?,
        applied => {
            let applied = count(applied, "migration");
            writeln!(out, "schema {schema}: applied {applied}, version {version}")?;
        }
    }
    match distributed {
        _ if options.json => {}
        None => {}
        Some(0) => writeln!(out, "tables: are spread over the cluster")?,
        Some(tables) => writeln!(out, "tables: {} spread over the cluster", thousands(tables))?,
    }
    Ok(out.flush()?)
}

pub fn print_roles(schema: &str) -> Outcome {
    let mut out = stdout();
    out.write_all(roles_sql(schema).as_bytes())?;
    Ok(out.flush()?)
}
