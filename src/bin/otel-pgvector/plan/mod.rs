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
    let mut line = |name: &str, text: String| writeln!(out, "{name:<12} {text}");
    let (spans, kept) = (thousands(plan.spans_per_day), thousands(plan.spans_kept));
    line("spans", format!("{spans} a day; {kept} in {}", count(plan.retention_days.into(), "day")))?;
    let (heap, index) = (bytes(plan.heap_bytes), bytes(plan.index_bytes));
    line("rows", format!("{heap} of tables, {index} of indexes: {:.0} bytes a span", plan.bytes_per_span))?;
    let (documents, size) = (thousands(plan.documents), bytes(plan.document_bytes));
    line("documents", format!("{documents}: {size} with vectors and indexes"))?;
    line("ledger", format!("{} in {}", bytes(plan.ledger_bytes), count(plan.ledger_days, "day")))?;
    let (disk, room) = (bytes(plan.disk_bytes), bytes(plan.disk_recommended_bytes));
    line("disk", format!("{} a day; {disk} in all, {room} with room", bytes(plan.disk_bytes_per_day)))?;
    line("WAL", format!("{} a day; an archive of it is not counted above", bytes(plan.wal_bytes_per_day)))?;
    let (busy, cores) = (plan.write_cores, plan.cores_recommended);
    line("processors", format!("{busy:.2} busy with writing; {cores} with room for peaks and searches"))?;
    let memory = bytes(plan.memory_recommended_bytes);
    line("memory", format!("{memory}, so that today's indexes and the documents stay in it"))?;
    line("partitions", format!("{} of a day", plan.partitions))?;
    let (connections, services) = (thousands(plan.connections), count(plan.services, "service"));
    let pooler = match plan.pooler {
        true => ": through PgBouncer in transaction mode, with prepared_statements: false",
        false => "",
    };
    line("connections", format!("{connections} of {services}{pooler}"))?;
    let (rate, each, size) = (plan.batches_per_second, plan.spans_per_batch, plan.batch_size);
    let interval = settings.batch_interval_seconds;
    line(
        "batches",
        format!("{rate:.1}/s of {each:.0} spans; batch_size: {size}, batch_interval_seconds: {interval}"),
    )?;
    let advice = match plan.advice {
        Advice::OneServer => "one server is enough".to_owned(),
        Advice::OneServerWithReplica => "one server is enough, and a replica for searches".to_owned(),
        Advice::Citus => format!(
            "more than one server bears: Citus, a coordinator and {} of up to {} processors",
            count(plan.workers, "worker"),
            measured::LARGEST_CORES
        ),
    };
    line("advice", Paint::stdout().bold(&advice))
}
