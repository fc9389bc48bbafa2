//! `maintain`: partitions, and what nobody uses any more.

use std::io::Write;

use opentelemetry_pgvector::TraceStore;
use opentelemetry_pgvector::store::Maintained;
use serde::Serialize;

use crate::args::MaintainOptions;
use crate::failure::{Failure, Outcome, warn};
use crate::human::{bytes, count, thousands};
use crate::interrupt::interrupted;
use crate::terminal::stdout;

#[derive(Serialize)]
struct Summary<'a> {
    #[serde(flatten)]
    maintained: &'a Maintained,
    dry_run: bool,
}

pub async fn maintain(store: TraceStore, options: &MaintainOptions) -> Outcome {
    let maintained = tokio::select! {
        () = interrupted() => return Err(Failure::Interrupted),
        maintained = async {
            if options.dry_run { store.plan_maintain().await } else { store.maintain().await }
        } => maintained?,
    };
    let mut out = stdout();
    if options.json {
        let summary = Summary { maintained: &maintained, dry_run: options.dry_run };
        serde_json::to_writer(&mut out, &summary).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        print(&mut out, &maintained, options.dry_run)?;
    }
    out.flush()?;
    maintained.left.iter().for_each(|left| warn(&format!("left to the next run: {left}")));
    if maintained.left.is_empty() { Ok(()) } else { Err(Failure::Reported) }
}

fn print(out: &mut impl Write, maintained: &Maintained, dry_run: bool) -> std::io::Result<()> {
    let Maintained { partitions_made, spans_moved, partitions_dropped, spans_dropped, .. } = maintained;
    let would = if dry_run { "would be " } else { "" };
    let made = count(partitions_made.len() as u64, "partition");
    writeln!(out, "{would}made:    {made}{}", listed(partitions_made))?;
    writeln!(out, "{would}moved:   {} from the default partition", count(*spans_moved, "span"))?;
    let dropped = count(partitions_dropped.len() as u64, "partition");
    let (spans, freed) = (count(*spans_dropped, "span"), bytes(maintained.bytes_freed));
    writeln!(out, "{would}dropped: {dropped} with about {spans}, {freed}{}", listed(partitions_dropped))?;
    if !dry_run {
        let spans = count(maintained.spans_deleted, "span");
        let documents = count(maintained.documents_deleted, "document");
        let batches = thousands(maintained.ledger_entries_deleted);
        writeln!(
            out,
            "deleted: {spans} of the default partition, {documents}, {batches} of the ledger's batches"
        )?;
    }
    Ok(())
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) }
}
