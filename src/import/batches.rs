//! Batches that are recognised when the same content comes again.
//!
//! A batch's id says where it begins and where it ends: each place in an input is the hash of all content up to there.
//! So whoever is at a place asks the ledger which batch was stored from here, and how long it was, compares its end,
//! and goes on behind it. Neither the name of the file, nor how it was packed, nor the size of batches at the time is
//! part of it, and a file that has grown since goes on where it ended.

use std::collections::VecDeque;

use uuid::Uuid;

use crate::error::{Error, Result};
use crate::span::Span;
use crate::store::{Columns, TraceStore};

/// A hash of all content up to and including a record, and the number of a span in that record.
#[derive(Clone, Copy)]
struct Place {
    content: [u8; 32],
    number: u32,
}

impl Place {
    fn mark(self, side: &[u8]) -> [u8; 8] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"opentelemetry-pgvector import ").update(side);
        hasher.update(&self.content).update(&self.number.to_le_bytes());
        let mut mark = [0; 8];
        hasher.finalize_xof().fill(&mut mark);
        mark
    }
}

/// Spans that were read and are not stored yet, in their order.
#[derive(Default)]
pub(super) struct Queue {
    places: VecDeque<Place>,
    spans: VecDeque<Span<'static>>,
    /// Records that are batches by themselves: their ids and numbers of spans.
    whole: VecDeque<(Uuid, usize)>,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    /// Adds the spans of a record; `content` is the hash of everything up to its end.
    pub(super) fn push(&mut self, content: [u8; 32], spans: Vec<Span<'static>>) {
        self.places.extend((0..).zip(&spans).map(|(number, _)| Place { content, number }));
        self.spans.extend(spans);
    }

    /// Adds the spans of a record that is a batch and has its id.
    pub(super) fn push_whole(&mut self, id: Uuid, spans: Vec<Span<'static>>) {
        if !spans.is_empty() {
            self.whole.push_back((id, spans.len()));
            self.spans.extend(spans);
        }
    }

    /// Takes the next record that is a batch by itself.
    pub(super) fn take_whole(&mut self) -> Option<(Uuid, Vec<Span<'static>>)> {
        let (id, count) = self.whole.pop_front()?;
        Some((id, self.take(count)))
    }

    /// The id of the batch of the next so many spans, `None` where there are fewer.
    pub(super) fn id(&self, count: usize) -> Option<Uuid> {
        let end = self.places.get(count.checked_sub(1)?)?;
        Some(id(self.places.front()?.mark(b"begin"), end.mark(b"end")))
    }

    /// The least and the largest id of batches that begin here.
    fn ids(&self) -> Option<(Uuid, Uuid)> {
        let begin = self.places.front()?.mark(b"begin");
        Some((id(begin, [0; 8]), id(begin, [0xff; 8])))
    }

    /// Takes at most so many spans.
    pub(super) fn take(&mut self, count: usize) -> Vec<Span<'static>> {
        let count = count.min(self.len());
        self.places.drain(..count.min(self.places.len()));
        self.spans.drain(..count).collect()
    }
}

fn id(begin: [u8; 8], end: [u8; 8]) -> Uuid {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&begin);
    bytes[8..].copy_from_slice(&end);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// The batches in the ledger that begin where the queue does: ids and numbers of spans, the longest first.
pub(super) async fn stored_from_here(store: &TraceStore, queue: &Queue) -> Result<Vec<(Uuid, usize)>> {
    let Some((least, largest)) = queue.ids() else { return Ok(Vec::new()) };
    let find = async {
        let doing = || Error::database("looking for batches that are stored");
        let (connection, _) = store.connection().await?;
        let schema = &store.sql().schema;
        let sql =
            format!("SELECT id, spans FROM {schema}.batches WHERE id BETWEEN $1 AND $2 ORDER BY spans DESC");
        let rows = connection.query_prepared(&sql, &[&least, &largest]).await.map_err(doing())?;
        connection.give_back();
        rows.iter().map(|row| Ok((row.column(0)?, row.column::<i32>(1)?.max(0) as usize))).collect()
    };
    store.timed("looking for batches that are stored", find).await
}
