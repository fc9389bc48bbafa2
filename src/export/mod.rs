//! Traces out of the store, as OTLP: nobody is locked in.
//!
//! ```no_run
//! # async fn example(store: opentelemetry_pgvector::TraceStore) -> opentelemetry_pgvector::Result<()> {
//! use opentelemetry_pgvector::export::{Format, export};
//! use opentelemetry_pgvector::search::Filter;
//!
//! let selection = Filter::default().service("checkout").into();
//! let file = std::fs::File::create("traces.otlp.jsonl").map_err(|source| {
//!     opentelemetry_pgvector::Error::Io { doing: "creating a file".into(), source }
//! })?;
//! let exported = export(&store, &selection, Format::Json, file).await?;
//! println!("{} spans in {} traces", exported.spans, exported.traces);
//! # Ok(())
//! # }
//! ```

mod output;
mod select;

use std::io::Write;

use serde::Serialize;

pub use output::{Compressed, Format};
pub use select::Selection;

use crate::error::{Error, Result};
use crate::store::TraceStore;
use select::Ids;

/// About so many spans are read at once.
const SPANS_AT_ONCE: usize = 10_000;
/// The most traces that are read at once.
const TRACES_AT_ONCE: usize = 2_000;

/// What an export has written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Exported {
    /// How many traces.
    pub traces: u64,
    /// How many spans.
    pub spans: u64,
}

/// Writes traces as OTLP, each whole and as one `TracesData`, in the order of their ids. It holds a few of them in memory,
/// however many there are.
///
/// What is written is what is stored: what was redacted is not there. Importing it gives the same spans. Times that OTLP
/// cannot hold (before 1970, after 2554) are limited to what it can.
///
/// # Errors
/// [`Error::Io`] from the output; [`Error::Connect`], [`Error::Database`], [`Error::Timeout`], [`Error::Schema`],
/// [`Error::Corrupt`] from reading.
pub async fn export(
    store: &TraceStore,
    selection: &Selection,
    format: Format,
    output: impl Write,
) -> Result<Exported> {
    export_and_report(store, selection, format, output, |_| {}).await
}

/// As [`export()`]; `report` is told, now and then, what was written so far.
///
/// # Errors
/// As [`export()`].
pub async fn export_and_report(
    store: &TraceStore,
    selection: &Selection,
    format: Format,
    mut output: impl Write,
    report: impl Fn(Exported),
) -> Result<Exported> {
    let writing = |source| Error::Io { doing: "writing the export".into(), source };
    let mut ids = Ids::open(store, selection).await?;
    let mut exported = Exported::default();
    let mut at_once = 1;
    let mut page = ids.next(at_once).await?;
    while !page.is_empty() {
        let spans = store.get_traces(&page).await?;
        for trace in spans.chunk_by(|a, b| a.trace_id == b.trace_id) {
            output::write(&mut output, format, trace).map_err(writing)?;
            exported.traces += 1;
            exported.spans += trace.len() as u64;
        }
        report(exported);
        // As many traces as had room this time, but not many more than before: the next may be larger.
        let fitting = page.len() * SPANS_AT_ONCE / spans.len().max(1);
        at_once = fitting.clamp(1, TRACES_AT_ONCE.min(at_once * 4));
        page = ids.next(at_once).await?;
    }
    ids.close().await?;
    output.flush().map_err(writing)?;
    Ok(exported)
}
