//! `health`: how the database is, and what it holds.

use std::io::Write;

use opentelemetry_pgvector::TraceStore;

use crate::args::HealthOptions;
use crate::failure::{Failure, Outcome};
use crate::human::{bytes, count, thousands};
use crate::terminal::{Paint, stdout};

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
        let version = match (health.schema_version, &health.server_version) {
            (0, None) => unknown(),
            (0, Some(_)) => "missing".to_owned(),
            (version, _) => format!("version {version}"),
        };
        writeln!(out, "schema       {}, {version}", store.settings().schema)?;
        writeln!(out, "traces       {}", thousands(health.total_traces))?;
        writeln!(out, "spans        {}", thousands(health.total_spans))?;
        let waiting = match health.documents_waiting {
            0 => String::new(),
            waiting => {
                let since = health.waiting_since.as_ref().map(|since| format!(" since {since}"));
                format!(", {} wait to be embedded{}", thousands(waiting), since.unwrap_or_default())
            }
        };
        writeln!(out, "documents    {}{waiting}", thousands(health.documents))?;
        let model = health.model.clone().unwrap_or_else(|| "none yet".to_owned());
        writeln!(out, "model        {model}")?;
        writeln!(out, "cached       {}", count(health.cache_size, "embedding"))?;
        if let (Some(oldest), Some(newest)) = (&health.oldest_span, &health.newest_span) {
            writeln!(out, "period       {oldest} to {newest}")?;
        }
        if let Some(entries) = health.ledger_entries {
            let oldest = health.ledger_oldest.as_ref().map(|oldest| format!(", the oldest of {oldest}"));
            let batches = if entries == 1 { "batch" } else { "batches" };
            writeln!(out, "ledger       {} {batches}{}", thousands(entries), oldest.unwrap_or_default())?;
        }
        if let (Some(partitions), Some(days)) = (health.partitions, health.days_ahead) {
            let since = health
                .oldest_partition
                .as_ref()
                .map(|oldest| format!(" since {}", &oldest[..10.min(oldest.len())]));
            let (since, days) = (since.unwrap_or_default(), count(days, "day"));
            let spans = count(health.default_spans.unwrap_or(0), "span");
            // Near the limit a word of it.
            let limit = health.partition_limit.filter(|limit| partitions >= limit / 10 * 9);
            let limit = limit.map(|limit| format!(" of {} that the server has locks for", thousands(limit)));
            writeln!(
                out,
                "partitions   {}{}{since}, {days} from today on, {spans} in the default one",
                thousands(partitions),
                limit.unwrap_or_default()
            )?;
        }
        if let Some(maintained) = &health.maintained {
            writeln!(out, "maintained   {maintained}")?;
        }
        if let (Some(tables), Some(indexes)) = (health.table_bytes, health.index_bytes) {
            writeln!(out, "size         {} of tables, {} of indexes", bytes(tables), bytes(indexes))?;
        }
        if let Some(connections) = &health.connections {
            let by_name: Vec<String> =
                connections.iter().map(|(name, number)| format!("{number} {name}")).collect();
            writeln!(out, "connections  {}", by_name.join(", "))?;
        }
        if let Some(role) = &health.role {
            writeln!(out, "role         {role}")?;
        }
        for (role, members) in health.roles.iter().flatten() {
            let members = if members.is_empty() { "no members".into() } else { members.join(", ") };
            writeln!(out, "{role:<12} {members}")?;
        }
        if health.nuls_replaced > 0 {
            writeln!(out, "NULs         {} replaced", thousands(health.nuls_replaced))?;
        }
    }
    out.flush()?;
    if health.healthy { Ok(()) } else { Err(Failure::Reported) }
}
