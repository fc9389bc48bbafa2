//! Traces from another store of traces: each span once, however often it comes.
//!
//! A trace comes with each service that took part in it, in each time window that it touches, and again, grown, with the
//! next import. So what is stored of a trace is looked up first. One group of spans is stored after the other, since
//! two of them may have the same trace; an import beside this one is held off by the ledger, where each trace has an
//! entry of its own whose id is made from what is stored of it.

use std::collections::HashSet;

use opentelemetry::trace::{SpanId, TraceId};
use prost::Message;
use uuid::Uuid;

use super::importer::Importer;
use super::reader::Feed;
use crate::error::Result;
use crate::span::{Span, spans_to_otlp, stored_start};
use crate::store::TraceStore;

/// What tells spans apart. Zipkin's have one id for both sides of a call, so an id alone does not.
type Identity = (TraceId, SpanId, i64);

fn identity(span: &Span<'_>) -> Identity {
    (span.trace_id, span.span_id, stored_start(span))
}

pub(super) async fn store_all(importer: &Importer, store: &TraceStore, feed: &mut Feed) -> Result<()> {
    while let Some(spans) = feed.take(importer.batch_size()).await? {
        store_group(importer, store, spans).await?;
    }
    Ok(())
}

async fn store_group(importer: &Importer, store: &TraceStore, mut spans: Vec<Span<'static>>) -> Result<()> {
    let mut trace_ids: Vec<TraceId> = spans.iter().map(|span| span.trace_id).collect();
    trace_ids.sort_by_key(|id| id.to_bytes());
    trace_ids.dedup();
    let mut known: HashSet<Identity> = store.spans_of_traces(&trace_ids).await?;
    let before = spans.len();
    spans.retain(|span| known.insert(identity(span)));
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
    // An import beside this one was faster with one of the traces.
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
