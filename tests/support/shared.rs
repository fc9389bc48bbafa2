//! The recorded traces in `../shared`, which outside users do not have.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use opentelemetry_pgvector::span::{Span, spans_from_otlp};
use opentelemetry_proto::tonic::trace::v1::TracesData;

/// The recorded traces of this name, or `None` with a word on the screen where `../shared` is absent.
///
/// # Panics
/// Under CI, where the recordings must be there.
pub fn recording(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("OTEL_SHARED_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let path = root.join(format!("data/{name}/{name}.otlp.jsonl.gz"));
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is absent under CI", path.display());
    eprintln!("skipped: {} is absent", path.display());
    None
}

/// The messages of a recording, one a line.
pub fn messages(name: &str) -> Option<Vec<TracesData>> {
    let file = std::fs::File::open(recording(name)?).expect("the recording opens");
    let lines = BufReader::new(flate2::read::GzDecoder::new(file)).lines();
    Some(lines.map(|line| serde_json::from_str(&line.expect("a line")).expect("OTLP JSON")).collect())
}

/// The spans of some messages.
pub fn spans(messages: &[TracesData]) -> Vec<Span<'_>> {
    messages
        .iter()
        .flat_map(|message| &message.resource_spans)
        .flat_map(spans_from_otlp)
        .map(|span| span.expect("valid ids"))
        .collect()
}
