//! `plan`: what a load takes.

mod capacity;
mod figures;

use std::io::Write;

use opentelemetry_pgvector::store::Sizes;
use opentelemetry_pgvector::{Error, Settings};

use crate::args::{CommandSettings, PlanOptions};
use crate::failure::{Failure, Outcome};
use crate::human::{bytes, count, thousands};
use crate::terminal::{Paint, stdout, write_json};
use capacity::{Advice, Load, Plan};
use figures as measured;

/// Fewer spans than these say nothing about what one takes: an empty table has pages, too.
const FEWEST_SPANS: u64 = 10_000;

pub async fn plan(settings: CommandSettings, options: &PlanOptions) -> Outcome {
    let (settings, stored) = match options.from_database {
        true => {
            let store = settings.open(false)?;
            (store.settings().clone(), Some(stored(store.sizes().await?)?))
        }
        false => (settings.offline()?, None),
    };
    let plan = Plan::of(&load(options, stored), &settings);
    let mut out = stdout();
    match options.json {
        true => write_json(&mut out, &serde_json::to_string(&plan).map_err(std::io::Error::from)?)?,
        false => print(&mut out, &plan, &settings)?,
    }
    Ok(out.flush()?)
}

/// Sizes that tell what a span takes.
fn stored(sizes: Sizes) -> Result<Sizes, Failure> {
    match sizes.spans < FEWEST_SPANS {
        false => Ok(sizes),
        true => Err(Failure::Failed(Error::Input {
            origin: "--from-database".into(),
            reason: format!(
                "the database has {} by its statistics, and it takes {} to tell how large one is; where there are more, \
                 run: ANALYZE. Or say --bytes-per-span",
                count(sizes.spans, "span"),
                thousands(FEWEST_SPANS)
            ),
        })),
    }
}

fn load(options: &PlanOptions, stored: Option<Sizes>) -> Load {
    let per = |bytes: u64, number: u64| bytes as f64 / number.max(1) as f64;
    let (heap_bytes, index_bytes) = match (options.bytes_per_span, stored) {
        // What varies in size is the row: an entry of an index is as large as any.
        (Some(bytes), _) => {
            let index = measured::INDEX_BYTES.min(bytes / 2.0);
            (bytes - index, index)
        }
        (None, Some(sizes)) => (per(sizes.row_bytes, sizes.spans), per(sizes.row_index_bytes, sizes.spans)),
        (None, None) => (measured::HEAP_BYTES, measured::INDEX_BYTES),
    };
    let by_services = options.services.saturating_mul(measured::DOCUMENTS_PER_SERVICE);
    Load {
        spans_per_second: options.spans_per_second,
        retention_days: options.retention,
        services: options.services,
        documents: options.documents.or(stored.map(|sizes| sizes.documents)).unwrap_or(by_services),
        heap_bytes,
        index_bytes,
        document_bytes: match stored {
            Some(sizes) if sizes.documents > 0 => per(sizes.document_bytes, sizes.documents),
            _ => measured::DOCUMENT_BYTES,
        },
    }
}

fn print(out: &mut impl Write, plan: &Plan, settings: &Settings) -> std::io::Result<()> {
    let Plan { retention_days, batch_size, .. } = *plan;
    let per_day = |bytes_per_day| format!("{} a day", bytes(bytes_per_day));
    let spans = thousands(plan.spans_per_day);
    let kept = thousands(plan.spans_kept);
    let days = count(u64::from(retention_days), "day");
    let replica = if plan.advice == Advice::OneServerWithReplica { ", and one for searches" } else { "" };
    for (name, text) in [
        ("spans", format!("{spans} a day; {kept} in {days}")),
        (
            "rows",
            format!(
                "{} of tables, {} of indexes: {:.0} bytes a span",
                bytes(plan.heap_bytes),
                bytes(plan.index_bytes),
                plan.bytes_per_span
            ),
        ),
        (
            "documents",
            format!("{}: {} with vectors and indexes", thousands(plan.documents), bytes(plan.document_bytes)),
        ),
        ("ledger", format!("{} in {}", bytes(plan.ledger_bytes), count(plan.ledger_days, "day"))),
        (
            "disk",
            format!(
                "{}; {} in all, {} with room",
                per_day(plan.disk_bytes_per_day),
                bytes(plan.disk_bytes),
                bytes(plan.disk_recommended_bytes)
            ),
        ),
        ("WAL", format!("{}; an archive of it is not counted above", per_day(plan.wal_bytes_per_day))),
        (
            "processors",
            format!(
                "{:.2} busy with writing; {} with room for peaks and searches",
                plan.write_cores, plan.cores_recommended
            ),
        ),
        (
            "memory",
            format!(
                "{}, so that today's indexes and the vectors stay in it",
                bytes(plan.memory_recommended_bytes)
            ),
        ),
        ("partitions", format!("{} of a day", plan.partitions)),
        (
            "connections",
            format!(
                "{} of {} {}",
                thousands(plan.connections),
                count(plan.services, "service"),
                if plan.pooler {
                    ": through PgBouncer in transaction mode, with prepared_statements: false"
                } else {
                    ""
                }
            ),
        ),
        (
            "batches",
            format!(
                "{:.1}/s of {:.0} spans; batch_size: {batch_size}, batch_interval_seconds: {}",
                plan.batches_per_second, plan.spans_per_batch, settings.batch_interval_seconds
            ),
        ),
    ] {
        writeln!(out, "{name:<12} {text}")?;
    }
    let advice = match plan.advice {
        Advice::OneServer | Advice::OneServerWithReplica => format!("one server is enough{replica}"),
        Advice::Citus => format!(
            "more than one server bears: Citus, a coordinator and {} of up to {} processors",
            count(plan.workers, "worker"),
            measured::LARGEST_CORES
        ),
    };
    writeln!(out, "{:<12} {}", "advice", Paint::stdout().bold(&advice))
}
