//! Traces from another store of traces: each span once, however often it comes.
//!
//! A trace comes with each service that took part in it, in each time window that it touches, and again, grown, with the
//! next import. So what is stored of a trace is looked up before its first span here (`known.rs`). One group of spans is
//! stored after the other, since two of them may have the same trace; an import beside this one is held off by the
//! ledger, where each trace has an entry of its own whose id is made from what is stored of it.

use prost::Message;
use uuid::Uuid;

use super::importer::Importer;
use super::known::Known;
use super::reader::Feed;
use crate::error::Result;
use crate::span::{Span, spans_to_otlp};
use crate::store::TraceStore;

pub(super) async fn store_all(importer: &Importer, store: &TraceStore, feed: &mut Feed) -> Result<()> {
    let mut known = Known::default();
    while let Some(spans) = feed.take(importer.batch_size()).await? {
        store_group(importer, store, &mut known, spans).await?;
    }
    Ok(())
}

async fn store_group(
    importer: &Importer,
    store: &TraceStore,
    known: &mut Known,
    mut spans: Vec<Span<'static>>,
) -> Result<()> {
    let traces = known.unknown(&spans);
    if !traces.is_empty() {
        let stored = store.spans_of_traces(&traces).await?;
        known.learn(traces, stored);
    }
    let before = spans.len();
    spans.retain(|span| known.is_new(span));
    importer.count_already_there(before - spans.len());
    if spans.is_empty() {
        return Ok(());
    }

    // The sort is stable: the order within a trace stays, that of the hash does not depend on it.
    spans.sort_by_key(|span| span.trace_id.to_bytes());
    let traces: Vec<&[Span<'_>]> = spans.chunk_by(|a, b| a.trace_id == b.trace_id).collect();
    let entries: Vec<(Uuid, i32)> = traces.iter().map(|trace| (id(trace), trace.len() as i32)).collect();
    let stored = store.store_together(&entries, &spans).await?;
    if stored.new {
        importer.count(stored);
        return Ok(());
    }
    // An import beside this one was faster with one of the traces, and may store more of it.
    known.forget();
    for ((id, _), trace) in entries.into_iter().zip(traces) {
        importer.count(store.batch_store_with_id(id, trace).await?);
    }
    Ok(())
}

/// An id that is made from the trace and the content of its spans, in whatever order they come.
fn id(trace: &[Span<'_>]) -> Uuid {
    let mut hashes: Vec<[u8; 32]> = trace
        .iter()
        .map(|span| blake3::hash(&spans_to_otlp(std::slice::from_ref(span)).encode_to_vec()).into())
        .collect();
    hashes.sort_unstable();
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"opentelemetry-pgvector trace");
    for hash in &hashes {
        hasher.update(hash);
    }
    let mut bytes = [0; 16];
    hasher.finalize_xof().fill(&mut bytes);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}
